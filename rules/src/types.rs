//! Static types: what a field, a variable or an expression may hold.
//!
//! Built by the embedding program from a form's schema and used by the checker. A type says nothing about where a value
//! comes from; [`crate::Layout`] does.

use std::fmt;
use std::sync::Arc;

use crate::value::Kind;

/// The static type of an expression, a field or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// 64-bit signed integer; arithmetic overflow is an error.
    Int,
    /// 64-bit unsigned integer; arithmetic overflow is an error.
    Uint,
    /// IEEE 754 double.
    Double,
    /// Unicode text; sizes and positions count code points.
    String,
    /// Octets.
    Bytes,
    /// A point in time, nanoseconds, years 1 to 9999.
    Timestamp,
    /// A signed length of time in nanoseconds (64 bits: about 292 years).
    Duration,
    /// Exact decimal number with up to 28 significant digits. An extension of CEL, for money.
    Decimal,
    /// A calendar date without time or zone. An extension of CEL.
    Date,
    /// A type as a value, as in `type(1) == int`.
    Type,
    /// A list of elements of one type.
    List(Arc<Type>),
    /// A map from a key type (`bool`, `int`, `uint` or `string`) to a value type.
    Map(Arc<Type>, Arc<Type>),
    /// A JSON object whose members are known.
    Object(Arc<ObjectType>),
    /// A value that may be none, made by `.?field`, `[?key]` and `optional.of`.
    Optional(Arc<Type>),
    /// The type or JSON `null`, as in the schema's `"type": ["string", "null"]`. Comparable with `null`; wherever else it
    /// is used, a null counts as a missing value.
    Nullable(Arc<Type>),
    /// Known only at run time: operations on it are dispatched, and may fail, when they run.
    Dyn,
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// A map from `key` to `value`.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    /// An optional of `inner`.
    pub fn optional(inner: Type) -> Type {
        Type::Optional(Arc::new(inner))
    }

    /// `inner` or null; `Dyn`, `Null` and types that are nullable already stay as they are.
    pub fn nullable(inner: Type) -> Type {
        match inner {
            Type::Null | Type::Dyn | Type::Nullable(_) => inner,
            other => Type::Nullable(Arc::new(other)),
        }
    }

    /// The type without its null.
    pub fn non_null(&self) -> &Type {
        match self {
            Type::Nullable(inner) => inner,
            other => other,
        }
    }

    /// The run-time type of all its values, for types that have one.
    pub(crate) fn kind(&self) -> Option<Kind> {
        Some(match self {
            Type::Null => Kind::Null,
            Type::Bool => Kind::Bool,
            Type::Int => Kind::Int,
            Type::Uint => Kind::Uint,
            Type::Double => Kind::Double,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Timestamp => Kind::Timestamp,
            Type::Duration => Kind::Duration,
            Type::Decimal => Kind::Decimal,
            Type::Date => Kind::Date,
            Type::Type => Kind::Type,
            Type::List(_) => Kind::List,
            Type::Map(..) | Type::Object(_) => Kind::Map,
            Type::Optional(_) => Kind::Optional,
            Type::Nullable(_) | Type::Dyn => return None,
        })
    }

    /// Whether the type or that of an element is `dyn`. Members of objects count when they are selected.
    pub(crate) fn involves_dyn(&self) -> bool {
        match self {
            Type::Dyn => true,
            Type::List(inner) | Type::Optional(inner) | Type::Nullable(inner) => inner.involves_dyn(),
            Type::Map(key, value) => key.involves_dyn() || value.involves_dyn(),
            _ => false,
        }
    }

    /// Whether this is one of the number types.
    pub fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double | Type::Decimal)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Decimal => f.write_str("decimal"),
            Type::Date => f.write_str("date"),
            Type::Type => f.write_str("type"),
            Type::List(element) => write!(f, "list({element})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Object(_) => f.write_str("object"),
            Type::Optional(inner) => write!(f, "optional({inner})"),
            Type::Nullable(inner) => write!(f, "{inner} or null"),
            Type::Dyn => f.write_str("dyn"),
        }
    }
}

/// The members of a JSON object, by name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ObjectType {
    fields: Vec<Field>,
    open: bool,
}

/// One member of an [`ObjectType`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The member's name, as in the JSON.
    pub name: Arc<str>,
    /// What it holds.
    pub ty: Type,
    /// Whether the schema guarantees its presence (in an object that is itself present).
    pub required: bool,
    /// The only values that the schema admits, when it lists them (`enum`, `const`). The checker refuses comparisons with
    /// anything else.
    pub values: Option<Arc<[serde_json::Value]>>,
    /// The least number that the schema admits (`minimum`).
    pub minimum: Option<serde_json::Number>,
    /// The greatest number that the schema admits (`maximum`).
    pub maximum: Option<serde_json::Number>,
    /// The fewest items of a list that the schema admits (`minItems`); 0 where it does not say.
    pub min_items: u64,
}

impl Field {
    /// A required member of any value of `ty`.
    pub fn required(name: &str, ty: Type) -> Field {
        let (values, minimum, maximum) = (None, None, None);
        Field { name: name.into(), ty, required: true, values, minimum, maximum, min_items: 0 }
    }

    /// A member that may be absent.
    pub fn optional(name: &str, ty: Type) -> Field {
        Field { required: false, ..Field::required(name, ty) }
    }

    /// The same member, holding only numbers from `minimum` to `maximum`, where these are given.
    pub fn within(self, minimum: Option<serde_json::Number>, maximum: Option<serde_json::Number>) -> Field {
        Field { minimum, maximum, ..self }
    }

    /// The same member, a list of no fewer items than `min_items`.
    pub fn of_at_least(self, min_items: u64) -> Field {
        Field { min_items, ..self }
    }

    /// The same member, holding one of `values` only.
    pub fn one_of(self, values: impl Into<Arc<[serde_json::Value]>>) -> Field {
        Field { values: Some(values.into()), ..self }
    }
}

impl ObjectType {
    /// An object with these members; `open` admits further members, which are `dyn`. When a name occurs twice the last
    /// one counts.
    pub fn new(fields: impl IntoIterator<Item = Field>, open: bool) -> ObjectType {
        let mut sorted: Vec<Field> = Vec::new();
        for field in fields {
            match sorted.binary_search_by(|other| other.name.cmp(&field.name)) {
                Ok(at) => sorted[at] = field,
                Err(at) => sorted.insert(at, field),
            }
        }
        ObjectType { fields: sorted, open }
    }

    /// The members, ordered by name.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The member called `name`, when the schema knows it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok().map(|at| &self.fields[at])
    }

    /// Whether members beyond the known ones may occur.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

impl Type {
    /// The type of something that is one or the other: equal types stay, null makes the other nullable, `dyn` and
    /// different number types give `dyn`; `None` when the two have nothing in common.
    pub(crate) fn join(&self, other: &Type) -> Option<Type> {
        Some(match (self, other) {
            (a, b) if a == b => a.clone(),
            (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
            (Type::Null, ty) | (ty, Type::Null) => Type::nullable(ty.clone()),
            (Type::Nullable(a), b) | (b, Type::Nullable(a)) => Type::nullable(a.join(b.non_null())?),
            (a, b) if a.is_number() && b.is_number() => Type::Dyn,
            (Type::List(a), Type::List(b)) => Type::list(a.join(b)?),
            (Type::Optional(a), Type::Optional(b)) => Type::optional(a.join(b)?),
            (Type::Map(ak, av), Type::Map(bk, bv)) => Type::map(ak.join(bk)?, av.join(bv)?),
            (Type::Object(_), Type::Map(key, _)) | (Type::Map(key, _), Type::Object(_)) => {
                Type::map(key.join(&Type::String)?, Type::Dyn)
            }
            (Type::Object(_), Type::Object(_)) => Type::map(Type::String, Type::Dyn),
            _ => return None,
        })
    }
}
