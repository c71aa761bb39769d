//! One active projector per set of read models, among any number of processes: who holds an advisory lock of the database leads.
//! Asked by the runner before each poll. The lock lives as long as its session, so another process takes over when its holder dies; a
//! holder that lost it without noticing writes nothing, because every batch compares and sets its checkpoints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::place::{Place, PostgresPlace};
use crate::schema;

/// How long the holder's session may take to answer before the lead is taken for lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Makes the server find out within half a minute that the holder's machine is gone, and keeps what lies between from forgetting a session.
pub(crate) const KEEPALIVES: &str =
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

/// Whether this process leads one set of read models.
#[derive(Debug)]
pub(crate) struct Leadership {
    /// `None` for a file, which one process has to itself.
    contest: Option<PostgresPlace>,
    /// The session that holds the lock, or tries to.
    session: Mutex<Option<PgConnection>>,
    leads: AtomicBool,
}

impl Leadership {
    pub(crate) fn of(place: &Place) -> Self {
        let contest = match place {
            Place::Sqlite(_) => None,
            Place::Postgres(place) => Some((**place).clone()),
        };
        Self { leads: AtomicBool::new(contest.is_none()), contest, session: Mutex::default() }
    }

    /// Whether this process led when it last looked.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Keeps the lead, or takes it when nobody has it; answers whether this process leads now. Nobody leads a standby.
    pub(crate) async fn take(&self) -> Result<bool, sqlx::Error> {
        let Some(place) = &self.contest else { return Ok(true) };
        let mut session = self.session.lock().await;
        let led = self.leads.swap(false, Ordering::Relaxed);
        let asked = timeout(ANSWER_TIMEOUT, contend(&mut session, place, led)).await;
        let leads = match asked {
            Ok(Ok(leads)) => leads,
            failed => {
                // Whatever happened to the session, the lock went with it or will.
                session.take();
                return failed.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
            }
        };
        self.leads.store(leads, Ordering::Relaxed);
        Ok(leads)
    }

    /// Lets another process lead.
    pub(crate) async fn resign(&self) {
        if self.contest.is_some() {
            self.leads.store(false, Ordering::Relaxed);
            self.session.lock().await.take();
        }
    }
}

/// Asks the session, connecting it first when there is none. The lock is taken once per session.
async fn contend(
    session: &mut Option<PgConnection>,
    place: &PostgresPlace,
    leads: bool,
) -> Result<bool, sqlx::Error> {
    let (connection, holds) = match session {
        Some(connection) => (connection, leads),
        None => {
            let connection = session.insert(place.connect().await?);
            connection.execute(KEEPALIVES).await?;
            (connection, false)
        }
    };
    if schema::is_standby(connection).await? {
        return Ok(false);
    }
    if holds {
        return Ok(true);
    }
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('formledger projects ' || $1))")
        .bind(place.schema)
        .fetch_one(connection)
        .await
}
