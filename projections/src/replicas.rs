//! All replicas of the read models behind one door: queries go to whichever can answer, each has a runner of its own.
//! Built by `api`'s composition root; with one database only, it is that database.

use std::sync::Arc;

use formledger_domain::TenantContext;
use formledger_store::{LedgerHead, Store};
use serde::Serialize;

use crate::pool::PoolUse;
use crate::read_models::ReadModels;
use crate::reader::{QueryError, TenantReader};
use crate::runner::{Runner, RunnerSettings};
use crate::status::ReadModelStatus;

/// Any number of databases that hold the same read models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replicas {
    /// The primary's own last: it serves when no other does.
    all: Arc<[ReadModels]>,
}

/// How one replica stands.
#[derive(Debug, Serialize)]
pub struct ReplicaStatus {
    /// What people call it: a file, or server and database.
    pub replica: String,
    /// Whether queries are sent there.
    pub answers: bool,
    /// Whether this process keeps it.
    pub leads: bool,
    /// Its connections.
    pub pool: PoolUse,
    /// Its read models; empty when it did not answer.
    pub read_models: Vec<ReadModelStatus>,
}

impl Replicas {
    /// The read models beside the ledger, and those of the replicas, which serve before it.
    pub fn new(primary: ReadModels, replicas: Vec<ReadModels>) -> Self {
        Self { all: replicas.into_iter().chain([primary]).collect() }
    }

    /// The read models of the context's tenant, and of no other.
    pub fn reader(&self, context: &TenantContext) -> TenantReader {
        TenantReader::new(context.tenant.clone(), self.all.clone())
    }

    /// One runner for each; several processes may run theirs, one of them leads.
    pub fn runners(&self, store: &Store, settings: &RunnerSettings) -> Vec<Runner> {
        let runner = |models: &ReadModels| Runner::new(store.clone(), models.clone(), settings.clone());
        self.all.iter().map(runner).collect()
    }

    /// How far the furthest replica that answers is behind `heads`, and which tenants are parked there.
    ///
    /// # Errors
    /// [`QueryError`] when none answers.
    pub async fn status(&self, heads: &[LedgerHead]) -> Result<Vec<ReadModelStatus>, QueryError> {
        let mut best: Option<Vec<ReadModelStatus>> = None;
        let mut failed = None;
        let lag = |status: &[ReadModelStatus]| status.iter().map(|status| status.lag_events).max();
        for models in self.all.iter() {
            match models.status(heads).await {
                Ok(status) if best.as_deref().is_none_or(|best| lag(&status) < lag(best)) => {
                    best = Some(status)
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        best.ok_or_else(|| failed.expect("there is at least one, and it failed"))
    }

    /// How each one stands, those that serve first.
    pub async fn each_status(&self, heads: &[LedgerHead]) -> Vec<ReplicaStatus> {
        let mut all = Vec::with_capacity(self.all.len());
        for models in self.all.iter() {
            let status = if models.health().is_in() { models.status(heads).await } else { Ok(Vec::new()) };
            all.push(ReplicaStatus {
                replica: models.name(),
                answers: models.health().is_in() && status.is_ok(),
                leads: models.leadership().leads(),
                pool: models.pool_use(),
                read_models: status.unwrap_or_default(),
            });
        }
        all
    }

    /// Closes all of them; see [`ReadModels::close`].
    pub async fn close(&self) {
        for models in self.all.iter() {
            models.close().await;
        }
    }
}
