//! What still waits is told of at the moments that its workflow names.

use serde_json::json;

use super::*;
use crate::submission::WorkflowFact;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

/// A claim by `sam` that came to review at 10 o'clock on 26 February 2026 and is due three days later, told of after one day and one day before.
fn case() -> Case {
    let mut workflow = workflow();
    workflow["states"]["review"]["remind"] = json!(["P1D", "-P1D"]);
    let mut case = Case { form: form_with(workflow), ..Case::new() };
    let (form, now, by) = (case.form.clone(), case.now, sam());
    let data = Arc::new(json!({"amount": 5000, "manager": "mia"}));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by, now }).expect("accepted");
    case
}

fn remind_at(case: &Case) -> Vec<DateTime<Utc>> {
    case.work().task().expect("it waits").remind_at.clone()
}

#[test]
fn it_is_told_once_at_each_moment_and_then_escalates() {
    let mut case = case();
    assert_eq!(remind_at(&case), ["2026-02-27T10:00:00Z", "2026-02-28T10:00:00Z"].map(time));
    case.now = time("2026-02-27T09:59:59Z");
    assert_eq!(case.escalate(), Ok(vec![]), "not yet");
    case.now = time("2026-02-27T10:00:00Z");
    case.act(&reviewer("rita"), Act::Claim).expect("taken on");
    let told = case.escalate().expect("the first moment");
    let SubmissionEvent::Worked { fact, .. } = &told[0] else { panic!("{told:?}") };
    let expected = WorkflowFact::Reminded {
        state: case.state.state().expect("it exists").clone(),
        remind_at: time("2026-02-27T10:00:00Z"),
        due_at: Some(time("2026-03-01T10:00:00Z")),
        assignee: Some("rita".into()),
    };
    assert_eq!((told.len(), fact), (1, &expected));
    assert_eq!(case.escalate(), Ok(vec![]), "only once");
    assert_eq!(case.work().next_at(), Some(time("2026-02-28T10:00:00Z")));
    case.now -= TimeDelta::days(1);
    assert_eq!(case.escalate(), Ok(vec![]), "a clock that goes backwards changes nothing");
    case.now = time("2026-02-28T10:00:00Z");
    assert_eq!(kinds(&case.escalate().expect("the second moment")), ["reminded"]);
    case.now = time("2026-03-01T10:00:00Z");
    assert_eq!(kinds(&case.escalate().expect("due")), ["escalated", "transitioned", "task-opened"]);
}

#[test]
fn moments_that_passed_unnoticed_are_told_together_and_what_is_overdue_escalates_at_once() {
    let mut late = case();
    late.now = time("2026-02-28T20:00:00Z");
    assert_eq!(kinds(&late.escalate().expect("both moments passed")), ["reminded"]);
    assert!(remind_at(&late).is_empty());
    assert_eq!(late.escalate(), Ok(vec![]));
    let mut overdue = case();
    overdue.now = time("2026-03-05T10:00:00Z");
    assert_eq!(kinds(&overdue.escalate().expect("due")), ["escalated", "transitioned", "task-opened"]);
    assert_eq!(overdue.escalate(), Ok(vec![]));
}

#[test]
fn an_edit_keeps_the_moments_and_another_arrival_begins_anew() {
    let mut case = case();
    case.now += TimeDelta::hours(30);
    case.escalate().expect("the first moment");
    let left = remind_at(&case);
    assert_eq!(left, [time("2026-02-28T10:00:00Z")]);
    case.patch(&sam(), json!({"note": "see the receipt"})).expect("editable");
    assert_eq!(remind_at(&case), left);
    case.act(&reviewer("rita"), because("request-changes", "no receipt")).expect("back to sam");
    case.take(&sam(), "resubmit").expect("again");
    assert_eq!(remind_at(&case), ["2026-02-28T16:00:00Z", "2026-03-01T16:00:00Z"].map(time));
    case.take(&person("mia", &[]), "sign").expect("decided");
    case.now += TimeDelta::days(9);
    assert_eq!(case.escalate(), Ok(vec![]), "what was decided is not told of");
}

#[test]
fn what_is_overdue_and_goes_nowhere_stays_due_and_is_told_once() {
    let mut case = Case::new();
    let mut workflow = workflow();
    workflow["states"]["review"] = json!({"due": "P3D", "edit": ["/manager"]});
    workflow["transitions"][1] = json!({"name": "late", "from": "review", "to": "overdue"});
    workflow["transitions"][2] = json!({"name": "reject", "from": ["review", "overdue"], "to": "rejected"});
    workflow["transitions"].as_array_mut().expect("a list").remove(3);
    workflow["states"].as_object_mut().expect("states").remove("changes");
    case.form = form_with(workflow);
    let (form, now, data) = (case.form.clone(), case.now, Arc::new(json!({"amount": 5000})));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    let due_at = case.state.task().expect("a task").due_at.expect("a due date");
    case.now = due_at;
    assert_eq!(kinds(&case.escalate().expect("due")), ["escalated"]);
    case.patch(&sam(), json!({"manager": "mia"})).expect("opens the task again");
    assert_eq!(case.state.task().and_then(|task| task.due_at), Some(due_at), "it is due still");
    assert_eq!(case.work().next_at(), None);
    case.now += TimeDelta::days(30);
    assert_eq!(case.escalate(), Ok(vec![]), "only once");
}
