//! Given / when / then for submissions in a workflow.

mod attachments;
mod bounds;
mod delegation;
mod editing;
mod form_roles;
mod four_eyes;
mod reminders;
mod same_values;
mod signatures;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use serde_json::{Value, json};

use super::{Act, Submission, SubmissionCommand, SubmissionError, SubmissionEvent, Work};
use crate::aggregate::LedgerAggregate;
use crate::context::{Actor, SUBJECT_BYTES_MAX};
use crate::form::{CompiledForm, FormDefinition};
use crate::ids::FormVersion;

fn form_with(workflow: Value) -> Arc<CompiledForm> {
    compiled(definition(workflow))
}

fn definition(workflow: Value) -> Value {
    json!({
        "title": "Expense claim",
        "schema": {"type": "object", "required": ["amount"], "additionalProperties": false, "properties": {
            "amount": {"type": "number", "minimum": 0}, "manager": {"type": "string"}, "note": {"type": "string"},
            "extra": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
        }},
        "rules": [{"id": "route", "kind": "decision", "when": "amount > 1000.0",
                   "then": {"route": "committee"}, "otherwise": {"route": "auto"}}],
        "workflow": workflow
    })
}

fn compiled(definition: Value) -> Arc<CompiledForm> {
    let definition = FormDefinition::parse(&definition).expect("a definition");
    let form = "expense".parse().expect("a form id");
    Arc::new(
        CompiledForm::compile(&definition, &form, FormVersion(1)).unwrap_or_else(|told| panic!("{told:?}")),
    )
}

fn workflow() -> Value {
    json!({
        "initial": "submitted",
        "states": {
            "submitted": {},
            "review": {"due": "P3D", "escalate": {"to": "overdue"}, "edit": ["/note", "/extra/a"]},
            "overdue": {},
            "changes": {"edit": ["/amount", "/note"]},
            "approved": {"final": true},
            "rejected": {"final": true}
        },
        "auto": [
            {"from": "submitted", "to": "approved", "when": "outcomes.route.route == 'auto'"},
            {"from": "submitted", "to": "review"}
        ],
        "transitions": [
            {"name": "approve", "from": ["review", "overdue"], "to": "approved", "roles": ["reviewer"],
             "approvals": 2, "exclude_submitter": true},
            {"name": "reject", "from": ["review", "overdue"], "to": "rejected", "reason": "required"},
            {"name": "request-changes", "from": ["review"], "to": "changes", "reason": "required"},
            {"name": "resubmit", "from": ["changes"], "to": "submitted", "roles": ["submitter"]},
            {"name": "sign", "from": ["review"], "to": "approved", "candidates": "manager", "edit": ["/extra"],
             "when": "amount < 50000.0 || 'cfo' in roles"}
        ]
    })
}

/// A submission with its history, and a clock.
struct Case {
    form: Arc<CompiledForm>,
    state: Submission,
    history: Vec<SubmissionEvent>,
    now: DateTime<Utc>,
}

type Decided = Result<Vec<SubmissionEvent>, SubmissionError>;

impl Case {
    fn new() -> Self {
        let now = "2026-02-26T10:00:00Z".parse().expect("a time");
        Self { form: form_with(workflow()), state: Submission::default(), history: Vec::new(), now }
    }

    /// A claim by `sam` that waits for review.
    fn in_review() -> Self {
        Self::submitted(json!({"amount": 5000, "manager": "mia"}))
    }

    fn submitted(data: Value) -> Self {
        let mut case = Self::new();
        let (form, now) = (case.form.clone(), case.now);
        let by = person("sam", &["submitter"]);
        let submit = SubmissionCommand::Submit { form, data: Arc::new(data), draft: false, by, now };
        case.run(submit).expect("accepted");
        case
    }

    fn drafted(by: &Actor, data: Value) -> Self {
        let mut case = Self::new();
        let (form, now) = (case.form.clone(), case.now);
        let draft =
            SubmissionCommand::Submit { form, data: Arc::new(data), draft: true, by: by.clone(), now };
        case.run(draft).expect("kept");
        case
    }

    fn submit_draft(&mut self, by: &Actor) -> Decided {
        let (form, now) = (self.form.clone(), self.now);
        self.run(SubmissionCommand::SubmitDraft { form, by: by.clone(), now })
    }

    fn run(&mut self, command: SubmissionCommand) -> Decided {
        let events = self.state.decide(command)?;
        for event in &events {
            self.state.apply(event.clone());
        }
        self.history.extend(events.clone());
        Ok(events)
    }

    fn act(&mut self, by: &Actor, act: Act) -> Decided {
        let (form, now) = (self.form.clone(), self.now);
        self.run(SubmissionCommand::Act { form, act, by: by.clone(), now })
    }

    fn take(&mut self, by: &Actor, transition: &str) -> Decided {
        self.act(by, take(transition))
    }

    fn patch(&mut self, by: &Actor, patch: Value) -> Decided {
        let (form, now) = (self.form.clone(), self.now);
        self.run(SubmissionCommand::Patch { form, patch: Arc::new(patch), by: by.clone(), now })
    }

    fn escalate(&mut self) -> Decided {
        let (form, now) = (self.form.clone(), self.now);
        self.run(SubmissionCommand::Escalate { form, now })
    }

    fn state(&self) -> &str {
        self.state.state().expect("it exists").as_str()
    }

    fn work(&self) -> &Work {
        self.state.work().expect("it exists")
    }

    fn have(&self) -> u32 {
        self.work().approvals("approve").map_or(0, |approvals| approvals.have)
    }
}

fn person(subject: &str, roles: &[&str]) -> Actor {
    Actor { subject: subject.into(), roles: roles.iter().map(|role| (*role).to_owned()).collect() }
}

fn reviewer(subject: &str) -> Actor {
    person(subject, &["reviewer"])
}

fn sam() -> Actor {
    person("sam", &["submitter"])
}

fn take(transition: &str) -> Act {
    Act::Take {
        transition: transition.to_owned(),
        reason: None,
        data: None,
        on_behalf_of: None,
        signature: None,
    }
}

fn because(transition: &str, reason: &str) -> Act {
    Act::Take {
        transition: transition.to_owned(),
        reason: Some(reason.to_owned()),
        data: None,
        on_behalf_of: None,
        signature: None,
    }
}

fn with_data(transition: &str, data: Value) -> Act {
    Act::Take {
        transition: transition.to_owned(),
        reason: None,
        data: Some(Arc::new(data)),
        on_behalf_of: None,
        signature: None,
    }
}

fn delegate(to: &str) -> Act {
    Act::Delegate { to: to.to_owned(), starts_at: None, ends_at: None, reason: None }
}

fn kinds(events: &[SubmissionEvent]) -> Vec<String> {
    events
        .iter()
        .map(cqrs_es::DomainEvent::event_type)
        .collect::<Vec<_>>()
        .iter()
        .map(|kind| kind[22..].to_owned())
        .collect()
}

#[track_caller]
fn refused_as_not_permitted(decided: Decided) {
    assert!(matches!(decided, Err(SubmissionError::NotPermitted { .. })), "{decided:?}");
}

#[test]
fn a_submission_goes_by_itself_where_its_outcomes_say() {
    let small = Case::submitted(json!({"amount": 10}));
    assert_eq!(small.state(), "approved");
    assert_eq!(kinds(&small.history), ["submitted", "rules-evaluated", "transitioned"]);
    let large = Case::in_review();
    assert_eq!(large.state(), "review");
    assert_eq!(kinds(&large.history), ["submitted", "rules-evaluated", "transitioned", "task-opened"]);
}

#[test]
fn a_draft_enters_the_workflow_when_it_is_submitted() {
    let mut case = Case::new();
    let (form, now) = (case.form.clone(), case.now);
    let data = Arc::new(json!({"note": "later"}));
    let draft = SubmissionCommand::Submit { form: form.clone(), data, draft: true, by: sam(), now };
    case.run(draft).expect("kept");
    assert_eq!(case.state(), "draft");
    case.patch(&sam(), json!({"amount": 5000})).expect("its submitter edits everything");
    case.run(SubmissionCommand::SubmitDraft { form, by: sam(), now }).expect("accepted");
    assert_eq!(case.state(), "review");
}

#[test]
fn the_record_says_who_could_act_and_until_when() {
    let case = Case::in_review();
    let task = case.state.task().expect("a task");
    assert_eq!(task.due_at, Some("2026-03-01T10:00:00Z".parse().expect("a time")));
    assert_eq!(task.escalate_to.as_ref().map(|state| state.as_str()), Some("overdue"));
    let sign = task.actions.iter().find(|action| &*action.transition == "sign").expect("an action");
    assert_eq!((&*sign.candidates, &*sign.roles), (&["mia".to_owned()][..], &[][..]));
    let reject = task.actions.iter().find(|action| &*action.transition == "reject").expect("an action");
    assert_eq!(*reject.roles, ["reviewer".to_owned()], "a transition that names nobody is for reviewers");
}

#[test]
fn a_transition_is_possible_only_from_its_states() {
    let mut case = Case::in_review();
    let refused = case.take(&sam(), "resubmit");
    let Err(SubmissionError::NotInState { state, needed }) = &refused else { panic!("{refused:?}") };
    assert_eq!((state.as_str(), needed[0].as_str()), ("review", "changes"));
    let unknown = case.take(&reviewer("rita"), "aprove");
    let told = unknown.expect_err("a slip of the pen").to_string();
    assert!(told.starts_with("the form's workflow has no transition `aprove`; it has `approve`, "), "{told}");
    case.act(&reviewer("rita"), because("reject", "no receipt")).expect("rejected");
    let late = case.take(&reviewer("rob"), "approve");
    assert!(matches!(late, Err(SubmissionError::NotInState { .. })), "{late:?}");
}

#[test]
fn a_reason_is_given_where_one_is_required() {
    let mut case = Case::in_review();
    for blank in [take("reject"), because("reject", "  ")] {
        let refused = case.act(&reviewer("rita"), blank);
        assert!(matches!(refused, Err(SubmissionError::ReasonRequired { .. })), "{refused:?}");
    }
    let long = case.act(&reviewer("rita"), because("reject", &"x".repeat(5000)));
    assert!(matches!(long, Err(SubmissionError::TextTooLong { .. })), "{long:?}");
    case.act(&reviewer("rita"), because("reject", "no receipt")).expect("with a reason");
    let SubmissionEvent::Worked { fact, .. } = case.history.last().expect("an event") else { panic!() };
    assert_eq!(fact.reason().map(|reason| &**reason), Some("no receipt"));
}

#[test]
fn candidates_are_found_by_the_data_and_act_without_a_role() {
    let mut case = Case::in_review();
    refused_as_not_permitted(case.take(&reviewer("rita"), "sign"));
    case.take(&person("mia", &[]), "sign").expect("the manager");
    assert_eq!(case.state(), "approved");
    let mut nobody = Case::submitted(json!({"amount": 5000}));
    refused_as_not_permitted(nobody.take(&person("mia", &[]), "sign"));
}

#[test]
fn a_text_that_is_nobodys_subject_is_no_candidate() {
    let candidates = |manager: String| {
        let case = Case::submitted(json!({"amount": 5000, "manager": manager}));
        let task = case.state.task().expect("a task").clone();
        let sign = task.actions.iter().find(|action| &*action.transition == "sign").expect("an action");
        sign.candidates.clone()
    };
    let longest = "m".repeat(SUBJECT_BYTES_MAX);
    assert_eq!(candidates(longest.clone()), [longest.as_str()]);
    for nobody in [format!("{longest}m"), "m".repeat(20_000), String::new()] {
        assert_eq!(candidates(nobody), [""; 0]);
    }
}

#[test]
fn a_guard_sees_the_data_and_the_roles_of_who_acts() {
    let mut case = Case::submitted(json!({"amount": 60000, "manager": "mia"}));
    let refused = case.take(&person("mia", &[]), "sign");
    assert!(matches!(&refused, Err(SubmissionError::GuardNotMet { error: None, .. })), "{refused:?}");
    case.take(&person("mia", &["cfo"]), "sign").expect("as cfo");
}

#[test]
fn a_patch_stays_within_what_the_state_lets_be_edited_and_who_may() {
    let mut case = Case::in_review();
    let before = case.history.len();
    for (patch, places) in [
        (json!({"amount": 1}), vec!["/amount"]),
        (json!({"note": "n", "manager": null}), vec!["/manager"]),
        (json!({"extra": {"a": "x", "b": "y"}}), vec!["/extra/b"]),
        (json!([]), vec![""]),
    ] {
        let refused = case.patch(&sam(), patch.clone());
        let Err(SubmissionError::NotEditable { pointers, .. }) = refused else {
            panic!("{patch}: {refused:?}")
        };
        assert_eq!(pointers, places, "{patch}");
    }
    refused_as_not_permitted(case.patch(&person("eve", &["submitter"]), json!({"note": "mine"})));
    assert_eq!(case.history.len(), before);
    case.patch(&sam(), json!({"note": "n", "extra": {"a": "x"}})).expect("the submitter");
    case.patch(&reviewer("rita"), json!({"note": "seen"})).expect("who may act");
    case.take(&person("mia", &[]), "sign").expect("signed");
    let late = case.patch(&sam(), json!({"note": "late"}));
    assert!(matches!(late, Err(SubmissionError::NotInState { .. })), "{late:?}");
}

#[test]
fn computed_values_that_are_sent_back_as_they_are_shown_change_nothing() {
    let mut case = Case::new();
    case.form = compiled(json!({
        "title": "Order",
        "schema": {"type": "object", "additionalProperties": false, "properties": {
            "n": {"type": "integer"}, "note": {"type": "string"}, "sums": {"type": "object"}}},
        "rules": [{"id": "twice", "kind": "compute", "value": "n * 2", "into": "/sums/twice"},
                  {"id": "more", "kind": "compute", "value": "n + 1", "into": "/more"}],
        "workflow": {"initial": "open", "states": {"open": {"edit": ["/note", "/n"]}, "done": {"final": true}},
                     "transitions": [{"name": "end", "from": ["open"], "to": "done", "roles": ["reviewer"]}]}
    }));
    let (form, now, data) = (case.form.clone(), case.now, Arc::new(json!({"n": 2})));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    let shown = case.state.data().expect("data");
    assert_eq!(shown, json!({"n": 2, "more": 3, "sums": {"twice": 4}}));
    assert_eq!(case.patch(&sam(), shown).expect("nothing"), []);
    let edited = json!({"n": 5, "note": "five", "more": 3, "sums": {"twice": 4}});
    let events = case.patch(&sam(), edited).expect("edited");
    let SubmissionEvent::Amended { patch, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(patch.to_value(), json!({"n": 5, "note": "five"}));
    assert_eq!(case.state.data(), Some(json!({"n": 5, "note": "five", "more": 6, "sums": {"twice": 10}})));
    // Another value than the rule's is somebody's own.
    for (patch, place) in [(json!({"more": 7}), "/more"), (json!({"sums": {"twice": 10, "x": 1}}), "/sums/x")]
    {
        let refused = case.patch(&sam(), patch);
        let Err(SubmissionError::NotEditable { pointers, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(pointers, [place]);
    }
}

#[test]
fn other_data_are_checked_judged_and_routed_again() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), because("request-changes", "too much")).expect("back");
    let refused = case.patch(&sam(), json!({"amount": -1}));
    assert!(matches!(refused, Err(SubmissionError::Invalid(_))), "{refused:?}");
    let events = case.patch(&sam(), json!({"amount": 10})).expect("edited");
    assert_eq!(kinds(&events), ["amended", "rules-evaluated"]);
    case.take(&sam(), "resubmit").expect("again");
    assert_eq!(case.state(), "approved", "the new outcome says `auto`");
}

#[test]
fn data_that_come_with_a_transition_are_limited_like_any_others() {
    let mut case = Case::in_review();
    let refused = case.act(&person("mia", &[]), with_data("sign", json!({"amount": 1})));
    assert!(matches!(refused, Err(SubmissionError::NotEditable { .. })), "{refused:?}");
    let events =
        case.act(&person("mia", &[]), with_data("sign", json!({"extra": {"b": "ok"}}))).expect("signed");
    assert_eq!(kinds(&events), ["amended", "rules-evaluated", "transitioned"]);
    assert_eq!(case.state.data().expect("data")["extra"]["b"], "ok");
}

#[test]
fn role_submitter_means_the_person_who_submitted() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), because("request-changes", "which trip?")).expect("back");
    refused_as_not_permitted(case.take(&person("eve", &["submitter"]), "resubmit"));
    case.take(&person("sam", &[]), "resubmit").expect("whatever roles the credential has today");
}

#[test]
fn a_task_is_claimed_by_one_and_released_by_them_or_an_admin() {
    let mut case = Case::in_review();
    refused_as_not_permitted(case.act(&sam(), Act::Claim));
    case.act(&reviewer("rita"), Act::Claim).expect("taken on");
    assert_eq!(case.act(&reviewer("rita"), Act::Claim), Ok(vec![]), "once more is nothing new");
    let taken = case.act(&reviewer("rob"), Act::Claim);
    assert!(matches!(taken, Err(SubmissionError::AlreadyClaimed { .. })), "{taken:?}");
    refused_as_not_permitted(case.act(&reviewer("rob"), Act::Release));
    case.act(&person("root", &["admin"]), Act::Release).expect("released");
    case.act(&reviewer("rob"), Act::Claim).expect("free again");
    let to = |to: &str| Act::Assign { to: to.to_owned(), reason: None };
    refused_as_not_permitted(case.act(&sam(), to("sam")));
    case.act(&person("root", &["admin"]), to("rita")).expect("assigned");
    assert_eq!(case.work().assignee().map(|it| &**it), Some("rita"));
    case.act(&reviewer("rob"), because("request-changes", "?")).expect("still may act");
    assert_eq!(case.work().assignee(), None, "a task ends with its state");
}

#[test]
fn what_is_late_escalates_once() {
    let mut case = Case::in_review();
    assert_eq!(case.escalate(), Ok(vec![]), "not yet");
    case.now = "2026-03-01T10:00:00Z".parse().expect("a time");
    let events = case.escalate().expect("due");
    assert_eq!(kinds(&events), ["escalated", "transitioned", "task-opened"]);
    assert_eq!(case.state(), "overdue");
    assert_eq!(case.escalate(), Ok(vec![]), "only once");
    case.now -= TimeDelta::days(30);
    assert_eq!(case.escalate(), Ok(vec![]), "a clock that goes backwards changes nothing");
    case.take(&reviewer("rita"), "approve").expect("the first");
    case.take(&reviewer("rob"), "approve").expect("the second");
    assert_eq!(case.state(), "approved");
}

#[test]
fn what_was_done_in_time_does_not_escalate() {
    let mut case = Case::in_review();
    case.take(&person("mia", &[]), "sign").expect("in time");
    case.now += TimeDelta::days(30);
    assert_eq!(case.escalate(), Ok(vec![]));
}

#[test]
fn a_submitter_withdraws_while_it_is_open() {
    let mut case = Case::in_review();
    let withdraw = || Act::Withdraw { reason: Some("sold the car".to_owned()) };
    refused_as_not_permitted(case.act(&reviewer("rita"), withdraw()));
    case.act(&sam(), withdraw()).expect("withdrawn");
    assert_eq!(case.state(), "withdrawn");
    for late in [case.take(&reviewer("rita"), "approve"), case.act(&sam(), withdraw())] {
        assert!(matches!(late, Err(SubmissionError::NotInState { .. })), "{late:?}");
    }
}

#[test]
fn a_draft_is_nobody_elses_business() {
    let mut case = Case::drafted(&sam(), json!({"amount": 5000}));
    let comment = || Act::Comment { text: "hurry up".to_owned() };
    refused_as_not_permitted(case.act(&reviewer("rita"), comment()));
    assert!(!case.state.concerns(&case.form, &reviewer("rita"), case.now));
    case.submit_draft(&sam()).expect("submitted");
    assert!(case.state.concerns(&case.form, &reviewer("rita"), case.now));
    case.act(&reviewer("rita"), comment()).expect("heard");
}

#[test]
fn a_draft_that_was_withdrawn_stays_nobody_elses_business() {
    let mut draft = Case::drafted(&sam(), json!({"amount": 5000}));
    draft.act(&sam(), Act::Withdraw { reason: None }).expect("withdrawn");
    assert!(
        !draft.state.concerns(&draft.form, &reviewer("rita"), draft.now)
            && draft.state.concerns(&draft.form, &sam(), draft.now)
    );
    refused_as_not_permitted(draft.act(&reviewer("rita"), Act::Comment { text: "why?".to_owned() }));
    let mut submitted = Case::drafted(&sam(), json!({"amount": 5000}));
    submitted.submit_draft(&sam()).expect("submitted");
    submitted.act(&sam(), Act::Withdraw { reason: None }).expect("withdrawn");
    assert!(
        submitted.state.concerns(&submitted.form, &reviewer("rita"), submitted.now),
        "they saw it before"
    );
}
