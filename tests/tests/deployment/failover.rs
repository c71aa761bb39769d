//! The ledger's servers, started by the deployment's script: one takes writes, the others copy themselves and follow, another one takes over as
//! docs/operations.md says, further ones change over to it, and the former primary comes back behind it, never as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use formledger_test_cluster::Shutdown;
use formledger_tests::wait::within;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::parts::{PASSWORDS, Primary, file, open_folder};
use crate::servers::{assert_serves, migrated};

/// A server that the script starts, on data of its own.
struct Started {
    process: Option<Child>,
    port: u16,
    scratch: TempDir,
}

/// The script as the container `name` runs it, told that `primary` takes writes, which is at `port` here.
fn script(
    cluster: &Primary,
    scratch: &Path,
    data: &Path,
    name: &str,
    (primary, port): (&str, u16),
) -> Command {
    let script = scratch.join("start.sh");
    fs::copy(file("postgres/start.sh"), &script).expect("the script can be copied");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let mut start = cluster.server.command("/bin/bash");
    start.arg(&script).args(["postgres", "-c", "unix_socket_directories="]);
    start.env("PATH", path_of(cluster)).env("PGDATA", data).env("ENTRYPOINT", "env");
    start.env("SERVER_NAME", name).env("LEDGER_PRIMARY", primary);
    start.env("PRIMARY_HOST", "127.0.0.1").env("PRIMARY_PORT", port.to_string());
    start.env("REPLICATION_PASSWORD", PASSWORDS[2].1).env("WAL_ARCHIVE", cluster.archive());
    Command::from(start)
}

/// The installation's programs before all others, as in the image.
fn path_of(cluster: &Primary) -> std::ffi::OsString {
    let program = cluster.server.command("postgres").get_program().to_owned();
    let folder = Path::new(&program).parent().expect("it lies in a folder").to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&others)))
        .expect("paths without colons")
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    free.expect("there are free ports").port()
}

impl Started {
    /// On an empty folder, as the image has it: there, and the server's user's alone.
    async fn empty(cluster: &Primary, name: &str, primary: (&str, u16)) -> Self {
        let scratch = open_folder();
        let data = scratch.path().join("data");
        let mut make = cluster.server.command("/bin/mkdir");
        make.arg("--mode=700").arg(&data);
        crate::parts::run(Command::from(make)).await;
        let mut server = Self { process: None, port: free_port(), scratch };
        server.start(cluster, name, primary);
        server
    }

    fn start(&mut self, cluster: &Primary, name: &str, primary: (&str, u16)) {
        let scratch = self.scratch.path();
        let mut start = script(cluster, scratch, &scratch.join("data"), name, primary);
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("it can be written");
        start.arg("-p").arg(self.port.to_string()).stdout(Stdio::null()).stderr(log);
        self.process = Some(start.kill_on_drop(true).spawn().expect("bash can be started"));
    }

    /// Waits until a query of the superuser answers `wanted`.
    async fn until(&self, query: &str, wanted: &str) {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        within(&format!("`{query}` to answer `{wanted}`"), async {
            loop {
                if let Ok(mut connection) = PgConnection::connect(&url).await {
                    let query = format!("SELECT ({query})::text");
                    let answer =
                        sqlx::query_scalar::<_, Option<String>>(&query).fetch_one(&mut connection).await;
                    if answer.is_ok_and(|answer| answer.as_deref() == Some(wanted)) {
                        return;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Runs one statement as superuser.
    async fn execute(&self, statement: &str) {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let mut connection = PgConnection::connect(&url).await.expect("it answers");
        sqlx::query(statement).execute(&mut connection).await.expect("it takes writes");
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }

    /// Waits until its log says something.
    async fn says(&self, wanted: &str) {
        let said = async {
            while !fs::read_to_string(self.log()).is_ok_and(|log| log.contains(wanted)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("its log", said).await;
    }

    /// Waits until it receives what its primary logs. Its primary says so of the copy, too, which comes before.
    async fn follows(&self) {
        self.until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", "1").await;
    }

    /// A fast shutdown, as the image's stop signal is.
    async fn stop(&mut self) {
        let mut process = self.process.take().expect("it was started");
        let pid = i32::try_from(process.id().expect("it runs")).expect("Linux process ids fit");
        let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        within("the server to end", process.wait()).await.expect("it can be waited for");
    }
}

fn streaming(name: &str) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid \
         WHERE application_name = '{name}' AND slot_name = '{name}' AND state = 'streaming'"
    )
}

#[tokio::test]
async fn a_server_waits_for_its_primary_copies_itself_and_follows_in_a_slot_of_its_own() {
    let mut primary = Primary::start().await;
    let port = primary.server.port();
    primary.server.stop(Shutdown::Fast).await;
    let mut standby = Started::empty(&primary, "standby", ("primary", port)).await;
    let mut second = Started::empty(&primary, "standby_2", ("primary", port)).await;
    primary.server.start_again().await;
    for (server, name) in [(&standby, "standby"), (&second, "standby_2")] {
        server.follows().await;
        primary.server.until(&streaming(name), "1").await;
    }
    // Both are known by their names, so that commits can wait for either.
    primary.server.set("synchronous_standby_names", "ANY 1 (standby, standby_2)").await;
    let quorum = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'";
    primary.server.until(quorum, "2").await;
    second.stop().await;
    primary.server.execute("CREATE TABLE things AS SELECT 42 AS answer").await;
    standby.until("SELECT answer FROM things WHERE pg_is_in_recovery()", "42").await;
    standby.stop().await;
}

/// The steps of docs/operations.md, "Failover", with a copy that an earlier attempt left a slot for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standby_takes_over_and_the_former_primary_comes_back_behind_it_or_not_at_all() {
    let mut primary = Primary::start().await;
    primary.server.execute("SELECT pg_create_physical_replication_slot('standby')").await;
    let mut standby = Started::empty(&primary, "standby", ("primary", primary.server.port())).await;
    standby.follows().await;
    let installation = migrated(&primary, primary.server.port()).await;
    let server = installation.serve().await;
    assert_serves(&installation, &server).await;
    assert!(server.stop().await.success());
    let former = PathBuf::from(primary.server.ask("SELECT current_setting('data_directory')").await);

    primary.server.stop(Shutdown::Fast).await;
    let now = ("standby", standby.port);
    standby.stop().await;
    standby.start(&primary, "standby", now);
    standby.until("SELECT pg_promote()", "true").await;
    standby.until("SELECT pg_is_in_recovery()", "false").await;

    // It starts again in the container that it was promoted in, and in one of before it says what to do, and not to remove what it holds.
    standby.stop().await;
    let data = standby.scratch.path().join("data");
    let before = ("primary", primary.server.port());
    let scratch = open_folder();
    let mut stale = script(&primary, scratch.path(), &data, "standby", before);
    let Output { status, stderr, .. } = within("the script to end", stale.output()).await.expect("it starts");
    let said = String::from_utf8_lossy(&stderr);
    assert!(
        !status.success() && said.contains("make it anew with LEDGER_PRIMARY=standby"),
        "{status}: {said}"
    );
    standby.start(&primary, "standby", now);
    standby.until("SELECT pg_is_in_recovery()", "false").await;

    // Whatever starts the old one again.
    let scratch = open_folder();
    let mut again = script(&primary, scratch.path(), &former, "primary", now);
    let Output { status, stderr, .. } = within("the script to end", again.output()).await.expect("it starts");
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && said.contains("two primaries are two histories"), "{status}: {said}");

    let mut back = Started::empty(&primary, "primary", now).await;
    back.follows().await;
    standby.until(&streaming("primary"), "1").await;
    let url = format!("postgres://formledger_app@127.0.0.1:{}/ledger", standby.port);
    let installation = installation.with("DATABASE_URL", url);
    installation.run(&["verify"]).await.expect(0);
    let server = installation.serve().await;
    let client = server.client(&installation.token("acme", "ada", "admin").await);
    let claim = formledger_tests::definitions::expense(2.0, "DE");
    client.submit("expense", &claim).await.expect(201);
    assert!(server.stop().await.success());

    // Started again with its data, it goes on following.
    back.stop().await;
    back.start(&primary, "primary", now);
    back.follows().await;
    back.stop().await;
    standby.stop().await;
}

/// The further standby of step 4 there, one that holds what was lost with the old primary, and one that is configured otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_standby_changes_over_to_the_new_primary_unless_it_holds_what_that_one_lacks() {
    let mut primary = Primary::start().await;
    let before = ("primary", primary.server.port());
    let mut standby = Started::empty(&primary, "standby", before).await;
    // Who takes over has to hold what the others lack: a copy begins with the log of its own time.
    standby.follows().await;
    let mut second = Started::empty(&primary, "standby_2", before).await;
    let mut ahead = Started::empty(&primary, "standby_3", before).await;
    primary.server.execute("CREATE TABLE things AS SELECT 1 AS answer").await;
    let newest = "SELECT max(answer) FROM things WHERE pg_is_in_recovery()";
    // The one that takes over is the last: the primary may log something at any time, which the other must not have received alone.
    for server in [&mut second, &mut standby] {
        server.until(newest, "1").await;
        server.stop().await;
    }
    primary.server.execute("INSERT INTO things VALUES (2)").await;
    ahead.until(newest, "2").await;
    ahead.stop().await;
    primary.server.stop(Shutdown::Fast).await;

    let now = ("standby", standby.port);
    standby.start(&primary, "standby", now);
    standby.until("SELECT pg_promote()", "true").await;
    standby.until("SELECT pg_is_in_recovery()", "false").await;
    second.start(&primary, "standby_2", now);
    ahead.start(&primary, "standby_3", now);
    second.follows().await;
    standby.until(&streaming("standby_2"), "1").await;
    standby.execute("INSERT INTO things VALUES (3)").await;
    second.until(newest, "3").await;

    // It has a history of its own, shows that, and never both.
    ahead.until(newest, "2").await;
    ahead.says("forked off current database system timeline").await;
    for answer in 4..8 {
        standby.execute(&format!("INSERT INTO things VALUES ({answer})")).await;
        second.until(newest, &answer.to_string()).await;
        ahead.until(newest, "2").await;
    }
    ahead.stop().await;

    // Changed over once, it follows for good.
    second.stop().await;
    second.start(&primary, "standby_2", now);
    second.follows().await;
    second.stop().await;
    let data = second.scratch.path().join("data");
    fs::write(data.join("postgresql.auto.conf"), "primary_conninfo = 'service=elsewhere'\n")
        .expect("it can be written");
    let scratch = open_folder();
    let mut astray = script(&primary, scratch.path(), &data, "standby_2", now);
    let Output { status, stderr, .. } =
        within("the script to end", astray.output()).await.expect("it starts");
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && said.contains("follow another server"), "{status}: {said}");
    standby.stop().await;
}
