//! What is watched exists: every metric of the dashboard and of the alerts is one that the server exports, every panel and alert is explained
//! in docs/operations.md, and promtool agrees with the files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::installation::repository;
use formledger_tests::wait::within;
use formledger_tests::{Installation, Stage};
use regex::Regex;
use serde_json::Value;
use tokio::process::Command;

use crate::parts::{file, run, text};

/// What a Prometheus adds to a scraped job by itself.
const OF_PROMETHEUS: [&str; 1] = ["up"];

fn dashboard() -> Value {
    serde_json::from_str(&text("grafana/dashboards/formledger.json")).expect("the dashboard is JSON")
}

fn panels() -> Vec<Value> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_yaml_ng::from_str(&text("prometheus/rules.yml")).expect("the rules are YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// Every expression that is evaluated against the server's metrics, with its place.
fn expressions() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut found: Vec<_> =
        alerts().iter().map(|alert| (text(&alert["alert"]), text(&alert["expr"]))).collect();
    for panel in panels() {
        let targets = panel["targets"].as_array().expect("targets").iter();
        found.extend(targets.map(|target| (text(&panel["title"]), text(&target["expr"]))));
    }
    for variable in dashboard()["templating"]["list"].as_array().expect("variables") {
        found.push((text(&variable["name"]), text(&variable["query"])));
    }
    found
}

/// The names of metrics in an expression, without the suffixes of a histogram's series.
fn metrics(expression: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(formledger_\w+|process_\w+|up)\b").expect("a valid pattern");
    let histogram = |name: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name)
            .to_owned()
    };
    name.find_iter(expression).map(|found| histogram(found.as_str())).collect()
}

/// The names that the product's source gives to the recorder: all in files that call it, because some calls are given the name.
fn exported() -> BTreeSet<String> {
    let name = Regex::new(r#""((?:formledger|process)_[a-z_]+)""#).expect("a valid pattern");
    let records = Regex::new("(?:counter|gauge|histogram)!").expect("a valid pattern");
    let mut found = BTreeSet::new();
    for package in ["store", "projections", "api"] {
        for source in files_below(&repository().join(package).join("src")) {
            let source = fs::read_to_string(source).expect("sources are UTF-8");
            if records.is_match(&source) {
                found.extend(name.captures_iter(&source).map(|name| name[1].to_owned()));
            }
        }
    }
    found
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn every_metric_that_is_watched_is_exported() {
    let exported = exported();
    for (place, expression) in expressions() {
        let named = metrics(&expression);
        assert!(!named.is_empty(), "{place}: `{expression}` names no metric");
        for metric in named {
            let known = exported.contains(&metric) || OF_PROMETHEUS.contains(&metric.as_str());
            assert!(known, "{place}: the server exports no `{metric}`");
        }
    }
}

/// The other way round: what is exported and shown nowhere helps nobody.
#[test]
fn every_metric_that_is_exported_is_shown() {
    let shown: BTreeSet<String> =
        panels().iter().flat_map(|panel| metrics(&panel["targets"].to_string())).collect();
    let missing: Vec<_> = exported().into_iter().filter(|metric| !shown.contains(metric)).collect();
    assert!(missing.is_empty(), "add panels for {missing:?}");
}

/// The labels that expressions group and filter by are there in a real scrape.
#[tokio::test]
async fn a_running_server_exports_them_with_the_labels_that_are_used() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let position = stage.admin.submit("expense", &expense(1.0, "DE")).await.expect(201).position();
    stage.admin.get_at("/v1/submissions", position).await.expect(200);
    let scraped = stage.server.anonymous().get("/metrics").await.expect(200).text();
    let of_scrape = ["instance", "job", "le"];
    let by = Regex::new(r"by \(([^)]*)\)").expect("a valid pattern");
    for (place, expression) in expressions() {
        let labels: BTreeSet<&str> = by
            .captures_iter(&expression)
            .flat_map(|found| found.get(1).map(|list| list.as_str()))
            .flat_map(|list| list.split(", "))
            .filter(|label| !of_scrape.contains(label))
            .collect();
        for metric in metrics(&expression) {
            // Of what the dashboard shows, counters of what has not happened may be missing.
            let series: Vec<&str> = scraped.lines().filter(|line| line.starts_with(&metric)).collect();
            for label in labels.iter().filter(|_| !series.is_empty()) {
                assert!(
                    series.iter().any(|line| line.contains(&format!("{label}=\""))),
                    "{place}: `{metric}` has no label `{label}`:\n{}",
                    series.join("\n")
                );
            }
        }
    }
    for always in [
        "formledger_http_requests_total{",
        "formledger_append_commit_seconds_bucket{",
        "formledger_projection_lag_events{",
        "process_open_fds ",
    ] {
        assert!(scraped.contains(always), "{always}:\n{scraped}");
    }
}

/// An increase is seen from the second value on: a counter that an alert watches has to be there before there is anything to count.
#[tokio::test]
async fn every_counter_that_an_alert_watches_is_exported_from_the_start() {
    let installation = Installation::fresh();
    let server = installation.serve().await;
    let counters: BTreeSet<String> = alerts()
        .iter()
        .flat_map(|alert| metrics(alert["expr"].as_str().expect("a text")))
        .filter(|metric| metric.ends_with("_total"))
        .collect();
    assert!(counters.len() > 5, "{counters:?}");
    within(&format!("each of {counters:?} to be exported"), async {
        loop {
            let scraped = server.anonymous().get("/metrics").await.expect(200).text();
            let is_there = |counter: &String| {
                scraped
                    .lines()
                    .any(|line| line.strip_prefix(counter).is_some_and(|rest| rest.starts_with(['{', ' '])))
            };
            if counters.iter().all(is_there) {
                return;
            }
        }
    })
    .await;
}

#[test]
fn operators_are_told_what_to_do_about_every_panel_and_alert() {
    let page =
        fs::read_to_string(repository().join("docs/operations.md")).expect("there is a docs/operations.md");
    let alerts = alerts().into_iter().map(|alert| alert["alert"].clone());
    let panels = panels().into_iter().map(|panel| panel["title"].clone());
    for name in alerts.chain(panels) {
        let name = name.as_str().expect("a name");
        assert!(page.contains(&format!("| **{name}**")), "docs/operations.md has no row `| **{name}** | …`");
    }
}

#[test]
fn the_dashboard_asks_the_source_that_is_provisioned() {
    let sources: Value =
        serde_yaml_ng::from_str(&text("grafana/provisioning/datasources/prometheus.yml")).expect("YAML");
    let uid = &sources["datasources"][0]["uid"];
    for panel in panels() {
        assert_eq!(&panel["datasource"]["uid"], uid, "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
    }
    let providers: Value =
        serde_yaml_ng::from_str(&text("grafana/provisioning/dashboards/formledger.yml")).expect("YAML");
    let compose = fs::read_to_string(repository().join("docker-compose.yml")).expect("it is there");
    let folder = providers["providers"][0]["options"]["path"].as_str().expect("a folder");
    assert!(compose.contains(&format!("./deploy/grafana/dashboards:{folder}:ro")));
}

#[tokio::test]
async fn promtool_accepts_the_configuration_and_the_alerts_fire_when_they_should() {
    let mut check = Command::new("promtool");
    check.args(["check", "config"]).arg(file("prometheus/prometheus.yml"));
    run(check).await;
    let mut test = Command::new("promtool");
    test.args(["test", "rules"]).arg(file("prometheus/rules_test.yml"));
    run(test).await;
    let tested = text("prometheus/rules_test.yml");
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        assert!(tested.contains(&format!("alertname: {name}\n")), "rules_test.yml does not test {name}");
    }
}

/// The command of the image's health check, run against a server.
#[tokio::test]
async fn the_health_check_tells_a_server_from_none() {
    let installation = Installation::fresh();
    let server = installation.serve().await;
    let port = server.address().rsplit_once(':').expect("an address has a port").1.to_owned();
    let ask = |arguments: Vec<String>| {
        let mut command = Command::new("bash");
        command.arg(file("healthy.sh")).args(arguments);
        async move { command.output().await.expect("there is a bash").status.code() }
    };
    assert_eq!(ask(vec![port.clone()]).await, Some(0));
    assert_eq!(ask(vec![port.clone(), "/readyz".into()]).await, Some(0));
    assert_eq!(ask(vec![port.clone(), "/nowhere".into()]).await, Some(1));
    server.kill_9().await;
    assert_eq!(ask(vec![port]).await, Some(1));
}
