//! The OpenAPI document against the running routes.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, admin, bearer, token};

/// Paths that take no credential. This list may only shrink.
const OPEN: [&str; 5] = ["/", "/healthz", "/metrics", "/openapi.json", "/readyz"];

#[tokio::test]
async fn every_documented_operation_exists_and_asks_for_a_credential() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert_eq!(document["servers"][0]["url"], "/");
    let tags: Vec<&Value> =
        document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let open = OPEN.contains(&path.as_str());
            let answer = server.call(method.clone(), path, &[], "").await;
            let expected = if open { 200 } else { 401 };
            assert_eq!(answer.status.as_u16(), expected, "{method} {path}: {}", answer.text());
            let credentials = operation["security"].as_array().expect("says what it asks for").len();
            assert_eq!(credentials == 0, open, "{method} {path} documents its credential");
            assert!(tags.contains(&&operation["tags"][0]), "{method} {path} has a tag that is described");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            operations += 1;
        }
    }
    assert!(operations >= 24, "{operations}");
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_status() {
    let server = Server::start().await;
    server.call(Method::GET, "/v1/forms/some-form", &[], "").await.expect(401);
    let text = server.call(Method::GET, "/metrics", &[], "").await.expect(200).text();
    let line = r#"formledger_http_requests_total{method="GET",route="/v1/forms/{form}",status="401"}"#;
    assert!(text.contains(line), "{text}");
    for name in [
        "formledger_http_request_seconds_bucket",
        "formledger_http_connections",
        "process_resident_memory_bytes",
        // Also before anything was appended or refused: a series that begins with the first shows no increase.
        "formledger_appended_events_total ",
        "formledger_append_queue_depth ",
        "formledger_append_rejections_total{reason=\"conflict\"} ",
    ] {
        assert!(text.contains(name), "{name}");
    }
}

#[tokio::test]
async fn every_metric_says_what_it_means() {
    let server = Server::start().await;
    let text = server.call(Method::GET, "/metrics", &[], "").await.expect(200).text();
    let names = |what: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(
        names("# TYPE ").difference(&names("# HELP ")).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "give each a line in api/src/metrics/descriptions.rs"
    );
}

#[tokio::test]
async fn readiness_says_how_far_the_read_models_are() {
    let server = Server::start().await;
    let ready: Value = server.call(Method::GET, "/readyz", &[], "").await.expect(200).json();
    assert_eq!(ready["lag_events"], 0);
}

/// Whether a value is what the document says of a schema by its name.
///
/// # Errors
/// What is wrong with it.
pub fn fits(document: &Value, schema: &str, value: &Value) -> Result<(), String> {
    let mut whole = document.clone();
    whole["$ref"] = json!(format!("#/components/schemas/{schema}"));
    let validator = jsonschema::draft202012::new(&whole).expect("the document holds JSON Schemas");
    validator.validate(value).map_err(|error| format!("{}: {error}", error.instance_path()))
}

/// The members that a documented object must have and may have.
fn members(document: &Value, name: &str) -> (Vec<String>, Vec<String>) {
    let schema = &document["components"]["schemas"][name];
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let known = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    (required.map(str::to_owned).collect(), known.collect())
}

/// A submission with a file and a signature, and its files.
async fn a_signed_one_with_a_file(server: &Server, admin: &str) -> (Value, Value) {
    let definition = json!({
        "title": "Signed", "schema": {"type": "object"}, "attachments": {"types": ["text/plain"]},
        "workflow": {
            "initial": "review", "states": {"review": {"attach": true}, "done": {"final": true}},
            "transitions": [{"name": "sign", "from": "review", "to": "done", "roles": ["admin"],
                             "signature": {"meaning": "seen", "max_age": "PT1H"}}]
        }
    });
    server.send(admin, Method::PUT, "/v1/forms/signed", &definition).await.expect(200);
    server.send(admin, Method::POST, "/v1/forms/signed/publish", &Value::Null).await.expect(201);
    let made = server.send(admin, Method::POST, "/v1/forms/signed/submissions", &json!({"data": {}})).await;
    let path = made.expect(201).header("location").to_owned();
    let authorization = bearer(admin);
    let headers = [("authorization", &*authorization), ("content-type", "text/plain")];
    server.call(Method::POST, &format!("{path}/attachments?name=a.txt"), &headers, "a").await.expect(201);
    let body = json!({"signature": {"name": "Ada", "meaning": "seen"}});
    let signed =
        server.send(admin, Method::POST, &format!("{path}/transitions/sign"), &body).await.expect(200);
    let at = format!("min_position={}", signed.json()["position"]);
    let files = server.get(admin, &format!("{path}/attachments?{at}")).await.expect(200).json();
    (server.get(admin, &format!("{path}?{at}")).await.expect(200).json(), files)
}

#[tokio::test]
async fn answers_have_the_documented_members_and_no_others() {
    let server = Server::start().await;
    let admin = admin("acme");
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    server.publish(&admin, "expense").await;
    let recorded = server.submit(&admin, "expense", 1.0).await.expect(201);
    let (path, position) = (recorded.header("location").to_owned(), recorded.json()["position"].clone());
    let get = async |path: &str| {
        server.get(&admin, &format!("{path}?min_position={position}")).await.expect(200).json()
    };
    let (with_record, files) = a_signed_one_with_a_file(&server, &admin).await;
    let events = get("/v1/events").await;
    let list = get("/v1/submissions").await;
    let forms = get("/v1/forms").await;
    let timeline = get(&format!("{path}/timeline")).await;
    for (name, answer) in [
        ("SubmissionRecorded", &recorded.json()),
        ("Submission", &get(&path).await),
        ("SubmissionWithRecord", &with_record),
        ("AttachedFile", &with_record["attachments"][0]),
        ("GivenSignature", &with_record["signatures"][0]),
        ("AttachmentList", &files),
        ("SubmissionPage", &list),
        ("Timeline", &timeline),
        ("TimelineEntry", &timeline["items"][0]),
        ("EventPage", &events),
        ("Event", &events["events"][0]),
        ("FormList", &forms),
        ("FormSummary", &forms["items"][0]),
        ("FormVersion", &get("/v1/forms/expense/versions/1").await),
        ("Ledger", &get("/v1/ledger").await),
        ("Counts", &get("/v1/stats").await),
    ] {
        let (required, known) = members(&document, name);
        let given: Vec<String> = answer.as_object().expect("an object").keys().cloned().collect();
        assert!(!known.is_empty(), "{name} is not documented");
        assert!(
            required.iter().all(|member| given.contains(member)),
            "{name} lacks one of {required:?}: {answer}"
        );
        assert!(
            given.iter().all(|member| known.contains(member)),
            "{name} documents {known:?} only: {answer}"
        );
        assert_eq!(fits(&document, name, answer), Ok(()), "{name}: {answer}");
    }
}

/// Every operation of the document: its method, its path, and what is said of it.
pub fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            let method = method.to_uppercase().parse().expect("a method");
            all.push((method, path.clone(), operation.clone()));
        }
    }
    all
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let operations = operations(&document);
    let ids: BTreeSet<&str> = operations
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.len(), operations.len(), "{ids:?}");
    let expected: BTreeSet<&str> = OPERATION_IDS.into_iter().collect();
    assert_eq!(ids, expected, "clients are generated with these names: add to them, and change none");
}

/// The ids of all operations, which generated clients have for names. This list may only grow.
const OPERATION_IDS: [&str; 53] = [
    "addComment",
    "assignTask",
    "attachFile",
    "cancelReplay",
    "claimTask",
    "configureAudit",
    "createApiKey",
    "createReplay",
    "createSubmission",
    "createTenant",
    "delegateTask",
    "detachFile",
    "exportSubmissionsAsCsv",
    "exportSubmissionsAsNdjson",
    "followEvents",
    "followReplay",
    "getAttachment",
    "getAuditSettings",
    "getDescription",
    "getDiff",
    "getForm",
    "getFormVersion",
    "getHealth",
    "getIndex",
    "getLedger",
    "getMetrics",
    "getReadiness",
    "getReplay",
    "getStatistics",
    "getSubmission",
    "getSubmissionDiff",
    "getTimeline",
    "importSubmissions",
    "listApiKeys",
    "listAttachments",
    "listAuditEntries",
    "listEvents",
    "listForms",
    "listReplays",
    "listSubmissions",
    "listTasks",
    "pauseReplay",
    "publishForm",
    "releaseTask",
    "resumeReplay",
    "retireForm",
    "revokeApiKey",
    "saveFormDraft",
    "submitDraft",
    "takeTransition",
    "transitionSubmissions",
    "updateSubmission",
    "withdrawSubmission",
];

/// The names of an operation's parameters in the query string.
fn query_parameters(operation: &Value) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let in_query = parameters.filter(|parameter| parameter["in"] == "query");
    in_query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
}

/// Those that a refusal says there are, where it says that there is no parameter `name`.
fn told_parameters(problem: &str, name: &str) -> Option<BTreeSet<String>> {
    let (_, known) = problem.split_once(&format!("there is no parameter `{name}` here; "))?;
    let known = known.split('"').next().unwrap_or_default();
    Some(known.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Asks every route for every parameter that any of them documents, and for one that none does.
#[tokio::test]
async fn every_operation_takes_the_parameters_that_it_documents_and_no_others() {
    let server = Server::start().await;
    let admin = token("acme", "ada", &["admin", "operator"]);
    server.publish(&admin, "expense").await;
    let made = server.submit(&admin, "expense", 1.0).await.expect(201).json();
    let replay = json!({"kind": "feed", "speed": "max"});
    let replay = server.send(&admin, Method::POST, "/v1/replays", &replay).await.expect(201).json();
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let operations: Vec<_> = operations(&document)
        .into_iter()
        .filter(|(_, path, _)| path.starts_with("/v1/"))
        .map(|(method, path, operation)| {
            let kind =
                if path.starts_with("/v1/replays") { &replay["replay_id"] } else { &made["submission_id"] };
            let at = path.replace("{form}", "expense").replace("{version}", "1").replace("{name}", "approve");
            let at = at.replace("{id}", kind.as_str().expect("an id")).replace("{sha256}", &"0".repeat(64));
            (method, path, at, operation)
        })
        .collect();
    let mut names: BTreeSet<String> =
        operations.iter().flat_map(|(_, _, _, operation)| query_parameters(operation)).collect();
    names.insert("dry_run".to_owned());
    let authorization = bearer(&admin);
    for (method, path, at, operation) in &operations {
        let documented = query_parameters(operation);
        let content_type =
            operation["requestBody"]["content"].as_object().and_then(|types| types.keys().next());
        let content_type =
            content_type.filter(|given| *given != "*/*").map_or("application/json", |given| given);
        let headers = [("authorization", &*authorization), ("content-type", content_type)];
        for name in &names {
            // What nobody can do without is said as well.
            let since =
                if path.ends_with("/diff") && !name.starts_with("from_") { "&from_position=1" } else { "" };
            let at = format!("{at}?{name}={since}");
            let answer = server.open(method.clone(), &at, &headers, "").await;
            let is_refused = answer.status() == 400 && {
                let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a whole body");
                let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
                let told = told_parameters(&text, name);
                assert!(told.as_ref().is_none_or(|told| *told == documented), "{method} {path}: {text}");
                told.is_some()
            };
            assert_eq!(
                !is_refused,
                documented.contains(name),
                "{method} {path} {} `{name}`",
                if is_refused { "documents and does not take" } else { "takes and does not document" }
            );
        }
    }
}

#[tokio::test]
async fn every_answer_with_a_body_says_what_the_body_is() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    for (method, path, operation) in operations(&document) {
        for (status, answer) in operation["responses"].as_object().expect("responses") {
            let has_body = !["204", "304"].contains(&status.as_str());
            let described = answer["content"].as_object().is_some_and(|content| !content.is_empty());
            assert_eq!(described, has_body, "{method} {path} {status}");
        }
    }
}

/// Whoever is answered 304 or 412 because of a header field can read of that field.
#[tokio::test]
async fn preconditions_are_described_where_they_are_obeyed() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    for (method, path, operation) in operations(&document) {
        let fields: Vec<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "header")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        let is_query = method == Method::GET;
        let compares =
            if is_query { operation["responses"]["304"].is_object() } else { fields.contains(&"If-Match") };
        assert_eq!(fields.contains(&"If-None-Match"), compares, "{method} {path}: {fields:?}");
    }
}

#[tokio::test]
async fn files_are_described_as_bytes_in_both_directions() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let files = &document["paths"]["/v1/submissions/{id}/attachments"]["post"]["requestBody"]["content"];
    let file =
        &document["paths"]["/v1/submissions/{id}/attachments/{sha256}"]["get"]["responses"]["200"]["content"];
    for (content, media_type) in [(files, "application/octet-stream"), (file, "*/*")] {
        let types: Vec<_> = content.as_object().expect("media types").keys().collect();
        assert_eq!(types, [media_type]);
    }
    assert_eq!(file["*/*"]["schema"]["$ref"], "#/components/schemas/Bytes");
    // In its place, and not by name: that is where generators look for bytes.
    for bytes in [&files["application/octet-stream"]["schema"], &document["components"]["schemas"]["Bytes"]] {
        assert_eq!((&bytes["type"], &bytes["format"]), (&json!("string"), &json!("binary")), "{bytes}");
    }
}

/// Header fields of answers that the document tells of.
const TOLD: [&str; 7] = [
    "content-disposition",
    "etag",
    "ledger-position",
    "location",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];

#[tokio::test]
async fn answers_have_the_documented_header_fields_and_no_others_of_those() {
    let server = Server::start_with(|settings| settings.limits.feeds_per_tenant_max = 0).await;
    let admin = token("acme", "ada", &["admin", "operator"]);
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    server.publish(&admin, "expense").await;
    let made = server.submit(&admin, "expense", 1.0).await.expect(201).json();
    let id = made["submission_id"].as_str().expect("an id");
    let replay = json!({"kind": "feed", "speed": "max"});
    let replay = server.send(&admin, Method::POST, "/v1/replays", &replay).await.expect(201).json();
    let replay = replay["replay_id"].as_str().expect("an id");
    let definition = json!({"title": "Expense", "schema": {"type": "object"}});
    let (nothing, key) = (json!({}), json!({"name": "k", "roles": ["auditor"]}));
    let audit = json!({"refusals": false, "reads": false, "exports": false});
    let line = json!({"form": "expense", "data": {}});
    let feed = json!({"kind": "feed", "speed": "max"});
    for (method, path, body, status) in [
        ("put", "/v1/forms/{form}", &definition, 200),
        ("post", "/v1/forms/{form}/publish", &nothing, 201),
        ("post", "/v1/forms/{form}/publish", &nothing, 409),
        ("post", "/v1/forms/{form}/submissions", &json!({"data": {}}), 201),
        ("post", "/v1/submissions/{id}/comments", &json!({"text": "a word"}), 200),
        ("post", "/v1/submissions:import", &line, 200),
        ("post", "/v1/api-keys", &key, 201),
        ("put", "/v1/audit", &audit, 200),
        ("post", "/v1/tenants", &json!({"tenant": "globex"}), 201),
        ("post", "/v1/replays", &feed, 201),
        ("post", "/v1/replays/{id}/cancel", &nothing, 409),
        ("get", "/v1/forms", &Value::Null, 200),
        ("get", "/v1/forms/{form}", &Value::Null, 200),
        ("get", "/v1/forms/{form}/versions/{version}", &Value::Null, 200),
        ("get", "/v1/submissions", &Value::Null, 200),
        ("get", "/v1/submissions/{id}", &Value::Null, 200),
        ("get", "/v1/submissions/{id}/timeline", &Value::Null, 200),
        ("get", "/v1/tasks", &Value::Null, 200),
        ("get", "/v1/stats", &Value::Null, 200),
        ("get", "/v1/events", &Value::Null, 200),
        ("get", "/v1/ledger", &Value::Null, 200),
        ("get", "/v1/replays", &Value::Null, 200),
        ("get", "/v1/replays/{id}", &Value::Null, 200),
        ("get", "/v1/exports/submissions.csv", &Value::Null, 200),
        ("get", "/v1/audit", &Value::Null, 200),
        ("get", "/v1/feed", &Value::Null, 429),
        ("get", "/healthz", &Value::Null, 200),
    ] {
        let of_replay = path.starts_with("/v1/replays");
        let at = path.replace("{form}", "expense").replace("{version}", "1");
        let at = at.replace("{id}", if of_replay { replay } else { id });
        if path.ends_with("/cancel") {
            while server.get(&admin, &format!("/v1/replays/{replay}")).await.json()["status"] != "done" {}
        }
        let authorization = bearer(&admin);
        let content_type =
            if path.ends_with(":import") { "application/x-ndjson" } else { "application/json" };
        let headers = [("authorization", &*authorization), ("content-type", content_type)];
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer =
            server.call(method.to_uppercase().parse().expect("a method"), &at, &headers, &text).await;
        let answer = answer.expect(status);
        let described = &document["paths"][path][method]["responses"][status.to_string()];
        let told =
            described["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_lowercase());
        let given = TOLD.into_iter().filter(|name| answer.headers.contains_key(*name)).map(str::to_owned);
        let what = format!("{method} {path} {status}");
        assert_eq!(told.collect::<BTreeSet<_>>(), given.collect::<BTreeSet<_>>(), "{what}");
        if status >= 400 {
            assert!(described["content"]["application/problem+json"]["schema"].is_object(), "{what}");
        }
    }
}

#[tokio::test]
async fn bodies_are_described_as_they_are_read() {
    let server = Server::start().await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let schemas = &document["components"]["schemas"];
    for (name, member) in [("Comment", "text"), ("Assignment", "to"), ("Delegation", "to")] {
        assert_eq!(schemas[name]["required"], json!([member]), "{name}");
        assert!(schemas[name]["properties"][member].get("default").is_none(), "{name}");
    }
    for (method, path, operation) in operations(&document) {
        for (_, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let name = content["schema"]["$ref"].as_str().and_then(|place| place.rsplit('/').next());
            let Some(name) = name.filter(|name| *name != "Bytes") else { continue };
            // What is not known is refused, or a problem of a definition, so it is not described as welcome.
            assert_eq!(schemas[name]["additionalProperties"], false, "{method} {path}: {name}");
            let may_be_missing = ["Transition", "Withdrawal", "Detachment", "Retirement"].contains(&name);
            assert_eq!(operation["requestBody"]["required"] != true, may_be_missing, "{method} {path}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["name"] == "limit" {
                assert_eq!(parameter["schema"]["minimum"], 1, "{path}");
                // Lines of events have no maximum.
                assert_eq!(parameter["schema"]["maximum"].is_u64(), path != "/v1/events", "{path}");
            }
        }
    }
}

/// A position has one spelling, in the query string and in the header field.
#[tokio::test]
async fn a_position_in_a_header_field_is_described_as_it_is_read() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let parameters = document["paths"]["/v1/forms"]["get"]["parameters"].as_array().expect("parameters");
    let field = parameters.iter().find(|parameter| parameter["name"] == "Ledger-Min-Position");
    let pattern = jsonschema::validator_for(&field.expect("the field")["schema"]).expect("a schema");
    let authorization = bearer(&admin);
    for text in ["0", "1", "3", "", "01", "+1", "-1", "1.0", "x", "0x1", "1e0"] {
        let headers = [("authorization", &*authorization), ("ledger-min-position", text)];
        let status = server.call(Method::GET, "/v1/forms", &headers, "").await.status;
        assert_eq!(status == 200, pattern.is_valid(&json!(text)), "`{text}`: {status}");
    }
}
