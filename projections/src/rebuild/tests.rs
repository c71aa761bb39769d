//! Rebuilds in batches of a few events, so that ledgers are longer than one.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::place::{Place, sqlite_files, sqlite_migrating, suffixed};
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
        for damage in ["DELETE FROM submissions", "UPDATE checkpoints SET uncounted = NULL"] {
            sql(damage).execute(&mut writer.connection()).await.expect("damages");
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

/// The file of read models of two tenants, one event of which is passed over, that nobody has open.
async fn left_alone() -> (Site, PathBuf) {
    let mut site = Site::on_sqlite().await;
    for tenant in ["acme", "globex"] {
        site.publish(tenant).await;
        for _ in 0..20 {
            site.submit(tenant).await;
        }
    }
    site.submit_nonsense("acme").await;
    site.submit("acme").await;
    for read_model in ReadModel::ALL {
        let skip = sql("INSERT INTO skips VALUES ('acme', $1, $2, 22, 'ann', 'test', 0, 'nonsense')");
        let skip = skip.bind(read_model.name()).bind(read_model.version());
        skip.execute(&mut site.models.writer().await.expect("a writer").connection()).await.expect("a skip");
    }
    catch_up(&mut site.projector().await).await;
    let Place::Sqlite(path) = site.place.0.clone() else { unreachable!("a file") };
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("permissions");
    let elsewhere = ReadModelPlace::file(&path.with_extension("elsewhere"));
    site.models = ReadModels::open(elsewhere, ReadModelSettings::default()).await.expect("another file");
    (site, path)
}

/// Rebuilds the file, and looks whether all is in it and can be gone on with; answers whether it is another one.
async fn is_exchanged(site: &mut Site, path: &Path) -> bool {
    let inode = |path: &Path| path.metadata().expect("a file").ino();
    let (before, request) = (inode(path), RebuildRequest::default());
    rebuild_in(LIMITS, &site.store, &site.place, request, |_| {}).await.expect("rebuilds");
    let now = inode(path);
    assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o640);
    let fresh = site.place.0.fresh();
    let Place::Sqlite(fresh) = fresh else { unreachable!("a file") };
    assert!(sqlite_files(&fresh).iter().all(|file| !file.exists()), "the fresh file is left");
    site.models = ReadModels::open(site.place.clone(), ReadModelSettings::default()).await.expect("opens");
    for (tenant, events, submissions) in [("acme", 23, 21), ("globex", 21, 20)] {
        assert_eq!(site.position(tenant, ReadModel::Submissions).await, events);
        assert_eq!(site.counted(tenant).await, submissions);
    }
    site.submit("acme").await;
    site.submit_nonsense("globex").await;
    catch_up(&mut site.projector().await).await;
    assert_eq!((site.counted("acme").await, site.counted("globex").await), (22, 20));
    assert!(is_whole(&site.models).await);
    now != before
}

/// Whether the file is sound and has the indexes that folding does without.
async fn is_whole(models: &ReadModels) -> bool {
    let mut writer = models.writer().await.expect("a writer");
    let mut connection = writer.connection();
    let checked = sql("PRAGMA integrity_check").one(&mut connection).await.expect("checks");
    assert_eq!(checked.value::<String>().expect("a text"), "ok");
    let indexes = sql("SELECT count(*) FROM sqlite_schema WHERE sql LIKE 'CREATE INDEX%'");
    indexes.one(&mut connection).await.expect("counts").value::<i64>().expect("a number") >= 5
}

#[tokio::test]
async fn a_file_that_nobody_has_open_is_exchanged() {
    let (mut site, path) = left_alone().await;
    assert!(is_exchanged(&mut site, &path).await);
}

/// As after a batch that the database refused: the writer is another one, which keeps a log.
#[tokio::test]
async fn what_the_fresh_file_has_in_a_log_comes_along() {
    let (mut site, path) = left_alone().await;
    let mut rebuilding = Rebuilding::begin(LIMITS, &site.store, &site.place, &RebuildRequest::default())
        .await
        .expect("begins");
    rebuilding.made.forget_writer().await;
    let folded = rebuilding.fold(None, &mut |_| {}).await.expect("folds");
    let Place::Sqlite(fresh) = site.place.0.fresh() else { unreachable!("a file") };
    assert!(suffixed(&fresh, "-wal").metadata().expect("a log").len() > 0);
    assert!(rebuilding.switch_alone(&folded).await.expect("switches").is_some());
    rebuilding.end().await.expect("ends");
    site.models = ReadModels::open(site.place.clone(), ReadModelSettings::default()).await.expect("opens");
    assert_eq!((site.counted("acme").await, site.counted("globex").await), (21, 20));
    assert!(is_whole(&site.models).await);
    assert!(!path.with_extension("db.rebuild").exists());
}

#[tokio::test]
async fn a_file_that_somebody_shares_keeps_its_place() {
    let (mut site, path) = left_alone().await;
    let others = ReadModels::open(site.place.clone(), ReadModelSettings::default()).await.expect("opens");
    assert!(!is_exchanged(&mut site, &path).await);
    assert_eq!(others.status(&[]).await.expect("they see it").len(), ReadModel::ALL.len());
}

#[tokio::test]
async fn a_file_that_another_program_has_open_keeps_its_place() {
    let (mut site, path) = left_alone().await;
    let mut other = sqlite_migrating(&path).await.expect("connects");
    let count = "SELECT count(*) FROM submissions";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut other).await.expect("reads"), 41);
    assert!(!is_exchanged(&mut site, &path).await);
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut other).await.expect("reads"), 42);
}

#[tokio::test]
async fn a_file_that_was_changed_by_hand_keeps_its_place() {
    let (mut site, path) = left_alone().await;
    let mut hand = ReadModelPlace::file(&path).0.connect_writer().await.expect("connects");
    hand.run_script("CREATE INDEX by_hand ON submissions (tenant_id, sequence)").await.expect("an index");
    hand.close().await.expect("closes");
    assert!(!is_exchanged(&mut site, &path).await);
}

#[tokio::test]
async fn a_name_that_leads_to_the_file_goes_on_to_lead_there() {
    let (mut site, path) = left_alone().await;
    let name = path.with_extension("link");
    symlink(&path, &name).expect("a link");
    site.place = ReadModelPlace::file(&name);
    assert!(!is_exchanged(&mut site, &name).await);
    assert!(name.symlink_metadata().expect("a link").is_symlink());
}

#[tokio::test]
async fn a_file_that_was_taken_and_cannot_be_exchanged_has_its_rows_replaced() {
    let (mut site, path) = left_alone().await;
    let inode = path.metadata().expect("a file").ino();
    let mut rebuilding = Rebuilding::begin(LIMITS, &site.store, &site.place, &RebuildRequest::default())
        .await
        .expect("begins");
    let folded = rebuilding.fold(None, &mut |_| {}).await.expect("folds");
    assert!(rebuilding.make_ready().await.expect("makes ready"));
    assert!(rebuilding.take_live_file().await.expect("takes it"));
    let log = suffixed(&path, "-wal");
    assert!(!log.exists(), "a log would be taken for that of the file which comes");
    rebuilding.give_live_file_back().await.expect("gives it back");
    assert!(rebuilding.switch_whole(&folded).await.expect("switches").is_some());
    rebuilding.end().await.expect("ends");
    assert_eq!(path.metadata().expect("a file").ino(), inode);
    site.models = ReadModels::open(site.place.clone(), ReadModelSettings::default()).await.expect("opens");
    assert_eq!((site.counted("acme").await, site.counted("globex").await), (21, 20));
}
