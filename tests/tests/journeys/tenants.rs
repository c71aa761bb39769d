//! How tenants begin: with their administrator's first command, or only by an operator where the server was told so.

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
