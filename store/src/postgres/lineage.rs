//! Which history a server has: its timeline, which every standby that takes over and every recovery to an earlier moment begins anew. Looked at with each new connection that writes and with each poll; when it changed, events may have been lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::followers::Followers;

/// One row, two texts: the timeline, and how far its log is written. NULL where the server follows another one, so that nothing is
/// recorded there.
pub(super) const ASK: &str = "\
SELECT CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END, \
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END";

/// What this process knows of it.
#[derive(Debug, Default)]
pub(super) struct Lineage(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// `None` until a server was asked.
    lineage: Option<String>,
    /// Present from [`Lineage::follow`] on.
    followers: Option<Followers>,
}

impl Lineage {
    /// These are told from now on.
    pub(super) fn follow(&self, followers: Followers) {
        self.lock().followers = Some(followers);
    }

    /// A server answered [`ASK`]: begins another era when it is not the one before.
    pub(super) fn saw(&self, answer: &PgRow) -> Result<(), sqlx::Error> {
        let Some(lineage) = answer.try_get::<Option<String>, _>(0)? else { return Ok(()) };
        let mut known = self.lock();
        if known.lineage.as_ref() == Some(&lineage) {
            return Ok(());
        }
        let before = known.lineage.replace(lineage.clone());
        if let (Some(before), Some(followers)) = (before, &known.followers) {
            tracing::warn!(
                before,
                now = lineage,
                "the ledgers' database has another history: a standby took over, or a backup was restored"
            );
            followers.begin_era();
        }
        Ok(())
    }

    /// A ledger ends before a position where it was seen.
    pub(super) fn set_back(&self) {
        if let Some(followers) = &self.lock().followers {
            tracing::warn!("a ledger ends before a position at which it was seen: events were lost");
            followers.begin_era();
        }
    }

    /// See [`Followers::era`].
    pub(super) fn era(&self) -> u64 {
        self.lock().followers.as_ref().map_or(0, Followers::era)
    }

    /// A panic elsewhere leaves complete entries.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
