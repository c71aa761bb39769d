//! `If-Match` and `If-None-Match` (RFC 9110 sections 13.1.1 and 13.1.2): what a client says that it saw, and what the ledger is to expect because
//! of it. Called by `command`, and by queries that answer one thing; an entity tag of a stream is its sequence, as `fields::etag` writes it.

use formledger_domain::{Sequence, StreamId};
use formledger_store::{Expectation, StoreError, TenantLedger};
use http::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};

use crate::error::ApiError;
use crate::head::Head;
use crate::numbers;

/// What a command's request says of the resource; all of it has to hold (RFC 9110 section 13.2.2).
#[derive(Default)]
pub struct Preconditions {
    if_match: Option<IfMatch>,
    if_none_match: Option<IfNoneMatch>,
}

/// What `If-Match` names: where the resource has to be.
pub struct IfMatch {
    given: String,
    tags: Tags,
}

/// What `If-None-Match` names: where the resource must not be.
struct IfNoneMatch {
    given: String,
    tags: Tags,
}

#[derive(Debug, PartialEq)]
enum Tags {
    /// `*`: wherever there is something.
    Any,
    /// These sequences; tags that can never match are left out.
    OneOf(Vec<Sequence>),
}

/// How tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Clone, Copy, PartialEq)]
enum Comparison {
    /// A weak tag equals none.
    Strong,
    /// A weak tag is like a strong one.
    Weak,
}

/// No stream gets this far.
const NEVER: Expectation = Expectation::Exact(Sequence(i64::MAX.unsigned_abs()));

impl Preconditions {
    /// Reads both header fields.
    ///
    /// # Errors
    /// 400 for one that is neither `*` nor a list of entity tags.
    pub fn read(head: &Head) -> Result<Self, ApiError> {
        Ok(Self { if_match: IfMatch::read(head)?, if_none_match: IfNoneMatch::read(head)? })
    }

    /// Those of one line of a request: what the line says of `If-Match`, what the request says of `If-None-Match`.
    ///
    /// # Errors
    /// 400 for an `If-None-Match` that is neither `*` nor a list of entity tags.
    pub fn of_line(head: &Head, if_match: Option<IfMatch>) -> Result<Self, ApiError> {
        Ok(Self { if_match, if_none_match: IfNoneMatch::read(head)? })
    }

    /// What the append is to expect of `stream`. One tag of `If-Match` is left to the append to compare; for several, for `*` and for
    /// `If-None-Match` the stream is looked at first, and a command that is faster afterwards is a conflict like any other.
    ///
    /// # Errors
    /// Whatever keeps the stream from being read.
    pub async fn expectation(
        &self,
        ledger: &TenantLedger,
        stream: &StreamId,
    ) -> Result<Expectation, StoreError> {
        let wanted = match &self.if_match {
            Some(given) => given.expectation(ledger, stream).await?,
            None => Expectation::Any,
        };
        let Some(unwanted) = &self.if_none_match else { return Ok(wanted) };
        let actual = ledger.sequence_of(stream).await?;
        Ok(match wanted {
            _ if unwanted.tags.name(actual) => NEVER,
            Expectation::Any if actual == Sequence::START => Expectation::NoStream,
            Expectation::Any => Expectation::Exact(actual),
            other => other,
        })
    }

    /// Why a resource at `actual` is not one that they admit; `None` where it is.
    pub fn refusal(&self, actual: Sequence) -> Option<ApiError> {
        let differs = self.if_match.as_ref().filter(|given| !given.tags.name(actual));
        let is_named = self.if_none_match.as_ref().filter(|given| given.tags.name(actual));
        differs.map(|given| given.failed(actual)).or_else(|| is_named.map(|given| given.failed(actual)))
    }

    /// Why something that is begun is not one that they admit: there is nothing yet that `If-Match` could name.
    pub fn refusal_to_begin(&self) -> Option<ApiError> {
        self.refusal(Sequence::START)
    }
}

impl IfMatch {
    /// Reads the header field; `None` when there is none.
    ///
    /// # Errors
    /// 400 when it is neither `*` nor a list of entity tags.
    pub fn read(head: &Head) -> Result<Option<Self>, ApiError> {
        let Some(given) = head.text(&IF_MATCH)? else { return Ok(None) };
        let given = given.trim();
        let tags = tags(given, Comparison::Strong).ok_or_else(|| ApiError::Malformed {
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

    async fn expectation(&self, ledger: &TenantLedger, stream: &StreamId) -> Result<Expectation, StoreError> {
        Ok(match &self.tags {
            Tags::OneOf(sequences) => match sequences.as_slice() {
                [] => NEVER,
                [only] => Expectation::Exact(*only),
                several => {
                    let actual = ledger.sequence_of(stream).await?;
                    if several.contains(&actual) { Expectation::Exact(actual) } else { NEVER }
                }
            },
            Tags::Any if ledger.sequence_of(stream).await? == Sequence::START => NEVER,
            // Streams do not go away, so it is there when the command runs, at whatever sequence.
            Tags::Any => Expectation::Any,
        })
    }

    /// The refusal, where the resource is at `actual`.
    pub fn failed(&self, actual: Sequence) -> ApiError {
        let detail = format!("the resource is at sequence {actual}, `If-Match` names {}", self.given);
        ApiError::PreconditionFailed { detail, actual }
    }
}

impl IfNoneMatch {
    fn read(head: &Head) -> Result<Option<Self>, ApiError> {
        let Some(given) = head.text(&IF_NONE_MATCH)? else { return Ok(None) };
        let given = given.trim();
        let tags = tags(given, Comparison::Weak).ok_or_else(|| ApiError::Malformed {
            code: "header-invalid",
            detail: "write `If-None-Match: *` for what must not be there yet, or `If-None-Match: \"<sequence>\"` with the sequence of an `ETag`, several with commas between them"
                .to_owned(),
        })?;
        Ok(Some(Self { given: given.to_owned(), tags }))
    }

    fn failed(&self, actual: Sequence) -> ApiError {
        let detail = match self.tags {
            Tags::Any => format!(
                "the resource is there, at sequence {actual}, and `If-None-Match: *` asks that it is not"
            ),
            Tags::OneOf(_) => {
                format!("the resource is at sequence {actual}, which `If-None-Match` names: {}", self.given)
            }
        };
        ApiError::PreconditionFailed { detail, actual }
    }
}

impl Tags {
    /// Whether a resource at `actual` is one of those.
    fn name(&self, actual: Sequence) -> bool {
        match self {
            Self::OneOf(sequences) => sequences.contains(&actual),
            Self::Any => actual > Sequence::START,
        }
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

/// The tags of a field value; `None` when it is malformed. Empty elements of the list are passed over (RFC 9110 section 5.6.1.2).
fn tags(given: &str, comparison: Comparison) -> Option<Tags> {
    if given == "*" {
        return Some(Tags::Any);
    }
    let between = |char: char| char == ',' || char.is_ascii_whitespace();
    let mut sequences = Vec::new();
    let mut rest = given.trim_start_matches(between);
    loop {
        let is_strong = !rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (opaque, after) = quoted.split_once('"')?;
        if is_strong || comparison == Comparison::Weak {
            sequences.extend(sequence(opaque));
        }
        let (separator, more) = after.split_at(after.find(|char| !between(char)).unwrap_or(after.len()));
        match more {
            "" => return Some(Tags::OneOf(sequences)),
            more if separator.contains(',') => rest = more,
            _ => return None,
        }
    }
}

/// The sequence that a tag of ours names. What is written otherwise (`03`) is another tag, and nothing that exists is at 0.
fn sequence(opaque: &str) -> Option<Sequence> {
    numbers::read(opaque).map(Sequence).filter(|sequence| *sequence > Sequence::START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_names_whatever_is_there_and_tags_name_their_sequences() {
        for (text, names) in [("*", [false, true, true]), ("\"1\", W/\"2\"", [false, true, false])] {
            let tags = tags(text, Comparison::Strong).expect("tags");
            assert_eq!([0, 1, 2].map(|at| tags.name(Sequence(at))), names, "{text}");
        }
    }

    #[test]
    fn if_match_is_a_star_or_a_list_of_tags_and_weak_or_foreign_ones_never_match() {
        let one_of = |sequences: &[u64]| Some(Tags::OneOf(sequences.iter().copied().map(Sequence).collect()));
        let strong = |text: &str| tags(text, Comparison::Strong);
        assert_eq!(strong("*"), Some(Tags::Any));
        assert_eq!(strong("\"3\""), one_of(&[3]));
        assert_eq!(strong("\"1\", \"2\" ,\"5\""), one_of(&[1, 2, 5]));
        assert_eq!(strong("W/\"3\", \"a,b\", \"4\""), one_of(&[4]));
        assert_eq!(tags("W/\"3\", \"4\"", Comparison::Weak), one_of(&[3, 4]));
        for never in ["W/\"3\"", "\"abc\"", "\"\"", "\"0\"", "\"03\"", "\"+3\""] {
            assert_eq!(strong(never), one_of(&[]), "{never}");
        }
        for malformed in
            ["3", "\"3", "W/3", "\"1\" \"2\"", "\"1\"\"2\"", "*, \"1\"", "\"1\", *", "", ",", ", ,"]
        {
            assert_eq!(strong(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn empty_elements_of_a_list_of_tags_are_passed_over() {
        let expected = Some(Tags::OneOf(vec![Sequence(10), Sequence(5)]));
        for text in ["\"10\",\"5\",", ", \"10\",\"5\"", "\"10\" ,, \"5\"", ",\t\"10\" , ,\"5\" , "] {
            assert_eq!(tags(text, Comparison::Strong), expected, "{text}");
        }
    }
}
