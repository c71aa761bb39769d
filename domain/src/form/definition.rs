//! A form definition as designers write it, read strictly: what is not understood is a problem, never ignored.
//! Called when a draft is checked or published; what the parts mean is decided by the files that compile them.

use serde_json::{Map, Value};

use super::problem::DefinitionProblem;
use crate::json::pointer;

/// The largest definition, in bytes of canonical JSON.
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;
/// The longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 500;
/// The most fields that a form may index.
pub const INDEX_MAX: usize = 32;

const MEMBERS: [&str; 7] = ["title", "schema", "ui", "index", "rules", "workflow", "attachments"];

/// A form definition whose members have the right types.
#[derive(Debug, Clone, PartialEq)]
pub struct FormDefinition {
    /// What people call the form.
    pub title: String,
    /// The JSON Schema of the data.
    pub schema: Value,
    /// The JSON Forms UI schema, kept as given.
    pub ui: Option<Value>,
    /// JSON Pointers of fields that queries may filter and sort by.
    pub index: Vec<String>,
    /// The rules, as given: a list, empty when there are none.
    pub rules: Value,
    /// The workflow, as given.
    pub workflow: Option<Value>,
    /// Which files its submissions take, as given; none when it is missing.
    pub attachments: Option<Value>,
}

impl FormDefinition {
    /// Reads a definition.
    ///
    /// # Errors
    /// Every problem found, each with its place and advice.
    pub fn parse(definition: &Value) -> Result<Self, Vec<DefinitionProblem>> {
        let Value::Object(members) = definition else {
            let message = "a form definition is an object with at least `title` and `schema`";
            return Err(vec![DefinitionProblem::error("", message)]);
        };
        let mut reader = Reader { members, problems: Vec::new() };
        reader.refuse_unknown();
        let definition = Self {
            title: reader.title(),
            schema: reader.schema(),
            ui: reader.object("ui", "a JSON Forms UI schema, an object"),
            index: reader.index(),
            rules: Value::Array(reader.list("rules").cloned().unwrap_or_default()),
            workflow: reader.object("workflow", "an object with `initial`, `states` and `transitions`"),
            attachments: reader.object("attachments", "an object with `types`, `max_bytes` and `max_count`"),
        };
        if reader.problems.is_empty() { Ok(definition) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    members: &'a Map<String, Value>,
    problems: Vec<DefinitionProblem>,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.problems.push(DefinitionProblem::error(pointer, message));
    }

    fn refuse_unknown(&mut self) {
        let members = self.members;
        for name in members.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
            let message = format!(
                "a form definition has no member `{}`; it has `{}`",
                name.chars().take(TITLE_CHARS_MAX).collect::<String>(),
                MEMBERS.join("`, `")
            );
            self.problem(pointer::child("", name), message);
        }
    }

    fn title(&mut self) -> String {
        match self.members.get("title") {
            Some(Value::String(title)) if title.trim().is_empty() => {
                self.problem("/title", "the title is empty; say what people call this form");
            }
            Some(Value::String(title)) if title.chars().count() > TITLE_CHARS_MAX => {
                self.problem("/title", format!("the title is longer than {TITLE_CHARS_MAX} characters"));
            }
            Some(Value::String(title)) => return title.clone(),
            Some(_) => self.problem("/title", "`title` must be a string"),
            None => self.problem("/title", "`title` is missing; say what people call this form"),
        }
        String::new()
    }

    fn schema(&mut self) -> Value {
        match self.members.get("schema") {
            Some(schema @ Value::Object(_)) => return schema.clone(),
            Some(_) => self.problem("/schema", "`schema` must be a JSON Schema, an object"),
            None => self.problem("/schema", "`schema` is missing; give a JSON Schema of the data"),
        }
        Value::Null
    }

    fn object(&mut self, name: &str, what: &str) -> Option<Value> {
        match self.members.get(name) {
            None => None,
            Some(value @ Value::Object(_)) => Some(value.clone()),
            Some(_) => {
                self.problem(pointer::child("", name), format!("`{name}` must be {what}"));
                None
            }
        }
    }

    fn list(&mut self, name: &str) -> Option<&'a Vec<Value>> {
        match self.members.get(name) {
            None => None,
            Some(Value::Array(items)) => Some(items),
            Some(_) => {
                self.problem(pointer::child("", name), format!("`{name}` must be a list"));
                None
            }
        }
    }

    fn index(&mut self) -> Vec<String> {
        let Some(items) = self.list("index") else { return Vec::new() };
        if items.len() > INDEX_MAX {
            self.problem("/index", format!("`index` names more than {INDEX_MAX} fields"));
        }
        let mut fields: Vec<String> = Vec::new();
        for (place, item) in items.iter().take(INDEX_MAX).enumerate() {
            match item.as_str() {
                Some(field) if !field.starts_with('/') => {
                    let message =
                        "an indexed field is named by a JSON Pointer into the data, for example `/amount`";
                    self.problem(format!("/index/{place}"), message);
                }
                Some(field) if fields.iter().any(|known| known == field) => {
                    self.problem(format!("/index/{place}"), format!("`{field}` is named twice"));
                }
                Some(field) => fields.push(field.to_owned()),
                None => self.problem(format!("/index/{place}"), "an indexed field is named by a string"),
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_every_member_and_its_bounds() {
        let page = include_str!("../../../docs/forms.md");
        for member in MEMBERS {
            assert!(page.contains(&format!("\n| `{member}` | ")), "docs/forms.md: a row for `{member}`");
        }
        for told in [
            format!("a text of 1 to {TITLE_CHARS_MAX} characters"),
            format!("up to {INDEX_MAX} JSON Pointers"),
            format!("at most {} MiB as canonical JSON", DEFINITION_BYTES_MAX >> 20),
        ] {
            assert!(page.contains(&told), "docs/forms.md: {told}");
        }
        assert_eq!(formledger_rules::limits::RULES_MAX, 2_000);
        assert!(page.contains("up to 2,000 rules"), "docs/forms.md");
    }
}
