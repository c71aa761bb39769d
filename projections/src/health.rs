//! Whether a replica is worth asking: out after a failure, tried again by a task of its own after pauses that grow, and in again once it
//! answers. No query waits for a replica that is known to fail. Used by the reader's choice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a replica stays out before it is tried; doubled with each try that fails.
pub(crate) const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest it stays out untried.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What is known of one replica's health, and who asks it now.
#[derive(Debug, Default)]
pub(crate) struct Health {
    asking: AtomicUsize,
    out: AtomicBool,
    /// Whether it is a replica, which answers from rows that are proven to be this ledger's and from no others.
    needs_proof: AtomicBool,
    /// Whether its rows may have been made from another ledger.
    unproven: AtomicBool,
    /// How many databases its URL has led to.
    databases: AtomicUsize,
    runner_failed: AtomicBool,
}

impl Health {
    /// Whether it answered when it was last asked, from this ledger's rows.
    pub(crate) fn is_in(&self) -> bool {
        !self.out.load(Ordering::Relaxed) && self.is_proven()
    }

    /// Whether its rows are known to be this ledger's. Until then nobody is answered from them.
    pub(crate) fn is_proven(&self) -> bool {
        !self.unproven.load(Ordering::Relaxed)
    }

    /// How many databases its URL has led to: a proof is of the newest one, or of none.
    pub(crate) fn databases(&self) -> usize {
        self.databases.load(Ordering::Acquire)
    }

    /// Its rows are this ledger's, unless its URL has come to lead elsewhere since there were so many `databases`.
    pub(crate) fn prove(&self, databases: usize) {
        self.unproven.store(false, Ordering::Release);
        if self.databases() != databases {
            self.unproven.store(self.needs_proof(), Ordering::Release);
        }
    }

    /// From now on its rows have to be proven before anybody is answered from them.
    pub(crate) fn require_proof(&self) {
        self.needs_proof.store(true, Ordering::Relaxed);
        self.leads_elsewhere();
    }

    pub(crate) fn needs_proof(&self) -> bool {
        self.needs_proof.load(Ordering::Relaxed)
    }

    /// Its URL leads to another database than the one that was proven.
    pub(crate) fn leads_elsewhere(&self) {
        self.databases.fetch_add(1, Ordering::AcqRel);
        self.unproven.store(self.needs_proof(), Ordering::Release);
    }

    /// Takes it out; answers whether it was in.
    pub(crate) fn take_out(&self) -> bool {
        !self.out.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn take_in(&self) {
        self.out.store(false, Ordering::Relaxed);
    }

    /// Whether its runner in this process panicked and has not looked at the ledger since.
    pub(crate) fn runner_has_failed(&self) -> bool {
        self.runner_failed.load(Ordering::Relaxed)
    }

    pub(crate) fn runner_failed(&self, failed: bool) {
        self.runner_failed.store(failed, Ordering::Relaxed);
    }

    /// Queries that it answers at this moment.
    pub(crate) fn load(&self) -> usize {
        self.asking.load(Ordering::Relaxed)
    }

    pub(crate) fn asked(&self) {
        self.asking.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How Postgres says that it ended a session for resting too long within a transaction.
const IDLE_IN_TRANSACTION: &str = "25P03";

/// Whether an error says that a database cannot answer at present, rather than that it refuses this statement.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, a server short of resources, one that starts, stops, was told to cancel or to end what rests within a transaction
        // (PostgreSQL, appendix A), and one whose roles or read models are not there (yet, or any more).
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            matches!(&*code, "42P01" | "3F000" | "22023" | IDLE_IN_TRANSACTION)
                || ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Whether a standby ended a query because the rows it read were cleaned up meanwhile: another try reads newer ones.
pub(crate) fn is_recovery_conflict(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("40001"))
}
