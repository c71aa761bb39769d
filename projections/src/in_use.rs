//! Who has a read-model file open. Each process that does shares a lock on a small file beside it, for as long as it does; a rebuild that puts
//! another file in its place has that lock to itself, so that nobody goes on in a file that is gone. Used by `read_models` and `rebuild`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::place::suffixed;

/// How long one who opens waits for a rebuild that exchanges the file, most of which is the disk taking it.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// A lock that lasts as long as this value; the system takes it back from a process that is killed.
#[derive(Debug)]
pub(crate) struct InUse {
    /// `None` on a file system that has no locks, where no rebuild gets the file to itself either.
    _lock: Option<File>,
}

impl InUse {
    /// Shares the file with everybody else who opens it.
    ///
    /// # Errors
    /// The lock's file cannot be made, or a rebuild has it for longer than [`PATIENCE`].
    pub(crate) async fn shared(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        let patience = Instant::now() + PATIENCE;
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Self { _lock: Some(file) }),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Self { _lock: None });
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => sleep(LOOK).await,
                Err(TryLockError::WouldBlock) => return Err(ErrorKind::ResourceBusy.into()),
            }
        }
    }

    /// The file for oneself; `None` when somebody else has it open.
    pub(crate) fn alone(path: &Path) -> Result<Option<Self>, Error> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Not the read-model file itself: SQLite loses its own locks on a file that its process closes.
fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).append(true).open(suffixed(path, ".in-use"))
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
        assert!(InUse::alone(&path).expect("asks").is_none());
        drop(two);
        let alone = InUse::alone(&path).expect("asks").expect("nobody has it");
        assert!(InUse::alone(&path).expect("asks").is_none());
        let waits = tokio::spawn({
            let path = path.clone();
            async move { InUse::shared(&path).await }
        });
        sleep(3 * LOOK).await;
        assert!(!waits.is_finished());
        drop(alone);
        waits.await.expect("ends").expect("its turn");
    }
}
