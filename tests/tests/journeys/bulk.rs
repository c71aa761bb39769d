//! Many commands in one request: a line is a command, refused alone; results come while lines are sent; a repeated request repeats nothing.

use std::collections::BTreeSet;

use formledger_tests::definitions::{anything, contract_expense_claim, expense, expense_claim};
use formledger_tests::wait::within;
use formledger_tests::{Answer, Client, Stage};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const IMPORT: &str = "/v1/submissions:import";
const NDJSON: &str = "application/x-ndjson";

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

fn claim(amount: f64) -> Value {
    json!({ "form": "expense", "data": expense(amount, "DE") })
}

/// Lines that can be told apart by their amount.
fn claims(count: u32) -> String {
    (1..=count).map(|n| format!("{}\n", claim(f64::from(n)))).collect()
}

async fn import(client: &Client, body: impl Into<bytes::Bytes>) -> Answer {
    client.post(IMPORT).body(NDJSON, body).await
}

#[tokio::test]
async fn each_line_is_answered_in_order_and_a_bad_one_fails_alone() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &anything("Other")).await;
    let body = [
        claim(1.0).to_string(),
        "{\"form\": \"expense\", ".to_owned(),
        json!({ "form": "expense", "data": {} }).to_string(),
        String::new(),
        json!({ "form": "missing", "data": {} }).to_string(),
        json!({ "form": "expense", "data": {}, "draft": true }).to_string(),
        json!({ "form": "other", "data": { "n": 1 }, "submitter": "eve" }).to_string(),
        "{\"form\":\"other\",\"data\":{\"n\":12345678901234567890123}}".to_owned(),
        json!({ "data": {} }).to_string(),
        json!({ "form": "other", "data": { "n": 2 } }).to_string(),
    ]
    .join("\n");
    let results = import(&stage.admin, body).await.expect(200).json_lines();
    let seen: Vec<(u64, u64, &str)> = results
        .iter()
        .map(|result| {
            let number = |name: &str| result[name].as_u64().expect("a number");
            let what = result["code"].as_str().or(result["form"].as_str()).expect("a code or a form");
            (number("line"), number("status"), what)
        })
        .collect();
    let expected = [
        (1, 201, "expense"),
        (2, 400, "json-malformed"),
        (3, 422, "submission-invalid"),
        (5, 404, "not-found"),
        (6, 201, "expense"),
        (7, 400, "body-invalid"),
        (8, 422, "number-inexact"),
        (9, 400, "body-invalid"),
        (10, 201, "other"),
    ];
    assert_eq!(seen, expected, "{results:#?}");
    assert!(results[2]["errors"][0]["pointer"].is_string(), "{}", results[2]);
    assert_eq!(results[4]["state"], "draft");
    // What was acknowledged is in the ledger, once, and nothing else is.
    let head = stage.head().await;
    let listed = stage.admin.get_at("/v1/submissions", head).await.expect(200).submission_ids();
    let acknowledged: BTreeSet<_> =
        results.iter().filter_map(|result| result["submission_id"].as_str().map(str::to_owned)).collect();
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), acknowledged);
    assert_eq!(acknowledged.len(), 3);
}

#[tokio::test]
async fn all_of_an_import_is_recorded_under_one_correlation_id() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let before = stage.head().await;
    let call = stage.admin.post(IMPORT).header("X-Request-Id", "import-7").body(NDJSON, claims(40));
    let results = call.await.expect(200).json_lines();
    assert!(results.iter().all(|result| result["status"] == 201), "{results:?}");
    let events = stage.admin.get(&format!("/v1/events?after={before}&limit=1000")).await.expect(200).json();
    let events = events["events"].as_array().expect("events").clone();
    assert_eq!(events.len(), 80, "each submission and its outcomes");
    assert!(events.iter().all(|event| event["correlationid"] == "import-7"), "{}", events[0]);
}

#[tokio::test]
async fn a_repeated_import_gets_its_first_results_and_records_nothing() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let send =
        |body: String| stage.admin.post(IMPORT).header("Idempotency-Key", "batch-1").body(NDJSON, body);
    let first = send(claims(30)).await.expect(200).json_lines();
    let head = stage.head().await;
    assert_eq!(send(claims(30)).await.expect(200).json_lines(), first);
    assert_eq!(stage.head().await, head);
    // Another line in the same place is another request with a key that was used.
    let changed = send(lines(&[claim(1.0), claim(77.0)])).await.expect(200).json_lines();
    assert_eq!(changed[0], first[0]);
    assert_eq!((&changed[1]["status"], &changed[1]["code"]), (&json!(422), &json!("idempotency-key-reused")));
    // A line's own key goes with the line, wherever it stands.
    let keyed =
        |amount: f64| json!({ "form": "expense", "data": expense(amount, "FR"), "idempotency_key": "row-9" });
    let made = import(&stage.admin, lines(&[claim(500.0), keyed(9.0)])).await.expect(200).json_lines();
    let again = import(&stage.admin, lines(&[keyed(9.0)])).await.expect(200).json_lines();
    assert_eq!(made[1]["submission_id"], again[0]["submission_id"]);
}

#[tokio::test]
async fn an_import_that_a_kill_cut_off_is_repeated_and_every_line_is_there_once() {
    const LINES: u32 = 3_000;
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let token = stage.installation.token("acme", "ada", "admin").await;
    let mut sender = Sender::open(&stage, &token, "Idempotency-Key: night-run\r\n").await;
    let body = claims(LINES);
    let (early, late) = body.split_at(body.len() / 2);
    sender.send(early).await;
    let mut acknowledged = Vec::new();
    for _ in 0..LINES / 4 {
        acknowledged.push(sender.result().await);
    }
    stage.server.kill_9().await;
    drop((sender, late));
    let server = stage.installation.serve().await;
    let client = server.client(&token);
    let repeated = client.post(IMPORT).header("Idempotency-Key", "night-run").body(NDJSON, body);
    let results = repeated.await.expect(200).json_lines();
    assert_eq!(results.len(), LINES as usize);
    assert!(results.iter().all(|result| result["status"] == 201));
    assert_eq!(results[..acknowledged.len()], acknowledged, "what was acknowledged is what it was");
    let position = results.iter().filter_map(|result| result["position"].as_u64()).max().expect("positions");
    client.get_at("/v1/submissions?limit=1", position).await.expect(200);
    let all = client.get("/v1/exports/submissions.ndjson").await.expect(200).json_lines();
    let amounts: BTreeSet<u64> = all.iter().filter_map(|row| row["data"]["amount"].as_u64()).collect();
    assert_eq!((all.len(), amounts.len()), (LINES as usize, LINES as usize), "each line exactly once");
}

#[tokio::test]
async fn results_come_while_lines_are_sent_and_a_client_that_goes_away_leaves_the_rest_undone() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let token = stage.installation.token("acme", "ada", "admin").await;
    let mut sender = Sender::open(&stage, &token, "").await;
    for n in 1..=3 {
        sender.send(&format!("{}\n", claim(f64::from(n)))).await;
        let result = sender.result().await;
        assert_eq!((&result["line"], &result["status"]), (&json!(n), &json!(201)), "before more is sent");
    }
    // A line without its end is not a line yet.
    sender.send(&claim(4.0).to_string()).await;
    let head = stage.head().await;
    drop(sender);
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(stage.head().await, head, "nothing was begun after the client went away");
    }
}

#[tokio::test]
async fn lines_that_were_begun_end_when_the_client_goes_away() {
    const LINES: usize = 60;
    let (stage, _, _, ids) = office(1).await;
    let on = json!({ "refusals": true, "reads": false, "exports": false });
    let after = stage.admin.put("/v1/audit", &on).await.expect(200).position();
    let token = stage.installation.token("acme", "rita", "reviewer").await;
    let mut sender = Sender::open_at("/v1/submissions:transition", &stage, &token, "").await;
    // One after another, because they are about one submission, and all begun: they came in one piece.
    let line = json!({ "submission_id": ids[0], "transition": "reject" });
    sender.send(&lines(&vec![line; LINES])).await;
    assert_eq!(sender.result().await["code"], "reason-required");
    drop(sender);
    let noted = async {
        loop {
            let entries =
                stage.admin.get(&format!("/v1/audit/entries?after={after}")).await.expect(200).json();
            let entries = entries["events"].as_array().expect("events").clone();
            let times = entries.iter().filter(|entry| entry["actor"] == "rita");
            if times.filter_map(|entry| entry["data"]["attempt"]["times"].as_u64()).sum::<u64>()
                == LINES as u64
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    within("every line to have been refused", noted).await;
}

#[tokio::test]
async fn an_import_is_for_submitters_and_for_forms_that_the_key_reaches() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    stage.admin.publish("other", &anything("Other")).await;
    let rita = stage.somebody("acme", "rita", "reviewer").await;
    import(&rita, claims(1)).await.expect_problem(403, "not-permitted");
    let key = json!({ "name": "importer", "roles": ["submitter"], "forms": ["expense"] });
    let secret = stage.admin.post("/v1/api-keys").json(&key).await.expect(201).json()["secret"].clone();
    let body = lines(&[claim(1.0), json!({ "form": "other", "data": {} })]);
    let call = stage.server.anonymous().post(IMPORT).header("X-Api-Key", secret.as_str().expect("a secret"));
    let results = call.body(NDJSON, body).await.expect(200).json_lines();
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!(201), &json!(403)), "{results:?}");
    stage.admin.post(IMPORT).json(&claim(1.0)).await.expect_problem(415, "media-type-unsupported");
    let matched = stage.admin.post(IMPORT).header("If-Match", "\"1\"").body(NDJSON, claims(1)).await;
    matched.expect_problem(412, "precondition-failed");
    let bad_key =
        stage.admin.post(IMPORT).header("Idempotency-Key", "two words").body(NDJSON, claims(1)).await;
    bad_key.expect_problem(400, "idempotency-key-invalid");
    let long =
        format!("{{\"form\":\"other\",\"data\":{{\"t\":\"{}\"}}}}\n{}\n", "x".repeat(1 << 20), claim(2.0));
    let results = import(&stage.admin, long).await.expect(200).json_lines();
    assert_eq!((&results[0]["code"], &results[1]["status"]), (&json!("body-too-large"), &json!(201)));
}

/// Claims by sam that wait for review, and two reviewers.
async fn office(claims: usize) -> (Stage, Client, Client, Vec<String>) {
    let stage = Stage::with_form("expense", &contract_expense_claim()).await;
    let sam = stage.somebody("acme", "sam", "submitter").await;
    let large = json!({ "form": "expense", "data": { "amount": 20_000, "country": "DE" } });
    let made = import(&sam, lines(&vec![large; claims])).await.expect(200).json_lines();
    let ids = made.iter().map(|result| result["submission_id"].as_str().expect("an id").to_owned()).collect();
    let rita = stage.somebody("acme", "rita", "reviewer").await;
    let rob = stage.somebody("acme", "rob", "reviewer").await;
    (stage, rita, rob, ids)
}

async fn decide(client: &Client, values: &[Value]) -> Vec<Value> {
    client.post("/v1/submissions:transition").body(NDJSON, lines(values)).await.expect(200).json_lines()
}

fn approve(id: &str) -> Value {
    json!({ "submission_id": id, "transition": "approve" })
}

#[tokio::test]
async fn many_submissions_are_decided_each_by_itself_under_one_correlation_id() {
    let (stage, rita, rob, ids) = office(60).await;
    let all: Vec<Value> = ids.iter().map(|id| approve(id)).collect();
    let first = decide(&rita, &all).await;
    assert!(first.iter().all(|result| result["approvals"] == json!({ "have": 1, "need": 2 })), "{first:?}");
    let again = decide(&rita, &all).await;
    assert!(again.iter().all(|result| result["code"] == "already-approved"), "{again:?}");
    let before = stage.head().await;
    let call =
        rob.post("/v1/submissions:transition").header("X-Request-Id", "round-2").body(NDJSON, lines(&all));
    let second = call.await.expect(200).json_lines();
    assert!(second.iter().all(|result| result["state"] == "approved"), "{second:?}");
    let of: Vec<&str> = second.iter().filter_map(|result| result["submission_id"].as_str()).collect();
    assert_eq!(of, ids, "in the order of the lines");
    let events = stage.admin.get(&format!("/v1/events?after={before}&limit=1000")).await.expect(200).json();
    let events = events["events"].as_array().expect("events").clone();
    assert_eq!(events.len(), 120, "an approval and a transition each");
    assert!(events.iter().all(|event| event["correlationid"] == "round-2" && event["actor"] == "rob"));
}

#[tokio::test]
async fn a_decision_in_bulk_is_refused_and_audited_as_one_by_itself() {
    let (stage, rita, _, ids) = office(4).await;
    let on = json!({ "refusals": true, "reads": false, "exports": false });
    let after = stage.admin.put("/v1/audit", &on).await.expect(200).position();
    let never = "01890000-0000-7000-8000-000000000000";
    let results = decide(
        &rita,
        &[
            json!({ "submission_id": ids[0], "transition": "approve", "if_match": 1 }),
            json!({ "submission_id": ids[0], "transition": "promote" }),
            json!({ "submission_id": ids[1], "transition": "reject" }),
            json!({ "submission_id": ids[1], "transition": "reject", "reason": "no receipt" }),
            json!({ "submission_id": ids[1], "transition": "approve" }),
            approve(never),
            approve("no id"),
            json!({ "submission_id": ids[2] }),
            approve(&ids[3]),
        ],
    )
    .await;
    let codes: Vec<_> = results.iter().map(|result| result["code"].as_str().unwrap_or("done")).collect();
    let expected = [
        "precondition-failed",
        "transition-unknown",
        "reason-required",
        "done",
        "not-in-state",
        "not-found",
        "not-found",
        "body-invalid",
        "done",
    ];
    assert_eq!(codes, expected, "those about one submission in their order: {results:#?}");
    let entries = stage.admin.get(&format!("/v1/audit/entries?after={after}")).await.expect(200).json();
    let entries = entries["events"].as_array().expect("events").clone();
    for (code, id) in
        [("precondition-failed", &ids[0]), ("reason-required", &ids[1]), ("not-in-state", &ids[1])]
    {
        let found = entries.iter().find(|entry| {
            let attempt = &entry["data"]["attempt"];
            entry["data"]["code"] == code && attempt["submission_id"] == **id && entry["actor"] == "rita"
        });
        let found = found.unwrap_or_else(|| panic!("{code} is not audited: {entries:#?}"));
        assert_eq!(found["data"]["attempt"]["action"], "POST /v1/submissions:transition");
    }
    let sam = stage.somebody("acme", "sam", "submitter").await;
    assert_eq!(decide(&sam, &[approve(&ids[2])]).await[0]["code"], "not-permitted");
    let eve = stage.somebody("acme", "eve", "submitter").await;
    assert_eq!(decide(&eve, &[approve(&ids[2])]).await[0]["code"], "not-found", "it is nobody's of hers");
}

#[tokio::test]
async fn a_repeated_bulk_decision_is_answered_as_it_was_and_their_number_is_bounded() {
    let (stage, rita, _, ids) = office(3).await;
    let send = || {
        let body = lines(&ids.iter().map(|id| approve(id)).collect::<Vec<_>>());
        rita.post("/v1/submissions:transition").header("Idempotency-Key", "monday").body(NDJSON, body)
    };
    let first = send().await.expect(200).json_lines();
    let head = stage.head().await;
    assert_eq!(send().await.expect(200).json_lines(), first);
    assert_eq!(stage.head().await, head);
    let never = "01890000-0000-7000-8000-000000000000";
    let results = decide(&rita, &vec![approve(never); 1_001]).await;
    assert_eq!(results.len(), 1_001);
    assert_eq!(
        (&results[999]["code"], &results[1_000]["code"]),
        (&json!("not-found"), &json!("too-many-lines"))
    );
    assert_eq!(results[1_000]["lines_max"], 1_000);
}

/// A client that sends an import piece by piece and reads its results meanwhile, which no usual client lets a test do.
struct Sender {
    to: OwnedWriteHalf,
    from: Lines<BufReader<OwnedReadHalf>>,
}

impl Sender {
    /// Sends the head of an import and reads the head of its answer.
    async fn open(stage: &Stage, token: &str, field: &str) -> Self {
        Self::open_at(IMPORT, stage, token, field).await
    }

    /// The same for another route.
    async fn open_at(route: &str, stage: &Stage, token: &str, field: &str) -> Self {
        let stream = TcpStream::connect(stage.server.address()).await.expect("the server listens");
        let (from, to) = stream.into_split();
        let mut sender = Self { to, from: BufReader::new(from).lines() };
        let head = format!(
            "POST {route} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             content-type: {NDJSON}\r\ntransfer-encoding: chunked\r\n{field}\r\n"
        );
        sender.to.write_all(head.as_bytes()).await.expect("the server reads");
        let status = sender.line().await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        while !sender.line().await.is_empty() {}
        sender
    }

    /// Sends a chunk (RFC 9112 section 7.1).
    async fn send(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        within("the server to read", self.to.write_all(chunk.as_bytes())).await.expect("the server reads");
    }

    /// The next result; what frames the chunks of the answer is passed over.
    async fn result(&mut self) -> Value {
        loop {
            let line = self.line().await;
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }

    async fn line(&mut self) -> String {
        let line = within("a line of the answer", self.from.next_line()).await;
        line.expect("an answer").expect("more of the answer")
    }
}
