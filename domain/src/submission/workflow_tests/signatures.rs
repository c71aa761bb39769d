//! Electronic signatures: asked for by the form, bound to what was signed.

use super::super::{Signature, SignatureGiven, SignedContent, WorkflowFact, signed_data};
use super::*;
use crate::attachment::ContentHash;

const MEANING: &str = "I approve this claim";

/// The claim of these tests, whose approvals must be signed; signing to reject asks for a fresh login.
fn signing() -> Case {
    let mut workflow = workflow();
    workflow["transitions"][0]["signature"] = json!({"meaning": MEANING});
    workflow["transitions"][1]["signature"] = json!({"meaning": "I reject", "max_age": "PT5M"});
    workflow["transitions"][4]["signature"] = json!({"meaning": MEANING});
    let mut case = Case { form: form_with(workflow), ..Case::new() };
    let (form, now) = (case.form.clone(), case.now);
    let data = Arc::new(json!({"amount": 5000, "manager": "mia"}));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    case
}

fn given(meaning: &str) -> SignatureGiven {
    SignatureGiven { name: "Ada Lovelace".to_owned(), meaning: meaning.to_owned(), authenticated_at: None }
}

fn signed(transition: &str, signature: SignatureGiven) -> Act {
    let Act::Take { transition, reason, data, on_behalf_of, .. } = because(transition, "checked") else {
        unreachable!("it takes a transition")
    };
    Act::Take { transition, reason, data, on_behalf_of, signature: Some(signature) }
}

fn signatures(history: &[SubmissionEvent]) -> Vec<&Signature> {
    let signature = |event| match event {
        &SubmissionEvent::Worked { fact: WorkflowFact::Signed(ref signature), .. } => Some(signature),
        _ => None,
    };
    history.iter().filter_map(signature).collect()
}

#[test]
fn each_of_several_approvals_carries_its_own_signature() {
    let mut case = signing();
    let first = case.act(&reviewer("rita"), signed("approve", given(MEANING))).expect("the first");
    assert_eq!(kinds(&first), ["signed", "approved"]);
    let second = case.act(&reviewer("rob"), signed("approve", given(MEANING))).expect("the second");
    assert_eq!(kinds(&second), ["signed", "approved", "transitioned"]);
    let signatures = signatures(&case.history);
    let told: Vec<_> = signatures.iter().map(|it| (&*it.by, &*it.name, &*it.meaning)).collect();
    assert_eq!(told, [("rita", "Ada Lovelace", MEANING), ("rob", "Ada Lovelace", MEANING)]);
    let content = SignedContent::of(&case.state);
    assert!(signatures.iter().all(|signature| signature.covers(&content)));
}

#[test]
fn without_the_signature_that_the_form_asks_for_nothing_happens() {
    let mut case = signing();
    let missing = case.take(&reviewer("rita"), "approve");
    let Err(SubmissionError::SignatureRequired { meaning, .. }) = &missing else { panic!("{missing:?}") };
    assert_eq!(meaning, MEANING);
    for (signature, place) in [
        (given("I approve"), "/signature/meaning"),
        (SignatureGiven { name: " ".to_owned(), ..given(MEANING) }, "/signature/name"),
        (SignatureGiven { name: "Ada\nLovelace".to_owned(), ..given(MEANING) }, "/signature/name"),
        (SignatureGiven { name: "\u{202e}ecalevoL adA".to_owned(), ..given(MEANING) }, "/signature/name"),
    ] {
        let refused = case.act(&reviewer("rita"), signed("approve", signature));
        let Err(SubmissionError::SignatureInvalid { pointer, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(pointer, place);
    }
    let long = SignatureGiven { name: "x".repeat(257), ..given(MEANING) };
    let refused = case.act(&reviewer("rita"), signed("approve", long));
    assert!(matches!(refused, Err(SubmissionError::TextTooLong { .. })), "{refused:?}");
    assert_eq!(case.have(), 0);
    let unasked = Case::in_review().act(&reviewer("rita"), signed("approve", given(MEANING)));
    assert!(matches!(unasked, Err(SubmissionError::SignatureInvalid { pointer: "/signature", .. })));
}

#[test]
fn a_stranger_is_not_told_what_to_sign() {
    let mut case = signing();
    refused_as_not_permitted(case.act(&sam(), signed("approve", given("?"))));
}

#[test]
fn a_program_signs_nothing() {
    let key = Actor { subject: Actor::key_subject("7"), ..reviewer("") };
    refused_as_not_permitted(signing().act(&key, signed("approve", given(MEANING))));
}

#[test]
fn a_signature_names_the_data_as_they_are_with_the_edit_that_came_with_it() {
    let mut case = signing();
    let Act::Take { transition, .. } = take("sign") else { unreachable!("it takes a transition") };
    let data = Some(Arc::new(json!({"extra": {"a": "seen"}})));
    let act =
        Act::Take { transition, reason: None, data, on_behalf_of: None, signature: Some(given(MEANING)) };
    let events = case.act(&person("mia", &[]), act).expect("signed");
    assert_eq!(kinds(&events), ["amended", "rules-evaluated", "signed", "transitioned"]);
    let signature = signatures(&events)[0].clone();
    assert_eq!(signature.data_sha256, signed_data(&case.state).expect("exact"));
    let text = r#"{"amount":5000,"extra":{"a":"seen"},"manager":"mia"}"#;
    let independent: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(text).into();
    assert_eq!(signature.data_sha256, ContentHash(independent));
    assert_eq!(case.state(), "approved");
}

#[test]
fn a_signature_does_not_cover_what_was_changed_after_it() {
    let mut case = signing();
    case.act(&reviewer("rita"), signed("approve", given(MEANING))).expect("signed");
    case.patch(&sam(), json!({"note": "one more thing"})).expect("edited");
    assert!(!signatures(&case.history)[0].covers(&SignedContent::of(&case.state)));
    assert_eq!(case.have(), 0, "and the approval is void");
}

#[test]
fn where_the_form_asks_for_it_credentials_were_shown_lately() {
    let shown = |case: &Case, seconds: i64| SignatureGiven {
        authenticated_at: Some(case.now - TimeDelta::seconds(seconds)),
        ..given("I reject")
    };
    let mut case = signing();
    // What a provider means that counts milliseconds.
    let far = Some(case.now + TimeDelta::days(20_000_000));
    let far = SignatureGiven { authenticated_at: far, ..given("I reject") };
    for (signature, told) in [
        (given("I reject"), "never"),
        (shown(&case, 301), "long ago"),
        (shown(&case, -6), "in the future"),
        (far, "in another age"),
    ] {
        let refused = case.act(&reviewer("rita"), signed("reject", signature));
        let expected =
            SubmissionError::ReauthenticationRequired { transition: "reject".to_owned(), seconds: 300 };
        assert_eq!(refused, Err(expected), "{told}");
    }
    for seconds in [300, 0, -5] {
        let mut case = signing();
        let signature = shown(&case, seconds);
        case.act(&reviewer("rita"), signed("reject", signature.clone())).expect("just in time");
        assert_eq!(signatures(&case.history)[0].authenticated_at, signature.authenticated_at);
    }
}

#[test]
fn a_delegate_signs_in_their_own_name_for_their_principal() {
    let mut case = signing();
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated");
    case.act(&person("dora", &[]), signed("approve", given(MEANING))).expect("signed");
    let signature = signatures(&case.history)[0];
    assert_eq!((&*signature.by, signature.on_behalf_of.as_deref()), ("dora", Some("rita")));
}
