//! What the projection remembers of its table, batch by batch.

use formledger_domain::Position;
use formledger_store::LedgerRange;
use serde_json::json;

use super::*;
use crate::batch::Batch;
use crate::projector::tests::Site;
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
