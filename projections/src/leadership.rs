//! One active projector per set of read models, among any number of processes: who holds an advisory lock of the database leads.
//! Asked by the runner before each poll. The lock lives as long as its session, so another process takes over when its holder dies. One that
//! stands still without dying (a frozen machine, whose kernel still answers for it) keeps the session: so who leads says something in it every
//! few seconds, and who does not lead ends a session that was silent for long. A holder that lost the lead without noticing writes nothing,
//! because every batch compares and sets its checkpoints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgConnection;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::place::{Place, PostgresPlace};
use crate::schema;

/// How long the holder's session may take to answer before the lead is taken for lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Makes the server find out within half a minute that the holder's machine is gone, and keeps what lies between from forgetting a session.
pub(crate) const KEEPALIVES: &str =
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

/// How long who leads says nothing in its session, at most: polls do, and [`Leadership::stay_heard`] while a step takes longer.
const HEARD_EVERY: Duration = Duration::from_secs(4);
/// How long the session of who leads is silent before another process ends it: five times as long as it is when all is well.
const SILENT_MAX: Duration = Duration::from_secs(20);

/// Ends the session of who leads the schema `$1` where its client has said nothing for `$2` seconds, and with it whoever has waited half as long within a
/// transaction that writes there: that is the same process, stopped half-way through a batch, and would keep all others from writing. The server lets a
/// login see and end its own sessions and no others; of another login's it tells no state, which then is not silent.
const END_SILENT: &str = "\
    WITH locks AS (SELECT pid, (classid::bigint << 32) | objid::bigint AS key FROM pg_locks \
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())), \
    waiting AS (SELECT pid, clock_timestamp() - state_change AS since FROM pg_stat_activity \
        WHERE pid <> pg_backend_pid() AND (state LIKE 'idle%' OR state = 'active' AND wait_event = 'ClientRead')), \
    silent AS (SELECT pid FROM locks JOIN waiting USING (pid) \
        WHERE key = hashtext('formledger projects ' || $1) AND since > make_interval(secs => $2)), \
    stopped AS (SELECT pid FROM locks JOIN waiting USING (pid) \
        WHERE key = hashtext('formledger writes ' || $1) AND since > make_interval(secs => $2 / 2)) \
    SELECT pid, pg_terminate_backend(pid) FROM (SELECT pid FROM silent UNION SELECT pid FROM stopped) AS ended \
    WHERE EXISTS (SELECT 1 FROM silent)";

/// Whether this process leads one set of read models.
#[derive(Debug)]
pub(crate) struct Leadership {
    /// `None` for a file, which one process has to itself.
    contest: Option<PostgresPlace>,
    /// The session that holds the lock, or tries to.
    session: Mutex<Option<Session>>,
    leads: AtomicBool,
    silent_max: Duration,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    /// When it last said something.
    heard: Instant,
}

impl Leadership {
    pub(crate) fn of(place: &Place) -> Self {
        let contest = match place {
            Place::Sqlite(_) => None,
            Place::Postgres(place) => Some((**place).clone()),
        };
        let leads = AtomicBool::new(contest.is_none());
        Self { leads, contest, session: Mutex::default(), silent_max: SILENT_MAX }
    }

    /// Whether this process led when it last looked.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Keeps the lead, or takes it when nobody has it; answers whether this process leads now. Nobody leads a standby.
    pub(crate) async fn take(&self) -> Result<bool, sqlx::Error> {
        let Some(place) = &self.contest else { return Ok(true) };
        let mut session = self.session.lock().await;
        let mut asking = Asking { leads: &self.leads, session: &mut session, answered: false };
        let asked = contend(asking.session, place, self.leads(), self.silent_max);
        let asked = timeout(ANSWER_TIMEOUT, asked).await;
        asking.answered = matches!(asked, Ok(Ok(_)));
        let leads = asked.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))?;
        // Only now: who leads does so while it asks, too.
        self.leads.store(leads, Ordering::Relaxed);
        Ok(leads)
    }

    /// Says something in the session of who leads whenever nothing was said there for a while, for ever: a step of the runner may take minutes,
    /// and others take who is silent for one that stands still.
    pub(crate) async fn stay_heard(&self) {
        loop {
            sleep(HEARD_EVERY).await;
            let mut session = self.session.lock().await;
            let is_silent = |session: &Session| session.heard.elapsed() >= HEARD_EVERY;
            if !self.leads() || !session.as_ref().is_some_and(is_silent) {
                continue;
            }
            let mut asking = Asking { leads: &self.leads, session: &mut session, answered: false };
            if let Some(session) = asking.session {
                let said = timeout(ANSWER_TIMEOUT, session.connection.execute("SELECT 1")).await;
                session.heard = Instant::now();
                asking.answered = matches!(said, Ok(Ok(_)));
            }
        }
    }

    /// Lets another process lead.
    pub(crate) async fn resign(&self) {
        if self.contest.is_some() {
            self.leads.store(false, Ordering::Relaxed);
            self.session.lock().await.take();
        }
    }
}

/// A question in the session. Where it is not answered, or nobody waits for the answer any more, the session goes, and the lock with it.
struct Asking<'a> {
    leads: &'a AtomicBool,
    session: &'a mut Option<Session>,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.leads.store(false, Ordering::Relaxed);
            self.session.take();
        }
    }
}

/// Asks the session, connecting it first when there is none. The lock is taken once per session.
async fn contend(
    session: &mut Option<Session>,
    place: &PostgresPlace,
    leads: bool,
    silent_max: Duration,
) -> Result<bool, sqlx::Error> {
    let (session, holds) = match session {
        Some(session) => (session, leads),
        None => {
            let mut connection = place.connect().await?;
            connection.execute(KEEPALIVES).await?;
            (session.insert(Session { connection, heard: Instant::now() }), false)
        }
    };
    session.heard = Instant::now();
    let connection = &mut session.connection;
    if schema::is_standby(connection).await? {
        return Ok(false);
    }
    if holds {
        return Ok(true);
    }
    let taken: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('formledger projects ' || $1))")
            .bind(place.schema)
            .fetch_one(&mut *connection)
            .await?;
    if !taken {
        end_silent(connection, place, silent_max).await?;
    }
    Ok(taken)
}

/// Ends who leads and stands still; the lead is free for the next poll.
async fn end_silent(
    connection: &mut PgConnection,
    place: &PostgresPlace,
    silent_max: Duration,
) -> Result<(), sqlx::Error> {
    let ended: Vec<(i32, bool)> = sqlx::query_as(END_SILENT)
        .bind(place.schema)
        .bind(silent_max.as_secs_f64())
        .fetch_all(connection)
        .await?;
    if !ended.is_empty() {
        tracing::warn!(
            replica = place.name(),
            sessions = ?ended,
            "who keeps read models says nothing any more; its sessions are ended, and another process may lead"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use formledger_test_cluster::Database;
    use sqlx::postgres::PgConnectOptions;

    use super::*;
    use crate::place::ReadModelPlace;

    /// Long enough for anything that is to happen, on a busy machine.
    const LONG: Duration = Duration::from_secs(30);
    /// How long who stands still is silent here.
    const SHORT: Duration = Duration::from_millis(400);

    fn contender(place: &Place, silent_max: Duration) -> Leadership {
        Leadership { silent_max, ..Leadership::of(place) }
    }

    async fn comes_to_lead(contender: &Leadership) {
        let led = async {
            while !contender.take().await.expect("an answer") {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, led).await.expect("the lead is taken");
    }

    /// As the nodes log in (deploy/postgres/roles.sql): no superuser, who inherits nothing.
    async fn place_of_a_plain_login(database: &Database) -> Place {
        let login = format!("login_of_{}", database.name());
        let make = format!("CREATE ROLE {login} LOGIN NOINHERIT");
        database.connect().await.execute(&*make).await.expect("a login");
        let ReadModelPlace(place) = ReadModelPlace::postgres(&database.url()).expect("a place");
        let Place::Postgres(mut place) = place else { unreachable!("on Postgres") };
        place.options = PgConnectOptions::username(place.options, &login);
        Place::Postgres(place)
    }

    #[tokio::test]
    async fn who_leads_and_stands_still_loses_the_lead_and_the_transaction_that_it_left() {
        let database = Database::create().await;
        let place = place_of_a_plain_login(&database).await;
        let frozen = contender(&place, SILENT_MAX);
        assert!(frozen.take().await.expect("an answer"));
        let Place::Postgres(postgres) = &place else { unreachable!("on Postgres") };
        let mut batch = postgres.connect().await.expect("connects");
        let begin = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('formledger writes read_models'))";
        batch.execute(begin).await.expect("writes");

        let other = contender(&place, SILENT_MAX);
        for _ in 0..3 {
            assert!(!other.take().await.expect("an answer"), "nobody ends who was heard just now");
        }
        // Both sessions are silent by now for longer than the other one asks; of one that is not, nothing would ever be ended.
        sleep(SHORT).await;
        let other = contender(&place, SHORT);
        comes_to_lead(&other).await;
        let mut next = postgres.connect().await.expect("connects");
        timeout(LONG, next.execute(begin)).await.expect("nobody is waited for").expect("writes");
        batch.execute("COMMIT").await.expect_err("its session was ended");

        assert!(frozen.leads(), "it has not looked since");
        frozen.take().await.expect_err("its session is gone");
        assert!(!frozen.leads());
        assert!(!frozen.take().await.expect("an answer"), "the other one leads");
    }

    #[tokio::test]
    async fn sessions_of_another_login_are_left_alone() {
        let database = Database::create().await;
        let ReadModelPlace(others) = ReadModelPlace::postgres(&database.url()).expect("a place");
        let leader = contender(&others, SILENT_MAX);
        assert!(leader.take().await.expect("an answer"));
        let place = place_of_a_plain_login(&database).await;
        let other = contender(&place, Duration::ZERO);
        for _ in 0..3 {
            assert!(!other.take().await.expect("an answer"));
        }
        assert!(leader.take().await.expect("its session is there"));
    }

    #[tokio::test]
    async fn who_leads_is_taken_for_one_that_leads_while_it_asks() {
        let database = Database::create().await;
        let ReadModelPlace(place) = ReadModelPlace::postgres(&database.url()).expect("a place");
        let leader = contender(&place, SILENT_MAX);
        assert!(leader.take().await.expect("an answer"));
        let mut asking = Box::pin(leader.take());
        loop {
            let answered = std::future::poll_fn(|context| {
                std::task::Poll::Ready(asking.as_mut().poll(context).is_ready())
            });
            if answered.await {
                break;
            }
            assert!(leader.leads());
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_leads_is_heard_while_a_step_takes_long() {
        let database = Database::create().await;
        let ReadModelPlace(place) = ReadModelPlace::postgres(&database.url()).expect("a place");
        let leader = contender(&place, SILENT_MAX);
        assert!(leader.take().await.expect("an answer"));
        let last_heard = "SELECT extract(epoch FROM state_change)::float8 FROM pg_locks JOIN pg_stat_activity USING (pid) \
                          WHERE locktype = 'advisory' AND datname = current_database()";
        let mut watching = database.connect().await;
        let mut heard = async || -> f64 {
            sqlx::query_scalar(last_heard).fetch_one(&mut watching).await.expect("it leads")
        };
        let before = heard().await;
        let heard_again = async {
            while heard().await <= before {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = leader.stay_heard() => unreachable!("for ever"),
            heard = timeout(LONG, heard_again) => heard.expect("it is heard"),
        }
        assert!(leader.leads());
    }
}
