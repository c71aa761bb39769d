//! `If-Match` and `If-None-Match` (RFC 9110 sections 13.1.1 and 13.1.2): what a client says that it saw. Of the first, what the ledger is to expect
//! because of it. Called by `command`, and of the second by queries that answer one thing; an entity tag of a stream is its sequence, as
//! `command::etag` writes it.

use formledger_domain::{Sequence, StreamId};
use formledger_store::{Expectation, StoreError, TenantLedger};
use http::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};

use crate::error::ApiError;
use crate::head::Head;

/// What `If-Match` names.
pub struct IfMatch {
    given: String,
    tags: Tags,
}

#[derive(Debug, PartialEq)]
enum Tags {
    /// `*`: the resource must exist.
    Any,
    /// It must be at one of these sequences; tags that can never match are left out.
    OneOf(Vec<Sequence>),
}

/// No stream gets this far.
const NEVER: Expectation = Expectation::Exact(Sequence(i64::MAX.unsigned_abs()));

impl IfMatch {
    /// Reads the header field; `None` when there is none.
    ///
    /// # Errors
    /// 400 when it is neither `*` nor a list of entity tags.
    pub fn read(head: &Head) -> Result<Option<Self>, ApiError> {
        let Some(given) = head.text(&IF_MATCH)? else { return Ok(None) };
        let given = given.trim();
        let tags = tags(given).ok_or_else(|| ApiError::Malformed {
            code: "if-match-invalid",
            detail: "write `If-Match: \"<sequence>\"` with the sequence of an `ETag`, several with commas between them, or `*`"
                .to_owned(),
        })?;
        Ok(Some(Self { given: given.to_owned(), tags }))
    }

    /// That it must be at exactly this sequence, as the body of a request says it.
    pub fn at(sequence: Sequence) -> Self {
        Self { given: sequence.to_string(), tags: Tags::OneOf(vec![sequence]) }
    }

    /// What the append is to expect of `stream`. One tag is left to the append to compare; for several, and for `*`, the stream
    /// is looked at first, and a command that is faster afterwards is a conflict like any other.
    ///
    /// # Errors
    /// Whatever keeps the stream from being read.
    pub async fn expectation(
        &self,
        ledger: &TenantLedger,
        stream: &StreamId,
    ) -> Result<Expectation, StoreError> {
        Ok(match &self.tags {
            Tags::OneOf(sequences) => match sequences.as_slice() {
                [] => NEVER,
                [only] => Expectation::Exact(*only),
                several => {
                    let actual = sequence_of(ledger, stream).await?;
                    if several.contains(&actual) { Expectation::Exact(actual) } else { NEVER }
                }
            },
            Tags::Any if sequence_of(ledger, stream).await? == Sequence::START => NEVER,
            // Streams do not go away, so it is there when the command runs, at whatever sequence.
            Tags::Any => Expectation::Any,
        })
    }

    /// Whether a resource at `actual` is one that it names, for who asks before a command runs.
    pub fn holds_at(&self, actual: Sequence) -> bool {
        match &self.tags {
            Tags::OneOf(sequences) => sequences.contains(&actual),
            Tags::Any => actual > Sequence::START,
        }
    }

    /// The refusal, where the resource is at `actual`.
    pub fn failed(&self, actual: Sequence) -> ApiError {
        ApiError::PreconditionFailed { given: self.given.clone(), actual }
    }
}

/// Whether the client has what is tagged so, and only wants something else.
///
/// # Errors
/// 400 for a field that is given twice.
pub fn has_it(head: &Head, tag: &HeaderValue) -> Result<bool, ApiError> {
    let tag = tag.to_str().unwrap_or_default();
    // Compared weakly, so what stands before a tag does not matter; the quotes around it end it.
    Ok(head.text(&IF_NONE_MATCH)?.is_some_and(|known| known.trim() == "*" || known.contains(tag)))
}

async fn sequence_of(ledger: &TenantLedger, stream: &StreamId) -> Result<Sequence, StoreError> {
    let events = ledger.load(stream).await?;
    Ok(events.last().map_or(Sequence::START, |event| event.sequence))
}

/// The tags of a field value; `None` when it is malformed.
fn tags(given: &str) -> Option<Tags> {
    if given == "*" {
        return Some(Tags::Any);
    }
    let mut sequences = Vec::new();
    let mut rest = given;
    loop {
        let strong = !rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (opaque, after) = quoted.split_once('"')?;
        // A weak tag never matches here (RFC 9110 section 8.8.3.2).
        if strong {
            sequences.extend(sequence(opaque));
        }
        match after.trim_start() {
            "" => return Some(Tags::OneOf(sequences)),
            more => rest = more.strip_prefix(',')?.trim_start(),
        }
    }
}

/// The sequence that a tag of ours names. What is written otherwise (`03`) is another tag, and nothing that exists is at 0.
fn sequence(opaque: &str) -> Option<Sequence> {
    let number: u64 = opaque.parse().ok()?;
    (number > Sequence::START.0 && number.to_string() == opaque).then_some(Sequence(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_holds_wherever_something_is_and_tags_hold_where_they_name_it() {
        let given = |text: &str| IfMatch { given: text.to_owned(), tags: tags(text).expect("tags") };
        for (text, holds) in [("*", [false, true, true]), ("\"1\", W/\"2\"", [false, true, false])] {
            assert_eq!([0, 1, 2].map(|at| given(text).holds_at(Sequence(at))), holds, "{text}");
        }
    }

    #[test]
    fn if_match_is_a_star_or_a_list_of_tags_and_weak_or_foreign_ones_never_match() {
        let one_of = |sequences: &[u64]| Some(Tags::OneOf(sequences.iter().copied().map(Sequence).collect()));
        assert_eq!(tags("*"), Some(Tags::Any));
        assert_eq!(tags("\"3\""), one_of(&[3]));
        assert_eq!(tags("\"1\", \"2\" ,\"5\""), one_of(&[1, 2, 5]));
        assert_eq!(tags("W/\"3\", \"a,b\", \"4\""), one_of(&[4]));
        for never in ["W/\"3\"", "\"abc\"", "\"\"", "\"0\"", "\"03\"", "\"+3\""] {
            assert_eq!(tags(never), one_of(&[]), "{never}");
        }
        for malformed in ["3", "\"3", "W/3", "\"1\" \"2\"", "\"1\",", "*, \"1\"", ""] {
            assert_eq!(tags(malformed), None, "{malformed}");
        }
    }
}
