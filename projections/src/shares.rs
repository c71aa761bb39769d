//! What part of a database's reading connections one tenant may hold, so that its slow queries leave room for everybody else's.
//! Asked by `choice` before a query's snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formledger_domain::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// One connection in so many is left to other tenants, at least one where there is more than one.
const LEFT_TO_OTHERS: usize = 4;

/// The connections that each tenant holds. Knows tenants only as long as they hold or wait for one.
#[derive(Debug)]
pub(crate) struct Shares {
    each: usize,
    patience: Duration,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// A connection's worth of a tenant's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// Of so many connections, for which a query waits so long.
    pub(crate) fn of(connections_max: u32, patience: Duration) -> Arc<Self> {
        let all = connections_max as usize;
        let each = all.saturating_sub((all / LEFT_TO_OTHERS).max(1)).max(1);
        Arc::new(Self { each, patience, tenants: Mutex::default() })
    }

    /// Takes one; `None` where the tenant held its whole share for as long as a query waits.
    pub(crate) async fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Share> {
        let semaphore = Arc::clone(
            self.tenants().entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each))),
        );
        // Made before the wait, so that who leaves while waiting is forgotten, too.
        let mut share = Share { shares: Arc::clone(self), tenant: tenant.clone(), semaphore, permit: None };
        let permit = match Arc::clone(&share.semaphore).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                timeout(self.patience, Arc::clone(&share.semaphore).acquire_owned()).await.ok()?.ok()?
            }
        };
        share.permit = Some(permit);
        Some(share)
    }

    /// What is left of a tenant's share.
    #[cfg(test)]
    pub(crate) fn left(&self, tenant: &TenantId) -> usize {
        self.tenants().get(tenant).map_or(self.each, |semaphore| semaphore.available_permits())
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Semaphore>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.permit = None;
        let mut tenants = self.shares.tenants();
        // The map's and this one: nobody else of the tenant holds one or waits.
        if Arc::strong_count(&self.semaphore) == 2 {
            tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().expect("a slug")
    }

    #[tokio::test(start_paused = true)]
    async fn one_tenant_leaves_a_quarter_of_the_connections_to_others_and_is_forgotten_afterwards() {
        for (connections, each) in [(1, 1), (2, 1), (4, 3), (16, 12)] {
            let shares = Shares::of(connections, Duration::from_secs(5));
            let (big, small) = (tenant("big"), tenant("small"));
            let mut held = Vec::new();
            for _ in 0..each {
                held.push(shares.take(&big).await.expect("its share"));
            }
            assert!(shares.take(&big).await.is_none(), "more than its share of {connections}");
            assert!(shares.take(&small).await.is_some(), "another tenant's share is its own");
            let waiting = tokio::spawn({
                let (shares, big) = (Arc::clone(&shares), big.clone());
                async move { shares.take(&big).await.is_some() }
            });
            tokio::task::yield_now().await;
            held.clear();
            assert!(waiting.await.expect("no panic"), "who waits has the next one");
            assert!(shares.tenants().is_empty(), "{:?}", shares.tenants());
        }
    }

    #[tokio::test]
    async fn who_leaves_while_waiting_is_forgotten() {
        let shares = Shares::of(2, Duration::from_secs(5));
        let big = tenant("big");
        let held = shares.take(&big).await;
        let mut waiting = Box::pin(shares.take(&big));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        drop(waiting);
        assert!(shares.tenants().is_empty());
    }
}
