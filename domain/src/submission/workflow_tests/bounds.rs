//! How much there may be of a submission: every command reads all of it.

use super::super::{COMMENT_BYTES_MAX, HISTORY_BYTES_MAX, NOTES_MAX, REASON_BYTES_MAX, STREAM_BYTES_MAX};
use super::*;

#[test]
fn comments_are_for_those_whom_it_concerns_and_bounded() {
    let mut case = Case::in_review();
    let comment = |text: &str| Act::Comment { text: text.to_owned() };
    case.act(&sam(), comment("receipt follows")).expect("the submitter");
    case.act(&reviewer("rita"), comment("thanks")).expect("a reviewer");
    refused_as_not_permitted(case.act(&person("eve", &["submitter"]), comment("me too")));
    refused_as_not_permitted(case.act(&person("otto", &["auditor"]), comment("noted")));
    assert_eq!(case.act(&sam(), comment(" ")), Err(SubmissionError::EmptyText("comment")));
    while case.state.notes() < NOTES_MAX {
        case.act(&sam(), comment("again")).expect("still room");
    }
    assert_eq!(case.act(&sam(), comment("again")), Err(SubmissionError::TooManyNotes));
    let with_data = Act::Take {
        transition: "sign".to_owned(),
        reason: None,
        data: Some(Arc::new(json!({"extra": {"a": "x"}}))),
        on_behalf_of: None,
        signature: None,
    };
    assert_eq!(case.act(&person("mia", &[]), with_data), Err(SubmissionError::TooManyNotes));
    case.take(&reviewer("rita"), "approve").expect("transitions are still taken");
}

#[test]
fn nobody_makes_a_right_or_a_hold_last_by_filling_a_submission() {
    let mut case = Case::in_review();
    let (dora, root) = (person("dora", &[]), person("root", &["admin"]));
    for owner in ["rita", "rolf", "rob"] {
        case.act(&reviewer(owner), delegate("dora")).expect("delegated");
    }
    case.act(&reviewer("rob"), Act::Claim).expect("claimed");
    while case.state.notes() < NOTES_MAX {
        case.act(&dora, Act::Comment { text: "again".to_owned() }).expect("still room");
    }
    let end = |from: Option<&str>| Act::EndDelegation { from: from.map(str::to_owned), reason: None };
    case.act(&reviewer("rita"), end(None)).expect("ended by its owner");
    case.act(&root, end(Some("rolf"))).expect("ended by an admin");
    case.act(&dora, Act::Release).expect("given back");
    assert!(case.work().delegations().is_empty());
    case.act(&root, Act::Release).expect("released");
    let recorded = case.history.len();
    for nothing in [end(Some("rita")), end(Some("rob")), Act::Release] {
        assert_eq!(case.act(&root, nothing), Ok(Vec::new()), "there is no end of what has ended");
    }
    for new in [delegate("dora"), Act::Claim, Act::Assign { to: "rob".to_owned(), reason: None }] {
        assert_eq!(case.act(&reviewer("rita"), new), Err(SubmissionError::TooManyNotes));
    }
    assert_eq!(case.history.len(), recorded);
}

#[test]
fn amendments_end_where_the_history_would_be_too_large_to_be_read() {
    let mut case = Case::drafted(&sam(), json!({"amount": 5000}));
    let note = "x".repeat(500_000);
    let mut amended = 0;
    let refused = loop {
        match case.patch(&sam(), json!({"note": format!("{note}{amended}")})) {
            Ok(_) => amended += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, SubmissionError::TooMuchHistory), "{refused}");
    assert_eq!(amended, HISTORY_BYTES_MAX / 1_000_000);
    case.submit_draft(&sam()).expect("it can still be submitted");
    let patch = case.patch(&sam(), json!({"note": note}));
    assert!(matches!(patch, Err(SubmissionError::TooMuchHistory)), "{patch:?}");
    case.take(&reviewer("rita"), "approve").expect("and worked on");
}

#[test]
fn comments_end_where_the_history_would_be_too_large_to_be_read() {
    let mut case = Case::drafted(&sam(), json!({"amount": 5000}));
    case.submit_draft(&sam()).expect("submitted");
    let said = || Act::Comment { text: "x".repeat(COMMENT_BYTES_MAX) };
    let mut comments = 0;
    let refused = loop {
        match case.act(&sam(), said()) {
            Ok(_) => comments += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, SubmissionError::TooMuchHistory), "{refused}");
    assert!((1_900..2_000).contains(&comments), "{comments} of 16 KiB, and what each takes beside its text");
    case.take(&reviewer("rita"), "approve").expect("it is still worked on");
}

#[test]
fn transitions_end_where_the_stream_would_be_too_large_to_be_read() {
    let mut case = Case::in_review();
    let reason = "x".repeat(REASON_BYTES_MAX);
    let rounds = [(reviewer("rita"), "request-changes"), (sam(), "resubmit")];
    let mut taken = 0;
    let refused = loop {
        let (by, transition) = &rounds[taken % 2];
        match case.act(by, because(transition, &reason)) {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, SubmissionError::StreamFull), "{refused}");
    let bytes: usize =
        case.history.iter().map(|event| Submission::encode(event).payload.as_str().len()).sum();
    assert!(
        (STREAM_BYTES_MAX / 2..STREAM_BYTES_MAX + 100_000).contains(&bytes),
        "{bytes} bytes in {taken} transitions"
    );
    case.act(&sam(), Act::Withdraw { reason: None }).expect("it can still be withdrawn");
}
