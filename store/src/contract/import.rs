//! Promise: while an import is not at its end, nobody else appends to its ledger, whatever they believe of it; then everybody does.

use crate::backend::{Applied, Backend, Batch, Head, HeadMove, ImportStep, Withheld};
use crate::merkle::Frontier;
use crate::{AppendError, Store, StoreError};

use super::{Database, append, context, events, stream};

fn batch(from: &Head, position: u64, import: ImportStep) -> (Batch<'static>, Head) {
    let mut frontier = Frontier::clone(&from.frontier);
    frontier.append([position as u8; 32]);
    let to = Head { position: formledger_domain::Position(position), recorded_at: 1, frontier };
    let tenant = stream("acme", "s").tenant().clone();
    let step = HeadMove { tenant, from: from.position, tip: from.frontier.tip(), to: to.clone() };
    (Batch { heads: vec![step], import, ..Batch::default() }, to)
}

async fn is_refused(store: &Store) -> bool {
    let answer = store.ledger(&context("acme")).append(events(&stream("acme", "t"), 0, 1)).await;
    matches!(answer, Err(AppendError::Store(StoreError::Importing)))
}

pub(crate) async fn nobody_appends_to_a_ledger_whose_import_is_not_at_its_end<D: Database>(database: &D) {
    let (mut importing, mut other) = (database.backend().await, database.backend().await);
    let tenants = [stream("acme", "s").tenant().clone()];
    let store = database.open().await;
    let moved = |applied| matches!(applied, Ok(Applied::Open { moved }) if moved == tenants);
    let mut head = Head::default();
    for position in 1..=2 {
        let (batch_of_import, to) = batch(&head, position, ImportStep::GoesOn);
        let applied = importing.record(&batch_of_import).await.expect("records");
        assert_eq!(applied, Applied::Open { moved: Vec::new() });
        head = to;
        assert!(is_refused(&store).await, "{position}");
        append(&store, events(&stream("other", &format!("s{position}")), 0, 1)).await;
        let (of_client, _) = batch(&head, position + 1, ImportStep::None);
        assert!(moved(other.record(&of_client).await), "one that believes in this very head");
        for read in [other.heads(&tenants).await, other.hold_heads(&tenants).await] {
            assert_eq!(read.expect("reads"), [(tenants[0].clone(), Err(Withheld::Importing(head.clone())))]);
        }
        other.release().await.expect("releases");
    }
    let (last, _) = batch(&head, 3, ImportStep::Ends);
    assert_eq!(importing.record(&last).await.expect("records"), Applied::Open { moved: Vec::new() });
    append(&store, events(&stream("acme", "t"), 0, 1)).await;
    importing.close().await;
    other.close().await;
}
