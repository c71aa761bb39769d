//! Finds what a reference inside a form's schema means, for the tree of fields and for the count of checks, with the library and by the
//! steps of the validator: URIs as RFC 3986 resolves them, anchors of the resource that they are written in, dynamic ones by the way.
//! Never by the likeness of names: what is found here and what the validator asks must be the same schema.

use std::collections::{HashMap, HashSet};
use std::ptr;

use jsonschema::{Draft, Registry, Retrieve, Uri, uri};
use referencing::Resolver;
use serde_json::Value;

use self::names::Names;
use crate::json::pointer;

mod fragment;
pub(super) mod names;

pub(super) use self::fragment::mend_fragments;

/// Keywords whose members are named by the form, not by JSON Schema.
pub(super) const NAMESPACES: [&str; 6] =
    ["properties", "patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas"];
/// Keywords that hold data, whatever these look like.
pub(super) const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords that refer to a schema for the same value.
pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords that hold what must be a URI reference.
const URIS: [&str; 4] = ["$id", "id", "$ref", "$dynamicRef"];

/// The most schemas that are looked at for all references together. Of the published forms in the tests none needs more than a few for
/// each; beyond it names are shared by so many schemas that reading them all would take the memory of the node.
pub(super) const LOOKS_MAX: usize = 1_000_000;

/// The most bytes of all URIs together that the references and identifiers of a schema are resolved to: the validator keeps each with
/// the whole of its base. A schema of 1 MiB full of references has 16 MiB where its `$id` is of 300 bytes.
const URI_BYTES_MAX: usize = 64 << 20;

/// Whose dynamic anchors count where a schema refers to the meta-schema of its draft.
const META_SCHEMAS: [(&str, &[&str]); 2] = [
    (
        "https://json-schema.org/draft/2020-12/",
        &[
            "schema",
            "meta/core",
            "meta/applicator",
            "meta/unevaluated",
            "meta/validation",
            "meta/meta-data",
            "meta/format-annotation",
            "meta/format-assertion",
            "meta/content",
        ],
    ),
    (
        "https://json-schema.org/draft/2019-09/",
        &[
            "schema",
            "meta/core",
            "meta/applicator",
            "meta/validation",
            "meta/meta-data",
            "meta/format",
            "meta/content",
        ],
    ),
];

/// Why the references of a schema cannot be read at all, and where.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Unreadable {
    /// The place in the schema, as a JSON Pointer.
    pub(super) place: String,
    why: String,
}

/// Reads which resources and anchors there are in `schema`. Nothing is fetched: what is not in it is there as null.
pub(super) fn registry(schema: &Value, draft: Draft) -> Result<Registry<'_>, Unreadable> {
    if uri_bytes(schema, 0) > URI_BYTES_MAX {
        let why = format!(
            "the identifiers and references in the schema stand for more than {URI_BYTES_MAX} bytes of URIs, because each of them \
             counts with the whole of the `$id` around it; shorten the `$id`"
        );
        return Err(Unreadable { place: String::new(), why });
    }
    let read = || {
        let base = base(schema, draft)?;
        let known = Registry::new().retriever(Nothing).draft(draft).retrieve_known_draft_meta_schemas(false);
        known.add(base.as_str(), schema)?.prepare()
    };
    read().map_err(|error: referencing::Error| {
        let mut place = String::new();
        find_no_uri(schema, Role::Schema, &mut place);
        let why = format!("a reference cannot be resolved: {}", super::violation::clip(&error.to_string()));
        Unreadable { place, why }
    })
}

/// By what a document is known: its identifier, or a name that stands for none.
fn base(schema: &Value, draft: Draft) -> Result<Uri<String>, referencing::Error> {
    uri::from_str(draft.create_resource_ref(schema).id().unwrap_or("json-schema:///"))
}

struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Value::Null)
    }
}

/// At most the bytes of the URIs in `value`, which is inside a resource whose URI is of `base` bytes.
fn uri_bytes(value: &Value, base: usize) -> usize {
    let members: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(members) => Box::new(members.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => return 0,
    };
    let own = |name: &&str| value.get(*name).and_then(Value::as_str).map(str::len);
    let inside = base + ["$id", "id"].iter().filter_map(own).sum::<usize>();
    let uris: usize = URIS.iter().filter_map(own).map(|own| inside + own).sum();
    members.fold(uris, |bytes, member| bytes.saturating_add(uri_bytes(member, inside)))
}

/// Puts the place of the first identifier or reference that is no URI into `place`; whether there is one.
fn find_no_uri(value: &Value, role: Role, place: &mut String) -> bool {
    if role == Role::Schema {
        let is_wrong = |name: &&&str| {
            value.get(**name).and_then(Value::as_str).is_some_and(|uri| uri::from_str(uri).is_err())
        };
        if let Some(name) = URIS.iter().find(is_wrong) {
            pointer::push(place, name);
            return true;
        }
    }
    any_below(value, role, place, &mut |member, role, place| find_no_uri(member, role, place))
}

/// Whether `holds` for what is directly in `value`; `place` then stays at it.
fn any_below<'v>(
    value: &'v Value,
    role: Role,
    place: &mut String,
    holds: &mut dyn FnMut(&'v Value, Role, &mut String) -> bool,
) -> bool {
    let before = place.len();
    let mut below = |token: &str, member: &'v Value, role: Role| {
        pointer::push(place, token);
        let found = holds(member, role, place);
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

/// Where a schema is read: by which URI its references are resolved, and by the rules of which draft.
#[derive(Clone)]
pub(super) struct Place<'s> {
    pub(super) resolver: Resolver<'s>,
    pub(super) draft: Draft,
}

/// A schema that a reference means, and where it is read.
#[derive(Clone)]
pub(super) struct Target<'s> {
    pub(super) schema: &'s Value,
    pub(super) place: Place<'s>,
}

/// What references in one schema document mean.
pub(super) struct References<'s> {
    root: &'s Value,
    start: Place<'s>,
    naming: Naming,
    registry: &'s Registry<'s>,
    /// By `$dynamicAnchor`: a reference to one of them may mean any, by the way that led there.
    dynamic: HashMap<&'s str, Vec<Target<'s>>>,
    /// Those that a `$recursiveRef` may come back to, by the way that led there.
    recursive: Vec<Target<'s>>,
    /// All values of the document.
    inside: HashSet<*const Value>,
}

impl<'s> References<'s> {
    /// Reads `root`, of which `registry` was made. Nesting is bounded by the door.
    pub(super) fn of(root: &'s Value, draft: Draft, registry: &'s Registry<'s>) -> Self {
        let base = base(root, draft).expect("the registry was made of it");
        let start = Place { resolver: registry.resolver(base), draft };
        let mut references = Self {
            root,
            start,
            naming: Naming::of(root, draft),
            registry,
            dynamic: HashMap::new(),
            recursive: Vec::new(),
            inside: HashSet::new(),
        };
        let start = references.at(references.start.clone(), root);
        references.collect(root, &start, Role::Schema);
        references.collect_inside(root);
        for (base, names) in META_SCHEMAS {
            for uri in names.iter().map(|name| format!("{base}{name}")) {
                let known =
                    registry.contains_resource(&uri).then(|| references.lookup(&uri, &references.start));
                if let Some(Target { schema, place }) = known.flatten() {
                    references.collect(schema, &place, Role::Schema);
                }
            }
        }
        references
    }

    /// The same schemas by their names alone.
    pub(super) fn names(&self) -> Names<'s> {
        Names::of(self.root, self.naming)
    }

    /// Where the root is read.
    pub(super) fn start(&self) -> Place<'s> {
        self.at(self.start.clone(), self.root)
    }

    /// Where `schema` is read, which is in one that is read at `outer`.
    pub(super) fn within(&self, outer: &Place<'s>, schema: &Value) -> Place<'s> {
        let draft = outer.draft.detect(schema);
        self.at(Place { resolver: outer.resolver.clone(), draft }, schema)
    }

    /// The same place, for a schema that may name itself; what is no URI is not used by anybody.
    fn at(&self, place: Place<'s>, schema: &Value) -> Place<'s> {
        let resolver = place.resolver.in_subresource(place.draft.create_resource_ref(schema));
        Place { resolver: resolver.unwrap_or(place.resolver), ..place }
    }

    /// A place like `place` to which no way led yet.
    pub(super) fn afresh(&self, place: &Place<'s>) -> Place<'s> {
        let uri = place.resolver.base_uri().as_ref().clone();
        Place { resolver: self.registry.resolver(uri), draft: place.draft }
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

    /// What `reference`, written under `keyword` in a schema that is read at `place`, means by the way that led there; `None` for what is
    /// not in this document.
    pub(super) fn follow(&self, keyword: &str, reference: &str, place: &Place<'s>) -> Option<Target<'s>> {
        let target = match keyword {
            "$recursiveRef" => {
                let (schema, resolver, draft) = place.resolver.lookup_recursive_ref().ok()?.into_inner();
                Target { schema, place: Place { resolver, draft } }
            }
            _ => self.lookup(reference, place)?,
        };
        self.inside.contains(&ptr::from_ref(target.schema)).then_some(target)
    }

    /// Everything that `reference`, written under `keyword` in a schema that is read at `place`, may mean, whatever way led there.
    /// Nothing where it means nothing. Many schemas may have one dynamic name, so it is for the caller to stop.
    pub(super) fn candidates(
        &self,
        keyword: &str,
        reference: &str,
        place: &Place<'s>,
    ) -> impl Iterator<Item = Target<'s>> {
        let found = self.lookup(reference, place);
        // The validator asks for no more than `#` there, unless it met what is written somewhere else.
        let resource = (keyword == "$recursiveRef").then(|| self.lookup("#", place)).flatten();
        let anchor = reference.rsplit_once('#').map_or("", |(_, anchor)| anchor);
        let is_dynamic = |target: &Target<'s>| {
            let name = target.schema.get("$dynamicAnchor").and_then(Value::as_str);
            !anchor.is_empty() && name == Some(anchor)
        };
        let dynamic =
            found.as_ref().filter(|target| is_dynamic(target)).and_then(|_| self.dynamic.get(anchor));
        let is_recursive =
            |target: &Target<'s>| target.schema.get("$recursiveAnchor") == Some(&Value::Bool(true));
        let recursive = if resource.as_ref().is_some_and(is_recursive) { &self.recursive[..] } else { &[] };
        let dynamic = dynamic.map_or(&[][..], Vec::as_slice);
        found.into_iter().chain(resource).chain(dynamic.iter().chain(recursive).cloned())
    }

    /// Whether the validator reads references under `keyword` in a schema that is read at `place`: not those of another draft, and not those in what lies
    /// under a keyword of another draft, whose resources are not known. Everything else has to lead somewhere.
    pub(super) fn are_read(&self, keyword: &str, place: &Place<'s>) -> bool {
        let is_of_draft = match keyword {
            "$dynamicRef" => place.draft >= Draft::Draft202012,
            "$recursiveRef" => place.draft == Draft::Draft201909,
            _ => true,
        };
        is_of_draft && self.registry.contains_resource(place.resolver.base_uri().as_str())
    }

    fn lookup(&self, reference: &str, place: &Place<'s>) -> Option<Target<'s>> {
        let (schema, resolver, draft) = place.resolver.lookup(reference).ok()?.into_inner();
        (!schema.is_null()).then_some(Target { schema, place: Place { resolver, draft } })
    }

    /// Reads what is in `value`, which is read at `place`: schemas that others may come back to.
    fn collect(&mut self, value: &'s Value, place: &Place<'s>, role: Role) {
        match value {
            Value::Object(members) => {
                if role == Role::Schema {
                    self.collect_anchor(value, place);
                }
                for (name, member) in members {
                    let role = role.of_member(name, member);
                    match role {
                        Role::Schema => self.collect(member, &self.within(place, member), role),
                        Role::Namespace | Role::Data => self.collect(member, place, role),
                    }
                }
            }
            Value::Array(items) if role == Role::Schema => {
                items.iter().for_each(|item| self.collect(item, &self.within(place, item), role));
            }
            _ => {}
        }
    }

    fn collect_anchor(&mut self, schema: &'s Value, place: &Place<'s>) {
        if let Some(name) = schema.get("$dynamicAnchor").and_then(Value::as_str) {
            // As the validator enters it: with its own name once more.
            let place = self.at(place.clone(), schema);
            self.dynamic.entry(name).or_default().push(Target { schema, place });
        }
        if schema.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
            self.recursive.push(Target { schema, place: place.clone() });
        }
    }

    fn collect_inside(&mut self, value: &'s Value) {
        self.inside.insert(ptr::from_ref(value));
        match value {
            Value::Object(members) => members.values().for_each(|member| self.collect_inside(member)),
            Value::Array(items) => items.iter().for_each(|item| self.collect_inside(item)),
            _ => {}
        }
    }

    /// Where the first reference stands that means nothing in this document, as a JSON Pointer.
    pub(super) fn unresolved(&self) -> Option<String> {
        let mut place = String::new();
        self.find_unresolved(self.root, &self.start(), Role::Schema, &mut place).then_some(place)
    }

    fn find_unresolved(&self, value: &'s Value, at: &Place<'s>, role: Role, place: &mut String) -> bool {
        for keyword in REFERENCES.iter().filter(|_| role == Role::Schema) {
            let Some(reference) = value.get(*keyword).and_then(Value::as_str) else { continue };
            if self.are_read(keyword, at) && self.candidates(keyword, reference, at).next().is_none() {
                pointer::push(place, keyword);
                return true;
            }
        }
        any_below(value, role, place, &mut |member, role, place| {
            let inner = if role == Role::Schema { self.within(at, member) } else { at.clone() };
            self.find_unresolved(member, &inner, role, place)
        })
    }
}

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

    fn own_name(self, schema: &Value) -> Option<&str> {
        if self.alone && schema.get("$ref").is_some_and(Value::is_string) {
            return None;
        }
        self.keywords.iter().find_map(|name| schema.get(*name)?.as_str())
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
