//! The writer's connection: made when it is needed, given up when it broke, and made again with growing pauses.
//! Used by `write` alone; it knows how to reach a server, not what to say to it.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, timeout};

use super::CONNECT_TIMEOUT;
use super::error::failed;
use crate::error::{StoreError, causes};

/// The pause after the first failed attempt; it doubles with each further one, [`PAUSE_DOUBLINGS_MAX`] times, to 1.6 s.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_DOUBLINGS_MAX: u32 = 5;

/// One connection, or the prospect of one.
#[derive(Debug)]
pub(super) struct Link {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    outage: Option<Outage>,
}

/// Why there is no connection, and when the next attempt is due. Until then everyone hears the same, at once.
#[derive(Debug)]
struct Outage {
    error: StoreError,
    attempts: u32,
    retry_at: Instant,
}

impl Link {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, connection: None, outage: None }
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

    async fn connect(&mut self) -> Result<PgConnection, StoreError> {
        let attempts = match &self.outage {
            Some(outage) if Instant::now() < outage.retry_at => return Err(outage.error.clone()),
            Some(outage) => outage.attempts,
            None => 0,
        };
        let connected = match timeout(CONNECT_TIMEOUT, self.options.connect()).await {
            Ok(connected) => connected,
            Err(_silent) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        };
        connected.inspect(|_| self.outage = None).map_err(|error| {
            let error = failed(error);
            let retry_at = Instant::now() + RETRY_PAUSE * 2u32.pow(attempts.min(PAUSE_DOUBLINGS_MAX));
            self.outage = Some(Outage { error: error.clone(), attempts: attempts + 1, retry_at });
            error
        })
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
