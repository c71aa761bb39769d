//! Batches one by one, where a runner would do all that there are.

use formledger_domain::{
    CanonicalJson, EncodedEvent, Form, FormEvent, FormVersion, LedgerAggregate, Sequence, StreamId,
    Submission, SubmissionEvent, SubmissionId, SubmissionState,
};
use formledger_store::{Append, PostgresOptions, StoreSettings};
use formledger_test_cluster::Database;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::database::sql;
use crate::place::ReadModelPlace;
use crate::read_models::ReadModelSettings;
use crate::reader::QueryError;
use crate::submissions::SubmissionQuery;

pub(crate) const LIMITS: BatchLimits = BatchLimits { events_max: 8, bytes_max: usize::MAX };

/// A ledger and read models, both in one sort of database.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) models: ReadModels,
    pub(crate) place: ReadModelPlace,
    _folder: TempDir,
    database: Option<Database>,
}

impl Site {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("ledger.db");
        let store = Store::open_sqlite(&ledger, StoreSettings::default()).await.expect("a ledger");
        let place = ReadModelPlace::file(&folder.path().join("read-models.db"));
        let models =
            ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("read models");
        Self { store, models, place, _folder: folder, database: None }
    }

    pub(crate) async fn on_postgres() -> Self {
        let database = Database::create().await;
        let options = PostgresOptions::new(&database.url()).expect("a URL");
        let store = Store::open_postgres(&options, StoreSettings::default()).await.expect("a ledger");
        let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
        let models =
            ReadModels::open(place.clone(), ReadModelSettings::default()).await.expect("read models");
        let folder = tempfile::tempdir().expect("a folder");
        Self { store, models, place, _folder: folder, database: Some(database) }
    }

    /// The ledger as another process opens it; on Postgres.
    pub(crate) async fn another_store(&self) -> Store {
        let database = self.database.as_ref().expect("on Postgres");
        let options = PostgresOptions::new(&database.url()).expect("a URL");
        Store::open_postgres(&options, StoreSettings::default()).await.expect("a ledger")
    }

    /// The read models as another process opens them.
    pub(crate) async fn another_process(&self) -> ReadModels {
        let settings = ReadModelSettings::default();
        ReadModels::open(self.place.clone(), settings).await.expect("read models")
    }

    /// Runs a script beside everybody; on Postgres.
    pub(crate) async fn tamper(&self, script: &str) {
        let database = self.database.as_ref().expect("on Postgres");
        sqlx::raw_sql(script).execute(&mut database.connect().await).await.expect("tampering");
    }

    pub(crate) async fn projector(&self) -> Projector {
        let mut projector = Projector::new(self.store.clone(), self.models.clone(), &ReadModel::ALL, LIMITS);
        projector.load(false).await.expect("loads");
        self.aim(&mut projector).await;
        projector
    }

    pub(crate) async fn aim(&self, projector: &mut Projector) {
        let heads = self.store.heads().await.expect("heads");
        projector.aim(heads.into_iter().map(|head| (head.tenant, head.position)));
    }

    pub(crate) async fn publish(&self, tenant: &str) {
        self.publish_indexing(tenant, "claim", &[]).await;
    }

    async fn publish_indexing(&self, tenant: &str, form: &str, index: &[&str]) {
        let definition = json!({"title": form, "schema": {}, "index": index});
        let definition = CanonicalJson::from_value(&definition).expect("exact");
        let stream = context(tenant).stream::<Form>(form);
        let form = form.parse().expect("a form id");
        let published = FormEvent::Published { definition, form, version: FormVersion(1) };
        self.append(tenant, stream, Form::encode(&published)).await;
    }

    pub(crate) async fn submit(&self, tenant: &str) {
        let said = SubmissionEvent::Submitted {
            data: CanonicalJson::from_value(&json!({})).expect("exact"),
            form: "claim".parse().expect("a form id"),
            form_version: FormVersion(1),
            state: SubmissionState::SUBMITTED,
            submitter: "ann".into(),
            by: None,
        };
        let stream = context(tenant).stream::<Submission>(SubmissionId(Uuid::now_v7()));
        self.append(tenant, stream, Submission::encode(&said)).await;
    }

    /// What rules said of a submission, and nothing else of it.
    pub(crate) async fn evaluate(&self, tenant: &str, outcomes: serde_json::Value) {
        let said = SubmissionEvent::RulesEvaluated {
            computed: CanonicalJson::from_value(&json!({})).expect("exact"),
            form: "claim".parse().expect("a form id"),
            form_version: FormVersion(1),
            outcomes: CanonicalJson::from_value(&outcomes).expect("exact"),
            why: None,
            now: None,
        };
        let stream = context(tenant).stream::<Submission>(SubmissionId(Uuid::now_v7()));
        self.append(tenant, stream, Submission::encode(&said)).await;
    }

    /// A submission that this program cannot read.
    pub(crate) async fn submit_nonsense(&self, tenant: &str) {
        let stream = context(tenant).stream::<Submission>(SubmissionId(Uuid::now_v7()));
        let payload = CanonicalJson::from_value(&json!({"Nonsense": {}})).expect("exact");
        let event =
            EncodedEvent { event_type: "formledger.submission.submitted", event_version: "1", payload };
        self.append(tenant, stream, event).await;
    }

    /// A stream of one event.
    async fn append(&self, tenant: &str, stream: StreamId, event: EncodedEvent) {
        let append =
            Append { stream, expected: Sequence::START, events: vec![event], topic: None, idempotency: None };
        self.store.ledger(&context(tenant)).append(append).await.expect("an append");
    }

    pub(crate) async fn position(&self, tenant: &str, read_model: ReadModel) -> u64 {
        self.models.reader(&context(tenant)).position(read_model).await.expect("a position").0
    }

    pub(crate) async fn counted(&self, tenant: &str) -> u64 {
        let counts = self.models.reader(&context(tenant)).statistics(None).await.expect("counts").value;
        counts.states.iter().map(|state| state.count).sum()
    }
}

fn context(tenant: &str) -> TenantContext {
    TenantContext::system(tenant.parse().expect("a slug"), "test", Utc::now())
}

pub(crate) async fn catch_up(projector: &mut Projector) {
    while projector.is_behind() {
        projector.advance().await.expect("a batch");
    }
}

async fn a_read_model_that_is_made_again_does_not_keep_the_others_from_following(site: Site) {
    const EARLIER: u64 = 50;
    for tenant in ["acme", "globex"] {
        site.publish(tenant).await;
        for _ in 1..EARLIER {
            site.submit(tenant).await;
        }
    }
    catch_up(&mut site.projector().await).await;
    {
        let mut writer = site.models.writer().await.expect("a writer");
        let outdated = sql("UPDATE checkpoints SET statistics_version = 1");
        outdated.execute(&mut writer.connection()).await.expect("updates");
    }

    let mut projector = site.projector().await;
    for news in 1..=3 {
        site.submit("acme").await;
        site.aim(&mut projector).await;
        projector.advance().await.expect("a batch");
        for read_model in [ReadModel::Forms, ReadModel::Submissions, ReadModel::Tasks] {
            assert_eq!(site.position("acme", read_model).await, EARLIER + news, "{read_model:?}");
        }
        let behind = site.position("acme", ReadModel::Statistics).await;
        assert!(behind < EARLIER, "{behind}");
    }
    catch_up(&mut projector).await;
    for (tenant, events) in [("acme", EARLIER + 3), ("globex", EARLIER)] {
        for read_model in ReadModel::ALL {
            assert_eq!(site.position(tenant, read_model).await, events, "{read_model:?} of `{tenant}`");
        }
        assert_eq!(site.counted(tenant).await, events - 1, "`{tenant}`");
    }
    assert!(!projector.changed_elsewhere().await.expect("reads"), "nobody was parked");
    let status = site.models.status(&site.store.heads().await.expect("heads")).await.expect("a status");
    assert!(status.iter().all(|status| status.parked_count == 0 && status.lag_events == 0), "{status:?}");
}

#[tokio::test]
async fn a_read_model_that_is_made_again_does_not_keep_the_others_from_following_on_sqlite() {
    a_read_model_that_is_made_again_does_not_keep_the_others_from_following(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn a_read_model_that_is_made_again_does_not_keep_the_others_from_following_on_postgres() {
    a_read_model_that_is_made_again_does_not_keep_the_others_from_following(Site::on_postgres().await).await;
}

async fn rows_that_are_made_again_are_not_read_before_they_say_what_is_asked(site: Site) {
    site.publish("acme").await;
    for _ in 0..LIMITS.events_max {
        site.submit("acme").await;
    }
    site.publish_indexing("acme", "later", &["/n"]).await;
    catch_up(&mut site.projector().await).await;
    let reader = site.models.reader(&context("acme"));
    let all = SubmissionQuery::default();
    let by_field = |pointer: &str| SubmissionQuery {
        form: Some("later".parse().expect("a form id")),
        conditions: vec![format!("{pointer}=1").parse().expect("a condition")],
        ..SubmissionQuery::default()
    };
    assert!(reader.submissions(&by_field("/n")).await.expect("a page").items.is_empty());
    // As an upgrade finds all of them.
    {
        let mut writer = site.models.writer().await.expect("a writer");
        let outdated = sql(
            "UPDATE checkpoints SET forms_version = 0, submissions_version = 0, statistics_version = 0, tasks_version = 0",
        );
        outdated.execute(&mut writer.connection()).await.expect("updates");
    }

    let mut projector = site.projector().await;
    let reader = site.models.reader(&context("acme"));
    for query in [&all, &by_field("/n")] {
        let unread = reader.submissions(query).await;
        assert!(matches!(unread, Err(QueryError::Behind(_))), "nothing is made yet: {unread:?}");
    }
    let none = site.models.reader(&context("globex")).submissions(&all).await.expect("a page");
    assert_eq!((none.items.len(), none.position), (0, Position::START), "a tenant without a ledger");

    // It has made nothing yet; the others have.
    {
        let mut writer = site.models.writer().await.expect("a writer");
        let gone = sql("UPDATE checkpoints SET submissions_version = NULL, submissions_position = 0");
        gone.execute(&mut writer.connection()).await.expect("updates");
    }
    let unread = reader.submissions(&all).await;
    assert!(matches!(unread, Err(QueryError::Behind(_))), "nothing is made yet: {unread:?}");

    assert_eq!(projector.advance().await.expect("a batch"), LIMITS.events_max);
    let page = reader.submissions(&all).await.expect("a page");
    assert_eq!(
        (page.items.len(), page.position),
        (LIMITS.events_max - 1, Position(LIMITS.events_max as u64))
    );
    {
        // The others come first, as they do where only submissions are made again.
        let mut writer = site.models.writer().await.expect("a writer");
        let ahead = sql("UPDATE checkpoints SET forms_position = 10");
        ahead.execute(&mut writer.connection()).await.expect("updates");
    }
    let unread = reader.submissions(&by_field("/n")).await;
    assert!(matches!(unread, Err(QueryError::Behind(_))), "the form is still to come: {unread:?}");

    let mut projector = site.projector().await;
    catch_up(&mut projector).await;
    assert!(reader.submissions(&by_field("/n")).await.expect("a page").items.is_empty());
    let refused = reader.submissions(&by_field("/other")).await;
    assert!(matches!(refused, Err(QueryError::NotIndexed { .. })), "{refused:?}");
}

#[tokio::test]
async fn rows_that_are_made_again_are_not_read_before_they_say_what_is_asked_on_sqlite() {
    rows_that_are_made_again_are_not_read_before_they_say_what_is_asked(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn rows_that_are_made_again_are_not_read_before_they_say_what_is_asked_on_postgres() {
    rows_that_are_made_again_are_not_read_before_they_say_what_is_asked(Site::on_postgres().await).await;
}

#[tokio::test]
async fn batches_shrink_to_one_event_and_grow_back_to_the_limit() {
    let site = Site::on_sqlite().await;
    site.publish("acme").await;
    for _ in 1..20 {
        site.submit("acme").await;
    }
    let mut projector = site.projector().await;
    for wanted in [4, 2, 1, 1] {
        projector.shrink();
        assert_eq!(projector.advance().await.expect("a batch"), wanted);
    }
    for wanted in [2, 4, 6] {
        projector.grow();
        assert_eq!(projector.advance().await.expect("a batch"), wanted);
    }
    projector.grow();
    assert_eq!(projector.events_max, LIMITS.events_max);
}
