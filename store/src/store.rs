//! All tenants' ledgers in one database: opened once by the composition root, shared by everyone.
//! Starts the writer; hands out `TenantLedger`s; what crosses tenants here is for projectors and tools only.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formledger_domain::{Position, TenantContext, TenantId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::backend::Backend;
use crate::error::{StoreError, causes};
use crate::event::RecordedEvent;
use crate::followers::Followers;
use crate::ledger::{LedgerHead, LedgerRange, LinkedRanges, TenantLedger, recorded};
use crate::postgres::{PostgresBackend, PostgresOptions, PostgresReader, Sight};
use crate::progress::Progress;
use crate::reader::Reader;
use crate::room::{self, Room, Share};
use crate::sqlite::{self, Access, SqliteBackend, SqliteReader};
use crate::unwritten::Unwritten;
use crate::wake::Moved;
use crate::writer::{BatchLimits, Command, Confirmation, Writer};

/// Limits of a store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Commands that may wait for the writer, at least 1; at the limit an append fails with [`StoreError::QueueFull`].
    pub append_queue_max: usize,
    /// Bytes of what waits and of what is being recorded; at the limit an append fails with [`StoreError::QueueFull`]. Of commands and
    /// of bytes a tenant holds no more than remains free, so that others find room.
    pub append_queue_bytes_max: usize,
    /// Bytes after which a transaction takes no further command.
    pub append_batch_bytes_max: usize,
    /// Commands per transaction, at least 1; 1 gives one transaction per command, for comparison.
    pub append_batch_max: usize,
    /// Connections that read streams and ranges.
    pub read_connections_max: u32,
    /// How long a reader waits for a connection before it fails.
    pub acquire_timeout: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            append_queue_max: 8192,
            append_queue_bytes_max: 256 << 20,
            append_batch_bytes_max: 16 << 20,
            append_batch_max: 512,
            read_connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

/// How busy the connections are that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that are open.
    pub connections: u32,
    /// The most that may be; see [`StoreSettings::read_connections_max`].
    pub connections_max: u32,
    /// Those of them that nobody uses.
    pub idle: usize,
    /// Readers that wait for one.
    pub waiting: usize,
}

/// All tenants' ledgers in one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What every handle shares. The writer task holds none of it, so that dropping the last handle ends the writer.
#[derive(Debug)]
pub(crate) struct Inner {
    queue: mpsc::Sender<Command>,
    room: Arc<Room>,
    confirmations: mpsc::Sender<Confirmation>,
    pub(crate) reader: Reader,
    pub(crate) followers: Followers,
    stop: Arc<Notify>,
    writer: Mutex<Option<JoinHandle<()>>>,
    writer_failed: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

/// Lives in the writer's task and notes when that panics, which nobody else would tell of.
struct Mourner {
    failed: Arc<AtomicBool>,
}

impl Drop for Mourner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::Release);
            metrics::counter!("formledger_append_writer_failed_total").increment(1);
            tracing::error!(
                "the ledger's writer failed: nothing is recorded until the process is started again"
            );
        }
    }
}

impl Inner {
    /// A place in the writer's queue for so many bytes of a tenant, or why there is none.
    pub(crate) fn queue_place(
        &self,
        tenant: &TenantId,
        bytes: usize,
    ) -> Result<(mpsc::Permit<'_, Command>, Share), StoreError> {
        let share = self.room.take(tenant, bytes)?;
        let place = self.queue.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => room::full("commands"),
            TrySendError::Closed(()) => StoreError::Closed,
        })?;
        Ok((place, share))
    }

    /// Waits until what was read of a tenant's ledger is durable wherever a commit has to be.
    pub(crate) async fn confirm(&self, tenant: &TenantId) -> Result<(), StoreError> {
        if !self.reader.can_lose_history() {
            return Ok(());
        }
        let (answer, confirmed) = oneshot::channel();
        self.confirmations
            .try_reserve()
            .map_err(refused)?
            .send(Confirmation { tenant: tenant.clone(), answer });
        confirmed.await.unwrap_or(Err(StoreError::Closed))
    }

    /// See [`Store::read_ranges`].
    pub(crate) async fn read_ranges(&self, ranges: &[LedgerRange]) -> Result<Vec<RecordedEvent>, StoreError> {
        Ok(self.read_shared(ranges).await?.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    async fn read_shared(&self, ranges: &[LedgerRange]) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let (mut events, mut older) = (Vec::new(), Vec::new());
        for range in ranges {
            match self.followers.tail.range(range) {
                Some(newest) => events.extend(newest),
                None => older.push(range),
            }
        }
        if !older.is_empty() {
            events.extend(recorded(self.reader.read_ranges(&older).await?)?.into_iter().map(Arc::new));
        }
        sort(&mut events);
        Ok(events)
    }

    /// See [`Store::read_linked`].
    async fn read_linked(&self, ranges: &[LedgerRange]) -> Result<LinkedRanges, StoreError> {
        let Reader::Postgres(reader) = &self.reader else {
            return Ok(LinkedRanges { events: self.read_shared(ranges).await?, links: HashMap::new() });
        };
        let (mut read, mut older) = (LinkedRanges::default(), Vec::new());
        for range in ranges {
            match self.followers.tail.linked_range(range) {
                Some((newest, before)) if before.is_some() || range.after == Position::START => {
                    read.events.extend(newest);
                    read.links.extend(before.map(|link| (range.tenant.clone(), link)));
                }
                _ => older.push(range),
            }
        }
        if !older.is_empty() {
            let (events, links) = reader.read_linked(&older).await?;
            read.events.extend(recorded(events)?.into_iter().map(Arc::new));
            read.links.extend(links);
        }
        sort(&mut read.events);
        Ok(read)
    }
}

/// By tenant and then position.
fn sort(events: &mut [Arc<RecordedEvent>]) {
    events.sort_by(|a, b| (&a.tenant, a.position).cmp(&(&b.tenant, b.position)));
}

fn refused(error: TrySendError<()>) -> StoreError {
    match error {
        TrySendError::Full(()) => StoreError::QueueFull,
        TrySendError::Closed(()) => StoreError::Closed,
    }
}

impl Store {
    /// Opens the embedded store in the file `path`, creates it if missing, applies migrations and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] when a newer binary wrote the file, [`StoreError::Unusable`] when it cannot be opened or is no database,
    /// [`StoreError::Database`] when it fails.
    pub async fn open_sqlite(path: &Path, settings: StoreSettings) -> Result<Self, StoreError> {
        let backend = SqliteBackend::open(path).await.map_err(|error| sqlite::explained(path, error))?;
        let reader = Reader::Sqlite(SqliteReader::open(path, Access::Shared, &settings));
        Ok(Self::start(backend, reader, &settings))
    }

    /// Opens the ledger in a file that is there for programs that only read, as it is: an earlier binary's schema stays what it is, so that that binary
    /// can go on with it. Every append is refused.
    ///
    /// # Errors
    /// As [`Store::open_sqlite`]; and for a file of which a part can be read only where it is written.
    pub async fn open_sqlite_to_read(path: &Path, settings: StoreSettings) -> Result<Self, StoreError> {
        let access = sqlite::to_read(path).await?;
        let reader = Reader::Sqlite(SqliteReader::open(path, access, &settings));
        Ok(Self::start(Unwritten, reader, &settings))
    }

    /// Opens the store on Postgres, applies migrations and starts the writer. Other processes may have it open, too.
    ///
    /// The database must hold nothing else that brings migrations of sqlx. Opening fails at once when the server does not answer; one that
    /// goes away later is reconnected, and fails nothing but what is asked meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`]; [`StoreError::Unusable`] for a server or a database that cannot hold a ledger;
    /// [`StoreError::MissingPrivilege`]; [`StoreError::NewerSchema`] when a newer binary was here.
    pub async fn open_postgres(
        options: &PostgresOptions,
        settings: StoreSettings,
    ) -> Result<Self, StoreError> {
        let backend = PostgresBackend::open(options).await?;
        let reader = Reader::Postgres(PostgresReader::open(options, &settings, Sight::EveryTenant));
        Ok(Self::start(backend, reader, &settings))
    }

    /// Opens the ledger for programs that only read: a physical standby will do, and so will a login that is a member of `formledger_reader`
    /// alone, which sees the ledger of one tenant at a time. Nothing is changed there, and every append is refused.
    ///
    /// # Errors
    /// As [`Store::open_postgres`]; and for a database that has to be migrated first.
    pub async fn open_postgres_to_read(
        options: &PostgresOptions,
        settings: StoreSettings,
    ) -> Result<Self, StoreError> {
        let sight = PostgresBackend::sight(options).await?;
        let reader = Reader::Postgres(PostgresReader::open(options, &settings, sight));
        Ok(Self::start(Unwritten, reader, &settings))
    }

    /// Opens a ledger at a physical standby, from which every append is refused; `None` for a server that is none, where nothing is changed.
    ///
    /// # Errors
    /// As [`Store::open_postgres`]; and for a standby that holds no ledger of this version.
    pub async fn open_postgres_standby(
        options: &PostgresOptions,
        settings: &StoreSettings,
    ) -> Result<Option<Self>, StoreError> {
        if !PostgresBackend::is_readable_standby(options).await? {
            return Ok(None);
        }
        let reader = Reader::Postgres(PostgresReader::open(options, settings, Sight::EveryTenant));
        Ok(Some(Self::start(Unwritten, reader, settings)))
    }

    pub(crate) fn start(backend: impl Backend, reader: Reader, settings: &StoreSettings) -> Self {
        let queue_max = settings.append_queue_max.max(1);
        let (queue, commands) = mpsc::channel(queue_max);
        let (confirmations, confirming) = mpsc::channel(queue_max);
        let (followers, stop) = (Followers::default(), Arc::<Notify>::default());
        let batch = BatchLimits {
            commands_max: settings.append_batch_max.max(1),
            bytes_max: settings.append_batch_bytes_max,
        };
        let room = Room::new(queue_max + batch.commands_max, settings.append_queue_bytes_max);
        let progress = Arc::<Progress>::default();
        let writer = Writer::new(
            backend,
            (commands, confirming),
            stop.clone(),
            followers.clone(),
            (batch, room.clone(), progress.clone()),
        );
        let writer_failed = Arc::<AtomicBool>::default();
        let mourner = Mourner { failed: writer_failed.clone() };
        let writing = async move {
            let _mourner = mourner;
            writer.run().await;
        };
        let writer = Mutex::new(Some(tokio::spawn(writing)));
        Self {
            inner: Arc::new(Inner {
                queue,
                room,
                confirmations,
                reader,
                followers,
                stop,
                writer,
                writer_failed,
                progress,
            }),
        }
    }

    /// The ledger of the context's tenant, and of no other.
    pub fn ledger(&self, context: &TenantContext) -> TenantLedger {
        TenantLedger::new(self.inner.clone(), context)
    }

    /// The heads of all ledgers, by tenant. For projectors and tools.
    ///
    /// A head that contradicts itself is logged and left out, so that the other tenants' work goes on; [`Store::verify`] tells of it.
    pub async fn heads(&self) -> Result<Vec<LedgerHead>, StoreError> {
        let mut heads = Vec::new();
        for head in self.inner.reader.heads().await? {
            match head {
                Ok((tenant, head)) => heads.push(LedgerHead::new(tenant, head)),
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::error!(error = causes(&error), "a ledger is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(heads)
    }

    /// Where all ledgers end, for who looks at all of them again and again: without what proves them, which is most of what heads are. A ledger of an impossible
    /// name or place is logged and left out.
    pub async fn ends(&self) -> Result<Vec<(TenantId, Position)>, StoreError> {
        self.inner.reader.positions().await
    }

    /// Everyone who is named as the owner of a ledger or of an event, in order; [`StoreError::Damaged`] for a name that is no tenant's.
    ///
    /// For verification, which may not believe the list of ledgers: reads an index entry of every event.
    pub async fn owners(&self) -> Result<Vec<Result<TenantId, StoreError>>, StoreError> {
        self.inner.reader.owners().await
    }

    /// Whether the writer runs. Once it does not, because the store was closed or the writer failed, every append is refused with
    /// [`StoreError::Closed`] until the process is started again.
    pub fn is_writing(&self) -> bool {
        !self.inner.queue.is_closed()
    }

    /// Whether the writer panicked: a bug of ours. Nothing is recorded until the process is started again.
    pub fn writer_has_failed(&self) -> bool {
        self.inner.writer_failed.load(Ordering::Acquire)
    }

    /// Whether a command would be recorded now, as far as is known without one: the last batch was, and none takes unusually long.
    ///
    /// # Errors
    /// Why the last ones were not, for ten seconds or until one is; [`StoreError::Busy`] while one is not done after ten seconds.
    pub fn check_recording(&self) -> Result<(), StoreError> {
        self.inner.progress.check()
    }

    /// The events of several ledgers' ranges in one read, by tenant and then position. For projectors and tools.
    ///
    /// There is no limit but the ranges': positions have no gaps, so `up_to - after` bounds the rows. The newest events come from memory.
    pub async fn read_ranges(&self, ranges: &[LedgerRange]) -> Result<Vec<RecordedEvent>, StoreError> {
        self.inner.read_ranges(ranges).await
    }

    /// As [`Store::read_ranges`], with the links to what stands before the ranges, which tell whether a ledger still holds what was read of
    /// it earlier. At most one range of each ledger.
    pub async fn read_linked(&self, ranges: &[LedgerRange]) -> Result<LinkedRanges, StoreError> {
        self.inner.read_linked(ranges).await
    }

    /// Whether events can get lost while this process lives, as when a standby takes over that had not received everything. The embedded
    /// store has its file to itself.
    pub fn can_lose_history(&self) -> bool {
        self.inner.reader.can_lose_history()
    }

    /// Counts how often events may have been lost; what was derived from the ledgers in another era has to be compared with them.
    pub fn era(&self) -> u64 {
        self.inner.followers.era()
    }

    /// Someone found that a ledger lost events: begins another era, in which nothing is served from memory that was there before.
    pub fn begin_era(&self) {
        self.inner.followers.begin_era();
    }

    /// Follows which ledgers move from now on, for projectors. Take it before [`Store::heads`].
    pub fn moved(&self) -> Moved {
        self.inner.followers.wake.moved()
    }

    /// How busy the connections are that read, for metrics.
    pub fn readers(&self) -> PoolStatus {
        self.inner.reader.status()
    }

    /// Sets the gauges of the connections that read.
    pub fn report_readers(&self) {
        let PoolStatus { connections, connections_max, idle, waiting } = self.readers();
        let gauge = |state| metrics::gauge!("formledger_ledger_connections", "state" => state);
        gauge("idle").set(idle as f64);
        gauge("busy").set(f64::from(connections) - idle as f64);
        metrics::gauge!("formledger_ledger_connections_max").set(connections_max);
        metrics::gauge!("formledger_ledger_readers_waiting").set(waiting as f64);
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Stops taking appends, records what waits, closes the database. Appends from now on fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.stop.notify_one();
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && let Err(panic) = writer.await
        {
            tracing::error!(error = causes(&panic), "the writer did not end well");
        }
        self.inner.reader.close().await;
    }
}

#[cfg(test)]
impl Store {
    /// Commands that wait for the writer.
    pub(crate) fn queued(&self) -> usize {
        self.inner.queue.max_capacity() - self.inner.queue.capacity()
    }

    /// Ends the writer where it stands, as a crash of the process would.
    pub(crate) async fn kill(&self) {
        let writer = self.inner.writer.lock().expect("no test panics while it holds this").take();
        let writer = writer.expect("the writer runs");
        writer.abort();
        writer.await.expect_err("was aborted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_that_panics_is_known_to_have_failed_and_one_that_is_stopped_is_not() {
        for (panics, expected) in [(true, true), (false, false)] {
            let failed = Arc::<AtomicBool>::default();
            let mourner = Mourner { failed: failed.clone() };
            let task = tokio::spawn(async move {
                let _mourner = mourner;
                assert!(!panics, "as a bug would");
            });
            assert_eq!(task.await.is_err(), panics);
            assert_eq!(failed.load(Ordering::Acquire), expected);
        }
    }
}
