//! Base backups and servers restored from them, as an operator makes them. Used by the backup tests.

use std::fs;
use std::path::Path;

use crate::postgres::{Postgres, SUPERUSER, Settings, configure, run};

impl Postgres {
    /// Copies the running server's data to `folder`, with the log that a start on it needs. The server's user must be able to make the folder.
    pub async fn back_up(&self, folder: &Path) {
        let source = format!("host=127.0.0.1 port={} user={SUPERUSER}", self.port());
        let mut copy = self.binaries.command("pg_basebackup");
        copy.arg("--pgdata").arg(folder).args(["--dbname", &source]);
        copy.args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        run(copy).await;
    }

    /// A server on a copy of `backup`. With a `restore_command` among the settings' parameters it first applies what is archived.
    pub async fn restore(backup: &Path, settings: Settings) -> Self {
        let mut server = Self::prepare(settings);
        let mut copy = server.binaries.command("/bin/cp");
        copy.arg("--archive").arg(backup).arg(server.data());
        run(copy).await;
        configure(&server.data(), &server.settings);
        if server.settings.parameters.iter().any(|(name, _)| name == "restore_command") {
            let signal = server.data().join("recovery.signal");
            fs::write(&signal, "").expect("the server's data can be written");
            server.binaries.hand_over(&signal);
        }
        server.launch_on_a_free_port().await;
        server.until("SELECT pg_is_in_recovery()", "false").await;
        server
    }

    /// A command run as the server's user: a program of the installation by its name, any other by its path.
    pub fn command(&self, program: &str) -> std::process::Command {
        self.binaries.command(program)
    }
}
