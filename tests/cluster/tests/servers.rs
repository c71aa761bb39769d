//! The servers do what the fault tests rely on: they keep what they acknowledged, follow, take over, hurt as asked, and leave nothing behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use formledger_test_cluster::{Database, Postgres, Proxy, Settings, Shutdown};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

/// How long something may take that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough to show that something does not happen.
const MOMENT: Duration = Duration::from_millis(300);

/// A server that leaves syncing to the kernel, which nothing here ends.
async fn quick() -> Postgres {
    Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await
}

async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_test_has_an_empty_database_of_its_own() {
    let (one, other) = (Database::create().await, Database::create().await);
    assert_eq!(one.port(), other.port(), "on one server");
    let mut connection = one.connect().await;
    sqlx::query("CREATE TABLE things (id int)").execute(&mut connection).await.expect("a table");
    let mut connection = PgConnection::connect(&other.url()).await.expect("a connection");
    let things = sqlx::query("SELECT count(*) FROM pg_tables WHERE tablename = 'things'");
    assert_eq!(things.fetch_one(&mut connection).await.expect("a row").get::<i64, _>(0), 0);
    let name = one.name().to_owned();
    drop(one);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!(left, 0, "it is dropped with its value");
}

#[tokio::test]
async fn a_standby_follows_takes_over_and_the_former_primary_comes_back_behind_it() {
    let mut first = quick().await;
    first.execute("CREATE TABLE things (id int)").await;
    let standby = first.standby().await;
    assert!(standby.is_standby().await && !first.is_standby().await);
    first.commit_with(&standby).await;
    first.execute("INSERT INTO things VALUES (1)").await;

    standby.upstream().refuse();
    let insert = first.execute("INSERT INTO things VALUES (2)");
    assert!(tokio::time::timeout(MOMENT, insert).await.is_err(), "a commit waits for the standby");
    standby.upstream().heal();
    first.execute("INSERT INTO things VALUES (3)").await;
    standby.catch_up(&first).await;
    let all = standby.ask("SELECT count(*) FROM things").await;
    assert_eq!(all, "3");

    first.kill_9().await;
    standby.promote().await;
    standby.execute("INSERT INTO things VALUES (4)").await;
    let port = first.port();
    first.follow(&standby).await;
    first.catch_up(&standby).await;
    assert_eq!(first.port(), port);
    assert!(first.is_standby().await);
    assert_eq!(first.ask("SELECT count(*) FROM things").await, "4");
}

#[tokio::test]
async fn what_was_committed_is_there_after_every_end() {
    let mut server = quick().await;
    server.execute("CREATE TABLE things (id int)").await;
    for n in 0..3 {
        server.execute("INSERT INTO things VALUES (1)").await;
        match n {
            0 => server.kill_9().await,
            1 => server.stop(Shutdown::Immediate).await,
            _ => server.stop(Shutdown::Fast).await,
        }
        assert!(!server.is_running());
        server.start_again().await;
    }
    assert_eq!(server.ask("SELECT count(*) FROM things").await, "3");
}

#[tokio::test]
async fn a_paused_server_keeps_its_connections_and_answers_later() {
    let server = Postgres::start().await;
    let mut connection = server.connect("postgres").await;
    server.pause();
    let mut query = Box::pin(sqlx::query("SELECT 1").execute(&mut connection));
    assert!(tokio::time::timeout(MOMENT, &mut query).await.is_err(), "nothing answers");
    server.resume();
    query.await.expect("the same connection answers");
}

#[tokio::test]
async fn commits_can_be_slow() {
    let server = Postgres::start().await;
    server.execute("CREATE TABLE things (id int)").await;
    let delay = Duration::from_millis(100);
    server.slow_commits(delay).await;
    let mut connection = server.connect("postgres").await;
    let began = Instant::now();
    sqlx::query("INSERT INTO things VALUES (1)").execute(&mut connection).await.expect("a row");
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_full_disk_refuses_and_an_emptied_one_goes_on() {
    let settings = Settings { disk_bytes: Some(192 << 20), ..Settings::default() };
    let mut server = Postgres::start_with(settings).await;
    server.execute("CREATE TABLE things (id int)").await;
    server.execute("INSERT INTO things VALUES (1)").await;
    let mut connection = server.connect("postgres").await;
    server.fill_disk();
    let much = "INSERT INTO things SELECT generate_series(1, 2000000)";
    sqlx::query(much).execute(&mut connection).await.expect_err("there is no room");
    server.free_disk();
    // Postgres ends when its log cannot be written, and may or may not come back by itself.
    if server.is_running() {
        server.stop(Shutdown::Immediate).await;
    }
    server.ended().await;
    server.start_again().await;
    server.execute("INSERT INTO things VALUES (1)").await;
    assert_eq!(server.ask("SELECT count(*) FROM things").await, "2");
}

#[tokio::test]
async fn a_proxy_cuts_holds_delays_refuses_and_leads_elsewhere() {
    let (one, other) = (Database::create().await, quick().await);
    let proxy = Proxy::to(one.port());
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let connect = || PgConnection::connect(&url);
    let ask = async |connection: &mut PgConnection| sqlx::query("SELECT 1").execute(connection).await;

    let mut connection = connect().await.expect("it forwards");
    proxy.delay(Duration::from_millis(100));
    let began = Instant::now();
    ask(&mut connection).await.expect("an answer");
    assert!(began.elapsed() >= Duration::from_millis(200), "there and back");
    proxy.heal();

    proxy.hold();
    let mut waiting = Box::pin(ask(&mut connection));
    assert!(tokio::time::timeout(MOMENT, &mut waiting).await.is_err(), "nothing arrives");
    proxy.heal();
    waiting.await.expect("what was held back arrives");

    proxy.cut();
    ask(&mut connection).await.expect_err("the connection is gone");
    connect().await.expect("a new one is taken");
    proxy.refuse();
    connect().await.expect_err("refused");
    proxy.heal();
    proxy.lead_to(other.port());
    let mut connection = connect().await.expect("a connection");
    let port: String = sqlx::query_scalar("SHOW port").fetch_one(&mut connection).await.expect("a port");
    assert_eq!(port, other.port().to_string());
}

/// Tells the next test's process what to be.
const HOLDER: &str = "FORMLEDGER_TEST_HOLDS_A_SERVER";

#[tokio::test]
async fn a_server_ends_with_the_process_that_started_it_even_by_kill_9() {
    if std::env::var_os(HOLDER).is_some() {
        let server = Postgres::start().await;
        println!("\nfolder {}", server.ask("SELECT current_setting('data_directory')").await);
        server.pause();
        std::future::pending::<()>().await;
    }
    let name = "a_server_ends_with_the_process_that_started_it_even_by_kill_9";
    let mut holder = Command::new(std::env::current_exe().expect("own executable"))
        .args(["--exact", name, "--nocapture"])
        .env(HOLDER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test's own binary runs");
    let lines = BufReader::new(holder.stdout.take().expect("piped")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("folder ")).expect("a server");
    let folder = std::path::PathBuf::from(&line["folder ".len()..]);
    assert!(folder.exists());
    holder.kill().expect("killed");
    holder.wait().expect("ended");
    until("the folder to be removed", || !folder.exists()).await;
}
