//! All submissions that a query selects, for exports, while others go on writing. Asked by `api`; no read transaction is held between two
//! reads, so a slow client pins neither the write-ahead log of SQLite nor dead rows and tables of Postgres.
//!
//! In the order of creation nothing changes its place, so the rows are read page by page. In an order that moves, a submission that changes
//! meanwhile would be passed over or met twice: the ids are read at once, in one snapshot, and then the rows they name, as they are by then.
//! The rows of a past moment do not change, so they are read page by page in any order.

use std::time::Duration;
use std::vec;

use formledger_domain::SubmissionId;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use crate::reader::{Answer, QueryError, TenantReader};
use crate::submissions::{PAGE_ITEMS_MAX, PageKey, Part, SubmissionQuery, SubmissionRow};

/// The most items that an export reads at once.
const EXPORT_ITEMS_MAX: u32 = 4_000;
/// An export reads more at once as long as this takes less.
const EXPORT_PAGE_TIME: Duration = Duration::from_secs(1);
/// The most submissions of an export in an order that moves, whose ids (16 bytes each) are kept until the last is read; more are
/// [`QueryError::TooMany`].
const EXPORT_MOVING_ITEMS_MAX: u32 = 500_000;
/// The most submissions that are looked up by their ids at once. They come in no order, so all of them are in memory together.
const LOOKUP_ITEMS_MAX: usize = 128;
/// As many are looked up at once as had about so many bytes before, at most.
const LOOKUP_BYTES: usize = 1024 * 1024;

/// The rows of an export, one after the other; they end after an error.
pub type ExportedRows = BoxStream<'static, Result<SubmissionRow, QueryError>>;

impl TenantReader {
    /// All submissions that a query selects; its own `limit` and `cursor` do not matter. No row is older than the position.
    ///
    /// # Errors
    /// What is wrong with the query, before a row is read: [`QueryError::TooMany`], too.
    pub async fn all_submissions(&self, query: SubmissionQuery) -> Result<Answer<ExportedRows>, QueryError> {
        self.all_submissions_within(query, EXPORT_MOVING_ITEMS_MAX).await
    }

    async fn all_submissions_within(
        &self,
        query: SubmissionQuery,
        moving_items_max: u32,
    ) -> Result<Answer<ExportedRows>, QueryError> {
        if query.sort.is_settled() || self.is_of_moment() {
            let first = self.part(&query, None, PAGE_ITEMS_MAX).await?;
            return Ok(Answer { position: first.position, value: in_place(self.clone(), query, first) });
        }
        let Answer { position, value: ids } = self.ids(&query, moving_items_max).await?;
        Ok(Answer { position, value: by_ids(self.clone(), ids) })
    }
}

/// Goes on behind the first part, page by page.
fn in_place(reader: TenantReader, query: SubmissionQuery, first: Part) -> ExportedRows {
    enum Next {
        Read(Part, u32),
        Behind(PageKey, u32),
    }
    let first = Next::Read(first, PAGE_ITEMS_MAX);
    stream::try_unfold(Some(first), move |next| {
        let (reader, query) = (reader.clone(), query.clone());
        async move {
            let (part, limit) = match next {
                None => return Ok::<_, QueryError>(None),
                Some(Next::Read(part, limit)) => (part, limit),
                Some(Next::Behind(after, limit)) => {
                    let began = Instant::now();
                    let part = reader.part(&query, Some(&after), limit).await?;
                    let limit = next_limit(part.items.len(), began.elapsed());
                    (part, limit)
                }
            };
            let next = part.ends.map(|after| Next::Behind(after, limit));
            Ok(Some((stream::iter(part.items.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
    .boxed()
}

/// Looks the submissions up, some at once; one that is not there any more is left out.
fn by_ids(reader: TenantReader, ids: Vec<SubmissionId>) -> ExportedRows {
    let first: (vec::IntoIter<SubmissionId>, usize) = (ids.into_iter(), 1);
    stream::try_unfold(first, move |(mut left, count)| {
        let reader = reader.clone();
        async move {
            let asked: Vec<SubmissionId> = left.by_ref().take(count).collect();
            if asked.is_empty() {
                return Ok::<_, QueryError>(None);
            }
            let found = reader.submissions_by_id(&asked).await?.value;
            let bytes = found.iter().flatten().map(SubmissionRow::document_bytes).sum();
            let next = (left, next_count(count, bytes));
            Ok(Some((stream::iter(found.into_iter().flatten().map(Ok)), next)))
        }
    })
    .try_flatten()
    .boxed()
}

/// How many items an export asks for after it was given so many. A page begins with what it gathers, so a larger one costs less an item; what it asks for
/// beyond its bytes is sent by Postgres all the same, and a slow one must not become too slow.
fn next_limit(items: usize, took: Duration) -> u32 {
    let more = if took < EXPORT_PAGE_TIME { 2 * items } else { items };
    u32::try_from(more).map_or(EXPORT_ITEMS_MAX, |more| more.clamp(1, EXPORT_ITEMS_MAX))
}

/// How many submissions are looked up after so many had so many bytes.
fn next_count(count: usize, bytes: usize) -> usize {
    let fitting = LOOKUP_BYTES * count / bytes.max(1);
    fitting.min(2 * count).clamp(1, LOOKUP_ITEMS_MAX)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use formledger_domain::TenantContext;

    use super::*;
    use crate::projector::tests::{Site, catch_up};

    #[tokio::test]
    async fn too_many_are_refused_in_an_order_that_moves_and_streamed_in_another() {
        let site = Site::on_sqlite().await;
        site.publish("acme").await;
        for _ in 0..3 {
            site.submit("acme").await;
        }
        catch_up(&mut site.projector().await).await;
        let acme = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
        let reader = site.models.reader(&acme);
        let within = async |sort: &str, max: u32| {
            let query = SubmissionQuery { sort: sort.parse().expect("an order"), ..Default::default() };
            let rows = reader.all_submissions_within(query, max).await?.value;
            rows.try_collect::<Vec<_>>().await.map(|rows| rows.len())
        };
        assert_eq!(within("updated_at", 3).await.expect("as many as may be"), 3);
        assert!(matches!(within("updated_at", 2).await, Err(QueryError::TooMany { max: 2 })));
        assert_eq!(within("created_at", 2).await.expect("any number"), 3);
    }

    #[test]
    fn an_export_asks_for_no_more_than_it_was_given_twice() {
        let (quick, slow) = (EXPORT_PAGE_TIME / 2, EXPORT_PAGE_TIME * 2);
        assert_eq!(next_limit(500, quick), 1_000);
        assert_eq!(next_limit(500, slow), 500);
        assert_eq!(next_limit(3_000, quick), EXPORT_ITEMS_MAX);
        assert_eq!(next_limit(4, quick), 8, "of large documents");
        assert_eq!(next_limit(0, slow), 1);
    }

    #[test]
    fn fewer_large_submissions_are_looked_up_at_once() {
        assert_eq!(next_count(1, 100), 2, "carefully at first");
        assert_eq!(next_count(LOOKUP_ITEMS_MAX, 100), LOOKUP_ITEMS_MAX);
        assert_eq!(next_count(64, 64 * LOOKUP_BYTES), 1);
        assert_eq!(next_count(8, 2 * LOOKUP_BYTES), 4);
        assert_eq!(next_count(4, 0), 8, "none of them is there any more");
    }
}
