//! Reads many rows: projectors, rebuilds and shadows take whole ranges of ledgers. The writer's driver hands values out where they lie; sqlx's
//! copies each of them twice and sends each row across a channel.
//! Called by `read`; one query a call, in one consistent snapshot.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, Row};

use super::{Access, BUSY_TIMEOUT, READER_CACHE_KIB, text};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::ledger::LedgerRange;
use crate::stored::{EventColumns, event_columns};

/// Connections that are kept while nobody reads; more are opened when more read at once.
const IDLE_MAX: usize = 2;

/// The connections that read ranges.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    path: PathBuf,
    access: Access,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Scanner {
    /// None is opened before it is needed.
    pub(super) fn new(path: &Path, access: Access) -> Self {
        Self { path: path.to_owned(), access, idle: Arc::default() }
    }

    /// The events of these ranges, on a thread that may wait for the disk. One that nobody waits for any more is read to its end.
    pub(super) async fn read(&self, ranges: &[&LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
        let (scanner, ranges): (_, Vec<LedgerRange>) =
            (self.clone(), ranges.iter().map(|range| (*range).clone()).collect());
        let reading = tokio::task::spawn_blocking(move || scanner.read_now(&ranges));
        match reading.await {
            Ok(read) => read,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime stops.
                Err(_) => Err(StoreError::Closed),
            },
        }
    }

    /// Lets go of the file.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn read_now(&self, ranges: &[LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path, self.access)?,
        };
        let read = scan(&connection, ranges);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_ok() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        read
    }
}

fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match access {
        Access::Shared => Connection::open_with_flags(path, flags)?,
        Access::Immutable => {
            Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{READER_CACHE_KIB}"))?;
    Ok(connection)
}

/// The name of a file that nobody changes (<https://www.sqlite.org/uri.html>), every byte that could mean something else written as `%XX`.
fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            plain if plain.is_ascii_alphanumeric() => uri.push(char::from(*plain)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}

fn scan(connection: &Connection, ranges: &[LedgerRange]) -> Result<Vec<StoredEvent>, StoreError> {
    // CROSS JOIN fixes the order of the loops: ranges outside, the index on positions inside.
    const SQL: &str = concat!(
        "SELECT ",
        event_columns!(),
        ", range.key FROM json_each(?) range CROSS JOIN events \
         ON tenant_id = range.value ->> 0 AND position > range.value ->> 1 AND position <= range.value ->> 2"
    );
    let asked: Vec<_> = ranges.iter().map(|range| (&range.tenant, range.after, range.up_to)).collect();
    let asked = serde_json::to_string(&asked).expect("strings and numbers serialise");
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([asked])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let range: usize = row.get(11)?;
        events.push(columns(row)?.event(&ranges[range].tenant)?);
    }
    Ok(events)
}

fn columns<'r>(row: &'r Row<'_>) -> Result<EventColumns<'r>, StoreError> {
    let bytes = |column: usize| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
    Ok(EventColumns {
        position: row.get(0)?,
        aggregate_type: text(row, 1)?.to_owned(),
        aggregate_id: text(row, 2)?,
        sequence: row.get(3)?,
        event_id: bytes(4)?,
        event_type: text(row, 5)?.to_owned(),
        event_version: text(row, 6)?.to_owned(),
        recorded_at: row.get(7)?,
        metadata: text(row, 8)?.to_owned(),
        payload: text(row, 9)?,
        leaf_hash: bytes(10)?,
    })
}
