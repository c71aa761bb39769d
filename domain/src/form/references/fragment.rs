//! Mends references whose JSON Pointer is written as it is, without the percent encoding of URIs (`#/$defs/Binary object`), as generators
//! write names of types: only what could not be read at all, so that no reference changes what it means.

use std::fmt::Write as _;

use jsonschema::uri;
use serde_json::Value;

use super::{REFERENCES, Role};
use crate::form::problem::DefinitionProblem;
use crate::json::pointer;

/// Encodes in `schema` the pointers of references that are no URI without that. Tells where.
pub(in crate::form) fn mend_fragments(schema: &mut Value) -> Vec<DefinitionProblem> {
    let mut warnings = Vec::new();
    mend(schema, Role::Schema, "/schema", &mut warnings);
    warnings
}

fn mend(value: &mut Value, role: Role, place: &str, warnings: &mut Vec<DefinitionProblem>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let (Role::Schema, Value::String(reference)) = (role, &mut *member) {
                    if REFERENCES.contains(&name.as_str())
                        && let Some(encoded) = encoded(reference)
                    {
                        let what = "the name in this reference is taken as it is written; in a URI it is percent-encoded, a space as `%20`";
                        warnings.push(DefinitionProblem::warning(pointer::child(place, name), what));
                        *reference = encoded;
                    }
                } else if member.is_object() || member.is_array() {
                    let role = role.of_member(name, member);
                    mend(member, role, &pointer::child(place, name), warnings);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in
                items.iter_mut().enumerate().filter(|(_, item)| item.is_object() || item.is_array())
            {
                mend(item, role, &pointer::child(place, &at.to_string()), warnings);
            }
        }
        _ => {}
    }
}

/// `reference` as a URI, where it is none and its pointer needs no more than encoding.
fn encoded(reference: &str) -> Option<String> {
    let (document, fragment) = reference.split_once('#').filter(|(_, fragment)| fragment.starts_with('/'))?;
    if uri::from_str(reference).is_ok() {
        return None;
    }
    let mut encoded = format!("{document}#");
    for byte in fragment.bytes() {
        match byte {
            // What RFC 3986 lets stand in a fragment, and `%`, which may begin an encoding.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(byte.into()),
            _ if b"-._~!$&'()*+,;=:@/?%".contains(&byte) => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02X}").expect("a text takes more"),
        }
    }
    uri::from_str(&encoded).is_ok().then_some(encoded)
}
