//! How much of something goes on at once, in all and for each tenant: one tenant must not take every place.
//! Asked by `feed` for each subscriber, by `lasting` for each export, by `replays` for each run, by `bulk` for each request and by `attachments` for each upload; a place
//! is given back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formledger_domain::TenantId;

use crate::error::ApiError;

/// A number of places.
pub struct Places {
    /// Taken places by tenant; none is zero.
    taken: Mutex<HashMap<TenantId, usize>>,
    all_max: usize,
    tenant_max: usize,
}

/// Which places are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Those of the tenant.
    Tenant,
    /// Those of the server, though the tenant has fewer than it may.
    Server,
}

impl Full {
    /// What is answered: 429 to a tenant that has what it may have, 503 to one that cannot help it; each with what is full.
    pub fn refusal(self, code: &'static str, of_tenant: &'static str, of_server: &'static str) -> ApiError {
        match self {
            Self::Tenant => ApiError::OverQuota { code, detail: of_tenant },
            Self::Server => ApiError::ServerFull { code, detail: of_server },
        }
    }
}

/// One place, taken.
pub struct Place {
    places: Arc<Places>,
    tenant: TenantId,
}

impl Places {
    /// All are free: `all_max` of them, of which a tenant may take `tenant_max`.
    pub fn new(all_max: usize, tenant_max: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), all_max, tenant_max })
    }

    /// A place for `tenant`.
    ///
    /// # Errors
    /// Which limit was met; the tenant's own first.
    pub fn take(self: &Arc<Self>, tenant: &TenantId) -> Result<Place, Full> {
        let mut taken = self.lock();
        let of_tenant = taken.get(tenant).copied().unwrap_or_default();
        if of_tenant >= self.tenant_max {
            return Err(Full::Tenant);
        }
        // The sum walks tenants with taken places, of which there are no more than places; taking one is rare.
        if taken.values().sum::<usize>() >= self.all_max {
            return Err(Full::Server);
        }
        taken.insert(tenant.clone(), of_tenant + 1);
        Ok(Place { places: Arc::clone(self), tenant: tenant.clone() })
    }

    /// A panic elsewhere leaves complete counts.
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(of_tenant) = taken.get_mut(&self.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_places_for_others_and_what_ends_gives_its_place_back() {
        let places = Places::new(3, 2);
        let [loud, other, third] = ["loud", "other", "third"].map(|slug| slug.parse().expect("a slug"));
        let first = places.take(&loud).expect("free");
        let _second = places.take(&loud).expect("free");
        assert_eq!(places.take(&loud).err(), Some(Full::Tenant), "over the tenant's share");
        let _others = places.take(&other).expect("free");
        assert_eq!(places.take(&third).err(), Some(Full::Server), "all places are taken");
        assert_eq!(
            places.take(&loud).err(),
            Some(Full::Tenant),
            "its own limit is what it can do something about"
        );
        drop(first);
        places.take(&loud).expect("free again");
        assert_eq!(places.lock().len(), 2);
    }
}
