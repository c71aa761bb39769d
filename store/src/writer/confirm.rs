//! Repeated requests that were found by reading: they may be told of their first outcome only when that is durable wherever a commit has to
//! be. Asked by `TenantLedger::first_outcome`, answered by the writer, which has the one connection that can commit.

use formledger_domain::TenantId;
use tokio::sync::{mpsc, oneshot};

use crate::backend::Backend;
use crate::error::{StoreError, causes};

/// Somebody read something of a tenant's ledger, and waits to be told that it stays.
#[derive(Debug)]
pub(crate) struct Confirmation {
    pub(crate) tenant: TenantId,
    pub(crate) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// Answers the first and everyone who waits behind it, with one commit for all; says what they were answered.
pub(super) async fn confirm(
    backend: &mut impl Backend,
    first: Confirmation,
    waiting: &mut mpsc::Receiver<Confirmation>,
) -> Result<(), StoreError> {
    let mut all = vec![first];
    while let Ok(next) = waiting.try_recv() {
        all.push(next);
    }
    let confirmed = backend.confirm(&tenants(all.iter().map(|one| &one.tenant))).await;
    if let Err(error) = &confirmed {
        tracing::error!(error = causes(error), "cannot confirm what was recorded before");
        backend.recover().await;
    }
    for one in all {
        // A caller that went away has nothing to be told.
        let _gone = one.answer.send(confirmed.clone());
    }
    confirmed
}

/// Each once.
pub(super) fn tenants<'t>(all: impl Iterator<Item = &'t TenantId>) -> Vec<TenantId> {
    let mut tenants: Vec<TenantId> = all.cloned().collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}
