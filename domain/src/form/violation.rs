//! What is wrong with submitted data, in words for the person who sent them. Values are never echoed: they may be huge, or secret.

use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde::Serialize;
use serde_json::Value;

use crate::json::pointer;

/// The most violations told about one submission; the rest shows once these are mended.
pub const VIOLATIONS_MAX: usize = 50;
/// The longest text quoted from a schema in a message, in characters.
const QUOTE_CHARS_MAX: usize = 200;
/// The most allowed values listed in a message.
const OPTIONS_MAX: usize = 12;

/// One thing that is wrong with submitted data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where, as a JSON Pointer into the data: of the missing member for `required`, of the extra one for `additionalProperties`, of each extra
    /// item, and of the member whose name does not fit.
    pub pointer: String,
    /// The schema's keyword that says so, or the rule's id.
    pub keyword: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Tells validation errors in the order of the schema, without repetitions, at most [`VIOLATIONS_MAX`].
pub(super) fn violations<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Vec<Violation> {
    let mut told = Told::default();
    for error in errors {
        if told.is_full() {
            break;
        }
        told.tell(&error);
    }
    told.violations
}

/// `text` cut to a length that a message can hold.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[derive(Default)]
struct Told {
    violations: Vec<Violation>,
    known: HashSet<(String, String)>,
}

impl Told {
    fn is_full(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX
    }

    fn add(&mut self, pointer: String, keyword: &str, message: String) {
        if !self.is_full() && self.known.insert((pointer.clone(), keyword.to_owned())) {
            self.violations.push(Violation { pointer, keyword: keyword.to_owned(), message });
        }
    }

    fn add_items(&mut self, at: &str, keyword: &str, items: impl IntoIterator<Item = usize>) {
        for item in items.into_iter().take(VIOLATIONS_MAX) {
            let message = "is not an item that the form knows; leave it out".to_owned();
            self.add(pointer::child(at, &item.to_string()), keyword, message);
        }
    }

    fn tell(&mut self, error: &ValidationError<'_>) {
        let at = error.instance_path().as_str();
        let keyword = error.kind().keyword();
        match error.kind() {
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                self.add(pointer::child(at, name), keyword, format!("`{}` is required", clip(name)));
            }
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    let message =
                        format!("`{}` is not a member that the form knows; leave it out", clip(name));
                    self.add(pointer::child(at, name), keyword, message);
                }
            }
            Kind::PropertyNames { error } => {
                let name = error.instance().as_str().unwrap_or_default();
                let message = format!("`{}` does not fit as a member's name: {}", clip(name), message(error));
                self.add(pointer::child(at, name), keyword, message);
            }
            Kind::AdditionalItems { limit } => {
                let items = error.instance().as_array().map_or(0, Vec::len);
                self.add_items(at, keyword, *limit..items);
            }
            Kind::UnevaluatedItems { unexpected } => {
                self.add_items(at, keyword, unknown_items(error.instance(), unexpected));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.tell_alternatives(at, keyword, context);
            }
            _ => self.add(at.to_owned(), keyword, message(error)),
        }
    }

    /// No alternative fits. When one was clearly meant, its own violations help most; otherwise say what there is to choose from.
    fn tell_alternatives(&mut self, at: &str, keyword: &str, alternatives: &[Vec<ValidationError<'static>>]) {
        let distances: Vec<usize> = alternatives.iter().map(|errors| distance(at, errors)).collect();
        let nearest = distances.iter().copied().min().unwrap_or(0);
        let meant: Vec<_> = alternatives
            .iter()
            .zip(&distances)
            .filter(|(_, distance)| **distance == nearest)
            .map(|(errors, _)| errors)
            .collect();
        if let [errors] = meant[..] {
            errors.iter().for_each(|error| self.tell(error));
            return;
        }
        let choices: Vec<String> = meant.iter().filter_map(|errors| errors.first()).map(message).collect();
        let message =
            format!("none of {} alternatives fits: {}", alternatives.len(), clip(&choices.join("; or ")),);
        self.add(at.to_owned(), keyword, message);
        meant.into_iter().flatten().for_each(|error| self.tell(error));
    }
}

/// The places of the items that are not known, of which the validator tells the texts, in their order. From the end, because what is known stands in
/// front; of equal items elsewhere, all are known or none is.
fn unknown_items(list: &Value, texts: &[String]) -> Vec<usize> {
    let mut texts = texts.iter().rev().peekable();
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    let mut unknown: Vec<usize> = items
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, item)| texts.next_if(|text| **text == item.to_string()).is_some())
        .map(|(place, _)| place)
        .collect();
    unknown.reverse();
    unknown
}

/// How far data are from an alternative: another type or another fixed value at its root says that it was not meant.
fn distance(at: &str, errors: &[ValidationError<'static>]) -> usize {
    const OTHER_TYPE: usize = 10_000;
    const OTHER_VALUE: usize = 100;
    errors
        .iter()
        .map(|error| match error.kind() {
            Kind::Type { .. } | Kind::FalseSchema if error.instance_path().as_str() == at => OTHER_TYPE,
            Kind::Constant { .. } | Kind::Enum { .. } => OTHER_VALUE,
            _ => 1,
        })
        .sum()
}

fn message(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::Type { kind } => format!("must be {}, not {}", types(kind), type_of(error.instance())),
        Kind::Enum { options } => format!("must be one of {}", choices(options)),
        Kind::Constant { expected_value } => format!("must be {}", quote(expected_value)),
        Kind::Format { format } => format!("must be a valid `{}`{}", clip(format), example(format)),
        Kind::Pattern { pattern } => format!("must match the pattern `{}`", clip(pattern)),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "cannot be matched against the form's pattern within its limits; send a shorter value".to_owned()
        }
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} character(s)"),
        Kind::MaxLength { limit } => format!("must have at most {limit} character(s)"),
        Kind::MinItems { limit } => format!("must have at least {limit} item(s)"),
        Kind::MaxItems { limit } => format!("must have at most {limit} item(s)"),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} item(s)"),
        Kind::MinProperties { limit } => format!("must have at least {limit} member(s)"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} member(s)"),
        Kind::UniqueItems => "must not hold the same item twice".to_owned(),
        Kind::Contains => "must contain the items that the form asks for".to_owned(),
        Kind::UnevaluatedItems { .. } => "holds items that the form does not know".to_owned(),
        Kind::Required { property } => format!("{} is required", quote(property)),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("`{}` is not known here", clip(&unexpected.join("`, `")))
        }
        Kind::OneOfMultipleValid { .. } => "fits several alternatives where exactly one must fit".to_owned(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "none of the alternatives fits".to_owned(),
        Kind::Not { .. } => "has a form that is ruled out here (`not`)".to_owned(),
        Kind::FalseSchema => "no value is allowed here; leave it out".to_owned(),
        Kind::ContentEncoding { content_encoding } => format!("must be encoded as `{content_encoding}`"),
        Kind::ContentMediaType { content_media_type } => format!("must be `{content_media_type}`"),
        Kind::PropertyNames { .. } => "a member's name does not fit".to_owned(),
        Kind::FromUtf8 { .. } => "must be UTF-8 text".to_owned(),
        Kind::Custom { message, .. } => clip(message),
        Kind::Referencing(reason) => clip(&reason.to_string()),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => with_article(&one.to_string()),
        TypeKind::Multiple(set) => {
            set.iter().map(|one| with_article(&one.to_string())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn type_of(value: &Value) -> String {
    with_article(match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

fn with_article(name: &str) -> String {
    match name {
        "null" => "`null`".to_owned(),
        "array" | "integer" | "object" => format!("an {name}"),
        _ => format!("a {name}"),
    }
}

fn choices(options: &Value) -> String {
    let Value::Array(options) = options else { return quote(options) };
    let mut listed: Vec<String> = options.iter().take(OPTIONS_MAX).map(quote).collect();
    if options.len() > OPTIONS_MAX {
        listed.push(format!("{} more", options.len() - OPTIONS_MAX));
    }
    listed.join(", ")
}

fn quote(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", clip(text)),
        other => format!("`{}`", clip(&other.to_string())),
    }
}

fn example(format: &str) -> &'static str {
    match format {
        "date" => ", for example `2026-01-31`",
        "date-time" => ", for example `2026-01-31T12:00:00Z`",
        "time" => ", for example `12:00:00Z`",
        "duration" => ", for example `P3D`",
        "email" => ", for example `name@example.org`",
        "uri" => ", for example `https://example.org/`",
        "uuid" => ", for example `8f14e45f-ceea-467f-a8f8-1e2b5a3c4d5e`",
        "regex" => ", a regular expression of ECMA-262 that is known here and not too large",
        "decimal" => ", digits with a point, for example `12.50`",
        _ => "",
    }
}
