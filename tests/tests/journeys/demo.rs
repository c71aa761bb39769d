//! `formledger demo`: what it prints can be pasted, and every line does what it announces.

use formledger_tests::{Installation, Server};
use tokio::process::Command;

/// How long a pasted line may run: feeds never end by themselves.
const LINE_SECONDS_MAX: &str = "3";

/// A line to paste and the comment above it.
#[derive(Debug)]
struct Pasted {
    comment: String,
    line: String,
}

/// Starts the demonstration and waits until it has printed everything; the token comes last.
async fn demo(installation: &Installation) -> (Server, Vec<Pasted>) {
    let command = installation.command(&["demo", "--listen", "127.0.0.1:0"]);
    let mut server = Server::start(command, installation.scratch()).await;
    server.wait_for_line("Token:").await;
    let printed = server.printed();
    let pasted = printed.windows(2).filter(|pair| pair[1].starts_with("curl "));
    let pasted = pasted.map(|pair| Pasted { comment: pair[0].clone(), line: pair[1].clone() }).collect();
    (server, pasted)
}

#[tokio::test]
async fn every_printed_curl_line_works_when_pasted() {
    let installation = Installation::without_credentials();
    let (server, all) = demo(&installation).await;
    assert!(all.len() >= 5, "too little to paste: {:?}", server.printed());
    for Pasted { comment, line } in &all {
        let options =
            format!("curl --max-time {LINE_SECONDS_MAX} --output /dev/null --write-out '%{{http_code}}' ");
        let bounded = line.replacen("curl ", &options, 1);
        let output =
            Command::new("bash").args(["-c", &bounded]).output().await.expect("bash and curl are installed");
        let status = String::from_utf8_lossy(&output.stdout);
        let announced = if comment.ends_with(": 422") { "422" } else { "20" };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(status.trim().starts_with(announced), "{comment}\n{line}\nanswered {status} {said}");
    }
    assert!(all.iter().any(|pasted| pasted.comment.ends_with(": 422")), "one line shows a refusal: {all:?}");
}

#[tokio::test]
async fn the_printed_token_shows_real_forms_and_a_few_hundred_submissions() {
    let installation = Installation::without_credentials();
    let (mut server, _) = demo(&installation).await;
    let line = server.wait_for_line("Token:").await;
    let token = line.split_whitespace().last().expect("a token follows");
    let client = server.client(token);
    let forms = client.get("/v1/forms").await.expect(200).json();
    assert!(forms["items"].as_array().is_some_and(|forms| forms.len() >= 3), "{forms}");
    let submissions = client.get("/v1/exports/submissions.ndjson").await.expect(200).json_lines();
    assert!(submissions.len() >= 200, "{} submissions", submissions.len());
}

#[tokio::test]
async fn a_demonstration_can_be_started_again_on_the_same_data() {
    let installation = Installation::without_credentials();
    let (first, pasted) = demo(&installation).await;
    assert!(first.stop().await.success());
    let (_second, again) = demo(&installation).await;
    assert_eq!(again.len(), pasted.len());
}
