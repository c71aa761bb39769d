//! Promise: what was acknowledged is there, what was not acknowledged is there once or not at all, and the writer goes on.
//! [`Faulty`] stands between writer and database and fails, waits or fills up where a test says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use formledger_domain::{Position, Sequence, StreamId, TenantId};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use super::wakeup::PATIENCE;
use super::{Database, append, context, events, keyed, positions, stream};
use crate::append::Decision;
use crate::backend::{Applied, Backend, Batch, Remembered, StoredHead};
use crate::followers::Followers;
use crate::{Append, AppendError, Appended, Basis, Store, StoreError, StoreSettings};

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// The batch waits before its statements until released.
    HoldBeforeStatements,
    /// The batch waits between statements and commit until released.
    HoldBeforeCommit,
    /// The commit fails; nothing is durable.
    FailCommit,
    /// The commit succeeds; nobody hears of it.
    LoseAnswer,
}

/// A test's hand on a [`Faulty`] backend.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    next: Mutex<Option<Fault>>,
    full: AtomicBool,
    held: Notify,
    released: Notify,
    /// Events of each batch that was tried.
    batches: Mutex<Vec<usize>>,
}

impl Faults {
    pub(crate) fn next(&self, fault: Fault) {
        *lock(&self.next) = Some(fault);
    }

    /// Waits until the writer is held.
    pub(crate) async fn held(&self) {
        self.held.notified().await;
    }

    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    pub(crate) fn batches(&self) -> Vec<usize> {
        lock(&self.batches).clone()
    }

    fn strikes(&self, fault: Fault) -> bool {
        let mut next = lock(&self.next);
        let strikes = *next == Some(fault);
        if strikes {
            *next = None;
        }
        strikes
    }

    async fn hold(&self, at: Fault) {
        if self.strikes(at) {
            self.held.notify_one();
            self.released.notified().await;
        }
    }

    /// Queues `appends`, in order, while the writer is busy with another tenant's batch; gives their answers.
    pub(crate) async fn while_busy(
        &self,
        store: &Store,
        appends: Vec<Append>,
    ) -> Vec<Result<Appended, AppendError>> {
        self.while_busy_on(store, appends.into_iter().map(|append| (append, None)).collect()).await
    }

    /// As [`Faults::while_busy`], of appends that may rest on something.
    pub(crate) async fn while_busy_on(
        &self,
        store: &Store,
        appends: Vec<(Append, Option<Arc<Basis>>)>,
    ) -> Vec<Result<Appended, AppendError>> {
        self.next(Fault::HoldBeforeStatements);
        let tenant = "busy";
        let opener = stream(tenant, &format!("opener-{}", Uuid::now_v7()));
        let queue_all = async {
            self.held().await;
            let answers = appends.into_iter().map(|(append, basis)| {
                let ledger = store.ledger(&context(append.stream.tenant().as_str()));
                async move { ledger.append_decided(append, Decision { basis, ..Decision::default() }).await }
            });
            // The first poll of an append queues it, and join_all polls in order; then the writer may go on.
            tokio::join!(join_all(answers), async { self.release() }).0
        };
        tokio::join!(append(store, events(&opener, 0, 1)), queue_all).1
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

/// A backend with faults.
pub(crate) struct Faulty<D: Database> {
    inner: D::Backend,
    faults: Arc<Faults>,
}

impl<D: Database> Faulty<D> {
    pub(crate) fn new(inner: D::Backend, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

fn broken() -> StoreError {
    sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into()
}

impl<D: Database> Backend for Faulty<D> {
    fn follow(&mut self, followers: &Followers) {
        self.inner.follow(followers);
    }

    async fn confirm(&mut self, tenants: &[TenantId]) -> Result<(), StoreError> {
        self.inner.confirm(tenants).await
    }

    async fn hold_heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        self.inner.hold_heads(tenants).await
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        self.inner.release().await
    }

    async fn heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        self.inner.heads(tenants).await
    }

    async fn overrun(&mut self, tenants: &[TenantId]) -> Result<Vec<TenantId>, StoreError> {
        self.inner.overrun(tenants).await
    }

    async fn sequences(&mut self, streams: &[&StreamId]) -> Result<Vec<Sequence>, StoreError> {
        self.inner.sequences(streams).await
    }

    async fn remembered(
        &mut self,
        keys: &[(&TenantId, &str)],
    ) -> Result<Vec<Option<Remembered>>, StoreError> {
        self.inner.remembered(keys).await
    }

    async fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        lock(&self.faults.batches).push(batch.events.len());
        self.faults.hold(Fault::HoldBeforeStatements).await;
        D::set_full(&mut self.inner, self.faults.full.load(Ordering::SeqCst)).await;
        self.inner.apply(batch).await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.faults.hold(Fault::HoldBeforeCommit).await;
        if self.faults.strikes(Fault::FailCommit) {
            return Err(broken());
        }
        self.inner.commit().await?;
        if self.faults.strikes(Fault::LoseAnswer) { Err(broken()) } else { Ok(()) }
    }

    async fn recover(&mut self) {
        self.inner.recover().await;
    }

    async fn undo(&mut self) {
        self.inner.undo().await;
    }

    async fn moved_elsewhere(&mut self) -> Result<Option<Vec<(TenantId, Position)>>, StoreError> {
        self.inner.moved_elsewhere().await
    }

    async fn close(self) {
        self.inner.close().await;
    }
}

pub(crate) async fn a_writer_killed_before_its_commit_leaves_nothing(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "before"), 0, 2)).await;
    assert!(store.is_writing());
    faults.next(Fault::HoldBeforeCommit);
    let ledger = store.ledger(&context("acme"));
    let (answer, ()) = tokio::join!(ledger.append(keyed(&stream("acme", "killed"), 0, "key", 1)), async {
        faults.held().await;
        store.kill().await;
    });
    assert!(matches!(answer, Err(AppendError::Store(StoreError::Closed))), "{answer:?}");
    assert!(!store.is_writing());

    let store = database.open().await;
    assert_eq!(positions(&store, "acme").await, [1, 2]);
    assert_eq!(append(&store, keyed(&stream("acme", "killed"), 0, "key", 1)).await, Position(3));
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!(report.differences, []);
}

pub(crate) async fn a_failed_commit_acknowledges_nothing_and_the_writer_goes_on(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    let ledger = store.ledger(&context("acme"));
    faults.next(Fault::FailCommit);
    let answer = ledger.append(events(&stream("acme", "failed"), 0, 1)).await;
    assert!(matches!(answer, Err(AppendError::Store(StoreError::Database(_)))), "{answer:?}");
    assert_eq!(positions(&store, "acme").await, [1]);
    assert_eq!(append(&store, events(&stream("acme", "failed"), 0, 1)).await, Position(2));
}

pub(crate) async fn an_answer_lost_after_the_commit_is_given_to_the_retry(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    let ledger = store.ledger(&context("acme"));
    faults.next(Fault::LoseAnswer);
    let request = keyed(&stream("acme", "lost"), 0, "key", 1);
    ledger.append(request.clone()).await.expect_err("the answer is lost");

    let retry = ledger.append(request).await.expect("answers");
    let Appended::Replayed(first) = retry else { panic!("recorded twice: {retry:?}") };
    assert_eq!((first.position, first.sequence), (Position(2), Sequence(1)));
    // The heads that the writer believed in before the failure are stale now; it must have forgotten them.
    assert_eq!(append(&store, events(&stream("acme", "after"), 0, 1)).await, Position(3));
    assert_eq!(positions(&store, "acme").await, [1, 2, 3]);
}

pub(crate) async fn a_commit_whose_answer_was_lost_still_wakes_followers(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    let ledger = store.ledger(&context("acme"));
    let mut follower = ledger.follow().await.expect("reads");
    // Several times, because a new connection's idea of the file's version may equal the old one's by chance.
    for position in 2..5 {
        faults.next(Fault::LoseAnswer);
        let lost = events(&stream("acme", &format!("lost-{position}")), 0, 1);
        ledger.append(lost).await.expect_err("the answer is lost");
        timeout(PATIENCE, follower.wait_for(|known| *known == Position(position)))
            .await
            .expect("wakes")
            .expect("lives");
    }
}

pub(crate) async fn full_storage_acknowledges_nothing_and_recovers(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    let ledger = store.ledger(&context("acme"));
    // More events than the free part of the last pages can take.
    let large = events(&stream("acme", "large"), 0, 500);
    faults.set_full(true);
    for _ in 0..2 {
        let answer = ledger.append(large.clone()).await;
        assert!(matches!(answer, Err(AppendError::Store(StoreError::StorageFull))), "{answer:?}");
        assert!(matches!(store.check_recording(), Err(StoreError::StorageFull)), "told without a command");
    }
    assert_eq!(positions(&store, "acme").await, [1]);
    faults.set_full(false);
    assert_eq!(append(&store, large).await, Position(501));
    store.check_recording().expect("there is room again");
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert_eq!(report.differences, []);
}

pub(crate) async fn a_full_queue_refuses_at_once(database: &impl Database) {
    let settings = StoreSettings { append_queue_max: 3, ..StoreSettings::default() };
    let (store, faults) = database.open_faulty(settings).await;
    let appends = (0..5).map(|n| events(&stream("acme", &format!("{n}")), 0, 1)).collect();
    let answers = faults.while_busy(&store, appends).await;
    assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
    for refused in &answers[3..] {
        assert!(matches!(refused, Err(AppendError::Store(StoreError::QueueFull))), "{refused:?}");
    }
    assert_eq!(positions(&store, "acme").await, [1, 2, 3]);
}

pub(crate) async fn a_tenant_leaves_room_in_the_queue_for_others(database: &impl Database) {
    let by_commands = StoreSettings { append_queue_max: 7, append_batch_max: 1, ..StoreSettings::default() };
    // Each of the appends takes a little more than 500.
    let by_bytes = StoreSettings { append_queue_bytes_max: 8 * 535, ..StoreSettings::default() };
    for (round, settings) in [by_commands, by_bytes].into_iter().enumerate() {
        let (store, faults) = database.open_faulty(settings).await;
        let of_one = (0..5).map(|n| events(&stream("acme", &format!("{round}-{n}")), 0, 1));
        let of_another = [events(&stream("other", &format!("{round}")), 0, 1)];
        let answers = faults.while_busy(&store, of_one.chain(of_another).collect()).await;
        for (n, answer) in answers.iter().enumerate() {
            // One is being recorded, so three leave four for others; a fourth one would leave fewer than it is.
            let refused = matches!(answer, Err(AppendError::Store(StoreError::QueueFull)));
            assert_eq!(
                (refused, answer.is_ok()),
                ([3, 4].contains(&n), ![3, 4].contains(&n)),
                "{n}: {answer:?}"
            );
        }
        store.close().await;
    }
    assert_eq!(positions(&database.open().await, "acme").await, [1, 2, 3, 4, 5, 6]);
}

pub(crate) async fn closing_records_what_waits_and_refuses_the_rest(database: &impl Database) {
    let (store, faults) = database.open_faulty(StoreSettings::default()).await;
    faults.next(Fault::HoldBeforeCommit);
    let ledger = store.ledger(&context("acme"));
    let second_then_close = async {
        faults.held().await;
        // Polled in this order: the second append is queued before the store begins to close.
        let second = ledger.append(events(&stream("acme", "second"), 0, 1));
        tokio::join!(second, store.close(), async { faults.release() }).0
    };
    let first = ledger.append(events(&stream("acme", "first"), 0, 1));
    let (first, second) = tokio::join!(first, second_then_close);
    first.expect("was being recorded");
    second.expect("was waiting");
    assert!(!store.is_writing());
    let answer = ledger.append(events(&stream("acme", "third"), 0, 1)).await;
    assert!(matches!(answer, Err(AppendError::Store(StoreError::Closed))), "{answer:?}");
    assert_eq!(positions(&database.open().await, "acme").await, [1, 2]);
}
