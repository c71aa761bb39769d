//! A ledger's history taken elsewhere and shown again by the command line: `import` and `replay`.

use std::fs;
use std::path::{Path, PathBuf};

use formledger_tests::definitions::{contract_expense_claim, expense, expense_claim};
use formledger_tests::tampering::tamper_rows;
use formledger_tests::{Finished, Installation, Stage};
use serde_json::{Value, json};

/// A tenant with forms, submissions, decisions and a key, exported to a file; its root and head.
async fn exported(stage: &Stage) -> (PathBuf, String, u64) {
    let (sam, rita) =
        (stage.somebody("acme", "sam", "submitter").await, stage.somebody("acme", "rita", "reviewer").await);
    stage.admin.publish("claim", &contract_expense_claim()).await;
    for n in 0..30 {
        sam.submit("expense", &expense(f64::from(n) + 0.5, "DE")).await.expect(201);
    }
    let answer = sam.submit("claim", &json!({ "amount": 20_000, "country": "DE" })).await.expect(201);
    let path = answer.header("location").expect("a Location").to_owned();
    rita.post(&format!("{path}/comments"))
        .json(&json!({ "text": "ünï \"code\" \u{1f600}" }))
        .await
        .expect(200);
    rita.post(&format!("{path}/transitions/approve")).await.expect(200);
    stage.admin.post("/v1/api-keys").json(&json!({ "name": "k", "roles": ["auditor"] })).await.expect(201);
    let ledger = stage.admin.get("/v1/ledger").await.expect(200).json();
    let out = stage.installation.scratch().join("acme.ndjson");
    stage.installation.run(&["export", "--tenant", "acme", "--out", text(&out)]).await.expect(0);
    let root = ledger["root_hash"].as_str().expect("a hash").to_owned();
    (out, root, ledger["position"].as_u64().expect("a position"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The lines of the file with one changed, written beside it.
fn changed(file: &Path, change: impl FnOnce(&mut Vec<String>)) -> PathBuf {
    let mut lines: Vec<String> =
        fs::read_to_string(file).expect("readable").lines().map(str::to_owned).collect();
    change(&mut lines);
    let path = file.with_extension("changed");
    fs::write(&path, lines.join("\n") + "\n").expect("writable");
    path
}

fn refused(finished: Finished, code: i32, says: &str) {
    let finished = finished.expect(code);
    // Beside the log, which a database server's notices reach.
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(says), "{} does not say `{says}`", lines[0]);
}

#[tokio::test]
async fn an_imported_ledger_is_the_exported_one_and_goes_on_from_there() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (file, root, head) = exported(&stage).await;
    let elsewhere = Installation::of_this_run().await;
    let done = elsewhere.run(&["import", text(&file), "--root", &root]).await.expect(0);
    assert!(
        done.stdout.contains(&format!("{head} events imported")) && done.stdout.contains(&root),
        "{}",
        done.stdout
    );
    elsewhere.run(&["verify", "--tenant", "acme"]).await.expect(0);
    let server = elsewhere.serve().await;
    let ada = server.client(&elsewhere.token("acme", "ada", "admin").await);
    let ledger = ada.get("/v1/ledger").await.expect(200).json();
    assert_eq!((&ledger["root_hash"], &ledger["position"]), (&json!(root), &json!(head)));
    let again = elsewhere.run(&["export", "--tenant", "acme"]).await.expect(0);
    assert_eq!(again.stdout, fs::read_to_string(&file).expect("readable"), "byte for byte");
    for path in ["/v1/submissions?limit=200", "/v1/stats", "/v1/forms"] {
        let (there, here) = (ada.get_at(path, head).await, stage.admin.get_at(path, head).await);
        assert_eq!(there.expect(200).json(), here.expect(200).json(), "{path}");
    }
    assert_eq!(ada.submit("expense", &expense(1.0, "DE")).await.expect(201).position(), head + 2);
    assert!(server.stop().await.success());
    elsewhere.run(&["verify", "--tenant", "acme"]).await.expect(0);
}

#[tokio::test]
async fn a_file_that_was_changed_is_refused_with_its_line_and_nothing_of_it_is_imported() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (file, root, head) = exported(&stage).await;
    let elsewhere = Installation::of_this_run().await;
    let import = async |path: &Path| elsewhere.run(&["import", text(path)]).await;
    let tampered = changed(&file, |lines| lines[9] = lines[9].replacen("DE", "FR", 1));
    refused(import(&tampered).await, 1, "line 10: its leaf hash");
    let swapped = changed(&file, |lines| lines.swap(4, 5));
    refused(import(&swapped).await, 1, "line 5: it is at position 6, next is 5");
    let left_out = changed(&file, |lines| drop(lines.remove(7)));
    refused(import(&left_out).await, 1, "line 8: it is at position 9, next is 8");
    let member = changed(&file, |lines| lines[2] = lines[2].replacen('{', "{\"extra\":1,", 1));
    refused(import(&member).await, 1, "line 3: unknown field `extra`");
    for (from, to) in [
        ("\"amount\":", "\"amount\":1e400,\"amounx\":"),
        ("\"country\":\"DE\"", "\"country\":\"\\ud800\""),
        ("\"country\":\"DE\"", "\"country\":\"DE\",\"country\":\"DE\""),
        ("\"country\":\"DE\"", "\"country\": \"DE\""),
        ("\"country\":\"DE\"", &format!("\"country\":{}{}", "[".repeat(5000), "]".repeat(5000))),
    ] {
        let payload = changed(&file, |lines| lines[9] = lines[9].replacen(from, to, 1));
        refused(import(&payload).await, 1, "line 10: its payload is not as it is recorded: ");
    }
    let ahead = changed(&file, |lines| {
        let last = lines.len() - 1;
        lines[last] = lines[last].replacen("\"recorded_at\":\"20", "\"recorded_at\":\"90", 1);
    });
    refused(import(&ahead).await, 1, "more than 10 minutes ahead of this computer's clock");
    for (first, said) in
        [(&b"\xef\xbb\xbf"[..], "byte order mark"), (b"\x1f\x8b", "gzip"), (b"\xff\xfe", "UTF-16")]
    {
        let other = changed(&file, |_| {});
        fs::write(&other, [first, &fs::read(&file).expect("readable")].concat()).expect("writable");
        refused(import(&other).await, 1, said);
    }
    let actor = changed(&file, |lines| lines[6] = lines[6].replacen("\"actor\":\"", "\"actor\":\"x", 1));
    refused(import(&actor).await, 1, "line 7: its leaf hash");
    let other = changed(&file, |lines| {
        lines[6] = lines[6].replacen("\"tenant\":\"acme\"", "\"tenant\":\"globex\"", 1)
    });
    refused(import(&other).await, 1, "line 7: it is of tenant `globex`");
    let cut_off = changed(&file, |_| {});
    let whole = fs::read_to_string(&cut_off).expect("readable");
    fs::write(&cut_off, &whole[..whole.len() - 20]).expect("writable");
    refused(import(&cut_off).await, 1, "it does not end");
    // Whole lines that are missing at the end, only the root tells.
    let shorter = changed(&file, |lines| drop(lines.pop()));
    refused(elsewhere.run(&["import", text(&shorter), "--root", &root]).await, 1, "has root");
    refused(elsewhere.run(&["import", "no-such-file"]).await, 2, "no-such-file");
    refused(elsewhere.run(&["import", text(&file), "--root", "abc"]).await, 2, "64 hexadecimal digits");
    let empty = changed(&file, |lines| lines.clear());
    fs::write(&empty, "").expect("writable");
    refused(import(&empty).await, 1, "holds no events");
    // After all of that the tenant is still empty.
    let done = import(&file).await.expect(0);
    assert!(done.stdout.contains(&format!("{head} events imported")), "{}", done.stdout);
}

#[tokio::test]
async fn only_an_empty_tenant_or_an_interrupted_import_takes_a_ledger() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (file, root, head) = exported(&stage).await;
    refused(stage.installation.run(&["import", text(&file)]).await, 2, "`acme` is not empty");
    let elsewhere = Stage::with_form("expense", &expense_claim()).await;
    refused(elsewhere.installation.run(&["import", text(&file)]).await, 2, "`acme` is not empty");
    // What an interrupted import leaves is the beginning of the file.
    let fresh = Installation::of_this_run().await;
    let beginning = changed(&file, |lines| lines.truncate(20));
    fresh.run(&["import", text(&beginning)]).await.expect(0);
    let done = fresh.run(&["import", text(&file), "--root", &root]).await.expect(0);
    assert!(
        done.stdout.contains(&format!("{} events imported, up to position {head}", head - 20)),
        "{}",
        done.stdout
    );
    fresh.run(&["verify", "--tenant", "acme"]).await.expect(0);
}

fn positions(finished: &Finished) -> Vec<u64> {
    let position = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        event["position"].as_str().and_then(|text| text.parse().ok()).expect("a position")
    };
    finished.stdout.lines().map(position).collect()
}

#[tokio::test]
async fn a_range_is_replayed_to_standard_output_as_feeds_show_it() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (_, _, head) = exported(&stage).await;
    let run = async |more: &[&str]| {
        let arguments = [&["replay", "--tenant", "acme"], more].concat();
        stage.installation.run(&arguments).await
    };
    let all = run(&["--speed", "max"]).await.expect(0);
    assert_eq!(positions(&all), (1..=head).collect::<Vec<_>>());
    let fed =
        stage.admin.get("/v1/events?after=0").header("Accept", "application/x-ndjson").await.expect(200);
    let shown: Vec<Value> =
        all.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(shown, fed.json_lines());
    let range = run(&["--speed", "1000000", "--from", "3", "--to", "9"]).await.expect(0);
    assert_eq!(positions(&range), (3..=9).collect::<Vec<_>>());
    let few = run(&["--speed", "max", "--form", "claim", "--types", "formledger.submission.approved"])
        .await
        .expect(0);
    assert_eq!(positions(&few).len(), 1);
    assert_eq!(stage.head().await, head, "nothing is recorded");
    refused(run(&["--from", "7", "--to", "3"]).await, 2, "in this order");
    refused(run(&["--to", "100000"]).await, 2, &format!("positions from 1 to {head}"));
    refused(run(&["--speed", "fast"]).await, 2, "or `max`");
    refused(stage.installation.run(&["replay", "--tenant", "nobody"]).await, 2, "no tenant `nobody`");
}

#[tokio::test]
async fn recorded_gaps_are_kept_when_a_range_is_replayed() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let first = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201).position();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    stage.admin.submit("expense", &expense(2.0, "DE")).await.expect(201);
    let from = first.to_string();
    let began = std::time::Instant::now();
    let arguments = ["replay", "--tenant", "acme", "--from", &from];
    stage.installation.run(&arguments).await.expect(0);
    let recorded = began.elapsed();
    assert!(recorded.as_millis() >= 1_200, "{recorded:?}");
}

#[tokio::test]
async fn a_shadow_that_agrees_is_exit_0_and_one_that_differs_lists_where_and_is_exit_1() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let (_, _, head) = exported(&stage).await;
    stage.admin.get_at("/v1/submissions", head).await.expect(200);
    stage.admin.get_at("/v1/tasks", head).await.expect(200);
    stage.admin.get_at("/v1/stats", head).await.expect(200);
    let shadow = ["replay", "--tenant", "acme", "--shadow"];
    let agreed = stage.installation.run(&shadow).await.expect(0);
    let summary: Value = serde_json::from_str(agreed.stdout.trim_end()).expect("one line");
    assert_eq!(summary["summary"]["differences"], 0);
    assert!(summary["summary"]["rows"].as_u64() > Some(30), "{summary}");
    let forge = "update submissions set state = 'forged' where created_position = 6";
    tamper_rows(&stage.installation, forge).await;
    let differs =
        stage.installation.run(&[&shadow[..], &["--projection", "submissions"]].concat()).await.expect(1);
    let told: Value = serde_json::from_str(differs.stdout.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&told["read_model"], &told["field"], &told["live"]),
        (&json!("submissions"), &json!("state"), &json!("forged"))
    );
    let left = fs::read_dir(stage.installation.data()).expect("a folder").filter_map(Result::ok);
    let of_replays = |name: &str| name.starts_with("shadow-") || name.starts_with("replay-");
    let names = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| of_replays(name)).collect::<Vec<_>>(), Vec::<String>::new());
}
