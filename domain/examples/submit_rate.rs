//! Measures what one submission costs the domain, step by step: read, check, rules, canonical payloads. One core, no I/O.
//!
//! `cargo run --release -p formledger-domain --example submit_rate`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use formledger_domain::{
    Actor, CanonicalJson, CompiledForm, FormDefinition, FormVersion, LedgerAggregate, Submission,
    SubmissionCommand, parse_exact,
};
use serde_json::{Value, json};

/// Submissions per step and round.
const SUBMISSIONS: u32 = 20_000;
/// Rounds; the best one counts, because the others shared their core.
const ROUNDS: usize = 7;

/// 25 fields of usual kinds and 3 rules.
fn form() -> Arc<CompiledForm> {
    let text = |max: u32| json!({"type": "string", "minLength": 1, "maxLength": max});
    let definition = json!({
        "title": "Expense claim",
        "schema": {
            "type": "object",
            "properties": {
                "amount": {"type": "number", "minimum": 0}, "country": {"type": "string", "enum": ["DE", "FR", "IT"]},
                "applicant": {"type": "object", "required": ["name", "email", "age"], "additionalProperties": false, "properties": {
                    "name": text(100), "email": {"type": "string", "format": "email"}, "age": {"type": "integer", "minimum": 0},
                    "phone": {"type": "string", "pattern": "^[+0-9 -]{5,20}$"}, "department": text(60), "role": text(60)
                }},
                "street": text(100), "city": text(60), "postal_code": {"type": "string", "pattern": "^[0-9]{5}$"}, "iban": text(34),
                "purpose": text(500), "project": text(40), "cost_centre": text(20), "approver": text(100), "currency": text(3),
                "from": {"type": "string", "format": "date"}, "to": {"type": "string", "format": "date"}, "nights": {"type": "integer"},
                "risk": {"type": "number"}, "advance": {"type": "number"}, "receipts": {"type": "integer"}, "remarks": text(500),
                "accepted": {"type": "boolean"}
            },
            "required": ["amount", "country", "applicant"],
            "additionalProperties": false
        },
        "index": ["/amount", "/country"],
        "rules": [
            {"id": "adult", "kind": "constraint", "assert": "applicant.age >= 18", "at": "/applicant/age", "message": "must be an adult"},
            {"id": "period", "kind": "constraint", "assert": "nights >= 0 && nights < 60", "at": "/nights", "message": "at most 60 nights"},
            {"id": "route", "kind": "decision", "when": "amount > 10000.0 && (country in ['DE','FR'] || risk >= 0.8)",
             "then": {"route": "committee"}, "otherwise": {"route": "auto"}}
        ]
    });
    let definition = FormDefinition::parse(&definition).expect("a definition");
    let id = "expense".parse().expect("a form id");
    Arc::new(CompiledForm::compile(&definition, &id, FormVersion::FIRST).expect("compiles"))
}

fn body() -> Vec<u8> {
    let data = json!({
        "amount": 12500.5, "country": "DE",
        "applicant": {"name": "Ada Lovelace", "email": "ada@example.org", "age": 36, "phone": "+49 30 1234567",
                      "department": "Analytical engines", "role": "Engineer"},
        "street": "Unter den Linden 6", "city": "Berlin", "postal_code": "10117", "iban": "DE89370400440532013000",
        "purpose": "Conference on numerical methods, three talks and one workshop with partners from abroad",
        "project": "NOTE-G", "cost_centre": "4711", "approver": "Charles Babbage", "currency": "EUR",
        "from": "2026-03-01", "to": "2026-03-05", "nights": 4, "risk": 0.25, "advance": 300.0, "receipts": 7,
        "remarks": "The hotel was booked by the organiser; the invoice follows by post and is not part of this claim. ".repeat(4),
        "accepted": true
    });
    serde_json::to_vec(&data).expect("writes")
}

fn measure(step: &str, mut run: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        (0..SUBMISSIONS).for_each(|_| run());
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / f64::from(SUBMISSIONS));
    }
    println!("{step:<44} {best:7.2} µs");
}

fn main() {
    let form = form();
    let body = body();
    let data: Arc<Value> = Arc::new(parse_exact(&body).expect("exact"));
    let by = Actor { subject: "ada".into(), roles: Arc::new([]) };
    println!("{} bytes, best of {ROUNDS} rounds of {SUBMISSIONS}", body.len());

    measure("serde_json::from_slice, for comparison", || {
        black_box(serde_json::from_slice::<Value>(black_box(&body)).expect("JSON"));
    });
    measure("parse_exact", || {
        black_box(parse_exact(black_box(&body)).expect("exact"));
    });
    measure("CompiledForm::check", || {
        form.check(black_box(&data)).expect("fits");
    });
    measure("CanonicalJson::from_value", || {
        black_box(CanonicalJson::from_value(black_box(&data)).expect("exact"));
    });
    let submit = || {
        let (form, data, by) = (form.clone(), data.clone(), by.clone());
        let command = SubmissionCommand::Submit { form, data, draft: false, by, now: DateTime::UNIX_EPOCH };
        Submission::default().decide(command).expect("accepted")
    };
    measure("Submission::decide", || {
        black_box(submit());
    });
    let events = submit();
    measure("encode all events", || {
        events.iter().for_each(|event| {
            black_box(Submission::encode(black_box(event)));
        });
    });
    let stored: Vec<_> = events.iter().map(Submission::encode).collect();
    measure("decode all events", || {
        for event in &stored {
            black_box(
                Submission::decode(event.event_type, event.event_version, &event.payload).expect("known"),
            );
        }
    });
}
