//! Bodies as clients may send them, for the OpenAPI document. Each is sent by `tests/http/definitions.rs`, in an order in which all are accepted.

use serde_json::{Value, json};
use utoipa::openapi::path::Operation;

/// Shows an example with each body of an operation that has one.
pub fn show(operation: &mut Operation) {
    let example = operation.operation_id.as_deref().and_then(of);
    let Some((body, example)) = operation.request_body.as_mut().zip(example) else { return };
    let utoipa::openapi::RefOr::T(body) = body else { return };
    for content in body.content.values_mut() {
        if let utoipa::openapi::RefOr::T(content) = content {
            content.example = Some(example.clone());
        }
    }
}

fn of(operation_id: &str) -> Option<Value> {
    Some(match operation_id {
        "saveFormDraft" => definition(),
        "retireForm" => json!({"reason": "replaced by another form"}),
        "createSubmission" => json!({"data": {"amount": 1250, "country": "DE"}}),
        "updateSubmission" => json!({"country": "FR"}),
        "takeTransition" => json!({"reason": "the receipt is missing"}),
        "addComment" => json!({"text": "The receipt follows."}),
        "assignTask" => json!({"to": "rob", "reason": "knows the case"}),
        "delegateTask" => json!({"to": "dora", "ends_at": "2100-01-01T00:00:00Z", "reason": "on holiday"}),
        "withdrawSubmission" => json!({"reason": "sent by mistake"}),
        "detachFile" => json!({"reason": "the wrong receipt"}),
        "importSubmissions" => json!({"form": "claim", "data": {"amount": 80, "country": "FR"}}),
        "transitionSubmissions" => json!({
            "submission_id": "01a205ee-ec42-7257-b82e-33d9267efd6d", "transition": "approve", "if_match": 3
        }),
        "createReplay" => json!({"kind": "feed", "from": 1, "speed": "max"}),
        "createApiKey" => json!({
            "name": "importer", "roles": ["submitter"], "forms": ["claim"], "expires_at": "2100-01-01T00:00:00Z"
        }),
        "configureAudit" => json!({"refusals": true, "reads": false, "exports": true}),
        "createTenant" => json!({"tenant": "globex"}),
        _ => return None,
    })
}

/// A small one that has a part of every kind; docs/forms.md has a larger one.
fn definition() -> Value {
    json!({
        "title": "Claim",
        "schema": {
            "type": "object",
            "required": ["amount"],
            "properties": {"amount": {"type": "number", "minimum": 0}, "country": {"type": "string"}}
        },
        "index": ["/amount", "/country"],
        "rules": [
            {"id": "route", "kind": "decision", "when": "amount > 1000.0", "then": {"route": "review"}, "otherwise": {"route": "auto"}}
        ],
        "workflow": {
            "initial": "submitted",
            "states": {
                "submitted": {},
                "review": {"due": "P3D", "edit": ["/country"]},
                "approved": {"final": true},
                "rejected": {"final": true}
            },
            "auto": [
                {"from": "submitted", "to": "approved", "when": "outcomes.route.route == 'auto'"},
                {"from": "submitted", "to": "review"}
            ],
            "transitions": [
                {"name": "approve", "from": "review", "to": "approved", "roles": ["reviewer"], "exclude_submitter": true},
                {"name": "reject", "from": "review", "to": "rejected", "roles": ["reviewer"], "reason": "required"}
            ]
        },
        "attachments": {"types": ["application/pdf"], "max_bytes": 5_000_000, "max_count": 3}
    })
}
