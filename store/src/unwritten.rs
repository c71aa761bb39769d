//! The writing side of a store that was opened to be read, as a standby is: it refuses to record.
//! Stands where a backend does, so that everything else is the same for whoever reads.

use formledger_domain::{Position, Sequence, StreamId, TenantId};

use crate::backend::{Applied, Backend, Batch, Remembered, StoredHead};
use crate::error::StoreError;

/// Records nothing.
#[derive(Debug)]
pub(crate) struct Unwritten;

fn refused<T>() -> Result<T, StoreError> {
    Err(StoreError::Unusable("it was opened to be read, as a standby is: record on the primary".to_owned()))
}

impl Backend for Unwritten {
    async fn heads(&mut self, _: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        refused()
    }

    async fn overrun(&mut self, _: &[TenantId]) -> Result<Vec<TenantId>, StoreError> {
        refused()
    }

    async fn sequences(&mut self, _: &[&StreamId]) -> Result<Vec<Sequence>, StoreError> {
        refused()
    }

    async fn remembered(&mut self, _: &[(&TenantId, &str)]) -> Result<Vec<Option<Remembered>>, StoreError> {
        refused()
    }

    async fn confirm(&mut self, _: &[TenantId]) -> Result<(), StoreError> {
        refused()
    }

    async fn apply(&mut self, _: &Batch<'_>) -> Result<Applied, StoreError> {
        refused()
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        refused()
    }

    async fn recover(&mut self) {}

    async fn moved_elsewhere(&mut self) -> Result<Option<Vec<(TenantId, Position)>>, StoreError> {
        Ok(None)
    }

    async fn close(self) {}
}
