//! The tasks read model: what waits for whom, most urgent first; applied twice, rebuilt, of two tenants; and the states that follow.

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use formledger_domain::{
    Action, Actor, Delegation, FormVersion, SubmissionEvent, SubmissionId, Task, WorkflowFact,
};
use formledger_projections::{DueTask, TaskPage, TaskQuery};
use serde_json::{Value, json};
use support::{On, Tenant, World, amended, form_id, on_both_databases, submitted};
use uuid::Uuid;

on_both_databases!(
    a_task_waits_for_roles_and_candidates_and_not_for_its_submitter,
    the_most_urgent_comes_first_page_by_page_and_each_once,
    what_somebody_did_or_took_on_leaves_their_lists_and_comes_back_when_data_change,
    a_delegated_task_waits_for_the_delegate_in_its_time_and_outlasts_a_state,
    what_is_due_is_known_for_all_tenants_and_forgotten_when_it_escalated,
    what_is_due_comes_page_by_page_each_once_and_of_no_tenant_that_is_parked,
    what_is_overdue_stays_the_most_urgent_with_its_due_date,
    a_claim_by_a_right_that_ended_hides_nothing,
    no_role_is_one_too_many,
    lists_and_counts_follow_the_state,
);

fn now() -> DateTime<Utc> {
    "2026-02-26T10:00:00Z".parse().expect("a time")
}

fn fact(fact: WorkflowFact) -> SubmissionEvent {
    SubmissionEvent::Worked { form: form_id("claim"), form_version: FormVersion(1), fact }
}

fn state<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(json!(name)).expect("a state")
}

/// Waits in `review` for two reviewers that are not ann, or for mia alone.
fn opened(due_in_days: Option<i64>) -> SubmissionEvent {
    let action = |transition: &str, roles: &[&str], candidates: &[&str], need| Action {
        transition: transition.into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        candidates: candidates.iter().map(|person| (*person).to_owned()).collect(),
        need,
        exclude_submitter: true,
    };
    fact(WorkflowFact::TaskOpened(Task {
        state: state("review"),
        submitter: "ann".into(),
        authors: Vec::new(),
        actions: vec![action("approve", &["reviewer"], &[], 2), action("sign", &[], &["mia", "ann"], 1)],
        due_at: due_in_days.map(|days| now() + TimeDelta::days(days)),
        remind_at: Vec::new(),
        escalate_to: None,
    }))
}

fn moved(from: &str, to: &str) -> SubmissionEvent {
    let (transition, on_behalf_of, reason) = (None, None, None);
    fact(WorkflowFact::Transitioned { from: state(from), to: state(to), transition, on_behalf_of, reason })
}

fn approved(by: &str) -> SubmissionEvent {
    let (transition, by) = ("approve".into(), by.into());
    fact(WorkflowFact::Approved { transition, by, on_behalf_of: None, reason: None, have: 1, need: 2 })
}

async fn open(tenant: &Tenant<'_>, due_in_days: Option<i64>) -> SubmissionId {
    let id = SubmissionId(Uuid::now_v7());
    let events = [submitted("claim", &json!({})), moved("submitted", "review"), opened(due_in_days)];
    tenant.submission_events(id, &events).await;
    id
}

async fn tasks(world: &World, tenant: &str, subject: &str, roles: &[&str]) -> Vec<Value> {
    items(&page(world, tenant, subject, roles, None, None).await)
}

async fn page(
    world: &World,
    tenant: &str,
    subject: &str,
    roles: &[&str],
    limit: Option<u32>,
    cursor: Option<String>,
) -> TaskPage {
    let roles: Arc<[String]> = roles.iter().map(|role| (*role).to_owned()).collect();
    let actor = Actor { subject: subject.into(), roles };
    let query = TaskQuery { actor, now: now(), form: None, limit, cursor };
    world.reader(tenant).tasks(&query).await.expect("an answer")
}

fn items(page: &TaskPage) -> Vec<Value> {
    let page = serde_json::to_value(page).expect("rows are JSON");
    page["items"].as_array().expect("items").clone()
}

fn ids(items: &[Value]) -> Vec<SubmissionId> {
    let id = |item: &Value| serde_json::from_value(item["submission_id"].clone()).expect("an id");
    items.iter().map(id).collect()
}

async fn a_task_waits_for_roles_and_candidates_and_not_for_its_submitter(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = open(&world.tenant("acme"), Some(3)).await;
    world.run_once().await;
    let rita = tasks(&world, "acme", "rita", &["reviewer", "clerk"]).await;
    assert_eq!(ids(&rita), [id]);
    assert_eq!(rita[0]["why"], json!(["role"]));
    assert_eq!(rita[0]["transitions"], json!([{ "name": "approve", "approvals": { "have": 0, "need": 2 } }]));
    assert_eq!((&rita[0]["due_at"], &rita[0]["state"]), (&json!("2026-03-01T10:00:00Z"), &json!("review")));
    let mia = tasks(&world, "acme", "mia", &["reviewer"]).await;
    assert_eq!((ids(&mia), &mia[0]["why"]), (vec![id], &json!(["candidate", "role"])), "told once");
    assert_eq!(tasks(&world, "acme", "ann", &["reviewer"]).await, Vec::<Value>::new());
    assert_eq!(tasks(&world, "acme", "eve", &["submitter"]).await, Vec::<Value>::new());
    assert_eq!(tasks(&world, "other", "rita", &["reviewer"]).await, Vec::<Value>::new());
}

async fn the_most_urgent_comes_first_page_by_page_and_each_once(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let mut wanted = Vec::new();
    for due in [None, Some(9), Some(1), None, Some(5), Some(1)] {
        wanted.push((due.unwrap_or(i64::MAX), open(&world.tenant("acme"), due).await));
    }
    wanted.sort_by_key(|(due, _)| *due);
    world.run_once().await;
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        // Both a role and a name: two walks that meet the same tasks.
        let page = page(&world, "acme", "mia", &["reviewer"], Some(2), cursor).await;
        seen.extend(ids(&items(&page)));
        cursor = page.next_cursor.map(|cursor| cursor.as_str().to_owned());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, wanted.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

async fn what_somebody_did_or_took_on_leaves_their_lists_and_comes_back_when_data_change(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = open(&world.tenant("acme"), None).await;
    world.tenant("acme").submission_events(id, &[approved("rita")]).await;
    world.run_once().await;
    assert_eq!(tasks(&world, "acme", "rita", &["reviewer"]).await, Vec::<Value>::new());
    let rob = tasks(&world, "acme", "rob", &["reviewer"]).await;
    assert_eq!(rob[0]["transitions"][0]["approvals"], json!({ "have": 1, "need": 2 }));

    let claimed = fact(WorkflowFact::Claimed { by: "rob".into(), on_behalf_of: None });
    world.tenant("acme").submission_events(id, &[claimed]).await;
    world.run_once().await;
    assert_eq!(tasks(&world, "acme", "rob", &["reviewer"]).await[0]["why"], json!(["assigned", "role"]));
    // One signature is enough, and rob has taken it on; two approvals still take somebody else.
    assert_eq!(tasks(&world, "acme", "mia", &[]).await, Vec::<Value>::new());
    assert_eq!(ids(&tasks(&world, "acme", "rick", &["reviewer"]).await), [id]);

    let edited = amended("claim", &json!({"a": 1}), &json!({"a": 1}));
    let released = fact(WorkflowFact::Released { assignee: "rob".into() });
    world.tenant("acme").submission_events(id, &[edited, released]).await;
    world.run_once().await;
    assert_eq!(ids(&tasks(&world, "acme", "rita", &["reviewer"]).await), [id], "her approval is void");
    assert_eq!(ids(&tasks(&world, "acme", "mia", &[]).await), [id]);

    world.tenant("acme").submission_events(id, &[moved("review", "approved")]).await;
    world.run_once().await;
    assert_eq!(tasks(&world, "acme", "mia", &["reviewer"]).await, Vec::<Value>::new());
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_delegated_task_waits_for_the_delegate_in_its_time_and_outlasts_a_state(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = open(&world.tenant("acme"), None).await;
    let delegation = |to: &str, starts_in: i64| Delegation {
        from: "rita".into(),
        to: to.into(),
        roles: vec!["reviewer".to_owned()],
        starts_at: Some(now() + TimeDelta::days(starts_in)),
        ends_at: Some(now() + TimeDelta::days(starts_in + 2)),
    };
    for (to, starts_in) in [("dora", -1), ("dan", 1)] {
        let delegated = WorkflowFact::Delegated { delegation: delegation(to, starts_in), reason: None };
        world.tenant("acme").submission_events(id, &[fact(delegated)]).await;
    }
    world.run_once().await;
    let dora = tasks(&world, "acme", "dora", &[]).await;
    assert_eq!(dora[0]["why"], json!(["delegated"]));
    assert_eq!(dora[0]["transitions"][0]["on_behalf_of"], "rita");
    assert_eq!(tasks(&world, "acme", "dan", &[]).await, Vec::<Value>::new());
    // Batches may end anywhere, also between two states.
    world.tenant("acme").submission_events(id, &[moved("review", "review")]).await;
    world.run_once().await;
    assert_eq!(tasks(&world, "acme", "dora", &[]).await, Vec::<Value>::new());
    world.tenant("acme").submission_events(id, &[opened(None)]).await;
    world.run_once().await;
    assert_eq!(ids(&tasks(&world, "acme", "dora", &[]).await), [id]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn what_is_due_is_known_for_all_tenants_and_forgotten_when_it_escalated(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        open(&world.tenant(tenant), None).await;
        open(&world.tenant(tenant), Some(2)).await;
    }
    let id = open(&world.tenant("acme"), Some(1)).await;
    world.run_once().await;
    let due = async |world: &World, days| {
        world.models.due_tasks(now() + TimeDelta::days(days), None, 10).await.expect("an answer")
    };
    assert_eq!(due(&world, 0).await, []);
    assert_eq!(due(&world, 1).await[0].submission_id, id);
    assert_eq!(due(&world, 2).await.len(), 3);
    let escalated = WorkflowFact::Escalated { state: state("review"), due_at: now() };
    world.tenant("acme").submission_events(id, &[fact(escalated)]).await;
    world.run_once().await;
    assert_eq!(due(&world, 2).await.len(), 2);
    assert_eq!(ids(&tasks(&world, "acme", "mia", &[]).await).len(), 3, "it still waits");
}

async fn what_is_due_comes_page_by_page_each_once_and_of_no_tenant_that_is_parked(on: On) {
    let mut world = World::new(on).await;
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).publish("claim", 1, &[]).await;
        for due_in_days in [2, 1, 2, 1] {
            open(&world.tenant(tenant), Some(due_in_days)).await;
        }
    }
    world.run_once().await;
    let later = now() + TimeDelta::days(3);
    let whole = world.models.due_tasks(later, None, 100).await.expect("an answer");
    assert_eq!(whole.len(), 8);
    assert!(whole.is_sorted_by_key(|task| (task.due_at, task.tenant.clone())), "{whole:?}");
    assert_eq!((&whole[0].form.form, whole[0].form.version), (&form_id("claim"), FormVersion(1)));
    let mut paged: Vec<DueTask> = Vec::new();
    loop {
        let page = world.models.due_tasks(later, paged.last(), 3).await.expect("an answer");
        let full = page.len() == 3;
        paged.extend(page);
        if !full {
            break;
        }
    }
    assert_eq!(paged, whole);
    let mut met = HashSet::new();
    for dice in (0..200u32).map(|n| n.wrapping_mul(0x9e37_79b9)).chain([u32::MAX]) {
        let any = world.models.any_due_task(later, dice).await.expect("an answer").expect("there are some");
        assert!(whole.contains(&any), "{any:?}");
        met.insert(any.submission_id);
    }
    assert!(met.len() > 2, "by chance it is not always the same one: {met:?}");
    assert_eq!(world.models.any_due_task(now(), 1).await.expect("an answer"), None);
    world.tenant("acme").unreadable_submission().await;
    world.run_once().await;
    let due = world.models.due_tasks(later, None, 100).await.expect("an answer");
    assert_eq!(due, whole.into_iter().filter(|task| task.tenant.as_str() == "globex").collect::<Vec<_>>());
}

async fn what_is_overdue_stays_the_most_urgent_with_its_due_date(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let never = open(&world.tenant("acme"), None).await;
    let later = open(&world.tenant("acme"), Some(30)).await;
    let overdue = open(&world.tenant("acme"), Some(-1)).await;
    let due_at = now() - TimeDelta::days(1);
    let escalated = WorkflowFact::Escalated { state: state("review"), due_at };
    world.tenant("acme").submission_events(overdue, &[fact(escalated)]).await;
    world.run_once().await;
    let rita = tasks(&world, "acme", "rita", &["reviewer"]).await;
    assert_eq!(ids(&rita), [overdue, later, never]);
    assert_eq!(rita[0]["due_at"], "2026-02-25T10:00:00Z");
    assert_eq!(world.models.due_tasks(now(), None, 10).await.expect("an answer"), [], "it is told once");
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn a_claim_by_a_right_that_ended_hides_nothing(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = open(&world.tenant("acme"), None).await;
    let lend = |ends_at| {
        let (from, to) = ("mia".into(), "dora".into());
        let delegation = Delegation { from, to, roles: Vec::new(), starts_at: None, ends_at };
        fact(WorkflowFact::Delegated { delegation, reason: None })
    };
    let claimed = fact(WorkflowFact::Claimed { by: "dora".into(), on_behalf_of: Some("mia".into()) });
    let acme = world.tenant("acme");
    acme.submission_events(id, &[lend(Some(now() + TimeDelta::hours(1))), claimed]).await;
    world.run_once().await;
    assert_eq!(tasks(&world, "acme", "mia", &[]).await, Vec::<Value>::new(), "dora has it");
    assert_eq!(tasks(&world, "acme", "dora", &[]).await[0]["assignee"], "dora");
    world.tenant("acme").submission_events(id, &[lend(Some(now()))]).await;
    world.run_once().await;
    let mia = tasks(&world, "acme", "mia", &[]).await;
    assert_eq!((ids(&mia), &mia[0]["assignee"]), (vec![id], &Value::Null));
    assert_eq!(tasks(&world, "acme", "dora", &[]).await, Vec::<Value>::new());
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn no_role_is_one_too_many(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = open(&world.tenant("acme"), None).await;
    world.run_once().await;
    let mut roles: Vec<String> = (0..200).map(|n| format!("group-{n:03}")).collect();
    roles.push("reviewer".to_owned());
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    assert_eq!(ids(&tasks(&world, "acme", "rita", &roles).await), [id]);
    assert_eq!(tasks(&world, "acme", "rita", &roles[..200]).await, Vec::<Value>::new());
}

async fn lists_and_counts_follow_the_state(on: On) {
    let mut world = World::new(on).await;
    world.tenant("acme").publish("claim", 1, &[]).await;
    let id = open(&world.tenant("acme"), None).await;
    let other = open(&world.tenant("acme"), None).await;
    world.run_once().await;
    let withdrawn = fact(WorkflowFact::Withdrawn { from: state("review"), reason: None });
    world.tenant("acme").submission_events(id, &[moved("review", "approved")]).await;
    world.tenant("acme").submission_events(other, &[withdrawn]).await;
    world.run_once().await;
    let (row, _) = world.reader("acme").submission(id).await.expect("an answer").value.expect("a row");
    assert_eq!((&*row.state, row.sequence.0), ("approved", 4));
    let counts = world.reader("acme").statistics(None).await.expect("an answer").value.states;
    let counts: Vec<_> = counts.iter().map(|count| (count.state.as_str(), count.count)).collect();
    assert_eq!(counts, [("approved", 1), ("withdrawn", 1)]);
    assert_eq!(world.differences_from_rebuilt().await, []);
}
