//! The timeline of a submission: every fact in order, with fields that changed, states entered and what rules said.

mod support;

use formledger_domain::{FormVersion, SubmissionEvent, SubmissionId, WorkflowFact};
use formledger_projections::timeline;
use serde_json::{Value, json};
use support::{On, World, amended, drafted, evaluated, form_id, submitted};
use uuid::Uuid;

#[tokio::test]
async fn a_timeline_tells_who_did_what_to_which_field_and_what_the_rules_said() {
    let world = World::new(On::Sqlite).await;
    let acme = world.tenant("acme");
    acme.publish("claim", 1, &[]).await;
    let id = SubmissionId(Uuid::now_v7());
    let outcomes = json!({"total": {"matched": true, "value": {"total": 7}}});
    acme.submission_events(
        id,
        &[
            drafted("claim", &json!({"amount": 1, "who": {"name": "Ann"}})),
            amended("claim", &json!({"amount": 2, "who": {"name": "Ann"}}), &json!({"amount": 2})),
            submitted("claim", &json!({"amount": 2, "who": {"name": "Ann"}})),
            evaluated("claim", &json!({"/total": 7}), &outcomes),
        ],
    )
    .await;
    let events = acme.stream(id).await;
    let told = timeline::fold(&events, 0, |_| None).expect("readable");
    let told: Vec<Value> = told.iter().map(|entry| serde_json::to_value(entry).expect("JSON")).collect();

    let types = told.iter().map(|entry| entry["type"].as_str().expect("a type")).collect::<Vec<_>>();
    assert_eq!(
        types,
        [
            "formledger.submission.drafted.v1",
            "formledger.submission.amended.v1",
            "formledger.submission.submitted.v1",
            "formledger.submission.rules-evaluated.v1",
        ]
    );
    for (entry, event) in told.iter().zip(&events) {
        assert_eq!(entry["position"], event.position.0);
        assert_eq!(entry["sequence"], event.sequence.0);
        assert_eq!(entry["actor"], "system");
    }
    assert_eq!(
        told[0]["changes"],
        json!([{"pointer": "/amount", "to": 1}, {"pointer": "/who", "to": {"name": "Ann"}}])
    );
    assert_eq!(told[1]["changes"], json!([{"pointer": "/amount", "from": 1, "to": 2}]));
    assert_eq!(told[2]["changes"], json!([]));
    assert_eq!(told[3]["changes"], json!([{"pointer": "/total", "to": 7}]));
    let states = told.iter().map(|entry| entry["state"].as_str()).collect::<Vec<_>>();
    assert_eq!(states, [Some("draft"), None, Some("submitted"), None]);
    assert_eq!(told[3]["outcomes"], outcomes);

    let then = timeline::fold(&events[..2], 0, |_| None).expect("readable");
    assert_eq!(then.len(), 2, "cut at a past position it is the timeline of then");
    let whole = timeline::fold(&events, 0, |_| None).expect("readable");
    for known in 0..=events.len() {
        let rest = timeline::fold(&events, known, |_| None).expect("readable");
        assert_eq!(rest, whole[known..], "what comes after {known} events is told as in the whole");
    }
}

#[tokio::test]
async fn a_timeline_with_an_unreadable_event_is_an_error_and_not_a_shorter_timeline() {
    let world = World::new(On::Sqlite).await;
    let acme = world.tenant("acme");
    acme.publish("claim", 1, &[]).await;
    let id = acme.submit("claim", json!({})).await;
    let mut events = acme.stream(id).await;
    events[0].event_version = "99".into();
    let error = timeline::fold(&events, 0, |_| None).expect_err("unreadable");
    assert_eq!(error.event_version, "99");
}

#[tokio::test]
async fn a_timeline_tells_for_whom_it_was_done_and_when_that_right_holds() {
    let world = World::new(On::Sqlite).await;
    let acme = world.tenant("acme");
    acme.publish("claim", 1, &[]).await;
    let id = SubmissionId(Uuid::now_v7());
    let worked = |fact| {
        let fact: WorkflowFact = serde_json::from_value(fact).expect("a fact");
        SubmissionEvent::Worked { form: form_id("claim"), form_version: FormVersion(1), fact }
    };
    let mut edited = amended("claim", &json!({"amount": 2}), &json!({"amount": 2}));
    let SubmissionEvent::Amended { on_behalf_of, .. } = &mut edited else { unreachable!("it is amended") };
    *on_behalf_of = Some("rita".into());
    acme.submission_events(
        id,
        &[
            submitted("claim", &json!({"amount": 1})),
            worked(json!({"kind": "delegated", "delegation": {"from": "rita", "to": "dora", "roles": ["reviewer"],
                "starts_at": "2026-03-01T00:00:00Z", "ends_at": "2026-03-09T00:00:00Z"}})),
            edited,
            worked(json!({"kind": "claimed", "by": "dora", "on_behalf_of": "rita"})),
            worked(json!({"kind": "delegation-ended", "from": "rita", "to": "dora", "reason": "back"})),
        ],
    )
    .await;
    let told = timeline::fold(&acme.stream(id).await, 1, |_| None).expect("readable");
    let told: Vec<Value> = told.iter().map(|entry| serde_json::to_value(entry).expect("JSON")).collect();
    assert!(told.iter().all(|entry| entry["on_behalf_of"] == "rita"), "{told:?}");
    let times = (&told[0]["starts_at"], &told[0]["ends_at"]);
    assert_eq!(times, (&json!("2026-03-01T00:00:00Z"), &json!("2026-03-09T00:00:00Z")));
    assert_eq!(told[3]["reason"], "back");
}
