//! What the tests of this crate share: a real ledger and real read models in a directory of their own, and events in few words.
//! Events are encoded by the domain and appended as they are; deciding is not what is tested here.

#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::path::PathBuf;

use chrono::Utc;
use formledger_domain::{
    CanonicalJson, EncodedEvent, Form, FormEvent, FormId, FormVersion, LedgerAggregate, Position, Sequence,
    StreamId, Submission, SubmissionEvent, SubmissionId, SubmissionState, TenantContext, TenantId,
};
use formledger_projections::{
    ReadModel, ReadModelSettings, ReadModels, RebuildRequest, RowDifference, Runner, RunnerSettings,
    TenantReader, compare, rebuild,
};
use formledger_store::{Append, Appended, RecordedEvent, Store, StoreSettings};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// A ledger, its read models, and a runner that moves only when told to.
pub struct World {
    dir: TempDir,
    pub store: Store,
    pub models: ReadModels,
    pub runner: Runner,
}

impl World {
    pub async fn new() -> Self {
        Self::with(RunnerSettings::default()).await
    }

    pub async fn with(settings: RunnerSettings) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open_sqlite(&dir.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("a ledger");
        let models =
            ReadModels::open_sqlite(&dir.path().join("read-models.db"), ReadModelSettings::default())
                .await
                .expect("read models");
        let runner = Runner::new(store.clone(), models.clone(), settings);
        Self { dir, store, models, runner }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("read-models.db")
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
        Tenant { store: &self.store, context: context(tenant) }
    }

    /// Differences between the live rows and rows built from the whole ledger in a file of their own.
    pub async fn differences_from_rebuilt(&self) -> Vec<RowDifference> {
        let fresh = self.dir.path().join("compared.db");
        let models =
            ReadModels::open_sqlite(&fresh, ReadModelSettings::default()).await.expect("read models");
        Runner::new(self.store.clone(), models.clone(), RunnerSettings::default())
            .run_once()
            .await
            .expect("a run");
        let differences = compare(&self.path(), &fresh, &ReadModel::ALL, None).await.expect("a comparison");
        models.close().await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.dir.path().join(format!("compared.db{suffix}")));
        }
        differences
    }

    pub async fn rebuild(&self, request: RebuildRequest) {
        rebuild(&self.store, &self.path(), request, |_| {}).await.expect("a rebuild");
    }
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
        let definition = json!({"title": format!("{form} {version}"), "schema": {}, "index": index});
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
    }
}

pub fn amended(form: &str, data: &Value, patch: &Value) -> SubmissionEvent {
    SubmissionEvent::Amended {
        data: canonical(data),
        form: form_id(form),
        form_version: FormVersion(1),
        patch: canonical(patch),
    }
}

pub fn evaluated(form: &str, computed: &Value, outcomes: &Value) -> SubmissionEvent {
    SubmissionEvent::RulesEvaluated {
        computed: canonical(computed),
        form: form_id(form),
        form_version: FormVersion(1),
        outcomes: canonical(outcomes),
        why: None,
    }
}
