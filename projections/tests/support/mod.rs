//! What the tests of this crate share: a real ledger and real read models in a directory of their own, and events in few words.
//! Events are encoded by the domain and appended as they are; deciding is not what is tested here.

#![allow(dead_code, unused_macros, unused_imports, reason = "every test file uses its own part of this")]

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use formledger_domain::{
    Action, CanonicalJson, EncodedEvent, Form, FormEvent, FormId, FormVersion, LedgerAggregate, Position,
    Sequence, StreamId, Submission, SubmissionEvent, SubmissionId, SubmissionState, Task, TenantContext,
    TenantId, WorkflowFact,
};
use formledger_projections::{
    ReadModel, ReadModelPlace, ReadModelSettings, ReadModels, RebuildRequest, RowDifference, Runner,
    RunnerSettings, TenantReader, compare, rebuild,
};
use formledger_store::{Append, Appended, RecordedEvent, Store, StoreSettings};
use formledger_test_cluster::Database;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

/// Which database holds the read models. The ledger is a file in either case: what `store` promises is not tested here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Sqlite,
    Postgres,
}

/// Makes two tests of each function, one per database.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::support::On::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::support::On::Postgres).await;
            })*
        }
    };
}
pub(crate) use on_both_databases;

/// A place for read models, gone with the value.
pub struct Ground {
    pub place: ReadModelPlace,
    pub database: Option<Database>,
}

impl Ground {
    /// A fresh place; a file lies in `dir` and goes with that.
    pub async fn new(on: On, dir: &Path, name: &str) -> Self {
        match on {
            On::Sqlite => Self { place: ReadModelPlace::file(&dir.join(name)), database: None },
            On::Postgres => {
                let database = Database::create().await;
                let place = ReadModelPlace::postgres(&database.url()).expect("a Postgres URL");
                Self { place, database: Some(database) }
            }
        }
    }
}

/// A ledger, its read models, and a runner that moves only when told to.
pub struct World {
    on: On,
    ground: Ground,
    dir: TempDir,
    pub store: Store,
    pub models: ReadModels,
    pub runner: Runner,
}

impl World {
    pub async fn new(on: On) -> Self {
        let (dir, store) = ledger().await;
        let ground = Ground::new(on, dir.path(), "read-models.db").await;
        let models = open(&ground.place).await;
        let runner = Runner::new(store.clone(), models.clone(), RunnerSettings::default());
        Self { on, ground, dir, store, models, runner }
    }

    pub fn place(&self) -> &ReadModelPlace {
        &self.ground.place
    }

    /// The folder of everything that is a file.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Runs SQL on the read models behind everybody's back.
    pub async fn tamper(&self, script: &str) {
        let tampered = match &self.ground.database {
            None => tamper_file(&self.dir.path().join("read-models.db"), script).await,
            Some(database) => {
                let mut connection = database.connect().await;
                let script = format!("SET search_path TO read_models; {script}");
                sqlx::raw_sql(&script).execute(&mut connection).await.map(drop)
            }
        };
        tampered.expect("tampering");
    }

    /// Runs SQL on the ledger behind everybody's back.
    pub async fn tamper_ledger(&self, script: &str) {
        tamper_file(&self.dir.path().join("ledger.db"), script).await.expect("tampering");
    }

    /// A second runner on the same read models, as a second process would have one.
    pub fn another_runner(&self) -> Runner {
        Runner::new(self.store.clone(), self.models.clone(), RunnerSettings::default())
    }

    pub async fn run_once(&mut self) -> u64 {
        self.runner.run_once().await.expect("a run")
    }

    pub fn reader(&self, tenant: &str) -> TenantReader {
        self.models.reader(&context(tenant))
    }

    pub fn tenant(&self, tenant: &str) -> Tenant<'_> {
        tenant_of(&self.store, tenant)
    }

    /// Differences between the live rows and rows built from the whole ledger in a file of their own.
    pub async fn differences_from_rebuilt(&self) -> Vec<RowDifference> {
        let fresh = Ground::new(self.on, self.dir.path(), "compared.db").await;
        let models = open(&fresh.place).await;
        Runner::new(self.store.clone(), models.clone(), RunnerSettings::default())
            .run_once()
            .await
            .expect("a run");
        let differences =
            compare(self.place(), &fresh.place, &ReadModel::ALL, None).await.expect("a comparison");
        models.close().await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.dir.path().join(format!("compared.db{suffix}")));
        }
        differences
    }

    /// When the last event of a submission was recorded, in microseconds since 1970.
    pub async fn stream_time(&self, tenant: &str, id: SubmissionId) -> i64 {
        let events = self.tenant(tenant).stream(id).await;
        events.last().expect("an event").recorded_at.timestamp_micros()
    }

    pub async fn rebuild(&self, request: RebuildRequest) {
        rebuild(&self.store, self.place(), request, |_| {}).await.expect("a rebuild");
    }
}

pub async fn open(place: &ReadModelPlace) -> ReadModels {
    ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("read models")
}

async fn tamper_file(path: &Path, script: &str) -> Result<(), sqlx::Error> {
    let url = format!("sqlite://{}", path.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("connection");
    sqlx::raw_sql(script).execute(&mut connection).await?;
    connection.close().await
}

/// Read models in the Postgres database that a URL names.
pub async fn open_postgres(url: &str) -> ReadModels {
    // As many as the tests ask at once, so that nobody waits for a connection.
    let settings = ReadModelSettings { read_connections_max: 16, acquire_timeout: Duration::from_secs(5) };
    ReadModels::open_postgres(url, settings).await.expect("read models")
}

/// A ledger in a folder of its own.
pub async fn ledger() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store =
        Store::open_sqlite(&dir.path().join("ledger.db"), StoreSettings::default()).await.expect("a ledger");
    (dir, store)
}

pub fn tenant_of<'a>(store: &'a Store, tenant: &str) -> Tenant<'a> {
    Tenant { store, context: context(tenant) }
}

pub fn context(tenant: &str) -> TenantContext {
    TenantContext::system(slug(tenant), "test", Utc::now())
}

pub fn slug(tenant: &str) -> TenantId {
    tenant.parse().expect("a slug")
}

pub fn form_id(form: &str) -> FormId {
    form.parse().expect("a form id")
}

pub fn canonical(value: &Value) -> CanonicalJson {
    CanonicalJson::from_value(value).expect("exact")
}

/// One tenant's ledger, written to in events.
pub struct Tenant<'a> {
    store: &'a Store,
    context: TenantContext,
}

impl Tenant<'_> {
    pub async fn publish(&self, form: &str, version: u32, index: &[&str]) -> Position {
        self.publish_with(form, version, json!({}), index).await
    }

    pub async fn publish_with(&self, form: &str, version: u32, schema: Value, index: &[&str]) -> Position {
        let definition = json!({"title": format!("{form} {version}"), "schema": schema, "index": index});
        self.form_event(
            form,
            FormEvent::Published {
                definition: canonical(&definition),
                form: form_id(form),
                version: FormVersion(version),
            },
        )
        .await
    }

    pub async fn form_event(&self, form: &str, event: FormEvent) -> Position {
        self.append(&self.context.stream::<Form>(form), &[Form::encode(&event)]).await
    }

    pub async fn submit(&self, form: &str, data: Value) -> SubmissionId {
        let id = SubmissionId(Uuid::now_v7());
        self.submission_events(id, &[submitted(form, &data)]).await;
        id
    }

    pub async fn submit_with_outcomes(&self, form: &str, data: Value, outcomes: Value) -> SubmissionId {
        let id = SubmissionId(Uuid::now_v7());
        self.submission_events(id, &[submitted(form, &data), evaluated(form, &json!({}), &outcomes)]).await;
        id
    }

    pub async fn submission_events(&self, id: SubmissionId, events: &[SubmissionEvent]) -> Position {
        self.events_of_stream(&id.to_string(), events).await
    }

    /// Of a stream whose id may be spelled in another way than ours.
    pub async fn events_of_stream(&self, id: &str, events: &[SubmissionEvent]) -> Position {
        let events: Vec<EncodedEvent> = events.iter().map(Submission::encode).collect();
        self.append(&self.context.stream::<Submission>(id), &events).await
    }

    /// An event of a version that no binary knows yet.
    pub async fn unreadable_submission(&self) -> Position {
        let event = EncodedEvent {
            event_type: "formledger.submission.submitted",
            event_version: "99",
            payload: canonical(&json!({"kind": "submitted"})),
        };
        self.append(&self.context.stream::<Submission>(Uuid::now_v7()), &[event]).await
    }

    pub async fn stream(&self, id: SubmissionId) -> Vec<RecordedEvent> {
        let ledger = self.store.ledger(&self.context);
        ledger.load(&self.context.stream::<Submission>(id)).await.expect("a stream")
    }

    async fn append(&self, stream: &StreamId, events: &[EncodedEvent]) -> Position {
        let ledger = self.store.ledger(&self.context);
        let expected = ledger
            .load(stream)
            .await
            .expect("a stream")
            .last()
            .map_or(Sequence::START, |event| event.sequence);
        let append = Append {
            stream: stream.clone(),
            expected,
            events: events.to_vec(),
            topic: None,
            idempotency: None,
        };
        match ledger.append(append).await.expect("an append") {
            Appended::Recorded { position, .. } => position,
            Appended::Replayed(_) => unreachable!("no idempotency key was given"),
        }
    }
}

pub fn drafted(form: &str, data: &Value) -> SubmissionEvent {
    SubmissionEvent::Drafted {
        data: canonical(data),
        form: form_id(form),
        form_version: FormVersion(1),
        submitter: "ann".into(),
    }
}

pub fn submitted(form: &str, data: &Value) -> SubmissionEvent {
    submitted_by(form, data, "ann")
}

pub fn submitted_by(form: &str, data: &Value, submitter: &str) -> SubmissionEvent {
    SubmissionEvent::Submitted {
        data: canonical(data),
        form: form_id(form),
        form_version: FormVersion(1),
        state: SubmissionState::SUBMITTED,
        submitter: submitter.into(),
        by: None,
    }
}

pub fn amended(form: &str, data: &Value, patch: &Value) -> SubmissionEvent {
    SubmissionEvent::Amended {
        data: canonical(data),
        form: form_id(form),
        form_version: FormVersion(1),
        patch: canonical(patch),
        by: None,
        on_behalf_of: None,
    }
}

pub fn evaluated(form: &str, computed: &Value, outcomes: &Value) -> SubmissionEvent {
    SubmissionEvent::RulesEvaluated {
        computed: canonical(computed),
        form: form_id(form),
        form_version: FormVersion(1),
        outcomes: canonical(outcomes),
        why: None,
        now: None,
    }
}

/// A task that waits for reviewers.
pub fn task_opened(form: &str) -> SubmissionEvent {
    let action = Action {
        transition: "approve".into(),
        roles: vec!["reviewer".to_owned()],
        candidates: Vec::new(),
        need: 1,
        exclude_submitter: false,
    };
    let fact = WorkflowFact::TaskOpened(Task {
        state: SubmissionState::SUBMITTED,
        submitter: "ann".into(),
        authors: Vec::new(),
        actions: vec![action],
        due_at: None,
        remind_at: Vec::new(),
        escalate_to: None,
    });
    SubmissionEvent::Worked { form: form_id(form), form_version: FormVersion(1), fact }
}

/// Taken back by its submitter.
pub fn withdrawn(form: &str) -> SubmissionEvent {
    let fact = WorkflowFact::Withdrawn { from: SubmissionState::SUBMITTED, reason: None };
    SubmissionEvent::Worked { form: form_id(form), form_version: FormVersion(1), fact }
}
