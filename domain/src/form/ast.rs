//! The fields of a form as a tree: what rules are checked against, what projections index and what the console renders.
//! Made from the schema when a form is compiled. It describes; whether data fit is the validator's word alone.

use std::sync::Arc;

use formledger_rules::{Field as TypedMember, ObjectType, Slot, Type};
use serde::Serialize;
use serde_json::{Number, Value};

use crate::json::pointer;

/// The token that stands for every item of a list in a field's pointer, as in `/lines/*/qty`.
pub const ANY_ITEM: &str = "*";

/// One field, with everything below it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// The member's name; [`ANY_ITEM`] for the items of a list, empty for the whole document.
    pub name: Arc<str>,
    /// Where it stands, as a JSON Pointer in which [`ANY_ITEM`] stands for every index.
    pub pointer: Arc<str>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What people should know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether `null` is a value of it.
    pub nullable: bool,
    /// Whether the schema asks for it wherever the object around it is present.
    pub required: bool,
    /// Whether alternatives (`oneOf`, `anyOf`, `if`) say more about it than this tree can.
    pub conditional: bool,
    /// The schema's `format`, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The only values that it may have, where they are listed (`enum`, `const`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Arc<[Value]>>,
    /// What the schema suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Bounds, as far as rendering can use them.
    #[serde(skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
    /// The members of an object, in the order of their names; the one item field of a list; empty otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Field>,
    /// Where rules find its value; `None` inside lists, which are one slot as a whole.
    #[serde(skip)]
    pub slot: Option<Slot>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A number without fraction.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An object whose members are `children`, and only those.
    Object,
    /// An object that may have members beside `children`.
    Open,
    /// A list; its items are described by `children`'s one element, when the schema describes them.
    List,
    /// A single value of more than one kind.
    Scalar,
    /// Anything: the schema does not say, says different things, or refers to itself.
    Any,
}

/// Bounds of a field's value.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Constraints {
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// The step of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiple_of: Option<f64>,
    /// The fewest characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// The most characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// The regular expression (ECMA-262) that a text must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The fewest items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// The most items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
}

impl Constraints {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FieldKind {
    /// Whether it is one value that can be compared and indexed.
    pub fn is_scalar(self) -> bool {
        matches!(self, Self::Text | Self::Number | Self::Integer | Self::Boolean | Self::Scalar)
    }
}

impl Field {
    /// The field at `pointer` in data: tokens are members' names, and indexes where a list is.
    pub fn find(&self, pointer: &str) -> Option<&Field> {
        pointer::tokens(pointer).try_fold(self, |field, token| match field.kind {
            FieldKind::List => field.children.first().filter(|_| token.parse::<usize>().is_ok()),
            _ => field.child(&token),
        })
    }

    /// The member called `name`.
    pub fn child(&self, name: &str) -> Option<&Field> {
        // In the order of their names; a workflow names very many, one after the other.
        let place = self.children.binary_search_by(|child| child.name.as_ref().cmp(name)).ok()?;
        self.children.get(place)
    }

    /// The field and all below it, each before those below it.
    pub fn walk(&self) -> impl Iterator<Item = &Field> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let field = waiting.pop()?;
            waiting.extend(field.children.iter().rev());
            Some(field)
        })
    }

    /// The members' types, as rules are checked against them.
    pub(super) fn object_type(&self) -> ObjectType {
        let members = self.children.iter().map(|child| {
            let ty = child.ty();
            let member = if child.required {
                TypedMember::required(&child.name, ty)
            } else {
                TypedMember::optional(&child.name, ty)
            };
            let limit = |limit: Option<f64>| limit.and_then(Number::from_f64);
            let member = member.within(limit(child.constraints.minimum), limit(child.constraints.maximum));
            let member = member.of_at_least(child.constraints.min_items.unwrap_or(0));
            match &child.options {
                Some(options) => member.one_of(options.clone()),
                None => member,
            }
        });
        ObjectType::new(members, self.kind != FieldKind::Object)
    }

    fn ty(&self) -> Type {
        let ty = match self.kind {
            FieldKind::Text => match self.format.as_deref() {
                Some("date") => Type::Date,
                Some("date-time") => Type::Timestamp,
                Some("duration") => Type::Duration,
                Some("decimal") => Type::Decimal,
                _ => Type::String,
            },
            FieldKind::Number | FieldKind::Integer | FieldKind::Scalar
                if self.format.as_deref() == Some("decimal") =>
            {
                Type::Decimal
            }
            FieldKind::Number => Type::Double,
            FieldKind::Integer => Type::Int,
            FieldKind::Boolean => Type::Bool,
            FieldKind::Object | FieldKind::Open => Type::Object(Arc::new(self.object_type())),
            FieldKind::List => Type::list(self.children.first().map_or(Type::Dyn, Field::ty)),
            FieldKind::Scalar | FieldKind::Any => Type::Dyn,
        };
        if self.nullable { Type::nullable(ty) } else { ty }
    }

    /// Tells every field that is not inside a list its slot.
    pub(super) fn bind(&mut self, slot_of: &impl Fn(&[&str]) -> Option<Slot>) {
        fn below(field: &mut Field, path: &mut Vec<Arc<str>>, slot_of: &impl Fn(&[&str]) -> Option<Slot>) {
            if field.kind == FieldKind::List {
                return;
            }
            for child in &mut field.children {
                path.push(child.name.clone());
                let names: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
                child.slot = slot_of(&names);
                below(child, path, slot_of);
                path.pop();
            }
        }
        below(self, &mut Vec::new(), slot_of);
    }
}
