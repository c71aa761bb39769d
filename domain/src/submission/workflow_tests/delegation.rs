//! Rights that are lent: in their time, given back, and not without end.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::{Act, DELEGATIONS_MAX, SubmissionError, WorkflowFact};
use super::*;
use crate::attachment::{Attachment, ContentHash, MediaType};

#[test]
fn a_delegation_holds_in_its_time_and_returns_to_its_owner() {
    let mut case = Case::in_review();
    let day = TimeDelta::days(1);
    let (starts_at, ends_at) = (Some(case.now + day), Some(case.now + day * 2));
    let ranged =
        Act::Delegate { to: "dora".to_owned(), starts_at, ends_at, reason: Some("holiday".to_owned()) };
    case.act(&reviewer("rita"), ranged).expect("delegated");
    let dora = person("dora", &[]);
    refused_as_not_permitted(case.take(&dora, "approve"));
    case.now += day * 2;
    refused_as_not_permitted(case.take(&dora, "approve"));
    case.now -= TimeDelta::seconds(1);
    case.take(&dora, "approve").expect("within its time");

    let mut returned = Case::in_review();
    returned.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    returned.act(&dora, Act::Release).expect("given back");
    refused_as_not_permitted(returned.take(&dora, "approve"));
    returned.act(&reviewer("rita"), delegate("dora")).expect("delegated again");
    returned.act(&reviewer("rita"), Act::EndDelegation { from: None, reason: None }).expect("taken back");
    refused_as_not_permitted(returned.take(&dora, "approve"));
}

#[test]
fn a_submission_concerns_a_delegate_only_while_the_delegation_holds() {
    let mut case = Case::in_review();
    let (dora, day) = (person("dora", &[]), TimeDelta::days(1));
    let (starts_at, ends_at) = (Some(case.now + day), Some(case.now + day * 2));
    let to = "dora".to_owned();
    case.act(&reviewer("rita"), Act::Delegate { to, starts_at, ends_at, reason: None }).expect("delegated");
    for (after, concerned) in [(0, false), (1, true), (2, false)] {
        let now = case.now + day * after;
        assert_eq!(case.state.concerns(&case.form, &dora, now), concerned, "after {after} days");
    }
    refused_as_not_permitted(case.act(&dora, Act::Comment { text: "early".to_owned() }));
    case.now += day;
    case.act(&dora, Act::Comment { text: "in time".to_owned() }).expect("heard");
}

#[test]
fn a_delegate_of_several_people_says_for_whom() {
    let mut case = Case::in_review();
    for owner in ["rita", "rolf"] {
        case.act(&reviewer(owner), delegate("dora")).expect("delegated");
    }
    let dora = person("dora", &[]);
    let of = vec!["rita".to_owned(), "rolf".to_owned()];
    assert_eq!(case.take(&dora, "approve"), Err(SubmissionError::OnBehalfOfRequired { of }));
    let mut for_rolf = take("approve");
    if let Act::Take { on_behalf_of, .. } = &mut for_rolf {
        *on_behalf_of = Some("rolf".to_owned());
    }
    case.act(&dora, for_rolf).expect("for rolf");
    assert_eq!(case.have(), 1);

    let mut own = Case::in_review();
    own.act(&reviewer("rolf"), delegate("rita")).expect("delegated");
    own.act(&reviewer("otto"), delegate("rita")).expect("delegated");
    own.take(&reviewer("rita"), "approve").expect("by her own right");
}

#[test]
fn a_delegation_holds_with_the_roles_its_owner_had_also_when_the_owner_lost_them() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    // Rita's later credentials have no role any more: she may not act, and whom she delegated to may until the delegation ends.
    refused_as_not_permitted(case.take(&person("rita", &[]), "approve"));
    case.take(&person("dora", &[]), "approve").expect("the right that was lent");
    assert_eq!(case.have(), 1);

    let mut ended = Case::in_review();
    ended.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    let end = Act::EndDelegation { from: Some("rita".to_owned()), reason: None };
    ended.act(&person("ada", &["admin"]), end).expect("an admin ends it in her place");
    refused_as_not_permitted(ended.take(&person("dora", &[]), "approve"));

    let mut without = Case::in_review();
    refused_as_not_permitted(without.act(&person("rita", &[]), delegate("dora")));
}

#[test]
fn a_delegate_gives_the_right_back_whoever_has_the_task() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    case.act(&reviewer("rolf"), Act::Claim).expect("claimed by another one");
    let stranger = case.act(&reviewer("otto"), Act::Release);
    assert!(matches!(stranger, Err(SubmissionError::NotPermitted { .. })), "{stranger:?}");
    case.act(&person("dora", &["admin"]), Act::Release).expect("given back");
    assert!(case.work().delegations().is_empty());
    assert_eq!(case.work().assignee().map(|assignee| &**assignee), Some("rolf"), "who keeps the task");
}

#[test]
fn delegations_that_are_over_leave_room_for_new_ones() {
    let mut case = Case::in_review();
    let for_a_day = |to: String, now: DateTime<Utc>| Act::Delegate {
        to,
        starts_at: None,
        ends_at: Some(now + TimeDelta::days(1)),
        reason: None,
    };
    for delegate in 0..DELEGATIONS_MAX {
        case.act(&reviewer("rita"), for_a_day(format!("d{delegate}"), case.now)).expect("delegated");
    }
    let one_more = case.act(&reviewer("rita"), for_a_day("dora".to_owned(), case.now));
    assert!(matches!(one_more, Err(SubmissionError::DelegationInvalid(_))), "{one_more:?}");
    case.now += TimeDelta::days(1);
    case.act(&reviewer("rita"), for_a_day("dora".to_owned(), case.now)).expect("the others are over");
}

/// For whom each of the facts was, as it is recorded.
fn on_behalf_of(events: &[SubmissionEvent]) -> Option<&str> {
    let SubmissionEvent::Worked { fact, .. } = &events[0] else {
        let SubmissionEvent::Amended { on_behalf_of, .. } = &events[0] else { panic!("{events:?}") };
        return on_behalf_of.as_deref();
    };
    match fact {
        WorkflowFact::Claimed { on_behalf_of, .. }
        | WorkflowFact::Attached { on_behalf_of, .. }
        | WorkflowFact::Detached { on_behalf_of, .. } => on_behalf_of.as_deref(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_delegate_edits_claims_and_attaches_is_recorded_as_done_for_the_owner() {
    let attachment = Attachment {
        sha256: ContentHash([7; 32]),
        name: "receipt.pdf".into(),
        media_type: MediaType::named("application/pdf").expect("known"),
        bytes: 10,
    };
    let mut case = Case::new();
    let (mut definition, now) = (definition(workflow()), case.now);
    definition["attachments"] = json!({});
    case.form = compiled(definition);
    let (form, data) = (case.form.clone(), Arc::new(json!({"amount": 5000, "manager": "mia"})));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    for owner in ["rita", "rolf"] {
        case.act(&reviewer(owner), delegate("dora")).expect("delegated");
    }
    for (dora, owner) in [(person("dora", &[]), Some("rita")), (reviewer("dora"), None)] {
        let sha256 = attachment.sha256;
        let attach = Act::Attach { attachment: attachment.clone() };
        let text = format!("for {owner:?}");
        let edited = case.patch(&dora, json!({"note": text})).expect("edited");
        assert_eq!(on_behalf_of(&edited), owner, "the first who delegated, where nobody says which");
        assert_eq!(on_behalf_of(&case.act(&dora, attach).expect("attached")), owner);
        let detached = case.act(&dora, Act::Detach { sha256, reason: None }).expect("taken off");
        assert_eq!(on_behalf_of(&detached), owner);
        assert_eq!(on_behalf_of(&case.act(&dora, Act::Claim).expect("claimed")), owner);
        case.act(&dora, Act::Release).expect("released");
    }
    let taken = Act::Take {
        transition: "approve".to_owned(),
        reason: None,
        data: Some(Arc::new(json!({"note": "approved"}))),
        on_behalf_of: Some("rolf".to_owned()),
        signature: None,
    };
    let events = case.act(&person("dora", &[]), taken).expect("for rolf");
    assert_eq!(on_behalf_of(&events), Some("rolf"), "who is named for all of it");
}

#[test]
fn why_a_delegation_ended_is_kept() {
    let mut case = Case::in_review();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    let end = |reason: String| Act::EndDelegation { from: None, reason: Some(reason) };
    let long = case.act(&reviewer("rita"), end("x".repeat(5000)));
    assert!(matches!(long, Err(SubmissionError::TextTooLong { .. })), "{long:?}");
    let events = case.act(&reviewer("rita"), end(" back again ".to_owned())).expect("ended");
    let SubmissionEvent::Worked { fact, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(fact.reason().map(|reason| &**reason), Some("back again"));
}

#[test]
fn a_delegation_that_begins_later_leaves_what_holds_until_then() {
    let mut case = Case::in_review();
    let (dora, day, start) = (person("dora", &[]), TimeDelta::days(1), case.now);
    let lend = |starts_in: i32, ends_in: i32| {
        let (starts_at, ends_at) = (Some(start + day * starts_in), Some(start + day * ends_in));
        Act::Delegate { to: "dora".to_owned(), starts_at, ends_at, reason: None }
    };
    case.act(&reviewer("rita"), delegate("dora")).expect("at once, without an end");
    case.act(&reviewer("rita"), lend(7, 9)).expect("and in a week");
    for (days, holds) in [(0, true), (6, true), (7, true), (8, true), (9, false)] {
        let now = start + day * days;
        assert_eq!(case.work().may_act(&dora, now), holds, "after {days} days");
    }
    case.act(&reviewer("rita"), lend(5, 6)).expect("instead of the one in a week");
    let times: Vec<_> = case.work().delegations().iter().map(|held| held.ends_at).collect();
    assert_eq!(times, [Some(start + day * 5), Some(start + day * 6)]);
    let ended = case.act(&reviewer("rita"), Act::EndDelegation { from: None, reason: None }).expect("ended");
    assert_eq!(kinds(&ended), ["delegation-ended"], "both at once");
    assert_eq!(case.work().delegations(), []);
    case.act(&reviewer("rita"), lend(5, 6)).expect("later");
    case.act(&reviewer("rita"), delegate("dora")).expect("at once");
    assert_eq!(case.work().delegations().len(), 1, "what begins at once replaces all");
}

#[test]
fn a_claim_by_a_lent_right_ends_with_it_and_keeps_nobody_off() {
    let (dora, rita, rolf) = (person("dora", &[]), reviewer("rita"), reviewer("rolf"));
    let claimed = || {
        let mut case = Case::in_review();
        let (to, ends_at) = ("dora".to_owned(), Some(case.now + TimeDelta::days(1)));
        case.act(&rita, Act::Delegate { to, starts_at: None, ends_at, reason: None }).expect("delegated");
        case.act(&dora, Act::Claim).expect("claimed");
        let taken = case.act(&rolf, Act::Claim);
        assert!(matches!(taken, Err(SubmissionError::AlreadyClaimed { .. })), "{taken:?}");
        refused_as_not_permitted(case.act(&rolf, Act::Release));
        case
    };
    let revoked = || {
        let mut case = claimed();
        case.act(&rita, Act::EndDelegation { from: None, reason: None }).expect("ended");
        case
    };
    let expired = || {
        let mut case = claimed();
        case.now += TimeDelta::days(1);
        case
    };
    for case in [revoked(), expired()] {
        let waiting = case.work().waits_for(&rolf, case.now).expect("it waits for whoever may act");
        assert!(waiting.transitions.iter().any(|open| &*open.name == "reject"), "{waiting:?}");
        assert_eq!(case.work().waits_for(&dora, case.now), None);
        assert!(!case.state.concerns(&case.form, &dora, case.now));
        assert_eq!(case.work().holder(case.now), None);
    }
    for mut case in [revoked(), expired()] {
        case.act(&rolf, Act::Claim).expect("claimed by who can");
        assert_eq!(case.work().holder(case.now).map(|holder| &**holder), Some("rolf"));
    }
    for mut case in [revoked(), expired()] {
        refused_as_not_permitted(case.act(&sam(), Act::Release));
        case.act(&rita, Act::Release).expect("released by who may act");
        assert_eq!(case.work().assignee(), None);
    }
    let mut other = revoked();
    other.act(&rolf, delegate("dora")).expect("lent by another one");
    assert_eq!(other.work().holder(other.now).map(|holder| &**holder), Some("dora"), "who can again");
}

#[test]
fn an_assignment_takes_nobodys_claim_away_but_an_admins() {
    let mut case = Case::in_review();
    let to = |to: &str| Act::Assign { to: to.to_owned(), reason: None };
    case.act(&reviewer("rita"), Act::Claim).expect("claimed");
    for person in ["rolf", "otto"] {
        let taken = case.act(&reviewer("rolf"), to(person));
        assert_eq!(taken, Err(SubmissionError::AlreadyClaimed { by: "rita".into() }));
    }
    case.act(&reviewer("rita"), to("rolf")).expect("who has it hands it on");
    case.act(&reviewer("otto"), to("dan")).expect("who was only asked does not have it yet");
    case.act(&person("root", &["admin"]), to("rolf")).expect("an admin");
    let claimed = case.act(&reviewer("rolf"), Act::Claim).expect("takes it on");
    assert_eq!(kinds(&claimed), ["claimed"]);
    let taken = case.act(&reviewer("otto"), to("dan"));
    assert_eq!(taken, Err(SubmissionError::AlreadyClaimed { by: "rolf".into() }));
    case.act(&person("root", &["admin"]), to("dan")).expect("an admin may");
}

#[test]
fn a_guard_sees_the_roles_of_the_person_for_whom_it_is_taken() {
    let taken = |owner: &[&str], delegate_roles: &[&str]| {
        let mut case = Case::submitted(json!({"amount": 60000, "manager": "mia"}));
        case.act(&person("mia", owner), delegate("dora")).expect("delegated");
        case.take(&person("dora", delegate_roles), "sign")
    };
    taken(&["cfo"], &[]).expect("her delegate may what mia may");
    for (owner, own) in [(&[][..], &[][..]), (&[], &["cfo"])] {
        let refused = taken(owner, own);
        assert!(matches!(refused, Err(SubmissionError::GuardNotMet { .. })), "{refused:?}");
    }
    let mut case = Case::submitted(json!({"amount": 60000, "manager": "mia"}));
    case.act(&person("mia", &["cfo"]), delegate("dora")).expect("delegated");
    let waiting = case.work().waits_for(&person("dora", &["clerk"]), case.now).expect("it waits");
    let sign = waiting.transitions.iter().find(|open| &*open.name == "sign").expect("open");
    assert_eq!(sign.lent_roles.as_deref(), Some(&["cfo".to_owned()][..]));
}
