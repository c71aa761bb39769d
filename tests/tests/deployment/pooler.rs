//! PgBouncer with the deployment's configuration, in transaction mode, between the nodes and the primary.

use std::fs;
use std::process::Stdio;

use formledger_tests::Installation;
use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::wait::within;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::parts::{Primary, app_password, file, open_folder, run, text};
use crate::servers::{assert_serves, migrated};

/// The first version that keeps prepared statements in transaction mode.
const PREPARES: (u32, u32) = (1, 21);

/// The setting that an older one does not know.
const PREPARING: &str = "max_prepared_statements = 200";

/// A running PgBouncer; ends with the value.
struct Pooler {
    process: Child,
    port: u16,
    /// Whether it is new enough for the whole of our configuration.
    prepares: bool,
    _scratch: TempDir,
}

impl Pooler {
    /// Starts it by the deployment's script, with other paths and ports.
    async fn start(primary: &Primary, port: u16) -> Self {
        let scratch = open_folder();
        let (run_folder, config) =
            (scratch.path().display().to_string(), scratch.path().join("pgbouncer.ini"));
        let prepares = version().await >= PREPARES;
        let settings = text("pgbouncer/pgbouncer.ini");
        let settings = settings
            .replace("/run/formledger", &run_folder)
            .replace("listen_addr = *", "listen_addr = 127.0.0.1")
            .replace("listen_port = 6432", &format!("listen_port = {port}"));
        // The comment in the file says so.
        let settings =
            if prepares { settings } else { settings.replace(PREPARING, "server_reset_query_always = 1") };
        fs::write(&config, settings).expect("the scratch folder can be written");
        let script = scratch.path().join("start.sh");
        fs::copy(file("pgbouncer/start.sh"), &script).expect("the script can be copied");
        let mut start = primary.server.command("/bin/sh");
        start
            .arg(&script)
            .env("RUN_FOLDER", &run_folder)
            .env("CONFIG", &config)
            .env("APP_PASSWORD", app_password());
        start.env("PRIMARY", "127.0.0.1").env("PRIMARY_PORT", primary.server.port().to_string());
        start.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Command::from(start).kill_on_drop(true).spawn().expect("there is a shell");
        within("PgBouncer to listen (`tests/run` installs it)", async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { process, port, prepares, _scratch: scratch }
    }

    async fn kill_9(mut self) {
        self.process.kill().await.expect("it can be killed");
    }
}

async fn version() -> (u32, u32) {
    let mut command = Command::new("pgbouncer");
    command.arg("--version");
    let said = run(command).await;
    let number = said.split_whitespace().nth(1).expect("PgBouncer <version>");
    let mut parts = number.split('.').map(|part| part.parse().expect("a number"));
    (parts.next().expect("a major version"), parts.next().expect("a minor version"))
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    free.expect("there are free ports").port()
}

/// As the nodes of the deployment are set up: through the pooler, listening at the primary.
async fn pooled(primary: &Primary, pooler: &Pooler) -> Installation {
    let node = migrated(primary, pooler.port).await;
    let url = format!("postgres://formledger_app@127.0.0.1:{}/ledger", pooler.port);
    let url = if pooler.prepares { url } else { format!("{url}?statement-cache-capacity=0") };
    node.with("DATABASE_URL", url).with("DATABASE_LISTEN_URL", primary.url("formledger_app"))
}

/// The lock of who keeps read models is a session's, and through the pooler there is none.
#[tokio::test]
async fn without_an_address_behind_the_pooler_read_models_are_kept_in_a_file() {
    let primary = Primary::start().await;
    let pooler = Pooler::start(&primary, free_port()).await;
    let node = migrated(&primary, pooler.port).await;
    let url = format!("postgres://formledger_app@127.0.0.1:{}/ledger", pooler.port);
    let node = node.with(
        "DATABASE_URL",
        if pooler.prepares { url } else { format!("{url}?statement-cache-capacity=0") },
    );
    let server = node.serve().await;
    assert_serves(&node, &server).await;
    assert!(node.data().join("read-models.db").is_file());
    let ask = "SELECT count(*) FROM read_models.submissions";
    let mut connection = primary.server.connect("ledger").await;
    assert_eq!(sqlx::query_scalar::<_, i64>(ask).fetch_one(&mut connection).await.expect("is there"), 0);
    let log = server.stderr();
    assert!(log.contains("state `--database-listen-url`"), "{log}");
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_node_serves_through_the_pooler_and_goes_on_when_that_was_killed() {
    let primary = Primary::start().await;
    let port = free_port();
    let pooler = Pooler::start(&primary, port).await;
    let installation = pooled(&primary, &pooler).await;
    let server = installation.serve().await;
    assert_serves(&installation, &server).await;

    pooler.kill_9().await;
    let client = server.client(&installation.token("acme", "ada", "admin").await);
    let refused = client.submit("expense", &expense(2.0, "DE")).header("Idempotency-Key", "over-it").await;
    assert!(refused.header("retry-after").is_some(), "{}", refused.text());
    refused.expect_any_problem(503);
    let _pooler = Pooler::start(&primary, port).await;
    within("the node to find the new pooler", async {
        loop {
            let again =
                client.submit("expense", &expense(2.0, "DE")).header("Idempotency-Key", "over-it").await;
            if again.status == 201 {
                return;
            }
            again.expect_any_problem(503);
        }
    })
    .await;
    assert!(server.stop().await.success());
    installation.run(&["verify"]).await.expect(0);
}

/// What one node records reaches the other's feed, whose notifications come past the pooler.
#[tokio::test]
async fn two_nodes_share_a_ledger_through_the_pooler() {
    let primary = Primary::start().await;
    let pooler = Pooler::start(&primary, free_port()).await;
    let (one, other) = (pooled(&primary, &pooler).await, pooled(&primary, &pooler).await);
    let (first, second) = (one.serve().await, other.serve().await);
    let token = one.token("acme", "ada", "admin").await;
    let (client, reader) = (first.client(&token), second.client(&token));
    client.publish("expense", &expense_claim()).await;
    let mut feed = reader.feed("/v1/feed?after=0", None).await;
    let position = client.submit("expense", &expense(3.0, "FR")).await.expect(201).position();
    feed.up_to(position).await;
    assert_eq!(reader.get_at("/v1/submissions", position).await.expect(200).submission_ids().len(), 1);
}
