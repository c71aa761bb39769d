//! Reads JSON bodies: exactly, and as the members that a command takes.

use formledger_domain::{InexactNumber, UnreadableJson};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;

/// Reads a body exactly.
///
/// # Errors
/// 400 with line and column when it is no JSON that means the same to every reader, 422 when a number would be rounded.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    parse_telling(body, |pointer| pointer)
}

/// Reads a body whose member `data` holds a submission's data: what is wrong there is told by its place in the data, as everything that
/// is wrong with these is.
///
/// # Errors
/// As [`parse`].
pub fn parse_with_data(body: &[u8]) -> Result<Value, ApiError> {
    parse_telling(body, |pointer| match pointer.strip_prefix("/data") {
        Some(within) if within.is_empty() || within.starts_with('/') => within.to_owned(),
        _ => pointer,
    })
}

fn parse_telling(body: &[u8], place: impl FnOnce(String) -> String) -> Result<Value, ApiError> {
    let told = |error| match error {
        UnreadableJson::Inexact(number) => {
            UnreadableJson::Inexact(InexactNumber { pointer: place(number.pointer), ..number })
        }
        other => other,
    };
    Ok(formledger_domain::parse_exact(body).map_err(told)?)
}

/// Reads a body with the members of `T` and no others; a missing body is `T`'s default.
///
/// # Errors
/// As [`parse`], and 400 when the members are not those of `T`.
pub fn members<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() { Ok(T::default()) } else { required_members(body) }
}

/// Reads a body with the members of `T` and no others.
///
/// # Errors
/// As [`members`].
pub fn required_members<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let invalid = |detail| ApiError::Malformed { code: "body-invalid", detail };
    let body = parse_with_data(body)?;
    // A derived reader would take an array for the members in their order.
    if !body.is_object() {
        return Err(invalid("send an object".to_owned()));
    }
    serde_path_to_error::deserialize(body).map_err(|error| {
        // Integers are named as programs name them.
        let what = error.inner().to_string().replace("expected u64", "expected a whole number");
        let path = error.path().to_string();
        invalid(if path == "." { what } else { format!("`{path}`: {what}") })
    })
}

/// A body without members.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}
