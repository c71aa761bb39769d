//! How long submissions are in their states, where durations are extreme or many.

mod support;

on_both_databases! {
    stays_may_add_up_to_more_microseconds_than_a_number_holds,
    a_batch_in_which_many_stays_end_takes_out_those_alone,
}

use chrono::DateTime;
use formledger_projections::{OpenStays, StateTime};
use serde_json::json;
use support::{On, World, on_both_databases, task_opened, withdrawn};

async fn times(world: &World, tenant: &str) -> Vec<StateTime> {
    world.reader(tenant).statistics(None).await.expect("counts").value.times
}

async fn stays_may_add_up_to_more_microseconds_than_a_number_holds(on: On) {
    const STAYS: u64 = 3;
    /// Microseconds before 1970, near the first time that can be told.
    const SINCE: i64 = -8_000_000_000_000_000_000;
    let mut world = World::new(on).await;
    let tenant = world.tenant("acme");
    tenant.publish("claim", 1, &[]).await;
    let mut waiting = Vec::new();
    for _ in 0..STAYS {
        let id = tenant.submit("claim", json!({})).await;
        tenant.submission_events(id, &[task_opened("claim")]).await;
        waiting.push(id);
    }
    world.run_once().await;
    let day = DateTime::from_timestamp_micros(SINCE).expect("a time").date_naive();
    world
        .tamper(&format!("UPDATE open_stays SET since = {SINCE}; UPDATE open_stay_counts SET day = '{day}'"))
        .await;
    // Together in one batch, and added to what the row holds.
    let (last, first) = waiting.split_last().expect("some wait");
    for id in first {
        world.tenant("acme").submission_events(*id, &[withdrawn("claim")]).await;
    }
    world.run_once().await;
    world.tenant("acme").submission_events(*last, &[withdrawn("claim")]).await;
    world.run_once().await;

    let [StateTime { ended: Some(ended), open, .. }] = &*times(&world, "acme").await else {
        panic!("one state, in which stays ended")
    };
    assert_eq!((ended.count, open), (STAYS, &OpenStays::default()));
    let seconds = (world.stream_time("acme", *last).await - SINCE) as f64 / 1e6;
    assert!((ended.mean_seconds / seconds - 1.0).abs() < 1e-9, "{} of {seconds}", ended.mean_seconds);
}

async fn a_batch_in_which_many_stays_end_takes_out_those_alone(on: On) {
    // More than a chunk of a statement, and not a multiple of one.
    const EACH: usize = 101;
    let mut world = World::new(on).await;
    let mut ids = Vec::new();
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        for _ in 0..EACH {
            let id = world.tenant(tenant).submit("claim", json!({})).await;
            world.tenant(tenant).submission_events(id, &[task_opened("claim")]).await;
            ids.push((tenant, id));
        }
    }
    world.run_once().await;
    for (tenant, id) in ids.iter().filter(|(tenant, _)| *tenant == "acme").skip(1) {
        world.tenant(tenant).submission_events(*id, &[withdrawn("claim")]).await;
    }
    world.run_once().await;
    for (tenant, left) in [("acme", 1), ("globex", EACH as u64)] {
        assert_eq!(times(&world, tenant).await[0].open.count, left, "`{tenant}`");
    }
    assert_eq!(world.differences_from_rebuilt().await, []);
}
