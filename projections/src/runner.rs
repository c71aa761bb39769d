//! Follows the ledger while the process lives: wakes when ledgers move, gathers under load, retries what failed.
//! Started by `api` once per process; what a batch does is the projector's.

use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use formledger_domain::{Position, TenantId};
use formledger_store::{Moved, Store, causes};
use futures_util::FutureExt;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::position::ReadModel;
use crate::projector::{BatchLimits, ProjectError, Projector};
use crate::read_models::ReadModels;
use crate::standing::{Ends, Heads};

/// How long the runner rests after a failure, so that a broken database is not hammered.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A batch that took less than the [`RunnerSettings::step_timeout`] divided by this may be followed by one of twice its size.
const GROWS_WITHIN: u32 = 4;
/// Events gather for at most so many times the duration of the last batch, so that small batches take a twentieth of the time at most.
const GATHERS_TIMES: u32 = 20;

/// Limits of a runner.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// Events applied in one transaction, at most.
    pub batch_events_max: usize,
    /// Payload bytes after which a batch takes no further events.
    pub batch_bytes_max: usize,
    /// The longest from the beginning of one batch to the next while nobody waits for a position and less than a full batch is there: under load,
    /// batches grow instead of costing more. After one that took little time it is less, so that who changes something on a server at rest sees it in
    /// what it reads next. The first events after a quiet moment are applied at once.
    pub gathering_max: Duration,
    /// How often the ledger is asked for news that no signal announced.
    pub poll_interval: Duration,
    /// How long one batch or one look at the ledgers may take before it is given up and tried again on a fresh connection. A server that hangs
    /// answers nothing, not even that it does; on one that works a batch is far quicker, or is tried with half as many events. A file is given up between two
    /// statements only.
    pub step_timeout: Duration,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self {
            batch_events_max: 16 * 1024,
            batch_bytes_max: 32 * 1024 * 1024,
            gathering_max: Duration::from_millis(400),
            poll_interval: Duration::from_secs(2),
            step_timeout: Duration::from_secs(120),
        }
    }
}

/// Keeps the read models of all tenants up to date.
#[derive(Debug)]
pub struct Runner {
    projector: Projector,
    settings: RunnerSettings,
    /// Whether this process keeps the read models; another one may.
    leads: bool,
    loaded: bool,
    /// The ledger's era in which the rows were compared with it.
    era: u64,
    /// Where this process notes where ledgers end, so that not everybody asks.
    ends: Arc<Ends>,
    /// How many times a step's time the next one has, because the last ones took longer though they were as small as can be.
    patience: u32,
}

/// The most times [`RunnerSettings::step_timeout`] that one event gets.
const PATIENCE_MAX: u32 = 32;

impl Runner {
    /// A runner that has read nothing yet.
    pub fn new(store: Store, read_models: ReadModels, settings: RunnerSettings) -> Self {
        let limits =
            BatchLimits { events_max: settings.batch_events_max, bytes_max: settings.batch_bytes_max };
        Self {
            projector: Projector::new(store, read_models, &ReadModel::ALL, limits),
            settings,
            leads: false,
            loaded: false,
            era: 0,
            ends: Arc::default(),
            patience: 1,
        }
    }

    /// The same runner, that notes in `ends` where ledgers end.
    pub(crate) fn noting(self, ends: &Arc<Ends>) -> Self {
        Self { ends: Arc::clone(ends), ..self }
    }

    /// Applies everything up to the ledgers' present heads; answers how many events that was: 0 where another process leads.
    ///
    /// # Errors
    /// [`ProjectError`]; what was committed before stays.
    pub async fn run_once(&mut self) -> Result<u64, ProjectError> {
        self.poll().await?;
        let mut events = 0;
        while self.projector.is_behind() {
            events += self.advance().await? as u64;
        }
        self.projector.report();
        Ok(events)
    }

    /// Applies one batch; where the ledger lost events that the rows reflect, sees to the rows first.
    async fn advance(&mut self) -> Result<usize, ProjectError> {
        let began = Instant::now();
        match timeout(self.settings.step_timeout * self.patience, self.projector.advance()).await {
            Err(overdue) => {
                // One event may ask for much: a form version that indexes other fields has the keys of all its submissions made again.
                if !self.projector.shrink() {
                    self.patience = (self.patience * 2).min(PATIENCE_MAX);
                }
                self.projector.forget();
                // Nothing that it knows holds: the batch may have been committed or not.
                self.loaded = false;
                self.projector.rest();
                self.projector.read_models().forget_writer().await;
                Err(timed_out(overdue))
            }
            Ok(advanced) => {
                if advanced.is_ok() {
                    self.patience = 1;
                }
                if advanced.is_ok() && began.elapsed() <= self.settings.step_timeout / GROWS_WITHIN {
                    self.projector.grow();
                }
                self.see_to_history(advanced).await
            }
        }
    }

    async fn see_to_history(&mut self, advanced: Result<usize, ProjectError>) -> Result<usize, ProjectError> {
        match advanced {
            Err(error @ ProjectError::HistoryLost { .. }) => {
                tracing::warn!(
                    replica = self.projector.read_models().name(),
                    error = causes(&error),
                    "comparing all rows with the ledgers"
                );
                self.loaded = false;
                self.poll().await?;
                Ok(0)
            }
            advanced => advanced,
        }
    }

    /// Follows until `shutdown` completes; failures are logged and tried again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let models = self.projector.read_models().clone();
        // Beside it, because others take a leader that says nothing for one that stands still, and a step may take long.
        tokio::select! {
            () = self.follow(shutdown) => {}
            () = models.leadership().stay_heard() => {}
        }
    }

    async fn follow(mut self, shutdown: impl Future<Output = ()> + Send) {
        let shutdown = shutdown.shared();
        tokio::pin!(shutdown);
        // Before the first poll: what moves in between is announced.
        let mut moved = self.projector.store().moved();
        let mut polls = interval(self.settings.poll_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gathers_until = None;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return self.projector.read_models().leadership().resign().await,
                _ = polls.tick() => self.poll_or_log().await,
                heads = moved.next() => self.aim(heads),
            }
            while self.projector.is_behind() {
                tokio::select! {
                    biased;
                    () = shutdown.clone() => return self.projector.read_models().leadership().resign().await,
                    () = self.gather(gathers_until) => {}
                }
                self.take_news(&mut moved);
                // Who is behind for long, under load or because the database fails, polls and reports all the same.
                if polls.tick().now_or_never().is_some() {
                    self.poll_or_log().await;
                }
                let began = Instant::now();
                let advanced = self.advance().await;
                gathers_until =
                    Some(began + (began.elapsed() * GATHERS_TIMES).min(self.settings.gathering_max));
                if let Err(error) = advanced {
                    self.log(&error);
                    self.projector.report();
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Lets events gather until then, or a batch is full, or someone waits.
    async fn gather(&self, until: Option<Instant>) {
        let Some(until) = until else { return };
        if self.projector.backlog() >= self.settings.batch_events_max as u64 {
            return;
        }
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.projector.read_models().applied().someone_waits() => {}
        }
    }

    fn take_news(&mut self, moved: &mut Moved) {
        while let Some(heads) = moved.next().now_or_never() {
            self.aim(heads);
        }
    }

    /// Who does not lead lets ledgers move; it asks for all heads when it begins to lead.
    fn aim(&mut self, heads: impl IntoIterator<Item = (TenantId, Position)>) {
        if self.leads {
            self.projector.aim(heads);
        }
    }

    /// The one place where a failed batch is reported.
    fn log(&self, error: &ProjectError) {
        let replica = self.projector.read_models().name();
        tracing::error!(
            replica,
            error = causes(error),
            "read models were not brought up to date; trying again"
        );
    }

    async fn poll_or_log(&mut self) {
        let polled = self.poll().await;
        if polled.is_ok() {
            self.projector.read_models().health().runner_failed(false);
        }
        if let Err(error) = polled {
            self.log(&error);
            // A ledger that could not be read may be another one when it can be again: a standby that took over.
            self.loaded &= !matches!(error, ProjectError::Store(_));
        }
        self.projector.report();
    }

    /// Keeps or takes the lead. What was known before another process led is forgotten.
    async fn lead(&mut self) -> Result<bool, ProjectError> {
        let models = self.projector.read_models().clone();
        let led = std::mem::take(&mut self.leads);
        let leads = models.leadership().take().await;
        self.leads = matches!(leads, Ok(true));
        if led != self.leads {
            self.loaded = false;
            self.projector.rest();
            tracing::info!(
                replica = models.name(),
                leads = self.leads,
                "the keeping of read models changed hands"
            );
        }
        Ok(leads?)
    }

    /// Asks the ledger where it ends, and looks whether somebody else freed parked tenants or switched rows.
    async fn poll(&mut self) -> Result<(), ProjectError> {
        let polled = match timeout(self.settings.step_timeout, self.look()).await {
            Ok(polled) => polled,
            Err(overdue) => {
                // It may have been cut off between reading and remembering.
                self.loaded = false;
                Err(timed_out(overdue))
            }
        };
        if let Err(ProjectError::Database(error)) = &polled {
            // The next one takes a fresh connection: this one may be gone with its server, and nothing else would ever replace it.
            self.projector.read_models().forget_writer().await;
            self.projector.read_models().note_outage(error);
        }
        polled
    }

    async fn look(&mut self) -> Result<(), ProjectError> {
        self.projector.read_models().prepare().await?;
        // One that has to be proven may be another database than the one that its rows were read from.
        self.loaded &= self.projector.read_models().health().is_proven();
        self.projector.read_models().prove(self.projector.store()).await?;
        if !self.projector.read_models().health().is_proven() || !self.lead().await? {
            return Ok(());
        }
        // Before anything is read: what is lost from here on begins another era.
        let era = self.projector.store().era();
        let mut first = !self.loaded || era != self.era;
        if first {
            // What was heard of where ledgers end may not be true any more.
            self.projector.rest();
        }
        if first || self.projector.changed_elsewhere().await? {
            // Parked tenants are tried again when the process starts: this binary may be able to read what the last one could not.
            self.projector.load(first).await?;
        }
        let heads = Heads::new(self.projector.store().ends().await?.into_iter().collect());
        self.ends.note(&heads);
        if !first && self.projector.is_ahead(&heads) {
            // The ledger was set back under us.
            self.projector.rest();
            self.projector.load(true).await?;
            first = true;
        }
        if first {
            // Only now: a start that failed half way is made again as a whole.
            self.loaded = false;
            self.loaded = self.projector.check(&heads).await?;
            self.era = era;
        }
        self.projector.aim(heads.iter().map(|(tenant, head)| (tenant.clone(), *head)));
        Ok(())
    }
}

/// See [`RunnerSettings::step_timeout`].
fn timed_out(_: Elapsed) -> ProjectError {
    sqlx::Error::Io(ErrorKind::TimedOut.into()).into()
}

#[cfg(test)]
mod tests {
    use formledger_test_cluster::{Postgres, Settings, Shutdown};
    use sqlx::{Connection, Executor, PgConnection};

    use super::*;
    use crate::place::{Place, ReadModelPlace};
    use crate::projector::tests::Site;
    use crate::read_models::ReadModelSettings;

    /// Long enough for anything that is to happen, on a busy machine.
    const LONG: Duration = Duration::from_secs(30);

    /// One batch with little time, of one event; whatever comes before it has as much as it likes.
    async fn step(runner: &mut Runner, time: Duration) -> Result<usize, ProjectError> {
        runner.settings.step_timeout = LONG;
        runner.poll().await.expect("the ledger and the checkpoints can be read");
        runner.settings.step_timeout = time;
        runner.advance().await
    }

    #[tokio::test]
    async fn one_event_that_takes_too_long_gets_more_time_up_to_a_bound_and_the_next_one_does_not() {
        let site = Site::on_postgres().await;
        site.publish("acme").await;
        site.submit("acme").await;
        let settings = RunnerSettings { batch_events_max: 1, ..RunnerSettings::default() };
        let mut runner = Runner::new(site.store.clone(), site.models.clone(), settings);
        step(&mut runner, LONG).await.expect("the form");
        let Place::Postgres(place) = &site.place.0 else { unreachable!("on Postgres") };
        let lock = "BEGIN; LOCK TABLE read_models.submissions IN ACCESS EXCLUSIVE MODE";
        let mut holder: PgConnection = place.connect().await.expect("connects");
        holder.execute(lock).await.expect("locks");

        let time = Duration::from_millis(50);
        for patience in [2, 4, 8, 16, 32, 32, 32] {
            let overdue = step(&mut runner, time).await.expect_err("it waits for the lock");
            assert!(format!("{overdue:?}").contains("TimedOut"), "{overdue:?}");
            assert_eq!(runner.patience, patience);
        }
        // It is used: the event takes eight times what a step has.
        let release = async {
            sleep(time * 8).await;
            holder.execute("COMMIT").await.expect("unlocks");
        };
        let (applied, ()) = tokio::join!(step(&mut runner, time), release);
        assert_eq!(applied.expect("in time"), 1);
        assert_eq!(runner.patience, 1);

        site.submit("acme").await;
        holder.execute(lock).await.expect("locks");
        step(&mut runner, time).await.expect_err("it waits for the lock");
        assert_eq!(runner.patience, 2);
        holder.close().await.expect("ends");
        step(&mut runner, LONG).await.expect("the last one");
    }

    #[tokio::test]
    async fn what_follows_a_little_batch_does_not_wait_as_long_as_what_follows_a_large_one() {
        let site = Site::on_sqlite().await;
        let settings = RunnerSettings { gathering_max: LONG * 20, ..RunnerSettings::default() };
        let runner = Runner::new(site.store.clone(), site.models.clone(), settings);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(runner.run(async { drop(stopped.await) }));
        for position in 1..=4 {
            if position == 1 {
                site.publish("acme").await;
            } else {
                site.submit("acme").await;
            }
            let applied = async {
                while site.position("acme", ReadModel::Submissions).await < position {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(LONG, applied).await.expect("long before a full load's interval is over");
        }
        drop(stop);
        timeout(LONG, running).await.expect("stops").expect("without panic");
    }

    #[tokio::test]
    async fn a_replica_that_its_runner_cannot_reach_is_out_before_anybody_asks_it_and_comes_back() {
        let site = Site::on_sqlite().await;
        site.publish("acme").await;
        let mut postgres = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
        let place = ReadModelPlace::postgres(&postgres.create_database("formledger").await).expect("a URL");
        let replica = ReadModels::open_replica(place, ReadModelSettings::default()).await.expect("a replica");
        let mut runner = Runner::new(site.store.clone(), replica.clone(), RunnerSettings::default());
        assert_eq!(runner.run_once().await.expect("a run"), 1);
        assert!(replica.health().is_in());

        postgres.stop(Shutdown::Fast).await;
        runner.run_once().await.expect_err("it is away");
        assert!(!replica.health().is_in(), "nobody has asked it");
        postgres.start_again().await;
        let back = async {
            while !replica.health().is_in() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, back).await.expect("it comes back by itself");
        site.submit("acme").await;
        let caught_up = async { while !matches!(runner.run_once().await, Ok(1)) {} };
        timeout(LONG, caught_up).await.expect("and is kept");
    }
}
