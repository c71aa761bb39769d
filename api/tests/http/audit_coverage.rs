//! Walks every command and every refusal that it documents, as somebody known, and finds each in the ledger: who, what and why, without what
//! they sent. A command that the description gains is missing here until somebody adds its refusals.

mod attempt;

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::audit::{configure, entries};
use crate::support::{Server, admin, bearer, token};
use attempt::{Attempt, try_to};

/// Stands in what people send, and may not stand in what is recorded of it.
const SENT: &str = "classified";
const PDF: &str = "%PDF-1.7 first";
const NEVER: &str = "01a2044c-820f-767f-8936-209666b7162d";
/// Documented refusals that are not walked, each with its reason. This list may only shrink.
const NOT_WALKED: [(&str, u16, &str); 6] = [
    // It takes a thousand keys; the decision is tested where it is made.
    ("POST /v1/api-keys", 409, "too-many-api-keys"),
    // They take a body of more than a gibibyte.
    ("POST /v1/submissions:import", 413, "body-too-large"),
    ("POST /v1/submissions:transition", 413, "body-too-large"),
    // A replay is no stream and has no sequence that `If-Match` could name.
    ("POST /v1/replays/{id}/pause", 412, "precondition-failed"),
    ("POST /v1/replays/{id}/resume", 412, "precondition-failed"),
    ("POST /v1/replays/{id}/cancel", 412, "precondition-failed"),
];

/// What there is to be refused about.
struct Scene {
    server: Server,
    /// Submissions by `sam`: under review (and delegated to `deputy` by two), claimed by `rev1`, closed, drafts of a good and of a retired form.
    open: String,
    claimed: String,
    closed: String,
    draft: String,
    draft_of_retired: String,
    /// One that has as many files as it may, one of a form that takes none.
    full: String,
    without_files: String,
    /// A replay that is over.
    replay: String,
}

fn definition() -> Value {
    json!({
        "title": "Claim",
        "attachments": {"types": ["application/pdf", "text/plain"], "max_bytes": 64, "max_count": 1},
        "schema": {"type": "object", "required": ["amount"], "properties": {
            "amount": {"type": "number", "minimum": 0}, "note": {"type": "string"}}},
        "workflow": {
            "initial": "review",
            "states": {"review": {"edit": ["/note"]}, "closed": {"final": true}, "paid": {"final": true}, "late": {}},
            "auto": [{"from": "review", "to": "late", "when": "amount > 1000.0"}],
            "transitions": [
                {"name": "approve", "from": "review", "to": "paid", "roles": ["reviewer"], "approvals": 2},
                {"name": "reject", "from": "review", "to": "closed", "roles": ["reviewer"], "reason": "required"},
                {"name": "pay", "from": "review", "to": "paid", "roles": ["reviewer"], "when": "amount > 100.0"},
                {"name": "sign", "from": "review", "to": "paid", "roles": ["reviewer"],
                 "signature": {"meaning": "I pay", "max_age": "PT5M"}},
                {"name": "close", "from": "review", "to": "closed", "roles": ["reviewer"]},
                {"name": "remind", "from": "late", "to": "review", "roles": ["reviewer"]}
            ]
        }
    })
}

impl Scene {
    async fn set() -> Self {
        let server = Server::start().await;
        let admin = admin("acme");
        let (sam, rev1) = (token("acme", "sam", &["submitter"]), token("acme", "rev1", &["reviewer"]));
        let send = async |token: &str, method: Method, path: &str, body: &Value| {
            let answer = server.send(token, method, path, body).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text());
            answer.json()
        };
        for form in ["claim", "old"] {
            send(&admin, Method::PUT, &format!("/v1/forms/{form}"), &definition()).await;
            send(&admin, Method::POST, &format!("/v1/forms/{form}/publish"), &Value::Null).await;
        }
        send(&admin, Method::PUT, "/v1/forms/unpublished", &definition()).await;
        send(&admin, Method::PUT, "/v1/forms/broken", &json!({"title": "Broken", "schema": {"type": 5}}))
            .await;
        let submit = async |form: &str, draft: bool| {
            let data = if draft { json!({}) } else { json!({"amount": 5}) };
            let body = json!({"data": data, "draft": draft});
            let made = send(&sam, Method::POST, &format!("/v1/forms/{form}/submissions"), &body).await;
            made["submission_id"].as_str().expect("an id").to_owned()
        };
        let (open, claimed, closed) =
            (submit("claim", false).await, submit("claim", false).await, submit("claim", false).await);
        let full = submit("claim", false).await;
        let mut plain = definition();
        plain.as_object_mut().expect("an object").remove("attachments");
        send(&admin, Method::PUT, "/v1/forms/plain", &plain).await;
        send(&admin, Method::POST, "/v1/forms/plain/publish", &Value::Null).await;
        let without_files = submit("plain", false).await;
        let authorization = bearer(&sam);
        let own = [("authorization", &*authorization), ("content-type", "application/pdf")];
        let path = format!("/v1/submissions/{full}/attachments?name=first.pdf");
        server.call(Method::POST, &path, &own, PDF).await.expect(201);
        let (draft, draft_of_retired) = (submit("claim", true).await, submit("old", true).await);
        for path in [
            format!("{claimed}/claim"),
            format!("{closed}/transitions/close"),
            format!("{open}/transitions/approve"),
        ] {
            send(&rev1, Method::POST, &format!("/v1/submissions/{path}"), &json!({})).await;
        }
        for owner in ["rev2", "rev3"] {
            let owner = token("acme", owner, &["reviewer"]);
            let path = format!("/v1/submissions/{open}/delegate");
            send(&owner, Method::POST, &path, &json!({"to": "deputy"})).await;
        }
        send(&admin, Method::POST, "/v1/forms/old/retire", &Value::Null).await;
        let body = json!({"kind": "feed", "speed": "max"});
        let replay = send(&admin, Method::POST, "/v1/replays", &body).await["replay_id"].clone();
        let replay = replay.as_str().expect("an id").to_owned();
        Self { server, open, claimed, closed, draft, draft_of_retired, full, without_files, replay }
    }

    async fn replay_is_over(&self) {
        let path = format!("/v1/replays/{}", self.replay);
        while self.server.get(&admin("acme"), &path).await.expect(200).json()["status"] != "done" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every command with every refusal.
    fn attempts(&self) -> Vec<Attempt> {
        let mut all = self.about_forms();
        all.extend(self.about_drafts_and_data());
        all.extend(self.about_workflow());
        all.extend(self.about_lines());
        all.extend(self.about_attachments());
        all.extend(self.about_signatures());
        all.extend(about_the_tenant());
        all.extend(self.about_replays());
        all
    }

    fn about_forms(&self) -> Vec<Attempt> {
        let mut all = Vec::new();
        let new = "POST /v1/forms/{form}/submissions";
        let data = json!({"data": {"amount": 1, "note": SENT}});
        all.push(try_to(new, &["claim"], "clerk", &data, 403, "not-permitted"));
        all.push(try_to(new, &["missing"], "submitter", &data, 404, "not-found"));
        all.push(try_to(new, &["old"], "submitter", &data, 409, "form-retired"));
        all.push(try_to(new, &["unpublished"], "submitter", &data, 409, "form-not-published"));
        all.push(try_to(
            new,
            &["claim"],
            "submitter",
            &json!({"data": {"note": SENT}}),
            422,
            "submission-invalid",
        ));
        all.push(try_to(new, &["claim"], "submitter", &data, 412, "precondition-failed"));
        let save = "PUT /v1/forms/{form}";
        all.push(try_to(save, &["claim"], "clerk", &json!({"title": SENT}), 403, "not-permitted"));
        all.push(try_to(save, &["claim"], "designer", &json!([SENT]), 422, "form-invalid"));
        all.push(try_to(save, &["claim"], "designer", &json!({"title": SENT}), 412, "precondition-failed"));
        let publish = "POST /v1/forms/{form}/publish";
        all.push(try_to(publish, &["claim"], "clerk", &Value::Null, 403, "not-permitted"));
        all.push(try_to(publish, &["missing"], "designer", &Value::Null, 404, "not-found"));
        all.push(try_to(publish, &["claim"], "designer", &Value::Null, 409, "nothing-to-publish"));
        all.push(try_to(publish, &["broken"], "designer", &Value::Null, 422, "form-invalid"));
        all.push(try_to(publish, &["claim"], "designer", &Value::Null, 412, "precondition-failed"));
        let retire = "POST /v1/forms/{form}/retire";
        all.push(try_to(retire, &["claim"], "clerk", &json!({"reason": SENT}), 403, "not-permitted"));
        all.push(try_to(retire, &["missing"], "designer", &Value::Null, 404, "not-found"));
        all.push(try_to(retire, &["old"], "designer", &Value::Null, 409, "form-retired"));
        all.push(try_to(retire, &["unpublished"], "designer", &Value::Null, 409, "form-not-published"));
        all.push(try_to(retire, &["claim"], "designer", &Value::Null, 412, "precondition-failed"));
        all
    }

    fn about_drafts_and_data(&self) -> Vec<Attempt> {
        let (open, closed) = (&self.open, &self.closed);
        let patch = "PATCH /v1/submissions/{id}";
        let note = json!({"note": SENT});
        let submit = "POST /v1/submissions/{id}/submit";
        vec![
            try_to(patch, &[open], "reviewer", &json!({"amount": 7}), 403, "not-permitted"),
            try_to(patch, &[NEVER], "reviewer", &note, 404, "not-found"),
            try_to(patch, &[closed], "reviewer", &note, 409, "not-in-state"),
            try_to(patch, &[open], "submitter", &json!({"note": [SENT]}), 422, "submission-invalid")
                .by("sam"),
            try_to(patch, &[open], "reviewer", &note, 412, "precondition-failed"),
            try_to(patch, &[open], "reviewer", &Value::Null, 415, "media-type-unsupported")
                .with_file("text/plain", SENT),
            try_to(submit, &[open], "clerk", &Value::Null, 403, "not-permitted"),
            try_to(submit, &[NEVER], "submitter", &Value::Null, 404, "not-found"),
            try_to(submit, &[open], "admin", &Value::Null, 409, "not-in-state"),
            try_to(submit, &[&self.draft_of_retired], "admin", &Value::Null, 409, "form-retired"),
            try_to(submit, &[&self.draft], "admin", &Value::Null, 422, "submission-invalid"),
            try_to(submit, &[&self.draft], "admin", &Value::Null, 412, "precondition-failed"),
        ]
    }

    fn about_workflow(&self) -> Vec<Attempt> {
        let (open, closed, claimed) = (&*self.open, &*self.closed, &*self.claimed);
        let take = "POST /v1/submissions/{id}/transitions/{name}";
        let why = json!({"reason": SENT});
        let mut all = vec![
            try_to(take, &[open, "approve"], "designer", &why, 403, "not-permitted"),
            try_to(take, &[NEVER, "approve"], "reviewer", &why, 404, "not-found"),
            try_to(take, &[open, SENT], "reviewer", &why, 404, "transition-unknown").without_check(),
            try_to(take, &[open, "remind"], "reviewer", &why, 409, "not-in-state"),
            try_to(take, &[open, "approve"], "reviewer", &why, 409, "already-approved").by("rev1"),
            try_to(take, &[open, "pay"], "reviewer", &why, 409, "guard-not-met"),
            try_to(take, &[open, "approve"], "submitter", &why, 422, "on-behalf-of-required").by("deputy"),
            try_to(take, &[open, "reject"], "reviewer", &json!({}), 422, "reason-required"),
            try_to(
                take,
                &[open, "close"],
                "reviewer",
                &json!({"data": {"note": [SENT]}}),
                422,
                "submission-invalid",
            ),
            try_to(take, &[open, "close"], "reviewer", &why, 412, "precondition-failed"),
        ];
        let too_long = json!({"text": SENT.repeat(2_000)});
        let to_them = json!({"to": SENT});
        for (route, here, body) in [
            ("POST /v1/submissions/{id}/comments", open, json!({"text": SENT})),
            ("POST /v1/submissions/{id}/claim", open, Value::Null),
            ("POST /v1/submissions/{id}/assign", open, to_them.clone()),
            ("POST /v1/submissions/{id}/release", claimed, Value::Null),
            ("POST /v1/submissions/{id}/delegate", open, to_them.clone()),
            ("POST /v1/submissions/{id}/withdraw", open, why),
        ] {
            all.push(try_to(route, &[here], "auditor", &body, 403, "not-permitted"));
            all.push(try_to(route, &[NEVER], "reviewer", &body, 404, "not-found"));
            all.push(try_to(route, &[here], "reviewer", &body, 412, "precondition-failed"));
        }
        let comment = "POST /v1/submissions/{id}/comments";
        all.push(try_to(comment, &[open], "reviewer", &json!({"text": ""}), 422, "text-empty"));
        all.push(try_to(comment, &[open], "reviewer", &too_long, 422, "text-too-long"));
        let claim = "POST /v1/submissions/{id}/claim";
        all.push(try_to(claim, &[claimed], "reviewer", &Value::Null, 409, "already-claimed"));
        all.push(try_to(claim, &[closed], "reviewer", &Value::Null, 409, "not-in-state"));
        let assign = "POST /v1/submissions/{id}/assign";
        all.push(try_to(assign, &[closed], "admin", &to_them, 409, "not-in-state"));
        all.push(try_to(assign, &[open], "admin", &json!({}), 422, "text-empty"));
        let delegate = "POST /v1/submissions/{id}/delegate";
        all.push(try_to(delegate, &[closed], "reviewer", &to_them, 409, "not-in-state"));
        let itself = json!({"to": "narcissus"});
        all.push(try_to(delegate, &[open], "reviewer", &itself, 422, "delegation-invalid").by("narcissus"));
        let withdraw = "POST /v1/submissions/{id}/withdraw";
        all.push(try_to(withdraw, &[closed], "submitter", &Value::Null, 409, "not-in-state").by("sam"));
        all
    }
}

impl Scene {
    /// Many commands in one request: refused as a whole, and line by line.
    fn about_lines(&self) -> Vec<Attempt> {
        let import = "POST /v1/submissions:import";
        let new = json!({"form": "claim", "data": {"amount": 1, "note": SENT}});
        let take = "POST /v1/submissions:transition";
        let decision = json!({"submission_id": self.open, "transition": "approve", "reason": SENT});
        let missing = json!({"form": "claim", "data": {"note": SENT}});
        vec![
            try_to(import, &[], "clerk", &new, 403, "not-permitted"),
            try_to(import, &[], "submitter", &new, 412, "precondition-failed"),
            try_to(import, &[], "submitter", &missing, 422, "submission-invalid").in_a_line(),
            try_to(import, &[], "submitter", &new, 415, "media-type-unsupported"),
            try_to(take, &[], "reviewer", &decision, 415, "media-type-unsupported"),
            try_to(take, &[], "reviewer", &decision, 412, "precondition-failed"),
            try_to(take, &[], "designer", &decision, 403, "not-permitted").in_a_line(),
        ]
    }

    fn about_attachments(&self) -> Vec<Attempt> {
        let (open, closed, full) = (&*self.open, &*self.closed, &*self.full);
        let attach = "POST /v1/submissions/{id}/attachments";
        let pdf = format!("%PDF-1.7 {SENT}");
        let try_to_attach = |at: &str, role, status, code| {
            try_to(attach, &[at], role, &Value::Null, status, code).with_file("application/pdf", &pdf)
        };
        let detach = "DELETE /v1/submissions/{id}/attachments/{sha256}";
        let hash = "0".repeat(64);
        let why = json!({"reason": SENT});
        vec![
            try_to_attach(open, "auditor", 403, "not-permitted"),
            try_to_attach(NEVER, "reviewer", 404, "not-found"),
            try_to_attach(closed, "reviewer", 409, "not-in-state"),
            try_to_attach(&self.without_files, "reviewer", 409, "attachments-not-taken"),
            try_to_attach(full, "reviewer", 409, "too-many-attachments"),
            try_to_attach(full, "reviewer", 409, "already-attached").with_file("application/pdf", PDF),
            try_to_attach(open, "reviewer", 413, "attachment-too-large")
                .with_file("application/pdf", &pdf.repeat(4)),
            try_to_attach(open, "reviewer", 415, "attachment-type-unsupported").with_file("image/png", &pdf),
            try_to_attach(open, "reviewer", 422, "attachment-type-mismatch")
                .with_file("application/pdf", &format!("MZ {SENT}")),
            try_to_attach(open, "reviewer", 422, "attachment-invalid").with_file("application/pdf", ""),
            try_to_attach(open, "reviewer", 412, "precondition-failed"),
            try_to(detach, &[open, &hash], "auditor", &why, 403, "not-permitted"),
            try_to(detach, &[NEVER, &hash], "reviewer", &why, 404, "not-found"),
            try_to(detach, &[closed, &hash], "reviewer", &why, 409, "not-in-state"),
            try_to(detach, &[open, &hash], "reviewer", &why, 412, "precondition-failed"),
        ]
    }

    fn about_signatures(&self) -> Vec<Attempt> {
        let take = "POST /v1/submissions/{id}/transitions/{name}";
        let signed = |meaning: &str| json!({"signature": {"name": SENT, "meaning": meaning}});
        vec![
            try_to(take, &[&self.open, "sign"], "reviewer", &json!({}), 422, "signature-required"),
            try_to(take, &[&self.open, "sign"], "reviewer", &signed("I do"), 422, "signature-invalid"),
            try_to(
                take,
                &[&self.open, "sign"],
                "reviewer",
                &signed("I pay"),
                401,
                "reauthentication-required",
            )
            .with_old_login(),
        ]
    }

    fn about_replays(&self) -> Vec<Attempt> {
        let begin = "POST /v1/replays";
        let (replay, feed) = (&*self.replay, json!({"kind": "feed"}));
        let misspelt =
            json!([{"id": "r", "kind": "decision", "when": "classified > 7", "then": 1, "otherwise": 2}]);
        let rules = json!({"kind": "rules", "form": "claim", "rules": misspelt});
        let late = json!({"kind": "feed", "from": 4_711});
        let mut all = vec![
            try_to(begin, &[], "clerk", &feed, 403, "not-permitted"),
            try_to(begin, &[], "admin", &late, 422, "replay-invalid"),
            try_to(begin, &[], "admin", &rules, 422, "rules-invalid"),
            try_to(begin, &[], "admin", &feed, 412, "precondition-failed"),
        ];
        for route in
            ["POST /v1/replays/{id}/pause", "POST /v1/replays/{id}/resume", "POST /v1/replays/{id}/cancel"]
        {
            all.push(try_to(route, &[replay], "clerk", &Value::Null, 403, "not-permitted"));
            all.push(try_to(route, &[NEVER], "admin", &Value::Null, 404, "not-found"));
            all.push(try_to(route, &[replay], "admin", &Value::Null, 409, "replay-ended"));
        }
        all
    }
}

fn about_the_tenant() -> Vec<Attempt> {
    let key = json!({"name": SENT, "roles": ["auditor"]});
    let bad = json!({"name": SENT, "roles": ["operator"]});
    let audit = json!({"refusals": true, "reads": false, "exports": false});
    let acme = json!({"tenant": "acme"});
    vec![
        try_to("POST /v1/api-keys", &[], "clerk", &key, 403, "not-permitted"),
        try_to("POST /v1/api-keys", &[], "admin", &bad, 422, "api-key-invalid"),
        try_to("POST /v1/api-keys", &[], "admin", &key, 412, "precondition-failed"),
        try_to("DELETE /v1/api-keys/{id}", &[NEVER], "clerk", &Value::Null, 403, "not-permitted"),
        try_to("DELETE /v1/api-keys/{id}", &[NEVER], "admin", &Value::Null, 404, "not-found"),
        try_to("DELETE /v1/api-keys/{id}", &[NEVER], "admin", &Value::Null, 412, "precondition-failed"),
        try_to("PUT /v1/audit", &[], "clerk", &audit, 403, "not-permitted"),
        try_to("PUT /v1/audit", &[], "admin", &audit, 412, "precondition-failed"),
        try_to("POST /v1/tenants", &[], "admin", &acme, 403, "not-permitted"),
        try_to("POST /v1/tenants", &[], "operator", &acme, 409, "tenant-exists"),
        try_to("POST /v1/tenants", &[], "operator", &acme, 412, "precondition-failed"),
    ]
}

/// What the served description says commands refuse: route, status, code; every command also 403 and 412.
async fn documented(server: &Server) -> BTreeSet<(String, u16, String)> {
    let document = server.call(Method::GET, "/openapi.json", &[], "").await.expect(200).json();
    let mut refusals = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            if method == "get" {
                continue;
            }
            let route = format!("{} {path}", method.to_uppercase());
            refusals.insert((route.clone(), 403, "not-permitted".to_owned()));
            refusals.insert((route.clone(), 412, "precondition-failed".to_owned()));
            for (status, answer) in operation["responses"].as_object().expect("responses") {
                let Ok(status @ (401 | 403 | 404 | 409 | 413 | 415 | 422)) = status.parse() else { continue };
                let text = answer["description"].as_str().expect("a description");
                let spans = text.split('`').skip(1).step_by(2);
                let is_code = |span: &&str| {
                    span.contains('-') && span.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                };
                let codes: Vec<&str> = spans.filter(is_code).collect();
                let codes = if status == 404 && codes.is_empty() { vec!["not-found"] } else { codes };
                refusals.extend(codes.into_iter().map(|code| (route.clone(), status, code.to_owned())));
            }
        }
    }
    refusals
}

#[tokio::test]
async fn every_refusal_of_every_command_is_found_in_the_ledger() {
    let scene = Scene::set().await;
    let server = &scene.server;
    scene.replay_is_over().await;
    configure(server, true, false, false).await;
    let mut walked = BTreeSet::new();
    for (number, mut attempt) in scene.attempts().into_iter().enumerate() {
        if attempt.subject.is_empty() {
            attempt.subject = format!("person-{number}");
        }
        let what = format!("{} as {}: {} {}", attempt.route, attempt.role, attempt.status, attempt.code);
        let (path, answer) = attempt.make(server).await;
        assert_eq!(answer["status"], attempt.status, "{what}: {answer}");
        assert_eq!(answer["code"], attempt.code, "{what}: {answer}");
        let found = entries(server, 0, &attempt.subject).await;
        let entry = found.iter().find(|entry| {
            entry["data"]["attempt"]["action"] == attempt.route && entry["data"]["code"] == attempt.code
        });
        let entry = entry.unwrap_or_else(|| panic!("{what} is not in the ledger: {found:?}"));
        assert_eq!(entry["type"], "formledger.audit.attempt-refused.v1");
        assert_eq!(entry["data"]["status"], attempt.status, "{what}");
        assert_eq!(entry["data"]["attempt"]["target"], path, "{what}");
        assert!(!entry.to_string().contains(SENT), "{what}: {entry}");
        walked.insert((attempt.route.to_owned(), attempt.status, attempt.code.to_owned()));
    }
    walked.extend(NOT_WALKED.map(|(route, status, code)| (route.to_owned(), status, code.to_owned())));
    let documented = documented(server).await;
    let missing: Vec<_> = documented.difference(&walked).collect();
    assert!(missing.is_empty(), "these refusals are documented and not walked: {missing:#?}");
    scene.timeline_shows_them_to_auditors_only().await;
}

impl Scene {
    async fn timeline_shows_them_to_auditors_only(&self) {
        let path = format!("/v1/submissions/{}/timeline", self.open);
        let timeline = async |subject: &str, role: &str| {
            let shown = self.server.get(&token("acme", subject, &[role]), &path).await.expect(200).json();
            shown["items"].as_array().expect("items").clone()
        };
        let all = timeline("aud", "auditor").await;
        let guard = all.iter().find(|item| item["refused"]["code"] == "guard-not-met").expect("an entry");
        assert_eq!(guard["refused"]["action"], "POST /v1/submissions/{id}/transitions/{name}");
        assert_eq!(guard["refused"]["times"], 1);
        let positions: Vec<u64> =
            all.iter().map(|item| item["position"].as_u64().expect("a position")).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        let own = timeline("sam", "submitter").await;
        assert!(own.iter().all(|item| item.get("refused").is_none()), "{own:?}");
        let ours = self
            .server
            .get(&admin("acme"), "/v1/events?form=claim&types=formledger.audit.attempt-refused")
            .await;
        assert!(!ours.json()["events"].as_array().expect("events").is_empty(), "filed under its form");
    }
}
