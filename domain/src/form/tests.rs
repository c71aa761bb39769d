//! Given / when / then for the form aggregate.

use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::test::TestFramework;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Form, FormCommand, FormError, FormEvent};
use crate::aggregate::LedgerAggregate;
use crate::ids::{FormId, FormVersion};
use crate::json::CanonicalJson;

type Given = TestFramework<Form>;

fn expense() -> FormId {
    "expense".parse().expect("a form id")
}

fn definition(title: &str) -> Value {
    json!({"title": title, "schema": {"type": "object", "properties": {"amount": {"type": "number"}}}})
}

fn canonical(value: &Value) -> CanonicalJson {
    CanonicalJson::from_value(value).expect("exact")
}

fn save(definition: Value) -> FormCommand {
    FormCommand::SaveDraft { form: expense(), definition: Arc::new(definition) }
}

fn publish() -> FormCommand {
    FormCommand::Publish { form: expense() }
}

fn retire() -> FormCommand {
    FormCommand::Retire { form: expense(), reason: None }
}

fn saved(title: &str) -> FormEvent {
    FormEvent::DraftSaved { definition: canonical(&definition(title)), form: expense() }
}

fn published(title: &str, version: u32) -> FormEvent {
    FormEvent::Published {
        definition: canonical(&definition(title)),
        form: expense(),
        version: FormVersion(version),
    }
}

fn retired() -> FormEvent {
    FormEvent::Retired { form: expense(), reason: None }
}

#[test]
fn a_draft_is_saved_even_when_it_cannot_be_published_yet() {
    let broken = json!({"title": "Expense claim"});
    Given::with(())
        .given_no_previous_events()
        .when(save(broken.clone()))
        .then_expect_events(vec![FormEvent::DraftSaved { definition: canonical(&broken), form: expense() }]);
}

#[test]
fn saving_the_same_draft_again_changes_nothing() {
    Given::with(()).given(vec![saved("A")]).when(save(definition("A"))).then_expect_events(vec![]);
}

#[test]
fn a_draft_that_is_no_object_is_no_definition() {
    let refused = Given::with(()).given_no_previous_events().when(save(json!([]))).inspect_result();
    assert!(matches!(refused, Err(FormError::Invalid(problems)) if problems[0].pointer.is_empty()));
}

#[test]
fn the_first_publication_is_version_1() {
    Given::with(()).given(vec![saved("A")]).when(publish()).then_expect_events(vec![published("A", 1)]);
}

#[test]
fn the_next_draft_is_published_as_the_next_version() {
    Given::with(())
        .given(vec![saved("A"), published("A", 1), saved("B")])
        .when(publish())
        .then_expect_events(vec![published("B", 2)]);
}

#[test]
fn publishing_needs_a_draft_saved_since_the_last_publication() {
    Given::with(())
        .given(vec![saved("A"), published("A", 1)])
        .when(publish())
        .then_expect_error(FormError::NothingToPublish(FormVersion(1)));
    Given::with(()).given_no_previous_events().when(publish()).then_expect_error(FormError::Missing);
}

#[test]
fn a_draft_with_problems_is_not_published() {
    let broken = json!({"title": "A", "schema": {"type": "objekt"}});
    let events = vec![FormEvent::DraftSaved { definition: canonical(&broken), form: expense() }];
    let refused = Given::with(()).given(events).when(publish()).inspect_result();
    assert!(
        matches!(&refused, Err(FormError::Invalid(problems)) if problems[0].pointer == "/schema/type"),
        "{refused:?}"
    );
}

#[test]
fn a_retired_form_takes_no_submissions_until_it_is_published_again() {
    Given::with(())
        .given(vec![saved("A"), published("A", 1)])
        .when(retire())
        .then_expect_events(vec![retired()]);
    Given::with(())
        .given(vec![saved("A"), published("A", 1), retired()])
        .when(publish())
        .then_expect_events(vec![published("A", 2)]);

    let fold = |events: Vec<FormEvent>| {
        events.into_iter().fold(Form::default(), |mut form, event| {
            cqrs_es::Aggregate::apply(&mut form, event);
            form
        })
    };
    assert_eq!(fold(vec![saved("A"), published("A", 1), retired()]).open(), Err(FormError::Retired));
    let reopened = fold(vec![saved("A"), published("A", 1), retired(), published("A", 2)]);
    assert_eq!(reopened.open().map(|(version, _)| version), Ok(FormVersion(2)));
}

#[test]
fn only_a_published_form_can_be_retired_and_only_once() {
    Given::with(()).given_no_previous_events().when(retire()).then_expect_error(FormError::Missing);
    Given::with(()).given(vec![saved("A")]).when(retire()).then_expect_error(FormError::NotPublished);
    Given::with(())
        .given(vec![saved("A"), published("A", 1), retired()])
        .when(retire())
        .then_expect_error(FormError::Retired);
}

/// What [`crate::Recall::LastOfEachType`] promises, for which no event has to have been decided.
#[test]
fn a_form_is_what_the_last_event_of_each_type_says() {
    let event = prop_oneof![
        (0u32..5).prop_map(|title| saved(&title.to_string())),
        (0u32..5, 1u32..9).prop_map(|(title, version)| published(&title.to_string(), version)),
        Just(retired()),
    ];
    let folded = |events: &[FormEvent]| {
        let mut form = Form::default();
        events.iter().for_each(|event| form.apply(event.clone()));
        form
    };
    proptest!(|(events in proptest::collection::vec(event, 0..12))| {
        let types: Vec<_> = events.iter().map(|event| Form::encode(event).event_type).collect();
        let is_last = |place: usize| !types[place + 1..].contains(&types[place]);
        let last: Vec<_> = events.iter().enumerate().filter(|(place, _)| is_last(*place)).map(|(_, event)| event.clone()).collect();
        prop_assert_eq!(folded(&last), folded(&events));
    });
}
