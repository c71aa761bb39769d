//! Folders for the shadows of processes that run beside a server, such as `formledger replay`: a server that starts removes what it left itself, and
//! must not take away what another process is writing.

use std::fs::File;
use std::io::Error;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// How folders of their own are called in a data folder. Not as shadows' files, by which a server that starts knows what is its own.
const FOLDER_PREFIX: &str = "replay-";
/// The file in it that its process holds a lock on as long as it lives.
const LOCK_FILE: &str = "in-use";

/// A folder for the shadows of a process that does not serve from the data folder and runs beside one that does; removed with this.
#[derive(Debug)]
pub struct ShadowFolder {
    path: PathBuf,
    _locked: File,
}

impl ShadowFolder {
    /// Makes one in `data`, and removes those that killed processes left there.
    ///
    /// # Errors
    /// When the file system does not let us.
    pub fn make(data: &Path) -> Result<Self, Error> {
        remove_abandoned(data)?;
        let path = data.join(format!("{FOLDER_PREFIX}{}", Uuid::now_v7()));
        std::fs::create_dir(&path)?;
        let lock = File::create(path.join(LOCK_FILE))?;
        lock.lock()?;
        Ok(Self { path, _locked: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ShadowFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a replay's folder could not be removed");
        }
    }
}

/// Removes folders whose process is gone. One without its lock's file is just being made.
pub(super) fn remove_abandoned(data: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK_FILE)) else { continue };
        if lock.try_lock().is_ok() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
