//! One look at a database's checkpoints for all who wait for them there: another process that keeps it says nothing when it commits, and as many
//! transactions as waiters would leave no connection for queries. Used by readers that wait; what is seen goes to `Applied`, which wakes them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formledger_domain::{Position, TenantId};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::checkpoint;
use crate::position::ReadModel;
use crate::read_models::ReadModels;
use crate::reader::QUERY_TIMEOUT;

/// How often a database is looked at that this process keeps, for the case that another one does.
pub(crate) const WAIT_POLL: Duration = Duration::from_millis(100);
/// The same for a database that another process keeps.
const WAIT_POLL_ELSEWHERE: Duration = Duration::from_millis(20);
/// Who comes anew is not kept waiting for the next look, but there are no more than 200 a second of them.
const APART_MIN: Duration = Duration::from_millis(5);

/// Who waits for one database, and when it was looked at. Whoever waits first looks for all, and leaves it to the next one.
#[derive(Debug)]
pub(crate) struct Looks {
    waited: Mutex<Waited>,
    /// Held by who looks: when the last look began.
    turn: tokio::sync::Mutex<Option<Instant>>,
    newcomer: Notify,
    /// The last look that is over, counted from 1.
    over: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waited {
    /// How many wait for each tenant.
    tenants: HashMap<TenantId, usize>,
    /// Looks that have begun.
    begun: u64,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            waited: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            newcomer: Notify::new(),
            over: watch::Sender::new(0),
        }
    }
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, Waited> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks once, unless the database is known not to answer; one that cannot answer now may do so before a deadline, and the query itself reports it.
    async fn look(&self, models: &ReadModels) {
        let (tenants, number) = {
            let mut waited = self.lock();
            waited.begun += 1;
            (waited.tenants.keys().cloned().collect::<Vec<_>>(), waited.begun)
        };
        let databases = models.health().databases();
        let read = async {
            let mut snapshot = models.readers().snapshot_of_all().await?;
            checkpoint::positions(&mut snapshot.connection(), &tenants).await
        };
        // Not of another ledger's rows, and not of another database than the one that is proven.
        let is_in = || models.health().is_in() && models.health().databases() == databases;
        if is_in()
            && let Ok(Ok(positions)) = timeout(QUERY_TIMEOUT, read).await
            && is_in()
        {
            self.saw(models, &positions);
        }
        self.over.send_replace(number);
    }

    fn saw(&self, models: &ReadModels, positions: &[(TenantId, [Position; ReadModel::ALL.len()])]) {
        let mut is_news = false;
        for (tenant, positions) in positions {
            for (read_model, position) in ReadModel::ALL.into_iter().zip(positions) {
                is_news |= models.applied().saw(tenant, read_model, *position);
            }
        }
        if is_news {
            models.applied().announce();
        }
    }
}

/// Somebody who waits for a tenant's checkpoints in one database.
#[derive(Debug)]
pub(crate) struct Watcher<'a> {
    models: &'a ReadModels,
    tenant: &'a TenantId,
    /// The first look that begins from now on.
    next: u64,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(models: &'a ReadModels, tenant: &'a TenantId) -> Self {
        let mut waited = models.looks().lock();
        *waited.tenants.entry(tenant.clone()).or_default() += 1;
        let next = waited.begun + 1;
        drop(waited);
        models.looks().newcomer.notify_one();
        Self { models, tenant, next }
    }

    /// Looks for all whenever it is this one's turn; never ends. Whoever drops it leaves the turn to another one.
    pub(crate) async fn take_turns(&self) {
        let looks = self.models.looks();
        loop {
            let mut last = looks.turn.lock().await;
            if let Some(last) = *last {
                let interval = if self.models.leadership().leads() { WAIT_POLL } else { WAIT_POLL_ELSEWHERE };
                let for_newcomer = async {
                    looks.newcomer.notified().await;
                    sleep_until(last + APART_MIN).await;
                };
                tokio::select! {
                    () = sleep_until(last + interval) => {}
                    () = for_newcomer => {}
                }
            }
            *last = Some(Instant::now());
            looks.look(self.models).await;
        }
    }

    /// Completes when a look is over that began after this one came; somebody has to take turns meanwhile.
    pub(crate) async fn looked(&self) {
        // The sender lives as long as the read models.
        let _ = self.models.looks().over.subscribe().wait_for(|over| *over >= self.next).await;
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut waited = self.models.looks().lock();
        if let Some(count) = waited.tenants.get_mut(self.tenant) {
            *count -= 1;
            if *count == 0 {
                waited.tenants.remove(self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use formledger_domain::TenantContext;
    use futures_util::future::join_all;

    use super::*;
    use crate::projector::tests::{Site, catch_up};
    use crate::{Behind, TenantReader};

    const WAITERS: usize = 200;
    const LONG: Duration = Duration::from_secs(30);

    fn reader(models: &ReadModels, tenant: &str) -> TenantReader {
        let tenant: TenantId = tenant.parse().expect("a slug");
        models.reader(&TenantContext::system(tenant, "test", Utc::now()))
    }

    fn looks_begun(models: &ReadModels) -> u64 {
        models.looks().lock().begun
    }

    async fn who_waits_where_another_process_keeps_shares_one_look_with_all_who_wait(site: Site) {
        let elsewhere = site.another_process().await;
        let readers: Vec<_> =
            (0..WAITERS).map(|n| reader(&elsewhere, &format!("tenant-{}", n % 20))).collect();
        let began = Instant::now();
        let deadline = began + WAIT_POLL_ELSEWHERE * 10;
        let all = readers.iter().map(|reader| reader.wait_for(ReadModel::Forms, Position(1), deadline));
        for waited in join_all(all).await {
            assert_eq!(waited, Err(Behind { position: Position::START }));
        }
        let most = 2 + began.elapsed().as_millis() / APART_MIN.as_millis();
        assert!(u128::from(looks_begun(&elsewhere)) <= most, "{} of {most}", looks_begun(&elsewhere));
        assert!(elsewhere.looks().lock().tenants.is_empty(), "nobody waits any more");
    }

    async fn who_waits_hears_of_each_tenants_commit_in_another_process_though_who_looked_left(site: Site) {
        let elsewhere = site.another_process().await;
        let (acme, globex) = (reader(&elsewhere, "acme"), reader(&elsewhere, "globex"));
        let wait = |reader: TenantReader, until| async move {
            reader.wait_for(ReadModel::Forms, Position(1), until).await
        };
        let soon = Instant::now() + WAIT_POLL_ELSEWHERE * 2;
        let looker = tokio::spawn(wait(globex.clone(), Instant::now() + LONG));
        let waiting = tokio::spawn(wait(acme, Instant::now() + LONG));
        let leaves = wait(globex.clone(), soon).await;
        assert_eq!(leaves, Err(Behind { position: Position::START }));
        looker.abort();
        site.publish("acme").await;
        catch_up(&mut site.projector().await).await;
        assert_eq!(waiting.await.expect("ends"), Ok(Position(1)));
        assert!(wait(globex, Instant::now()).await.is_err(), "the same position of another tenant");
    }

    #[tokio::test]
    async fn who_waits_where_another_process_keeps_shares_one_look_with_all_who_wait_on_sqlite() {
        who_waits_where_another_process_keeps_shares_one_look_with_all_who_wait(Site::on_sqlite().await)
            .await;
    }

    #[tokio::test]
    async fn who_waits_where_another_process_keeps_shares_one_look_with_all_who_wait_on_postgres() {
        who_waits_where_another_process_keeps_shares_one_look_with_all_who_wait(Site::on_postgres().await)
            .await;
    }

    #[tokio::test]
    async fn who_waits_hears_of_each_tenants_commit_in_another_process_though_who_looked_left_on_sqlite() {
        who_waits_hears_of_each_tenants_commit_in_another_process_though_who_looked_left(
            Site::on_sqlite().await,
        )
        .await;
    }

    #[tokio::test]
    async fn who_waits_hears_of_each_tenants_commit_in_another_process_though_who_looked_left_on_postgres() {
        who_waits_hears_of_each_tenants_commit_in_another_process_though_who_looked_left(
            Site::on_postgres().await,
        )
        .await;
    }
}
