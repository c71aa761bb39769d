//! Canonical JSON: the one text form in which payloads are stored, hashed and served.
//! Called when a command becomes events, and by `verify`; it never looks at what the JSON means.

mod canonical;
mod diff;
mod exact;
pub(crate) mod merge;
mod number;
mod plain;
pub(crate) mod pointer;
pub mod scan;
mod stored;
mod unreadable;

pub use canonical::append_string;
pub(crate) use canonical::{append, by_utf16};
pub use diff::{DIFFERENCES_MAX, FieldDifference, differences};
pub use exact::{NESTING_MAX, parse_exact};
pub use stored::{NotCanonical, STORED_NESTING_MAX};
pub use unreadable::{TextPlace, UnreadableJson};

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

// Rules decide by the same bound what they read as a number.
pub use formledger_rules::INTEGER_MAX;

/// A number at `pointer` that other JSON readers would round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{number}` cannot be carried exactly by every JSON reader (RFC 7493); a field of type number takes fewer digits, whole numbers to \
     {INTEGER_MAX}; one that needs more is a string with `format: decimal` in the form's schema, and takes all digits as a string"
)]
pub struct InexactNumber {
    /// Where the number stands, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// The number as it was sent.
    pub number: String,
}

/// A JSON text in the canonical form of RFC 8785, shared and immutable.
///
/// Cloning is cheap, and so is a part of it: they share the text. It serialises as the JSON it holds, not as a string.
#[derive(Clone)]
pub struct CanonicalJson {
    shared: Arc<str>,
    /// Where in the shared text it lies.
    place: Range<usize>,
}

impl CanonicalJson {
    /// Writes `value` in canonical form.
    ///
    /// # Errors
    /// [`InexactNumber`] for an integer beyond ±(2^53 − 1).
    pub fn from_value(value: &Value) -> Result<Self, InexactNumber> {
        refuse_inexact(value)?;
        Ok(Self::from_stored(canonical::write(value)))
    }

    /// Takes a text that is known to be canonical because this type wrote it: a stored payload.
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        let shared = text.into();
        let place = 0..shared.len();
        Self { shared, place }
    }

    /// A value inside of it, as `part` of its text: nothing is copied, and the whole stays in memory as long as the part does.
    ///
    /// # Panics
    /// When `part` is not a piece of this very text.
    pub(crate) fn part(&self, part: &str) -> Self {
        let from = (part.as_ptr() as usize).checked_sub(self.shared.as_ptr() as usize);
        let place = from.map(|from| from..from + part.len());
        let place = place.filter(|place| self.place.start <= place.start && place.end <= self.place.end);
        Self {
            shared: self.shared.clone(),
            place: place.expect("a part lies in the text that it is part of"),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.shared[self.place.clone()]
    }

    /// The JSON as a tree. What came from somewhere else was looked at before: [`CanonicalJson::readable`], [`CanonicalJson::check`].
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.as_str()).expect("a canonical JSON text is JSON")
    }

    /// SHA-256 of the text, 32 bytes (FIPS 180-4).
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.as_str().as_bytes()).into()
    }
}

impl fmt::Debug for CanonicalJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for CanonicalJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for CanonicalJson {}

impl Serialize for CanonicalJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CanonicalJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whoever wrote it may have written it in another form, for example a tree that a database column went through.
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(D::Error::custom)
    }
}

pub(crate) fn refuse_inexact(value: &Value) -> Result<(), InexactNumber> {
    match value {
        Value::Number(number) => {
            if formledger_rules::is_exact_number(number) {
                Ok(())
            } else {
                Err(InexactNumber { pointer: String::new(), number: number.to_string() })
            }
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            refuse_inexact(item).map_err(|refused| refused.below(&index.to_string()))
        }),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, member)| refuse_inexact(member).map_err(|refused| refused.below(name))),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

impl InexactNumber {
    /// The same, seen from one level up: the pointer is put together only where a number is refused, which is hardly ever.
    fn below(self, token: &str) -> Self {
        let token = token.replace('~', "~0").replace('/', "~1");
        Self { pointer: format!("/{token}{}", self.pointer), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_and_numbers_are_written_as_ecmascript_does() {
        let value = json!({"b": 1.0, "a": [1e21, 0.1, -0.0], "é": "\u{1f}/"});
        let json = CanonicalJson::from_value(&value).expect("exact");
        assert_eq!(json.as_str(), r#"{"a":[1e+21,0.1,0],"b":1,"é":"\u001f/"}"#);
    }

    #[test]
    fn an_integer_beyond_i_json_is_refused_with_its_place_and_the_way_out() {
        let error =
            CanonicalJson::from_value(&json!({"a": [{"b/c": 9007199254740993u64}]})).expect_err("inexact");
        assert_eq!(error.pointer, "/a/0/b~1c");
        // Who fills in a form cannot make a string of a number; who designs it can.
        let advice = "a field of type number takes fewer digits, whole numbers to 9007199254740991; one that needs more is a string with \
                      `format: decimal` in the form's schema, and takes all digits as a string";
        assert!(error.to_string().starts_with("`9007199254740993` cannot"), "{error}");
        assert!(error.to_string().ends_with(advice), "{error}");
        assert!(CanonicalJson::from_value(&json!([9007199254740991u64, -9007199254740991i64])).is_ok());
        assert!(CanonicalJson::from_value(&json!(-9007199254740992i64)).is_err());
    }

    #[test]
    fn a_part_is_as_if_it_stood_alone() {
        let whole = CanonicalJson::from_stored(r#"{"a":{"b":[1,2]},"c":1}"#);
        let part = whole.part(&whole.as_str()[5..16]);
        let alone = CanonicalJson::from_stored(r#"{"b":[1,2]}"#);
        assert_eq!((&part, part.sha256(), part.to_value()), (&alone, alone.sha256(), alone.to_value()));
        assert_eq!(part.part(&part.as_str()[5..10]).as_str(), "[1,2]");
        assert_ne!(part, whole);
        let foreign = "{}".to_owned();
        for not_a_part in [&*foreign, whole.as_str()] {
            assert!(std::panic::catch_unwind(|| part.part(not_a_part)).is_err());
        }
    }

    #[test]
    fn it_serialises_as_the_json_it_holds() {
        let json = CanonicalJson::from_value(&json!({"a": 1})).expect("exact");
        assert_eq!(serde_json::to_string(&[&json]).expect("writes"), r#"[{"a":1}]"#);
        let back: Vec<CanonicalJson> = serde_json::from_str(r#"[{"a":1}]"#).expect("reads");
        assert_eq!(back, [json]);
    }
}
