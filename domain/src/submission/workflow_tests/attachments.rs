//! Files: who attaches them where, which ones, and what that does to what was approved.

use super::super::{NOTES_MAX, SignatureGiven, SignedContent, WorkflowFact};
use super::*;
use crate::attachment::{Attachment, ContentHash, MediaType};

fn form(attachments: Value) -> Arc<CompiledForm> {
    form_of(attachments, workflow())
}

fn form_of(attachments: Value, mut workflow: Value) -> Arc<CompiledForm> {
    workflow["states"]["overdue"] = json!({"attach": true});
    workflow["states"]["changes"] = json!({"edit": ["/amount"], "attach": false});
    compiled(json!({
        "title": "Expense claim", "attachments": attachments, "workflow": workflow,
        "schema": {"type": "object", "properties": {"amount": {"type": "number"}, "manager": {"type": "string"},
            "note": {"type": "string"}, "extra": {"type": "object", "properties": {"a": {"type": "string"}}}}},
        "rules": [{"id": "route", "kind": "decision", "when": "amount > 1000.0",
                   "then": {"route": "committee"}, "otherwise": {"route": "auto"}}]
    }))
}

fn compiled(definition: Value) -> Arc<CompiledForm> {
    let definition = FormDefinition::parse(&definition).expect("a definition");
    let id = "expense".parse().expect("a form id");
    let form = CompiledForm::compile(&definition, &id, FormVersion(1));
    Arc::new(form.unwrap_or_else(|told| panic!("{told:?}")))
}

impl Case {
    fn of(form: &Arc<CompiledForm>, draft: bool) -> Self {
        let now = "2026-02-26T10:00:00Z".parse().expect("a time");
        let mut case = Self { form: form.clone(), state: Submission::default(), history: Vec::new(), now };
        let data = Arc::new(json!({"amount": 5000, "manager": "mia"}));
        case.run(SubmissionCommand::Submit { form: form.clone(), data, draft, by: sam(), now })
            .expect("accepted");
        case
    }

    fn attach(&mut self, by: &Actor, attachment: Attachment) -> Decided {
        self.act(by, Act::Attach { attachment })
    }

    fn detach(&mut self, by: &Actor, n: u8) -> Decided {
        self.act(by, Act::Detach { sha256: ContentHash([n; 32]), reason: Some("wrong one".to_owned()) })
    }

    fn names(&self) -> Vec<&str> {
        self.state.attachments().iter().map(|held| &*held.name).collect()
    }
}

fn file(n: u8) -> Attachment {
    let media_type = MediaType::named("application/pdf").expect("known");
    Attachment { sha256: ContentHash([n; 32]), name: format!("{n}.pdf").into(), media_type, bytes: 1_000 }
}

#[test]
fn a_drafts_files_are_its_submitters_business_and_stay_when_it_is_submitted() {
    let mut case = Case::of(&form(json!({})), true);
    let attached = case.attach(&sam(), file(1)).expect("attached");
    assert_eq!(kinds(&attached), ["attached"]);
    let SubmissionEvent::Worked { fact: WorkflowFact::Attached { attachment, by, .. }, .. } = &attached[0]
    else {
        panic!("{attached:?}")
    };
    assert_eq!((attachment, &**by), (&file(1), "sam"));
    for other in [reviewer("rita"), person("eve", &["submitter"]), person("mia", &[])] {
        refused_as_not_permitted(case.attach(&other, file(2)));
        refused_as_not_permitted(case.detach(&other, 1));
    }
    case.submit_draft(&sam()).expect("submitted");
    assert_eq!((case.state(), case.names()), ("review", vec!["1.pdf"]));
}

#[test]
fn in_a_workflow_files_go_where_data_are_edited_or_the_state_says_so() {
    let mut case = Case::of(&form(json!({})), false);
    case.attach(&sam(), file(1)).expect("the submitter, where something may be edited");
    case.attach(&reviewer("rita"), file(2)).expect("who may act on it");
    refused_as_not_permitted(case.attach(&person("otto", &["auditor"]), file(3)));
    case.now += TimeDelta::days(4);
    case.escalate().expect("overdue");
    case.attach(&reviewer("rob"), file(3)).expect("`attach` without `edit`");
    let mut back = Case::of(&form(json!({})), false);
    back.act(&reviewer("rita"), because("request-changes", "no receipt")).expect("sent back");
    let closed = back.attach(&sam(), file(1));
    let Err(SubmissionError::NotInState { state, needed }) = closed else { panic!("{closed:?}") };
    let needed: Vec<&str> = needed.iter().map(|state| state.as_str()).collect();
    assert_eq!((state.as_str(), needed), ("changes", vec!["draft", "overdue", "review"]));
}

#[test]
fn a_submission_that_is_final_keeps_the_files_it_has() {
    let plain = compiled(json!({"title": "Plain", "attachments": {}, "schema": {"type": "object"}}));
    let mut case = Case::of(&plain, true);
    case.attach(&sam(), file(1)).expect("a draft");
    case.submit_draft(&sam()).expect("final");
    for late in [case.attach(&sam(), file(2)), case.detach(&sam(), 1)] {
        assert!(matches!(late, Err(SubmissionError::NotInState { .. })), "{late:?}");
    }
    assert_eq!(case.names(), ["1.pdf"]);
}

#[test]
fn a_form_takes_the_files_that_it_says_and_no_others() {
    let mut none = Case::drafted(&sam(), json!({}));
    assert_eq!(none.attach(&sam(), file(1)), Err(SubmissionError::NoAttachments));
    let rules = json!({"types": ["application/pdf"], "max_bytes": 1_000, "max_count": 2});
    let mut case = Case::of(&form(rules), true);
    let png = Attachment { media_type: MediaType::named("image/png").expect("known"), ..file(1) };
    let refused = case.attach(&sam(), png);
    assert!(matches!(&refused, Err(SubmissionError::AttachmentType { given, .. }) if given == "image/png"));
    let large = case.attach(&sam(), Attachment { bytes: 1_001, ..file(1) });
    assert_eq!(large, Err(SubmissionError::AttachmentTooLarge { bytes_max: 1_000 }));
    for bad in [Attachment { bytes: 0, ..file(1) }, Attachment { name: "../x".into(), ..file(1) }] {
        let refused = case.attach(&sam(), bad);
        assert!(matches!(refused, Err(SubmissionError::AttachmentInvalid(_))), "{refused:?}");
    }
    case.attach(&sam(), file(1)).expect("the first");
    case.attach(&sam(), file(2)).expect("the second");
    assert_eq!(case.attach(&sam(), file(3)), Err(SubmissionError::TooManyAttachments { count_max: 2 }));
    case.detach(&sam(), 1).expect("makes room");
    case.attach(&sam(), file(3)).expect("again two");
    assert_eq!(case.names(), ["2.pdf", "3.pdf"]);
}

#[test]
fn the_same_bytes_are_one_file() {
    let mut case = Case::of(&form(json!({})), true);
    case.attach(&sam(), file(1)).expect("attached");
    assert_eq!(case.attach(&sam(), file(1)), Ok(Vec::new()), "nothing changes");
    let renamed = case.attach(&sam(), Attachment { name: "other.pdf".into(), ..file(1) });
    assert_eq!(renamed, Err(SubmissionError::AlreadyAttached { name: "1.pdf".into() }));
    assert_eq!(case.detach(&sam(), 9), Err(SubmissionError::NoSuchAttachment));
    let detached = case.detach(&sam(), 1).expect("off");
    assert_eq!(kinds(&detached), ["detached"]);
    case.attach(&sam(), Attachment { name: "other.pdf".into(), ..file(1) }).expect("under its new name");
}

#[test]
fn what_was_approved_is_void_when_a_file_comes_or_goes() {
    let mut case = Case::of(&form(json!({})), false);
    case.take(&reviewer("rita"), "approve").expect("the first");
    case.attach(&sam(), file(1)).expect("attached");
    assert_eq!(case.have(), 0);
    case.take(&reviewer("rita"), "approve").expect("the first again");
    case.detach(&sam(), 1).expect("off");
    assert_eq!(case.have(), 0);
    assert_eq!(case.state(), "review");
}

#[test]
fn who_attaches_to_a_draft_for_somebody_does_not_approve_it() {
    let mut case = Case::of(&form(json!({})), true);
    case.attach(&person("ada", &["admin", "reviewer"]), file(1)).expect("an admin");
    case.submit_draft(&sam()).expect("submitted");
    refused_as_not_permitted(case.take(&reviewer("ada"), "approve"));
    case.take(&reviewer("rita"), "approve").expect("somebody else");
}

#[test]
fn coming_and_going_is_bounded_like_everything_that_does_not_move_a_submission() {
    let mut case = Case::of(&form(json!({})), false);
    while case.state.notes() < NOTES_MAX {
        case.attach(&sam(), file(1)).expect("still room");
        if case.state.notes() < NOTES_MAX {
            case.detach(&sam(), 1).expect("still room");
        }
    }
    assert_eq!(case.attach(&sam(), file(2)), Err(SubmissionError::TooManyNotes));
    assert_eq!(case.detach(&sam(), 1), Err(SubmissionError::TooManyNotes));
}

#[test]
fn a_signature_covers_files_under_the_names_that_they_had() {
    let mut workflow = workflow();
    workflow["transitions"][0]["signature"] = json!({"meaning": "I approve"});
    let mut case = Case::of(&form_of(json!({}), workflow), false);
    let file_called = |n: u8, name: &str| Attachment { name: name.into(), ..file(n) };
    let hold = |case: &mut Case, files: [(u8, &str); 2]| {
        for n in [1, 2] {
            if case.state.attachments().iter().any(|held| held.sha256 == file(n).sha256) {
                case.detach(&sam(), n).expect("taken off");
            }
        }
        for (n, name) in files {
            case.attach(&sam(), file_called(n, name)).expect("attached");
        }
    };
    hold(&mut case, [(1, "offer.pdf"), (2, "invoice.pdf")]);
    let Act::Take { transition, reason, data, on_behalf_of, .. } = because("approve", "checked") else {
        unreachable!("it takes a transition")
    };
    let given = SignatureGiven {
        name: "Rita Reviewer".to_owned(),
        meaning: "I approve".to_owned(),
        authenticated_at: None,
    };
    let act = Act::Take { transition, reason, data, on_behalf_of, signature: Some(given) };
    let events = case.act(&reviewer("rita"), act).expect("signed");
    let SubmissionEvent::Worked { fact: WorkflowFact::Signed(signature), .. } = &events[0] else {
        panic!("{events:?}")
    };
    let names: Vec<&str> = signature.attachments.iter().map(|signed| &*signed.name).collect();
    assert_eq!(names, ["offer.pdf", "invoice.pdf"]);
    assert!(signature.covers(&SignedContent::of(&case.state)));
    hold(&mut case, [(1, "invoice.pdf"), (2, "offer.pdf")]);
    assert!(!signature.covers(&SignedContent::of(&case.state)), "the names were exchanged");
    hold(&mut case, [(2, "invoice.pdf"), (1, "offer.pdf")]);
    assert!(signature.covers(&SignedContent::of(&case.state)), "in whatever order they came back");
}
