//! What operators see: alive, ready, counted, traced; and a tenant whose ledger cannot be read stands visibly still while others go on.

use formledger_tests::definitions::{anything, expense, expense_claim};
use formledger_tests::installation::SECRET;
use formledger_tests::tampering::{remove_read_models, tamper};
use formledger_tests::wait::within;
use formledger_tests::{Client, Installation, Server, Stage};
use serde_json::json;

async fn submit(client: &Client) -> u64 {
    client.submit("expense", &expense(1.0, "DE")).await.expect(201).position()
}

#[tokio::test]
async fn a_server_is_alive_and_ready_and_counts_what_it_answers() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    submit(&stage.admin).await;
    let anybody = stage.server.anonymous();
    for path in ["/healthz", "/readyz"] {
        anybody.get(path).await.expect(200);
    }
    let metrics = anybody.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let text = metrics.text();
    assert!(text.contains("formledger_"), "{text}");
    let counted = |line: &&str| !line.starts_with('#') && line.contains("/v1/forms/{form}/submissions");
    assert!(text.lines().any(|line| counted(&line)), "requests are counted by route, never by path: {text}");
    assert!(!text.contains("acme") && !text.contains("/v1/forms/expense"), "{text}");
}

#[tokio::test]
async fn a_request_id_and_a_trace_lead_from_the_answer_to_the_events() {
    let stage = Stage::with_form("expense", &expense_claim()).await;
    let refused = stage.admin.get("/v1/submissions/none").header("X-Request-Id", "my-request-7").await;
    assert_eq!(refused.header("x-request-id"), Some("my-request-7"));
    assert_eq!(refused.expect_any_problem(404)["instance"], "my-request-7");

    let head = stage.head().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let call = stage.admin.submit("expense", &expense(1.0, "DE"));
    let call = call.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    call.header("X-Request-Id", "my-request-8").await.expect(201);
    let events = stage.admin.get(&format!("/v1/events?after={head}")).await.expect(200).json();
    let events = events["events"].as_array().expect("events").clone();
    assert!(!events.is_empty() && events.iter().all(|event| event["correlationid"] == trace), "{events:?}");
    assert!(events.iter().all(|event| event["causationid"] == "my-request-8"), "{events:?}");
}

#[tokio::test]
async fn logs_hold_neither_credentials_nor_data() {
    let installation = Installation::fresh().with("LOG", "trace");
    let server = installation.serve().await;
    let token = installation.token("acme", "ada", "admin").await;
    let client = server.client(&token);
    client.publish("notes", &anything("Notes")).await;
    client.submit("notes", &json!({ "note": "onlyfortheledger" })).await.expect(201);
    client.submit("notes", &json!("onlyfortheledger")).await.expect(422);
    let logged = server.stderr();
    assert!(logged.lines().any(|line| line.contains("/v1/forms/notes/submissions")), "{logged}");
    for secret in [&token, SECRET, "onlyfortheledger"] {
        let line = logged.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "`{secret}` was logged");
    }
}

#[tokio::test]
async fn a_tenant_whose_events_cannot_be_read_stands_still_visibly_and_others_go_on() {
    let stage = Stage::on_files_with_form("expense", &expense_claim()).await;
    let token = stage.installation.token("acme", "ada", "admin").await;
    let other_token = stage.installation.token("globex", "gus", "admin").await;
    let other = stage.server.client(&other_token);
    other.publish("expense", &expense_claim()).await;
    submit(&stage.admin).await;
    let damaged_from = submit(&other).await;
    let Stage { installation, server, .. } = stage;
    assert!(server.stop().await.success());

    let statement = "update events set event_type = 'formledger.submission.from-the-future' \
                     where tenant_id = 'globex' and position = ";
    tamper(&installation, &format!("{statement}{damaged_from}")).await;
    remove_read_models(&installation).await;
    let server = installation.serve().await;
    let (ours, theirs) = (server.client(&token), server.client(&other_token));
    let at = submit(&ours).await;
    assert_eq!(ours.get_at("/v1/submissions", at).await.expect(200).submission_ids().len(), 2);
    let path = format!("/v1/submissions?min_position={damaged_from}");
    let behind = theirs.get(&path).header("Prefer", "wait=0").await.expect_problem(503, "replica-behind");
    assert!(behind["position"].as_u64().is_some_and(|position| position < damaged_from), "{behind}");
    // It stands still for a reason of its own: the node goes on serving the others, and says how many it does not serve.
    within("readiness and metrics to say that a tenant stands still", async {
        loop {
            let ready = server.anonymous().get("/readyz").await.expect(200).json();
            if ready["parked"].as_u64() > Some(0) && parked(&server).await > 0 {
                assert_eq!(ready["status"], "ready");
                break;
            }
        }
    })
    .await;

    // Until somebody decides that it is passed over.
    let position = damaged_from.to_string();
    let decided = ["--actor", "olga", "--reason", "written by a program that is lost"];
    let skip = async |projection: &str, position: &str| {
        let what = ["skip", "--tenant", "globex", "--projection", projection, "--position", position];
        installation.run(&[&what[..], &decided].concat()).await
    };
    let elsewhere = skip("submissions", "1").await.expect(1);
    assert!(elsewhere.stderr.contains("not parked before position 1"), "{}", elsewhere.stderr);
    skip("submissons", &position).await.expect(2);
    skip("submissions", &position).await.expect(0);
    let goes_on = async { while theirs.get(&path).header("Prefer", "wait=1").await.status != 200 {} };
    within("the projection to go on", goes_on).await;
    assert_eq!(theirs.get(&path).await.expect(200).submission_ids().len(), 1);
}

/// How many tenants stand still, as the metrics count them over all projections.
async fn parked(server: &Server) -> u64 {
    let metrics = server.anonymous().get("/metrics").await.expect(200).text();
    let counts = metrics.lines().filter(|line| line.starts_with("formledger_projection_parked{"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
