//! Forms with rules: what is a problem at publish, what refuses a submission, and what is recorded with it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{
    Actor, CanonicalJson, CompiledForm, DefinitionProblem, Form, FormCommand, FormDefinition, FormError,
    FormEvent, FormId, FormVersion, LedgerAggregate, Severity, Submission, SubmissionCommand,
    SubmissionError, SubmissionEvent,
};
use serde_json::{Value, json};

fn definition(rules: Value) -> Value {
    json!({
        "title": "Expense claim",
        "schema": {
            "type": "object",
            "properties": {
                "amount": {"type": "number", "minimum": 0},
                "country": {"type": "string"},
                "applicant": {"type": "object", "properties": {"age": {"type": "integer"}}},
                "price": {"type": "string", "format": "decimal"},
                "quantity": {"type": "integer"}
            },
            "required": ["amount", "country"]
        },
        "rules": rules
    })
}

fn compile(definition: &Value) -> Result<CompiledForm, Vec<DefinitionProblem>> {
    let definition = FormDefinition::parse(definition)?;
    CompiledForm::compile(&definition, &"expense".parse().expect("a form id"), FormVersion::FIRST)
}

fn form(rules: Value) -> Arc<CompiledForm> {
    Arc::new(compile(&definition(rules)).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn submit(form: &Arc<CompiledForm>, data: Value) -> Result<Vec<SubmissionEvent>, SubmissionError> {
    let by = Actor { subject: "ada".into(), roles: Arc::new([]) };
    Submission::default().decide(SubmissionCommand::Submit {
        form: form.clone(),
        data: Arc::new(data),
        draft: false,
        by,
        now: noon(),
    })
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_777_550_400, 0).expect("a time")
}

fn fold(events: Vec<SubmissionEvent>) -> Submission {
    events.into_iter().fold(Submission::default(), |mut submission, event| {
        submission.apply(event);
        submission
    })
}

fn adult() -> Value {
    json!({"id": "adult", "kind": "constraint", "assert": "applicant.age >= 18", "at": "/applicant/age",
           "message": "must be an adult"})
}

fn route() -> Value {
    json!({"id": "route", "kind": "decision", "when": "amount > 10000.0 && country in ['DE','FR']",
           "then": {"route": "committee"}, "otherwise": {"route": "auto"}})
}

fn total() -> Value {
    json!({"id": "total", "kind": "compute", "value": "price * decimal(quantity)", "into": "/total"})
}

#[test]
fn a_broken_constraint_refuses_the_submission_by_its_id_and_place() {
    let form = form(json!([adult(), route()]));
    let refused = submit(&form, json!({"amount": 1, "country": "DE", "applicant": {"age": 17}}));
    let Err(SubmissionError::Invalid(violations)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        serde_json::to_value(violations).expect("writes"),
        json!([{"pointer": "/applicant/age", "keyword": "adult", "message": "must be an adult"}])
    );
}

#[test]
fn constraints_are_asked_only_of_data_that_fit_the_schema() {
    let form = form(json!([adult()]));
    let refused = submit(&form, json!({"country": "DE", "applicant": {"age": "young"}}));
    let Err(SubmissionError::Invalid(violations)) = refused else { panic!("{refused:?}") };
    let keywords: Vec<_> = violations.iter().map(|violation| violation.keyword.as_str()).collect();
    assert_eq!(keywords, ["required", "type"]);
}

#[test]
fn what_the_rules_say_is_recorded_with_the_submission() {
    let form = form(json!([adult(), route(), total()]));
    let data = json!({"amount": 20000, "country": "DE", "price": "1.10", "quantity": 3});
    let events = submit(&form, data).expect("accepted");
    let [SubmissionEvent::Submitted { .. }, SubmissionEvent::RulesEvaluated { computed, outcomes, .. }] =
        &events[..]
    else {
        panic!("{events:#?}")
    };
    assert_eq!(computed.to_value(), json!({"/total": "3.30"}));
    assert_eq!(
        outcomes.to_value(),
        json!({"route": {"matched": true, "value": {"route": "committee"}}, "total": {"matched": true, "value": "3.30"}})
    );
    let submission = fold(events.clone());
    assert_eq!(submission.outcomes().map(|outcomes| outcomes.to_value()), Some(outcomes.to_value()));
    assert_eq!(submission.data().expect("made")["total"], json!("3.30"));
    assert_eq!(submission.given_data().expect("made").to_value().get("total"), None);
}

#[test]
fn a_compute_that_misses_a_field_says_so_and_leaves_no_value() {
    let form = form(json!([total()]));
    let events = submit(&form, json!({"amount": 1, "country": "DE", "price": "1.10"})).expect("accepted");
    let submission = fold(events);
    let outcomes = submission.outcomes().expect("recorded").to_value();
    assert_eq!(outcomes["total"]["matched"], json!(false));
    assert!(
        outcomes["total"]["reason"].as_str().is_some_and(|reason| reason.contains("quantity")),
        "{outcomes}"
    );
    assert_eq!(submission.data().expect("made").get("total"), None);
}

/// Of a field whose type the schema does not tell, too.
#[test]
fn null_is_a_missing_value_whatever_the_field() {
    let mut definition = definition(json!([
        {"id": "large", "kind": "constraint", "assert": "extra > 1"},
        {"id": "size", "kind": "decision", "when": "extra > 1", "then": "large", "otherwise": "small"},
    ]));
    definition["schema"]["properties"]["extra"] = json!({});
    let form = Arc::new(compile(&definition).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let data = json!({"amount": 1, "country": "DE", "extra": null});
    let outcomes = fold(submit(&form, data).expect("accepted")).outcomes().expect("recorded").to_value();
    assert_eq!((&outcomes["size"]["value"], &outcomes["size"]["matched"]), (&json!("small"), &json!(false)));
    assert!(outcomes["size"]["reason"].is_string(), "{outcomes}");
}

/// Not through the object around it either.
#[test]
fn a_value_that_is_computed_into_an_object_that_is_null_or_missing_is_there() {
    let mut definition = definition(json!([
        {"id": "points", "kind": "compute", "value": "amount * 2.0", "into": "/applicant/score/points"},
        {"id": "grade", "kind": "compute", "value": "applicant.score.points > 10.0 ? 'a' : 'b'", "into": "/applicant/grade"},
        {"id": "tag", "kind": "compute", "value": "country", "into": "/free/tag"},
    ]));
    definition["schema"]["properties"]["applicant"] = json!({"type": ["object", "null"], "properties": {
        "score": {"type": ["object", "null"], "properties": {"points": {"type": "number"}}}}});
    definition["schema"]["properties"]["free"] = json!({"properties": {"name": {"type": "string"}}});
    let form = Arc::new(compile(&definition).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let made = json!({"grade": "a", "score": {"points": 14}});
    for (applicant, shown) in [
        (json!({}), made.clone()),
        (json!(null), made.clone()),
        (json!({"score": null}), made.clone()),
        (json!({"age": 7, "score": {}}), json!({"age": 7, "grade": "a", "score": {"points": 14}})),
    ] {
        let data = json!({"amount": 7, "country": "DE", "applicant": applicant});
        let submission = fold(submit(&form, data).expect("accepted"));
        let data = submission.data().expect("data");
        assert_eq!((&data["applicant"], &data["free"]), (&shown, &json!({"tag": "DE"})), "{applicant}");
    }
    let missing = fold(submit(&form, json!({"amount": 7, "country": "DE"})).expect("accepted"));
    assert_eq!(missing.data().expect("data")["applicant"], made);

    let data = json!({"amount": 7, "country": "DE", "free": "text"});
    let events = submit(&form, data).expect("accepted");
    let [_, SubmissionEvent::RulesEvaluated { computed, outcomes, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(!computed.as_str().contains("/free"), "{}", computed.as_str());
    let tag = outcomes.to_value()["tag"].clone();
    let error = "there is no place for it: `/free` is no object";
    assert_eq!(tag, json!({"matched": false, "value": null, "error": error}));
}

#[test]
fn what_was_computed_into_a_null_and_is_sent_back_changes_nothing() {
    let mut definition = definition(json!([
        {"id": "score", "kind": "compute", "value": "amount * 2.0", "into": "/applicant/score"},
    ]));
    definition["schema"]["properties"]["applicant"]["type"] = json!(["object", "null"]);
    definition["workflow"] = json!({"initial": "review", "states": {"review": {"edit": ["/country"]}, "done": {"final": true}},
        "transitions": [{"name": "end", "from": "review", "to": "done"}]});
    let form = Arc::new(compile(&definition).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let data = json!({"amount": 7, "country": "DE", "applicant": null});
    let submission = fold(submit(&form, data).expect("accepted"));
    let mut patch = submission.data().expect("data");
    patch["country"] = json!("FR");
    let by = Actor { subject: "ada".into(), roles: Arc::new([]) };
    let patch = Arc::new(patch);
    let amended = submission.decide(SubmissionCommand::Patch { form, patch, by, now: noon() });
    let amended = amended.expect("only what may be edited changed");
    let SubmissionEvent::Amended { data, .. } = &amended[0] else { panic!("{amended:?}") };
    assert_eq!(data.to_value()["applicant"], Value::Null, "nobody filled it in");
}

#[test]
fn what_is_filled_in_for_a_computed_field_is_read_by_no_rule() {
    let mut definition = definition(json!([
        {"id": "score", "kind": "compute", "value": "quantity * 2", "into": "/applicant/score"},
        {"id": "by_field", "kind": "decision", "when": "applicant.score > 5", "then": "yes", "otherwise": "no"},
        {"id": "by_option", "kind": "decision", "when": "applicant.?score.orValue(0) > 5", "then": "yes", "otherwise": "no"},
    ]));
    definition["schema"]["properties"]["applicant"]["properties"]["score"] = json!({"type": "integer"});
    let form = Arc::new(compile(&definition).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let data = json!({"amount": 1, "country": "DE", "applicant": {"age": 40, "score": 99}});
    let submission = fold(submit(&form, data.clone()).expect("accepted"));
    let outcomes = submission.outcomes().expect("recorded").to_value();
    for rule in ["by_field", "by_option"] {
        assert_eq!(outcomes[rule]["value"], "no", "{outcomes}");
    }
    assert_eq!(submission.data().expect("made")["applicant"], json!({"age": 40, "score": null}));
    assert_eq!(submission.given_data().expect("made").to_value(), data);
}

#[test]
fn a_result_that_is_no_number_is_an_error_of_its_rule() {
    for value in ["amount / 0.0", "0.0 / 0.0"] {
        let form = form(json!([{"id": "endless", "kind": "compute", "value": value, "into": "/endless"}]));
        let submission = fold(submit(&form, json!({"amount": 1, "country": "DE"})).expect("accepted"));
        let outcomes = submission.outcomes().expect("recorded").to_value();
        assert!(outcomes["endless"]["error"].is_string(), "{outcomes}");
        assert_eq!(submission.data().expect("made").get("endless"), None);
    }
}

#[test]
fn a_result_that_json_would_round_is_recorded_as_a_decimal_string() {
    let form = form(json!([{"id": "big", "kind": "compute", "value": "amount * 1000.0", "into": "/big"}]));
    let events =
        submit(&form, json!({"amount": 9_007_199_254_740_991u64, "country": "DE"})).expect("accepted");
    assert!(fold(events).data().expect("made")["big"].is_string());
}

#[test]
fn a_form_with_constraints_only_records_nothing_beside_the_submission() {
    let form = form(json!([adult()]));
    let events =
        submit(&form, json!({"amount": 1, "country": "DE", "applicant": {"age": 18}})).expect("accepted");
    assert!(matches!(events[..], [SubmissionEvent::Submitted { .. }]), "{events:#?}");
}

#[test]
fn a_rule_that_does_not_fit_the_fields_is_a_problem_at_its_expression() {
    let mut wrong = route();
    wrong["when"] = json!("amount > 1.0 && contry == 'DE'");
    let problems = compile(&definition(json!([adult(), total(), wrong]))).expect_err("misspelt");
    let error = problems.iter().find(|problem| problem.is_error()).expect("an error");
    assert_eq!(error.pointer, "/rules/2/when");
    assert_eq!(error.span.map(|span| (span.start, span.end)), Some((16, 22)));
    assert!(error.message.contains("contry"), "{}", error.message);
    assert_eq!(error.severity, Severity::Error);
}

/// Earlier versions took it, so that a form that is published with it goes on, guards among it.
#[test]
fn a_pattern_that_re2_refuses_is_not_published_any_more() {
    let mut definition = definition(json!([
        {"id": "code", "kind": "constraint", "assert": "country.matches('^(?x) [A-Z]{2} $')", "at": "/country"}
    ]));
    definition["workflow"] = json!({
        "initial": "submitted",
        "states": {"submitted": {}, "done": {"final": true}},
        "auto": [{"from": "submitted", "to": "done", "when": "country.matches('\\\\u0044')"}],
        "transitions": [{"name": "close", "from": "submitted", "to": "done"}]
    });
    let form = Arc::new(compile(&definition).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let errors: Vec<_> = form.remarks().iter().filter(|remark| remark.is_error()).collect();
    let told: Vec<_> = errors.iter().map(|error| (&*error.pointer, error.message.contains("RE2"))).collect();
    assert_eq!(told, [("/rules/0/assert", true), ("/workflow/auto/0/when", true)], "{errors:#?}");
    let state = |country: &str| {
        let submitted = submit(&form, json!({"amount": 1, "country": country})).map(fold);
        submitted.map(|submission| submission.state().expect("made").to_string()).ok()
    };
    assert_eq!(state("DE"), Some("done".to_owned()));
    assert_eq!(state("FR"), Some("submitted".to_owned()));
    assert_eq!(state("D E"), None);
}

/// As it was before zones were looked up, with a warning.
#[test]
fn a_time_zone_that_nobody_knows_is_not_published_but_a_published_form_works() {
    let when = |zone: &str| json!([{"id": "late", "kind": "decision", "when": format!("date(now, '{zone}') > '2026-01-01'"), "then": 1}]);
    let id = "expense".parse().expect("a form id");
    let problems = FormDefinition::problems(&definition(when("Europe/Berlim")), &id);
    let [error] = problems.as_slice() else { panic!("{problems:#?}") };
    assert!(error.is_error() && error.message.contains("did you mean `Europe/Berlin`?"), "{error:?}");
    assert_eq!(
        (&*error.pointer, error.span.map(|span| (span.start, span.end))),
        ("/rules/0/when", Some((10, 25)))
    );
    let form = form(when("Europe/Berlim"));
    let events = submit(&form, json!({"amount": 1, "country": "DE"})).expect("accepted");
    let said = fold(events).outcomes().expect("outcomes").to_value();
    assert_eq!(said["late"]["error"], json!("`Europe/Berlim` is not a time zone"));
    assert_eq!(FormDefinition::problems(&definition(when("Europe/Berlin")), &id), []);
}

#[test]
fn the_schema_says_how_long_a_list_is_at_least_unless_a_rule_makes_it_or_alternatives_differ() {
    let doubts = |list: Value, more: Value| {
        let mut rules =
            vec![json!({"id": "ninth", "kind": "constraint", "assert": "has(phq) && phq[8] < 1"})];
        rules.extend(more.as_array().into_iter().flatten().cloned());
        let definition = json!({"title": "PHQ-9", "rules": rules,
            "schema": {"type": "object", "properties": {"phq": list, "n": {"type": "integer"}}}});
        let problems = FormDefinition::problems(&definition, &"phq".parse().expect("a form id"));
        assert!(!problems.iter().any(DefinitionProblem::is_error), "{problems:#?}");
        problems.iter().filter(|problem| problem.message.contains("`phq[8]` may fail")).count()
    };
    let items = json!({"type": "integer"});
    let nine = json!({"type": "array", "minItems": 9, "items": items});
    let eight = json!({"type": "array", "minItems": 8, "items": items});
    assert_eq!(doubts(nine.clone(), json!([])), 0);
    assert_eq!(doubts(json!({"anyOf": [nine, {"type": "null"}]}), json!([])), 0);
    assert_eq!(doubts(json!({"allOf": [{"type": "array", "items": items}, {"minItems": 9}]}), json!([])), 0);
    assert_eq!(doubts(eight.clone(), json!([])), 1);
    assert_eq!(doubts(json!({"anyOf": [nine, eight]}), json!([])), 1);
    let made = json!([{"id": "made", "kind": "compute", "value": "[n]", "into": "/phq"}]);
    assert_eq!(doubts(nine, made), 1);
}

/// The schema is asked of what people send, and not of what rules make: neither bounds nor listed values say anything about a computed field, nor
/// that it is required.
#[test]
fn what_the_schema_says_of_a_computed_field_decides_nothing() {
    let remarks = |rules: Value| {
        let definition = json!({
            "title": "Computed",
            "schema": {
                "type": "object",
                "required": ["n", "m", "e"],
                "properties": {
                    "n": {"type": "integer"}, "k": {"type": "integer"},
                    "m": {"type": "integer", "minimum": 0, "maximum": 5},
                    "e": {"enum": ["a", "b"]}
                }
            },
            "rules": rules
        });
        let messages = |problems: &[DefinitionProblem]| -> Vec<String> {
            problems.iter().map(|problem| format!("{}: {}", problem.pointer, problem.message)).collect()
        };
        compile(&definition).map(|form| messages(form.remarks())).map_err(|problems| messages(&problems))
    };
    // Before the rule that computes it, too.
    let bounded = json!({"id": "bounded", "kind": "constraint", "assert": "m <= 5", "at": "/m"});
    let sum = json!({"id": "sum", "kind": "compute", "value": "n + 1", "into": "/m"});
    let large = json!({"id": "large", "kind": "decision", "when": "m > 5", "then": "large"});
    let missing = "`m` may be missing, and then this is not evaluated; `has(m) && …` decides that case";
    let told = remarks(json!([bounded, sum, large]));
    assert_eq!(told, Ok(vec![format!("/rules/0/assert: {missing}"), format!("/rules/2/when: {missing}")]));
    let told = remarks(json!([
        {"id": "c", "kind": "compute", "value": "'c'", "into": "/e"},
        {"id": "not-c", "kind": "constraint", "assert": "!has(e) || e != 'c'", "at": "/e"}
    ]));
    assert_eq!(told, Ok(vec![]));
    // Without the rules it does.
    assert!(
        remarks(json!([{"id": "not-c", "kind": "constraint", "assert": "e != 'c'", "at": "/e"}])).is_err()
    );
}

#[test]
fn a_computed_field_can_be_indexed_and_an_unknown_one_can_not() {
    let mut with_index = definition(json!([total()]));
    with_index["index"] = json!(["/amount", "/total", "/applicant/age"]);
    assert_eq!(compile(&with_index).expect("compiles").index(), ["/amount", "/total", "/applicant/age"]);

    with_index["index"] = json!(["/applicant", "/missing", "amount", "/amount", "/amount"]);
    let problems = FormDefinition::parse(&with_index).expect_err("no pointer, and one twice");
    let places: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(places, ["/index/2", "/index/4"]);
    with_index["index"] = json!(["/applicant", "/missing"]);
    let problems = compile(&with_index).expect_err("no such fields");
    let errors = problems.iter().filter(|problem| problem.is_error());
    let places: Vec<_> = errors.map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(places, ["/index/0", "/index/1"]);
}

#[test]
fn all_parts_tell_their_problems_at_once() {
    let mut definition = definition(json!([{"id": "adult", "kind": "constraint", "assert": "age >= 18"}]));
    definition["index"] = json!(["/missing"]);
    definition["workflow"] = json!({"initial": "submitted", "states": {"submitted": {}}});
    let problems = compile(&definition).expect_err("three problems");
    for pointer in ["/rules/0/assert", "/index/0", "/workflow/states/submitted"] {
        assert!(
            problems.iter().any(|problem| problem.pointer == pointer && problem.is_error()),
            "{problems:#?}"
        );
    }
    assert_eq!(FormDefinition::problems(&definition, &"expense".parse().expect("an id")), problems);
}

#[test]
fn a_member_that_no_definition_has_is_a_problem() {
    let mut definition = definition(json!([]));
    definition["schemas"] = json!({});
    definition["title"] = json!(7);
    definition["ui"] = json!("none");
    let problems = FormDefinition::parse(&definition).expect_err("unknown member");
    let mut places: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, ["/schemas", "/title", "/ui"]);
}

#[test]
fn what_an_outcome_rests_on_is_recorded_in_short_and_explained_from_the_pinned_version() {
    let rules = json!([
        {"id": "route", "kind": "decision", "when": "amount > 5.0 && country == 'FR'", "then": 1},
        {"id": "plain", "kind": "decision", "when": "amount > 5.0", "then": 1},
    ]);
    let form = form(rules);
    let data = json!({"amount": 10, "country": "DE"});
    let events = submit(&form, data.clone()).expect("accepted");
    let SubmissionEvent::RulesEvaluated { outcomes, why, .. } = &events[1] else { panic!("{events:?}") };
    assert_eq!(why.as_ref().map(|why| why.as_str()), Some(r#"{"route":"tf"}"#));
    let stored = Submission::encode(&events[1]);
    let read =
        Submission::decode(stored.event_type, stored.event_version, &stored.payload).expect("readable");
    assert_eq!(read, events[1]);

    let explained = form.explain(outcomes, why.as_ref(), &data);
    assert_eq!(
        explained["route"]["conditions"][1],
        json!({"text": "country == 'FR'", "held": false, "values": {"country": "DE"}})
    );
    assert_eq!(explained["plain"]["conditions"][0]["held"], json!(true));
    assert!(explained.get("adult").is_none());
}

#[test]
fn rules_read_the_time_of_the_submission_as_now() {
    let rules = json!([
        {"id": "day", "kind": "compute", "value": "string(date(now))", "into": "/day"},
        {"id": "late", "kind": "decision", "when": "now >= '2026-04-30T12:00:01Z'", "then": 1, "otherwise": 0},
    ]);
    let events = submit(&form(rules), json!({"amount": 10, "country": "DE"})).expect("accepted");
    let recorded = fold(events);
    assert_eq!(recorded.data().expect("data")["day"], json!("2026-04-30"));
    assert_eq!(recorded.outcomes().expect("outcomes").to_value()["late"]["value"], json!(0));
}

#[test]
fn rows_that_overlap_keep_a_form_from_being_published_but_a_published_one_works() {
    let definition = definition(json!([{
        "id": "fee", "kind": "table", "hit": "unique", "inputs": ["amount"],
        "rows": [{"when": ["<= 100"], "then": 1}, {"when": [">= 100"], "then": 2}]
    }]));
    let id = "expense".parse().expect("a form id");
    let problems = FormDefinition::problems(&definition, &id);
    assert_eq!(problems.iter().filter(|problem| problem.is_error()).count(), 1, "{problems:#?}");
    let draft = CanonicalJson::from_value(&definition).expect("exact");
    let mut state = Form::default();
    state.apply(FormEvent::DraftSaved { definition: draft.clone(), form: id.clone() });
    let refused = state.decide(FormCommand::Publish { form: id });
    assert!(matches!(refused, Err(FormError::Invalid(_))), "{refused:?}");

    // As an earlier version published it, which did not look for overlaps.
    let published = Arc::new(compile(&definition).expect("it works"));
    assert_eq!(published.remarks(), problems);
    for (amount, outcome) in [
        (99, json!({"matched": true, "value": 1})),
        (100, json!({"matched": false, "error": "rows 1 and 2 both match, but `hit` is `unique`"})),
    ] {
        let events = submit(&published, json!({"amount": amount, "country": "DE"})).expect("accepted");
        let outcomes = fold(events).outcomes().expect("outcomes").to_value();
        assert_eq!(outcomes["fee"]["error"], outcome["error"]);
        assert_eq!(outcomes["fee"]["value"], outcome["value"]);
    }
}

#[test]
fn no_number_of_warnings_hides_what_keeps_a_form_from_being_published() {
    let warned = |place: usize| {
        let when = format!("applicant.age > {place} && price > decimal('1') && quantity != {place}");
        json!({"id": format!("warned-{place}"), "kind": "decision", "when": when, "then": 1})
    };
    let typo = json!({"id": "typo", "kind": "compute", "value": "amuont * 2.0", "into": "/double"});
    let overlap = json!({"id": "fee", "kind": "table", "inputs": ["amount"],
        "rows": [{"when": ["<= 100"], "then": 1}, {"when": [">= 100"], "then": 2}]});
    for (last, pointer) in [(typo, "/rules/80/value"), (overlap, "/rules/80/rows/1")] {
        let rules: Vec<Value> = (0..80).map(warned).chain([last]).collect();
        let draft = CanonicalJson::from_value(&definition(json!(rules))).expect("exact");
        let id: FormId = "expense".parse().expect("a form id");
        let mut state = Form::default();
        state.apply(FormEvent::DraftSaved { definition: draft, form: id.clone() });
        let Err(FormError::Invalid(problems)) = state.decide(FormCommand::Publish { form: id }) else {
            panic!("published")
        };
        assert_eq!(problems.iter().map(|problem| &*problem.pointer).collect::<Vec<_>>(), [pointer]);
    }
}

#[test]
fn an_index_that_is_no_pointer_keeps_a_form_from_being_published_but_a_published_one_works() {
    let mut definition = definition(json!([]));
    definition["schema"]["properties"]["a~b"] = json!({"type": "string"});
    definition["index"] = json!(["/amount", "/a~b"]);
    let id = "expense".parse().expect("a form id");
    let problems = FormDefinition::problems(&definition, &id);
    let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
    assert!(
        matches!(&*errors, [one] if one.pointer == "/index/1" && one.message.contains("~0")),
        "{problems:?}"
    );
    assert_eq!(compile(&definition).expect("it works").remarks(), problems);
    definition["index"] = json!(["/a~0b"]);
    assert!(!FormDefinition::problems(&definition, &id).iter().any(|problem| problem.is_error()));
}
