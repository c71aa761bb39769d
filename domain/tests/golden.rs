//! Every event that was ever stored can be read: one golden file per event type and version, add-only.
//! A golden file is the payload's exact text. It is written once, with the event's first release, and never edited. Members that came later
//! are optional and have files of their own: `<event type>.v<version>+<members>.json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{
    Action, ApiKey, ApiKeyId, Attachment, Audit, AuditEvent, AuditSettings, CanonicalJson, ContentHash,
    Delegation, EVENT_TYPES, EncodedEvent, Form, FormEvent, FormId, FormVersion, LedgerAggregate, MediaType,
    SecretHash, Signature, SignedFile, Submission, SubmissionEvent, SubmissionState, Task, Tenant,
    TenantEvent, Use, WorkflowFact,
};
use serde_json::{Value, json};
use uuid::Uuid;

const ADVICE: &str = "stored events are forever: add an upcaster (domain/src/upcast.rs) and a new golden file, \
                      and leave the old one as it is";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn canonical(value: Value) -> CanonicalJson {
    CanonicalJson::from_value(&value).expect("exact")
}

fn form() -> FormId {
    "expense".parse().expect("a form id")
}

fn definition() -> CanonicalJson {
    canonical(
        json!({"title": "Expense claim", "schema": {"type": "object", "properties": {"amount": {"type": "number"}}}}),
    )
}

fn data() -> CanonicalJson {
    canonical(json!({"amount": 1e21, "note": "ünï \u{1f}\"/", "country": "DE", "list": [1, 0.5, null, true]}))
}

fn api_key() -> (ApiKeyId, ApiKey) {
    let id = ApiKeyId(Uuid::from_u128(0x0192_9c46_0000_7000_8000_0000_0000_0001));
    let key = ApiKey {
        name: "importer \"ünï\"".into(),
        roles: vec!["submitter".to_owned(), "clerk".to_owned()].into(),
        forms: Some(vec![form()].into()),
        expires_at: Some(time("2026-03-26T00:00:00.5Z")),
        secret_sha256: SecretHash::new([0xa5; 32]),
    };
    (id, key)
}

fn tenant_events() -> Vec<TenantEvent> {
    let (id, key) = api_key();
    vec![
        TenantEvent::Registered { tenant: "acme".parse().expect("a slug") },
        TenantEvent::ApiKeyCreated { id, key, made_by: None },
        TenantEvent::ApiKeyRevoked { id },
        TenantEvent::AuditConfigured {
            settings: AuditSettings { refusals: true, reads: false, exports: true },
        },
    ]
}

/// As [`later_submission_events`], of tenants.
fn later_tenant_events() -> Vec<(&'static str, TenantEvent)> {
    let (id, key) = api_key();
    let made_by = Some(ApiKeyId(Uuid::from_u128(0x0192_9c46_0000_7000_8000_0000_0000_0002)));
    vec![("+made_by", TenantEvent::ApiKeyCreated { id, key, made_by })]
}

fn audit_events() -> Vec<AuditEvent> {
    let about = |action: &str, target: Option<&str>| Use {
        action: action.into(),
        target: target.map(Into::into),
        submission_id: None,
        times: 1,
        first_at: time("2026-03-01T10:00:00Z"),
        last_at: time("2026-03-01T10:00:00Z"),
    };
    let id = "01929c46-0000-7000-8000-000000000001".parse().expect("an id");
    vec![
        AuditEvent::AttemptRefused {
            attempt: Use {
                submission_id: Some(id),
                times: 41,
                last_at: time("2026-03-01T10:00:04.5Z"),
                ..about("POST /v1/submissions/{id}/claim", Some("/v1/submissions/ünï/claim"))
            },
            code: "already-claimed".into(),
            status: 409,
        },
        AuditEvent::DataRead { read: about("GET /v1/tasks", None) },
        AuditEvent::Exported {
            export: about("GET /v1/exports/submissions.csv", Some("/v1/exports/submissions.csv")),
        },
    ]
}

fn form_events() -> Vec<FormEvent> {
    vec![
        FormEvent::DraftSaved { definition: definition(), form: form() },
        FormEvent::Published { definition: definition(), form: form(), version: FormVersion(2) },
        FormEvent::Retired { form: form(), reason: Some("replaced by \"travel\"".to_owned()) },
    ]
}

fn submission_events() -> Vec<SubmissionEvent> {
    let (form_version, submitter) = (FormVersion(2), "ada@example.org".into());
    vec![
        SubmissionEvent::Drafted { data: data(), form: form(), form_version, submitter },
        SubmissionEvent::Submitted {
            data: data(),
            form: form(),
            form_version,
            state: SubmissionState::SUBMITTED,
            submitter: "ada@example.org".into(),
            by: None,
        },
        SubmissionEvent::RulesEvaluated {
            computed: canonical(json!({"/total": "12.50"})),
            form: form(),
            form_version,
            outcomes: canonical(json!({"route": {"matched": true, "value": {"route": "committee"}}})),
            why: None,
            now: None,
        },
        SubmissionEvent::Amended {
            data: data(),
            form: form(),
            form_version,
            patch: canonical(json!({"note": null})),
            by: None,
            on_behalf_of: None,
        },
    ]
    .into_iter()
    .chain(workflow_facts().into_iter().map(|fact| SubmissionEvent::Worked {
        form: form(),
        form_version,
        fact,
    }))
    .collect()
}

/// Events with the members that their first release did not have, and what the golden file is called after.
fn later_submission_events() -> Vec<(&'static str, SubmissionEvent)> {
    let (form_version, dora) = (FormVersion(2), Some("dora@example.org".into()));
    let evaluated = |why, now| SubmissionEvent::RulesEvaluated {
        computed: canonical(json!({})),
        form: form(),
        form_version,
        outcomes: canonical(json!({"late": {"matched": true, "value": {"fee": 5}}})),
        why,
        now,
    };
    let submitted = SubmissionEvent::Submitted {
        data: data(),
        form: form(),
        form_version,
        state: SubmissionState::SUBMITTED,
        submitter: "ada@example.org".into(),
        by: dora.clone(),
    };
    let amended = |by, on_behalf_of| SubmissionEvent::Amended {
        data: data(),
        form: form(),
        form_version,
        patch: canonical(json!({"note": null})),
        by,
        on_behalf_of,
    };
    let worked = |fact| SubmissionEvent::Worked { form: form(), form_version, fact };
    let (dan, rita) = (Arc::<str>::from("dan@example.org"), Some("rita@example.org".into()));
    let claimed = WorkflowFact::Claimed { by: dan.clone(), on_behalf_of: rita.clone() };
    let attached =
        WorkflowFact::Attached { attachment: attachment(), by: dan.clone(), on_behalf_of: rita.clone() };
    let detached = WorkflowFact::Detached {
        attachment: attachment(),
        by: dan.clone(),
        on_behalf_of: rita.clone(),
        reason: None,
    };
    let ended = WorkflowFact::DelegationEnded {
        from: "rita@example.org".into(),
        to: dan,
        reason: Some("back \"again\"".into()),
    };
    vec![
        ("+by", submitted),
        ("+by", amended(dora, None)),
        ("+on_behalf_of", amended(None, rita)),
        ("+on_behalf_of", worked(claimed)),
        ("+on_behalf_of", worked(attached)),
        ("+on_behalf_of", worked(detached)),
        ("+reason", worked(ended)),
        ("+why", evaluated(Some(canonical(json!({"late": "tf-"}))), None)),
        ("+now", evaluated(None, Some(time("2026-03-01T10:00:00.123456789Z")))),
    ]
}

fn state(name: &str) -> SubmissionState {
    serde_json::from_value(json!(name)).expect("a state")
}

fn task() -> Task {
    Task {
        state: state("review"),
        submitter: "ada@example.org".into(),
        authors: Vec::new(),
        actions: vec![Action {
            transition: "approve".into(),
            roles: vec!["reviewer".to_owned()],
            candidates: vec!["mia@example.org".to_owned()],
            need: 2,
            exclude_submitter: true,
        }],
        due_at: Some(time("2026-03-01T10:00:00Z")),
        escalate_to: Some(state("overdue")),
        remind_at: Vec::new(),
    }
}

fn attachment() -> Attachment {
    Attachment {
        sha256: ContentHash([0xa5; 32]),
        name: "Quittung März.pdf".into(),
        media_type: MediaType::named("application/pdf").expect("known"),
        bytes: 104_857_600,
    }
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn workflow_facts() -> Vec<WorkflowFact> {
    let (rita, dora) = ("rita@example.org", "dora@example.org");
    let delegation = Delegation {
        from: rita.into(),
        to: dora.into(),
        roles: vec!["reviewer".to_owned()],
        starts_at: Some(time("2026-02-26T00:00:00Z")),
        ends_at: Some(time("2026-03-26T00:00:00.5Z")),
    };
    vec![
        WorkflowFact::Transitioned {
            from: state("review"),
            to: state("rejected"),
            transition: Some("reject".into()),
            on_behalf_of: Some(rita.into()),
            reason: Some("no \"receipt\"".into()),
        },
        WorkflowFact::Approved {
            transition: "approve".into(),
            by: dora.into(),
            on_behalf_of: Some(rita.into()),
            reason: Some("ünï".into()),
            have: 1,
            need: 2,
        },
        WorkflowFact::TaskOpened(task()),
        WorkflowFact::Escalated { state: state("review"), due_at: time("2026-03-01T10:00:00Z") },
        WorkflowFact::Reminded {
            state: state("review"),
            remind_at: time("2026-02-28T10:00:00Z"),
            due_at: Some(time("2026-03-01T10:00:00Z")),
            assignee: Some(rita.into()),
        },
        WorkflowFact::Claimed { by: rita.into(), on_behalf_of: None },
        WorkflowFact::Assigned { to: dora.into(), reason: Some("knows it".into()) },
        WorkflowFact::Released { assignee: rita.into() },
        WorkflowFact::Delegated { delegation, reason: Some("holiday".into()) },
        WorkflowFact::DelegationEnded { from: rita.into(), to: dora.into(), reason: None },
        WorkflowFact::Commented { text: "receipt follows\n".into() },
        WorkflowFact::Signed(Signature {
            transition: "approve".into(),
            by: dora.into(),
            on_behalf_of: Some(rita.into()),
            name: "Dora \"D.\" Müller".into(),
            meaning: "I approve this claim".into(),
            data_sha256: ContentHash([0x5a; 32]),
            attachments: vec![SignedFile { sha256: attachment().sha256, name: attachment().name }],
            authenticated_at: Some(time("2026-03-01T09:58:00Z")),
        }),
        WorkflowFact::Attached { attachment: attachment(), by: rita.into(), on_behalf_of: None },
        WorkflowFact::Detached {
            attachment: attachment(),
            by: dora.into(),
            on_behalf_of: None,
            reason: Some("wrong \"receipt\"".into()),
        },
        WorkflowFact::Withdrawn { from: state("review"), reason: Some("sold the car".into()) },
    ]
}

fn check<A: LedgerAggregate>(
    events: impl IntoIterator<Item = (&'static str, A::Event)>,
    known: &mut BTreeSet<String>,
) where
    A::Event: PartialEq,
{
    for (later, event) in events {
        let EncodedEvent { event_type, event_version, payload } = A::encode(&event);
        let name = format!("{event_type}.v{event_version}{later}.json");
        let golden = fs::read_to_string(folder().join(&name)).unwrap_or_else(|_| {
            panic!("{name} is missing; a new event needs a golden file holding:\n{payload:?}")
        });
        let golden = golden.trim_end();
        assert_eq!(payload.as_str(), golden, "{name} is not what is written today; {ADVICE}");
        assert_eq!(canonical(payload.to_value()), payload, "{name} is not canonical (RFC 8785)");

        let read = A::decode(event_type, event_version, &CanonicalJson::from_stored(golden));
        assert_eq!(read.as_ref(), Ok(&event), "{name} is read as something else; {ADVICE}");
        let stock: A::Event = serde_json::from_str(golden).expect("a stock repository reads text");
        assert_eq!(stock, event, "{name}");
        let stock: A::Event =
            serde_json::from_value(payload.to_value()).expect("a stock repository reads a tree");
        assert_eq!(stock, event, "{name}");
        assert_eq!(serde_json::to_value(&event).expect("writes"), payload.to_value(), "{name}");
        known.insert(name);
    }
}

/// Events as their first release wrote them.
fn first<E>(events: Vec<E>) -> impl Iterator<Item = (&'static str, E)> {
    events.into_iter().map(|event| ("", event))
}

#[test]
fn every_stored_event_is_read_as_it_was_meant() {
    let mut known = BTreeSet::new();
    check::<Tenant>(first(tenant_events()), &mut known);
    check::<Tenant>(later_tenant_events(), &mut known);
    check::<Form>(first(form_events()), &mut known);
    check::<Submission>(first(submission_events()), &mut known);
    check::<Submission>(later_submission_events(), &mut known);
    check::<Audit>(first(audit_events()), &mut known);

    for entry in fs::read_dir(folder()).expect("the folder is there") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if known.contains(&name) {
            continue;
        }
        // A version of the past: today's binary reads it through its upcasters.
        let text = fs::read_to_string(folder().join(&name)).expect("readable");
        let payload = CanonicalJson::from_stored(text.trim_end());
        let (event_type, version) = name
            .trim_end_matches(".json")
            .rsplit_once(".v")
            .unwrap_or_else(|| panic!("{name}: name it `<event type>.v<version>.json`"));
        let version = version.split_once('+').map_or(version, |(version, _)| version);
        let read = match event_type.split('.').nth(1) {
            Some("audit") => Audit::decode(event_type, version, &payload).map(drop),
            Some("tenant") => Tenant::decode(event_type, version, &payload).map(drop),
            Some("form") => Form::decode(event_type, version, &payload).map(drop),
            Some("submission") => Submission::decode(event_type, version, &payload).map(drop),
            _ => panic!("{name} belongs to no aggregate"),
        };
        assert_eq!(read, Ok(()), "{name} can no longer be read; {ADVICE}");
    }
}

/// Who chooses events by their types is told of these.
#[test]
fn every_type_of_events_is_listed() {
    let named = |(name, version): (&str, &str)| format!("{name}.v{version}");
    let listed: Vec<String> = EVENT_TYPES.map(named).into();
    let files = fs::read_dir(folder()).expect("the folder is there");
    let names = files.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let names = names.map(|name| name.trim_end_matches(".json").split('+').next().map(str::to_owned));
    let names: BTreeSet<String> = names.flatten().collect();
    assert_eq!(
        listed,
        names.into_iter().collect::<Vec<_>>(),
        "list it in domain/src/event_types.rs, in this order"
    );
}

/// The page for those who follow a ledger: a row for each type, with the members of its payload. What is beside them in every event of a
/// submission stands above the table.
#[test]
fn the_page_of_feeds_tells_what_every_event_holds() {
    let page = include_str!("../../docs/feeds.md");
    for (name, _) in EVENT_TYPES {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{name}` | ")));
        let (members, _) =
            row.and_then(|row| row.split_once(" | ")).unwrap_or_else(|| panic!("a row for {name}"));
        let told: BTreeSet<&str> = members.split('`').skip(1).step_by(2).collect();
        let mut files = Vec::new();
        for entry in fs::read_dir(folder()).expect("the folder is there") {
            let file = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            if file.strip_prefix(name).is_some_and(|rest| rest.starts_with(".v")) {
                let text = fs::read_to_string(folder().join(file)).expect("readable");
                files.push(serde_json::from_str::<serde_json::Map<String, Value>>(&text).expect("an object"));
            }
        }
        let beside = |member: &&String| {
            *member != "kind" && (!name.starts_with("formledger.submission.") || !member.starts_with("form"))
        };
        let held: BTreeSet<&String> = files.iter().flat_map(|file| file.keys()).filter(beside).collect();
        let spelt: BTreeSet<&str> = told.iter().map(|member| member.trim_end_matches('?')).collect();
        assert_eq!(spelt, held.into_iter().map(String::as_str).collect(), "docs/feeds.md: {name}");
        for member in told.iter().filter(|member| !member.ends_with('?')) {
            assert!(
                files.iter().all(|file| file.contains_key(*member)),
                "docs/feeds.md: {name}: `{member}?`"
            );
        }
    }
}

/// The files that were ever added. This list may only grow; the files in it may not change.
#[test]
fn no_golden_file_was_removed() {
    for name in [
        "formledger.audit.attempt-refused.v1",
        "formledger.audit.data-read.v1",
        "formledger.audit.exported.v1",
        "formledger.form.draft-saved.v1",
        "formledger.form.published.v1",
        "formledger.form.retired.v1",
        "formledger.submission.amended.v1",
        "formledger.submission.amended.v1+on_behalf_of",
        "formledger.submission.approved.v1",
        "formledger.submission.assigned.v1",
        "formledger.submission.attached.v1",
        "formledger.submission.attached.v1+on_behalf_of",
        "formledger.submission.claimed.v1",
        "formledger.submission.claimed.v1+on_behalf_of",
        "formledger.submission.commented.v1",
        "formledger.submission.delegated.v1",
        "formledger.submission.delegation-ended.v1",
        "formledger.submission.delegation-ended.v1+reason",
        "formledger.submission.detached.v1",
        "formledger.submission.detached.v1+on_behalf_of",
        "formledger.submission.drafted.v1",
        "formledger.submission.escalated.v1",
        "formledger.submission.released.v1",
        "formledger.submission.reminded.v1",
        "formledger.submission.amended.v1+by",
        "formledger.submission.rules-evaluated.v1",
        "formledger.submission.rules-evaluated.v1+now",
        "formledger.submission.rules-evaluated.v1+why",
        "formledger.submission.signed.v1",
        "formledger.submission.submitted.v1+by",
        "formledger.submission.submitted.v1",
        "formledger.submission.task-opened.v1",
        "formledger.submission.transitioned.v1",
        "formledger.submission.withdrawn.v1",
        "formledger.tenant.api-key-created.v1",
        "formledger.tenant.api-key-created.v1+made_by",
        "formledger.tenant.api-key-revoked.v1",
        "formledger.tenant.audit-configured.v1",
        "formledger.tenant.registered.v1",
    ] {
        assert!(folder().join(format!("{name}.json")).is_file(), "{name}.json is gone; {ADVICE}");
    }
}
