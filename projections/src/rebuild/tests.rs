//! Rebuilds in batches of a few events, so that ledgers are longer than one.

use super::*;
use crate::projector::tests::{LIMITS, Site, catch_up};

/// Ledgers of several batches and of less than one; one that is parked midway and one whose unreadable event is passed over.
async fn everything_built_again_is_where_it_was(site: Site) {
    for (tenant, before, after) in
        [("acme", 30, 0), ("globex", 12, 10), ("initech", 3, 0), ("umbrella", 20, 9)]
    {
        site.publish(tenant).await;
        for _ in 0..before {
            site.submit(tenant).await;
        }
        if after > 0 {
            site.submit_nonsense(tenant).await;
        }
        for _ in 0..after {
            site.submit(tenant).await;
        }
    }
    for read_model in ReadModel::ALL {
        let skip = sql("INSERT INTO skips VALUES ('umbrella', $1, $2, 22, 'ann', 'test', 0, 'nonsense')");
        let skip = skip.bind(read_model.name()).bind(read_model.version());
        skip.execute(&mut site.models.writer().await.expect("a writer").connection()).await.expect("a skip");
    }
    catch_up(&mut site.projector().await).await;
    let told = async || {
        let mut told = Vec::new();
        for tenant in ["acme", "globex", "initech", "umbrella"] {
            for read_model in ReadModel::ALL {
                told.push((tenant, Some(read_model), site.position(tenant, read_model).await));
            }
            told.push((tenant, None, site.counted(tenant).await));
        }
        told
    };
    let live = told().await;
    assert!(live.contains(&("globex", Some(ReadModel::Submissions), 13)), "parked: {live:?}");
    assert!(live.contains(&("umbrella", None, 29)), "passed over: {live:?}");
    {
        let mut writer = site.models.writer().await.expect("a writer");
        for table in ["submissions", "state_counts"] {
            let damage = sql(format!("DELETE FROM {table}"));
            damage.execute(&mut writer.connection()).await.expect("deletes");
        }
    }
    assert_ne!(told().await, live);
    let (mut folded, mut switched) = (0, 0);
    let request = RebuildRequest::default();
    rebuild_in(LIMITS, &site.store, &site.place, request, |progress| match progress {
        RebuildProgress::Folded { events, .. } => folded = events,
        RebuildProgress::Switched { .. } => switched += 1,
    })
    .await
    .expect("rebuilds");
    assert_eq!(told().await, live);
    assert_eq!(switched, 4);
    assert!(folded >= 31 + 13 + 4 + 31, "{folded}");
}

#[tokio::test]
async fn everything_built_again_is_where_it_was_on_sqlite() {
    everything_built_again_is_where_it_was(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn everything_built_again_is_where_it_was_on_postgres() {
    everything_built_again_is_where_it_was(Site::on_postgres().await).await;
}

/// A tenant that registers while others are folded, and goes on until the moment of the switch.
async fn who_comes_or_goes_on_while_others_are_folded_does_not_go_back(site: Site, whole: bool) {
    for tenant in ["acme", "globex"] {
        site.publish(tenant).await;
        for _ in 0..20 {
            site.submit(tenant).await;
        }
    }
    catch_up(&mut site.projector().await).await;
    let request = RebuildRequest::default();
    let mut rebuilding = Rebuilding::begin(LIMITS, &site.store, &site.place, &request).await.expect("begins");
    let mut folded = rebuilding.fold(None, &mut |_| {}).await.expect("folds");
    site.publish("umbrella").await;
    catch_up(&mut site.projector().await).await;
    // A fold that knows no ledger of it and finds rows takes it for one that is gone.
    folded.gone.insert("umbrella".parse().expect("a slug"));
    assert!(rebuilding.make_ready().await.expect("makes ready"));
    rebuilding.catch_up(None).await.expect("catches up");
    for tenant in ["globex", "umbrella"] {
        site.submit(tenant).await;
    }
    catch_up(&mut site.projector().await).await;

    if whole {
        let tried = rebuilding.try_switch_whole(&folded).await.expect("tries");
        assert!(matches!(tried, whole::Tried::Switched(_)));
    } else {
        for tenant in folded.tenants.into_iter().chain(folded.gone) {
            rebuilding.switch(&tenant).await.expect("switches");
        }
    }
    rebuilding.end().await.expect("ends");
    for (tenant, events) in [("acme", 21), ("globex", 22), ("umbrella", 2)] {
        for read_model in ReadModel::ALL {
            assert_eq!(site.position(tenant, read_model).await, events, "{read_model:?} of `{tenant}`");
        }
        assert_eq!(site.counted(tenant).await, events - 1, "`{tenant}`");
    }
}

#[tokio::test]
async fn who_comes_or_goes_on_while_others_are_folded_does_not_go_back_on_sqlite() {
    for whole in [true, false] {
        let site = Site::on_sqlite().await;
        who_comes_or_goes_on_while_others_are_folded_does_not_go_back(site, whole).await;
    }
}

#[tokio::test]
async fn who_comes_or_goes_on_while_others_are_folded_does_not_go_back_on_postgres() {
    for whole in [true, false] {
        let site = Site::on_postgres().await;
        who_comes_or_goes_on_while_others_are_folded_does_not_go_back(site, whole).await;
    }
}
