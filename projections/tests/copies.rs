//! Many new rows come to Postgres by `COPY` where the projector is exempt from policies, and by statements where it is not: the rows are the same.

mod support;

use formledger_domain::SubmissionId;
use formledger_projections::{ReadModel, ReadModelPlace, RebuildRequest, Runner, RunnerSettings, rebuild};
use formledger_store::Store;
use formledger_test_cluster::Postgres;
use serde_json::json;
use support::{context, ledger, open_postgres, submitted, tenant_of};

/// Enough to be copied.
const SUBMISSIONS: u64 = 40;
const COPY: &str = "COPY submissions";
const STATEMENT: &str = "INSERT INTO submissions";

/// All rows of submissions and of what they are found by.
const ROWS: &str = "SELECT md5(string_agg(line, E'\\n' ORDER BY line)) || count(*) FROM ( \
    SELECT submissions::text AS line FROM read_models.submissions UNION ALL SELECT field_keys::text FROM read_models.field_keys) AS lines";

/// The projector's rows of a ledger in a database of `owner`, and what the server was asked meanwhile.
async fn projected(server: &Postgres, store: &Store, database: &str) -> (String, String) {
    server.execute(&format!("CREATE DATABASE {database} OWNER owner")).await;
    let asked_before = server.log().len();
    let models = open_postgres(&server.url_as("owner", database)).await;
    Runner::new(store.clone(), models, RunnerSettings::default()).run_once().await.expect("a run");
    (rows(server, database).await, server.log()[asked_before..].to_owned())
}

async fn rows(server: &Postgres, database: &str) -> String {
    let mut connection = server.connect(database).await;
    sqlx::query_scalar(ROWS).fetch_one(&mut connection).await.expect("rows")
}

#[tokio::test]
async fn rows_are_the_same_whether_they_come_by_copy_or_by_statement() {
    let (_dir, store) = ledger().await;
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &["/n"]).await;
    for n in 0..SUBMISSIONS {
        acme.submit("claim", json!({"n": n, "text": "a\u{0}\tb\\N"})).await;
    }
    let server = Postgres::start().await;
    // Of a login that is no superuser, roles are not exempt, and it may not make them so.
    server.execute("CREATE ROLE owner LOGIN CREATEROLE").await;
    server.set("log_statement", "all").await;
    let (stated, asked) = projected(&server, &store, "stated").await;
    assert!(asked.contains(STATEMENT) && !asked.contains(COPY), "{asked}");

    server.execute("ALTER ROLE formledger_projector BYPASSRLS").await;
    let (copied, asked) = projected(&server, &store, "copied").await;
    assert!(
        asked.contains(COPY) && asked.contains("COPY field_keys") && !asked.contains(STATEMENT),
        "{asked}"
    );
    assert_eq!(copied, stated);

    // A rebuild's tables are the login's own, whatever the projector may.
    server.execute("ALTER ROLE formledger_projector NOBYPASSRLS").await;
    let asked_before = server.log().len();
    let place = ReadModelPlace::postgres(&server.url_as("owner", "stated")).expect("a URL");
    rebuild(&store, &place, RebuildRequest::default(), |_| {}).await.expect("a rebuild");
    assert!(server.log()[asked_before..].contains(COPY));
    assert_eq!(rows(&server, "stated").await, stated);
}

/// What `COPY` refuses, and a statement merges.
#[tokio::test]
async fn two_streams_that_spell_one_id_differently_are_one_row() {
    let (_dir, store) = ledger().await;
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &["/n"]).await;
    // The second spelling far behind the first, and right behind it: in one batch either way, and in one half of it.
    let respell = async |id: SubmissionId, n: u64| {
        let spelled = id.to_string().to_uppercase();
        acme.events_of_stream(&spelled, &[submitted("claim", &json!({"n": n}))]).await
    };
    let far = acme.submit("claim", json!({"n": 0})).await;
    for n in 3..SUBMISSIONS {
        acme.submit("claim", json!({"n": n})).await;
    }
    let near = acme.submit("claim", json!({"n": 0})).await;
    respell(near, 1_000).await;
    let reached_by_all = respell(far, 2_000).await;
    let server = Postgres::start().await;
    server.execute("CREATE ROLE formledger_projector NOLOGIN BYPASSRLS").await;
    server.execute("CREATE ROLE owner LOGIN SUPERUSER").await;
    server.set("log_statement", "all").await;
    let (projected, asked) = projected(&server, &store, "mine").await;
    assert!(asked.contains(COPY) && asked.contains(STATEMENT), "{asked}");
    let place = ReadModelPlace::postgres(&server.url_as("owner", "mine")).expect("a URL");
    let models = open_postgres(&server.url_as("owner", "mine")).await;
    let reader = models.reader(&context("acme"));
    let reached = reader.position(ReadModel::Submissions).await.expect("a position");
    assert_eq!(reached, reached_by_all, "nothing is parked");
    for (id, n) in [(near, 1_000), (far, 2_000)] {
        let (row, _) = reader.submission(id).await.expect("answers").value.expect("a row");
        assert_eq!(row.data.to_value(), json!({"n": n}), "the later one");
    }

    rebuild(&store, &place, RebuildRequest::default(), |_| {}).await.expect("a rebuild");
    assert_eq!(rows(&server, "mine").await, projected);
}

#[tokio::test]
async fn a_projector_that_is_no_longer_exempt_goes_on_by_statements() {
    let (_dir, store) = ledger().await;
    let acme = tenant_of(&store, "acme");
    acme.publish("claim", 1, &["/n"]).await;
    let server = Postgres::start().await;
    server.execute("CREATE ROLE formledger_projector NOLOGIN BYPASSRLS").await;
    server.set("log_statement", "all").await;
    let models = open_postgres(&server.create_database("mine").await).await;
    let mut runner = Runner::new(store.clone(), models.clone(), RunnerSettings::default());
    for (exempt, means) in [("BYPASSRLS", COPY), ("NOBYPASSRLS", STATEMENT), ("BYPASSRLS", STATEMENT)] {
        server.execute(&format!("ALTER ROLE formledger_projector {exempt}")).await;
        for n in 0..SUBMISSIONS {
            acme.submit("claim", json!({"n": n})).await;
        }
        if exempt == "NOBYPASSRLS" {
            // What the session was begun for is not possible any more.
            runner.run_once().await.expect_err("the server refuses");
        }
        let asked_last = server.log().len();
        runner.run_once().await.expect("a run");
        let asked = server.log()[asked_last..].to_owned();
        let other = if means == COPY { STATEMENT } else { COPY };
        assert!(asked.contains(means) && !asked.contains(other), "{exempt}: {asked}");
    }
    let page = models.reader(&context("acme")).statistics(None).await.expect("counts").value;
    assert_eq!(page.states.iter().map(|state| state.count).sum::<u64>(), 3 * SUBMISSIONS);
}
