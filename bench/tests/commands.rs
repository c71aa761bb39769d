//! The program from outside: the noise floor as a server, a load that writes samples, the check of those samples.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_formledger-bench");

struct Floor {
    child: Child,
    url: String,
}

impl Floor {
    fn start() -> Self {
        let mut child = Command::new(PROGRAM).arg("floor").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("the first line says where").to_owned();
        Self { child, url }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[test]
fn samples_of_an_open_loop_pass_their_check_and_fail_a_bound_nobody_can_keep() {
    let floor = Floor::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (csv, json, body) = (path("samples.csv"), path("summary.json"), path("body.json"));
    fs::write(&body, r#"{"n":{{seq}},"id":"{{uuid}}"}"#).unwrap();
    let pid = floor.child.id().to_string();

    let load = bench(&[
        "load",
        "--url",
        &floor.url,
        "--path",
        "/x",
        "--body-file",
        &body,
        "--header",
        "Idempotency-Key: {{uuid}}",
        "--rate",
        "2000",
        "--requests",
        "1000",
        "--warmup",
        "0.1",
        "--connections",
        "8",
        "--pid",
        &pid,
        "--expect-status",
        "201",
        "--csv",
        &csv,
        "--json",
        &json,
    ]);
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(summary["run"]["by_status"]["201"], 1_000);
    assert!(summary["run"]["server_cpu"]["total_us"].is_number());
    assert!(summary["run"]["cores"]["delivered"].as_f64().unwrap() > 0.0);

    let good = bench(&["check", &csv, "--min-samples", "1000", "--expect-status", "201", "--rate", "2000"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));

    for (arguments, bound) in [
        (&["--min-samples", "1000", "--p999-max-ms", "0.001"][..], "p99.9"),
        (&["--min-samples", "1000", "--expect-status", "200"], "status"),
        (&["--min-samples", "1000", "--rate", "2001"], "rate"),
        (&[], "samples: 1000, at least 100000"),
    ] {
        let bad = bench(&[&["check", &csv], arguments].concat());
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert_eq!(bad.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("failed: {bound}")), "{said}");
    }
}

#[test]
fn an_unexpected_status_is_exit_status_1() {
    let floor = Floor::start();
    let load = bench(&[
        "load",
        "--url",
        &floor.url,
        "--closed",
        "--requests",
        "10",
        "--warmup",
        "0",
        "--connections",
        "1",
        "--expect-status",
        "200",
    ]);
    assert_eq!(load.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&load.stderr).contains("10 of 10"));
}

#[test]
fn a_comparison_needs_nobody_but_the_floor_to_show_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let compare = bench(&[
        "compare",
        "--connections",
        "2",
        "--rounds",
        "1",
        "--duration",
        "0.2",
        "--warmup",
        "0.1",
        "--data-root",
        root,
    ]);
    let table = String::from_utf8_lossy(&compare.stdout);
    assert!(compare.status.success(), "{}", String::from_utf8_lossy(&compare.stderr));
    assert!(table.contains("| 2 | noise floor |"), "{table}");
}

#[test]
fn arguments_that_make_no_sense_exit_with_2_or_say_what_is_wrong() {
    let neither = bench(&["load", "--url", "http://127.0.0.1:1"]);
    assert_eq!(neither.status.code(), Some(2));
    let https = bench(&["load", "--url", "https://example.org", "--closed"]);
    assert!(String::from_utf8_lossy(&https.stderr).contains("http://"));
}
