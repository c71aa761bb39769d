//! Puts events that another ledger recorded into this one as they were: positions, sequences, times, hashes. For `formledger import`.
//! It goes past the writer, which gives places and times of its own, and through the same compare-and-set of the head: where anybody else
//! appends to this ledger meanwhile, it stops.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use formledger_domain::{Position, Sequence, StreamId, TenantId};
use serde_json::value::RawValue;

use crate::backend::{Applied, Backend, Batch, EventRow, Head, HeadMove, ImportStep, StoredHead, Withheld};
use crate::envelope::{OpenLeaf, Opening, hex, rfc3339};
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::merkle::Hash;
use crate::postgres::{PostgresBackend, PostgresOptions};
use crate::sqlite::SqliteBackend;

/// How often a batch is tried that the database rolled back because the connection is a new one; then somebody else appends.
const TRIES_MAX: usize = 3;

/// A ledger from its first event on, checked event by event.
///
/// It remembers the sequence of each stream, so memory grows with the number of streams, by some 100 bytes each.
#[derive(Debug)]
pub struct Chain {
    tenant: TenantId,
    head: Head,
    sequences: HashMap<(Cow<'static, str>, Arc<str>), Sequence>,
}

impl Chain {
    /// Before the first event of a tenant's ledger.
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant, head: Head::default(), sequences: HashMap::new() }
    }

    /// Whose ledger it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Where it has come to.
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// The Merkle root over what was checked, 32 bytes.
    pub fn root_hash(&self) -> [u8; 32] {
        self.head.frontier.root()
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// What about it is not as a ledger records it, for people; the chain stays before it then.
    pub fn add(&mut self, event: &RecordedEvent) -> Result<(), String> {
        if event.tenant != self.tenant {
            return Err(format!(
                "it is of tenant `{}`, the ones before are of `{}`",
                event.tenant, self.tenant
            ));
        }
        let expected = self.head.position.next();
        if event.position != expected {
            return Err(format!("it is at position {}, next is {expected}", event.position));
        }
        let stream = (event.aggregate_type.clone(), event.aggregate_id.clone());
        let expected = self.sequences.get(&stream).copied().unwrap_or(Sequence::START).next();
        if event.sequence != expected {
            let (aggregate_type, id) = stream;
            return Err(format!(
                "it is sequence {} of {aggregate_type} `{id}`, next is {expected}",
                event.sequence
            ));
        }
        let recorded_at = event.recorded_at.timestamp_micros();
        if recorded_at < self.head.recorded_at {
            return Err("it was recorded before the event at the position before".to_owned());
        }
        let leaf_hash = leaf_hash(event, &metadata(event));
        if leaf_hash != event.leaf_hash {
            let (stated, computed) = (hex(&event.leaf_hash), hex(&leaf_hash));
            return Err(format!("its leaf hash is `{stated}`, what it says hashes to `{computed}`"));
        }
        self.sequences.insert(stream, event.sequence);
        (self.head.position, self.head.recorded_at) = (event.position, recorded_at);
        self.head.frontier.append(leaf_hash);
        Ok(())
    }

    /// Whether a ledger that stands where this has come to holds just these events.
    pub fn is_where(&self, restoration: &Restoration) -> bool {
        self.head.position == restoration.head.position && self.head.frontier == restoration.head.frontier
    }
}

/// The stored text: members as the writer wrote them, so that it hashes to the same.
fn metadata(event: &RecordedEvent) -> Box<RawValue> {
    serde_json::value::to_raw_value(&event.metadata).expect("metadata holds only strings")
}

fn leaf_hash(event: &RecordedEvent, metadata: &RawValue) -> Hash {
    let leaf = OpenLeaf::new(&Opening {
        aggregate_id: &event.aggregate_id,
        aggregate_type: &event.aggregate_type,
        event_id: event.event_id,
        event_type: &event.event_type,
        event_version: &event.event_version,
        metadata,
        payload_sha256: event.payload.sha256(),
    });
    leaf.close(&event.tenant, event.position, event.sequence, &rfc3339(event.recorded_at))
}

/// A database that takes a tenant's events as they were.
#[derive(Debug)]
pub struct Restoration {
    database: Database,
    tenant: TenantId,
    head: Head,
    is_unfinished: bool,
}

#[derive(Debug)]
enum Database {
    Sqlite(Box<SqliteBackend>),
    Postgres(Box<PostgresBackend>),
}

/// Why events were not put into a ledger.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The ledger is not where it was: somebody appends to it, or it holds an event of this id or place already.
    #[error("somebody else writes to the ledger of `{0}`, so nothing more was imported")]
    Moved(TenantId),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Restoration {
    /// Opens or creates the embedded ledger in the file `path`, and looks where `tenant`'s ends.
    ///
    /// # Errors
    /// As [`crate::Store::open_sqlite`].
    pub async fn open_sqlite(path: &Path, tenant: TenantId) -> Result<Self, StoreError> {
        let backend = SqliteBackend::open(path).await?;
        Self::of(Database::Sqlite(Box::new(backend)), tenant).await
    }

    /// The same on Postgres.
    ///
    /// # Errors
    /// As [`crate::Store::open_postgres`].
    pub async fn open_postgres(options: &PostgresOptions, tenant: TenantId) -> Result<Self, StoreError> {
        let backend = PostgresBackend::open(options).await?;
        Self::of(Database::Postgres(Box::new(backend)), tenant).await
    }

    async fn of(mut database: Database, tenant: TenantId) -> Result<Self, StoreError> {
        let (head, is_unfinished) = match database.head(&tenant).await? {
            None => (Head::default(), false),
            Some(Ok(head)) => (head, false),
            Some(Err(Withheld::Importing(head))) => (head, true),
            Some(Err(damaged)) => return Err(damaged.into()),
        };
        Ok(Self { database, tenant, head, is_unfinished })
    }

    /// Whether an import was begun that did not come to its end: nobody else records anything until one does.
    pub fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    /// Where the ledger ends; [`Position::START`] when there is none.
    pub fn position(&self) -> Position {
        self.head.position
    }

    /// Records events that follow each other and what is there, durably when it returns; `chain` stands behind the last, and has checked them.
    /// Until events are recorded with `is_end`, which may also be none, nobody else records anything in this ledger.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing of `events` is recorded then, unless the connection was lost on the way: the ledger's end tells.
    pub async fn append(
        &mut self,
        events: &[(StreamId, RecordedEvent)],
        chain: &Chain,
        is_end: bool,
    ) -> Result<(), RestoreError> {
        let metadata: Vec<Box<RawValue>> = events.iter().map(|(_, event)| metadata(event)).collect();
        let ids: Vec<String> = events.iter().map(|(stream, _)| stream.aggregate_id()).collect();
        let rows = events.iter().zip(&metadata).zip(&ids);
        let rows = rows.map(|(((stream, event), metadata), aggregate_id)| EventRow {
            stream,
            aggregate_id,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            payload: &event.payload,
            metadata: metadata.get(),
            origin: &event.metadata,
            position: event.position,
            event_id: event.event_id,
            recorded_at: event.recorded_at.timestamp_micros(),
            leaf_hash: event.leaf_hash,
        });
        let step = HeadMove {
            tenant: self.tenant.clone(),
            from: self.head.position,
            tip: self.head.frontier.tip(),
            to: chain.head.clone(),
        };
        let import = if is_end { ImportStep::Ends } else { ImportStep::GoesOn };
        let batch = Batch { heads: vec![step], events: rows.collect(), outcomes: Vec::new(), import };
        for _ in 0..TRIES_MAX {
            match self.database.record(&batch).await? {
                Applied::Open { moved } if moved.is_empty() => {
                    self.head = chain.head.clone();
                    self.is_unfinished = !is_end;
                    return Ok(());
                }
                Applied::Open { .. } => break,
                Applied::Collided => {}
            }
        }
        Err(RestoreError::Moved(self.tenant.clone()))
    }

    /// Closes the database in good order.
    pub async fn close(self) {
        match self.database {
            Database::Sqlite(backend) => backend.close().await,
            Database::Postgres(backend) => backend.close().await,
        }
    }
}

impl Database {
    async fn head(&mut self, tenant: &TenantId) -> Result<Option<StoredHead>, StoreError> {
        let tenants = [tenant.clone()];
        let heads = match self {
            Self::Sqlite(backend) => backend.heads(&tenants).await?,
            Self::Postgres(backend) => backend.heads(&tenants).await?,
        };
        Ok(heads.into_iter().next().map(|(_, head)| head))
    }

    async fn record(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        match self {
            Self::Sqlite(backend) => backend.record(batch).await,
            Self::Postgres(backend) => backend.record(batch).await,
        }
    }
}
