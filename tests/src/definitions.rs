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
