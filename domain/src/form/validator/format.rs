//! Formats: the newest draft's, checked under all of them, and the product's own.

use std::sync::LazyLock;

use jsonschema::{Draft, ValidationOptions, Validator};
use serde_json::{Value, json};

/// Formats that drafts since 4 have added one after the other. The library leaves each unchecked under the drafts before it, and reads
/// `hostname` less strictly under 4 and 6.
const ADDED: [&str; 10] = [
    "duration",
    "hostname",
    "idn-hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// The newest draft's other formats, which the library checks under all drafts alike.
const ALIKE: [&str; 9] = ["date", "date-time", "email", "idn-email", "ipv4", "ipv6", "regex", "time", "uri"];
/// The product's own format.
const DECIMAL: &str = "decimal";
/// Formats of OpenAPI's registry that say how a value is kept or shown: nobody expects them to be checked.
const ELSEWHERE: [&str; 22] = [
    "base64url",
    "binary",
    "byte",
    "char",
    "commonmark",
    "decimal128",
    "double",
    "double-int",
    "float",
    "html",
    "int16",
    "int32",
    "int64",
    "int8",
    "media-range",
    "password",
    "single-int",
    "sf-string",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];

/// The checks of [`ADDED`] as the newest draft makes them, in their order.
static NEWEST: LazyLock<[Validator; ADDED.len()]> = LazyLock::new(|| {
    ADDED.map(|format| {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .build(&json!({"format": format}))
            .expect("a schema")
    })
});

/// Has every format checked, whatever the draft: also where a schema inside another is of an earlier one.
pub(super) fn checked(options: ValidationOptions<'_>) -> ValidationOptions<'_> {
    let options = options
        // People who write `"format": "date"` mean it, also under the drafts in which it is only an annotation.
        .should_validate_formats(true)
        .with_format(DECIMAL, is_decimal);
    ADDED.iter().enumerate().fold(options, |options, (at, format)| {
        options.with_format(*format, move |text: &str| NEWEST[at].is_valid(&Value::from(text)))
    })
}

/// The formats that are checked.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ADDED.into_iter().chain(ALIKE).chain([DECIMAL])
}

/// Whether a format is checked, or says something else to other tools.
pub(super) fn is_known(name: &str) -> bool {
    names().chain(ELSEWHERE).any(|known| known == name)
}

/// `format: decimal`: an exact decimal number as a string, for money.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_that_is_named_is_checked() {
        for name in names() {
            let options = checked(jsonschema::options()).with_draft(Draft::Draft4);
            let validator = options.build(&json!({"format": name})).expect("a schema");
            assert!(!validator.is_valid(&Value::from("({%\\ ")), "{name}");
        }
    }
}
