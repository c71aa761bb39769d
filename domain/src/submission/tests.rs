//! Given / when / then for the submission aggregate.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::test::TestFramework;
use serde_json::{Value, json};

use super::{
    SUBMISSION_BYTES_MAX, Submission, SubmissionCommand, SubmissionError, SubmissionEvent, SubmissionState,
};
use crate::context::Actor;
use crate::form::{CompiledForm, FormDefinition};
use crate::ids::{FormId, FormVersion};
use crate::json::CanonicalJson;

type Given = TestFramework<Submission>;

fn form_of_version(version: u32) -> Arc<CompiledForm> {
    let definition = json!({"title": "Expense claim", "schema": {
        "type": "object",
        "properties": {"amount": {"type": "number", "minimum": 0}, "note": {"type": "string"}},
        "required": ["amount"],
        "additionalProperties": false,
    }});
    let definition = FormDefinition::parse(&definition).expect("a definition");
    Arc::new(CompiledForm::compile(&definition, &expense(), FormVersion(version)).expect("compiles"))
}

fn form() -> Arc<CompiledForm> {
    form_of_version(1)
}

fn expense() -> FormId {
    "expense".parse().expect("a form id")
}

fn person(subject: &str, roles: &[&str]) -> Actor {
    Actor { subject: subject.into(), roles: roles.iter().map(|role| (*role).to_owned()).collect() }
}

fn ada() -> Actor {
    person("ada", &["submitter"])
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_777_550_400, 0).expect("a time")
}

fn canonical(value: &Value) -> CanonicalJson {
    CanonicalJson::from_value(value).expect("exact")
}

fn submit(data: Value) -> SubmissionCommand {
    SubmissionCommand::Submit { form: form(), data: Arc::new(data), draft: false, by: ada(), now: noon() }
}

fn draft(data: Value) -> SubmissionCommand {
    SubmissionCommand::Submit { form: form(), data: Arc::new(data), draft: true, by: ada(), now: noon() }
}

fn patch(patch: Value, by: Actor) -> SubmissionCommand {
    SubmissionCommand::Patch { form: form(), patch: Arc::new(patch), by, now: noon() }
}

fn submit_draft(by: Actor) -> SubmissionCommand {
    SubmissionCommand::SubmitDraft { form: form(), by, now: noon() }
}

fn drafted(data: Value) -> SubmissionEvent {
    SubmissionEvent::Drafted {
        data: canonical(&data),
        form: expense(),
        form_version: FormVersion(1),
        submitter: "ada".into(),
    }
}

fn submitted(data: Value) -> SubmissionEvent {
    SubmissionEvent::Submitted {
        data: canonical(&data),
        form: expense(),
        form_version: FormVersion(1),
        state: SubmissionState::SUBMITTED,
        submitter: "ada".into(),
        by: None,
    }
}

fn amended(data: Value, patch: Value) -> SubmissionEvent {
    SubmissionEvent::Amended {
        data: canonical(&data),
        form: expense(),
        form_version: FormVersion(1),
        patch: canonical(&patch),
        by: None,
        on_behalf_of: None,
    }
}

#[test]
fn data_that_fit_the_form_are_submitted() {
    Given::with(())
        .given_no_previous_events()
        .when(submit(json!({"amount": 12.5})))
        .then_expect_events(vec![submitted(json!({"amount": 12.5}))]);
}

#[test]
fn data_that_do_not_fit_are_refused_with_their_places() {
    let refused = Given::with(())
        .given_no_previous_events()
        .when(submit(json!({"note": 1, "extra": true})))
        .inspect_result();
    let Err(SubmissionError::Invalid(violations)) = refused else { panic!("{refused:?}") };
    let places: Vec<_> = violations.iter().map(|v| (v.pointer.as_str(), v.keyword.as_str())).collect();
    for expected in [("/amount", "required"), ("/extra", "additionalProperties"), ("/note", "type")] {
        assert!(places.contains(&expected), "{expected:?} in {places:?}");
    }
}

#[test]
fn a_submission_is_made_once() {
    Given::with(())
        .given(vec![submitted(json!({"amount": 1}))])
        .when(submit(json!({"amount": 2})))
        .then_expect_error(SubmissionError::AlreadyExists);
}

#[test]
fn a_draft_may_be_incomplete() {
    Given::with(())
        .given_no_previous_events()
        .when(draft(json!({"note": "later"})))
        .then_expect_events(vec![drafted(json!({"note": "later"}))]);
}

#[test]
fn a_number_that_cannot_be_kept_exactly_is_refused_even_in_a_draft() {
    let refused = Given::with(())
        .given_no_previous_events()
        .when(draft(json!({"amount": 9_007_199_254_740_993u64})))
        .inspect_result();
    let Err(SubmissionError::Inexact(number)) = refused else { panic!("{refused:?}") };
    assert_eq!(number.pointer, "/amount");
}

#[test]
fn a_draft_is_amended_by_a_merge_patch() {
    Given::with(())
        .given(vec![drafted(json!({"note": "later"}))])
        .when(patch(json!({"amount": 3, "note": null}), ada()))
        .then_expect_events(vec![amended(json!({"amount": 3}), json!({"amount": 3, "note": null}))]);
}

#[test]
fn a_patch_that_changes_nothing_records_nothing() {
    Given::with(())
        .given(vec![drafted(json!({"amount": 3}))])
        .when(patch(json!({"amount": 3.0}), ada()))
        .then_expect_events(vec![]);
}

#[test]
fn a_submitted_draft_is_checked_like_any_submission() {
    let given = || vec![drafted(json!({})), amended(json!({"amount": 3}), json!({"amount": 3}))];
    Given::with(())
        .given(given())
        .when(submit_draft(ada()))
        .then_expect_events(vec![submitted(json!({"amount": 3}))]);
    let refused = Given::with(()).given(vec![drafted(json!({}))]).when(submit_draft(ada())).inspect_result();
    assert!(matches!(&refused, Err(SubmissionError::Invalid(_))), "{refused:?}");
}

#[test]
fn a_submission_without_workflow_is_final() {
    let expected = || SubmissionError::NotInState {
        state: SubmissionState::SUBMITTED,
        needed: vec![SubmissionState::DRAFT],
    };
    let given = || vec![submitted(json!({"amount": 1}))];
    Given::with(()).given(given()).when(patch(json!({"amount": 2}), ada())).then_expect_error(expected());
    Given::with(()).given(given()).when(submit_draft(ada())).then_expect_error(expected());
}

#[test]
fn a_draft_belongs_to_its_submitter_and_the_admin() {
    let given = || vec![drafted(json!({"amount": 1}))];
    let by_other = patch(json!({"amount": 2}), person("eve", &["submitter"]));
    let refused = Given::with(()).given(given()).when(by_other).inspect_result();
    assert!(matches!(&refused, Err(SubmissionError::NotPermitted { .. })), "{refused:?}");
    let by_admin = submit_draft(person("root", &["admin"]));
    let SubmissionEvent::Submitted { data, form, form_version, state, submitter, .. } =
        submitted(json!({"amount": 1}))
    else {
        unreachable!()
    };
    let by = Some("root".into());
    let expected = SubmissionEvent::Submitted { data, form, form_version, state, submitter, by };
    Given::with(()).given(given()).when(by_admin).then_expect_events(vec![expected]);
}

#[test]
fn a_stranger_is_not_told_the_state_of_a_submission() {
    let eve = || person("eve", &["submitter"]);
    for command in [patch(json!({"amount": 2}), eve()), submit_draft(eve())] {
        let given = vec![submitted(json!({"amount": 1}))];
        let refused = Given::with(()).given(given).when(command).inspect_result();
        assert!(matches!(&refused, Err(SubmissionError::NotPermitted { .. })), "{refused:?}");
    }
}

#[test]
fn patches_make_a_draft_no_larger_than_a_request_could() {
    let half = "x".repeat(SUBMISSION_BYTES_MAX / 2);
    let given = || vec![drafted(json!({"a": half}))];
    let refused = Given::with(()).given(given()).when(patch(json!({"b": half}), ada())).inspect_result();
    let bytes = json!({"a": half, "b": half}).to_string().len();
    assert_eq!(refused.err(), Some(SubmissionError::TooLarge { bytes }));
    Given::with(()).given(given()).when(patch(json!({"a": "short", "b": half}), ada())).then_expect_events(
        vec![amended(json!({"a": "short", "b": half}), json!({"a": "short", "b": half}))],
    );
}

#[test]
fn a_submission_stays_pinned_to_its_form_version() {
    let other = SubmissionCommand::SubmitDraft { form: form_of_version(2), by: ada(), now: noon() };
    let refused = Given::with(()).given(vec![drafted(json!({"amount": 1}))]).when(other).inspect_result();
    assert!(matches!(&refused, Err(SubmissionError::OtherForm { .. })), "{refused:?}");
}

#[test]
fn nothing_can_be_done_to_a_submission_that_does_not_exist() {
    Given::with(())
        .given_no_previous_events()
        .when(submit_draft(ada()))
        .then_expect_error(SubmissionError::Missing);
}
