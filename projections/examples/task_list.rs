//! How long a page of tasks takes among 100,000 open ones: `cargo run --release -p formledger-projections --example task_list`.
//! Prints p50 and p99 for a person with one role that most tasks wait for, and for one with ten roles that share them.

use std::sync::Arc;
use std::time::Instant;

use chrono::{TimeDelta, Utc};
use formledger_domain::{
    Action, Actor, CanonicalJson, EncodedEvent, Form, FormEvent, FormVersion, LedgerAggregate, Sequence,
    Submission, SubmissionEvent, SubmissionId, SubmissionState, Task, TenantContext, WorkflowFact,
};
use formledger_projections::{ReadModelSettings, ReadModels, Runner, RunnerSettings, TaskQuery};
use formledger_store::{Append, Store, StoreSettings, TenantLedger};
use futures_util::{StreamExt, stream};
use uuid::Uuid;

const TASKS: i64 = 100_000;
const PAGES: usize = 1_000;
const CONCURRENCY: usize = 512;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, read_models) = (folder.path().join("ledger.db"), folder.path().join("read-models.db"));
    let store = Store::open_sqlite(&ledger, StoreSettings::default()).await.expect("a ledger");
    let models =
        ReadModels::open_sqlite(&read_models, ReadModelSettings::default()).await.expect("read models");
    let context = TenantContext::system("acme".parse().expect("a slug"), "example", Utc::now());
    let ledger = store.ledger(&context);
    fill(&ledger, &context).await;
    let began = Instant::now();
    let mut runner = Runner::new(store, models.clone(), RunnerSettings::default());
    runner.run_once().await.expect("a run");
    println!("projected {TASKS} tasks in {:.1} s", began.elapsed().as_secs_f64());

    let reader = models.reader(&context);
    for (who, roles) in [("one role", vec!["everybody"]), ("ten roles", (0..10).map(|n| ROLES[n]).collect())]
    {
        let roles: Arc<[String]> = roles.into_iter().map(str::to_owned).collect();
        let actor = Actor { subject: "rita".into(), roles };
        let mut took = Vec::with_capacity(PAGES);
        let mut cursor = None;
        for _ in 0..PAGES {
            let query = TaskQuery { actor: actor.clone(), now: Utc::now(), form: None, limit: None, cursor };
            let began = Instant::now();
            let page = reader.tasks(&query).await.expect("a page");
            took.push(began.elapsed());
            cursor = page.next_cursor.map(|cursor| cursor.as_str().to_owned());
        }
        took.sort();
        println!("{who}: p50 {:.2?}, p99 {:.2?}", took[PAGES / 2], took[PAGES * 99 / 100]);
    }
}

const ROLES: [&str; 10] = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];

async fn fill(ledger: &TenantLedger, context: &TenantContext) {
    let form: formledger_domain::FormId = "claim".parse().expect("a form id");
    let definition = CanonicalJson::from_stored(r#"{"schema":{},"title":"Claim"}"#);
    let published = FormEvent::Published { definition, form: form.clone(), version: FormVersion(1) };
    append(ledger, context.stream::<Form>("claim"), vec![Form::encode(&published)]).await;
    let state: SubmissionState = serde_json::from_str("\"review\"").expect("a state");
    let appends = (0..TASKS).map(|n| {
        let (form, form_version) = (form.clone(), FormVersion(1));
        let data = CanonicalJson::from_stored(r#"{"amount":1}"#);
        let submitter: Arc<str> = "ann".into();
        let submitted = SubmissionEvent::Submitted {
            data,
            form: form.clone(),
            form_version,
            state: state.clone(),
            submitter,
            by: None,
        };
        let action = |name: &str, role: &str| Action {
            transition: name.into(),
            roles: vec![role.to_owned()],
            candidates: Vec::new(),
            need: 2,
            exclude_submitter: true,
        };
        let role = ROLES[usize::try_from(n % 10).expect("small")];
        let opened = WorkflowFact::TaskOpened(Task {
            state: state.clone(),
            submitter: "ann".into(),
            authors: Vec::new(),
            actions: vec![action("approve", "everybody"), action("check", role)],
            due_at: Some(context.now + TimeDelta::seconds(n * 7919 % TASKS)),
            remind_at: Vec::new(),
            escalate_to: None,
        });
        let opened = SubmissionEvent::Worked { form, form_version, fact: opened };
        let events = vec![Submission::encode(&submitted), Submission::encode(&opened)];
        append(ledger, context.stream::<Submission>(SubmissionId(Uuid::now_v7())), events)
    });
    stream::iter(appends).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}

async fn append(ledger: &TenantLedger, stream: formledger_domain::StreamId, events: Vec<EncodedEvent>) {
    let append = Append { stream, expected: Sequence::START, events, topic: None, idempotency: None };
    ledger.append(append).await.expect("an append");
}
