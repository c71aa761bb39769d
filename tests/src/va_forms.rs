//! Real published form schemas with filled-in examples; where they come from stands in `tests/data/va-forms/README.md`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::installation::repository;

/// A published schema and the examples that came with it.
#[derive(Debug, Clone)]
pub struct PublishedForm {
    /// The file's name without suffix; also a valid form id.
    pub name: String,
    /// The JSON Schema.
    pub schema: Value,
    /// Filled-in examples, all valid.
    pub examples: Vec<Value>,
}

impl PublishedForm {
    /// The form definition around the schema.
    pub fn definition(&self) -> Value {
        json!({ "title": self.name, "schema": self.schema })
    }
}

/// All of them, by name.
pub fn all() -> Vec<PublishedForm> {
    let folder = repository().join("tests/data/va-forms");
    let mut schemas = BTreeMap::new();
    let mut examples: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        let file = path.file_name().and_then(|name| name.to_str()).expect("names are plain").to_owned();
        let read = || {
            let text = fs::read_to_string(&path).expect("the file can be read");
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
        };
        if let Some(name) = file.strip_suffix(".schema.json") {
            schemas.insert(name.to_owned(), read());
        } else if let Some((name, _)) = file.split_once(".example") {
            examples.entry(name.to_owned()).or_default().push(read());
        }
    }
    assert!(!schemas.is_empty(), "no schemas in {}", folder.display());
    let form = |(name, schema): (String, Value)| {
        let examples = examples.remove(&name).unwrap_or_default();
        PublishedForm { name, schema, examples }
    };
    schemas.into_iter().map(form).collect()
}
