//! The server that all tests of this machine's build folder share, and databases of one's own on it. See the crate's header for why.
//! What a test hurts is a [`Postgres`](crate::Postgres) of its own, never this one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::binaries::Binaries;
use crate::guard::SharedGuard;
use crate::postgres::{
    LOOK, PATIENCE, SUPERUSER, Settings, free_port, make_empty, new_folder, options, spawn, url,
};

/// Connections of all test processes that run beside one another.
const CONNECTIONS_MAX: u32 = 400;
/// As `deploy/postgres/roles.sql` has it, so that new rows come by `COPY` here; on a server of a test's own, whose roles migrations make, they come by
/// statements.
const ROLES: &str = "CREATE ROLE formledger_projector NOLOGIN BYPASSRLS";
/// Ports tried when others take each one between its choice and its use.
const STARTS_MAX: usize = 10;

/// This process's hold on the shared server.
static SERVER: OnceCell<Leased> = OnceCell::const_new();

#[derive(Debug)]
struct Leased {
    port: u16,
    /// A shared lock, never given back: the kernel does it when the process ends.
    _lease: File,
    /// The guard and the server, when this process started them; they outlive it.
    _started: Option<(SharedGuard, Child)>,
}

/// An empty database on the shared server; dropped with the value. Roles belong to the whole server, which other tests share: migrations
/// that make roles must bear that they are there.
#[derive(Debug)]
pub struct Database {
    port: u16,
    name: String,
}

impl Database {
    /// A new one.
    pub async fn create() -> Self {
        let port = SERVER.get_or_init(lease).await.port;
        let name = format!("test_{}", Uuid::now_v7().simple());
        run(port, &format!("CREATE DATABASE {name}")).await.expect("the shared server makes a database");
        Self { port, name }
    }

    /// Its `postgres://` URL, for the superuser.
    pub fn url(&self) -> String {
        self.url_as(SUPERUSER)
    }

    /// The same for another role that may log in.
    pub fn url_as(&self, role: &str) -> String {
        url(self.port, role, &self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its server's port on 127.0.0.1, for a [`Proxy`](crate::Proxy).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A superuser's connection.
    pub async fn connect(&self) -> PgConnection {
        options(self.port, &self.name).connect().await.expect("the shared server answers")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (port, statement) = (self.port, format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // On a thread of its own, because the test's runtime cannot be waited for in here. What is left by a test that was killed goes
        // with the server.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(port, &statement)).map_err(std::io::Error::other)
        });
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("a test database stays behind: {error}");
        }
    }
}

async fn run(port: u16, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = options(port, "postgres").connect().await?;
    sqlx::query(statement).execute(&mut connection).await?;
    connection.close().await
}

/// Joins those who use the server; starts it when there is none.
async fn lease() -> Leased {
    let state = state_folder();
    let open = |name: &str| {
        let file = File::options().create(true).append(true).open(state.join(name));
        file.expect("a file can be written in the build folder")
    };
    // Blocks until whoever starts the server, or ends it, is done; nothing else of this test can go on meanwhile.
    let starting = open("starting");
    starting.lock().expect("files can be locked");
    let lease = open("lease");
    lease.lock_shared().expect("files can be locked");
    let (port, started) = match running(&state).await {
        Some(port) => (port, None),
        None => {
            let (port, processes) = start(&state).await;
            (port, Some(processes))
        }
    };
    Leased { port, _lease: lease, _started: started }
}

/// Beside this build's test binaries.
fn state_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own executable");
    let folder = test.parent().and_then(Path::parent).expect("tests are built in target/<profile>/deps");
    let state = folder.join("test-postgres");
    fs::create_dir_all(&state).expect("the build folder can be written");
    state
}

/// The port of the server that `state` names, if it is that server which answers there.
async fn running(state: &Path) -> Option<u16> {
    let named = fs::read_to_string(state.join("server")).ok()?;
    let (port, folder) = named.split_once(' ')?;
    let port = port.parse().ok()?;
    let mut connection = options(port, "postgres").connect().await.ok()?;
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.ok()?;
    let _ = connection.close().await;
    Path::new(&data).starts_with(folder).then_some(port)
}

async fn start(state: &Path) -> (u16, (SharedGuard, Child)) {
    let binaries = Binaries::find();
    let folder = new_folder(&binaries);
    let guard = SharedGuard::of(&folder, state);
    // Nobody kills this server, and its guard throws its data away.
    let settings = Settings { fsync: false, max_connections: CONNECTIONS_MAX, ..Settings::default() };
    make_empty(&binaries, &folder.join("disk/data"), &settings).await;
    for _ in 0..STARTS_MAX {
        let port = free_port();
        let mut process = spawn(&binaries, &folder, port);
        let began = Instant::now();
        while process.try_wait().expect("own processes can be waited for").is_none() {
            if let Ok(mut connection) = options(port, "postgres").connect().await {
                connection.execute(ROLES).await.expect("an empty server takes a role");
                let _ = connection.close().await;
                let named = format!("{port} {}", folder.display());
                fs::write(state.join("server"), named).expect("the build folder can be written");
                return (port, (guard, process));
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the shared server does not answer: see {}",
                folder.display()
            );
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the shared server ends at its start: see {}/log", folder.display());
}
