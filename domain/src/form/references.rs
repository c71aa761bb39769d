//! Finds what a `$ref` inside a form's schema means, for the tree of fields. The validator resolves on its own, to the letter;
//! a reference that is not found here only leaves its field untyped.

use std::collections::HashMap;
use std::ptr;

use serde_json::Value;

use crate::json::pointer;

/// The places of one schema document that references can name.
pub(super) struct References<'s> {
    root: &'s Value,
    /// By `$id` or `id`, and by `#` and `$anchor` (or the old form, an `id` that is a fragment).
    named: Names<'s>,
    /// For each object, the nearest one around it that names itself as a resource; none for what only the root is around.
    resources: HashMap<*const Value, &'s Value>,
}

/// Several schemas may have the same name in different resources; the first in the document comes first.
type Names<'s> = HashMap<&'s str, Vec<&'s Value>>;

impl<'s> References<'s> {
    /// Reads all names in `root`. Nesting is bounded by the door.
    pub(super) fn of(root: &'s Value) -> Self {
        let mut references = Self { root, named: HashMap::new(), resources: HashMap::new() };
        references.collect(root, root);
        references
    }

    /// What `reference` means inside the resource `base`; `base` is the root or an embedded schema with an `$id` of its own.
    pub(super) fn resolve(&self, reference: &str, base: &'s Value) -> Option<Target<'s>> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = match document {
            "" => base,
            name => self.first(name)?,
        };
        let schema = match fragment {
            "" => base,
            path if path.starts_with('/') => {
                let path = percent_decoded(path);
                base.pointer(&path).or_else(|| self.root.pointer(&path))?
            }
            anchor => self.first(anchor)?,
        };
        Some(Target { schema, base })
    }

    fn first(&self, name: &str) -> Option<&'s Value> {
        self.named.get(name)?.first().copied()
    }

    /// Everything that `reference`, written in `schema`, may mean: also what it means only for a validator that builds names by the
    /// rules of URIs, or finds them by the way that led there (`$dynamicRef`). Nothing when no name is like it.
    pub(super) fn candidates(&self, reference: &str, schema: &'s Value) -> Vec<&'s Value> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let bases = if document.is_empty() { self.around(schema) } else { self.named_like(document) };
        match fragment {
            "" => bases,
            path if path.starts_with('/') => {
                let path = percent_decoded(path);
                bases.into_iter().filter_map(|base| base.pointer(&path)).collect()
            }
            anchor => self.named.get(percent_decoded(anchor).as_str()).cloned().unwrap_or_default(),
        }
    }

    /// The resources around `schema`, itself and the root among them.
    fn around(&self, schema: &'s Value) -> Vec<&'s Value> {
        let own = resource_id(schema).is_some().then_some(schema);
        let outer = std::iter::successors(self.resources.get(&ptr::from_ref(schema)).copied(), |resource| {
            self.resources.get(&ptr::from_ref(*resource)).copied()
        });
        let mut resources: Vec<_> = own.into_iter().chain(outer).collect();
        if !resources.iter().any(|resource| ptr::eq(*resource, self.root)) {
            resources.push(self.root);
        }
        resources
    }

    /// The schemas of exactly this name, else those whose names have the same last part, as relative names do.
    fn named_like(&self, document: &str) -> Vec<&'s Value> {
        if let Some(exact) = self.named.get(document) {
            return exact.clone();
        }
        let last = |name: &str| name.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
        let wanted = last(document);
        let like = self.named.iter().filter(|(name, _)| last(name) == wanted);
        like.flat_map(|(_, schemas)| schemas.iter().copied()).collect()
    }

    fn collect(&mut self, schema: &'s Value, resource: &'s Value) {
        match schema {
            Value::Object(members) => {
                for keyword in ["$id", "id", "$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(name)) = members.get(keyword) {
                        let name = name.trim_start_matches('#').trim_end_matches('#');
                        self.named.entry(name).or_default().push(schema);
                    }
                }
                if !ptr::eq(schema, self.root) {
                    self.resources.insert(ptr::from_ref(schema), resource);
                }
                let resource = if resource_id(schema).is_some() { schema } else { resource };
                members.values().for_each(|member| self.collect(member, resource));
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, resource)),
            _ => {}
        }
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
