//! How a ledger's file is read where nothing can be written, and what keeps a file from being a ledger's, in words for a person.
//! Called when a store is opened; nothing here changes a file.

use std::path::{Path, PathBuf};

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::{reader_options, schema};
use crate::error::StoreError;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Beside others, who may write.
    Shared,
    /// As a file that nobody changes (`immutable` of <https://www.sqlite.org/uri.html>): without locks, and without files beside it.
    Immutable,
}

/// <https://www.sqlite.org/rescode.html>: access was denied, the file cannot be written, cannot be read, cannot be opened, is no
/// database.
const SQLITE_PERM: i32 = 3;
const SQLITE_READONLY: i32 = 8;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;

/// Whether opening a file to write it failed because it cannot be written, so that it might still be read.
fn is_not_writable(error: &StoreError) -> bool {
    matches!(error.sqlite_primary(), Some(SQLITE_PERM | SQLITE_READONLY | SQLITE_CANTOPEN))
}

/// How the ledger in a file is read by who does not write it.
///
/// # Errors
/// Why it cannot be read either; and as [`schema::check`].
pub(crate) async fn to_read(path: &Path) -> Result<Access, StoreError> {
    let looked = look(path, Access::Shared).await;
    let access = choose(looked, wal_bytes(path), path)?;
    if access == Access::Immutable {
        look(path, access).await.map_err(|error| explained(path, error))?;
        tracing::info!(path = %path.display(), "nothing can be written beside the ledger, so it is read as a file that nobody changes");
    }
    Ok(access)
}

/// The way to read a file, by how it went to read it beside others, and how many bytes its log has; `None` where there is no log.
///
/// A reader beside others needs two files that are there while somebody has the ledger open, or a folder where it can make them. Where neither is,
/// nobody has it open, and it changes no more: all of it is in the file, unless the log still holds its newest events.
fn choose(looked: Result<(), StoreError>, wal_bytes: Option<u64>, path: &Path) -> Result<Access, StoreError> {
    let place = path.display();
    match looked {
        Ok(()) => Ok(Access::Shared),
        Err(error) if !is_not_writable(&error) => Err(explained(path, error)),
        Err(_) => match (unreadable(path), wal_bytes) {
            (Some(why), _) => Err(StoreError::Unusable(why)),
            (None, None | Some(0)) => Ok(Access::Immutable),
            (None, Some(_)) => Err(StoreError::Unusable(format!(
                "the newest events of `{place}` may be in `{place}-wal`, which cannot be read without writing beside it: copy the folder to \
                 where it can be written, and name the copy"
            ))),
        },
    }
}

async fn look(path: &Path, access: Access) -> Result<(), StoreError> {
    let mut connection = SqliteConnection::connect_with(&reader_options(path, access)).await?;
    let looked = schema::check(&mut connection).await.map_err(|error| match error {
        StoreError::Unusable(what) => StoreError::Unusable(format!("`{}` {what}", path.display())),
        other => other,
    });
    // Nothing was written, so nothing can be lost here.
    let _ = connection.close().await;
    looked
}

/// Bytes of the log beside a file; unknown is as bad as some.
fn wal_bytes(path: &Path) -> Option<u64> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    match std::fs::metadata(PathBuf::from(wal)) {
        Ok(there) => Some(there.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some(u64::MAX),
    }
}

/// The same failure, with the file and what would be right, where it is the file that is wrong and not what happened to it.
pub(crate) fn explained(path: &Path, error: StoreError) -> StoreError {
    let place = path.display();
    let unusable = match error.sqlite_primary() {
        Some(SQLITE_NOTADB) => Some(format!("`{place}` is no SQLite database, so it holds no ledger")),
        // A folder can be opened like a file, and then not be read.
        Some(SQLITE_IOERR) => unreadable(path),
        Some(SQLITE_PERM | SQLITE_READONLY | SQLITE_CANTOPEN) => Some(unreadable(path).unwrap_or_else(|| {
            format!(
                "this user cannot write `{place}` or the folder that it is in; who records or migrates writes both"
            )
        })),
        _ => None,
    };
    unusable.map_or(error, StoreError::Unusable)
}

/// Why a file cannot even be read; `None` where it can.
fn unreadable(path: &Path) -> Option<String> {
    let place = path.display();
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => {
            Some(format!("`{place}` is a folder, where the file of a ledger should be"))
        }
        Ok(_) => std::fs::File::open(path).err().map(|error| {
            format!("`{place}` cannot be read by this user ({error}); its owner can, or whoever has a copy")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("`{place}` cannot be looked at ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{append, events, positions, stream};
    use crate::reader::Reader;
    use crate::sqlite::SqliteReader;
    use crate::unwritten::Unwritten;
    use crate::{Store, StoreSettings};

    fn failed(code: i32) -> StoreError {
        let failure = rusqlite::ffi::Error::new(code);
        rusqlite::Error::SqliteFailure(failure, None).into()
    }

    #[test]
    fn a_file_is_read_as_one_that_nobody_changes_only_where_its_log_holds_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.db");
        std::fs::write(&path, "there").expect("writes");
        // The folder cannot be written, the file cannot, no file can be made beside it.
        for code in [SQLITE_READONLY, SQLITE_READONLY | 6 << 8, SQLITE_CANTOPEN] {
            for (wal_bytes, expected) in
                [(None, true), (Some(0), true), (Some(1), false), (Some(u64::MAX), false)]
            {
                let chosen = choose(Err(failed(code)), wal_bytes, &path);
                match chosen {
                    Ok(access) => assert!(expected && access == Access::Immutable, "{code} {wal_bytes:?}"),
                    Err(StoreError::Unusable(why)) => {
                        assert!(!expected && why.contains("copy the folder"), "{code} {wal_bytes:?}: {why}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert_eq!(choose(Ok(()), Some(9), &path).expect("read beside others"), Access::Shared);
        let busy = choose(Err(StoreError::Busy), None, &path);
        assert!(matches!(busy, Err(StoreError::Busy)), "{busy:?}");
    }

    #[tokio::test]
    async fn what_nobody_changes_is_read_without_a_file_beside_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // As odd as a path may be.
        let path = folder.path().join("led ger?%20#.db");
        let settings = StoreSettings::default();
        let store = Store::open_sqlite(&path, settings.clone()).await.expect("opens");
        append(&store, events(&stream("acme", "s"), 0, 3)).await;
        // Readers go last, and they may not bring the log into the file.
        assert_eq!(store.owners().await.expect("reads").len(), 1);
        store.close().await;
        look(&path, Access::Immutable).await.expect("holds a ledger");
        let reader = Reader::Sqlite(SqliteReader::open(&path, Access::Immutable, &settings));
        let store = Store::start(Unwritten, reader, &settings);
        assert_eq!(positions(&store, "acme").await, [1, 2, 3]);
        let report = store.verify(&"acme".parse().expect("slug"), |_| ()).await.expect("reads");
        assert!(report.is_sound() && report.events == 3, "{report:?}");
        let files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(files.len(), 1, "{files:?}");
        store.close().await;
    }

    #[tokio::test]
    async fn what_is_no_ledger_is_refused_with_its_place_and_why() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (text, other) = (folder.path().join("text.db"), folder.path().join("other.db"));
        std::fs::write(&text, "not a database, however long it is. ".repeat(40)).expect("writes");
        rusqlite::Connection::open(&other)
            .and_then(|made| made.execute_batch("CREATE TABLE t (x)"))
            .expect("makes");
        for (path, why) in
            [(&*text, "is no SQLite database"), (folder.path(), "is a folder"), (&*other, "holds no ledger")]
        {
            for opened in [
                to_read(path).await.map(drop),
                Store::open_sqlite_to_read(path, StoreSettings::default()).await.map(drop),
            ] {
                let error = opened.expect_err("holds no ledger");
                let told = error.to_string();
                assert!(matches!(error, StoreError::Unusable(_)) && told.contains(why), "{told}");
                assert!(told.contains(&*path.to_string_lossy()), "{told}");
            }
        }
    }
}
