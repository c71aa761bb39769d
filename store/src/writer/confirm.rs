//! Repeated requests that were found by reading: they may be told of their first outcome only when that is durable wherever a commit has to
//! be. Asked by `TenantLedger::first_outcome`, answered by the writer, which has the one connection that can commit.

use std::collections::HashSet;

use formledger_domain::TenantId;
use tokio::sync::{mpsc, oneshot};

use super::stuck::Stuck;
use crate::backend::Backend;
use crate::error::{StoreError, causes};

/// Somebody read something of a tenant's ledger, and waits to be told that it stays.
#[derive(Debug)]
pub(crate) struct Confirmation {
    pub(crate) tenant: TenantId,
    pub(crate) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Answers the first and everyone who waits behind it, with one commit for all.
///
/// # Errors
/// What they were answered, unless it was nobody's fault but one tenant's.
pub(super) async fn confirm(
    backend: &mut impl Backend,
    stuck: &mut Stuck,
    first: Confirmation,
    waiting: &mut mpsc::Receiver<Confirmation>,
) -> Result<(), StoreError> {
    let mut all = vec![first];
    while let Ok(next) = waiting.try_recv() {
        all.push(next);
    }
    let mut held = HashSet::new();
    let confirmed = confirm_all(backend, stuck, &all, &mut held).await;
    match &confirmed {
        Ok(()) => {}
        Err(StoreError::Held) => backend.undo().await,
        Err(error) => {
            tracing::error!(error = causes(error), "cannot confirm what was recorded before");
            backend.recover().await;
        }
    }
    for one in all {
        let is_held = confirmed.is_ok() && held.contains(&one.tenant);
        // A caller that went away has nothing to be told.
        let _gone = one.answer.send(if is_held { Err(StoreError::Held) } else { confirmed.clone() });
    }
    match confirmed {
        Err(StoreError::Held) => Ok(()),
        confirmed => confirmed,
    }
}

/// Confirms what belongs to all tenants but those that another process holds, which it adds to `held`.
async fn confirm_all(
    backend: &mut impl Backend,
    stuck: &mut Stuck,
    all: &[Confirmation],
    held: &mut HashSet<TenantId>,
) -> Result<(), StoreError> {
    let mut asked = tenants(all.iter().map(|one| &one.tenant));
    held.extend(stuck.still(backend, asked.iter()).await?);
    asked.retain(|tenant| !held.contains(tenant));
    if asked.is_empty() {
        return Ok(());
    }
    match backend.confirm(&asked).await {
        Err(StoreError::Held) => {}
        confirmed => return confirmed,
    }
    backend.undo().await;
    held.extend(stuck.find(backend, &asked).await?);
    asked.retain(|tenant| !held.contains(tenant));
    if asked.is_empty() { Ok(()) } else { backend.confirm(&asked).await }
}

/// Each once.
pub(super) fn tenants<'t>(all: impl Iterator<Item = &'t TenantId>) -> Vec<TenantId> {
    let mut tenants: Vec<TenantId> = all.cloned().collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}
