//! One Postgres server of a test: made, started, stopped, asked. What hurts it is in `faults.rs`, what follows it in `standby.rs`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use crate::binaries::Binaries;
use crate::disk;
use crate::guard::Guard;
use crate::proxy::Proxy;

/// The superuser of every test server; no password is asked for on 127.0.0.1.
pub(crate) const SUPERUSER: &str = "postgres";
/// How long starting, stopping or following may take on a busy machine before it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at something that is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// Ports tried when others take each one between its choice and its use.
const PORTS_MAX: usize = 10;
/// How much of the server's log a failure shows, in lines from its end.
const LOG_LINES_SHOWN: usize = 40;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether commits are synced to disk. Off, `kill -9` loses nothing either (the kernel has it), only power cuts would.
    pub fsync: bool,
    /// Connections, all clients together.
    pub max_connections: u32,
    /// Puts the data on a disk of this size, to be filled ([`Postgres::fill_disk`]). An empty server takes 40 MB.
    pub disk_bytes: Option<usize>,
    /// Further lines of `postgresql.conf`.
    pub parameters: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fsync: true, max_connections: 200, disk_bytes: None, parameters: Vec::new() }
    }
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends sessions, writes a checkpoint; a standby receives everything first.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// A server of one's own; ends, and takes its folder along, when dropped.
#[derive(Debug)]
pub struct Postgres {
    pub(crate) binaries: Binaries,
    pub(crate) settings: Settings,
    /// Holds `log` and `disk/data`; the guard knows this layout.
    folder: PathBuf,
    guard: Option<Guard>,
    pub(crate) port: u16,
    process: Option<Child>,
    /// What a standby receives its primary's log through.
    pub(crate) upstream: Option<Proxy>,
}

impl Postgres {
    /// An empty primary.
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// An empty primary set up otherwise.
    pub async fn start_with(settings: Settings) -> Self {
        let mut server = Self::prepare(settings);
        server.make_empty().await;
        server.launch_on_a_free_port().await;
        server
    }

    /// A folder with its guard, and nothing in it.
    pub(crate) fn prepare(settings: Settings) -> Self {
        let binaries = Binaries::find();
        let folder = new_folder(&binaries);
        let guard = Some(Guard::of(&folder));
        let disk = folder.join("disk");
        if let Some(bytes) = settings.disk_bytes
            && disk::mount(&disk, bytes)
        {
            binaries.hand_over(&disk);
        }
        Self { binaries, settings, folder, guard, port: 0, process: None, upstream: None }
    }

    async fn make_empty(&self) {
        make_empty(&self.binaries, &self.data(), &self.settings).await;
    }

    /// Where its port is known and can be handed out before it answers; retried when another process was quicker.
    pub(crate) async fn launch_on_a_free_port(&mut self) {
        for _ in 0..PORTS_MAX {
            self.port = free_port();
            if self.launch().await {
                return;
            }
        }
        panic!("no port of {PORTS_MAX} stayed free:\n{}", self.log_tail());
    }

    /// Starts the stopped or killed server again, on its port and its data; recovery is finished when this answers.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server still runs");
        for _ in 0..PORTS_MAX {
            if self.launch().await {
                return;
            }
            // A client's outgoing connection may have been given the port; it will not keep it.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("port {} stayed taken:\n{}", self.port, self.log_tail());
    }

    /// Spawns the process and waits until it answers; `false` when its port is taken.
    async fn launch(&mut self) -> bool {
        let log_begins = fs::metadata(self.log_path()).map_or(0, |log| log.len());
        self.process = Some(spawn(&self.binaries, &self.folder, self.port));
        let began = Instant::now();
        while self.try_connect("postgres").await.is_err() {
            let process = self.process.as_mut().expect("it was just started");
            if let Some(ended) = process.try_wait().expect("own processes can be waited for") {
                self.process = None;
                let log = fs::read(self.log_path()).unwrap_or_default();
                let log = String::from_utf8_lossy(&log[log_begins as usize..]);
                if log.contains("Address already in use") {
                    return false;
                }
                panic!("the server ended at its start ({ended}):\n{}", self.log_tail());
            }
            assert!(began.elapsed() < PATIENCE, "the server does not answer:\n{}", self.log_tail());
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// Stops it and waits for its end.
    pub async fn stop(&mut self, how: Shutdown) {
        let signal = match how {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        kill_process(self.pid(), signal).expect("the server runs");
        self.ended().await;
    }

    /// Stops it fast and starts it again.
    pub async fn restart(&mut self) {
        self.stop(Shutdown::Fast).await;
        self.start_again().await;
    }

    /// Waits until the server's process has ended, whoever ended it.
    pub async fn ended(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let began = Instant::now();
        while process.try_wait().expect("own processes can be waited for").is_none() {
            assert!(began.elapsed() < PATIENCE, "the server does not end:\n{}", self.log_tail());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether its process is there; a paused one is.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Its port on 127.0.0.1; the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `postgres://` URL of a database, for the superuser.
    pub fn url(&self, database: &str) -> String {
        url(self.port, SUPERUSER, database)
    }

    /// The same for another role that may log in.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        url(self.port, role, database)
    }

    /// The URL of a new, empty database.
    pub async fn create_database(&self, name: &str) -> String {
        self.execute(&format!("CREATE DATABASE {name}")).await;
        self.url(name)
    }

    /// A superuser's connection.
    pub async fn connect(&self, database: &str) -> PgConnection {
        self.try_connect(database).await.expect("the server answers")
    }

    pub(crate) async fn try_connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        options(self.port, database).connect().await
    }

    /// Runs one statement as superuser in the database `postgres`.
    pub async fn execute(&self, statement: &str) {
        let mut connection = self.connect("postgres").await;
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        // Without a goodbye the server would log a lost connection.
        let _ = connection.close().await;
    }

    /// The one value that a query answers, as text.
    pub async fn ask(&self, query: &str) -> String {
        let mut connection = self.connect("postgres").await;
        let answer: Option<String> = sqlx::query_scalar(&format!("SELECT ({query})::text"))
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let _ = connection.close().await;
        answer.unwrap_or_default()
    }

    /// Sets a server parameter that can be changed while running.
    pub async fn set(&self, parameter: &str, value: &str) {
        self.execute(&format!("ALTER SYSTEM SET {parameter} = '{value}'")).await;
        self.execute("SELECT pg_reload_conf()").await;
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// What the server logged, its last lines.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Its first process, which starts all others and waits for them.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    pub(crate) fn pid(&self) -> Pid {
        let process = self.process.as_ref().expect("the server runs");
        Pid::from_raw(i32::try_from(process.id()).expect("Linux process ids fit"))
            .expect("process ids are not zero")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("disk/data")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the Postgres server at port {}, last lines:\n{}\n---", self.port, self.log_tail());
        }
        // The guard ends the server; it is reaped afterwards.
        drop(self.guard.take());
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}

/// A folder that the server's user owns. Its guard removes it.
pub(crate) fn new_folder(binaries: &Binaries) -> PathBuf {
    let folder =
        tempfile::Builder::new().prefix("formledger-postgres-").tempdir().expect("a temporary folder");
    let folder = folder.keep().canonicalize().expect("it was just made");
    let disk = folder.join("disk");
    fs::create_dir(&disk).expect("a folder can be made in it");
    binaries.hand_over(&disk);
    binaries.hand_over(&folder);
    folder
}

/// Makes the data of an empty server.
pub(crate) async fn make_empty(binaries: &Binaries, data: &Path, settings: &Settings) {
    let mut initdb = binaries.command("initdb");
    initdb.args(["--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--no-instructions"]);
    initdb.arg(format!("--username={SUPERUSER}")).arg("--pgdata").arg(data);
    run(initdb).await;
    configure(data, settings);
}

/// Adds the tests' settings to a server's own configuration.
pub(crate) fn configure(data: &Path, settings: &Settings) {
    let mut lines =
        String::from("\n# Set by the tests.\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n");
    // Segments below /dev/shm would stay behind after `kill -9`.
    lines += "dynamic_shared_memory_type = mmap\n";
    // A standby that lost its primary looks for it again after this, not after 5 s.
    lines += "wal_retrieve_retry_interval = 100ms\n";
    lines += if settings.fsync { "fsync = on\n" } else { "fsync = off\n" };
    lines += &format!("max_connections = {}\n", settings.max_connections);
    for (name, value) in &settings.parameters {
        lines += &format!("{name} = '{value}'\n");
    }
    let file = data.join("postgresql.conf");
    let mut file = File::options().append(true).open(file).expect("initdb wrote a configuration");
    file.write_all(lines.as_bytes()).expect("the configuration can be written");
}

/// Starts the server process on its data; it is not waited for.
pub(crate) fn spawn(binaries: &Binaries, folder: &Path, port: u16) -> Child {
    let log =
        File::options().create(true).append(true).open(folder.join("log")).expect("a log can be written");
    let mut server = binaries.command("postgres");
    server.arg("-D").arg(folder.join("disk/data")).args(["-p", &port.to_string()]);
    server.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    server.spawn().expect("the server's binary can be started")
}

/// Runs a program of the installation to its end, which must be a good one.
pub(crate) async fn run(mut command: std::process::Command) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = command.get_program().to_string_lossy().into_owned();
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
    let output = output.expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed ({}):\n{said}", output.status);
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("there are free ports");
    listener.local_addr().expect("it is bound").port()
}

pub(crate) fn options(port: u16, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(SUPERUSER)
        .database(database)
        .disable_statement_logging()
}

pub(crate) fn url(port: u16, role: &str, database: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}
