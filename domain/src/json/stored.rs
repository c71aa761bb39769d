//! Looks at texts that were stored, or that somebody says were: whether they can be read, and whether they are in canonical form.
//! Called where rows become values, by `formledger import` and by `verify`.

use std::sync::Arc;

use serde_json::Value;

use super::exact::parse_within;
use super::{CanonicalJson, UnreadableJson, canonical, scan};

/// The deepest nesting of a stored payload that is taken from elsewhere: a document as deep as the door admits, inside of an event, and to spare.
/// Every reader of trees reads as much.
pub const STORED_NESTING_MAX: usize = 100;

/// Why a text is no canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// It cannot be read as what it says.
    #[error("{0}")]
    Unreadable(UnreadableJson),
    /// Arrays and objects are nested too deeply.
    #[error("nested deeper than {STORED_NESTING_MAX} levels")]
    TooDeep,
    /// It says the same as a text that this program would write, in another way.
    #[error("not in the canonical form of RFC 8785, from its byte {} on", from + 1)]
    Form {
        /// Where the two differ first, in bytes.
        from: usize,
    },
}

impl CanonicalJson {
    /// Takes a text that was stored, and can be read as a tree; the rest of its form is not looked at, because every row that is read comes through
    /// here.
    ///
    /// # Errors
    /// What keeps it from being read, for people.
    pub fn readable(text: impl Into<Arc<str>>) -> Result<Self, String> {
        let stored = Self::from_stored(text);
        if scan::is_plain_document(stored.as_str()) {
            return Ok(stored);
        }
        match serde_json::from_str::<Value>(stored.as_str()) {
            Ok(_) => Ok(stored),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the text is, to the byte, what this type writes of what it says.
    ///
    /// # Errors
    /// [`NotCanonical`].
    pub fn check(&self) -> Result<(), NotCanonical> {
        let text = self.as_str();
        let value = parse_within(text.as_bytes(), STORED_NESTING_MAX).map_err(|error| match error {
            UnreadableJson::TooDeep { .. } => NotCanonical::TooDeep,
            other => NotCanonical::Unreadable(other.in_line()),
        })?;
        let written = canonical::write(&value);
        if written == text {
            return Ok(());
        }
        let same = written.bytes().zip(text.bytes()).take_while(|(written, read)| written == read);
        Err(NotCanonical::Form { from: same.count() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::json::NESTING_MAX;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_no_reader_of_trees_takes_is_not_taken() {
        for text in
            ["1e400", r#"{"a":-1e400}"#, r#"["\ud800"]"#, &"9".repeat(400), &nested(5000), "[1", "{} {}"]
        {
            assert!(CanonicalJson::readable(text).is_err(), "{text:.40}");
            assert!(CanonicalJson::from_stored(text).check().is_err(), "{text:.40}");
        }
        for text in [r#"{ "b":1e2,"a":"\ud83d\ude00"}"#, "1.5e300", &nested(NESTING_MAX + 30)] {
            let read = CanonicalJson::readable(text).expect(text);
            drop(read.to_value());
        }
    }

    #[test]
    fn only_the_canonical_form_is_canonical() {
        for (text, said) in [
            (r#"{"a":1,"a":1}"#, "the member at `/a` is given twice; give it once (column 13)"),
            (r#"{"a": 1}"#, "not in the canonical form of RFC 8785, from its byte 6 on"),
            (r#"{"b":1,"a":1}"#, "not in the canonical form of RFC 8785, from its byte 3 on"),
            ("1.0", "not in the canonical form of RFC 8785, from its byte 2 on"),
            ("-0", "not in the canonical form of RFC 8785, from its byte 1 on"),
            (r#""\u00e9""#, "not in the canonical form of RFC 8785, from its byte 2 on"),
            (&nested(STORED_NESTING_MAX + 1), "nested deeper than 100 levels"),
        ] {
            let refused = CanonicalJson::from_stored(text).check().expect_err(text);
            assert_eq!(refused.to_string(), said, "{text:.40}");
        }
        CanonicalJson::from_stored(nested(STORED_NESTING_MAX)).check().expect("as deep as it may be");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_map(|number| json!(number)),
            any::<i64>().prop_map(|number| json!(number)),
            (0..25i32, any::<i32>()).prop_map(|(power, number)| json!(f64::from(number) * 10f64.powi(power))),
            any::<String>().prop_map(|text| json!(text)),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..8)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_canonical(value in value()) {
            if let Ok(written) = CanonicalJson::from_value(&value) {
                prop_assert_eq!(written.check(), Ok(()), "{}", written.as_str());
                prop_assert!(CanonicalJson::readable(written.as_str()).is_ok());
            }
        }
    }
}
