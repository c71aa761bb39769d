//! Promise: the database itself refuses to change what happened, whoever asks.

use super::{Database, append, events, positions, stream};

pub(crate) async fn the_database_refuses_to_change_or_remove_an_event(database: &impl Database) {
    let store = database.open().await;
    append(&store, events(&stream("acme", "s"), 0, 2)).await;
    for statement in [
        "UPDATE events SET payload = '{}'",
        "UPDATE events SET position = 7 WHERE position = 2",
        "DELETE FROM events",
        "DELETE FROM events WHERE position = 2",
        "DELETE FROM ledgers",
    ] {
        let refused = database.sql(statement).await;
        assert!(refused.is_err(), "`{statement}` was not refused");
    }
    assert_eq!(positions(&store, "acme").await, [1, 2]);
    let report = store.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    assert!(report.is_sound(), "{report:?}");
}
