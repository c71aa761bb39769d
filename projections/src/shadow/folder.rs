//! Folders for the shadows of a process, a server or a tool that runs beside one: who starts removes what killed processes left, and must not take
//! away what another one is writing.

use std::fs::{File, OpenOptions};
use std::io::Error;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// How they are called in a data folder, before something of their own.
const FOLDER_PREFIXES: [&str; 2] = ["replay-", "serve-"];
/// How one is called until it is locked.
const MAKING_PREFIX: &str = "making-";
/// The file in it that its process holds a lock on as long as it lives.
const LOCK_FILE: &str = "in-use";

/// A folder for the shadows of a process; removed with this.
#[derive(Debug)]
pub struct ShadowFolder {
    path: PathBuf,
    _locked: File,
}

impl ShadowFolder {
    /// Makes one in `data` for a server, and removes those that killed processes left there.
    ///
    /// # Errors
    /// When the file system does not let us.
    pub fn of_server(data: &Path) -> Result<Self, Error> {
        Self::make(data, FOLDER_PREFIXES[1])
    }

    /// The same for a replay that runs beside a server.
    ///
    /// # Errors
    /// When the file system does not let us.
    pub fn of_replay(data: &Path) -> Result<Self, Error> {
        Self::make(data, FOLDER_PREFIXES[0])
    }

    fn make(data: &Path, prefix: &str) -> Result<Self, Error> {
        if let Err(error) = remove_abandoned(data) {
            tracing::warn!(%error, path = %data.display(), "what shadows of killed processes left could not be removed");
        }
        let id = Uuid::now_v7();
        // Locked before it has a name by which it would be looked at.
        let (making, path) = (data.join(format!("{MAKING_PREFIX}{id}")), data.join(format!("{prefix}{id}")));
        std::fs::create_dir(&making)?;
        let lock = File::create(making.join(LOCK_FILE))?;
        lock.lock()?;
        std::fs::rename(&making, &path)?;
        Ok(Self { path, _locked: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ShadowFolder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a folder for shadows could not be removed");
        }
    }
}

/// Removes folders whose process is gone.
fn remove_abandoned(data: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        let (name, is_folder) = (entry.file_name(), entry.file_type()?.is_dir());
        if !is_folder || !FOLDER_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            continue;
        }
        // For writing, without which some network file systems give no lock.
        let lock = OpenOptions::new().read(true).write(true).open(entry.path().join(LOCK_FILE));
        let Ok(lock) = lock else { continue };
        if lock.try_lock().is_ok() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a folder, what tells that it is abandoned last.
fn remove(folder: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != LOCK_FILE {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir_all(folder)
}
