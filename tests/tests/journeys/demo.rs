//! `formledger demo`: what it prints can be pasted, and every line does what it announces.

use formledger_tests::{Installation, Server};
use http::Method;
use tokio::process::Command;

/// How long a pasted line may run: feeds never end by themselves.
const LINE_SECONDS_MAX: &str = "3";
/// POSIX, shell command language, section 2.8.2.
const SHELL_FOUND_NO_SUCH_COMMAND: i32 = 127;

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

/// The status that a line is answered with: by curl in a shell, or by our own client where there is no curl.
async fn paste(line: &str, server: &Server) -> u16 {
    let options =
        format!("curl --max-time {LINE_SECONDS_MAX} --output /dev/null --write-out '%{{http_code}}' ");
    let bounded = line.replacen("curl ", &options, 1);
    let output = Command::new("bash").args(["-c", &bounded]).output().await.expect("bash runs these tests");
    if output.status.code() == Some(SHELL_FOUND_NO_SUCH_COMMAND) {
        return send(line, server).await;
    }
    let status = String::from_utf8_lossy(&output.stdout);
    status.trim().parse().unwrap_or_else(|_| panic!("{line}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Does what the options of the line say: `-H`, `-d` and the address, quoted by `'` where they hold blanks.
async fn send(line: &str, server: &Server) -> u16 {
    let outside = line.split('\'').enumerate();
    let words: Vec<&str> = outside
        .flat_map(|(index, part)| if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect();
    let value =
        |option: &'static str| words.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1]);
    let address = format!("http://{}", server.address());
    let path = words.iter().find_map(|word| word.strip_prefix(&address)).expect("a line names the server");
    let method = if value("-d").next().is_some() { Method::POST } else { Method::GET };
    let mut call = server.anonymous().call(method, path);
    for header in value("-H").filter(|header| !header.starts_with("Content-Type")) {
        let (name, text) = header.split_once(": ").expect("a header has a value");
        call = call.header(name, text);
    }
    if let Some(body) = value("-d").next() {
        call = call.body("application/json", body.to_owned());
    }
    call.status().await
}

#[tokio::test]
async fn every_printed_curl_line_works_when_pasted() {
    let installation = Installation::without_credentials();
    let (server, all) = demo(&installation).await;
    assert!(all.len() >= 5, "too little to paste: {:?}", server.printed());
    for Pasted { comment, line } in &all {
        let status = paste(line, &server).await;
        let announced = if comment.ends_with(": 422") { 422..423 } else { 200..300 };
        assert!(announced.contains(&status), "{comment}\n{line}\nanswered {status}");
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
