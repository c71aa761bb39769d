//! After a connection broke while it committed: whether the batch is there. Called by `write` alone, before anybody is answered.

use std::collections::HashSet;
use std::time::Duration;

use formledger_domain::{EventId, TenantId};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Executor, Postgres, Row};
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{answered, failed};
use super::write::PostgresBackend;
use crate::backend::Head;
use crate::error::{StoreError, causes};

/// How long to ask; a server that restarts or fails over within it costs nobody an answer. After it every command of the batch hears
/// that it was not recorded, which may be wrong: its idempotency key finds out.
const ASKING_MAX: Duration = Duration::from_secs(10);
/// Between two questions to a server that answers with errors.
const PAUSE: Duration = Duration::from_millis(100);

/// What tells whether a ledger's part of a batch was committed.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) tenant: TenantId,
    /// Where the batch moves the ledger to.
    pub(super) head: Head,
    /// The event at that position.
    pub(super) event_id: EventId,
}

impl PostgresBackend {
    /// Which ledgers' parts of a batch are durable. Whatever else was in its transaction went with them; where there is none, nothing of it
    /// is there and never will be.
    ///
    /// # Errors
    /// `lost` when nobody could say.
    pub(super) async fn find_out(
        &mut self,
        proofs: &[Proof],
        lost: &StoreError,
    ) -> Result<HashSet<String>, StoreError> {
        let deadline = Instant::now() + ASKING_MAX;
        loop {
            match self.recorded(proofs).await {
                Ok(recorded) => return Ok(recorded),
                Err(error) => {
                    tracing::warn!(
                        error = causes(&error),
                        "cannot find out yet whether a batch was recorded"
                    );
                    self.abandon();
                }
            }
            if Instant::now() >= deadline {
                return Err(lost.clone());
            }
            sleep(PAUSE).await;
            sleep_until(self.link.retry_at().min(deadline)).await;
        }
    }

    /// Which of the ledgers' parts are there, once nothing can change that any more.
    async fn recorded(&mut self, proofs: &[Proof]) -> Result<HashSet<String>, StoreError> {
        let transaction = self.transaction().await?;
        // The lost connection's transaction may still be at work on the server. Both statements wait for it: the first where it creates a
        // ledger, the second where it moves one.
        let created = answered(heads(CREATE, proofs).execute(&mut *transaction)).await.map_err(failed)?;
        answered(heads(HOLD, proofs).execute(&mut *transaction)).await.map_err(failed)?;
        let find = sqlx::query(FIND)
            .bind(proofs.iter().map(|proof| proof.tenant.as_str()).collect::<Vec<_>>())
            .bind(proofs.iter().map(|proof| proof.head.position.0 as i64).collect::<Vec<_>>())
            .bind(proofs.iter().map(|proof| proof.event_id.0).collect::<Vec<_>>());
        let found = answered(find.fetch_all(&mut *transaction)).await.map_err(failed)?;
        let found: HashSet<String> = found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        // The batch would have created them.
        if created.rows_affected() > 0 || found.is_empty() {
            self.roll_back().await?;
            return Ok(HashSet::new());
        }
        // A commit that waits for a synchronous standby waits for everything before it: then the batch is there, too.
        answered(transaction.execute("COMMIT")).await.map_err(failed)?;
        self.ended();
        Ok(found)
    }
}

const CREATE: &str = "\
INSERT INTO ledgers (tenant_id, position, recorded_at, frontier)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])
ON CONFLICT DO NOTHING";

const HOLD: &str = "\
UPDATE ledgers SET position = ledgers.position
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) AS asked (tenant_id, position, recorded_at, frontier)
WHERE ledgers.tenant_id = asked.tenant_id";

const FIND: &str = "\
SELECT tenant_id FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS asked (tenant_id, position, event_id)
JOIN events USING (tenant_id, position, event_id)";

fn heads<'q>(statement: &'q str, proofs: &'q [Proof]) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(proofs.iter().map(|proof| proof.tenant.as_str()).collect::<Vec<_>>())
        .bind(proofs.iter().map(|proof| proof.head.position.0 as i64).collect::<Vec<_>>())
        .bind(proofs.iter().map(|proof| proof.head.recorded_at).collect::<Vec<_>>())
        .bind(proofs.iter().map(|proof| proof.head.frontier.to_stored()).collect::<Vec<_>>())
}
