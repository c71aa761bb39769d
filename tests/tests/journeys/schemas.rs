//! Schemas as others write them: every draft, references, alternatives, formats; and schemas written to do harm.

use std::time::{Duration, Instant};

use formledger_tests::Stage;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// No text of a submission may keep a core busy for longer.
const VALIDATION_MAX: Duration = Duration::from_secs(5);

/// A schema, data it accepts, data it refuses, and where an error must point.
struct Case {
    name: &'static str,
    schema: Value,
    good: Value,
    bad: Value,
    pointer: &'static str,
}

fn case(name: &'static str, schema: Value, good: Value, bad: Value, pointer: &'static str) -> Case {
    Case { name, schema, good, bad, pointer }
}

fn draft_4(mut schema: Value) -> Value {
    schema["$schema"] = json!("http://json-schema.org/draft-04/schema#");
    schema
}

fn old_drafts() -> Vec<Case> {
    let exclusive =
        json!({ "type": "object", "properties": { "n": { "minimum": 0, "exclusiveMinimum": true } } });
    let defined = json!({ "type": "object",
        "definitions": { "ssn": { "type": "string", "pattern": "^[0-9]{9}$" } },
        "properties": { "ssn": { "$ref": "#/definitions/ssn" } } });
    let tuple = json!({ "type": "object", "properties": { "pair": {
        "type": "array", "items": [{ "type": "string" }, { "type": "integer" }], "additionalItems": false } } });
    let depends = json!({ "type": "object", "dependencies": { "card": ["number"] } });
    let mut draft_6 = json!({ "type": "object", "properties": { "n": { "exclusiveMinimum": 0 } } });
    draft_6["$schema"] = json!("http://json-schema.org/draft-06/schema#");
    let mut draft_7 = json!({ "type": "object", "properties": { "kind": {}, "reason": { "type": "string" } },
        "if": { "properties": { "kind": { "const": "other" } }, "required": ["kind"] }, "then": { "required": ["reason"] } });
    draft_7["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    vec![
        case("draft4-exclusive", draft_4(exclusive), json!({ "n": 0.1 }), json!({ "n": 0 }), "/n"),
        case(
            "draft4-ref",
            draft_4(defined),
            json!({ "ssn": "123456789" }),
            json!({ "ssn": "12345678" }),
            "/ssn",
        ),
        case(
            "draft4-tuple",
            draft_4(tuple),
            json!({ "pair": ["a", 1] }),
            json!({ "pair": ["a", "b"] }),
            "/pair/1",
        ),
        case(
            "draft4-depends",
            draft_4(depends),
            json!({ "card": 1, "number": 2 }),
            json!({ "card": 1 }),
            "/number",
        ),
        case("draft6-exclusive", draft_6, json!({ "n": 0.1 }), json!({ "n": 0 }), "/n"),
        case("draft7-if", draft_7, json!({ "kind": "a" }), json!({ "kind": "other" }), "/reason"),
    ]
}

fn new_drafts() -> Vec<Case> {
    let object = |members: Value| {
        let mut schema =
            json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object" });
        schema.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        schema
    };
    let recursive = object(json!({ "$defs": { "node": { "type": "object", "properties": {
        "name": { "type": "string" }, "children": { "type": "array", "items": { "$ref": "#/$defs/node" } } },
        "required": ["name"] } }, "properties": { "tree": { "$ref": "#/$defs/node" } } }));
    let choice = object(json!({ "properties": { "contact": { "oneOf": [
        { "type": "object", "properties": { "mail": { "type": "string" } }, "required": ["mail"] },
        { "type": "object", "properties": { "phone": { "type": "string" } }, "required": ["phone"] } ] } } }));
    let prefix = object(
        json!({ "properties": { "pair": { "prefixItems": [{ "type": "string" }, { "type": "integer" }] } } }),
    );
    let closed = object(json!({ "properties": { "a": {} }, "additionalProperties": false }));
    let odd_name = object(json!({ "properties": { "a/b~c": { "type": "integer" } } }));
    let date = object(json!({ "properties": { "born": { "type": "string", "format": "date" } } }));
    vec![
        case(
            "recursive",
            recursive,
            json!({ "tree": { "name": "a", "children": [{ "name": "b" }] } }),
            json!({ "tree": { "name": "a", "children": [{ "name": "b", "children": [{}] }] } }),
            "/tree/children/0/children/0/name",
        ),
        case("choice", choice, json!({ "contact": { "mail": "x" } }), json!({ "contact": {} }), "/contact"),
        case("prefix", prefix, json!({ "pair": ["a", 1, true] }), json!({ "pair": [1, 1] }), "/pair/0"),
        case("closed", closed, json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), "/b"),
        case("odd-name", odd_name, json!({ "a/b~c": 1 }), json!({ "a/b~c": "x" }), "/a~1b~0c"),
        case("date", date, json!({ "born": "2000-02-29" }), json!({ "born": "2001-02-29" }), "/born"),
    ]
}

#[tokio::test]
async fn every_draft_says_the_same_as_its_specification() {
    let stage = Stage::set().await;
    for case in old_drafts().into_iter().chain(new_drafts()) {
        stage.admin.publish(case.name, &json!({ "title": case.name, "schema": case.schema })).await;
        stage.admin.submit(case.name, &case.good).await.expect(201);
        let refused =
            stage.admin.submit(case.name, &case.bad).await.expect_problem(422, "submission-invalid");
        let errors = refused["errors"].as_array().expect("errors");
        let pointed = errors.iter().any(|error| error["pointer"] == case.pointer);
        assert!(pointed, "{}: no error at {}: {refused}", case.name, case.pointer);
    }
}

#[tokio::test]
async fn a_reference_to_elsewhere_is_a_problem_and_never_fetched() {
    let stage = Stage::set().await;
    let trap = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let elsewhere = format!("http://{}/schema.json", trap.local_addr().expect("it is bound"));
    for (n, reference) in
        [elsewhere.as_str(), "file:///etc/passwd", "other.json", "#/definitions/missing"].iter().enumerate()
    {
        let definition = json!({ "title": "Elsewhere", "schema": { "type": "object",
            "properties": { "a": { "$ref": reference } } } });
        let form = format!("elsewhere-{n}");
        stage.admin.put(&format!("/v1/forms/{form}"), &definition).await.expect(200);
        let refused =
            stage.admin.post(&format!("/v1/forms/{form}/publish")).await.expect_problem(422, "form-invalid");
        let pointer = refused["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert!(pointer.starts_with("/schema/properties/a"), "{reference}: {refused}");
    }
    let called = futures_util::FutureExt::now_or_never(trap.accept());
    assert!(called.is_none(), "the server followed a reference that a form named");
}

#[tokio::test]
async fn a_pattern_that_backtracks_keeps_nobody_waiting() {
    let stage = Stage::set().await;
    for (form, pattern) in [("nested", "^(a+)+$"), ("alternatives", "^(a|a)*$"), ("look", "^(?=(a+)+$).*$")] {
        let definition = json!({ "title": "Slow", "schema": { "type": "object",
            "properties": { "text": { "type": "string", "pattern": pattern } } } });
        stage.admin.put(&format!("/v1/forms/{form}"), &definition).await.expect(200);
        let published = stage.admin.post(&format!("/v1/forms/{form}/publish")).await;
        if published.status == 422 {
            // Refusing such a pattern up front keeps nobody waiting either.
            continue;
        }
        published.expect(201);
        let began = Instant::now();
        let answer = stage.admin.submit(form, &json!({ "text": format!("{}!", "a".repeat(50_000)) })).await;
        assert_eq!(answer.status, 422, "{pattern}: {}", answer.text());
        assert!(began.elapsed() < VALIDATION_MAX, "`{pattern}` took {:?}", began.elapsed());
    }
}
