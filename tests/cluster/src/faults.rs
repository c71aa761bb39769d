//! What hurts a server: `kill -9`, pauses, slow commits, a full disk. Cut connections are the [`Proxy`](crate::Proxy)'s.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::disk;
use crate::postgres::{LOOK, PATIENCE, Postgres};

/// The longest that Postgres can be told to wait before it syncs a commit.
pub const COMMIT_DELAY_MAX: Duration = Duration::from_millis(100);

impl Postgres {
    /// `kill -9` of the server and of all its processes at one moment, as a power cut is; then [`Postgres::start_again`].
    pub async fn kill_9(&mut self) {
        let all = self.processes();
        // Stopped first, or it would restart what is killed beside it.
        signal(&all[..1], Signal::STOP);
        let all = self.processes();
        signal(&all, Signal::KILL);
        self.ended().await;
        let began = Instant::now();
        // A process that outlives the server by a moment keeps the next one from starting.
        while all.iter().any(|process| runs(*process)) {
            assert!(began.elapsed() < PATIENCE, "killed processes do not end");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops all its processes in their tracks: connections stay open and nothing answers, as on a machine that hangs.
    pub fn pause(&self) {
        signal(&self.processes()[..1], Signal::STOP);
        signal(&self.processes(), Signal::STOP);
    }

    /// Lets it go on after [`Postgres::pause`].
    pub fn resume(&self) {
        signal(&self.processes(), Signal::CONT);
    }

    /// Makes every commit wait this long before it is synced, at most [`COMMIT_DELAY_MAX`]: a disk whose sync is slow, as commits see it.
    pub async fn slow_commits(&self, delay: Duration) {
        assert!(delay <= COMMIT_DELAY_MAX, "Postgres waits {COMMIT_DELAY_MAX:?} at most");
        self.set("commit_siblings", "0").await;
        self.set("commit_delay", &delay.as_micros().to_string()).await;
    }

    /// Takes all space: fills the small disk ([`Settings::disk_bytes`](crate::Settings)), or, where this user may not mount one, lets no
    /// file of the server grow.
    pub fn fill_disk(&self) {
        if disk::is_mounted(&self.disk()) {
            disk::fill(&self.disk());
        } else {
            self.processes().into_iter().for_each(disk::limit_file_size);
        }
    }

    /// Gives the space back. The server may have ended meanwhile, as it does when its log cannot be written.
    pub fn free_disk(&mut self) {
        if disk::is_mounted(&self.disk()) {
            disk::free(&self.disk());
        } else if self.is_running() {
            self.processes().into_iter().for_each(disk::lift_file_size);
        }
    }

    /// Removes what `kill -9` left of a server that will not start again on its data: the segment that guards them. Starting again and
    /// the guard do so too.
    pub(crate) fn release_shared_memory(&self) {
        let Ok(left) = fs::read_to_string(self.data().join("postmaster.pid")) else { return };
        let segment = left.lines().nth(6).and_then(|line| line.split_whitespace().last());
        if let Some(segment) = segment {
            let removed = Command::new("ipcrm").args(["-m", segment]).output();
            removed.expect("util-linux is installed wherever Postgres is");
        }
    }

    /// The server and its children.
    fn processes(&self) -> Vec<Pid> {
        let server = self.pid();
        let number = server.as_raw_nonzero();
        let children =
            fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?));
        [server].into_iter().chain(children).collect()
    }
}

/// Whether a process still does anything: one that ended may stay listed until its parent has heard.
fn runs(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains(") Z "))
}

fn signal(processes: &[Pid], signal: Signal) {
    for process in processes {
        // Children come and go.
        let _ = kill_process(*process, signal);
    }
}
