//! Promise: the tables are postgres-es's, so a stock repository reads every stream, and what is hashed comes back byte by byte.

use cqrs_es::persist::PersistedEventRepository;
use formledger_domain::{CanonicalJson, EncodedEvent, Position};
use postgres_es::PostgresEventRepository;
use sqlx::postgres::PgPoolOptions;

use super::SharedDatabase;
use crate::contract::tally::Tally;
use crate::contract::{Database, append, context, events, stream};
use crate::{Append, Difference};

#[tokio::test]
async fn a_stock_postgres_es_repository_reads_every_stream() {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    for (tenant, id, count) in [("acme", "one", 3), ("acme", "two", 1), ("other", "one", 2)] {
        append(&store, events(&stream(tenant, id), 0, count)).await;
    }
    let pool = PgPoolOptions::new().connect(&database.0.url()).await.expect("connects");
    let repository = PostgresEventRepository::new(pool);
    for (tenant, id) in [("acme", "one"), ("acme", "two"), ("other", "one"), ("other", "two")] {
        let stock = repository.get_events::<Tally>(&format!("{tenant}/{id}")).await.expect("reads");
        let ours = store.ledger(&context(tenant)).load(&stream(tenant, id)).await.expect("loads");
        assert_eq!(stock.len(), ours.len());
        for (stock, ours) in stock.iter().zip(&ours) {
            assert_eq!(stock.sequence as u64, ours.sequence.0);
            assert_eq!(
                (stock.event_type.as_str(), stock.event_version.as_str()),
                (&*ours.event_type, &*ours.event_version)
            );
            assert_eq!(stock.payload.to_string(), ours.payload.as_str());
            assert_eq!(stock.metadata["actor"], ours.metadata.actor.as_ref());
        }
    }
}

#[tokio::test]
async fn what_is_hashed_comes_back_byte_by_byte() {
    // What `jsonb` would reorder, round, shorten or refuse, and what is too long to stay in the row.
    let long = format!(r#"{{"b":"{}","a":2}}"#, "grüße ".repeat(3000));
    let payloads = [
        r#"{"z":1,"a":[1.0,1e400,0.10,-0,123456789012345678901234567890]}"#,
        r#"{"a":"\u0000 \ud800 \/ é 😀","a":"twice"}"#,
        r#"{ "spaced" : null }"#,
        long.as_str(),
    ];
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    let encode = |payload: &&str| EncodedEvent {
        event_type: "formledger.tally.added",
        event_version: "1",
        payload: CanonicalJson::from_stored(*payload),
    };
    let all = Append { events: payloads.iter().map(encode).collect(), ..events(&stream("acme", "s"), 0, 1) };
    append(&store, all).await;
    let other = database.open().await;
    let read = other.ledger(&context("acme")).read_after(Position::START, 9).await.expect("reads");
    let read: Vec<_> = read.iter().map(|event| event.payload.as_str()).collect();
    assert_eq!(read, payloads);
    let report = other.verify(&"acme".parse().expect("slug"), |_| {}).await.expect("verifies");
    // All hashes are as they should be; that the texts are not in canonical form is another matter.
    let is_of_form = |difference: &Difference| difference.what.starts_with("the payload is not what");
    assert!(
        report.differences.len() == payloads.len() && report.differences.iter().all(is_of_form),
        "{report:?}"
    );
}
