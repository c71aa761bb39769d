//! What the pages give to paste works as it stands there: their lines are run by a shell, against a server of this test.

use std::fs;
use std::process::{Output, Stdio};

use formledger_tests::Stage;
use formledger_tests::definitions::anything;
use formledger_tests::installation::{SECRET, repository};
use formledger_tests::program::required;
use formledger_tests::wait::within;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Before each script: a line that fails ends it, an answer that refuses is a failure, and a feed does not go on for ever.
const SHELL: &str =
    "set -e\ncurl() { command curl --silent --show-error --fail-with-body --max-time 10 \"$@\"; }\n";

/// The lines of a section's blocks that begin with a prompt, with what continues them.
fn lines(page: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).expect("the page is there");
    let text = format!("\n{text}");
    let (_, section) =
        text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{page}: {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            match (line.strip_prefix("$ "), lines.last_mut()) {
                (Some(command), _) => lines.push(command.to_owned()),
                (None, Some(last)) if last.ends_with('\\') || last.matches('\'').count() % 2 == 1 => {
                    last.push('\n');
                    last.push_str(line);
                }
                // What the command answers.
                (None, _) => {}
            }
        }
    }
    assert!(!lines.is_empty(), "{page}: nothing to paste under {heading}");
    lines
}

/// Runs lines in one shell, as an administrator and submitter of `acme`.
async fn paste(stage: &Stage, lines: &[String]) -> Output {
    required("curl").await;
    let token = stage.installation.token("acme", "ada", "admin,submitter").await;
    let script = format!("{SHELL}T={token}\n{}", lines.join("\n"));
    let script = script.replace("127.0.0.1:8080", stage.server.address());
    let mut shell = Command::new("bash");
    let shell = shell.args(["-c", &script]).current_dir(stage.installation.scratch());
    let output = shell.output().await.expect("bash runs these tests");
    let told = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{}\n{}", told.0, told.1);
    output
}

/// The lines of README's own form that speak to a server, without the feed, which does not end.
fn readme() -> Vec<String> {
    let mut lines = lines("README.md", "## Your own form");
    lines.retain(|line| line.starts_with("curl ") && !line.contains("/v1/feed"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    lines
}

#[tokio::test]
async fn the_definition_of_the_page_of_forms_is_published_and_takes_the_submission_beside_it() {
    let stage = Stage::set().await;
    let page = fs::read_to_string(repository().join("docs/forms.md")).expect("the page is there");
    let (_, definition) = page.split_once("```json\n").expect("a definition");
    let file = stage.installation.scratch().join("definition.json");
    fs::write(file, definition.split("```").next().unwrap_or_default()).expect("can be written");
    let output = paste(&stage, &lines("docs/forms.md", "## Reading")).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("\"problems\":[]") && told.contains("\"state\":\"review\""), "{told}");
}

#[tokio::test]
async fn a_token_made_with_standard_tools_gets_in() {
    let stage = Stage::with_form("first", &anything("First")).await;
    let mut all = vec![format!("FORMLEDGER_JWT_SECRET='{SECRET}'"), "T=none".to_owned()];
    all.extend(lines("docs/roles.md", "## Tokens"));
    all.push("curl http://127.0.0.1:8080/v1/ledger -H \"Authorization: Bearer $T\"".to_owned());
    let output = paste(&stage, &all).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"tenant\":\"acme\""));
}

#[tokio::test]
async fn lists_of_readmes_form_can_be_asked_as_the_page_of_lists_says() {
    let stage = Stage::set().await;
    paste(&stage, &readme()).await;
    // Who pastes is slower than read models.
    stage.admin.get_at("/v1/submissions?form=claim&sort=/amount", stage.head().await).await.expect(200);
    let mut all = lines("docs/lists.md", "# Lists");
    all.extend(lines("docs/lists.md", "## Reading what you just wrote"));
    let output = paste(&stage, &all).await;
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.rsplit("{\"items\":").next().expect("a list was told");
    assert!(last.contains("\"amount\":300") && last.contains("\"amount\":1250"), "{told}");
}

#[tokio::test]
async fn pages_and_lines_of_events_can_be_asked_as_the_page_of_feeds_says() {
    let stage = Stage::with_form("claim", &anything("Claim")).await;
    stage.admin.submit("claim", &json!({})).await.expect(201);
    let mut all = lines("docs/feeds.md", "# Feeds and events");
    // It would not end.
    all.retain(|line| !line.starts_with("curl -N "));
    let output = paste(&stage, &all).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("formledger.submission.submitted.v1"));
    let copied = fs::read_to_string(stage.installation.scratch().join("events.ndjson")).expect("was written");
    assert_eq!(copied.lines().count() as u64, stage.head().await);
}

/// A consumer of docs/feeds.md, as it stands there, and what it prints.
struct Consumer {
    process: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Consumer {
    /// One that follows the feed at `path`.
    async fn start(stage: &Stage, path: &str, language: &str, program: &str, file: &str) -> Self {
        required(program).await;
        let page = fs::read_to_string(repository().join("docs/feeds.md")).expect("the page is there");
        let (_, code) = page.split_once(&format!("```{language}\n")).expect("a consumer in this language");
        let code = code.split("```").next().unwrap_or_default();
        let code = code.replace("127.0.0.1:8080", stage.server.address()).replace("/v1/feed", path);
        fs::write(stage.installation.scratch().join(file), code).expect("can be written");
        let mut command = Command::new(program);
        command.arg(file).current_dir(stage.installation.scratch()).kill_on_drop(true);
        command.env("T", stage.installation.token("acme", "ada", "admin").await).stdout(Stdio::piped());
        let mut process = command.spawn().expect("can be started");
        let lines = BufReader::new(process.stdout.take().expect("is piped")).lines();
        Self { process, lines }
    }

    /// The positions that it prints next.
    async fn positions(&mut self, count: u64) -> Vec<u64> {
        let mut positions = Vec::new();
        for _ in 0..count {
            let line = within("the consumer to print an event", self.lines.next_line()).await;
            let line = line.expect("can be read").expect("it goes on");
            let position = line.split(' ').next().and_then(|position| position.parse().ok());
            positions.push(position.unwrap_or_else(|| panic!("{line}")));
        }
        positions
    }
}

/// The consumers of docs/feeds.md: language, program and the file it is run from.
const CONSUMERS: [(&str, &str, &str); 2] =
    [("js", "node", "consumer.mjs"), ("python", "python3", "consumer.py")];

#[tokio::test]
async fn the_consumers_of_the_page_of_feeds_miss_nothing_and_go_on_where_they_were() {
    for (language, program, file) in CONSUMERS {
        let stage = Stage::with_form("claim", &anything("Claim")).await;
        let history = stage.head().await;
        let mut consumer = Consumer::start(&stage, "/v1/feed", language, program, file).await;
        assert_eq!(consumer.positions(history).await, (1..=history).collect::<Vec<_>>(), "{program}");
        let live = stage.admin.submit("claim", &json!({})).await.expect(201).position();
        let expected: Vec<u64> = (history + 1..=live).collect();
        assert_eq!(consumer.positions(live - history).await, expected, "{program}");
        let kept = stage.installation.scratch().join("cursor");
        within("the consumer to keep its place", async {
            while fs::read_to_string(&kept).ok() != Some(live.to_string()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        consumer.process.kill().await.expect("can be killed");
        let next = stage.admin.submit("claim", &json!({})).await.expect(201).position();
        let mut again = Consumer::start(&stage, "/v1/feed", language, program, file).await;
        assert_eq!(again.positions(next - live).await, (live + 1..=next).collect::<Vec<_>>(), "{program}");
    }
}

/// Messages there have no position, for example the summary at its end.
#[tokio::test]
async fn the_consumers_of_the_page_of_feeds_read_replays_to_their_end() {
    for (language, program, file) in CONSUMERS {
        let stage = Stage::with_form("claim", &anything("Claim")).await;
        stage.admin.submit("claim", &json!({})).await.expect(201);
        for order in [json!({"kind": "feed", "speed": "max"}), json!({"kind": "shadow"})] {
            let replay = stage.admin.post("/v1/replays").json(&order).await.expect(201).json();
            let path = format!("/v1/replays/{}/feed", replay["replay_id"].as_str().expect("an id"));
            let _ = fs::remove_file(stage.installation.scratch().join("cursor"));
            let mut consumer = Consumer::start(&stage, &path, language, program, file).await;
            let told = if order["kind"] == "feed" { stage.head().await } else { 0 };
            assert_eq!(consumer.positions(told + 1).await, (1..=told + 1).collect::<Vec<_>>(), "{program}");
            let ended = within("the consumer to end with the replay", consumer.process.wait()).await;
            assert!(ended.expect("has an end").success(), "{program}");
        }
    }
}

/// The function of docs/browsers.md runs in Node as in a browser, which has the same `fetch`.
#[tokio::test]
async fn the_follower_of_the_page_of_browsers_is_told_everything_and_goes_on_behind_it() {
    required("node").await;
    let stage = Stage::with_form("claim", &anything("Claim")).await;
    let page = fs::read_to_string(repository().join("docs/browsers.md")).expect("the page is there");
    let (_, code) = page.split_once("```js\n").expect("a function");
    let code = code.split("```").next().unwrap_or_default();
    let base = format!("http://{}", stage.server.address());
    let call = format!(
        "await follow('{base}', () => process.env.T, '1', (type, event) => console.log(event.position, type));"
    );
    let file = stage.installation.scratch().join("follower.mjs");
    fs::write(&file, format!("{code}\n{call}\n")).expect("can be written");
    let start = async |token: String| {
        let mut command = Command::new("node");
        command.arg(&file).env("T", token).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("can be started");
        let lines = BufReader::new(process.stdout.take().expect("is piped")).lines();
        Consumer { process, lines }
    };
    let mut follower = start(stage.installation.token("acme", "ada", "admin").await).await;
    let history = stage.head().await;
    assert_eq!(follower.positions(history - 1).await, (2..=history).collect::<Vec<_>>());
    let live = stage.admin.submit("claim", &json!({})).await.expect(201).position();
    assert_eq!(follower.positions(live - history).await, (history + 1..=live).collect::<Vec<_>>());
    let mut refused = start("nothing".to_owned()).await;
    let ended = within("it to give up without a credential", refused.process.wait()).await;
    assert!(!ended.expect("has an end").success());
}
