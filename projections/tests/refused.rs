//! What the read-model database does not take: names that are too long for a key are not written as one, and an event whose rows are refused
//! for another reason parks its own tenant. Nobody else's rows ever stop.

mod support;

use formledger_domain::{
    Action, FormVersion, SubmissionEvent, SubmissionId, SubmissionState, Task, WorkflowFact,
};
use formledger_projections::{Condition, ReadModel, SubmissionQuery};
use serde_json::json;
use support::{On, World, context, evaluated, form_id, on_both_databases, submitted, submitted_by};
use uuid::Uuid;

on_both_databases!(
    names_of_any_length_stop_nobody,
    an_event_whose_rows_are_refused_parks_its_own_tenant_before_it,
    refused_events_of_several_projections_and_tenants_are_found_in_one_run,
    who_can_be_read_again_goes_on_beside_who_is_refused_again,
);

/// Letters that do not compress: an entry of a Postgres index may be large and still fit.
fn long_name() -> String {
    (0..1_000).map(|_| Uuid::now_v7().simple().to_string()).collect()
}

fn waiting_for(candidate: &str) -> SubmissionEvent {
    let sign = Action {
        transition: "sign".into(),
        roles: vec!["reviewer".to_owned()],
        candidates: vec![candidate.to_owned(), "mia".to_owned()],
        need: 1,
        exclude_submitter: false,
    };
    let fact = WorkflowFact::TaskOpened(Task {
        state: SubmissionState::SUBMITTED,
        submitter: "ann".into(),
        authors: Vec::new(),
        actions: vec![sign],
        due_at: None,
        remind_at: Vec::new(),
        escalate_to: None,
    });
    SubmissionEvent::Worked { form: form_id("claim"), form_version: FormVersion(1), fact }
}

async fn positions(world: &World, tenant: &str) -> Vec<u64> {
    let reader = world.models.reader(&context(tenant));
    let mut positions = Vec::new();
    for read_model in ReadModel::ALL {
        positions.push(reader.position(read_model).await.expect("position").0);
    }
    positions
}

async fn names_of_any_length_stop_nobody(on: On) {
    let mut world = World::new(on).await;
    let (acme, globex) = (world.tenant("acme"), world.tenant("globex"));
    let field = format!("/{}", long_name());
    acme.publish("claim", 1, &[&field, "/n"]).await;
    let data = json!({ &field[1..]: "a", "n": 1 });
    let outcomes =
        json!({ long_name(): {"matched": true, "value": 1}, "short": {"matched": true, "value": 1} });
    let submitter = long_name();
    let said = [
        submitted_by("claim", &data, &submitter),
        evaluated("claim", &json!({}), &outcomes),
        waiting_for(&long_name()),
    ];
    let id = SubmissionId(Uuid::now_v7());
    acme.submission_events(id, &said).await;
    globex.publish("claim", 1, &[]).await;
    world.run_once().await;
    // Again in another batch, now that the rows are there.
    let amended = support::amended("claim", &json!({ &field[1..]: "b", "n": 2 }), &json!({}));
    world.tenant("acme").submission_events(id, &[amended, waiting_for(&long_name())]).await;
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [6; 4]);
    assert_eq!(positions(&world, "globex").await, [1; 4]);

    let reader = world.reader("acme");
    let (row, _) = reader.submission(id).await.expect("an answer").value.expect("a row");
    assert!(submitter.starts_with(&*row.submitter) && row.submitter.len() >= 256);
    let statistics = reader.statistics(None).await.expect("an answer").value;
    let counted: Vec<_> = statistics.outcomes.iter().map(|outcome| outcome.rule.as_str()).collect();
    assert_eq!(counted, ["short"]);
    let by_n: Condition = "/n=2".parse().expect("a condition");
    let query =
        SubmissionQuery { form: Some(form_id("claim")), conditions: vec![by_n], ..Default::default() };
    assert_eq!(reader.submissions(&query).await.expect("a page").items.len(), 1);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

/// Makes the database refuse submissions to the form `refused`, or take them again.
async fn refuse(world: &World, on: On, refuses: bool) {
    let script = match (on, refuses) {
        (On::Sqlite, true) => {
            "CREATE TRIGGER refuses BEFORE INSERT ON submissions WHEN new.form = 'refused' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        (On::Sqlite, false) => "DROP TRIGGER refuses",
        (On::Postgres, true) => "ALTER TABLE submissions ADD CONSTRAINT refuses CHECK (form <> 'refused')",
        (On::Postgres, false) => "ALTER TABLE submissions DROP CONSTRAINT refuses",
    };
    world.tamper(script).await;
}

async fn an_event_whose_rows_are_refused_parks_its_own_tenant_before_it(on: On) {
    let mut world = World::new(on).await;
    refuse(&world, on, true).await;
    for tenant in ["acme", "globex", "initech"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        world.tenant(tenant).publish("refused", 1, &[]).await;
        world.tenant(tenant).submit("claim", json!({})).await;
    }
    world.tenant("globex").submit("refused", json!({})).await;
    for tenant in ["acme", "globex", "initech"] {
        world.tenant(tenant).submit("claim", json!({})).await;
    }
    world.run_once().await;
    assert_eq!(positions(&world, "acme").await, [4; 4]);
    assert_eq!(positions(&world, "globex").await, [5, 3, 5, 5], "forms, submissions, statistics, tasks");
    assert_eq!(positions(&world, "initech").await, [4; 4]);
    let heads = world.store.heads().await.expect("heads");
    let status = world.models.status(&heads).await.expect("a status");
    let parked: Vec<_> = status.iter().flat_map(|status| &status.parked).collect();
    assert_eq!(parked.len(), 1);
    assert!(parked[0].error.contains("the database refuses its rows"), "{}", parked[0].error);

    world.tenant("globex").submit("claim", json!({})).await;
    world.run_once().await;
    assert_eq!(positions(&world, "globex").await, [6, 3, 6, 6]);
    refuse(&world, on, false).await;
    world.another_runner().run_once().await.expect("a run");
    assert_eq!(positions(&world, "globex").await, [6; 4]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn refused_events_of_several_projections_and_tenants_are_found_in_one_run(on: On) {
    let mut world = World::new(on).await;
    refuse(&world, on, true).await;
    for tenant in 0..5 {
        let tenant = world.tenant(&format!("t{tenant}")).publish("refused", 1, &[]).await;
        assert_eq!(tenant.0, 1);
    }
    for tenant in [1, 3] {
        let id = SubmissionId(Uuid::now_v7());
        let said = [submitted("refused", &json!({})), waiting_for("eve")];
        world.tenant(&format!("t{tenant}")).submission_events(id, &said).await;
    }
    world.run_once().await;
    for tenant in 0..5 {
        let reached = if tenant % 2 == 1 { [3, 1, 3, 3] } else { [1; 4] };
        assert_eq!(positions(&world, &format!("t{tenant}")).await, reached, "t{tenant}");
    }
}

async fn who_can_be_read_again_goes_on_beside_who_is_refused_again(on: On) {
    let mut world = World::new(on).await;
    refuse(&world, on, true).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        world.tenant(tenant).publish("refused", 1, &[]).await;
    }
    world.tenant("globex").submit("refused", json!({})).await;
    world.run_once().await;
    assert_eq!(positions(&world, "globex").await, [3, 2, 3, 3]);
    // An earlier binary could not read what comes next.
    world.tamper("UPDATE checkpoints SET submissions_error = 'unreadable' WHERE tenant_id = 'acme'").await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).submit("claim", json!({})).await;
    }
    world.another_runner().run_once().await.expect("a run");
    assert_eq!(positions(&world, "acme").await, [3; 4]);
    assert_eq!(positions(&world, "globex").await, [4, 2, 4, 4]);
}
