//! The static types of literal results, so that `outcomes.<rule>.<key>` is checked like a field.
//!
//! Called by [`super::compile`].

use std::sync::Arc;

use serde_json::Value as Json;

use super::{MATCHED, VALUE};
use crate::types::{Field, ObjectType, Type};

/// The type of one JSON literal.
pub(super) fn type_of(json: &Json) -> Type {
    match json {
        Json::Null => Type::Null,
        Json::Bool(_) => Type::Bool,
        Json::Number(number) if number.is_i64() => Type::Int,
        Json::Number(_) => Type::Double,
        Json::String(_) => Type::String,
        Json::Array(items) => Type::list(items.iter().map(type_of).reduce(meet).unwrap_or(Type::Dyn)),
        Json::Object(members) => {
            let fields = members.iter().map(|(name, value)| Field::required(name, type_of(value)));
            Type::Object(Arc::new(ObjectType::new(fields, false)))
        }
    }
}

/// The type of a value that is one or the other literal. Whole and broken numbers meet as double, because they bind from
/// JSON; objects meet member by member, members of one side becoming optional.
pub(super) fn meet(a: Type, b: Type) -> Type {
    match (&a, &b) {
        (Type::Int, Type::Double) | (Type::Double, Type::Int) => Type::Double,
        (Type::List(a), Type::List(b)) => Type::list(meet((**a).clone(), (**b).clone())),
        (Type::Object(a), Type::Object(b)) => Type::Object(Arc::new(meet_objects(a, b))),
        _ => a.join(&b).unwrap_or(Type::Dyn),
    }
}

fn meet_objects(a: &ObjectType, b: &ObjectType) -> ObjectType {
    let left = a.fields().iter().map(|field| match b.field(&field.name) {
        Some(other) => {
            let required = field.required && other.required;
            Field { required, ..Field::required(&field.name, meet(field.ty.clone(), other.ty.clone())) }
        }
        None => Field { required: false, ..field.clone() },
    });
    let right = b.fields().iter().filter(|field| a.field(&field.name).is_none());
    let right = right.map(|field| Field { required: false, ..field.clone() });
    ObjectType::new(left.chain(right), false)
}

/// The type of `outcomes.<rule>`: the keys of its result beside `matched`; a result that is no object is `value`.
/// `partial` when the rule may have no result at all.
pub(super) fn outcome_type(result: Type, partial: bool) -> Type {
    let matched = Field::required(MATCHED, Type::Bool);
    let object = match result {
        Type::Object(result) => {
            let keys = result
                .fields()
                .iter()
                .map(|field| Field { required: field.required && !partial, ..field.clone() });
            // A key called `matched` hides the flag, because it is what the author wrote.
            ObjectType::new([matched].into_iter().chain(keys), false)
        }
        other => {
            ObjectType::new([matched, Field { required: !partial, ..Field::required(VALUE, other) }], false)
        }
    };
    Type::Object(Arc::new(object))
}
