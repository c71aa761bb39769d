//! The process beside each server that ends it and removes its folder (guard.sh), also when the test was killed. Used by `postgres.rs` and
//! `shared.rs`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ends a server and removes its folder when dropped, or when this process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn of(folder: &Path) -> Self {
        Self(guard().arg(folder).stdin(Stdio::piped()).spawn().expect("there is a shell"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("a test server's guard cannot be waited for: {error}");
        }
    }
}

/// Ends the shared server when nobody leases it any more; outlives this process, which may or may not wait for it.
#[derive(Debug)]
pub(crate) struct SharedGuard(
    #[expect(dead_code, reason = "held so that it is a child, not a number")] Child,
);

impl SharedGuard {
    pub(crate) fn of(folder: &Path, state: &Path) -> Self {
        Self(guard().arg(folder).arg(state).stdin(Stdio::null()).spawn().expect("there is a shell"))
    }
}

fn guard() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", include_str!("guard.sh"), "guard.sh"]).current_dir("/");
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
}
