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
        .with_format("decimal", is_decimal);
    ADDED.iter().enumerate().fold(options, |options, (at, format)| {
        options.with_format(*format, move |text: &str| NEWEST[at].is_valid(&Value::from(text)))
    })
}

/// `format: decimal`: an exact decimal number as a string, for money.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}
