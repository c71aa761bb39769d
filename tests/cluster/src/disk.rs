//! Takes the space away under a running server and gives it back: a small disk that is filled, or a limit on file sizes.
//! Used by the fault tests, for the product and for Postgres. Mounting needs root; the limit works for anybody and stands in where mounting
//! is refused.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount as mount_at, unmount};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tempfile::TempDir;

/// With the limit on, no file may be written past this size: any append to a ledger is past it.
const FILE_BYTES_MAX: u64 = 4096;
/// What fills a disk.
const BALLAST: &str = "ballast";

/// A disk in memory that can be filled; unmounted with the value.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of this size; `None` when this user may not mount.
    pub fn mount(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        mount(folder.path(), bytes).then_some(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes until not one more byte fits.
    pub fn fill(&self) {
        fill(self.path());
    }

    /// Gives the space back.
    pub fn free(&self) {
        free(self.path());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached, because a server that the failing test left behind may still hold files on it.
        if let Err(error) = unmount(self.folder.path(), UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.folder.path().display());
        }
    }
}

/// Mounts a disk in memory at `folder`; `false` when this user may not.
pub(crate) fn mount(folder: &Path, bytes: usize) -> bool {
    let options = std::ffi::CString::new(format!("size={bytes}")).expect("no zero byte in it");
    match mount_at("none", folder, "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
        Ok(()) => true,
        Err(error) if error == rustix::io::Errno::PERM || error == rustix::io::Errno::ACCESS => false,
        Err(error) => panic!("a disk in memory could not be mounted: {error}"),
    }
}

/// Whether a disk is mounted at `folder`.
pub(crate) fn is_mounted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).expect("the folder is there").dev();
    device(folder) != device(folder.parent().expect("it lies in a folder"))
}

/// Writes to the disk at `folder` until not one more byte fits.
pub(crate) fn fill(folder: &Path) {
    let mut ballast = fs::File::create(folder.join(BALLAST)).expect("a file can be made");
    for size in [64 << 10, 1] {
        let block = vec![0; size];
        loop {
            match ballast.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the disk could not be filled: {error}"),
            }
        }
    }
}

/// Gives back what [`fill`] took.
pub(crate) fn free(folder: &Path) {
    fs::remove_file(folder.join(BALLAST)).expect("the ballast can be removed");
}

/// A command prefix under which a write past the file size limit fails, instead of ending the process by SIGXFSZ.
pub const IGNORING_FILE_SIZE_SIGNALS: [&str; 4] = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

/// Lets the process write no file past 4 KiB.
pub fn limit_file_size(process: Pid) {
    set_file_size_max(process, Some(FILE_BYTES_MAX));
}

/// Takes the limit back.
pub fn lift_file_size(process: Pid) {
    set_file_size_max(process, getrlimit(Resource::Fsize).maximum);
}

fn set_file_size_max(process: Pid, current: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(process), Resource::Fsize, Rlimit { current, maximum })
        .expect("own processes can be limited");
}
