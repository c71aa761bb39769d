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

/// The most schemas that are looked at for all references together. Of the published forms in the tests none needs more than a few for
/// each; beyond it names are shared by so many schemas that reading them all would take the memory of the node.
pub(super) const LOOKS_MAX: usize = 1_000_000;

/// The places of one schema document that references can name.
pub(super) struct References<'s> {
    root: &'s Value,
    naming: Naming,
    /// By `$id` or `id`, and by `#` and `$anchor` (or the old form, an `id` that is a fragment).
    named: Names<'s>,
    /// The same by the last parts of the names, as relative references give them.
    named_last: Names<'s>,
    /// Those that a `$recursiveRef` may come back to, by the way that led there.
    recursive: Vec<&'s Value>,
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
    /// Whether all schemas know `prefixItems`, so that what it describes is left out of `items`.
    prefixes: bool,
    /// Whether a schema inside may be of a draft, or a dialect, of its own.
    mixed: bool,
}

impl Naming {
    fn of(root: &Value, draft: Draft) -> Self {
        // A schema of another draft may lie inside, and counts by its own rules; read both, so that nothing is overlooked.
        if names_a_draft_inside(root) {
            return Self { keywords: &["$id", "id"], alone: false, prefixes: false, mixed: true };
        }
        let keywords: &[&str] = if draft == Draft::Draft4 { &["id"] } else { &["$id"] };
        let (alone, prefixes) = (draft < Draft::Draft201909, draft == Draft::Draft202012);
        Self { keywords, alone, prefixes, mixed: false }
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
        let mut references = Self {
            root,
            naming,
            named: HashMap::new(),
            named_last: HashMap::new(),
            recursive: Vec::new(),
            resources: HashMap::new(),
        };
        references.collect(root, root, Role::Schema);
        references
    }

    /// Whether what stands beside `schema`'s reference, if it has one, means nothing.
    pub(super) fn stands_alone(&self, schema: &Value) -> bool {
        self.naming.alone && schema.get("$ref").is_some_and(Value::is_string)
    }

    /// Whether every schema here knows `prefixItems`; drafts before 2020-12 do not, and read `items` as if it were not there.
    pub(super) fn know_prefixes(&self) -> bool {
        self.naming.prefixes
    }

    /// Whether a schema here may be of another draft or dialect, which need not know a keyword that hides another in the drafts.
    pub(super) fn are_mixed(&self) -> bool {
        self.naming.mixed
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

    /// Everything that `reference`, written under `keyword` in `schema`, may mean: also what it means only for a validator that builds
    /// names by the rules of URIs, or finds them by the way that led there (`$dynamicRef`, `$recursiveRef`). Nothing when no name is like
    /// it. Many schemas may have one name, so it is for the caller to stop: there is one element for every schema that was looked at,
    /// `None` where it holds nothing at the place that is asked for.
    pub(super) fn candidates(
        &self,
        keyword: &str,
        reference: &str,
        schema: &'s Value,
    ) -> impl Iterator<Item = Option<&'s Value>> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let (near, named) = match document {
            "" => (self.around(schema), &[][..]),
            name => (Vec::new(), self.named_like(name)),
        };
        let path = fragment.starts_with('/').then(|| percent_decoded(fragment));
        let (near, named) = match &path {
            None if !fragment.is_empty() => (Vec::new(), self.named(&percent_decoded(fragment))),
            _ => (near, named),
        };
        let found = near.into_iter().chain(named.iter().copied()).map(move |base| match &path {
            Some(path) => base.pointer(path),
            None => Some(base),
        });
        // The validator asks for no more than `#` there, whatever is written.
        let recursive = (keyword == "$recursiveRef")
            .then(|| self.around(schema).into_iter().chain(self.recursive.iter().copied()).map(Some));
        found.chain(recursive.into_iter().flatten())
    }

    fn named(&self, name: &str) -> &[&'s Value] {
        self.named.get(name).map_or(&[], Vec::as_slice)
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
    fn named_like(&self, document: &str) -> &[&'s Value] {
        match self.named(document) {
            [] => self.named_last.get(last_part(document)).map_or(&[], Vec::as_slice),
            exact => exact,
        }
    }

    /// Reads what is in `value`: names of schemas, but resources also in data, because a pointer may lead there.
    fn collect(&mut self, value: &'s Value, resource: &'s Value, role: Role) {
        match value {
            Value::Object(members) => {
                if role == Role::Schema {
                    self.collect_names(value);
                }
                if members.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
                    self.recursive.push(value);
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
            self.named_last.entry(last_part(name)).or_default().push(schema);
        }
    }

    /// Where the first reference stands that means nothing in this document, as a JSON Pointer; `None` also where that is not found within
    /// [`LOOKS_MAX`].
    pub(super) fn unresolved(&self) -> Option<String> {
        let (mut place, mut looks) = (String::new(), 0);
        self.find_unresolved(self.root, Role::Schema, &mut place, &mut looks).then_some(place)
    }

    fn find_unresolved(&self, value: &'s Value, role: Role, place: &mut String, looks: &mut usize) -> bool {
        if *looks > LOOKS_MAX {
            return false;
        }
        for keyword in REFERENCES.iter().filter(|_| role == Role::Schema) {
            let Some(reference) = value.get(*keyword).and_then(Value::as_str) else { continue };
            let candidates = self.candidates(keyword, reference, value).inspect(|_| *looks += 1);
            let is_known = candidates.flatten().next().is_some();
            if !is_known && !is_meta_schema(reference) {
                pointer::push(place, keyword);
                return true;
            }
        }
        let before = place.len();
        let mut below = |token: &str, member: &'s Value, role: Role| {
            pointer::push(place, token);
            let found = self.find_unresolved(member, role, place, looks);
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

/// What a relative reference would call a schema of this name.
fn last_part(name: &str) -> &str {
    name.rsplit(['/', ':']).next().unwrap_or_default()
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
