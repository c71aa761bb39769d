//! The `attachments` of a form definition: which files its submissions take. Read strictly, at publish, and asked when one is attached.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::problem::DefinitionProblem;
use crate::attachment::MediaType;
use crate::json::pointer;

/// The largest file that a form may take, in bytes.
pub const ATTACHMENT_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// The largest file where a form does not say, in bytes.
pub const ATTACHMENT_BYTES_DEFAULT: u64 = 10 * 1024 * 1024;
/// The most files of one submission that a form may take.
pub const ATTACHMENTS_MAX: u64 = 100;
/// The most files of one submission where a form does not say.
pub const ATTACHMENTS_DEFAULT: u64 = 10;

const MEMBERS: [&str; 3] = ["types", "max_bytes", "max_count"];
const AT: &str = "/attachments";

/// Which files a form's submissions take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentRules {
    /// The types; at least one.
    pub types: Vec<MediaType>,
    /// The largest file, in bytes.
    pub bytes_max: u64,
    /// The most files of one submission.
    pub count_max: usize,
}

impl AttachmentRules {
    /// Reads the member; what is not said is [`ATTACHMENT_BYTES_DEFAULT`], [`ATTACHMENTS_DEFAULT`], and PDF, PNG and JPEG.
    ///
    /// # Errors
    /// Every problem, with its place.
    pub(super) fn compile(given: &Value) -> Result<Self, Vec<DefinitionProblem>> {
        let Value::Object(members) = given else {
            let message = format!("`attachments` is an object; it may have `{}`", MEMBERS.join("`, `"));
            return Err(vec![DefinitionProblem::error(AT, message)]);
        };
        let mut problems = Vec::new();
        for name in members.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
            let message = format!("`attachments` has no such member; it has `{}`", MEMBERS.join("`, `"));
            problems.push(DefinitionProblem::error(pointer::child(AT, name), message));
        }
        let types = types(members, &mut problems);
        let bytes_max =
            number(members, "max_bytes", ATTACHMENT_BYTES_DEFAULT, ATTACHMENT_BYTES_MAX, &mut problems);
        let count = number(members, "max_count", ATTACHMENTS_DEFAULT, ATTACHMENTS_MAX, &mut problems);
        let count_max = usize::try_from(count).unwrap_or(usize::MAX);
        if problems.is_empty() { Ok(Self { types, bytes_max, count_max }) } else { Err(problems) }
    }

    /// Whether it takes files of a type.
    pub fn takes(&self, media_type: MediaType) -> bool {
        self.types.contains(&media_type)
    }

    /// The types by name.
    pub fn type_names(&self) -> Vec<&'static str> {
        self.types.iter().map(|known| known.as_str()).collect()
    }
}

fn types(members: &Map<String, Value>, problems: &mut Vec<DefinitionProblem>) -> Vec<MediaType> {
    let items = match members.get("types") {
        None => return MediaType::usual(),
        Some(Value::Array(items)) if (1..=MediaType::all().count()).contains(&items.len()) => items,
        Some(_) => {
            let message = format!("`types` is a list of different media types, at least one: {}", known());
            problems.push(DefinitionProblem::error("/attachments/types", message));
            return Vec::new();
        }
    };
    let mut seen = BTreeSet::new();
    let mut types = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let message = match item.as_str().and_then(MediaType::named) {
            Some(known) if seen.insert(known.as_str()) => {
                types.push(known);
                continue;
            }
            Some(known) => format!("`{known}` is named twice"),
            None => format!("this is no type that can be told by its bytes; there are {}", known()),
        };
        problems.push(DefinitionProblem::error(format!("/attachments/types/{place}"), message));
    }
    types
}

fn known() -> String {
    let names: Vec<String> = MediaType::all().map(|known| format!("`{known}`")).collect();
    names.join(", ")
}

fn number(
    members: &Map<String, Value>,
    member: &str,
    default: u64,
    max: u64,
    problems: &mut Vec<DefinitionProblem>,
) -> u64 {
    match members.get(member).map(Value::as_u64) {
        None => default,
        Some(Some(number)) if (1..=max).contains(&number) => number,
        Some(_) => {
            let message =
                format!("`{member}` is a whole number from 1 to {max}; {default} when it is missing");
            problems.push(DefinitionProblem::error(pointer::child(AT, member), message));
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_said_has_a_sane_default() {
        let rules = AttachmentRules::compile(&json!({})).expect("sound");
        assert_eq!(rules.type_names(), ["application/pdf", "image/png", "image/jpeg"]);
        assert_eq!((rules.bytes_max, rules.count_max), (10 * 1024 * 1024, 10));
        let said = json!({"types": ["text/csv"], "max_bytes": 5, "max_count": 100});
        let rules = AttachmentRules::compile(&said).expect("sound");
        assert_eq!((rules.type_names(), rules.bytes_max, rules.count_max), (vec!["text/csv"], 5, 100));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place_and_what_would_be_right() {
        for (definition, place, advice) in [
            (json!([]), "/attachments", "is an object"),
            (json!({"type": []}), "/attachments/type", "`types`, `max_bytes`, `max_count`"),
            (json!({"types": []}), "/attachments/types", "at least one"),
            (json!({"types": ["image/png", "a/b"]}), "/attachments/types/1", "`application/pdf`"),
            (json!({"types": ["image/png", "IMAGE/PNG"]}), "/attachments/types/1", "named twice"),
            (json!({"max_bytes": 0}), "/attachments/max_bytes", "from 1 to 104857600"),
            (json!({"max_bytes": 104_857_601}), "/attachments/max_bytes", "10485760 when it is missing"),
            (json!({"max_count": 1.5}), "/attachments/max_count", "from 1 to 100"),
        ] {
            let problems = AttachmentRules::compile(&definition).expect_err("a problem");
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].pointer, place);
            assert!(problems[0].message.contains(advice), "{problems:?}");
        }
    }
}
