//! Sets of JSON types: what a schema allows at one place.

use serde_json::{Map, Value};

use super::Reading;
use super::options::Options;
use crate::form::ast::FieldKind;

/// A set of JSON Schema's types; `number` contains `integer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    const BOOLEAN: Self = Self(1 << 1);
    const INTEGER: Self = Self(1 << 2);
    /// Numbers with a fraction; `number` is this and [`Self::INTEGER`].
    const FRACTION: Self = Self(1 << 3);
    const NUMBER: Self = Self(Self::INTEGER.0 | Self::FRACTION.0);
    const STRING: Self = Self(1 << 4);
    const ARRAY: Self = Self(1 << 5);
    pub(super) const OBJECT: Self = Self(1 << 6);

    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => Self::NONE,
        }
    }

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if number.is_f64() => Self::FRACTION,
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// The types of the listed values, where values are listed.
    pub(super) fn narrowed_to(self, options: Option<&Options>) -> Self {
        let Some(listed) = options.map(|options| options.types) else { return self };
        match self {
            Self::NONE => listed,
            // `1.0` may be listed for an integer: the listed numbers stay what `type` calls them.
            _ if self.contains(Self::INTEGER) && listed.contains(Self::FRACTION) => self,
            _ => match self.intersection(listed) {
                Self::NONE => self,
                both => both,
            },
        }
    }

    /// The field kind of a place with these types.
    pub(super) fn kind(self, closed: bool) -> FieldKind {
        match self.without(Self::NULL) {
            Self::STRING => FieldKind::Text,
            Self::INTEGER => FieldKind::Integer,
            Self::NUMBER | Self::FRACTION => FieldKind::Number,
            Self::BOOLEAN => FieldKind::Boolean,
            Self::ARRAY => FieldKind::List,
            Self::OBJECT if closed => FieldKind::Object,
            Self::OBJECT => FieldKind::Open,
            Self::NONE => FieldKind::Any,
            several if several.intersection(Self::ARRAY.union(Self::OBJECT)) == Self::NONE => {
                FieldKind::Scalar
            }
            _ => FieldKind::Any,
        }
    }
}

/// The types that a `type` keyword names.
pub(super) fn declared(keyword: &Value) -> Option<Types> {
    match keyword {
        Value::String(name) => Some(Types::named(name)),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            Some(names.fold(Types::NONE, |types, name| types.union(Types::named(name))))
        }
        _ => None,
    }
}

/// The type that keywords without `type` speak about: a schema with `properties` is meant for objects.
pub(super) fn implied(keywords: &Map<String, Value>, how: Reading) -> Types {
    const MEANT_FOR: [(&[&str], Types); 4] = [
        (&["properties", "required", "additionalProperties", "patternProperties"], Types::OBJECT),
        (&["items", "prefixItems", "minItems", "maxItems"], Types::ARRAY),
        (&["pattern", "minLength", "maxLength", "format"], Types::STRING),
        (&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"], Types::NUMBER),
    ];
    // A schema of these alone is about all values of its types.
    const SAYS_ALL: [&str; 4] = ["type", "title", "description", "$comment"];
    // Who rules out some texts (`not`) is speaking of texts; who rules out all of them is not.
    let ruled_out = keywords.get("not").and_then(Value::as_object);
    let says_all = |schema: &Map<String, Value>| schema.keys().all(|name| SAYS_ALL.contains(&name.as_str()));
    let ruled_out = ruled_out.filter(|schema| how == Reading::Earlier || !says_all(schema));
    let ruled_out = ruled_out.and_then(|schema| schema.get("type")).and_then(declared);
    MEANT_FOR
        .iter()
        .filter(|(names, _)| names.iter().any(|name| keywords.contains_key(*name)))
        .fold(ruled_out.unwrap_or_default(), |types, (_, meant)| types.union(*meant))
}
