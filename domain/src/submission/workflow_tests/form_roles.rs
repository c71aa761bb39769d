//! A role for one form, in the decisions of that form's submissions and of others.

use serde_json::json;

use super::*;
use crate::submission::WorkflowFact;

#[test]
fn a_role_for_the_form_acts_there_and_one_for_another_form_is_none() {
    let mut case = Case::in_review();
    refused_as_not_permitted(case.take(&person("rob", &["reviewer@permit", "reviewer@expense2"]), "approve"));
    case.take(&person("rita", &["reviewer@expense"]), "approve").expect("the first");
    let again = case.take(&person("rita", &["reviewer"]), "approve");
    assert!(matches!(again, Err(SubmissionError::AlreadyApproved { .. })), "one person, whatever the scope");
    case.take(&person("rob", &["reviewer@expense", "clerk"]), "approve").expect("the second");
    assert_eq!(case.state(), "approved");
}

#[test]
fn guards_and_delegations_see_the_role_as_it_is_on_the_form() {
    let mut case = Case::submitted(json!({"amount": 60000, "manager": "mia"}));
    let guarded = case.take(&person("mia", &["cfo@permit"]), "sign");
    assert!(matches!(guarded, Err(SubmissionError::GuardNotMet { .. })), "{guarded:?}");
    let rita = person("rita", &["reviewer@expense", "reviewer@permit"]);
    let delegated = case.act(&rita, delegate("dora")).expect("her own right");
    let SubmissionEvent::Worked { fact: WorkflowFact::Delegated { delegation, .. }, .. } = &delegated[0]
    else {
        panic!("{delegated:?}");
    };
    assert_eq!(delegation.roles, ["reviewer"], "recorded as the role that it is here");
    case.take(&person("mia", &["cfo@expense"]), "sign").expect("the guard holds");
}

#[test]
fn who_may_is_said_whatever_the_roles_are_called() {
    let mut case = Case::in_review();
    let refused = case.take(&person("mia", &["clerk"]), "approve").expect_err("no reviewer").to_string();
    assert_eq!(refused, "only somebody with the role `reviewer` may do this");
}

#[test]
fn a_submission_concerns_who_has_a_role_for_its_form() {
    let case = Case::in_review();
    let concerns = |roles: &[&str]| case.state.concerns(&case.form, &person("eve", roles), case.now);
    assert!(concerns(&["reviewer"]) && concerns(&["reviewer@expense"]));
    assert!(!concerns(&["reviewer@permit"]) && !concerns(&["submitter@expense"]) && !concerns(&[]));
}
