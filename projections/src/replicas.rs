//! All replicas of the read models behind one door: queries go to whichever can answer, each has a runner of its own.
//! Built by `api`'s composition root; with one database only, it is that database.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use formledger_domain::TenantContext;
use formledger_store::{LedgerHead, Store, StoreError, causes};
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::keeper::keep;
use crate::pool::PoolUse;
use crate::read_models::ReadModels;
use crate::reader::TenantReader;
use crate::runner::{Runner, RunnerSettings};
use crate::standing::{Ends, Heads, by_tenant};
use crate::status::ReadModelStatus;

/// How long a replica may take to tell its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Any number of databases that hold the same read models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replicas {
    /// The primary's own last: it serves when no other does.
    all: Arc<[ReadModels]>,
    ends: Arc<Ends>,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// Where the ledgers ended at a look, and which replicas told then where they are.
type Beside = (Heads, Arc<[bool]>);

/// The last look at all of them.
#[derive(Debug)]
struct Seen {
    at: Instant,
    beside: Result<Beside, StoreError>,
}

/// How one replica stands.
#[derive(Debug)]
pub struct ReplicaStatus {
    /// Whether queries are sent there.
    pub answers: bool,
    /// Whether its runner in this process panicked and has not been well since.
    pub runner_failed: bool,
    /// Its read models; as they were when they last told, beside where ledgers end now, when it told nothing.
    pub read_models: Vec<ReadModelStatus>,
}

impl ReplicaStatus {
    /// Events that its slowest read model is behind.
    pub fn lag_events(&self) -> u64 {
        self.read_models.iter().map(|status| status.lag_events).max().unwrap_or_default()
    }

    /// Tenants at which a read model stopped, counted once for each.
    pub fn parked(&self) -> u64 {
        self.read_models.iter().map(|status| status.parked_count).sum()
    }
}

impl Replicas {
    /// The read models beside the ledger, and those of the replicas, which serve before it.
    pub fn new(primary: ReadModels, replicas: Vec<ReadModels>) -> Self {
        Self {
            all: replicas.into_iter().chain([primary]).collect(),
            ends: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// How metrics name one of them, by its place.
    pub fn label(&self, replica: usize) -> String {
        self.all[replica].label()
    }

    pub(crate) fn all(&self) -> &[ReadModels] {
        &self.all
    }

    /// The read models of the context's tenant, and of no other.
    pub fn reader(&self, context: &TenantContext) -> TenantReader {
        TenantReader::new(context.tenant.clone(), self.all.clone())
    }

    /// One runner for each; several processes may run theirs, one of them leads.
    pub fn runners(&self, store: &Store, settings: &RunnerSettings) -> Vec<Runner> {
        self.all.iter().map(|models| self.runner(store, models, settings)).collect()
    }

    fn runner(&self, store: &Store, models: &ReadModels, settings: &RunnerSettings) -> Runner {
        Runner::new(store.clone(), models.clone(), settings.clone()).noting(&self.ends)
    }

    /// Keeps all of them up to date until `shutdown` completes, each with a runner that is started again when it panics, and looks how far each one is.
    pub async fn keep(
        &self,
        store: &Store,
        settings: &RunnerSettings,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let shutdown = shutdown.shared();
        let restarts = |models: &ReadModels| metrics::counter!("formledger_projection_runner_restarts_total", "replica" => models.label());
        let watch = || self.watch(store, settings.poll_interval, shutdown.clone());
        let failed = |said: String| async move {
            tracing::error!(panic = said, "what looks how far read models are failed; it is started again");
        };
        let watched = keep(watch, failed, shutdown.clone());
        let kept = join_all(self.all.iter().map(|models| {
            // From the start, so that the first one is an increase.
            restarts(models).increment(0);
            let ends = shutdown.clone();
            let start = move || self.runner(store, models, settings).run(ends.clone());
            let failed = move |said: String| async move {
                restarts(models).increment(1);
                tracing::error!(
                    replica = models.name(),
                    panic = said,
                    "a projector failed; it is started again"
                );
                models.runner_failed().await;
            };
            keep(start, failed, shutdown.clone())
        }));
        join(kept, watched).await;
    }

    /// Looks how far each one is, again and again: a runner tells nothing of a database that nobody leads or another process does, nor while its batch hangs.
    async fn watch(&self, store: &Store, every: Duration, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                _ = looks.tick() => {}
            }
            tokio::select! {
                () = &mut shutdown => return,
                () = self.look(store, every) => {}
            }
        }
    }

    /// Looks how far each one is, beside ends that are no older than `age` where the ledger tells, and sets the gauges of that.
    async fn look(&self, store: &Store, age: Duration) {
        if self.ends.latest().is_none_or(|(at, _)| at.elapsed() >= age) {
            match timeout(STATUS_TIMEOUT, store.ends()).await {
                Ok(Ok(ends)) => self.ends.note(&Heads::new(ends.into_iter().collect())),
                // What was seen last is told: the runners log what is wrong.
                Ok(Err(error)) => {
                    tracing::debug!(error = causes(&error), "the ledger does not say where it ends")
                }
                Err(_) => {}
            }
        }
        let Some((at, heads)) = self.ends.latest() else { return };
        let (tell, stands) = self.look_beside(&heads).await;
        if at.elapsed() < age + STATUS_TIMEOUT {
            *self.seen.lock().await = Some(Seen { at: Instant::now(), beside: Ok((heads, tell)) });
        }
        let due = self.ends.due();
        for (models, read_models) in self.all.iter().zip(stands) {
            let replica = models.label();
            let stale = due.as_ref().map_or(0, |due| models.standing().judge(due));
            metrics::gauge!("formledger_replica_stale_tenants", "replica" => replica.clone())
                .set(stale as f64);
            for ReadModelStatus { read_model, lag_events, parked_count, .. } in read_models {
                let gauge = |name| metrics::gauge!(name, "projection" => read_model.name(), "replica" => replica.clone());
                gauge("formledger_projection_lag_events").set(lag_events as f64);
                gauge("formledger_projection_parked").set(parked_count as f64);
            }
        }
    }

    /// The primary's own, which timers ask what is due: another replica may be far behind and answer all the same, and what it has not
    /// heard of would never be due.
    pub fn own(&self) -> &ReadModels {
        self.all.last().expect("the primary's own is always there")
    }

    /// How each one stands, those that serve first. One that does not answer soon is told as not answering.
    pub async fn status(&self, heads: &[LedgerHead]) -> Vec<ReplicaStatus> {
        let heads = by_tenant(heads);
        let (tell, _) = self.look_beside(&heads).await;
        self.told(&heads, &tell)
    }

    /// How each one stood at most `age` ago: as [`Replicas::keep`] saw it, which looks every two seconds. Where nobody does, who asks first looks for all who ask
    /// meanwhile; however many that are, it is looked once in `age`.
    ///
    /// # Errors
    /// Why the ledger did not say where it ends.
    pub async fn stood(&self, store: &Store, age: Duration) -> Result<Vec<ReplicaStatus>, StoreError> {
        let mut seen = self.seen.lock().await;
        let beside = match &*seen {
            Some(Seen { at, beside }) if at.elapsed() < age => beside.clone(),
            _ => {
                let beside = self.look_now(store).await;
                *seen = Some(Seen { at: Instant::now(), beside: beside.clone() });
                beside
            }
        };
        drop(seen);
        beside.map(|(heads, tell)| self.told(&heads, &tell))
    }

    async fn look_now(&self, store: &Store) -> Result<Beside, StoreError> {
        let heads = Heads::new(store.ends().await?.into_iter().collect());
        self.ends.note(&heads);
        let (tell, _) = self.look_beside(&heads).await;
        Ok((heads, tell))
    }

    /// Looks where each one is: whether it tells, and how it stands then.
    async fn look_beside(&self, heads: &Heads) -> (Arc<[bool]>, Vec<Vec<ReadModelStatus>>) {
        let looks = self.all.iter().map(|models| async {
            let tells = match timeout(STATUS_TIMEOUT, models.look(heads)).await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::debug!(
                        replica = models.name(),
                        error = causes(&error),
                        "a replica tells nothing"
                    );
                    false
                }
                Err(_) => false,
            };
            (tells, models.last_status(heads))
        });
        let (tell, stands): (Vec<bool>, Vec<_>) = join_all(looks).await.into_iter().unzip();
        (tell.into(), stands)
    }

    /// What was seen, and what is known without looking: whether queries go there, and whether its runner failed.
    fn told(&self, heads: &Heads, tell: &[bool]) -> Vec<ReplicaStatus> {
        let status = |(models, tells): (&ReadModels, &bool)| ReplicaStatus {
            answers: models.health().is_in() && *tells,
            runner_failed: models.health().runner_has_failed(),
            read_models: models.last_status(heads),
        };
        self.all.iter().zip(tell).map(status).collect()
    }

    /// Sets the gauges of connections and health.
    pub fn report(&self) {
        for models in self.all.iter() {
            let (replica, PoolUse { open, idle }) = (models.label(), models.pool_use());
            let connections = |state| metrics::gauge!("formledger_replica_connections", "replica" => replica.clone(), "state" => state);
            connections("idle").set(idle);
            connections("busy").set(open.saturating_sub(idle));
            let flag = |name| metrics::gauge!(name, "replica" => replica.clone());
            flag("formledger_replica_answers").set(u8::from(models.health().is_in()));
            flag("formledger_replica_leads").set(u8::from(models.leadership().leads()));
            flag("formledger_projection_runner_failed").set(u8::from(models.health().runner_has_failed()));
        }
    }

    /// Closes all of them; see [`ReadModels::close`].
    pub async fn close(&self) {
        for models in self.all.iter() {
            models.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projector::tests::{Site, catch_up};

    #[tokio::test]
    async fn however_many_ask_how_replicas_stand_it_is_looked_once_while_that_is_new() {
        const LONG: Duration = Duration::from_secs(600);
        let site = Site::on_sqlite().await;
        let replicas = Replicas::new(site.models.clone(), Vec::new());
        let lag = async |age| {
            let stood = replicas.stood(&site.store, age).await.expect("the ledger tells");
            stood.iter().map(ReplicaStatus::lag_events).sum::<u64>()
        };
        site.publish("acme").await;
        let asked = join_all((0..50).map(|_| lag(LONG))).await;
        assert!(asked.iter().all(|lag| *lag == 1), "{asked:?}");
        let looked_at = replicas.seen.lock().await.as_ref().map(|seen| seen.at);
        catch_up(&mut site.projector().await).await;
        assert_eq!(lag(LONG).await, 1, "as it was seen");
        assert_eq!(
            replicas.seen.lock().await.as_ref().map(|seen| seen.at),
            looked_at,
            "by the first of fifty"
        );
        assert_eq!(lag(Duration::ZERO).await, 0, "looked at anew");
        replicas.look(&site.store, LONG).await;
        let watched_at = replicas.seen.lock().await.as_ref().map(|seen| seen.at);
        assert!(watched_at > looked_at, "whoever watches tells, too");
    }
}
