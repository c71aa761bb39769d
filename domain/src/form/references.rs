//! Finds what a `$ref` inside a form's schema means, for the tree of fields. The validator resolves on its own, to the letter;
//! a reference that is not found here only leaves its field untyped.

use std::collections::HashMap;

use serde_json::Value;

use crate::json::pointer;

/// The places of one schema document that references can name.
pub(super) struct References<'s> {
    root: &'s Value,
    /// By `$id` or `id`, and by `#` and `$anchor` (or the old form, an `id` that is a fragment).
    named: HashMap<&'s str, &'s Value>,
}

impl<'s> References<'s> {
    /// Reads all names in `root`. Nesting is bounded by the door.
    pub(super) fn of(root: &'s Value) -> Self {
        let mut named = HashMap::new();
        collect(root, &mut named);
        Self { root, named }
    }

    /// What `reference` means inside the resource `base`; `base` is the root or an embedded schema with an `$id` of its own.
    pub(super) fn resolve(&self, reference: &str, base: &'s Value) -> Option<Target<'s>> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = match document {
            "" => base,
            name => *self.named.get(name)?,
        };
        let schema = match fragment {
            "" => base,
            path if path.starts_with('/') => {
                let path = percent_decoded(path);
                base.pointer(&path).or_else(|| self.root.pointer(&path))?
            }
            anchor => *self.named.get(anchor)?,
        };
        Some(Target { schema, base })
    }

    /// Where the first `$ref` stands that means nothing in this document, as a JSON Pointer.
    pub(super) fn unresolved(&self) -> Option<String> {
        let mut place = String::new();
        self.find_unresolved(self.root, self.root, &mut place).then_some(place)
    }

    fn find_unresolved(&self, value: &'s Value, base: &'s Value, place: &mut String) -> bool {
        let base = if resource_id(value).is_some() { value } else { base };
        let before = place.len();
        let mut below = |token: &str, member: &'s Value| {
            pointer::push(place, token);
            let found = match (token, member) {
                ("$ref", Value::String(reference)) => self.resolve(reference, base).is_none(),
                _ => self.find_unresolved(member, base, place),
            };
            if !found {
                place.truncate(before);
            }
            found
        };
        match value {
            Value::Object(members) => members.iter().any(|(name, member)| below(name, member)),
            Value::Array(items) => {
                items.iter().enumerate().any(|(index, item)| below(&index.to_string(), item))
            }
            _ => false,
        }
    }
}

/// A schema that a reference means, and the resource in which its own references are to be read.
pub(super) struct Target<'s> {
    pub(super) schema: &'s Value,
    pub(super) base: &'s Value,
}

/// The identifier by which a schema names itself as a resource.
pub(super) fn resource_id(schema: &Value) -> Option<&str> {
    ["$id", "id"].iter().find_map(|name| schema.get(name)?.as_str()).filter(|id| !id.starts_with('#'))
}

fn collect<'s>(schema: &'s Value, named: &mut HashMap<&'s str, &'s Value>) {
    match schema {
        Value::Object(members) => {
            for keyword in ["$id", "id", "$anchor", "$dynamicAnchor"] {
                if let Some(Value::String(name)) = members.get(keyword) {
                    named.entry(name.trim_start_matches('#').trim_end_matches('#')).or_insert(schema);
                }
            }
            members.values().for_each(|member| collect(member, named));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, named)),
        _ => {}
    }
}

/// A URI fragment without its percent encoding; what is not UTF-8 then is left as it is.
fn percent_decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| fragment.to_owned())
}
