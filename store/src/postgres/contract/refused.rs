//! Promise: what does not fit into the server's indexes is refused, and its neighbours in the batch are recorded.

use futures_util::future::join_all;
use uuid::Uuid;

use super::SharedDatabase;
use crate::contract::{Database, append, context, events, keyed, positions, stream};
use crate::{AppendError, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_fits_into_no_index_is_refused_and_its_neighbours_are_recorded() {
    let database = SharedDatabase::create().await;
    let store = database.open().await;
    append(&store, events(&stream("acme", "before"), 0, 1)).await;
    // An entry of an index is compressed, so the key must not be.
    let long: String = (0..1_000).map(|_| Uuid::now_v7().simple().to_string()).collect();
    let appends = (0..40).map(|n| {
        let (tenant, key) = if n == 20 { ("guilty", long.clone()) } else { ("acme", format!("key-{n}")) };
        let ledger = store.ledger(&context(tenant));
        async move { ledger.append(keyed(&stream(tenant, &format!("{n}")), 0, &key, 1)).await }
    });
    for (n, answer) in join_all(appends).await.into_iter().enumerate() {
        match answer {
            Ok(_) => assert_ne!(n, 20),
            Err(AppendError::Store(StoreError::Refused(_))) => assert_eq!(n, 20),
            Err(other) => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(positions(&store, "acme").await.len(), 40);
    assert_eq!(positions(&store, "guilty").await, [0; 0]);
}
