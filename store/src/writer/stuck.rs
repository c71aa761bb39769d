//! Tenants whose ledgers another process holds and does not move: it hangs, or its machine stopped, within a transaction. Their commands are set apart, so
//! that nobody else waits for a lock of theirs. Kept by `writer`, which answers them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use formledger_domain::{Position, TenantId};
use tokio::time::sleep;

use crate::backend::Backend;
use crate::error::StoreError;

/// Who is at work commits at least once within it, so that a ledger which is only much used is not taken for one that is stuck.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Tenants remembered, about 50 bytes each; at the limit all are forgotten, and found again after a wait in vain.
const REMEMBERED_MAX: usize = 65_536;

/// Where the ledgers of such tenants were when that was found.
#[derive(Debug, Default)]
pub(super) struct Stuck(HashMap<TenantId, Position>);

impl Stuck {
    /// After a wait in vain for a lock: which of `tenants` are the reason. None where it is over by now, or where a ledger is being created.
    pub(super) async fn find(
        &mut self,
        backend: &mut impl Backend,
        tenants: &[TenantId],
    ) -> Result<HashSet<TenantId>, StoreError> {
        let first: HashMap<TenantId, Position> = backend.held(tenants).await?.into_iter().collect();
        if first.is_empty() {
            return Ok(HashSet::new());
        }
        sleep(BETWEEN_LOOKS).await;
        let asked: Vec<TenantId> = first.keys().cloned().collect();
        let mut found = backend.held(&asked).await?;
        found.retain(|(tenant, position)| first.get(tenant) == Some(position));
        if self.0.len() + found.len() > REMEMBERED_MAX {
            self.0.clear();
        }
        self.0.extend(found.iter().cloned());
        Ok(found.into_iter().map(|(tenant, _)| tenant).collect())
    }

    /// Which of `tenants` were found so and still are; the others are forgotten. Asks nothing where none was found.
    pub(super) async fn still(
        &mut self,
        backend: &mut impl Backend,
        tenants: impl Iterator<Item = &TenantId>,
    ) -> Result<HashSet<TenantId>, StoreError> {
        if self.0.is_empty() {
            return Ok(HashSet::new());
        }
        let asked: HashSet<&TenantId> = tenants.filter(|tenant| self.0.contains_key(*tenant)).collect();
        if asked.is_empty() {
            return Ok(HashSet::new());
        }
        let asked: Vec<TenantId> = asked.into_iter().cloned().collect();
        let held: HashMap<TenantId, Position> = backend.held(&asked).await?.into_iter().collect();
        for tenant in &asked {
            if held.get(tenant) != self.0.get(tenant) {
                self.0.remove(tenant);
            }
        }
        Ok(asked.into_iter().filter(|tenant| self.0.contains_key(tenant)).collect())
    }
}
