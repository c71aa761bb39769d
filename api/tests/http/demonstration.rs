//! `formledger demo`, as a program: the printed lines work when they are pasted, and a second start adds nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::Method;
use serde_json::Value;

use crate::support::Server;

/// A running demonstration, ended with the value.
struct Demo {
    process: Child,
    lines: Vec<String>,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_formledger"))
            .args(["demo", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let mut lines = Vec::new();
        for line in output.lines() {
            lines.push(line.expect("text"));
            if lines.last().is_some_and(|line| line.starts_with("Token:")) {
                break;
            }
        }
        assert!(lines.first().is_some_and(|line| line.starts_with("listening on http://")), "{lines:?}");
        Self { process, lines }
    }

    fn curl_line(&self, containing: &str) -> Vec<String> {
        let found = self.lines.iter().find(|line| line.starts_with("curl ") && line.contains(containing));
        words(found.unwrap_or_else(|| panic!("no line with {containing}")))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a shell makes of a line with single quotes and nothing else special.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => {
                assert!(
                    quoted || !"\"$`\\|;&<>()*?{}!".contains(other),
                    "`{other}` means something to a shell: {line}"
                );
                words.last_mut().expect("one at least").push(other);
            }
        }
    }
    assert!(!quoted, "an open quote: {line}");
    words
}

/// Does what curl does with these words.
async fn curl(server: &Server, words: &[String]) -> (u16, Value) {
    let (mut headers, mut data, mut url) = (Vec::new(), None, None);
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-H" => headers.extend(rest.next().and_then(|header| header.split_once(": "))),
            "-d" => data = rest.next(),
            "-sS" | "-i" => {}
            address => url = Some(address.to_owned()),
        }
    }
    let url = url.expect("an address");
    let path = &url[url.match_indices('/').nth(2).expect("a path").0..];
    let method = if data.is_some() { Method::POST } else { Method::GET };
    let answer = server.call(method, path, &headers, data.map_or("", String::as_str)).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn the_printed_lines_work_and_a_second_start_adds_nothing() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let demo = Demo::start(data.path());
    let address = demo.lines[0].trim_start_matches("listening on http://").to_owned();
    let server = Server::at(&address);

    let (status, forms) = curl(&server, &demo.curl_line("/v1/forms")).await;
    assert_eq!(status, 200);
    assert!(forms["items"].as_array().is_some_and(|items| items.len() == 41), "{forms}");
    let (status, largest) = curl(&server, &demo.curl_line("where=")).await;
    assert_eq!((status, largest["items"].as_array().map(Vec::len)), (200, Some(5)), "{largest}");
    let (status, ledger) = curl(&server, &demo.curl_line("/v1/ledger")).await;
    assert_eq!(status, 200);
    let (status, _) = curl(&server, &demo.curl_line("/v1/stats")).await;
    assert_eq!(status, 200);

    drop(demo);
    let again = Demo::start(data.path());
    let address = again.lines[0].trim_start_matches("listening on http://").to_owned();
    let server = Server::at(&address);
    let (_, same) = curl(&server, &again.curl_line("/v1/ledger")).await;
    assert_eq!(same, ledger, "a second start changes nothing");
    let (status, accepted) = curl(&server, &again.curl_line("R-1")).await;
    assert_eq!(
        (status, &accepted["outcomes"]["route"]["value"]["route"]),
        (201, &"committee".into()),
        "{accepted}"
    );
    let (status, refused) = curl(&server, &again.curl_line("\"amount\":80,")).await;
    assert_eq!((status, &refused["errors"][0]["keyword"]), (422, &"receipt".into()), "{refused}");
    let (status, tasks) = curl(&server, &again.curl_line("/v1/tasks")).await;
    assert_eq!((status, tasks["items"].as_array().map(Vec::len)), (200, Some(5)), "{tasks}");
    for (key, state, have) in [("first", "review", 1), ("second", "approved", 2), ("first", "review", 1)] {
        let (status, given) = curl(&server, &again.curl_line(&format!("Idempotency-Key: {key}"))).await;
        assert_eq!(
            (status, &given["state"], &given["approvals"]["have"]),
            (200, &state.into(), &have.into()),
            "{given}"
        );
    }
    let (status, timeline) = curl(&server, &again.curl_line("/timeline")).await;
    let entries = timeline["items"].as_array().expect("entries");
    assert_eq!((status, &entries[entries.len() - 1]["state"]), (200, &"approved".into()), "{timeline}");
    assert!(again.curl_line("/v1/feed").contains(&"-N".to_owned()));
}
