//! The writer's connection: made when it is needed, given up when it broke, and made again with growing pauses.
//! Used by `write` alone; it knows how to reach a server and whether the session there is ours, not what to write.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor, Row};
use tokio::time::Instant;

use super::error::{connected, failed, refuses_settings};
use super::lineage::{self, Lineage};
use crate::error::{StoreError, causes};

/// The pause after the first failed attempt; it doubles with each further one, [`PAUSE_DOUBLINGS_MAX`] times, to 1.6 s.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_DOUBLINGS_MAX: u32 = 5;

/// What a session must be set to for the writer, wherever it is set:
///
/// - The role can append and load, and nothing else.
/// - Without hash joins and sequential scans every plan visits heads in order of tenant, so that two processes that lock the same heads
///   cannot wait for each other. A plan that needs one all the same has an enormous cost, for which it would be compiled each time.
/// - A lock that another process holds for 5 s ends the wait with `StoreError::Held`; if this process stops within a transaction, the
///   server takes its locks away after 10 s.
/// - No time limit on statements: it would also end a commit's wait for a synchronous standby, and report success.
pub(super) const SESSION: [(&str, &str); 7] = [
    ("role", "formledger_writer"),
    ("enable_hashjoin", "off"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("statement_timeout", "0"),
];

/// One connection, or the prospect of one.
#[derive(Debug)]
pub(super) struct Link {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    outage: Option<Outage>,
    own_session: bool,
    lineage: Arc<Lineage>,
}

/// Why there is no connection, and when the next attempt is due. Until then everyone hears the same, at once.
#[derive(Debug)]
struct Outage {
    error: StoreError,
    attempts: u32,
    retry_at: Instant,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions, lineage: Arc<Lineage>) -> Self {
        Self { options, connection: None, outage: None, own_session: false, lineage }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The connection, made now if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], during a pause without trying.
    pub(super) async fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Whether the connection's session is as [`SESSION`] has it from the start. It is not where a pooler in between hands each
    /// transaction another session: there each transaction has to set it.
    pub(super) fn is_own_session(&self) -> bool {
        self.own_session
    }

    async fn connect(&mut self) -> Result<PgConnection, StoreError> {
        let attempts = match &self.outage {
            Some(outage) if Instant::now() < outage.retry_at => return Err(outage.error.clone()),
            Some(outage) => outage.attempts,
            None => 0,
        };
        match connected(open(&self.options, &self.lineage)).await {
            Ok((connection, own_session)) => {
                (self.outage, self.own_session) = (None, own_session);
                Ok(connection)
            }
            Err(error) => {
                let error = failed(error);
                let retry_at = Instant::now() + RETRY_PAUSE * 2u32.pow(attempts.min(PAUSE_DOUBLINGS_MAX));
                self.outage = Some(Outage { error: error.clone(), attempts: attempts + 1, retry_at });
                Err(error)
            }
        }
    }

    /// When it makes sense to ask for the connection again.
    pub(super) fn retry_at(&self) -> Instant {
        self.outage.as_ref().map_or_else(Instant::now, |outage| outage.retry_at)
    }

    /// Gives the connection up; the server ends what was open on it as soon as it notices.
    pub(super) fn abandon(&mut self) {
        self.connection = None;
    }

    pub(super) async fn close(mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(error = causes(&error), "cannot close the database in good order");
        }
    }
}

/// A connection, and whether its session is our own. Whoever may have lost events is told before anything is asked on it.
async fn open(options: &PgConnectOptions, lineage: &Lineage) -> Result<(PgConnection, bool), sqlx::Error> {
    let (mut connection, is_own) = log_in(options).await?;
    lineage.saw(&connection.fetch_one(lineage::ASK).await?)?;
    Ok((connection, is_own))
}

async fn log_in(options: &PgConnectOptions) -> Result<(PgConnection, bool), sqlx::Error> {
    match options.clone().options(SESSION).connect().await {
        Ok(mut connection) => {
            // A pooler may also take the settings and ignore them.
            let role = connection.fetch_one("SELECT current_user").await?;
            let is_set = role.try_get::<String, _>(0)? == SESSION[0].1;
            Ok((connection, is_set))
        }
        Err(error) if refuses_settings(&error) => Ok((options.connect().await?, false)),
        Err(error) => Err(error),
    }
}
