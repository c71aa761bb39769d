//! Where a page ends, as an opaque text that only the same query of the same tenant takes back.
//! Made and read by the queries of this crate; `api` passes it through.

/// The end of a page, opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// The text to hand to the client.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not a cursor of this query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor does not belong to this query: repeat the query without `cursor` to start over")]
pub struct InvalidCursor;
