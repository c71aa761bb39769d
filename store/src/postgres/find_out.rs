//! After a connection broke while it committed: whether the batch is there. Called by `commit` alone, before anybody is answered.

use std::time::Duration;

use sqlx::Executor;
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{answered, failed};
use super::write::{PostgresBackend, Proof};
use crate::error::{StoreError, causes};

/// How long to ask; a server that restarts or fails over within it costs nobody an answer. After it every command of the batch hears
/// that it was not recorded, which may be wrong: its idempotency key finds out.
const ASKING_MAX: Duration = Duration::from_secs(10);
/// Between two questions to a server that answers with errors.
const PAUSE: Duration = Duration::from_millis(100);

impl PostgresBackend {
    /// Returns when the batch is durable.
    ///
    /// # Errors
    /// `lost` when the batch is not there and never will be, or when nobody could say.
    pub(super) async fn find_out(&mut self, proof: &Proof, lost: StoreError) -> Result<(), StoreError> {
        let deadline = Instant::now() + ASKING_MAX;
        loop {
            match self.is_recorded(proof).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(lost),
                Err(error) => {
                    tracing::warn!(
                        error = causes(&error),
                        "cannot find out yet whether a batch was recorded"
                    );
                    self.abandon();
                }
            }
            if Instant::now() >= deadline {
                return Err(lost);
            }
            sleep(PAUSE).await;
            sleep_until(self.link.retry_at().min(deadline)).await;
        }
    }

    /// Whether the batch is there, once nothing can change that any more.
    async fn is_recorded(&mut self, proof: &Proof) -> Result<bool, StoreError> {
        let (tenant, head) = (proof.tenant.as_str(), &proof.head);
        let transaction = self.transaction().await?;
        // The lost connection's transaction may still be at work on the server. Both statements wait for it, the first if it created
        // the ledger, the second if it moved it.
        let create = sqlx::query(
            "INSERT INTO ledgers (tenant_id, position, recorded_at, frontier) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(tenant)
        .bind(head.position.0 as i64)
        .bind(head.recorded_at)
        .bind(head.frontier.to_stored());
        let created = answered(create.execute(&mut *transaction)).await.map_err(failed)?;
        let hold = sqlx::query("UPDATE ledgers SET position = position WHERE tenant_id = $1").bind(tenant);
        answered(hold.execute(&mut *transaction)).await.map_err(failed)?;
        let find =
            sqlx::query("SELECT 1 FROM events WHERE tenant_id = $1 AND position = $2 AND event_id = $3")
                .bind(tenant)
                .bind(head.position.0 as i64)
                .bind(proof.event_id.0);
        let found = answered(find.fetch_optional(&mut *transaction)).await.map_err(failed)?;
        if created.rows_affected() > 0 || found.is_none() {
            self.roll_back().await?;
            return Ok(false);
        }
        // A commit that waits for a synchronous standby waits for everything before it: then the batch is there, too.
        answered(transaction.execute("COMMIT")).await.map_err(failed)?;
        self.ended();
        Ok(true)
    }
}
