//! Putting the values of several rows together under `collect`.
//!
//! Part of [`super::Table`].

use std::cmp::Ordering;

use super::super::definition::Collect;
use crate::error::{ErrorKind, EvalError};
use crate::types::Type;
use crate::value::{Value, compare};

/// Why a row's result cannot be collected so, if it cannot.
pub(super) fn refusal(collect: Collect, ty: &Type) -> Option<String> {
    let fits = |ty: &Type| match collect {
        Collect::List | Collect::Count => true,
        Collect::Sum => matches!(ty, Type::Int | Type::Double),
        Collect::Min | Collect::Max => matches!(ty, Type::Int | Type::Double | Type::String),
    };
    let misfit = match ty {
        Type::Object(object) => object.fields().iter().map(|field| &field.ty).find(|ty| !fits(ty)),
        scalar => Some(scalar).filter(|ty| !fits(ty)),
    };
    misfit.map(|ty| format!("`collect` with this `aggregate` needs numbers; this is {ty}"))
}

/// The values of one key, put together. There is at least one.
pub(super) fn aggregate<'a>(collect: Collect, values: Vec<Value<'a>>) -> Result<Value<'a>, EvalError> {
    match collect {
        Collect::List => Ok(Value::list(values)),
        Collect::Count => Ok(Value::Int(values.len() as i64)),
        Collect::Min => Ok(extreme(values, Ordering::Less)),
        Collect::Max => Ok(extreme(values, Ordering::Greater)),
        Collect::Sum => values.into_iter().try_fold(Value::Int(0), add),
    }
}

fn extreme<'a>(values: Vec<Value<'a>>, wanted: Ordering) -> Value<'a> {
    let best = values
        .into_iter()
        .reduce(|best, next| if compare(&next, &best) == Some(wanted) { next } else { best });
    best.unwrap_or(Value::Null)
}

/// Whole numbers stay whole; a broken one makes the sum a double.
fn add<'a>(a: Value<'a>, b: Value<'a>) -> Result<Value<'a>, EvalError> {
    match (&a, &b) {
        (Value::Int(a), Value::Int(b)) => a
            .checked_add(*b)
            .map(Value::Int)
            .ok_or_else(|| EvalError::new(ErrorKind::Overflow, "the sum does not fit 64 bits")),
        (Value::Int(a), Value::Double(b)) | (Value::Double(b), Value::Int(a)) => {
            Ok(Value::Double(*a as f64 + b))
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        _ => Err(EvalError::new(ErrorKind::NoOverload, "a sum needs numbers")),
    }
}
