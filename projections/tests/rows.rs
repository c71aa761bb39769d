//! Given events, these rows; applied twice, the same rows; rebuilt, the same rows; and no tenant sees another's.

mod support;

use formledger_domain::{FormEvent, FormVersion, Position};
use formledger_projections::{ReadModel, SubmissionQuery};
use serde_json::{Value, json};
use support::{On, World, amended, canonical, drafted, evaluated, form_id, on_both_databases, submitted};
use uuid::Uuid;

on_both_databases! {
    a_form_shows_its_newest_version_its_draft_and_whether_it_is_retired,
    a_submission_shows_data_with_computed_values_outcomes_and_places,
    a_draft_that_is_amended_and_submitted_is_one_row_whether_in_one_batch_or_in_many,
    a_batch_applied_twice_changes_nothing,
    two_tenants_with_equal_positions_forms_and_submission_ids_do_not_touch,
    several_submissions_are_answered_in_the_order_they_are_asked_for,
    a_rule_with_too_many_values_is_counted_together_and_the_same_after_a_rebuild,
}

fn value(rows: &impl serde::Serialize) -> Value {
    serde_json::to_value(rows).expect("rows are JSON")
}

async fn a_form_shows_its_newest_version_its_draft_and_whether_it_is_retired(on: On) {
    let mut world = World::new(on).await;
    let acme = world.tenant("acme");
    let draft = |title: &str| FormEvent::DraftSaved {
        definition: canonical(&json!({"title": title, "schema": {}})),
        form: form_id("claim"),
    };
    acme.form_event("claim", draft("Work in progress")).await;
    world.run_once().await;
    let row = world.reader("acme").form(&form_id("claim")).await.expect("answer").value.expect("form");
    assert_eq!(row.summary.title, "Work in progress");
    assert_eq!((row.summary.version, row.summary.has_draft), (None, true));
    assert_eq!((row.definition, row.versions.len()), (None, 0));

    let acme = world.tenant("acme");
    acme.publish("claim", 1, &["/amount"]).await;
    acme.publish("claim", 2, &[]).await;
    acme.form_event("claim", draft("Third try")).await;
    let retired = FormEvent::Retired { form: form_id("claim"), reason: Some("replaced".to_owned()) };
    let last = acme.form_event("claim", retired).await;
    world.run_once().await;

    let answer = world.reader("acme").form(&form_id("claim")).await.expect("answer");
    assert_eq!(answer.position, last);
    let row = answer.value.expect("form");
    assert_eq!(row.summary.title, "claim 2", "a draft does not rename a published form");
    assert_eq!(row.summary.version, Some(FormVersion(2)));
    assert!(row.summary.retired && row.summary.has_draft);
    assert_eq!(row.reason.as_deref(), Some("replaced"));
    assert_eq!(value(&row.definition)["index"], json!([]));
    assert_eq!(value(&row.draft)["title"], "Third try");
    assert_eq!(row.versions.iter().map(|version| version.version.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((row.summary.sequence.0, row.summary.position), (5, last));

    let first = world.reader("acme").form_version(&form_id("claim"), FormVersion(1)).await.expect("answer");
    assert_eq!(value(&first.value.expect("version").definition)["index"], json!(["/amount"]));
    let third = world.reader("acme").form_version(&form_id("claim"), FormVersion(3)).await.expect("answer");
    assert_eq!(third.value, None);
    let forms = world.reader("acme").forms().await.expect("answer").value;
    assert_eq!(forms, [row.summary]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_submission_shows_data_with_computed_values_outcomes_and_places(on: On) {
    let mut world = World::new(on).await;
    let acme = world.tenant("acme");
    acme.publish("claim", 1, &["/total"]).await;
    let outcomes = json!({"route": {"matched": true, "value": {"route": "auto"}}});
    let id = Uuid::now_v7();
    let id = formledger_domain::SubmissionId(id);
    let last = acme
        .submission_events(
            id,
            &[
                submitted("claim", &json!({"amount": 5})),
                evaluated("claim", &json!({"/total": 7.5}), &outcomes),
            ],
        )
        .await;
    world.run_once().await;

    let answer = world.reader("acme").submission(id).await.expect("answer");
    assert_eq!(answer.position, last);
    let (row, _) = answer.value.expect("submission");
    assert_eq!(value(&row.data), json!({"amount": 5, "total": 7.5}));
    assert_eq!(value(&row.outcomes), outcomes);
    assert_eq!((&*row.state, &*row.submitter, row.form_version), ("submitted", "ann", FormVersion(1)));
    assert_eq!((row.sequence.0, row.position, row.created_at), (2, last, row.updated_at));

    let by_total = SubmissionQuery {
        form: Some(form_id("claim")),
        conditions: vec!["/total>7".parse().expect("condition")],
        ..Default::default()
    };
    let page = world.reader("acme").submissions(&by_total).await.expect("page");
    assert_eq!(page.items, [row]);
}

async fn a_draft_that_is_amended_and_submitted_is_one_row_whether_in_one_batch_or_in_many(on: On) {
    let history = [
        drafted("claim", &json!({"amount": 1, "country": "DE"})),
        amended("claim", &json!({"amount": 2, "country": "DE"}), &json!({"amount": 2})),
        submitted("claim", &json!({"amount": 2, "country": "DE"})),
        evaluated("claim", &json!({}), &json!({"fee": {"matched": true, "value": {"fee": 5}}})),
    ];
    let mut pages = Vec::new();
    for batches in [false, true] {
        let mut world = World::new(on).await;
        world.tenant("acme").publish("claim", 1, &["/amount", "/country"]).await;
        let id = formledger_domain::SubmissionId(Uuid::nil());
        for event in &history {
            world.tenant("acme").submission_events(id, std::slice::from_ref(event)).await;
            if batches {
                world.run_once().await;
            }
        }
        world.run_once().await;
        let reader = world.reader("acme");
        let mut found = Vec::new();
        for (condition, count) in [("/amount=1", 0), ("/amount=2", 1), ("/country=DE", 1)] {
            let query = SubmissionQuery {
                form: Some(form_id("claim")),
                conditions: vec![condition.parse().expect("condition")],
                ..Default::default()
            };
            let page = reader.submissions(&query).await.expect("page");
            assert_eq!(page.items.len(), count, "{condition} with batches: {batches}");
            found.extend(page.items.into_iter().map(|row| (row.sequence, row.data, row.outcomes, row.state)));
        }
        let statistics = reader.statistics(None).await.expect("answer").value;
        assert_eq!(value(&statistics.states), json!([{"form": "claim", "state": "submitted", "count": 1}]));
        assert_eq!(statistics.days.iter().map(|day| day.count).sum::<u64>(), 1);
        assert_eq!(
            value(&statistics.outcomes),
            json!([{"form": "claim", "rule": "fee", "matched": true, "value": {"fee": 5}, "count": 1}])
        );
        assert_eq!(world.differences_from_rebuilt().await, []);
        pages.push(found);
    }
    assert_eq!(pages[0], pages[1]);
}

async fn a_batch_applied_twice_changes_nothing(on: On) {
    let mut world = World::new(on).await;
    let mut behind = world.another_runner();
    world.tenant("acme").publish("claim", 1, &["/amount"]).await;
    world.run_once().await;
    behind.run_once().await.expect("a run");
    for amount in 0..10 {
        let outcomes = json!({"big": {"matched": amount > 5, "value": {"big": amount > 5}}});
        world.tenant("acme").submit_with_outcomes("claim", json!({"amount": amount}), outcomes).await;
    }
    // Both know only position 1 and read the same events; the second one's checkpoint no longer compares.
    assert_eq!(world.run_once().await, 20);
    assert_eq!(behind.run_once().await.expect("a run"), 0);

    let reader = world.reader("acme");
    assert_eq!(reader.position(ReadModel::Statistics).await.expect("position"), Position(21));
    let statistics = reader.statistics(None).await.expect("answer").value;
    assert_eq!(statistics.states[0].count, 10);
    assert_eq!(statistics.outcomes.iter().map(|outcome| outcome.count).collect::<Vec<_>>(), [4, 6]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn two_tenants_with_equal_positions_forms_and_submission_ids_do_not_touch(on: On) {
    let mut world = World::new(on).await;
    let id = formledger_domain::SubmissionId(Uuid::now_v7());
    for (tenant, amount) in [("acme", 1), ("globex", 2)] {
        let tenant = world.tenant(tenant);
        tenant.publish("claim", 1, &["/amount"]).await;
        tenant.submission_events(id, &[submitted("claim", &json!({"amount": amount}))]).await;
    }
    world.tenant("initech").publish("other", 1, &[]).await;
    world.run_once().await;
    for (tenant, amount) in [("acme", 1), ("globex", 2)] {
        let reader = world.reader(tenant);
        let page = reader.submissions(&SubmissionQuery::default()).await.expect("page");
        assert_eq!((page.items.len(), page.position), (1, Position(2)));
        assert_eq!(value(&page.items[0].data), json!({"amount": amount}));
        let query = SubmissionQuery {
            form: Some(form_id("claim")),
            conditions: vec![format!("/amount={}", 3 - amount).parse().expect("condition")],
            ..Default::default()
        };
        assert_eq!(reader.submissions(&query).await.expect("page").items, []);
        assert_eq!(reader.statistics(None).await.expect("answer").value.states[0].count, 1);
        assert_eq!(reader.forms().await.expect("answer").value.len(), 1);
        let found = reader.submissions_by_id(&[id]).await.expect("answer").value;
        assert_eq!(value(&found[0].as_ref().expect("a row").data), json!({"amount": amount}));
    }
    let stranger = world.reader("initech");
    assert_eq!(stranger.submission(id).await.expect("answer").value, None);
    assert_eq!(stranger.submissions_by_id(&[id]).await.expect("answer").value, [None]);
    assert_eq!(stranger.form(&form_id("claim")).await.expect("answer").value, None);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn several_submissions_are_answered_in_the_order_they_are_asked_for(on: On) {
    let mut world = World::new(on).await;
    let acme = world.tenant("acme");
    acme.publish("claim", 1, &[]).await;
    let mut ids = Vec::new();
    for amount in 0..5 {
        let id = formledger_domain::SubmissionId(Uuid::now_v7());
        acme.submission_events(id, &[submitted("claim", &json!({"amount": amount}))]).await;
        ids.push(id);
    }
    world.run_once().await;
    let unknown = formledger_domain::SubmissionId(Uuid::now_v7());
    let reader = world.reader("acme");
    for asked in [&[][..], &[ids[3]], &[ids[4], unknown, ids[0]], &[ids[2], ids[1], ids[4], ids[0], ids[3]]] {
        let found = reader.submissions_by_id(asked).await.expect("answer").value;
        let found: Vec<_> = found.iter().map(|row| row.as_ref().map(|row| row.submission_id)).collect();
        let there: Vec<_> = asked.iter().map(|id| ids.contains(id).then_some(*id)).collect();
        assert_eq!(found, there);
    }
}

async fn a_rule_with_too_many_values_is_counted_together_and_the_same_after_a_rebuild(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    for amount in 0..(formledger_projections::OUTCOME_VALUES_MAX + 10) {
        let outcomes = json!({"total": {"matched": true, "value": {"total": amount}}});
        world.tenant("acme").submit_with_outcomes("claim", json!({}), outcomes).await;
        if amount % 7 == 0 {
            world.run_once().await;
        }
    }
    world.run_once().await;
    let outcomes = world.reader("acme").statistics(None).await.expect("answer").value.outcomes;
    assert_eq!(outcomes.len(), formledger_projections::OUTCOME_VALUES_MAX + 1);
    assert_eq!((outcomes[0].value.clone(), outcomes[0].count), (None, 10));
    assert_eq!(world.differences_from_rebuilt().await, []);
}
