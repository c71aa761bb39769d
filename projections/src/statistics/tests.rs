//! What the projection remembers of its table, batch by batch.

use formledger_domain::Position;
use formledger_store::LedgerRange;
use serde_json::json;

use super::uncounted::UNCOUNTED_BYTES_MAX;
use super::*;
use crate::batch::Batch;
use crate::checkpoint::{self, Checkpoint, Move, Moved};
use crate::database::Dialect;
use crate::projector::tests::{Site, catch_up};
use crate::witness::Reflected;

/// Applies what lies between two positions.
async fn apply(site: &Site, projection: &mut StatisticsProjection, after: u64, up_to: u64) {
    let tenant: TenantId = "acme".parse().expect("a slug");
    let range = LedgerRange { tenant: tenant.clone(), after: Position(after), up_to: Position(up_to) };
    let mut batch = Batch::default();
    batch.read(&site.store, &[range], &Reflected::new()).await.expect("events");
    let slices = [Slice { tenant: &tenant, facts: batch.parts()[0].facts }];
    let mut writer = site.models.writer().await.expect("a connection");
    let stops = projection.apply(&mut writer.connection(), &slices).await.expect("applies");
    assert!(stops.is_empty(), "{stops:?}");
    let to = Checkpoint { position: Position(up_to), parked: None };
    let moved = Moved {
        read_model: ReadModel::Statistics,
        moves: vec![Move { tenant, from: Position(after), to }],
        recounts: projection.take_recounts(),
    };
    let moved = checkpoint::compare_and_set(&mut writer.connection(), &[moved], &[]).await.expect("moves");
    assert!(moved);
}

#[test]
fn the_page_tells_what_is_counted_apart() {
    let page = include_str!("../../../docs/statistics.md");
    for told in [
        format!("A rule's first {OUTCOME_VALUES_MAX} different values are counted apart"),
        format!("more than {OUTCOME_VALUE_BYTES_MAX} bytes of JSON"),
        format!("the newest {DAYS_MAX} days"),
    ] {
        assert!(page.contains(&told), "docs/statistics.md: {told}");
    }
}

/// How many rows the tables have, and how many bytes of the checkpoint are not counted there.
async fn kept(site: &Site) -> (i64, i64) {
    let mut writer = site.models.writer().await.expect("a connection");
    let rows = sql("SELECT count(*) FROM outcome_counts").one(&mut writer.connection()).await;
    let bytes = "SELECT CAST(coalesce(max(length(uncounted)), 0) AS bigint) FROM checkpoints";
    let bytes = sql(bytes).one(&mut writer.connection()).await;
    (rows.expect("a row").value().expect("a count"), bytes.expect("a row").value().expect("a count"))
}

async fn counts_gather_in_the_checkpoint_until_they_are_too_many(site: Site) {
    let tenant: TenantId = "acme".parse().expect("a slug");
    let texts = ["plain", "\"quoted\" \\ {\"json\": [1]}", "ünï💥\u{0}\u{1}\n", ""];
    for text in texts {
        site.evaluate("acme", json!({"says": {"matched": true, "value": text}, "big": {"matched": false}}))
            .await;
    }
    let mut projection = StatisticsProjection::default();
    apply(&site, &mut projection, 0, 2).await;
    // Another process goes on.
    projection = StatisticsProjection::default();
    apply(&site, &mut projection, 2, 4).await;
    let (rows, bytes) = kept(&site).await;
    assert_eq!(rows, 0);
    assert!((1..UNCOUNTED_BYTES_MAX as i64).contains(&bytes), "{bytes}");
    let outcomes = async || {
        let mut writer = site.models.writer().await.expect("a connection");
        read(&mut writer.connection(), &tenant, None).await.expect("counts").outcomes
    };
    let says = |outcomes: &[OutcomeCount]| -> BTreeMap<Option<String>, u64> {
        let said = outcomes.iter().filter(|outcome| outcome.rule == "says");
        said.map(|outcome| (outcome.value.as_ref().map(|value| value.as_str().to_owned()), outcome.count))
            .collect()
    };
    let told = outcomes().await;
    assert_eq!(told.iter().find(|outcome| outcome.rule == "big").expect("counted").count, 4);
    let expected = texts.map(|text| (Some(serde_json::to_string(text).expect("JSON")), 1));
    assert_eq!(says(&told), expected.into_iter().collect());

    // All at once what a checkpoint does not take.
    for n in 0..OUTCOME_VALUES_MAX {
        site.evaluate("acme", json!({"says": {"matched": true, "value": format!("{n:040}")}})).await;
    }
    site.evaluate("acme", json!({"says": {"matched": true, "value": "plain"}})).await;
    let end = 4 + OUTCOME_VALUES_MAX as u64;
    apply(&site, &mut projection, 4, end).await;
    let (rows, bytes) = kept(&site).await;
    assert_eq!((rows, bytes), (1 + OUTCOME_VALUES_MAX as i64 + 1, 0));
    // What is known in both places goes on in the checkpoint.
    projection = StatisticsProjection::default();
    apply(&site, &mut projection, end, end + 1).await;
    assert!(kept(&site).await.1 > 0);
    let told = says(&outcomes().await);
    assert_eq!(told.len(), OUTCOME_VALUES_MAX + 1);
    assert_eq!(told[&Some("\"plain\"".to_owned())], 2);
    assert_eq!(told[&None], 4, "as many as the first ones took");
    assert_eq!(told.values().sum::<u64>(), end + 1);
}

#[tokio::test]
async fn counts_gather_in_the_checkpoint_until_they_are_too_many_in_a_file() {
    counts_gather_in_the_checkpoint_until_they_are_too_many(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn counts_gather_in_the_checkpoint_until_they_are_too_many_in_postgres() {
    counts_gather_in_the_checkpoint_until_they_are_too_many(Site::on_postgres().await).await;
}

async fn counts_that_cannot_be_read_stop_their_tenant_and_no_other(site: Site) {
    for tenant in ["acme", "globex"] {
        site.publish(tenant).await;
        site.submit(tenant).await;
    }
    catch_up(&mut site.projector().await).await;
    {
        let mut writer = site.models.writer().await.expect("a connection");
        let damage = sql("UPDATE checkpoints SET uncounted = '{\"states\": 1}' WHERE tenant_id = 'acme'");
        damage.execute(&mut writer.connection()).await.expect("damages");
    }
    let mut projector = site.projector().await;
    for tenant in ["acme", "globex"] {
        site.submit(tenant).await;
    }
    site.aim(&mut projector).await;
    catch_up(&mut projector).await;
    assert_eq!(site.counted("globex").await, 2);
    assert_eq!(site.position("acme", ReadModel::Submissions).await, 3);
    let status = site.models.status(&site.store.heads().await.expect("heads")).await.expect("a status");
    let parked = &status[ReadModel::Statistics.index()].parked;
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].tenant.as_str(), parked[0].position), ("acme", Position(2)));
    assert!(parked[0].error.contains("counts cannot be read"), "{}", parked[0].error);
}

#[tokio::test]
async fn counts_that_cannot_be_read_stop_their_tenant_and_no_other_in_a_file() {
    counts_that_cannot_be_read_stop_their_tenant_and_no_other(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn counts_that_cannot_be_read_stop_their_tenant_and_no_other_in_postgres() {
    counts_that_cannot_be_read_stop_their_tenant_and_no_other(Site::on_postgres().await).await;
}

/// A tenant's counts are found by its key in both places, however many tenants there are.
#[tokio::test]
async fn sqlite_looks_at_one_tenants_counts() {
    let site = Site::on_sqlite().await;
    let mut writer = site.models.writer().await.expect("a connection");
    for uncounted::CountTable { name: table, .. } in uncounted::COUNT_TABLES {
        for filter in ["tenant_id = $1", "tenant_id = $1 AND ($2 IS NULL OR form = $2)"] {
            let rows = counted(Dialect::Sqlite, table, filter);
            let explain = sql(format!("EXPLAIN QUERY PLAN SELECT * FROM {rows}")).bind("acme").bind("claim");
            let plan = explain.rows(&mut writer.connection()).await.expect("a plan");
            let steps: Vec<String> = plan.iter().map(|step| step.get("detail").expect("a step")).collect();
            for searched in [table, "checkpoints"] {
                let found = |step: &String| step.starts_with(&format!("SEARCH {searched} "));
                assert!(steps.iter().any(found), "{searched} in {steps:?}");
            }
        }
    }
}

async fn what_is_forgotten_at_the_limit_is_read_again(site: Site) {
    let said = |value: usize| json!({"total": {"matched": true, "value": value}});
    let known = OUTCOME_VALUES_MAX as u64;
    for value in 0..OUTCOME_VALUES_MAX {
        site.evaluate("acme", said(value)).await;
    }
    site.evaluate("acme", said(0)).await;
    site.evaluate("acme", said(OUTCOME_VALUES_MAX)).await;
    let mut projection = StatisticsProjection::default();
    apply(&site, &mut projection, 0, known).await;
    assert_eq!(projection.values, OUTCOME_VALUES_MAX);

    projection.values = VALUES_REMEMBERED_MAX;
    apply(&site, &mut projection, known, known + 1).await;
    assert_eq!(projection.values, OUTCOME_VALUES_MAX, "forgotten, and read again");
    apply(&site, &mut projection, known + 1, known + 2).await;
    let mut writer = site.models.writer().await.expect("a connection");
    let tenant = "acme".parse().expect("a slug");
    let mut outcomes = read(&mut writer.connection(), &tenant, None).await.expect("counts").outcomes;
    outcomes.retain(|outcome| outcome.count > 1 || outcome.value.is_none());
    let told: Vec<_> =
        outcomes.iter().map(|o| (o.value.as_ref().map(CanonicalJson::as_str), o.count)).collect();
    assert_eq!(
        told,
        [(Some("0"), 2), (None, 1)],
        "a value that was known before, and one that is one too many"
    );
}

#[tokio::test]
async fn what_is_forgotten_at_the_limit_is_read_again_from_a_file() {
    what_is_forgotten_at_the_limit_is_read_again(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn what_is_forgotten_at_the_limit_is_read_again_from_postgres() {
    what_is_forgotten_at_the_limit_is_read_again(Site::on_postgres().await).await;
}
