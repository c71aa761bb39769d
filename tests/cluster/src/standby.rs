//! Streaming standbys: made from a primary, following it through a proxy that can be cut, promoted, and put behind another primary.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::postgres::{LOOK, PATIENCE, Postgres, SUPERUSER, Shutdown, run};
use crate::proxy::Proxy;

/// Standbys made by this process: each has a name, and a replication slot of that name at its primary.
static STANDBYS: AtomicU32 = AtomicU32::new(0);

impl Postgres {
    /// A streaming standby of this server. It is asynchronous until [`Postgres::commit_with`].
    pub async fn standby(&self) -> Self {
        let mut standby = Self::prepare(self.settings.clone());
        standby.copy_from(self).await;
        standby.launch_on_a_free_port().await;
        standby
    }

    /// Throws this server's data away and makes it a standby of `primary`, on its old port: how a former primary comes back.
    pub async fn follow(&mut self, primary: &Self) {
        if self.is_running() {
            self.stop(Shutdown::Immediate).await;
        }
        self.release_shared_memory();
        fs::remove_dir_all(self.data()).expect("the server's data can be removed");
        self.copy_from(primary).await;
        self.start_again().await;
    }

    async fn copy_from(&mut self, primary: &Self) {
        let name = format!("standby_{}", STANDBYS.fetch_add(1, Ordering::Relaxed));
        let proxy = Proxy::to(primary.port());
        let source = format!(
            "host=127.0.0.1 port={} user={SUPERUSER} application_name={name} connect_timeout=10",
            proxy.port()
        );
        let mut copy = self.binaries.command("pg_basebackup");
        copy.arg("--pgdata").arg(self.data()).args(["--dbname", &source]);
        // The slot keeps the log for this standby however long it is away; the servers of tests do not live long.
        copy.args(["--create-slot", "--slot", &name, "--write-recovery-conf"]);
        copy.args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        run(copy).await;
        self.upstream = Some(proxy);
    }

    /// The connection over which this standby receives its primary's log, to be cut or delayed.
    ///
    /// # Panics
    /// When this server was never a standby.
    pub fn upstream(&self) -> &Proxy {
        self.upstream.as_ref().expect("this server follows no other")
    }

    /// From now on, commits wait until `standby` has synced them to its disk.
    pub async fn commit_with(&self, standby: &Self) {
        let name = standby.ask("SELECT current_setting('primary_slot_name')").await;
        self.set("synchronous_standby_names", &name).await;
        let streams = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' AND sync_state = 'sync'"
        );
        self.until(&streams, "1").await;
    }

    /// From now on, commits wait for no standby.
    pub async fn commit_alone(&self) {
        self.set("synchronous_standby_names", "").await;
    }

    /// Makes a standby a primary; it takes writes when this answers.
    pub async fn promote(&self) {
        let seconds = PATIENCE.as_secs();
        let promoted = self.ask(&format!("SELECT pg_promote(true, {seconds})")).await;
        assert_eq!(promoted, "true", "the standby was not promoted:\n{}", self.log_tail());
        // A server that waited for a standby of the former primary would wait for ever.
        self.commit_alone().await;
    }

    /// Whether it follows another server.
    pub async fn is_standby(&self) -> bool {
        self.ask("SELECT pg_is_in_recovery()").await == "true"
    }

    /// Waits until this standby shows everything that `primary` has committed by now.
    pub async fn catch_up(&self, primary: &Self) {
        let written = primary.ask("SELECT pg_current_wal_lsn()").await;
        self.until(&format!("SELECT pg_last_wal_replay_lsn() >= '{written}'"), "true").await;
    }

    /// Waits until `query` answers `wanted`.
    pub async fn until(&self, query: &str, wanted: &str) {
        let began = Instant::now();
        loop {
            let answer = self.ask(query).await;
            if answer == wanted {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{query}: still `{answer}`, not `{wanted}`:\n{}",
                self.log_tail()
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}
