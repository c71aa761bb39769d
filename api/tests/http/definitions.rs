//! What the OpenAPI document says of form definitions and of bodies, against what is taken: it is written beside the code that reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use http::Method;
use serde_json::{Value, json};

use crate::description::{fits, operations};
use crate::support::{Server, admin, bearer, token};

/// The page for those who write definitions.
const PAGE: &str = include_str!("../../../docs/forms.md");

async fn document(server: &Server) -> Value {
    server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json()
}

/// The definition of docs/forms.md.
fn of_the_page() -> Value {
    let (_, rest) = PAGE.split_once("```json\n").expect("the page shows a definition");
    serde_json::from_str(rest.split("```").next().unwrap_or_default()).expect("it is JSON")
}

/// The definition of the page with one member set.
fn with(pointer: &str, member: &str, value: Value) -> Value {
    let mut definition = of_the_page();
    definition.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"))[member] = value;
    definition
}

#[tokio::test]
async fn a_definition_is_described_as_publishing_takes_it() {
    let server = Server::start().await;
    let (admin, document) = (admin("acme"), document(&server).await);
    let problems = async |definition: &Value| {
        let saved = server.send(&admin, Method::PUT, "/v1/forms/f", definition).await.expect(200).json();
        saved["problems"].clone()
    };
    let definition = of_the_page();
    assert_eq!(fits(&document, "FormDefinition", &definition), Ok(()));
    assert_eq!(problems(&definition).await, json!([]), "docs/forms.md shows what has no problem");
    server.send(&admin, Method::POST, "/v1/forms/f/publish", &Value::Null).await.expect(201);
    let shown = server.get(&admin, "/v1/forms/f/versions/1").await.expect(200).json();
    assert_eq!(fits(&document, "FormVersion", &shown), Ok(()));
    for taken in [
        with("/workflow/transitions/0", "approvals", json!({"need": 2, "of": 3})),
        with("/workflow/transitions/1", "signature", json!({"meaning": "I refuse this", "max_age": "PT5M"})),
        with("/workflow/transitions/1", "reason", json!("optional")),
        with("/rules/3", "aggregate", json!("list")),
        with("/rules/3/rows/0", "priority", json!(1.5)),
        json!({"title": "Least", "schema": {"type": "object"}}),
    ] {
        assert_eq!(fits(&document, "FormDefinition", &taken), Ok(()), "{taken}");
        let problems = problems(&taken).await;
        let errors: Vec<&Value> = problems
            .as_array()
            .into_iter()
            .flatten()
            .filter(|problem| problem["severity"] == "error")
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    for refused in [
        json!({"schema": {"type": "object"}}),
        with("", "title", json!("")),
        with("", "rules", Value::Null),
        with("", "ui", json!("none")),
        with("/rules/0", "id", json!("")),
        with("/rules/0", "kind", json!("compare")),
        with("/rules/0", "into", json!("total")),
        with("/rules/3", "hit", json!("any")),
        with("/rules/3", "aggregate", json!("mean")),
        with("/workflow", "initial", Value::Null),
        with("/workflow/states/review", "final", json!("yes")),
        with("/workflow/transitions/0", "approvals", json!({"need": 2})),
        with("/workflow/transitions/0", "from", json!(1)),
        with("/workflow/transitions/1", "reason", json!("needed")),
        with("/attachments", "max_count", json!(101)),
    ] {
        assert!(fits(&document, "FormDefinition", &refused).is_err(), "described as welcome: {refused}");
        assert_eq!(problems(&refused).await[0]["severity"], "error", "{refused}");
    }
}

/// The checker names the members that there are when it meets another one.
#[tokio::test]
async fn every_member_that_a_definition_may_have_is_described_and_no_other() {
    let server = Server::start().await;
    let (admin, document) = (admin("acme"), document(&server).await);
    for (pointer, schema) in [
        ("", "FormDefinition"),
        ("/rules/1", "ConstraintRule"),
        ("/rules/0", "ComputeRule"),
        ("/rules/2", "DecisionRule"),
        ("/rules/3", "TableRule"),
        ("/workflow", "Workflow"),
        ("/workflow/states/review", "WorkflowState"),
        ("/workflow/auto/0", "AutomaticTransition"),
        ("/workflow/transitions/0", "WorkflowTransition"),
        ("/attachments", "AttachmentRules"),
    ] {
        let definition = with(pointer, "zzzzzzzz", json!(1));
        let saved = server.send(&admin, Method::PUT, "/v1/forms/f", &definition).await.expect(200).json();
        let at = format!("{pointer}/zzzzzzzz");
        let problems = saved["problems"].as_array().expect("a list");
        let problem = problems.iter().find(|problem| problem["pointer"] == at.as_str());
        let message = problem.and_then(|problem| problem["message"].as_str()).expect("a problem there");
        let (_, names) = message.split_once("has `").unwrap_or_else(|| panic!("{message}"));
        let told: BTreeSet<String> =
            format!("`{names}").split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let described = document["components"]["schemas"][schema]["properties"].as_object().expect(schema);
        let common: &[&str] = if schema.ends_with("Rule") { &["id", "kind", "description"] } else { &[] };
        let described = described.keys().filter(|name| !common.contains(&name.as_str())).cloned().collect();
        assert_eq!(told, described, "{schema}");
    }
    for (member, _) in
        document["components"]["schemas"]["FormDefinition"]["properties"].as_object().expect("members")
    {
        assert!(PAGE.contains(&format!("\n| `{member}` | ")), "docs/forms.md: a row for `{member}`");
    }
}

/// In an order in which each is accepted: the submission of the first ones is withdrawn and its form retired at the end.
#[tokio::test]
async fn every_body_is_described_with_an_example_that_is_taken() {
    let server = Server::start().await;
    let ada = token("acme", "ada", &["admin", "submitter", "operator", "reviewer"]);
    let rita = token("acme", "rita", &["reviewer"]);
    let document = document(&server).await;
    let mut examples = BTreeMap::new();
    for (method, path, operation) in operations(&document) {
        for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            if media_type == "application/octet-stream" {
                continue;
            }
            let id = operation["operationId"].as_str().expect("an id").to_owned();
            let example = content["example"].clone();
            assert!(!example.is_null(), "{method} {path}: give an example in api/src/openapi/examples.rs");
            if let Some(place) = content["schema"]["$ref"].as_str() {
                let name = place.rsplit('/').next().expect("a name");
                assert_eq!(fits(&document, name, &example), Ok(()), "{method} {path}");
            }
            examples.insert(id, (method.clone(), path.clone(), media_type.clone(), example));
        }
    }
    let sent = Mutex::new(BTreeSet::new());
    let send = async |who: &str, id: &str, submission: &str, status: u16| {
        sent.lock().expect("not poisoned").insert(id.to_owned());
        let (method, path, media_type, example) = examples.get(id).unwrap_or_else(|| panic!("{id}")).clone();
        let path = path.replace("{form}", "claim").replace("{id}", submission);
        let path = path.replace("{name}", "reject").replace("{sha256}", &"0".repeat(64));
        let authorization = bearer(who);
        let headers = [("authorization", &*authorization), ("content-type", &*media_type)];
        server.call(method, &path, &headers, &example.to_string()).await.expect(status)
    };
    let saved = send(&ada, "saveFormDraft", "", 200).await.json();
    assert_eq!(saved["problems"], json!([]));
    server.send(&ada, Method::POST, "/v1/forms/claim/publish", &Value::Null).await.expect(201);
    let submit = async || send(&ada, "createSubmission", "", 201).await.json()["submission_id"].clone();
    let (first, second) = (submit().await, submit().await);
    let (first, second) = (first.as_str().expect("an id"), second.as_str().expect("an id"));
    for (id, status) in [
        ("updateSubmission", 200),
        ("addComment", 200),
        ("assignTask", 200),
        ("delegateTask", 200),
        // Nothing is attached.
        ("detachFile", 404),
        ("takeTransition", 200),
    ] {
        send(if id == "takeTransition" { &rita } else { &ada }, id, first, status).await;
    }
    send(&ada, "withdrawSubmission", second, 200).await;
    for (id, status) in [
        ("importSubmissions", 200),
        ("transitionSubmissions", 200),
        ("createReplay", 201),
        ("createApiKey", 201),
        ("configureAudit", 200),
        ("createTenant", 201),
        ("retireForm", 200),
    ] {
        let answer = send(&ada, id, "", status).await;
        if id == "importSubmissions" {
            assert_eq!(answer.json()["status"], 201, "{}", answer.text());
        }
    }
    let described: BTreeSet<String> = examples.keys().cloned().collect();
    assert_eq!(*sent.lock().expect("not poisoned"), described, "each is sent");
}

/// Whether a value is what the document says of a body.
fn fits_body(document: &Value, method: &str, path: &str, value: &Value) -> bool {
    let content = &document["paths"][path][method]["requestBody"]["content"]["application/json"];
    let mut whole = content["schema"].clone();
    whole["components"] = document["components"].clone();
    jsonschema::draft202012::new(&whole).expect("the document holds JSON Schemas").is_valid(value)
}

#[tokio::test]
async fn a_draft_that_is_taken_half_done_is_described_as_welcome() {
    let server = Server::start().await;
    let (admin, document) = (admin("acme"), document(&server).await);
    for half in [
        json!({}),
        json!({"title": "Only a title"}),
        json!({"title": 7, "rules": [{}], "more": null}),
        of_the_page(),
        json!([]),
        json!("none"),
    ] {
        let status = server.send(&admin, Method::PUT, "/v1/forms/half", &half).await.status.as_u16();
        let described = fits_body(&document, "put", "/v1/forms/{form}", &half);
        assert_eq!(described, status == 200, "{half}: {status}");
    }
    let definition = &document["components"]["schemas"]["FormDefinition"];
    for free in ["schema", "ui"] {
        // Without it, some generators make types of it that nothing fits.
        assert!(definition["properties"][free].get("additionalProperties").is_some(), "{free}");
    }
}

#[tokio::test]
async fn members_that_may_be_null_are_taken_when_they_are() {
    let server = Server::start().await;
    let (admin, document) = (admin("acme"), document(&server).await);
    server.publish(&admin, "expense").await;
    let line = json!({"form": "expense", "data": {"amount": 5}, "idempotency_key": null});
    assert_eq!(fits(&document, "ImportLine", &line), Ok(()));
    let authorization = bearer(&admin);
    let headers = [("authorization", &*authorization), ("content-type", "application/x-ndjson")];
    let answer = server.call(Method::POST, "/v1/submissions:import", &headers, &line.to_string()).await;
    assert_eq!(answer.json()["status"], 201, "{}", answer.text());
    let replay = json!({"kind": "feed", "from": null, "to": null, "speed": null, "projection": null, "form": null,
                        "rules": null});
    assert_eq!(fits(&document, "NewReplay", &replay), Ok(()));
    server.send(&admin, Method::POST, "/v1/replays", &replay).await.expect(201);
}

#[tokio::test]
async fn the_result_of_a_line_is_described_as_a_submission_or_a_problem() {
    let server = Server::start().await;
    let (admin, document) = (admin("acme"), document(&server).await);
    server.publish(&admin, "expense").await;
    let lines = [
        json!({"form": "expense", "data": {"amount": 5}}),
        json!({"form": "expense", "data": {"amount": -5}}),
        json!({"form": "nothing", "data": {}}),
        json!([]),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let authorization = bearer(&admin);
    let headers = [("authorization", &*authorization), ("content-type", "application/x-ndjson")];
    let answer = server.call(Method::POST, "/v1/submissions:import", &headers, &lines).await.expect(200);
    let results: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [201, 422, 404, 400]);
    for result in &results {
        assert_eq!(fits(&document, "LineResult", result), Ok(()), "{result}");
    }
    let rows = server.get(&admin, "/v1/exports/submissions.ndjson?min_position=4").await.expect(200).text();
    let row: Value = serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
    assert_eq!(fits(&document, "Submission", &row), Ok(()), "{row}");
}
