//! What moves a tenant's row, and what does not.

use super::*;
use crate::projector::tests::Site;
use crate::witness;

fn moved(from: u64, to: u64) -> Move {
    let to = Checkpoint { position: Position(to), parked: None };
    Move { tenant: "acme".parse().expect("a slug"), from: Position(from), to }
}

fn parked(at: u64, error: &str) -> Move {
    let to = Checkpoint { position: Position(at), parked: Some(error.to_owned()) };
    Move { to, ..moved(at, at) }
}

fn seen(position: u64) -> Witness {
    let first = (position == 1).then_some([1; 32]);
    let tenant = "acme".parse().expect("a slug");
    Witness { tenant, first, position: Position(position), last: [position as u8; 32] }
}

/// Moves some projections and commits, where all were where they were expected.
async fn set(site: &Site, moves: &[(ReadModel, Move)], seen: &[Witness]) -> bool {
    let moved = |(read_model, moved): &(ReadModel, Move)| Moved {
        read_model: *read_model,
        moves: vec![moved.clone()],
        recounts: Vec::new(),
    };
    let moves: Vec<_> = moves.iter().map(moved).collect();
    let mut writer = site.models.writer().await.expect("a writer");
    let mut transaction = writer.begin_writing().await.expect("begins");
    let done = compare_and_set(&mut transaction.connection(), &moves, seen).await.expect("runs");
    if done {
        transaction.commit().await.expect("commits");
    } else {
        transaction.rollback().await.expect("ends");
    }
    done
}

/// Where a projection is, and why it is parked.
async fn standing(site: &Site, read_model: ReadModel) -> Option<(u64, Option<String>)> {
    let mut writer = site.models.writer().await.expect("a writer");
    let all = load_all(&mut writer.connection(), read_model).await.expect("checkpoints");
    let acme: TenantId = "acme".parse().expect("a slug");
    all.get(&acme).map(|checkpoint| (checkpoint.position.0, checkpoint.parked.clone()))
}

async fn reflected(site: &Site) -> Vec<(u64, Option<u8>, u8)> {
    let mut writer = site.models.writer().await.expect("a writer");
    let witnesses = witness::load_all(&mut writer.connection()).await.expect("witnesses");
    let told = |one: &Witness| (one.position.0, one.first.map(|hash| hash[0]), one.last[0]);
    witnesses.iter().map(told).collect()
}

async fn a_batch_moves_those_that_it_has_something_for_and_all_of_them_or_none(site: Site) {
    use ReadModel::{Forms, Statistics, Submissions, Tasks};
    assert!(!set(&site, &[(Forms, moved(3, 5))], &[]).await, "nobody begins in the middle");
    assert_eq!(standing(&site, Forms).await, None);
    assert!(set(&site, &[(Forms, moved(0, 2)), (Tasks, moved(0, 2))], &[seen(1)]).await);
    assert_eq!(standing(&site, Forms).await, Some((2, None)));
    assert_eq!(standing(&site, Submissions).await, None);
    assert_eq!(reflected(&site).await, [(1, Some(1), 1)]);

    // One that begins, beside one that goes on and one that stays.
    assert!(set(&site, &[(Forms, moved(2, 3)), (Submissions, moved(0, 3))], &[seen(3)]).await);
    assert_eq!(standing(&site, Forms).await, Some((3, None)));
    assert_eq!(standing(&site, Submissions).await, Some((3, None)));
    assert_eq!(standing(&site, Statistics).await, None);
    assert_eq!(standing(&site, Tasks).await, Some((2, None)));
    // One that is behind reflects less than the others.
    assert!(set(&site, &[(Tasks, moved(2, 3)), (Statistics, moved(0, 2))], &[seen(2)]).await);
    assert_eq!(reflected(&site).await, [(3, Some(1), 3)]);

    // One is elsewhere by now.
    let moves = [(Forms, moved(3, 4)), (Submissions, moved(3, 4)), (Statistics, moved(3, 4))];
    assert!(!set(&site, &moves, &[seen(4)]).await);
    assert_eq!(standing(&site, Forms).await, Some((3, None)));
    assert_eq!(reflected(&site).await, [(3, Some(1), 3)]);
}

async fn one_is_parked_and_goes_on_beside_the_others(site: Site) {
    use ReadModel::{Forms, Submissions};
    assert!(set(&site, &[(Forms, moved(0, 2)), (Submissions, parked(0, "unreadable"))], &[seen(2)]).await);
    assert_eq!(standing(&site, Forms).await, Some((2, None)));
    assert_eq!(standing(&site, Submissions).await, Some((0, Some("unreadable".to_owned()))));
    assert!(set(&site, &[(Forms, moved(2, 3))], &[seen(3)]).await);
    assert_eq!(standing(&site, Submissions).await, Some((0, Some("unreadable".to_owned()))));
    // Another binary reads it.
    assert!(set(&site, &[(Submissions, moved(0, 2))], &[]).await);
    assert!(set(&site, &[(Submissions, parked(2, "a gap"))], &[]).await);
    assert!(set(&site, &[(Submissions, moved(2, 3)), (Forms, moved(3, 4))], &[seen(4)]).await);
    assert_eq!(standing(&site, Submissions).await, Some((3, None)));
    let mut writer = site.models.writer().await.expect("a writer");
    let totals = totals(&mut writer.connection()).await.expect("totals");
    let reached = totals.map(|totals| (totals.parked, totals.reached));
    assert_eq!(reached, [(0, 4), (0, 3), (0, 0), (0, 0)]);
}

async fn nobody_moves_or_begins_beside_rows_of_another_version(site: Site) {
    use ReadModel::{Forms, Statistics};
    assert!(set(&site, &[(Forms, moved(0, 2)), (Statistics, moved(0, 2))], &[seen(2)]).await);
    {
        let mut writer = site.models.writer().await.expect("a writer");
        let newer = sql("UPDATE checkpoints SET statistics_version = 1000");
        newer.execute(&mut writer.connection()).await.expect("updates");
    }
    for moved in [moved(2, 3), moved(0, 3), parked(2, "a gap")] {
        assert!(!set(&site, &[(Forms, self::moved(2, 3)), (Statistics, moved)], &[]).await);
    }
    assert_eq!(standing(&site, Forms).await, Some((2, None)));
    assert_eq!(standing(&site, Statistics).await, None);
    let acme = "acme".parse().expect("a slug");
    let mut writer = site.models.writer().await.expect("a writer");
    let readable = readable(&mut writer.connection(), &acme, Statistics).await.expect("answers");
    assert_eq!(readable, None);
}

#[tokio::test]
async fn a_batch_moves_those_that_it_has_something_for_and_all_of_them_or_none_on_sqlite() {
    a_batch_moves_those_that_it_has_something_for_and_all_of_them_or_none(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn a_batch_moves_those_that_it_has_something_for_and_all_of_them_or_none_on_postgres() {
    a_batch_moves_those_that_it_has_something_for_and_all_of_them_or_none(Site::on_postgres().await).await;
}

#[tokio::test]
async fn one_is_parked_and_goes_on_beside_the_others_on_sqlite() {
    one_is_parked_and_goes_on_beside_the_others(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn one_is_parked_and_goes_on_beside_the_others_on_postgres() {
    one_is_parked_and_goes_on_beside_the_others(Site::on_postgres().await).await;
}

#[tokio::test]
async fn nobody_moves_or_begins_beside_rows_of_another_version_on_sqlite() {
    nobody_moves_or_begins_beside_rows_of_another_version(Site::on_sqlite().await).await;
}

#[tokio::test]
async fn nobody_moves_or_begins_beside_rows_of_another_version_on_postgres() {
    nobody_moves_or_begins_beside_rows_of_another_version(Site::on_postgres().await).await;
}
