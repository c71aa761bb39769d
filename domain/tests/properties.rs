//! What holds for every history, whatever commands come: replay equals live, apply never panics, accepted histories keep the
//! invariants, and what the door lets in is kept exactly.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use formledger_domain::{
    Actor, CanonicalJson, CompiledForm, EncodedEvent, Form, FormCommand, FormDefinition, FormEvent, FormId,
    FormVersion, LedgerAggregate, Submission, SubmissionCommand, SubmissionEvent, SubmissionState,
    differences, parse_exact,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Commands of one history.
const COMMANDS_MAX: usize = 24;

fn expense() -> FormId {
    "expense".parse().expect("a form id")
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn definition(title: u8) -> Value {
    json!({"title": format!("Form {title}"), "schema": {
        "type": "object",
        "properties": {"amount": {"type": "integer", "minimum": 0}, "note": {"type": "string"}},
        "required": ["amount"],
        "additionalProperties": false,
    }})
}

fn compiled(version: u32) -> Arc<CompiledForm> {
    let definition = FormDefinition::parse(&definition(0)).expect("a definition");
    Arc::new(CompiledForm::compile(&definition, &expense(), FormVersion(version)).expect("compiles"))
}

/// Runs commands as `store` does: a refused one leaves nothing behind.
async fn live<A: LedgerAggregate<Services = ()> + Clone>(commands: Vec<A::Command>) -> (A, Vec<A::Event>) {
    let mut state = A::default();
    let mut history = Vec::new();
    for command in commands {
        let sink = EventSink::default();
        let mut next = state.clone();
        if next.handle(command, &(), &sink).await.is_ok() {
            history.extend(sink.collect().await);
            state = next;
        }
    }
    (state, history)
}

/// What a restart makes of a history: stored, read, applied.
fn replayed<A: LedgerAggregate>(history: &[A::Event]) -> A {
    history.iter().fold(A::default(), |mut state, event| {
        let EncodedEvent { event_type, event_version, payload } = A::encode(event);
        state.apply(A::decode(event_type, event_version, &payload).expect("what was stored can be read"));
        state
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

fn form_command() -> impl Strategy<Value = FormCommand> {
    let form = expense;
    prop_oneof![
        (0..3u8).prop_map(move |title| FormCommand::SaveDraft {
            form: form(),
            definition: definition(title).into()
        }),
        Just(FormCommand::SaveDraft { form: form(), definition: json!({"title": "broken"}).into() }),
        Just(FormCommand::SaveDraft { form: form(), definition: json!("no definition").into() }),
        Just(FormCommand::Publish { form: form() }),
        Just(FormCommand::Publish { form: form() }),
        any::<Option<String>>().prop_map(move |reason| FormCommand::Retire { form: form(), reason }),
    ]
}

fn data() -> impl Strategy<Value = Value> {
    let amount =
        prop_oneof![Just(json!(-1)), (0..5).prop_map(Value::from), Just(json!("many")), Just(Value::Null)];
    let note = prop_oneof![Just(json!("a note")), Just(json!(1)), Just(Value::Null)];
    (proptest::option::of(amount), proptest::option::of(note), proptest::bool::weighted(0.1)).prop_map(
        |(amount, note, extra)| {
            let members = [("amount", amount), ("note", note), ("extra", extra.then(|| json!(1)))];
            members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        },
    )
}

fn actor() -> impl Strategy<Value = Actor> {
    (prop_oneof![Just("ada"), Just("eve")], any::<bool>()).prop_map(|(subject, admin)| Actor {
        subject: subject.into(),
        roles: if admin { Arc::new(["admin".to_owned()]) } else { Arc::new([]) },
    })
}

fn submission_command() -> impl Strategy<Value = SubmissionCommand> {
    let forms = [compiled(1), compiled(2)];
    let form = (0..5usize).prop_map(move |pick| forms[usize::from(pick == 4)].clone());
    (form, data(), any::<bool>(), actor(), 0..4u8).prop_map(|(form, data, draft, by, kind)| match kind {
        0 => SubmissionCommand::Submit { form, data: data.into(), draft, by, now: now() },
        1 | 2 => SubmissionCommand::Patch { form, patch: data.into(), by, now: now() },
        _ => SubmissionCommand::SubmitDraft { form, by, now: now() },
    })
}

fn submission_event() -> impl Strategy<Value = SubmissionEvent> {
    let document = data().prop_map(|data| CanonicalJson::from_value(&data).expect("exact"));
    (document, 1..3u32, 0..4u8).prop_map(|(data, version, kind)| {
        let (form, form_version, submitter) = (expense(), FormVersion(version), "ada".into());
        match kind {
            0 => SubmissionEvent::Drafted { data, form, form_version, submitter },
            1 => SubmissionEvent::Submitted {
                data,
                form,
                form_version,
                state: SubmissionState::SUBMITTED,
                submitter,
                by: None,
            },
            2 => SubmissionEvent::RulesEvaluated {
                computed: data.clone(),
                form,
                form_version,
                outcomes: data,
                why: None,
                now: None,
            },
            _ => SubmissionEvent::Amended {
                patch: data.clone(),
                data,
                form,
                form_version,
                by: None,
                on_behalf_of: None,
            },
        }
    })
}

/// Any JSON whose numbers are exact.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1i64 << 53) + 1..1i64 << 53).prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite, and no integer that canonical JSON writes without exponent", |double| {
                double.is_finite() && (double.fract() != 0.0 || double.abs() < 9e15 || double.abs() >= 1e21)
            })
            .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,8}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_replayed_form_equals_the_live_one_and_versions_have_no_gap(
        commands in proptest::collection::vec(form_command(), 0..COMMANDS_MAX)
    ) {
        let (live, history) = run(live::<Form>(commands));
        prop_assert_eq!(&replayed::<Form>(&history), &live);

        let versions: Vec<u32> = history
            .iter()
            .filter_map(|event| match event {
                FormEvent::Published { version, .. } => Some(version.0),
                _ => None,
            })
            .collect();
        prop_assert!(versions.iter().copied().eq(1..=versions.len() as u32), "{:?}", versions);
        prop_assert_eq!(live.version().map(|version| version.0), versions.last().copied());
        for event in &history {
            if let FormEvent::Published { definition, .. } = event {
                prop_assert!(FormDefinition::problems(&definition.to_value(), &expense()).is_empty());
            }
        }
    }

    #[test]
    fn a_replayed_submission_equals_the_live_one_and_stays_what_it_was_accepted_as(
        commands in proptest::collection::vec(submission_command(), 0..COMMANDS_MAX)
    ) {
        let (live, history) = run(live::<Submission>(commands));
        prop_assert_eq!(&replayed::<Submission>(&history), &live);

        let submitted = history.iter().position(|event| matches!(event, SubmissionEvent::Submitted { .. }));
        let made = history.iter().filter(|event| matches!(event, SubmissionEvent::Drafted { .. })).count();
        prop_assert!(made <= 1);
        if let Some(place) = submitted {
            let SubmissionEvent::Submitted { data, form_version, .. } = &history[place] else { unreachable!() };
            prop_assert_eq!(compiled(form_version.0).check(&data.to_value()), Ok(()));
            // Without a workflow nothing follows but what the rules said.
            let after = &history[place + 1..];
            let only_rules = after.iter().all(|event| matches!(event, SubmissionEvent::RulesEvaluated { .. }));
            prop_assert!(only_rules);
            prop_assert_eq!(live.given_data(), Some(data));
        }
        let versions: Vec<_> = history.iter().map(SubmissionEvent::form_version).collect();
        prop_assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", versions);
    }

    #[test]
    fn applying_never_panics_whatever_the_order(
        events in proptest::collection::vec(submission_event(), 0..COMMANDS_MAX)
    ) {
        let state = replayed::<Submission>(&events);
        prop_assert_eq!(state.exists(), state.data().is_some());
    }

    #[test]
    fn what_the_door_lets_in_is_stored_and_read_without_a_change(value in document()) {
        let text = serde_json::to_vec(&value).expect("writes");
        let read = parse_exact(&text).expect("exact");
        prop_assert_eq!(&read, &value);
        let stored = CanonicalJson::from_value(&read).expect("exact");
        let again = parse_exact(stored.as_str().as_bytes()).expect("exact");
        prop_assert_eq!(CanonicalJson::from_value(&again).expect("exact"), stored);
    }

    #[test]
    fn the_door_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}:,\"\\\\0-9.eE+\\- a-f]{0,80}") {
        let _ = parse_exact(&bytes);
        let _ = parse_exact(text.as_bytes());
    }

    #[test]
    fn differences_are_none_exactly_between_equals(one in document(), two in document()) {
        prop_assert_eq!(differences(&one, &one), vec![]);
        prop_assert_eq!(differences(&one, &two).is_empty(), one == two);
    }
}
