//! Several servers on one Postgres database are one product: what one records, the others show, feed, repeat and number on.

use formledger_tests::definitions::{expense, expense_claim};
use formledger_tests::feed::positions;
use formledger_tests::wait::within;
use formledger_tests::{Client, Installation, Server, Stage};
use serde_json::json;

/// Submissions that two servers make at once.
const SUBMISSIONS: usize = 60;

/// Two servers, each with an administrator of `acme`, and the form `expense` published at the first.
async fn two_servers() -> (Stage, Installation, Server, Client) {
    let stage = Stage::on(Installation::on_postgres().await, &[]).await;
    stage.admin.publish("expense", &expense_claim()).await;
    let beside = stage.installation.beside();
    let second = beside.serve().await;
    let admin = second.client(&beside.token("acme", "bob", "admin").await);
    (stage, beside, second, admin)
}

#[tokio::test]
async fn what_one_server_records_the_other_answers_and_feeds() {
    let (stage, _beside, _second, there) = two_servers().await;
    let after = stage.head().await;
    let mut feed = there.feed("/v1/feed", Some(after)).await;
    let submitted = stage.admin.submit("expense", &expense(12.5, "DE")).await.expect(201);
    let (id, position) = (submitted.json()["submission_id"].clone(), submitted.position());
    assert_eq!(positions(&feed.up_to(position).await), (after + 1..=position).collect::<Vec<_>>());
    let path = format!("/v1/submissions/{}", id.as_str().expect("an id"));
    let shown = there.get_at(&path, position).await.expect(200).json();
    assert_eq!(shown["data"]["amount"], json!(12.5));
    let listed = there.get_at("/v1/submissions?form=expense", position).await.expect(200);
    assert_eq!(listed.submission_ids(), [id.as_str().expect("an id")]);
}

#[tokio::test]
async fn a_request_repeated_at_another_server_is_recorded_once() {
    let (stage, _beside, second, _) = two_servers().await;
    // The same person: a key is its caller's own.
    let there = second.client(&stage.installation.token("acme", "ada", "admin").await);
    let submit =
        |client: &Client| client.submit("expense", &expense(3.0, "DE")).header("Idempotency-Key", "once");
    let (first, again) = (submit(&stage.admin).await.expect(201), submit(&there).await.expect(201));
    assert_eq!(first.json()["submission_id"], again.json()["submission_id"]);
    assert_eq!(first.position(), again.position());
}

#[tokio::test]
async fn a_form_published_at_one_server_binds_the_next_submission_at_the_other() {
    let (stage, _beside, _second, there) = two_servers().await;
    let submitted_under = async || {
        let submitted = there.submit("expense", &expense(1.0, "DE")).await.expect(201).json();
        submitted["form_version"].clone()
    };
    assert_eq!(submitted_under().await, 1);
    for version in 2..=6 {
        stage.admin.publish("expense", &expense_claim()).await;
        assert_eq!(submitted_under().await, version);
        // Others' appends that leave the form as it is cost nobody an answer.
        stage.admin.submit("expense", &expense(2.0, "DE")).await.expect(201);
        assert_eq!(submitted_under().await, version);
    }
    let draft = there.post("/v1/forms/expense/submissions");
    let draft = draft.json(&json!({"data": expense(1.0, "DE"), "draft": true})).await.expect(201).json();
    let reason = json!({"reason": "replaced"});
    stage.admin.post("/v1/forms/expense/retire").json(&reason).await.expect(200);
    there.submit("expense", &expense(1.0, "DE")).await.expect(409);
    let id = draft["submission_id"].as_str().expect("an id");
    there.post(&format!("/v1/submissions/{id}/submit")).await.expect(409);
}

#[tokio::test]
async fn two_servers_under_load_make_one_gapless_ledger_that_verifies() {
    let (stage, beside, _second, there) = two_servers().await;
    let submit_all = |client: Client| async move {
        let mut given = Vec::new();
        for n in 0..SUBMISSIONS {
            given.push(client.submit("expense", &expense(n as f64, "DE")).await.expect(201).position());
        }
        given
    };
    let (here, there) = tokio::join!(submit_all(stage.admin.clone()), submit_all(there));
    let head = stage.head().await;
    let mut given: Vec<u64> = here.into_iter().chain(there).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 2 * SUBMISSIONS, "every answer names its own position");
    let seen = stage.admin.feed("/v1/feed", Some(0)).await.up_to(head).await;
    assert_eq!(positions(&seen), (1..=head).collect::<Vec<_>>());
    let verified = beside.run(&["verify"]).await.expect(0);
    assert!(
        verified.stdout.contains(&format!("acme: {head} events are as they were recorded")),
        "{}",
        verified.stdout
    );
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_one_line_and_exit_status_2() {
    for (url, said) in [
        ("postgres://user:hunter2@127.0.0.1:1/ledger", "cannot be reached"),
        (
            "mysql://user:hunter2@127.0.0.1/ledger",
            "`--database-url` is no `postgres://user@host:port/database`",
        ),
    ] {
        let installation = Installation::fresh().with("DATABASE_URL", url);
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"], &["verify"]] {
            let finished = installation.run(arguments).await.expect(2);
            let line =
                finished.stderr.lines().filter(|line| line.starts_with("formledger: ")).collect::<Vec<_>>();
            assert!(line.len() == 1 && line[0].contains(said), "{arguments:?}: {}", finished.stderr);
            assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
        }
    }
}

#[tokio::test]
async fn a_key_made_and_revoked_at_one_server_is_so_at_the_other() {
    let (stage, _beside, second, _) = two_servers().await;
    let body = json!({"name": "reader", "roles": ["auditor"]});
    let made = stage.admin.post("/v1/api-keys").json(&body).await.expect(201).json();
    let secret = made["secret"].as_str().expect("a secret");
    let there = second.anonymous();
    let status = async || there.get("/v1/ledger").header("X-Api-Key", secret).await.status.as_u16();
    // What is known of a tenant is used for half a second before its stream is read again.
    within("the other server to know the key", async { while status().await != 200 {} }).await;
    let path = format!("/v1/api-keys/{}", made["id"].as_str().expect("an id"));
    stage.admin.call(http::Method::DELETE, &path).await.expect(200);
    stage.server.anonymous().get("/v1/ledger").header("X-Api-Key", secret).await.expect_any_problem(401);
    within("the other server to know the revocation", async { while status().await != 401 {} }).await;
}
