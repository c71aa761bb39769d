//! Lenience where it costs nothing: real published schemas break their own meta-schema in ways that change no meaning.
//! Such a place is mended in a copy before it is compiled, and told as a warning. The stored definition stays as it was sent.

use std::collections::HashSet;

use serde_json::{Map, Value};

use self::pattern::{Rewritten, rewritten};
use super::problem::DefinitionProblem;
use super::references::{DATA, NAMESPACES};
use super::violation::Violation;
use crate::json::pointer;

mod pattern;

/// Keywords that only describe; a value of the wrong type can be left out.
const ANNOTATIONS: [&str; 8] =
    ["title", "description", "$comment", "default", "examples", "readOnly", "writeOnly", "deprecated"];
/// Mends the place in `schema` that breaks the meta-schema; `None` when that would change what the schema means.
pub(super) fn mend(schema: &mut Value, broken: &Violation) -> Option<DefinitionProblem> {
    let (place, keyword) = broken.pointer.rsplit_once('/')?;
    let within = place.rsplit_once('/').map_or("", |(_, token)| token);
    let is_keyword = !NAMESPACES.contains(&within);
    let members = schema.pointer_mut(place)?.as_object_mut()?;
    let value = members.get_mut(keyword)?;
    let what = match (keyword, value) {
        ("required", Value::Array(names)) if is_keyword && names.is_empty() => {
            members.remove(keyword);
            "`required` names nothing and is taken as left out"
        }
        ("required", Value::Bool(false)) if is_keyword => {
            members.remove(keyword);
            "`required` is a list of names in the object around a field; `false` is taken as left out"
        }
        ("required" | "enum" | "type", Value::Array(items))
            if is_keyword && broken.keyword == "uniqueItems" =>
        {
            let mut seen = HashSet::new();
            items.retain(|item| seen.insert(item.clone()));
            "lists a value twice; it counts once"
        }
        (_, Value::Array(names)) if within == "dependencies" && names.is_empty() => {
            members.remove(keyword);
            "depends on nothing and is taken as left out"
        }
        (name, _) if is_keyword && ANNOTATIONS.contains(&name) => {
            members.remove(keyword);
            "describes the field with a value of the wrong type and is left out"
        }
        _ => return None,
    };
    Some(DefinitionProblem::warning(format!("/schema{}", broken.pointer), what))
}

/// Rewrites the regular expressions in `schema` that are not known as they are and are when written differently, be they a `pattern` or
/// a name of `patternProperties`. Tells where that took them in another way than the standard does.
pub(super) fn mend_patterns(schema: &mut Value, is_known: &dyn Fn(&str) -> bool) -> Vec<DefinitionProblem> {
    let mut mending = Mending { is_known, warnings: Vec::new() };
    mending.schema(schema, "/schema");
    mending.warnings
}

struct Mending<'f> {
    is_known: &'f dyn Fn(&str) -> bool,
    warnings: Vec<DefinitionProblem>,
}

impl Mending<'_> {
    fn schema(&mut self, schema: &mut Value, place: &str) {
        match schema {
            Value::Array(schemas) => {
                for (at, schema) in schemas.iter_mut().enumerate() {
                    self.schema(schema, &pointer::child(place, &at.to_string()));
                }
            }
            Value::Object(keywords) => {
                for (keyword, value) in
                    keywords.iter_mut().filter(|(keyword, _)| !DATA.contains(&keyword.as_str()))
                {
                    let place = pointer::child(place, keyword);
                    match (keyword.as_str(), value) {
                        ("pattern", Value::String(pattern)) => {
                            *pattern = self.mended(pattern, &place).unwrap_or_else(|| pattern.clone());
                        }
                        (keyword, Value::Object(schemas)) if NAMESPACES.contains(&keyword) => {
                            if keyword == "patternProperties" {
                                self.names(schemas, &place);
                            }
                            for (name, schema) in schemas {
                                self.schema(schema, &pointer::child(&place, name));
                            }
                        }
                        (_, value) => self.schema(value, &place),
                    }
                }
            }
            _ => {}
        }
    }

    fn names(&mut self, schemas: &mut Map<String, Value>, place: &str) {
        let names: Vec<String> = schemas.keys().cloned().collect();
        for name in names {
            let Some(mended) = self.mended(&name, &pointer::child(place, &name)) else { continue };
            // Two schemas for one pattern cannot stand side by side; the second is told as not known.
            if !schemas.contains_key(&mended)
                && let Some(schema) = schemas.remove(&name)
            {
                schemas.insert(mended, schema);
            }
        }
    }

    fn mended(&mut self, pattern: &str, place: &str) -> Option<String> {
        let Rewritten { pattern: mended, hyphen } = rewritten(pattern);
        if mended == pattern || (self.is_known)(pattern) || !(self.is_known)(&mended) {
            return None;
        }
        if hyphen {
            let what = "the hyphen beside a class such as `\\w` is taken for a hyphen; write `\\-`";
            self.warnings.push(DefinitionProblem::warning(place, what));
        }
        Some(mended)
    }
}
