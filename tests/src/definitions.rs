//! Form definitions that several journeys publish.

use serde_json::{Value, json};

/// The name under which the journeys publish the expense claim.
pub const EXPENSE: &str = "expense";

/// An expense claim: nested and repeated fields, two indexed fields, a constraint and a decision.
pub fn expense_claim() -> Value {
    json!({
        "title": "Expense claim",
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "amount": { "type": "number", "minimum": 0 },
                "country": { "type": "string", "minLength": 2, "maxLength": 2 },
                "applicant": { "type": "object", "properties": { "age": { "type": "integer" } }, "required": ["age"] },
                "lines": { "type": "array", "items": { "type": "object", "properties": {
                    "qty": { "type": "integer" }, "price": { "type": "string" } } } }
            },
            "required": ["amount", "country", "applicant"]
        },
        "index": ["/amount", "/country"],
        "rules": [
            { "id": "adult", "kind": "constraint", "assert": "applicant.age >= 18", "at": "/applicant/age",
              "message": "must be an adult" },
            { "id": "route", "kind": "decision", "when": "amount > 10000.0 && country in ['DE', 'FR']",
              "then": { "route": "committee" }, "otherwise": { "route": "auto" } }
        ]
    })
}

/// Data that the expense claim accepts.
pub fn expense(amount: f64, country: &str) -> Value {
    json!({ "amount": number(amount), "country": country, "applicant": { "age": 40 } })
}

/// The number as canonical JSON writes it: `1`, not `1.0` (RFC 8785 section 3.2.2.3), so that answers compare equal.
pub fn number(value: f64) -> Value {
    let whole = value as i64;
    if whole as f64 == value { json!(whole) } else { json!(value) }
}

/// The smallest definition there is: any object is accepted.
pub fn anything(title: &str) -> Value {
    json!({ "title": title, "schema": { "type": "object" } })
}

/// The expense claim of the public contract, word for word but for the expression that the contract leaves open.
pub fn contract_expense_claim() -> Value {
    json!({
        "title": "Expense claim",
        "schema": { "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": { "amount": {"type": "number", "minimum": 0}, "country": {"type": "string"},
                            "applicant": {"type": "object", "properties": {"age": {"type": "integer"}}},
                            "lines": {"type": "array", "items": {"type": "object", "properties": {
                                "qty": {"type": "integer"}, "price": {"type": "string", "format": "decimal"}}}} },
            "required": ["amount", "country"] },
        "ui": {},
        "index": ["/amount", "/country"],
        "rules": [
            { "id": "adult", "kind": "constraint", "assert": "applicant.age >= 18", "at": "/applicant/age",
              "message": "must be an adult" },
            { "id": "total", "kind": "compute", "value": "sum(lines.map(line, line.price * line.qty))", "into": "/total" },
            { "id": "route", "kind": "decision", "when": "amount > 10000.0 && country in ['DE','FR']",
              "then": { "route": "committee" }, "otherwise": { "route": "auto" } },
            { "id": "fee", "kind": "table", "hit": "first", "inputs": ["amount", "country"],
              "rows": [ { "when": ["< 100", "'DE'"], "then": {"fee": 0} }, { "when": ["-", "-"], "then": {"fee": 5} } ] }
        ],
        "workflow": {
            "initial": "submitted",
            "states": { "submitted": {"edit": ["/lines"]}, "review": {"due": "P3D", "escalate": {"to": "overdue"}},
                        "overdue": {}, "approved": {"final": true}, "rejected": {"final": true} },
            "auto": [ { "from": "submitted", "to": "approved", "when": "outcomes.route.route == 'auto'" },
                      { "from": "submitted", "to": "review" } ],
            "transitions": [
                { "name": "approve", "from": ["review", "overdue"], "to": "approved", "roles": ["reviewer"],
                  "approvals": 2, "exclude_submitter": true },
                { "name": "reject", "from": ["review", "overdue"], "to": "rejected", "roles": ["reviewer"],
                  "reason": "required" }
            ]
        }
    })
}

/// A building permit: a clerk checks it is complete, then planning, fire safety and heritage each have a say, then the head decides.
pub fn building_permit() -> Value {
    json!({
        "title": "Building permit",
        "schema": { "type": "object", "additionalProperties": false, "required": ["address", "storeys"],
            "properties": {
                "address": {"type": "string", "minLength": 1}, "storeys": {"type": "integer", "minimum": 1},
                "listed": {"type": "boolean"}, "plan": {"type": "string"}, "conditions": {"type": "string"} } },
        "rules": [ { "id": "size", "kind": "decision", "when": "storeys > 3", "then": {"class": "large"},
                     "otherwise": {"class": "small"} } ],
        "workflow": {
            "initial": "intake",
            "states": {
                "intake": {"due": "P2W", "escalate": {"to": "review"}}, "incomplete": {"edit": ["/plan", "/storeys"]},
                "review": {"due": "P1M"}, "decision": {"edit": ["/conditions"], "editors": ["head"]},
                "granted": {"final": true}, "refused": {"final": true} },
            "auto": [ { "from": "incomplete", "to": "intake", "when": "has(plan)" } ],
            "transitions": [
                { "name": "complete", "from": "intake", "to": "review", "roles": ["clerk"], "when": "has(plan)" },
                { "name": "ask", "from": ["intake"], "to": "incomplete", "roles": ["clerk"], "reason": "required" },
                { "name": "endorse", "from": ["review"], "to": "decision", "candidates": "['petra', 'finn', 'hanna']",
                  "approvals": {"need": 3, "of": 3}, "exclude_submitter": true },
                { "name": "object", "from": ["review"], "to": "refused", "candidates": "['petra', 'finn', 'hanna']",
                  "reason": "required" },
                { "name": "grant", "from": ["decision"], "to": "granted", "roles": ["head"],
                  "when": "outcomes.size.class == 'small' || 'council' in roles" },
                { "name": "refuse", "from": ["decision"], "to": "refused", "roles": ["head"], "reason": "required" }
            ]
        }
    })
}
