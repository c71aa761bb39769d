//! Finds what a `$ref` inside a form's schema means, for the tree of fields. The validator resolves on its own, to the letter;
//! a reference that is not found here only leaves its field untyped.

use std::collections::HashMap;
use std::ptr;

use jsonschema::Draft;
use serde_json::Value;

use crate::json::pointer;

/// Keywords whose members are named by the form, not by JSON Schema.
pub(super) const NAMESPACES: [&str; 6] =
    ["properties", "patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas"];
/// Keywords that hold data, whatever these look like.
pub(super) const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords that refer to a schema for the same value.
pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The places of one schema document that references can name.
pub(super) struct References<'s> {
    root: &'s Value,
    naming: Naming,
    /// By `$id` or `id`, and by `#` and `$anchor` (or the old form, an `id` that is a fragment).
    named: Names<'s>,
    /// For each object, the nearest one around it that names itself as a resource; none for what only the root is around.
    resources: HashMap<*const Value, &'s Value>,
}

/// Several schemas may have the same name in different resources; the first in the document comes first.
type Names<'s> = HashMap<&'s str, Vec<&'s Value>>;

/// How schemas of a draft name themselves.
#[derive(Clone, Copy)]
struct Naming {
    keywords: &'static [&'static str],
    /// Whether a reference stands alone: what is beside it means nothing.
    alone: bool,
}

impl Naming {
    fn of(root: &Value, draft: Draft) -> Self {
        // A schema of another draft may lie inside, and counts by its own rules; read both, so that nothing is overlooked.
        if names_a_draft_inside(root) {
            return Self { keywords: &["$id", "id"], alone: false };
        }
        let keywords: &[&str] = if draft == Draft::Draft4 { &["id"] } else { &["$id"] };
        Self { keywords, alone: draft < Draft::Draft201909 }
    }
}

fn names_a_draft_inside(value: &Value) -> bool {
    let mut members: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(members) => Box::new(members.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => return false,
    };
    members.any(|member| member.get("$schema").is_some_and(Value::is_string) || names_a_draft_inside(member))
}

impl<'s> References<'s> {
    /// Reads all names in `root`. Nesting is bounded by the door.
    pub(super) fn of(root: &'s Value, draft: Draft) -> Self {
        let naming = Naming::of(root, draft);
        let mut references = Self { root, naming, named: HashMap::new(), resources: HashMap::new() };
        references.collect(root, root, Role::Schema);
        references
    }

    /// Whether what stands beside `schema`'s reference, if it has one, means nothing.
    pub(super) fn stands_alone(&self, schema: &Value) -> bool {
        self.naming.alone && schema.get("$ref").is_some_and(Value::is_string)
    }

    /// The identifier by which a schema names itself as a resource.
    pub(super) fn resource_id(&self, schema: &'s Value) -> Option<&'s str> {
        self.own_name(schema).filter(|id| !id.starts_with('#'))
    }

    fn own_name(&self, schema: &'s Value) -> Option<&'s str> {
        if self.stands_alone(schema) {
            return None;
        }
        self.naming.keywords.iter().find_map(|name| schema.get(*name)?.as_str())
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
        let own = self.resource_id(schema).is_some().then_some(schema);
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

    /// Reads what is in `value`: names of schemas, but resources also in data, because a pointer may lead there.
    fn collect(&mut self, value: &'s Value, resource: &'s Value, role: Role) {
        match value {
            Value::Object(members) => {
                if role == Role::Schema {
                    self.collect_names(value);
                }
                if !ptr::eq(value, self.root) {
                    self.resources.insert(ptr::from_ref(value), resource);
                }
                let resource = if self.resource_id(value).is_some() { value } else { resource };
                members
                    .iter()
                    .for_each(|(name, member)| self.collect(member, resource, role.of_member(name, member)));
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, resource, role)),
            _ => {}
        }
    }

    fn collect_names(&mut self, schema: &'s Value) {
        let anchors = ["$anchor", "$dynamicAnchor"].iter().filter_map(|name| schema.get(*name)?.as_str());
        for name in self.own_name(schema).into_iter().chain(anchors) {
            let name = name.trim_start_matches('#').trim_end_matches('#');
            self.named.entry(name).or_default().push(schema);
        }
    }

    /// Where the first reference stands that means nothing in this document, as a JSON Pointer.
    pub(super) fn unresolved(&self) -> Option<String> {
        let mut place = String::new();
        self.find_unresolved(self.root, Role::Schema, &mut place).then_some(place)
    }

    fn find_unresolved(&self, value: &'s Value, role: Role, place: &mut String) -> bool {
        for keyword in REFERENCES.iter().filter(|_| role == Role::Schema) {
            let Some(reference) = value.get(*keyword).and_then(Value::as_str) else { continue };
            if self.candidates(reference, value).is_empty() && !is_meta_schema(reference) {
                pointer::push(place, keyword);
                return true;
            }
        }
        let before = place.len();
        let mut below = |token: &str, member: &'s Value, role: Role| {
            pointer::push(place, token);
            let found = self.find_unresolved(member, role, place);
            if !found {
                place.truncate(before);
            }
            found
        };
        match value {
            Value::Object(members) => {
                members.iter().any(|(name, member)| below(name, member, role.of_member(name, member)))
            }
            Value::Array(items) => {
                items.iter().enumerate().any(|(index, item)| below(&index.to_string(), item, role))
            }
            _ => false,
        }
    }
}

/// What an object in a schema document is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Schema,
    /// Schemas by names of the form's own.
    Namespace,
    Data,
}

impl Role {
    fn of_member(self, name: &str, member: &Value) -> Self {
        match self {
            Self::Data => Self::Data,
            Self::Namespace => Self::Schema,
            Self::Schema if DATA.contains(&name) => Self::Data,
            Self::Schema if NAMESPACES.contains(&name) && member.is_object() => Self::Namespace,
            Self::Schema => Self::Schema,
        }
    }
}

/// Whether a reference means a schema of JSON Schema itself, which the validator brings along.
pub(super) fn is_meta_schema(reference: &str) -> bool {
    ["https://json-schema.org/draft", "http://json-schema.org/draft"]
        .iter()
        .any(|prefix| reference.starts_with(prefix))
}

/// A schema that a reference means, and the resource in which its own references are to be read.
pub(super) struct Target<'s> {
    pub(super) schema: &'s Value,
    pub(super) base: &'s Value,
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
