//! Four eyes cannot be beaten: each attack is a test, named after why it does not help.

use super::super::{Act, Approvals, SubmissionCommand, SubmissionError, SubmissionEvent, WorkflowFact};
use super::*;

#[track_caller]
fn refused_as_approved_already(decided: Decided) {
    assert!(matches!(decided, Err(SubmissionError::AlreadyApproved { .. })), "{decided:?}");
}

#[test]
fn the_same_person_twice_is_one_person() {
    let mut case = Case::in_review();
    case.take(&reviewer("rita"), "approve").expect("the first");
    refused_as_approved_already(case.take(&reviewer("rita"), "approve"));
    refused_as_approved_already(case.take(&person("rita", &["admin", "reviewer"]), "approve"));
    assert_eq!(case.have(), 1);
}

/// Two out of a committee grant, or refuse.
fn voted_on() -> Case {
    let candidates = json!(["kim", "kai", "kay"]);
    let vote = |name: &str, to: &str| json!({"name": name, "from": "submitted", "to": to, "candidates": "['kim', 'kai', 'kay']", "approvals": {"need": 2, "of": 3}});
    let mut case = Case::new();
    case.form = form_with(json!({
        "initial": "submitted",
        "states": {"submitted": {}, "granted": {"final": true}, "refused": {"final": true}},
        "transitions": [vote("grant", "granted"), vote("refuse", "refused")]
    }));
    let (form, now) = (case.form.clone(), case.now);
    let data = Arc::new(json!({"amount": 5000}));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    let people = &case.work().task().expect("a task").actions[0].candidates;
    assert_eq!(json!(people), candidates);
    case
}

#[test]
fn who_votes_for_another_transition_has_taken_the_first_vote_back() {
    let mut case = voted_on();
    let have =
        |case: &Case| ["grant", "refuse"].map(|name| case.work().approvals(name).map(|given| given.have));
    case.take(&person("kim", &[]), "grant").expect("a vote");
    case.take(&person("kim", &[]), "refuse").expect("another opinion");
    assert_eq!(have(&case), [Some(0), Some(1)]);
    case.take(&person("kai", &[]), "grant").expect("a vote");
    assert_eq!(case.state(), "submitted", "one for it, and one against it");
    refused_as_approved_already(case.take(&person("kai", &[]), "grant"));
    case.take(&person("kim", &[]), "grant").expect("convinced");
    assert_eq!(case.state(), "granted");
}

#[test]
fn a_vote_of_a_delegate_takes_back_what_its_owner_said() {
    let mut case = voted_on();
    case.act(&person("kim", &[]), delegate("kai")).expect("delegated");
    case.take(&person("kim", &[]), "grant").expect("a vote");
    let act = Act::Take {
        transition: "refuse".to_owned(),
        reason: None,
        data: None,
        on_behalf_of: Some("kim".into()),
        signature: None,
    };
    case.act(&person("kai", &[]), act).expect("in kim's name");
    assert_eq!(case.work().approvals("grant").map(|given| given.have), Some(0));
    case.take(&person("kai", &[]), "grant")
        .expect("the delegate's own vote is one and the same pair of eyes");
    assert_eq!(case.work().approvals("refuse").map(|given| given.have), Some(0));
    assert_eq!(case.state(), "submitted");
}

#[test]
fn an_api_key_is_nobodys_eyes() {
    let mut case = Case::in_review();
    let key = |id: &str| person(&Actor::key_subject(id), &["reviewer", "admin"]);
    for id in ["1", "2"] {
        refused_as_not_permitted(case.take(&key(id), "approve"));
    }
    case.act(&reviewer("rita"), delegate(&Actor::key_subject("1")))
        .expect("recorded; it gives no right to a program");
    refused_as_not_permitted(case.take(&key("1"), "approve"));
    case.take(&reviewer("rita"), "approve").expect("the first");
    case.take(&reviewer("rob"), "approve").expect("the second");
}

#[test]
fn the_submitter_does_not_approve_in_any_role() {
    let mut case = Case::in_review();
    for roles in [&["submitter", "reviewer"][..], &["admin", "reviewer"], &["reviewer"]] {
        refused_as_not_permitted(case.take(&person("sam", roles), "approve"));
    }
    case.act(&reviewer("rita"), delegate("sam")).expect("recorded; it gives no right to a submitter");
    refused_as_not_permitted(case.take(&sam(), "approve"));
    let mut own = Case::in_review();
    own.act(&person("sam", &["submitter", "reviewer"]), delegate("dora")).expect("recorded");
    refused_as_not_permitted(own.take(&person("dora", &[]), "approve"));
}

#[test]
fn who_writes_or_submits_a_draft_for_somebody_does_not_approve_it() {
    let admin = |subject| person(subject, &["admin", "reviewer"]);
    let data = json!({"amount": 5000, "manager": "mia"});
    for writes in [true, false] {
        let mut case = Case::drafted(&sam(), json!({}));
        let (writer, submitter) = if writes { (admin("ada"), sam()) } else { (sam(), admin("ada")) };
        case.patch(&writer, data.clone()).expect("written");
        case.submit_draft(&submitter).expect("submitted");
        assert_eq!(case.state.submitter().map(|submitter| &**submitter), Some("sam"));
        refused_as_not_permitted(case.take(&admin("ada"), "approve"));
        case.act(&admin("ada"), delegate("dora")).expect("recorded; it gives no right");
        refused_as_not_permitted(case.take(&person("dora", &[]), "approve"));
        case.take(&reviewer("rita"), "approve").expect("anybody else");
        let replayed = case.history.iter().cloned().fold(Submission::default(), |mut state, event| {
            let stored = Submission::encode(&event);
            let event = Submission::decode(stored.event_type, stored.event_version, &stored.payload);
            state.apply(event.expect("as it was written"));
            state
        });
        assert_eq!(replayed, case.state);
    }
}

#[test]
fn a_delegate_of_an_approver_who_approved_already_adds_nothing() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    case.take(&reviewer("rita"), "approve").expect("the owner approves");
    refused_as_approved_already(case.take(&person("dora", &[]), "approve"));
    assert_eq!(case.have(), 1);
}

#[test]
fn an_owner_after_their_delegate_adds_nothing() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    let events = case.take(&person("dora", &[]), "approve").expect("on behalf of rita");
    let SubmissionEvent::Worked { fact: WorkflowFact::Approved { by, on_behalf_of, .. }, .. } = &events[0]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&**by, on_behalf_of.as_deref()), ("dora", Some("rita")));
    refused_as_approved_already(case.take(&reviewer("rita"), "approve"));
    assert_eq!(case.have(), 1);
}

#[test]
fn two_delegates_of_one_owner_are_one_approval() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    case.act(&reviewer("rita"), delegate("dan")).expect("delegated");
    case.take(&person("dora", &[]), "approve").expect("for rita");
    refused_as_approved_already(case.take(&person("dan", &[]), "approve"));
}

#[test]
fn one_delegate_of_two_owners_is_one_pair_of_eyes() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    case.act(&reviewer("rob"), delegate("dora")).expect("delegated");
    let on_behalf_of = |owner: &str| Act::Take {
        transition: "approve".to_owned(),
        reason: None,
        data: None,
        on_behalf_of: Some(owner.to_owned()),
        signature: None,
    };
    case.act(&person("dora", &[]), on_behalf_of("rita")).expect("for rita");
    refused_as_approved_already(case.take(&person("dora", &[]), "approve"));
    refused_as_approved_already(case.act(&person("dora", &[]), on_behalf_of("rob")));
    // Neither as oneself after acting for another.
    refused_as_approved_already(case.take(&reviewer("dora"), "approve"));
    assert_eq!(case.have(), 1);
}

#[test]
fn an_approval_needs_the_role_when_it_is_given_and_stays_when_the_role_goes() {
    let mut case = Case::in_review();
    case.take(&reviewer("rita"), "approve").expect("as a reviewer");
    refused_as_not_permitted(case.take(&person("rob", &["clerk"]), "approve"));
    refused_as_not_permitted(case.take(&person("root", &["admin"]), "approve"));
    // Rita is no reviewer any more: what she approved was approved by a reviewer, and she adds nothing to it.
    refused_as_not_permitted(case.take(&person("rita", &["clerk"]), "approve"));
    assert_eq!(case.have(), 1);
    case.take(&reviewer("rob"), "approve").expect("the second");
    assert_eq!(case.state(), "approved");
}

#[test]
fn approvals_are_of_the_data_that_were_seen() {
    let mut case = Case::in_review();
    case.take(&reviewer("rita"), "approve").expect("the first");
    case.patch(&sam(), json!({"note": "one more thing"})).expect("may be edited here");
    assert_eq!(case.have(), 0);
    case.take(&reviewer("rob"), "approve").expect("the first again");
    assert_eq!((case.state(), case.have()), ("review", 1));
    case.take(&reviewer("rita"), "approve").expect("seen anew");
    assert_eq!(case.state(), "approved");
}

#[test]
fn approvals_do_not_survive_a_way_back() {
    let mut case = Case::in_review();
    case.take(&reviewer("rita"), "approve").expect("the first");
    case.act(&reviewer("rob"), because("request-changes", "which trip?")).expect("back");
    case.take(&sam(), "resubmit").expect("and forth");
    assert_eq!((case.state(), case.have()), ("review", 0));
}

#[test]
fn what_one_holds_as_a_delegate_cannot_be_delegated_on() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    refused_as_not_permitted(case.act(&person("dora", &[]), delegate("dan")));
    refused_as_not_permitted(case.act(&person("eve", &["submitter"]), delegate("dan")));
    let oneself = case.act(&reviewer("rita"), delegate("rita"));
    assert!(matches!(oneself, Err(SubmissionError::DelegationInvalid(_))), "{oneself:?}");
}

#[test]
fn candidates_beyond_the_stated_number_do_not_count() {
    let mut workflow = workflow();
    workflow["transitions"][4]["candidates"] = json!("[manager, 'cfo', 'cto', manager]");
    workflow["transitions"][4]["approvals"] = json!({"need": 2, "of": 2});
    let mut case = Case::new();
    case.form = form_with(workflow);
    let (form, now) = (case.form.clone(), case.now);
    let data = Arc::new(json!({"amount": 5000, "manager": "mia"}));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    refused_as_not_permitted(case.take(&person("cto", &[]), "sign"));
    case.take(&person("mia", &[]), "sign").expect("the first");
    refused_as_approved_already(case.take(&person("mia", &[]), "sign"));
    case.take(&person("cfo", &[]), "sign").expect("the second");
    assert_eq!(case.state(), "approved");
}

#[test]
fn a_transition_takes_as_many_people_as_it_needs() {
    let mut case = Case::in_review();
    case.take(&reviewer("rita"), "approve").expect("the first");
    assert_eq!(
        (case.state(), case.work().approvals("approve")),
        ("review", Some(Approvals { have: 1, need: 2 }))
    );
    let last = case.take(&reviewer("rob"), "approve").expect("the second");
    assert_eq!(
        (case.state(), kinds(&last)),
        ("approved", vec!["approved".to_owned(), "transitioned".to_owned()])
    );
}

#[test]
fn a_clock_that_goes_backwards_loses_no_approval_and_lets_nobody_act_who_may_not() {
    let mut case = Case::in_review();
    let from = case.now + TimeDelta::days(1);
    let later = Act::Delegate { to: "dora".to_owned(), starts_at: Some(from), ends_at: None, reason: None };
    case.act(&reviewer("rob"), later).expect("his own right");
    case.now = from;
    case.take(&reviewer("rita"), "approve").expect("the first");
    // Another node, whose clock is behind.
    case.now -= TimeDelta::days(2);
    assert_eq!(case.have(), 1, "what was approved is approved");
    refused_as_approved_already(case.take(&reviewer("rita"), "approve"));
    refused_as_not_permitted(case.take(&person("dora", &[]), "approve"));
    case.now = from;
    case.take(&person("dora", &[]), "approve").expect("for rob, in her time");
    assert_eq!(case.state(), "approved");
}

#[test]
fn who_is_excluded_takes_no_seat_of_the_candidates() {
    let seated = |exclude: bool| {
        let mut workflow = workflow();
        workflow["transitions"][4] = json!({
            "name": "sign", "from": ["review"], "to": "approved", "approvals": {"need": 2, "of": 2},
            "candidates": "['sam', 'mia', 'max', 'moe']", "exclude_submitter": exclude
        });
        let mut case = Case { form: form_with(workflow), ..Case::new() };
        let (form, now, data) = (case.form.clone(), case.now, Arc::new(json!({"amount": 5000})));
        case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
        case
    };
    let mut case = seated(true);
    refused_as_not_permitted(case.take(&sam(), "sign"));
    refused_as_not_permitted(case.take(&person("moe", &[]), "sign"));
    case.take(&person("mia", &[]), "sign").expect("the first seat");
    case.take(&person("max", &[]), "sign").expect("the second");
    assert_eq!(case.state(), "approved");
    let mut open = seated(false);
    open.take(&sam(), "sign").expect("nobody is excluded");
    refused_as_not_permitted(open.take(&person("max", &[]), "sign"));
}
