//! Finds the distribution's Postgres and the user it may run as, and prepares its commands. Used by everything that starts one.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian and its descendants keep one folder per major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// What a test server needs of an installation.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_basebackup"];
/// Users without privileges that root's servers run as, the first one there.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The binaries, and who may run them.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    folder: PathBuf,
    /// `None` when this process is not root's: then Postgres runs as the user of the tests.
    user: Option<User>,
}

#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Binaries {
    /// The newest Postgres of this machine.
    ///
    /// # Panics
    /// When there is none: tests that need Postgres fail without it.
    pub(crate) fn find() -> Self {
        let folder = newest_of_debian().or_else(in_path).unwrap_or_else(|| {
            panic!(
                "there is no Postgres server on this machine ({} in {DEBIAN}/<version>/bin or in PATH): run `tests/run`, \
                 which installs it, or `apt-get install postgresql`",
                PROGRAMS.join(", ")
            )
        });
        let user = rustix::process::geteuid().is_root().then(|| {
            unprivileged().unwrap_or_else(|| {
                panic!("Postgres refuses to run as root, and there is no user {}", UNPRIVILEGED.join(" or "))
            })
        });
        Self { folder, user }
    }

    /// A program of the installation, run as the unprivileged user, with nothing of the environment that would steer it.
    ///
    /// It has a process group of its own: what ends a test by its group or from the terminal leaves the server to its guard.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        let steering = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"));
        for (name, _) in steering {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).process_group(0);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Hands a file or folder to the user that the server runs as.
    pub(crate) fn hand_over(&self, path: &Path) {
        if let Some(user) = self.user {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
                .expect("root may hand over its own files");
        }
    }
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    versions.filter(|(_, folder)| is_complete(folder)).max().map(|(_, folder)| folder)
}

fn in_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| is_complete(folder))
}

fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).exists())
}

/// Read from the file, because asking the C library needs unsafe code.
fn unprivileged() -> Option<User> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let find = |wanted: &&str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(*wanted);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_it.then_some(User { uid, gid })
        })
    };
    UNPRIVILEGED.iter().find_map(find)
}
