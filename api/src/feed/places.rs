//! How many feeds are open, in all and of each tenant: one tenant must not take every place.
//! Asked by `feed` for each new subscriber; a place is given back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formledger_domain::TenantId;

use crate::error::ApiError;
use crate::limits::Limits;

/// The places that feeds take.
pub struct FeedPlaces {
    /// Open feeds by tenant; none is zero.
    open: Mutex<HashMap<TenantId, usize>>,
    all_max: usize,
    tenant_max: usize,
}

/// The place of one open feed.
pub struct FeedPlace {
    places: Arc<FeedPlaces>,
    tenant: TenantId,
}

impl FeedPlaces {
    /// All are free.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            all_max: limits.feeds_max,
            tenant_max: limits.feeds_per_tenant_max,
        })
    }

    /// A place for a feed of `tenant`.
    ///
    /// # Errors
    /// 503 when the tenant has as many as it may, or all have together.
    pub fn take(self: &Arc<Self>, tenant: &TenantId) -> Result<FeedPlace, ApiError> {
        let mut open = self.lock();
        let of_tenant = open.get(tenant).copied().unwrap_or_default();
        // The sum walks tenants with open feeds, of which there are no more than feeds; opening one is rare.
        if of_tenant >= self.tenant_max || open.values().sum::<usize>() >= self.all_max {
            return Err(ApiError::Overloaded { code: "too-many-feeds", detail: "too many feeds are open" });
        }
        open.insert(tenant.clone(), of_tenant + 1);
        Ok(FeedPlace { places: Arc::clone(self), tenant: tenant.clone() })
    }

    /// A panic elsewhere leaves complete counts.
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FeedPlace {
    fn drop(&mut self) {
        let mut open = self.places.lock();
        if let Some(of_tenant) = open.get_mut(&self.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                open.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_places_for_others_and_a_closed_feed_gives_its_place_back() {
        let limits = Limits { feeds_max: 3, feeds_per_tenant_max: 2, ..Limits::default() };
        let places = FeedPlaces::new(&limits);
        let [loud, other, third] = ["loud", "other", "third"].map(|slug| slug.parse().expect("a slug"));
        let first = places.take(&loud).expect("free");
        let _second = places.take(&loud).expect("free");
        assert!(places.take(&loud).is_err(), "over the tenant's share");
        let _others = places.take(&other).expect("free");
        assert!(places.take(&third).is_err(), "all places are taken");
        drop(first);
        places.take(&loud).expect("free again");
        assert_eq!(places.lock().len(), 2);
    }
}
