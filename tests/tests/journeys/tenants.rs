//! How tenants begin: with their administrator's first command that is accepted, or only by an operator where the server was told so.

use formledger_tests::Stage;
use formledger_tests::definitions::anything;
use serde_json::json;

#[tokio::test]
async fn a_tenant_begins_with_its_administrators_first_command() {
    let stage = Stage::set().await;
    let (vera, vic) =
        (stage.somebody("void", "vera", "submitter").await, stage.somebody("void", "vic", "admin").await);
    vera.submit("first", &json!({})).await.expect_problem(404, "tenant-unknown");
    vic.get("/v1/ledger").await.expect_problem(404, "tenant-unknown");
    vic.publish("first", &anything("First")).await;
    vera.submit("first", &json!({})).await.expect(201);
    assert_eq!(vic.get("/v1/ledger").await.expect(200).json()["tenant"], "void");
}

#[tokio::test]
async fn a_command_that_is_refused_begins_no_tenant() {
    let stage = Stage::set().await;
    let vic = stage.somebody("void", "vic", "admin").await;
    let first = anything("First");
    let refused = [
        (400, vic.put("/v1/forms/first?dry_run=true", &first)),
        (400, vic.put("/v1/forms/first", &first).header("If-Match", "7")),
        (412, vic.put("/v1/forms/first", &first).header("If-Match", "\"7\"")),
        (412, vic.put("/v1/forms/first", &first).header("If-Match", "\"1\", \"2\"")),
        (412, vic.put("/v1/forms/first", &first).header("If-Match", "*")),
        (400, vic.put("/v1/forms/first", &first).header("Idempotency-Key", "ü")),
        (400, vic.put("/v1/forms/a%20b", &first)),
        (422, vic.put("/v1/forms/first", &json!([]))),
        (404, vic.post("/v1/forms/first/publish")),
        (404, vic.submit("first", &json!({}))),
        (
            404,
            vic.post("/v1/submissions/01a2044c-820f-767f-8936-209666b7162d/comments")
                .json(&json!({"text": "?"})),
        ),
        (422, vic.post("/v1/api-keys").json(&json!({"name": "key", "roles": ["operator"]}))),
        (404, vic.call(http::Method::DELETE, "/v1/api-keys/01a2044c-820f-767f-8936-209666b7162d")),
        (
            412,
            vic.put("/v1/audit", &json!({"refusals": true, "reads": false, "exports": false}))
                .header("If-Match", "\"1\""),
        ),
    ];
    for (number, (status, call)) in refused.into_iter().enumerate() {
        let answer = call.await;
        assert_eq!(answer.status, status, "{number}: {}", answer.text());
        assert_eq!(vic.get("/v1/ledger").await.status, 404, "{number}: {}", answer.text());
    }
    let line = json!({"form": "first", "data": {}}).to_string();
    let imported = vic.post("/v1/submissions:import").body("application/x-ndjson", line).await.expect(200);
    assert!(imported.text().contains("\"status\":404"), "{}", imported.text());
    vic.get("/v1/ledger").await.expect_problem(404, "tenant-unknown");
    assert_eq!(vic.put("/v1/forms/first", &first).await.expect(200).position(), 2);
}

#[tokio::test]
async fn where_tenants_are_provisioned_only_an_operator_makes_them() {
    let stage = Stage::set_with(&["--provisioned-tenants"]).await;
    stage.admin.put("/v1/forms/first", &anything("First")).await.expect_problem(404, "tenant-unknown");
    let body = json!({ "tenant": "acme" });
    stage.admin.post("/v1/tenants").json(&body).await.expect_problem(403, "not-permitted");
    let operator = stage.somebody("operations", "olga", "operator").await;
    operator.post("/v1/tenants").json(&body).await.expect(201);
    operator.post("/v1/tenants").json(&body).await.expect_any_problem(409);
    stage.admin.publish("first", &anything("First")).await;
    operator.get("/v1/forms/first").await.expect_any_problem(404);
}
