//! Reads a JSON Schema of any draft into the tree of fields: through references, `allOf` and alternatives, bounded in depth and size.
//! Called when a form is compiled. Where a schema says more than a tree can hold, the field is marked `conditional`, never guessed.

use std::collections::BTreeMap;
use std::ptr;

use jsonschema::Draft;
use serde_json::{Map, Value};

use self::options::Options;
use self::types::Types;
use super::ast::{ANY_ITEM, Constraints, Field, FieldKind};
use super::references::names::Names;
use super::references::{Place, REFERENCES, References, Target};
use crate::json::pointer;

mod combine;
mod options;
mod types;

/// The most fields of a form, and the most sub-schemas read to find them.
const FIELDS_MAX: usize = 20_000;
/// The deepest field, in levels of objects and lists; below it a field is [`FieldKind::Any`].
const FIELD_DEPTH_MAX: usize = 32;
/// The most schemas read inside one another, so that the stack holds them; what lies beyond is not described. Three for each level of
/// fields (a member, its reference, a combination) and some to spare.
const READING_DEPTH_MAX: usize = 128;

/// The most bytes that are copied from the schema to its fields: titles, listed values and such, once for every field that refers to
/// them, and the fields' places.
const COPIED_BYTES_MAX: usize = 256 << 20;

/// The schema describes more than can be kept as a tree.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooMuch {
    /// More than [`FIELDS_MAX`] fields.
    #[error("the schema describes more than {FIELDS_MAX} fields; split the form")]
    Fields,
    /// More than [`COPIED_BYTES_MAX`] about them.
    #[error(
        "what the schema says of all fields together is more than {COPIED_BYTES_MAX} bytes, since what is referred to counts at every \
         field; list fewer values, shorten texts and names, or split the form"
    )]
    Bytes,
}

/// How what several schemas say of one place is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As it is documented.
    Today,
    /// As it was when versions were published whose rules do not fit today's types: an alternative of null alone took `format`, bounds and values
    /// away, one told the type of a field that the other named without any, and so did `not`. References by [`Reading::Names`].
    Earlier,
    /// As it was while references were followed by the likeness of names, and only where these were written in full.
    Names,
}

/// The fields that `schema` describes.
pub(super) fn fields<'s>(
    schema: &'s Value,
    references: &'s References<'s>,
    reading: Reading,
) -> Result<Field, TooMuch> {
    let at = references.start();
    let mut reader = Reader {
        how: reading,
        references,
        names: (reading != Reading::Today).then(|| references.names()),
        draft: at.draft,
        at,
        base: schema,
        active: Vec::new(),
        read: 0,
        reading: 0,
        place: 0,
        copied: 0,
    };
    let shape = reader.shape_at(schema, reader.at.clone(), 0);
    if reader.read > FIELDS_MAX {
        Err(TooMuch::Fields)
    } else if reader.copied > COPIED_BYTES_MAX {
        Err(TooMuch::Bytes)
    } else {
        Ok(shape.into_field("", "", true))
    }
}

/// What is known about one place in the data.
#[derive(Debug, Clone, Default)]
struct Shape {
    /// The types that the schema allows; `None` when it does not say.
    types: Option<Types>,
    /// The types that other keywords speak about, for schemas that leave `type` out.
    implied: Types,
    title: Option<String>,
    description: Option<String>,
    default: Option<Value>,
    format: Option<String>,
    options: Option<Options>,
    constraints: Constraints,
    members: BTreeMap<String, Member>,
    closed: bool,
    item: Option<Box<Shape>>,
    conditional: bool,
}

#[derive(Debug, Clone)]
struct Member {
    shape: Shape,
    required: bool,
}

struct Reader<'s> {
    how: Reading,
    references: &'s References<'s>,
    /// In place of them for earlier readings.
    names: Option<Names<'s>>,
    /// That of the root.
    draft: Draft,
    /// Where references are read.
    at: Place<'s>,
    /// The resource in which they are read by names.
    base: &'s Value,
    /// The targets of the references that are being followed, to stop at one that comes back to itself.
    active: Vec<&'s Value>,
    /// Sub-schemas read so far.
    read: usize,
    /// Sub-schemas being read now, one inside the other.
    reading: usize,
    /// The bytes of the place in the data that is being read.
    place: usize,
    /// Bytes copied so far.
    copied: usize,
}

impl<'s> Reader<'s> {
    fn shape(&mut self, schema: &'s Value, depth: usize) -> Shape {
        let at = self.references.within(&self.at, schema);
        self.shape_at(schema, at, depth)
    }

    fn shape_at(&mut self, schema: &'s Value, at: Place<'s>, depth: usize) -> Shape {
        if self.reading == READING_DEPTH_MAX {
            return Shape { conditional: true, ..Shape::default() };
        }
        self.reading += 1;
        let outer = std::mem::replace(&mut self.at, at);
        let shape = self.shape_of(schema, depth);
        self.at = outer;
        self.reading -= 1;
        shape
    }

    fn shape_of(&mut self, schema: &'s Value, depth: usize) -> Shape {
        self.read += 1;
        let Value::Object(keywords) = schema else { return Shape::default() };
        if depth > FIELD_DEPTH_MAX || self.is_full() {
            return Shape::default();
        }
        self.copied += self.place + copied_bytes(keywords);
        if self.is_full() {
            return Shape::default();
        }
        let outer = self.base;
        if self.names.as_ref().is_some_and(|names| names.is_resource(schema)) {
            self.base = schema;
        }
        let referred = self.referred(keywords, depth);
        // Before 2019-09 a reference stands alone; what is written beside it can still be read as annotation.
        let alone = referred.is_some() && self.draft() < Draft::Draft201909;
        let own = if alone { annotations(keywords) } else { self.own(keywords, depth) };
        self.base = outer;
        match referred {
            Some(referred) => own.meet(referred),
            None => own,
        }
    }

    /// By whose rules the schema is read that is being read.
    fn draft(&self) -> Draft {
        if self.names.is_some() { self.draft } else { self.at.draft }
    }

    fn is_full(&self) -> bool {
        self.read > FIELDS_MAX || self.copied > COPIED_BYTES_MAX
    }

    fn referred(&mut self, keywords: &'s Map<String, Value>, depth: usize) -> Option<Shape> {
        let (keyword, reference) =
            REFERENCES.iter().find_map(|name| Some((name, keywords.get(*name)?.as_str()?)))?;
        let unknown = Shape { conditional: true, ..Shape::default() };
        let target = match &self.names {
            None => self.references.follow(keyword, reference, &self.at).map(|target| (target, self.base)),
            Some(names) => names.resolve(reference, self.base).map(|(schema, base)| {
                let place = self.references.within(&self.at, schema);
                (Target { schema, place }, base)
            }),
        };
        let Some((target, base)) = target else { return Some(unknown) };
        if self.active.iter().any(|active| ptr::eq(*active, target.schema)) {
            return Some(unknown);
        }
        let outer = std::mem::replace(&mut self.base, base);
        self.active.push(target.schema);
        let shape = self.shape_at(target.schema, target.place, depth);
        self.active.pop();
        self.base = outer;
        Some(shape)
    }

    fn own(&mut self, keywords: &'s Map<String, Value>, depth: usize) -> Shape {
        let mut shape = annotations(keywords);
        shape.types = keywords.get("type").and_then(types::declared);
        shape.implied = types::implied(keywords, self.how);
        shape.format = text(keywords, "format");
        shape.options = options(keywords);
        shape.constraints = constraints(keywords);
        self.members(keywords, &mut shape, depth);
        self.items(keywords, &mut shape, depth);
        self.combined(keywords, shape, depth)
    }

    fn members(&mut self, keywords: &'s Map<String, Value>, shape: &mut Shape, depth: usize) {
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            for (name, schema) in properties {
                if self.is_full() {
                    break;
                }
                self.place += 1 + name.len();
                let member = Member { shape: self.shape(schema, depth + 1), required: false };
                self.place -= 1 + name.len();
                shape.members.insert(name.clone(), member);
            }
        }
        if let Some(Value::Array(required)) = keywords.get("required") {
            for name in required.iter().filter_map(Value::as_str) {
                shape
                    .members
                    .entry(name.to_owned())
                    .or_insert_with(|| Member { shape: Shape::default(), required: true })
                    .required = true;
            }
        }
        let closing = ["additionalProperties", "unevaluatedProperties"];
        shape.closed = closing.iter().any(|name| keywords.get(*name) == Some(&Value::Bool(false)))
            && !keywords.contains_key("patternProperties");
    }

    fn items(&mut self, keywords: &'s Map<String, Value>, shape: &mut Shape, depth: usize) {
        // A list of schemas describes a tuple; its items differ, and the tree says nothing about them.
        if keywords.contains_key("prefixItems") {
            return;
        }
        if let Some(items @ Value::Object(_)) = keywords.get("items") {
            shape.item = Some(Box::new(self.shape(items, depth + 1)));
        }
    }

    fn combined(&mut self, keywords: &'s Map<String, Value>, mut shape: Shape, depth: usize) -> Shape {
        for schema in list(keywords, "allOf") {
            shape = shape.meet(self.shape(schema, depth));
        }
        for keyword in ["anyOf", "oneOf"] {
            let branches: Vec<Shape> =
                list(keywords, keyword).iter().map(|schema| self.shape(schema, depth)).collect();
            shape = shape.meet_alternatives(branches, self.how);
        }
        let conditional: Vec<Shape> = ["then", "else"]
            .iter()
            .filter_map(|keyword| keywords.get(*keyword))
            .map(|schema| self.shape(schema, depth))
            .collect();
        if !conditional.is_empty() && keywords.contains_key("if") {
            shape = shape.meet_optional(conditional, self.how);
        }
        for keyword in ["dependencies", "dependentSchemas"] {
            if let Some(Value::Object(dependents)) = keywords.get(keyword) {
                let schemas = dependents.values().filter(|schema| schema.is_object());
                let schemas: Vec<Shape> = schemas.map(|schema| self.shape(schema, depth)).collect();
                shape = shape.meet_optional(schemas, self.how);
            }
        }
        shape
    }
}

impl Shape {
    fn into_field(self, name: &str, place: &str, required: bool) -> Field {
        let types = self.types.unwrap_or(self.implied).narrowed_to(self.options.as_ref());
        let kind = types.kind(self.closed);
        let children = match kind {
            FieldKind::Object | FieldKind::Open => self
                .members
                .into_iter()
                .map(|(name, member)| {
                    member.shape.into_field(&name, &pointer::child(place, &name), member.required)
                })
                .collect(),
            FieldKind::List => self
                .item
                .map(|item| item.into_field(ANY_ITEM, &pointer::child(place, ANY_ITEM), false))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        Field {
            name: name.into(),
            pointer: place.into(),
            title: self.title,
            description: self.description,
            kind,
            nullable: types.contains(Types::NULL),
            required,
            conditional: self.conditional,
            format: self.format,
            options: self.options.map(|options| options.listed.into()),
            default: self.default,
            constraints: self.constraints,
            children,
            slot: None,
        }
    }
}

fn annotations(keywords: &Map<String, Value>) -> Shape {
    Shape {
        title: text(keywords, "title"),
        description: text(keywords, "description"),
        default: keywords.get("default").cloned(),
        ..Shape::default()
    }
}

fn options(keywords: &Map<String, Value>) -> Option<Options> {
    match (keywords.get("const"), keywords.get("enum")) {
        (Some(only), _) => Some(Options::of(vec![only.clone()])),
        (None, Some(Value::Array(options))) => Some(Options::of(options.clone())),
        _ => None,
    }
}

/// About the bytes that a shape of these keywords holds beside those of its members.
fn copied_bytes(keywords: &Map<String, Value>) -> usize {
    const COPIED: [&str; 7] = ["title", "description", "default", "format", "pattern", "const", "enum"];
    let copied: usize = COPIED.iter().filter_map(|name| keywords.get(*name)).map(bytes).sum();
    let required = keywords.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let described = keywords.get("properties").and_then(Value::as_object);
    let names = required.iter().filter_map(Value::as_str).map(|name| {
        let is_described = described.is_some_and(|described| described.contains_key(name));
        name.len() + if is_described { 0 } else { size_of::<Member>() }
    });
    copied + names.sum::<usize>()
}

/// About the bytes that a copy of `value` takes.
fn bytes(value: &Value) -> usize {
    let below = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + bytes(member)).sum(),
        _ => 0,
    };
    size_of::<Value>() + below
}

fn constraints(keywords: &Map<String, Value>) -> Constraints {
    let number = |name: &str| keywords.get(name).and_then(Value::as_f64);
    let count = |name: &str| keywords.get(name).and_then(Value::as_u64);
    Constraints {
        // An exclusive bound is still a bound; in draft 4 it is a flag beside the bound.
        minimum: number("minimum").or(number("exclusiveMinimum")),
        maximum: number("maximum").or(number("exclusiveMaximum")),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: text(keywords, "pattern"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
    }
}

fn text(keywords: &Map<String, Value>, name: &str) -> Option<String> {
    keywords.get(name)?.as_str().map(str::to_owned)
}

fn list<'s>(keywords: &'s Map<String, Value>, name: &str) -> &'s [Value] {
    keywords.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
