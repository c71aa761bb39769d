//! What the other modules run the deployment's parts with: its files, adapted to another place, and the cluster that stands for its servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use formledger_test_cluster::{Postgres, Settings};
use formledger_tests::installation::repository;
use formledger_tests::wait::within;
use tempfile::TempDir;
use tokio::process::Command;

/// Passwords of the deployment under test, by the name of their setting.
pub const PASSWORDS: [(&str, &str); 3] =
    [("OWNER_PASSWORD", "owner's"), ("APP_PASSWORD", "app's \"own\""), ("REPLICATION_PASSWORD", "standby's")];

/// The password of the nodes' login.
pub fn app_password() -> &'static str {
    PASSWORDS[1].1
}

/// A file of the deployment.
pub fn file(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

/// Its text.
pub fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// The version in rust-toolchain.toml.
pub fn pinned_rust() -> String {
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).expect("it is there");
    toolchain.split('"').nth(1).expect("channel = \"…\" comes first").to_owned()
}

/// A folder that other users may enter and write, as servers run under their own.
pub fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    folder
}

/// The parameters of deploy/postgres/postgresql.conf, with the archive in `archive`.
pub fn parameters(scratch: &Path, archive: &Path) -> Vec<(String, String)> {
    // The repository may lie where the server's user cannot read.
    let script = scratch.join("archive-wal.sh");
    fs::copy(file("postgres/archive-wal.sh"), &script).expect("the script can be copied");
    let hba = scratch.join("pg_hba.conf");
    // The tests' own way in, before the deployment's.
    let rules = format!(
        "host all postgres 127.0.0.1/32 trust\nhost replication postgres 127.0.0.1/32 trust\n{}",
        text("postgres/pg_hba.conf")
    );
    fs::write(&hba, rules).expect("the scratch folder can be written");
    let conf = text("postgres/postgresql.conf");
    let lines = conf.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let parameter = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("not `name = value`: {line}"));
        let value = value.trim().trim_matches('\'');
        let value = value.replace("/etc/formledger/archive-wal.sh", &script.display().to_string());
        (name.trim().to_owned(), value.replace("/var/lib/postgresql/archive", &archive.display().to_string()))
    };
    let mut parameters: Vec<_> = lines.map(parameter).collect();
    parameters.push(("listen_addresses".into(), "127.0.0.1".into()));
    parameters.push(("hba_file".into(), hba.display().to_string()));
    parameters
}

/// One of the deployment's servers: its configuration, its roles, its database.
pub struct Primary {
    /// The server.
    pub server: Postgres,
    /// Files beside it.
    pub scratch: TempDir,
    database: &'static str,
}

impl Primary {
    /// The ledger's.
    pub async fn start() -> Self {
        Self::start_for("ledger", &PASSWORDS).await
    }

    /// The read-model replica.
    pub async fn start_replica() -> Self {
        Self::start_for("read_models", &PASSWORDS[..2]).await
    }

    /// Starts it, and runs `roles.sql` as the image's entrypoint does.
    async fn start_for(database: &'static str, variables: &[(&str, &str)]) -> Self {
        let scratch = open_folder();
        let archive = scratch.path().join("archive");
        fs::create_dir(&archive).expect("a folder can be made");
        fs::set_permissions(&archive, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let parameters = parameters(scratch.path(), &archive);
        let server = Postgres::start_with(Settings { parameters, ..Settings::default() }).await;
        let mut psql = Command::new("psql");
        psql.args(["-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", "--quiet"]);
        psql.arg("-f").arg(file("postgres/roles.sql")).arg(server.url("postgres"));
        psql.env_remove("REPLICATION_PASSWORD").env("LEDGER_DATABASE", database);
        psql.envs(variables.iter().copied());
        run(psql).await;
        Self { server, scratch, database }
    }

    /// Where finished segments of the log are copied to.
    pub fn archive(&self) -> PathBuf {
        self.scratch.path().join("archive")
    }

    /// The URL of its database for `role`, without a password.
    pub fn url(&self, role: &str) -> String {
        self.server.url_as(role, self.database)
    }
}

/// Runs a program to its good end; answers its standard output.
pub async fn run(mut command: Command) -> String {
    let what = format!("{:?}", command.as_std());
    let output = within(&what, command.kill_on_drop(true).output()).await;
    let output =
        output.unwrap_or_else(|error| panic!("{what}: {error}; `tests/run` installs what is missing"));
    let said = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what} ({}):\n{stdout}{said}", output.status);
    stdout
}
