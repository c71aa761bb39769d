//! Who has a read-model file open. Each process that does shares a lock on a small file beside it, for as long as it does; a rebuild that puts
//! another file in its place has that lock to itself, so that nobody goes on in a file that is gone. Used by `read_models` and `rebuild`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use formledger_store::causes;
use tokio::time::{Instant, sleep};

use crate::place::suffixed;

/// How long one who opens waits for a rebuild that exchanges the file: it folds the last events and waits for the disk to have them.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a rebuild looks whether somebody has the file open: a process that starts another one shares its locks with that for a moment.
const DOUBT: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(20);

/// A lock that lasts as long as this value; the system takes it back from a process that is killed.
#[derive(Debug)]
pub(crate) struct InUse {
    /// `None` where it is not to be had. SQLite's own locks still tell a rebuild of who has the file open already.
    _lock: Option<File>,
}

/// A rebuild has the file to itself for longer than one can wait.
#[derive(Debug)]
pub(crate) struct Taken;

impl InUse {
    /// Shares the file with everybody else who opens it.
    pub(crate) async fn shared(path: &Path) -> Result<Self, Taken> {
        let unshared = |error: &Error| {
            tracing::warn!(
                path = %path.display(), error = causes(error),
                "cannot say that the read models are open: run no rebuild while this process starts"
            );
            Ok(Self { _lock: None })
        };
        let file = match open(path) {
            Ok(file) => file,
            Err(error) => return unshared(&error),
        };
        let patience = Instant::now() + PATIENCE;
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Self { _lock: Some(file) }),
                Err(TryLockError::Error(error)) => return unshared(&error),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => sleep(LOOK).await,
                Err(TryLockError::WouldBlock) => return Err(Taken),
            }
        }
    }

    /// The file for oneself; `None` when somebody else has it open, or nobody can tell.
    pub(crate) async fn alone(path: &Path) -> Option<Self> {
        let file = open(path).ok()?;
        let doubt = Instant::now() + DOUBT;
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Self { _lock: Some(file) }),
                Err(TryLockError::WouldBlock) if Instant::now() < doubt => sleep(LOOK).await,
                Err(_) => return None,
            }
        }
    }
}

/// Not the read-model file itself: SQLite loses its own locks on a file that its process closes. For reading and writing, without which some network
/// file systems give no lock; where it is somebody else's, reading has to do.
fn open(path: &Path) -> Result<File, Error> {
    let beside = suffixed(path, ".in-use");
    match OpenOptions::new().read(true).append(true).create(true).open(&beside) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(&beside),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_share_a_file_or_one_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("read-models.db");
        let (one, two) = (InUse::shared(&path).await.expect("one"), InUse::shared(&path).await.expect("two"));
        drop(one);
        assert!(InUse::alone(&path).await.is_none());
        drop(two);
        let alone = InUse::alone(&path).await.expect("nobody has it");
        assert!(InUse::alone(&path).await.is_none());
        let waits = tokio::spawn({
            let path = path.clone();
            async move { InUse::shared(&path).await }
        });
        sleep(3 * LOOK).await;
        assert!(!waits.is_finished());
        drop(alone);
        waits.await.expect("ends").expect("its turn");
    }

    #[tokio::test]
    async fn who_cannot_make_the_lock_opens_all_the_same_and_no_rebuild_has_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing").join("read-models.db");
        InUse::shared(&path).await.expect("goes on");
        assert!(InUse::alone(&path).await.is_none());
    }
}
