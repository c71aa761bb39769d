//! How much of something goes on at once, in all and for each tenant: one tenant must not take every place.
//! Asked by `feed` for each subscriber, by `replays` for each run and by `bulk` for each request; a place is given back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formledger_domain::TenantId;

/// A number of places.
pub struct Places {
    /// Taken places by tenant; none is zero.
    taken: Mutex<HashMap<TenantId, usize>>,
    all_max: usize,
    tenant_max: usize,
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

    /// A place for `tenant`; `None` when it has as many as it may, or all have together.
    pub fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Place> {
        let mut taken = self.lock();
        let of_tenant = taken.get(tenant).copied().unwrap_or_default();
        // The sum walks tenants with taken places, of which there are no more than places; taking one is rare.
        if of_tenant >= self.tenant_max || taken.values().sum::<usize>() >= self.all_max {
            return None;
        }
        taken.insert(tenant.clone(), of_tenant + 1);
        Some(Place { places: Arc::clone(self), tenant: tenant.clone() })
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
        assert!(places.take(&loud).is_none(), "over the tenant's share");
        let _others = places.take(&other).expect("free");
        assert!(places.take(&third).is_none(), "all places are taken");
        drop(first);
        places.take(&loud).expect("free again");
        assert_eq!(places.lock().len(), 2);
    }
}
