//! Past moments answer as the live read models answered when the ledger ended there, whichever database holds those.

mod support;

on_both_databases! {
    a_moment_answers_what_was_answered_live_when_the_ledger_ended_there,
    an_event_that_stopped_the_live_rows_stops_the_moment_too,
}

use std::time::Duration;

use formledger_domain::{Position, SubmissionId, TenantContext};
use formledger_projections::{
    MomentError, MomentSettings, Moments, QueryError, Replicas, Statistics, SubmissionQuery, SubmissionRow,
    TenantReader,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::json;
use support::{
    On, World, amended, context, drafted, evaluated, on_both_databases, submitted, task_opened, withdrawn,
};
use tokio::time::Instant;
use uuid::Uuid;

/// What is asked at every position.
#[derive(Debug, PartialEq)]
struct Answers {
    lists: Vec<Vec<SubmissionRow>>,
    counts: Statistics,
}

async fn answers(reader: &TenantReader) -> Answers {
    let form = Some("claim".parse().expect("a form id"));
    let of_form = SubmissionQuery { form, ..Default::default() };
    let conditions = vec!["/amount>=2".parse().expect("a condition")];
    let queries = [
        SubmissionQuery::default(),
        SubmissionQuery { sort: "updated_at".parse().expect("an order"), ..Default::default() },
        SubmissionQuery { sort: "-/amount".parse().expect("an order"), ..of_form.clone() },
        SubmissionQuery { conditions, ..of_form.clone() },
        SubmissionQuery { state: Some("submitted".to_owned()), q: Some("n1".to_owned()), ..of_form },
    ];
    let mut lists = Vec::new();
    for query in &queries {
        lists.push(reader.submissions(query).await.expect("a page").items);
    }
    Answers { lists, counts: reader.statistics(None).await.expect("counts").value }
}

fn moments(world: &World, settings: MomentSettings) -> Moments {
    let live = Replicas::new(world.models.clone(), Vec::new());
    Moments::new(world.store.clone(), live, world.folder().to_owned(), settings)
}

async fn at(moments: &Moments, tenant: &TenantContext, position: u64) -> Result<TenantReader, MomentError> {
    moments.at(tenant, Position(position), Instant::now() + Duration::from_secs(60)).await
}

fn files(world: &World) -> usize {
    let entries = std::fs::read_dir(world.folder()).expect("a folder");
    entries
        .filter(|entry| {
            entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with("shadow-")
        })
        .count()
}

/// What somebody does next: to which of the submissions so far, what, and with which amount.
type Step = (u8, u8, u8);

/// Where a submission stands.
#[derive(Clone, Copy, PartialEq)]
enum Stands {
    Draft,
    Submitted,
    Withdrawn,
}

/// Does it; what makes no sense at that point is something else that does.
async fn take(world: &World, submissions: &mut Vec<(SubmissionId, Stands)>, (which, what, amount): Step) {
    let tenant = world.tenant("acme");
    let data = json!({"amount": amount % 5, "note": format!("n{}", amount % 3)});
    let count = submissions.len().max(1);
    let existing = submissions.get_mut(usize::from(which) % count).filter(|_| what % 6 > 1);
    let (id, events) = match existing {
        Some((id, stands)) => {
            let events = match (what % 6, *stands) {
                (2, _) | (_, Stands::Withdrawn) => vec![amended("claim", &data, &data)],
                (_, Stands::Draft) => {
                    *stands = Stands::Submitted;
                    vec![submitted("claim", &data), task_opened("claim")]
                }
                (3, _) => vec![evaluated(
                    "claim",
                    &json!({"/twice": amount}),
                    &json!({"r": {"matched": amount > 2}}),
                )],
                (4, _) => vec![task_opened("claim")],
                _ => {
                    *stands = Stands::Withdrawn;
                    vec![withdrawn("claim")]
                }
            };
            (*id, events)
        }
        None => {
            let (stands, events) = if what % 6 == 1 {
                (Stands::Draft, vec![drafted("claim", &data)])
            } else {
                (
                    Stands::Submitted,
                    vec![submitted("claim", &data), evaluated("claim", &json!({}), &json!({}))],
                )
            };
            let id = SubmissionId(Uuid::now_v7());
            submissions.push((id, stands));
            (id, events)
        }
    };
    tenant.submission_events(id, &events).await;
    // Others write at the same positions.
    world.tenant("globex").submit("claim", json!({"amount": 4, "note": "n1"})).await;
}

async fn a_moment_answers_what_was_answered_live_when_the_ledger_ended_there(on: On) {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = proptest::collection::vec(any::<Step>(), 12..20);
    for _ in 0..3 {
        let steps = steps.new_tree(&mut runner).expect("steps").current();
        let mut world = World::new(on).await;
        for tenant in ["acme", "globex"] {
            world.tenant(tenant).publish("claim", 1, &["/amount"]).await;
        }
        let acme = context("acme");
        let head =
            async |world: &World| world.store.ledger(&context("acme")).head().await.expect("a head").position;
        let (mut submissions, mut recorded) = (Vec::new(), Vec::new());
        for step in steps {
            take(&world, &mut submissions, step).await;
            world.run_once().await;
            recorded.push((head(&world).await, answers(&world.reader("acme")).await));
        }
        // Latest first, so that nothing can be carried on from; then each from the one before it.
        let backwards = moments(&world, MomentSettings { kept_max: 1, ..Default::default() });
        let forwards = moments(&world, MomentSettings::default());
        for (position, live) in recorded.iter().rev() {
            let reader = at(&backwards, &acme, position.0).await.expect("a moment");
            assert_eq!(answers(&reader).await, *live, "at {position}, folded from the beginning");
        }
        for (position, live) in &recorded {
            let reader = at(&forwards, &acme, position.0).await.expect("a moment");
            assert_eq!(answers(&reader).await, *live, "at {position}, folded on");
        }
        let before = at(&forwards, &acme, 0).await.expect("the beginning");
        assert_eq!(before.statistics(None).await.expect("counts").value, Statistics::default());
        forwards.close();
        backwards.close();
        drop(before);
        assert_eq!(files(&world), 0, "files go with the moments");
    }
}

async fn an_event_that_stopped_the_live_rows_stops_the_moment_too(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let unreadable = world.tenant("acme").unreadable_submission().await;
    world.run_once().await;
    let moments = moments(&world, MomentSettings::default());
    let reader = at(&moments, &context("acme"), unreadable.0).await.expect("a moment");
    let stopped = reader.statistics(None).await;
    assert!(
        matches!(stopped, Err(QueryError::Behind(behind)) if behind.position == Position(1)),
        "{stopped:?}"
    );
    // Forms do not follow submissions.
    assert_eq!(reader.forms().await.expect("forms").position, unreadable);
    drop(reader);
    assert_eq!(files(&world), 0, "nobody else gets it");
}

#[tokio::test]
async fn who_cannot_wait_is_told_how_far_it_is_and_finds_it_later() {
    let world = World::new(On::Sqlite).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let (acme, moments) = (context("acme"), moments(&world, MomentSettings::default()));
    let told = moments.at(&acme, Position(1), Instant::now()).await.expect_err("not there yet");
    assert!(matches!(told, MomentError::Building { wanted: Position(1), .. }), "{told:?}");
    let reader = at(&moments, &acme, 1).await.expect("there now");
    assert_eq!(reader.forms().await.expect("forms").value.len(), 1);
    at(&moments, &acme, 1).await.expect("the same again");
    assert_eq!(files(&world), 1, "folded once");
}

#[tokio::test]
async fn moments_are_bounded_in_number_bytes_and_time_and_by_tenant() {
    let world = World::new(On::Sqlite).await;
    for tenant in ["acme", "globex"] {
        for version in 1..=4 {
            world.tenant(tenant).publish("claim", version, &[]).await;
        }
    }
    let acme = context("acme");
    let few = moments(&world, MomentSettings { kept_max: 2, ..Default::default() });
    for position in 1..=4 {
        at(&few, &acme, position).await.expect("a moment");
    }
    few.tidy();
    assert_eq!(files(&world), 2);
    few.close();
    assert!(matches!(at(&few, &acme, 1).await, Err(MomentError::Closed)));

    let tiny = moments(&world, MomentSettings { moment_bytes_max: 1, ..Default::default() });
    let refused = at(&tiny, &acme, 2).await.expect_err("too large");
    assert!(matches!(refused, MomentError::TooLarge { wanted: Position(2), .. }), "{refused:?}");

    let off = moments(&world, MomentSettings::with_bytes(0, 0));
    assert!(matches!(at(&off, &acme, 2).await, Err(MomentError::Off)));
    let reserved = moments(&world, MomentSettings { reserve_bytes: u64::MAX, ..Default::default() });
    let refused = at(&reserved, &acme, 2).await.expect_err("the disk is smaller");
    assert!(matches!(refused, MomentError::DiskFull), "{refused:?}");
    assert_eq!(files(&world), 0, "nothing is left of what was refused");

    let short = moments(&world, MomentSettings { idle_max: Duration::ZERO, ..Default::default() });
    let reader = at(&short, &acme, 2).await.expect("a moment");
    tokio::time::sleep(Duration::from_millis(5)).await;
    short.tidy();
    assert_eq!(files(&world), 1, "who reads it keeps it");
    drop(reader);
    assert_eq!(files(&world), 0);

    let one_each = moments(&world, MomentSettings { waiting_per_tenant_max: 1, ..Default::default() });
    let now = Instant::now();
    let first = one_each.at(&acme, Position(1), now).await;
    assert!(matches!(first, Err(MomentError::Building { .. })), "{first:?}");
    let second = one_each.at(&acme, Position(2), now).await;
    assert!(matches!(second, Err(MomentError::Busy)), "{second:?}");
    let other = one_each.at(&context("globex"), Position(2), now).await;
    assert!(matches!(other, Err(MomentError::Building { .. })), "{other:?}");
}
