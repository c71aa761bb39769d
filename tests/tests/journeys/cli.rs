//! The command line: mistakes are one line and exit status 2, `verify` sees tampering, `rebuild` changes no answer.

use std::process::Stdio;

use formledger_test_cluster::{Postgres, Settings};
use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::{Client, Installation, Stage, tampering};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

#[tokio::test]
async fn a_mistake_in_the_configuration_is_one_line_and_exit_status_2() {
    let installation = Installation::fresh();
    let bare = Installation::without_credentials();
    let long_subject = "s".repeat(257);
    let file = installation.scratch().join("a-file");
    std::fs::write(&file, "in the way").expect("a file can be written");
    let in_the_way = file.to_str().expect("a plain path");
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for (installation, arguments) in [
        (&installation, vec!["serve", "--listen", "nowhere"]),
        (&installation, vec!["serve", "--no-such-option"]),
        (&installation, vec!["no-such-command"]),
        (&installation, [&listen[..], &["--data", in_the_way]].concat()),
        (&installation, [&listen[..], &["--jwks", "no-such-file.json"]].concat()),
        (&installation, [&listen[..], &["--jwks", in_the_way]].concat()),
        (&bare, listen.to_vec()),
        (&bare, vec!["token", "--tenant", "acme", "--subject", "s", "--roles", "admin"]),
        (&installation, vec!["token", "--tenant", "acme", "--subject", &long_subject, "--roles", "admin"]),
        (&installation, vec!["token", "--tenant", "Not A Slug", "--subject", "s", "--roles", "admin"]),
        (
            &installation,
            vec!["token", "--tenant", "acme", "--subject", "s", "--roles", "admin", "--ttl", "soon"],
        ),
        (
            &installation,
            vec!["token", "--tenant", "acme", "--subject", "s", "--roles", "admin", "--ttl", "0s"],
        ),
        (&installation, vec!["token", "--tenant", "acme", "--subject", "s", "--roles", "admin,,reviewer"]),
        (&installation, [&listen[..], &["--connections-max", "0"]].concat()),
        (&installation, [&listen[..], &["--body-bytes-max", "0"]].concat()),
        (&installation, vec!["replay", "--tenant", "acme", "--types", "submitted"]),
        (&installation, vec!["rules"]),
        (&installation, vec!["rules", "check", "--form", "no-such-file.json"]),
    ] {
        let finished = installation.run(&arguments).await;
        assert_eq!(finished.code, Some(2), "{arguments:?}: {} {}", finished.stdout, finished.stderr);
        assert_eq!(finished.stderr.trim().lines().count(), 1, "{arguments:?}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_slip_of_the_pen_is_told_what_may_have_been_meant() {
    let installation = Installation::fresh();
    for (arguments, meant) in [
        (&["serv"][..], "'serve'"),
        (&["token", "--tenent", "acme"], "'--tenant'"),
        (&["rules", "chek"], "'check'"),
    ] {
        let told = installation.run(arguments).await.expect(2).stderr;
        assert!(told.contains(meant) && told.trim().lines().count() == 1, "{arguments:?}: {told}");
    }
}

/// `| head -1` has read enough, and a disk may be full.
#[tokio::test]
async fn a_tool_that_cannot_print_says_so_in_one_line() {
    let installation = stopped_with_history().await;
    let out = installation.scratch().join("no-such-folder/acme.ndjson");
    let finished =
        installation.run(&["export", "--tenant", "acme", "--out", &out.to_string_lossy()]).await.expect(2);
    assert_eq!(finished.stderr.trim().lines().count(), 1, "{}", finished.stderr);
    for arguments in [
        &["verify"][..],
        &["migrate"],
        &["export", "--tenant", "acme"],
        &["token", "--tenant", "acme", "--subject", "s", "--roles", "admin"],
        &["--version"],
    ] {
        let (code, told) = printing_nowhere(&installation, arguments).await;
        assert_eq!(code, Some(1), "{arguments:?}: {told}");
        assert!(!told.contains("panicked") && told.lines().count() <= 1, "{arguments:?}: {told}");
    }
    // Rows are made whoever listens.
    assert_eq!(printing_nowhere(&installation, &["rebuild"]).await.0, Some(0));
}

/// How a tool ends whose standard output takes nothing, and what it says of it.
async fn printing_nowhere(installation: &Installation, arguments: &[&str]) -> (Option<i32>, String) {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let tool = installation.command(arguments).stdout(full).stderr(Stdio::piped()).spawn();
    let ended = tool.expect("the binary can be started").wait_with_output().await.expect("it ends");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[tokio::test]
async fn read_models_of_a_newer_program_are_left_alone_by_a_rebuild_too() {
    let installation = stopped_with_history().await;
    let file = format!("sqlite:{}", installation.data().join("read-models.db").display());
    let mut rows = SqliteConnection::connect(&file).await.expect("the file is a database");
    rows.execute("PRAGMA user_version = 99").await.expect("a newer program's");
    rows.close().await.expect("the file can be closed");
    for arguments in [&["rebuild"][..], &["migrate"], &["serve", "--listen", "127.0.0.1:0"]] {
        let finished = installation.run(arguments).await.expect(2);
        assert!(finished.stderr.contains("at schema 99"), "{arguments:?}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn help_and_version_are_answered() {
    let installation = Installation::fresh();
    for arguments in [&["--help"][..], &["serve", "--help"], &["token", "--help"], &["rules", "--help"]] {
        assert!(installation.run(arguments).await.expect(0).stdout.contains("Usage"), "{arguments:?}");
    }
    assert!(installation.run(&["--version"]).await.expect(0).stdout.starts_with("formledger "));
}

#[tokio::test]
async fn all_memory_comes_from_mimalloc_which_is_linked_and_not_named() {
    let installation = Installation::fresh();
    let mut command = installation.command(&["--version"]);
    let output = command.env("MIMALLOC_VERBOSE", "1").output().await.expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("mimalloc: process init"), "{output:?}");
}

#[tokio::test]
async fn every_option_is_also_read_from_the_environment() {
    let installation = Installation::fresh().with("LISTEN", "127.0.0.1:0");
    let mut command = installation.command(&["serve"]);
    command.kill_on_drop(true);
    let server = formledger_tests::Server::start(command, installation.scratch()).await;
    server.anonymous().get("/healthz").await.expect(200);
}

/// An installation with some submissions, stopped.
async fn stopped_with_history() -> Installation {
    let stage = Stage::on_files_with_form("expense", &expense_claim()).await;
    for n in 0..20 {
        stage.admin.submit("expense", &expense(f64::from(n), "DE")).await.expect(201);
    }
    let Stage { installation, server, .. } = stage;
    assert!(server.stop().await.success());
    installation
}

#[tokio::test]
async fn verify_passes_on_what_the_product_wrote() {
    let installation = stopped_with_history().await;
    installation.run(&["verify"]).await.expect(0);
    installation.run(&["verify", "--tenant", "acme"]).await.expect(0);
    // Nothing at all would be sound in a mistyped tenant.
    for command in ["verify", "rebuild"] {
        let finished = installation.run(&[command, "--tenant", "acne"]).await.expect(2);
        assert!(finished.stderr.contains("no tenant `acne`"), "{}", finished.stderr);
    }
}

/// A monitor that watches the exit status must not take what is out of reach for what was changed.
#[tokio::test]
async fn a_ledger_that_cannot_be_read_is_exit_status_2_with_its_place_and_not_a_difference() {
    let installation = stopped_with_history().await;
    let ledger = installation.data().join("ledger.db");
    std::fs::write(&ledger, "not a database, however long it is. ".repeat(40)).expect("writes");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let export = ["export", "--tenant", "acme"];
    for arguments in
        [&["verify"][..], &["verify", "--tenant", "acme"], &export, &["rebuild"], &["migrate"], &serve]
    {
        let told = installation.run(arguments).await.expect(2).stderr;
        assert!(told.contains("ledger.db` is no SQLite database"), "{arguments:?}: {told}");
        assert_eq!(told.trim().lines().count(), 1, "{arguments:?}: {told}");
    }
    std::fs::remove_file(&ledger).expect("removes");
    std::fs::create_dir(&ledger).expect("a folder in its place");
    for arguments in [&["verify"][..], &export, &serve] {
        let told = installation.run(arguments).await.expect(2).stderr;
        assert!(told.contains(installation.data().to_str().expect("a plain path")), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn verify_and_export_work_while_the_server_records() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let mut exported = Vec::new();
    for _ in 0..5 {
        let (_, verified, export) = tokio::join!(
            join_all(
                (0..40)
                    .map(|_| async { stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201) })
            ),
            stage.installation.run(&["verify"]),
            stage.installation.run(&["export", "--tenant", "acme"]),
        );
        verified.expect(0);
        let lines = export.expect(0).stdout;
        let events: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        let positions: Vec<Option<u64>> = events.iter().map(|event| event["position"].as_u64()).collect();
        assert_eq!(positions, (1..=events.len() as u64).map(Some).collect::<Vec<_>>());
        assert!(events.starts_with(&exported), "what was exported before never changes");
        exported = events;
    }
}

#[tokio::test]
async fn the_database_refuses_to_change_or_remove_an_event() {
    let installation = stopped_with_history().await;
    let mut database = tampering::ledger(&installation).await;
    for statement in [
        "update events set payload = '{}'",
        "delete from events",
        "update events set position = position + 1",
    ] {
        let refused = database.execute(statement).await;
        assert!(refused.is_err(), "`{statement}` was carried out");
    }
}

#[tokio::test]
async fn verify_sees_every_kind_of_tampering() {
    for statement in [
        "update events set payload = replace(payload, '\"DE\"', '\"FR\"') where position = 4",
        "update events set metadata = replace(metadata, 'ada', 'eve') where position = 5",
        "update events set recorded_at = recorded_at + 1 where position = 5",
        "update events set event_type = event_type || 'x' where position = 5",
        "delete from events where position = (select max(position) from events)",
        "delete from events where position = 5",
    ] {
        let installation = stopped_with_history().await;
        tampering::tamper(&installation, statement).await;
        let finished = installation.run(&["verify"]).await;
        assert!(
            finished.code.is_some_and(|code| code != 0),
            "`{statement}` was not seen: {}",
            finished.stdout
        );
    }
}

#[tokio::test]
async fn verify_goes_on_with_the_other_tenants_after_damage_in_one() {
    let installation = stopped_with_history().await;
    // Of a ledger that sorts before all others and that is none, in a stream of another one.
    let decoy = "insert into events select aggregate_type, 'acme/decoy', sequence, event_type, event_version, payload, metadata, \
                 'aaa', position, event_id, recorded_at, leaf_hash from events where position = 5";
    tampering::tamper(&installation, decoy).await;
    let changed =
        "update events set event_type = event_type || 'x' where position = 5 and tenant_id = 'acme'";
    tampering::tamper(&installation, changed).await;
    let finished = installation.run(&["verify"]).await.expect(1);
    for said in ["aaa: position 5: the ledger ends at 0", "acme: position 5: the leaf hash"] {
        assert!(finished.stdout.contains(said), "{}\n{}", finished.stdout, finished.stderr);
    }
}

#[tokio::test]
async fn what_the_program_makes_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;

    let installation = stopped_with_history().await;
    let out = installation.scratch().join("acme.ndjson");
    installation
        .run(&["export", "--tenant", "acme", "--out", out.to_str().expect("a plain path")])
        .await
        .expect(0);
    let mut seen = vec![installation.data().to_owned(), out];
    let mut folders = vec![installation.data().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            folders.extend(path.is_dir().then(|| path.clone()));
            seen.push(path);
        }
    }
    assert!(
        seen.iter().any(|path| path.ends_with("ledger.db"))
            && seen.iter().any(|path| path.ends_with("attachments"))
    );
    for path in seen {
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "`{}`: {mode:o}", path.display());
    }
}

#[tokio::test]
async fn a_ledger_without_one_of_its_events_is_neither_exported_nor_listed_nor_fed_as_if_it_were_whole() {
    for position in ["5", "(select max(position) from events)"] {
        let installation = stopped_with_history().await;
        let whole = installation.run(&["export", "--tenant", "acme"]).await.expect(0).stdout;
        let missing = position.parse().unwrap_or(whole.lines().count());
        tampering::tamper(&installation, &format!("delete from events where position = {position}")).await;
        let said = format!("position {missing} is missing");
        let file = installation.scratch().join("acme.ndjson");
        let out = file.to_str().expect("a plain path");
        let export = installation.run(&["export", "--tenant", "acme", "--out", out]).await.expect(1);
        assert!(export.stderr.contains(&said), "{}", export.stderr);
        assert!(!file.exists());

        let server = installation.serve().await;
        let admin = server.client(&installation.token("acme", "ada", "admin").await);
        admin.get("/v1/events?limit=1000").await.expect_any_problem(500);
        admin.get(&format!("/v1/events?limit={}", missing - 1)).await.expect(200);
        let lines = admin.get("/v1/events").header("Accept", "application/x-ndjson").attempt().await;
        assert!(lines.is_err(), "{lines:?}");
        let mut feed = admin.feed("/v1/feed", Some(0)).await;
        let mut fed = 0;
        while let Some(event) = feed.next().await {
            fed = event.position;
        }
        assert_eq!(fed + 1, missing as u64, "the feed tells what is there, and ends");
        assert!(server.stderr().contains(&said), "{}", server.stderr());
    }
}

/// What all read models say.
async fn answers(client: &Client, at: u64) -> Vec<Value> {
    let mut answers = Vec::new();
    for path in ["/v1/forms", "/v1/forms/expense", "/v1/submissions?limit=500&sort=created_at", "/v1/stats"] {
        answers.push(client.get_at(path, at).await.expect(200).json());
    }
    answers
}

#[tokio::test]
async fn a_rebuild_changes_no_answer_while_the_server_serves() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    for n in 0..30 {
        stage.admin.submit("expense", &expense(f64::from(n * 1000), "DE")).await.expect(201);
    }
    let at = stage.head().await;
    let before = answers(&stage.admin, at).await;
    stage.installation.run(&["rebuild"]).await.expect(0);
    assert_eq!(answers(&stage.admin, at).await, before);
    let next = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201);
    let location = next.header("location").expect("a Location").to_owned();
    stage.admin.get_at(&location, next.position()).await.expect(200);
}

#[tokio::test]
async fn rules_are_evaluated_line_by_line_in_the_protobuf_form() {
    let installation = Installation::fresh();
    let cases = [
        (json!({ "expr": "1 + 1" }), json!({ "value": { "int64Value": "2" } })),
        (
            json!({ "expr": "x > 2.5", "bindings": { "x": { "doubleValue": 3 } } }),
            json!({ "value": { "boolValue": true } }),
        ),
        (
            json!({ "expr": "[1, 'a']" }),
            json!({ "value": { "listValue": { "values": [{ "int64Value": "1" }, { "stringValue": "a" }] } } }),
        ),
    ];
    let lines: String = cases.iter().map(|(case, _)| format!("{case}\n")).collect();
    let finished =
        installation.run_with_input(&["rules", "eval"], &(lines + "{\"expr\":\"1 / 0\"}\n")).await.expect(0);
    let answers: Vec<Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(answers.len(), cases.len() + 1);
    for ((case, expected), answer) in cases.iter().zip(&answers) {
        assert_eq!(answer, expected, "{case}");
    }
    assert!(answers[cases.len()]["error"].is_string(), "{}", answers[cases.len()]);
}

#[tokio::test]
async fn rules_check_says_where_a_definition_is_wrong() {
    let installation = Installation::fresh();
    let write = |name: &str, definition: &Value| {
        let path = installation.scratch().join(name);
        std::fs::write(&path, definition.to_string()).expect("a definition can be written");
        path.to_str().expect("a plain path").to_owned()
    };
    let good = write("good.json", &expense_claim());
    installation.run(&["rules", "check", "--form", &good]).await.expect(0);
    let mut wrong = expense_claim();
    wrong["rules"][1]["when"] = json!("amout > 1.0");
    let wrong = write("wrong.json", &wrong);
    let finished = installation.run(&["rules", "check", "--form", &wrong]).await;
    assert!(finished.code.is_some_and(|code| code != 0));
    let said = finished.stdout + &finished.stderr;
    assert!(said.contains("/rules/1/when") && said.contains("amout"), "{said}");
}

#[tokio::test]
async fn a_standby_is_enough_to_back_test_export_and_verify() {
    let primary = Postgres::start_with(Settings { fsync: false, ..Settings::default() }).await;
    let url = primary.create_database("ledger").await;
    let installation = Installation::fresh().with("DATABASE_URL", &url);
    let server = installation.serve().await;
    let admin = server.client(&installation.token("acme", "ada", "admin").await);
    admin.publish("expense", &expense_claim()).await;
    for amount in 0..5 {
        admin.submit("expense", &expense(f64::from(amount), "DE")).await.expect(201);
    }
    // A copy of the primary as it is now.
    let standby = primary.standby().await;
    let reading = Installation::fresh().with("DATABASE_URL", standby.url("ledger"));
    let mut rules = expense_claim()["rules"].clone();
    rules[1]["when"] = json!("amount > 2.5");
    let candidate = reading.scratch().join("candidate.json");
    std::fs::write(&candidate, rules.to_string()).expect("a candidate can be written");
    let candidate = candidate.to_str().expect("a plain path");
    let arguments = ["backtest", "--tenant", "acme", "--form", "expense", "--rules", candidate];
    let said = reading.run(&arguments).await.expect(0).stdout;
    let summary: Value = serde_json::from_str(said.lines().last().expect("a summary")).expect("JSON");
    assert_eq!((&summary["summary"]["submissions"], &summary["summary"]["changed"]), (&json!(5), &json!(2)));

    let export = ["export", "--tenant", "acme"];
    let exported = reading.run(&export).await.expect(0).stdout;
    assert_eq!(exported, installation.run(&export).await.expect(0).stdout);
    reading.run(&["verify"]).await.expect(0);
    let refused = reading.run(&["serve", "--listen", "127.0.0.1:0"]).await.expect(2);
    assert!(refused.stderr.contains("standby"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_back_test_tells_every_changed_outcome_and_a_summary_and_writes_nothing() {
    let installation = stopped_with_history().await;
    let before = installation.run(&["export", "--tenant", "acme"]).await.expect(0).stdout;
    let candidate = |name: &str, when: &str| {
        let mut rules = expense_claim()["rules"].clone();
        rules[1]["when"] = json!(when);
        let path = installation.scratch().join(name);
        std::fs::write(&path, rules.to_string()).expect("a candidate can be written");
        path.to_str().expect("a plain path").to_owned()
    };
    let run = async |path: &str, more: &[&str]| {
        let arguments =
            [&["backtest", "--tenant", "acme", "--form", "expense", "--rules", path][..], more].concat();
        let finished = installation.run(&arguments).await.expect(0);
        let lines = finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
        let mut lines: Vec<Value> = lines.collect();
        let summary = lines.pop().expect("a summary")["summary"].clone();
        (lines, summary)
    };

    let (lines, summary) =
        run(&candidate("same.json", "amount > 10000.0 && country in ['DE', 'FR']"), &[]).await;
    assert_eq!((lines.len(), &summary["submissions"], &summary["changed"]), (0, &json!(20), &json!(0)));

    // Amounts are 0 to 19.
    let lower = candidate("lower.json", "amount > 14.5");
    let (lines, summary) = run(&lower, &[]).await;
    assert_eq!((&summary["changed"], &summary["rules"]["route"]), (&json!(5), &json!(5)));
    assert_eq!(lines.len(), 5);
    for line in &lines {
        assert_eq!(line["rule"], json!("route"));
        assert_eq!(line["before"], json!({ "matched": false, "value": { "route": "auto" } }));
        assert_eq!(line["after"], json!({ "matched": true, "value": { "route": "committee" } }));
    }
    let positions: Vec<u64> =
        lines.iter().map(|line| line["position"].as_u64().expect("a position")).collect();
    assert!(
        positions.is_sorted() && positions.iter().all(|position| before.lines().count() as u64 > *position)
    );

    let range = [positions[1].to_string(), positions[3].to_string()];
    let (lines, summary) = run(&lower, &["--from", &range[0], "--to", &range[1]]).await;
    assert_eq!((lines.len(), &summary["submissions"]), (3, &json!(3)));

    let finished = installation
        .run(&[
            "backtest",
            "--tenant",
            "acme",
            "--form",
            "expense",
            "--rules",
            &candidate("bad.json", "amout > 1"),
        ])
        .await;
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("did you mean `amount`"), "{}", finished.stderr);
    let missing = ["backtest", "--tenant", "acme", "--form", "nothing", "--rules", &lower];
    assert_eq!(installation.run(&missing).await.code, Some(2));
    assert_eq!(installation.run(&["export", "--tenant", "acme"]).await.expect(0).stdout, before);
}

#[tokio::test]
async fn decision_tables_go_to_other_engines_and_come_back() {
    let installation = Installation::fresh();
    let path = |name: &str| installation.scratch().join(name).to_str().expect("a plain path").to_owned();
    let table = json!([{ "id": "fee", "kind": "table", "hit": "first", "inputs": ["amount", "country"], "rows": [
        { "when": ["< 100", "\"DE\""], "then": { "fee": 0 } }, { "when": ["-", "-"], "then": { "fee": 5 } }] }]);
    std::fs::write(path("rules.json"), table.to_string()).expect("rules can be written");
    for format in ["dmn", "jdm"] {
        let written = installation
            .run(&["rules", "export", "--format", format, "--form", &path("rules.json")])
            .await
            .expect(0);
        std::fs::write(path(format), &written.stdout).expect("a document can be written");
        let read = installation.run(&["rules", "import", "--format", format, &path(format)]).await.expect(0);
        let read: Value = serde_json::from_str(&read.stdout).expect("JSON");
        assert_eq!(read["rules"], table, "{format}: {}", written.stdout);
    }
    let refused = installation.run(&["rules", "import", "--format", "dmn", &path("rules.json")]).await;
    assert_eq!((refused.code, refused.stderr.lines().count()), (Some(2), 1), "{}", refused.stderr);
}
