//! Candidate rules over recorded history: what changes, what stays, what cannot be compared.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{
    Actor, Backtest, BacktestSummary, CompiledForm, FormDefinition, FormId, FormVersion, History, Position,
    Submission, SubmissionCommand, SubmissionEvent,
};
use serde_json::{Value, json};

fn definition(rules: &Value) -> Value {
    json!({"title": "Expense claim", "rules": rules, "schema": {
        "type": "object", "required": ["amount"], "additionalProperties": false,
        "properties": {"amount": {"type": "number"}, "country": {"type": "string"}},
    }})
}

fn route(limit: u32) -> Value {
    json!([
        {"id": "route", "kind": "decision", "when": format!("amount > {limit}"), "then": {"route": "committee"}, "otherwise": {"route": "auto"}},
        {"id": "twice", "kind": "compute", "value": "amount * 2", "into": "/twice"},
    ])
}

fn expense() -> FormId {
    "expense".parse().expect("a form id")
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_777_550_400, 0).expect("a time")
}

/// What one accepted submission leaves in the ledger.
fn submitted(rules: &Value, version: u32, data: Value) -> Vec<SubmissionEvent> {
    let parsed = FormDefinition::parse(&definition(rules)).expect("a definition");
    let form = CompiledForm::compile(&parsed, &expense(), FormVersion(version)).expect("compiles");
    let by = Actor { subject: "ada".into(), roles: Arc::new([]) };
    let (form, data) = (Arc::new(form), Arc::new(data));
    Submission::default()
        .decide(SubmissionCommand::Submit { form, data, draft: false, by, now: noon() })
        .expect("accepted")
}

/// Runs the candidate over submissions, numbered as they come; differences as (submission, rule, before, after).
fn run(backtest: &Backtest, history: Vec<Vec<SubmissionEvent>>) -> (Vec<(String, Value)>, BacktestSummary) {
    let form = expense();
    let mut past = History::of(&form);
    let mut complete = Vec::new();
    let mut position = 0;
    for (number, events) in history.into_iter().enumerate() {
        for event in events {
            position += 1;
            complete.extend(past.next(&format!("s{number}"), (Position(position), noon()), Some(event)));
        }
    }
    complete.extend(past.finish());
    let (mut lines, mut summary) = (Vec::new(), BacktestSummary::default());
    for past in complete {
        let differences = backtest.differences(&past);
        summary.count(differences.as_deref());
        lines.extend(differences.into_iter().flatten().map(|difference| {
            (past.submission.clone(), serde_json::to_value(difference).expect("can be written"))
        }));
    }
    (lines, summary)
}

fn backtest(rules: &Value) -> Backtest {
    let published = definition(&route(100));
    Backtest::new(expense(), [(FormVersion(1), &published)], rules)
}

#[test]
fn the_rules_that_were_in_force_change_nothing() {
    let history = [50, 150, 250].map(|amount| submitted(&route(100), 1, json!({"amount": amount}))).to_vec();
    let (lines, summary) = run(&backtest(&route(100)), history);
    assert_eq!(lines, []);
    assert_eq!(summary, BacktestSummary { submissions: 3, ..BacktestSummary::default() });
}

#[test]
fn a_changed_outcome_has_its_before_and_its_after() {
    let history = [50, 150, 250].map(|amount| submitted(&route(100), 1, json!({"amount": amount}))).to_vec();
    let (lines, summary) = run(&backtest(&route(200)), history);
    assert_eq!(
        lines,
        [(
            "s1".to_owned(),
            json!({
                "rule": "route",
                "before": {"matched": true, "value": {"route": "committee"}},
                "after": {"matched": false, "value": {"route": "auto"}},
            })
        )]
    );
    assert_eq!((summary.submissions, summary.changed, summary.rules["route"]), (3, 1, 1));
}

#[test]
fn rules_that_come_go_or_refuse_are_changes_too() {
    let history = || vec![submitted(&route(100), 1, json!({"amount": 50}))];
    let (lines, _) = run(
        &backtest(&json!([{"id": "new", "kind": "decision", "when": "amount > 1", "then": 1}])),
        history(),
    );
    let told: Vec<(&Value, &Value)> = lines.iter().map(|(_, line)| (&line["rule"], &line["after"])).collect();
    assert_eq!(told[0], (&json!("new"), &json!({"matched": true, "value": 1})));
    assert_eq!(told[1..], [(&json!("route"), &Value::Null), (&json!("twice"), &Value::Null)]);

    let strict = json!([{"id": "small", "kind": "constraint", "assert": "amount < 10", "at": "/amount", "message": "too much"}]);
    let (lines, summary) = run(&backtest(&strict), history());
    assert_eq!(lines[0].1["after"], json!({"violated": true, "pointer": "/amount", "message": "too much"}));
    assert_eq!(summary.refused, 1);
}

#[test]
fn drafts_do_not_count_and_a_form_that_records_nothing_does() {
    let only_constraint = json!([{"id": "c", "kind": "constraint", "assert": "amount > 0"}]);
    let mut draft = submitted(&only_constraint, 1, json!({"amount": 5}));
    let SubmissionEvent::Submitted { data, form, form_version, .. } = draft.remove(0) else {
        panic!("submitted")
    };
    let patch = data.clone();
    let amended =
        vec![SubmissionEvent::Amended { data, form, form_version, patch, by: None, on_behalf_of: None }];
    let plain = submitted(&only_constraint, 1, json!({"amount": 5}));
    let (lines, summary) = run(&backtest(&only_constraint), vec![amended, plain.clone(), plain]);
    assert_eq!((lines.len(), summary.submissions), (0, 2));
}

#[test]
fn a_version_that_the_candidate_does_not_fit_is_counted_and_said() {
    let candidate = json!([{"id": "r", "kind": "decision", "when": "region == 'x'", "then": 1}]);
    let backtest = backtest(&candidate);
    assert!(backtest.fits_none());
    let (version, problems) = backtest.misfits().next().expect("one version");
    assert_eq!((version, problems[0].pointer.as_str()), (FormVersion(1), "/rules/0/when"));
    let (_, summary) = run(&backtest, vec![submitted(&route(100), 1, json!({"amount": 5}))]);
    assert_eq!((summary.submissions, summary.not_compared), (0, 1));
}

/// A back-test of candidate constraints against a version with one constraint over a nullable amount of money and a country.
fn over_nullable_money(published: &str, candidates: &[&str]) -> Backtest {
    let rules = |asserts: &[&str]| {
        let rules = asserts.iter().zip(0..);
        json!(
            rules
                .map(|(assert, at)| json!({"id": format!("c{at}"), "kind": "constraint", "assert": assert}))
                .collect::<Vec<_>>()
        )
    };
    let mut definition = definition(&rules(&[published]));
    definition["schema"]["properties"]["amount"] =
        json!({"anyOf": [{"type": "string", "format": "decimal"}, {"type": "null"}]});
    Backtest::new(expense(), [(FormVersion(1), &definition)], &rules(candidates))
}

#[test]
fn candidates_are_read_as_the_version_reads_its_own_rules() {
    let (of_today, of_earlier) = ("amount == null || amount > 9.5", "amount == null || amount != ''");
    for (published, candidate, fits) in [
        (of_today, of_today, true),
        (of_today, of_earlier, false),
        (of_earlier, of_earlier, true),
        (of_earlier, of_today, false),
    ] {
        let backtest = over_nullable_money(published, &[candidate]);
        let misfits: Vec<_> = backtest.misfits().collect();
        assert_eq!(!backtest.fits_none(), fits, "{candidate} for {published}: {misfits:?}");
    }
}

#[test]
fn what_the_version_goes_on_with_its_candidates_may_have_too_and_no_more() {
    let published = "country.matches('a**')";
    assert!(!over_nullable_money(published, &[published]).fits_none());
    assert!(!over_nullable_money(published, &["country != ''", published]).fits_none());
    for candidate in ["country.matches('b**')", "!country.matches('a**')"] {
        assert!(over_nullable_money(published, &[published, candidate]).fits_none(), "{candidate}");
    }
}

#[test]
fn rules_that_read_the_time_are_asked_at_the_moment_that_was_recorded() {
    // The request is decided a moment before the deadline and recorded a moment after it.
    let rules = json!([{"id": "late", "kind": "decision", "when": "now > timestamp('2026-04-30T12:00:00.5Z')", "then": {"fee": 5}, "otherwise": {"fee": 0}}]);
    let published = definition(&rules);
    let events = submitted(&rules, 1, json!({"amount": 5}));
    assert!(
        matches!(&events[1], SubmissionEvent::RulesEvaluated { now: Some(now), .. } if *now == noon()),
        "{events:?}"
    );
    let recorded_at = noon() + chrono::Duration::seconds(1);
    let differences = |events: &[SubmissionEvent]| {
        let form = expense();
        let mut history = History::of(&form);
        let past = events.iter().zip(1..).find_map(|(event, position)| {
            history.next("s1", (Position(position), recorded_at), Some(event.clone()))
        });
        let backtest = Backtest::new(expense(), [(FormVersion(1), &published)], &rules);
        backtest.differences(&past.expect("complete")).expect("it fits")
    };
    assert_eq!(differences(&events), []);

    // An event of before `now` was recorded: the time of recording is the nearest there is.
    let mut older = events;
    if let SubmissionEvent::RulesEvaluated { now, .. } = &mut older[1] {
        *now = None;
    }
    assert_eq!(differences(&older)[0].after, json!({"matched": true, "value": {"fee": 5}}));
}

#[test]
fn the_time_is_recorded_only_where_a_rule_reads_it() {
    let events = submitted(&route(100), 1, json!({"amount": 5}));
    assert!(matches!(&events[1], SubmissionEvent::RulesEvaluated { now: None, .. }), "{events:?}");
}
