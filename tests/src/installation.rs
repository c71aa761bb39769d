//! One installation of the product: a data folder, a secret, and the `formledger` commands run against them.
//! Every test makes a fresh one, so tests share nothing; a restart is a second `serve` of the same installation.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use formledger_test_cluster::Database;
use tokio::process::Command;

use crate::server::Server;
use crate::wait::within;

/// The secret that signs this suite's tokens.
pub const SECRET: &str = "a secret that only the tests of formledger use";

/// Where the journeys keep their ledgers, unless one asks for files: `postgres`, or anything else for the embedded database. `tests/run`
/// runs them both ways.
const LEDGER_VARIABLE: &str = "TEST_LEDGER";

/// A data folder and the settings that all commands on it share.
#[derive(Debug)]
pub struct Installation {
    folder: tempfile::TempDir,
    data: PathBuf,
    settings: Vec<(String, String)>,
    /// Of its own; dropped with it.
    database: Option<Database>,
}

/// A command that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Itself, when it exited with `code`.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl Installation {
    /// An empty data folder with an HS256 secret.
    pub fn fresh() -> Self {
        Self::without_credentials().with("JWT_SECRET", SECRET)
    }

    /// As [`Installation::fresh`], with the ledger in the database that this run of the suite is about.
    pub async fn of_this_run() -> Self {
        match std::env::var(LEDGER_VARIABLE).as_deref() {
            Ok("postgres") => Self::on_postgres().await,
            _ => Self::fresh(),
        }
    }

    /// As [`Installation::fresh`], with the ledger in a Postgres database of its own.
    pub async fn on_postgres() -> Self {
        let database = Database::create().await;
        let installation = Self::fresh().with("DATABASE_URL", database.url());
        Self { database: Some(database), ..installation }
    }

    /// Another server's installation on the same Postgres database: the same secret, and a data folder of its own.
    pub fn beside(&self) -> Self {
        let database = self.database.as_ref().expect("the ledger is on Postgres");
        Self::fresh().with("DATABASE_URL", database.url())
    }

    /// The Postgres database of its own, which holds ledger and read models, where it has one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// An empty data folder and no way to check a credential yet.
    pub fn without_credentials() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data = folder.path().join("data");
        Self { folder, data, settings: Vec::new(), database: None }
    }

    /// Sets a variable that is no option of ours, such as libpq's `PGPASSWORD`, for every command.
    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the option `name` for every command, as `FORMLEDGER_<name>` in its environment.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((format!("FORMLEDGER_{name}"), value.into()));
        self
    }

    /// Keeps the data in `data` instead, for example on a small disk.
    pub fn on(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    /// Where the data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder for files that the test hands to the product; gone with the installation.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// `formledger` with this installation's settings and nothing else of the environment that could set an option.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The same, started by another program: `wrapper` is its command line up to where ours begins.
    pub fn command_under(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let binary = binary();
        let mut words = wrapper.iter().map(std::ffi::OsStr::new).chain([binary.as_os_str()]);
        let mut command = Command::new(words.next().expect("the binary is always there"));
        command.args(words).args(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FORMLEDGER_") {
                command.env_remove(name);
            }
        }
        command.env("FORMLEDGER_DATA", &self.data).envs(self.settings.iter().cloned());
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, "").await
    }

    /// Runs a command to its end, with `input` on its standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let file = tempfile::tempfile_in(self.folder.path()).expect("a temporary file can be made");
        std::io::Write::write_all(&mut &file, input.as_bytes()).expect("the temporary file can be written");
        std::io::Seek::rewind(&mut &file).expect("a file can be rewound");
        let mut command = self.command(arguments);
        let run = command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let what = format!("`formledger {}` to end", arguments.join(" "));
        let output = within(&what, run).await.expect("the binary can be started");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A token as an operator mints it: `formledger token`.
    pub async fn token(&self, tenant: &str, subject: &str, roles: &str) -> String {
        let finished =
            self.run(&["token", "--tenant", tenant, "--subject", subject, "--roles", roles]).await.expect(0);
        finished.stdout.trim().to_owned()
    }

    /// Starts the server on a free port and waits until it is ready.
    pub async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    /// Starts the server with further options.
    pub async fn serve_with(&self, options: &[&str]) -> Server {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(options);
        Server::start(self.command(&arguments), self.folder.path()).await
    }
}

/// The binary under test, built beside this test's own executable.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own executable");
    let profile = test.parent().and_then(Path::parent).expect("tests are built in target/<profile>/deps");
    let binary = profile.join("formledger");
    assert!(
        binary.exists(),
        "there is no {}: build it with `cargo build -p formledger-api --bin formledger` (`tests/run` does)",
        binary.display()
    );
    binary
}

/// The top folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository")
}
