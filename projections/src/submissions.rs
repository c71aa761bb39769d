//! The submissions read model: each submission as it is now, found by form, state, submitter, text and indexed fields.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use formledger_domain::{CanonicalJson, FormId, Position, Sequence, SubmissionId};
use serde::Serialize;

use crate::condition::Condition;
use crate::cursor::Cursor;

/// Items per page when the query does not say.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// The most items per page.
pub const PAGE_ITEMS_MAX: u32 = 500;

/// A submission as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubmissionRow {
    /// Its id.
    pub submission_id: SubmissionId,
    /// The form it was made with.
    pub form: FormId,
    /// The version it is pinned to.
    pub form_version: u32,
    /// Its workflow state; `draft` before it is submitted.
    pub state: String,
    /// What was filled in, with computed values merged in.
    pub data: CanonicalJson,
    /// What each rule said; `{}` before the first evaluation.
    pub outcomes: CanonicalJson,
    /// Who created it.
    pub submitter: String,
    /// When its first event was recorded.
    pub created_at: DateTime<Utc>,
    /// When its last event was recorded.
    pub updated_at: DateTime<Utc>,
    /// Its place in its stream.
    pub sequence: Sequence,
    /// The position of its last event.
    pub position: Position,
}

/// One page of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Cursor>,
    /// How far the data reaches.
    pub position: Position,
}

/// Which submissions, in which order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubmissionQuery {
    /// Only this form's.
    pub form: Option<FormId>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only this person's.
    pub submitter: Option<String>,
    /// Only those that hold this text in a value, ASCII letters in either case.
    pub q: Option<String>,
    /// Only those of which all of these hold; needs `form`.
    pub conditions: Vec<Condition>,
    /// In this order.
    pub sort: Sort,
    /// Items per page, 1 to [`PAGE_ITEMS_MAX`]; [`PAGE_ITEMS_DEFAULT`] when `None`.
    pub limit: Option<u32>,
    /// Where the page before ended, as the client sent it.
    pub cursor: Option<String>,
}

/// An order; ties and equal values are in order of creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub key: SortKey,
    /// Largest or newest first.
    pub descending: bool,
}

/// What submissions can be sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
    /// An indexed field, as a JSON Pointer; needs `form`.
    Field(String),
}

impl Default for Sort {
    /// Newest first.
    fn default() -> Self {
        Self { key: SortKey::CreatedAt, descending: true }
    }
}

/// Why a text is not an order; the message says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not an order: use `created_at`, `updated_at` or an indexed field's pointer, with `-` in front for descending, for example `-created_at`"
)]
pub struct InvalidSort {
    given: String,
}

impl FromStr for Sort {
    type Err = InvalidSort;

    fn from_str(_text: &str) -> Result<Self, InvalidSort> {
        todo!()
    }
}
