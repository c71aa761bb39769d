//! What holds for every workflow, whoever does whatever in it: the state reached by commands is the state folded from the events at
//! every position, and nobody beats four eyes.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{
    Act, Actor, Attachment, CompiledForm, ContentHash, EncodedEvent, FormDefinition, FormVersion,
    LedgerAggregate, MediaType, SignatureGiven, Submission, SubmissionCommand, SubmissionEvent, WorkflowFact,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Steps of one history.
const STEPS_MAX: usize = 40;
/// States of one workflow.
const STATES_MAX: usize = 6;
const PEOPLE: [&str; 5] = ["sam", "rita", "rob", "dora", "mia"];
const ROLES: [&str; 3] = ["reviewer", "clerk", "submitter"];

/// A workflow along a line of states, so that every one is reached and leads to the end, with random ways besides.
fn workflow() -> impl Strategy<Value = Value> {
    let way = (0..STATES_MAX, 0..STATES_MAX, 1..4u32, any::<bool>(), 0..3usize, any::<bool>());
    let states = proptest::collection::vec((any::<bool>(), any::<bool>()), 2..STATES_MAX);
    (states, proptest::collection::vec(way, 0..6), proptest::option::of(0..STATES_MAX)).prop_map(
        |(states, ways, auto)| {
            let last = states.len();
            let name = |place: usize| format!("s{}", place.min(last));
            let mut described = serde_json::Map::new();
            for (place, (edits, late)) in states.iter().enumerate() {
                let mut state = json!({});
                if *edits {
                    state["edit"] = json!(["/note"]);
                }
                if *late {
                    state["due"] = json!("P1D");
                    state["escalate"] = json!({"to": name(place + 1)});
                }
                described.insert(name(place), state);
            }
            described.insert(name(last), json!({"final": true}));
            let line = (0..last).map(|place| (place, place + 1, 1, false, 0, false));
            let transitions: Vec<Value> = line
                .chain(ways)
                .enumerate()
                .map(|(n, (from, to, approvals, exclude, role, candidates))| {
                    let from = from.min(last - 1);
                    let mut way = json!({
                        "name": format!("t{n}"), "from": [name(from)], "to": name(to), "roles": [ROLES[role]],
                    });
                    if role < 2 {
                        way["approvals"] = json!(approvals);
                        way["exclude_submitter"] = json!(exclude);
                    }
                    if n % 3 == 2 {
                        way["signature"] = json!({"meaning": "seen"});
                    }
                    if candidates {
                        way["candidates"] = json!("[manager, 'dora']");
                    }
                    way
                })
                .collect();
            let auto: Vec<Value> = auto
                .filter(|place| *place < last)
                .map(|place| json!({"from": name(place), "to": name(place + 1), "when": "amount > 2"}))
                .into_iter()
                .collect();
            json!({"initial": "s0", "states": described, "transitions": transitions, "auto": auto})
        },
    )
}

fn compiled(workflow: &Value) -> Arc<CompiledForm> {
    let definition = json!({
        "title": "Any",
        "schema": {"type": "object", "required": ["amount"], "properties": {
            "amount": {"type": "integer"}, "note": {"type": "string"}, "manager": {"type": "string"}
        }},
        "rules": [{"id": "double", "kind": "compute", "value": "amount * 2", "into": "/double"}],
        "workflow": workflow,
        "attachments": {"types": ["image/png"], "max_count": 2},
    });
    let definition = FormDefinition::parse(&definition).expect("a definition");
    let form = CompiledForm::compile(&definition, &"any".parse().expect("an id"), FormVersion(1));
    Arc::new(form.unwrap_or_else(|told| panic!("{workflow}: {told:?}")))
}

/// One step: who, what, and how much later than the step before.
#[derive(Debug, Clone)]
struct Step {
    by: Actor,
    what: What,
    hours: i64,
}

#[derive(Debug, Clone)]
enum What {
    Do(Act),
    Patch(Value),
    Escalate,
}

fn person() -> impl Strategy<Value = String> {
    prop::sample::select(&PEOPLE[..]).prop_map(str::to_owned)
}

fn step() -> impl Strategy<Value = Step> {
    let roles = proptest::sample::subsequence(ROLES.map(str::to_owned).to_vec(), 0..=3);
    let by =
        (person(), roles).prop_map(|(subject, roles)| Actor { subject: subject.into(), roles: roles.into() });
    let data = proptest::option::of(prop_oneof![
        Just(json!({"note": "changed"})),
        Just(json!({"amount": 5})),
        Just(json!({"note": null}))
    ]);
    let take =
        (0..8usize, data, proptest::option::of(person()), any::<bool>(), proptest::bool::weighted(0.3))
            .prop_map(|(n, data, on_behalf_of, named, signed)| Act::Take {
                transition: format!("t{n}"),
                reason: None,
                data: data.map(Arc::new),
                on_behalf_of: on_behalf_of.filter(|_| named),
                // Some transitions ask for it, the others refuse it.
                signature: signed.then(signature),
            });
    let what = prop_oneof![
        6 => take.prop_map(What::Do),
        2 => person().prop_map(|to| What::Do(Act::Delegate { to, starts_at: None, ends_at: None, reason: None })),
        1 => Just(What::Do(Act::Claim)),
        1 => Just(What::Do(Act::Release)),
        1 => Just(What::Do(Act::EndDelegation { from: None, reason: None })),
        1 => Just(What::Do(Act::Comment { text: "a word".to_owned() })),
        1 => person().prop_map(|to| What::Do(Act::Assign { to, reason: None })),
        1 => prop_oneof![Just(json!({"note": "patched"})), Just(json!({"amount": 1}))].prop_map(What::Patch),
        1 => (0..3_u8).prop_map(|n| What::Do(Act::Attach { attachment: attachment(n) })),
        1 => (0..3_u8).prop_map(|n| What::Do(Act::Detach { sha256: attachment(n).sha256, reason: None })),
        1 => Just(What::Escalate),
        1 => Just(What::Do(Act::Withdraw { reason: None })),
    ];
    (by, what, 0..10i64).prop_map(|(by, what, hours)| Step { by, what, hours })
}

fn signature() -> SignatureGiven {
    SignatureGiven { name: "Ada Lovelace".to_owned(), meaning: "seen".to_owned(), authenticated_at: None }
}

/// One of three files; the form takes two of them at a time.
fn attachment(n: u8) -> Attachment {
    let media_type = MediaType::named("image/png").expect("known");
    Attachment { sha256: ContentHash([n; 32]), name: format!("{n}.png").into(), media_type, bytes: 10 }
}

fn command(form: &Arc<CompiledForm>, step: Step, now: DateTime<Utc>) -> SubmissionCommand {
    let (form, by) = (form.clone(), step.by);
    match step.what {
        What::Do(act) => SubmissionCommand::Act { form, act, by, now },
        What::Patch(patch) => SubmissionCommand::Patch { form, patch: Arc::new(patch), by, now },
        What::Escalate => SubmissionCommand::Escalate { form, now },
    }
}

/// What a restart makes of a history: stored, read, applied.
fn folded(history: &[SubmissionEvent]) -> Submission {
    history.iter().fold(Submission::default(), |mut state, event| {
        let EncodedEvent { event_type, event_version, payload } = Submission::encode(event);
        state
            .apply(Submission::decode(event_type, event_version, &payload).expect("what was stored is read"));
        state
    })
}

/// That every transition that was taken had as many different people behind it as it needed.
fn nobody_beat_four_eyes(form: &CompiledForm, history: &[SubmissionEvent]) -> Result<(), TestCaseError> {
    let mut behind: Vec<(Arc<str>, BTreeSet<Arc<str>>)> = Vec::new();
    let workflow = form.workflow().expect("a workflow");
    for event in history {
        match event {
            // What was approved is not what it is now.
            SubmissionEvent::Amended { .. }
            | SubmissionEvent::Worked {
                fact: WorkflowFact::Attached { .. } | WorkflowFact::Detached { .. },
                ..
            } => behind.clear(),
            SubmissionEvent::Worked {
                fact: WorkflowFact::Approved { transition, by, on_behalf_of, .. },
                ..
            } => {
                let people: BTreeSet<_> = std::iter::once(by).chain(on_behalf_of).cloned().collect();
                let rule = workflow.transition(transition).expect("it exists");
                prop_assert!(!rule.exclude_submitter || !people.contains("sam"), "{:?}", history);
                for (_, others) in behind.iter().filter(|(other, _)| other == transition) {
                    prop_assert!(others.is_disjoint(&people), "{:?}", history);
                }
                behind.push((transition.clone(), people));
            }
            SubmissionEvent::Worked { fact: WorkflowFact::Transitioned { transition, .. }, .. } => {
                if let Some(transition) = transition {
                    let rule = workflow.transition(transition).expect("it exists");
                    let given = behind.iter().filter(|(other, _)| other == transition).count();
                    prop_assert!(rule.approvals == 1 || given == rule.approvals as usize, "{:?}", history);
                }
                behind.clear();
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_state_reached_by_commands_is_the_state_folded_at_every_position(
        workflow in workflow(),
        amount in 0..5i64,
        steps in proptest::collection::vec(step(), 0..STEPS_MAX)
    ) {
        let form = compiled(&workflow);
        let mut now: DateTime<Utc> = DateTime::UNIX_EPOCH;
        let sam = Actor { subject: "sam".into(), roles: Arc::new(["submitter".to_owned()]) };
        let data = Arc::new(json!({"amount": amount, "manager": "mia"}));
        let submit = SubmissionCommand::Submit { form: form.clone(), data, draft: false, by: sam, now };
        let (mut live, mut history) = (Submission::default(), Vec::new());
        let mut commands = vec![submit];
        let mut reached = Vec::new();
        for step in steps {
            now += TimeDelta::hours(step.hours);
            commands.push(command(&form, step, now));
        }
        for command in commands {
            let took = match &command {
                SubmissionCommand::Act { act: Act::Take { transition, .. }, by, .. } => {
                    Some((transition.clone(), by.subject.clone()))
                }
                _ => None,
            };
            if let Ok(events) = live.decide(command) {
                if let Some((transition, by)) = took {
                    let rule = form.workflow().and_then(|workflow| workflow.transition(&transition));
                    let rule = rule.expect("it exists");
                    prop_assert!(!rule.exclude_submitter || &*by != "sam", "`{}` by its submitter", transition);
                }
                for event in events {
                    live.apply(event.clone());
                    history.push(event);
                    reached.push(live.clone());
                }
            }
        }
        for (place, state) in reached.iter().enumerate() {
            prop_assert_eq!(&folded(&history[..=place]), state, "at {}", place + 1);
        }
        nobody_beat_four_eyes(&form, &history)?;
        let state = live.state().expect("it was submitted").as_str().to_owned();
        let waits = form.workflow().expect("a workflow").state(&state).is_some_and(|state| !state.is_final);
        prop_assert_eq!(live.task().is_some(), waits, "a task is open exactly where the submission waits");
    }

    #[test]
    fn applying_never_panics_whatever_the_order(
        workflow in workflow(),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..STEPS_MAX),
        steps in proptest::collection::vec(step(), 0..STEPS_MAX)
    ) {
        let form = compiled(&workflow);
        let now = DateTime::UNIX_EPOCH;
        let sam = Actor { subject: "sam".into(), roles: Arc::new([]) };
        let data = Arc::new(json!({"amount": 1}));
        let mut live = Submission::default();
        let mut history = live
            .decide(SubmissionCommand::Submit { form: form.clone(), data, draft: false, by: sam, now })
            .expect("accepted");
        history.iter().for_each(|event| live.apply(event.clone()));
        for step in steps {
            let events = live.decide(command(&form, step, now)).unwrap_or_default();
            events.iter().for_each(|event| live.apply(event.clone()));
            history.extend(events);
        }
        let shuffled: Vec<_> = order.iter().map(|index| index.get(&history).clone()).collect();
        folded(&shuffled);
    }
}
