//! Lists and maps: owned by an evaluation, or borrowed from the submission's JSON and converted element by element.
//!
//! Part of [`super::Value`].

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Text, Value, from_json, key_order};
use crate::error::{ErrorKind, EvalError};
use crate::types::Type;

/// A list: made by evaluation, or a JSON array whose elements are converted when they are read.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Made by evaluation.
    Owned(Arc<Vec<Value<'a>>>),
    /// A JSON array and the type of its elements.
    Json(&'a Vec<Json>, &'a Type),
}

impl<'a> List<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Owned(items) => items.len(),
            List::Json(items, _) => items.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, `None` past the end.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            List::Owned(items) => items.get(index).cloned().map(Ok),
            List::Json(items, ty) => items.get(index).map(|item| from_json(item, ty)),
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, EvalError>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// A map: made by evaluation, or a JSON object whose members are converted when they are read.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Entries ordered by key (`key_order`), so that lookups are binary searches and iteration is deterministic.
    Owned(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// A JSON object and its type: [`Type::Object`], [`Type::Map`] or [`Type::Dyn`].
    Json(&'a serde_json::Map<String, Json>, &'a Type),
}

/// The type of what an object's JSON does not name in its schema.
static DYN: Type = Type::Dyn;

impl<'a> Map<'a> {
    /// A map of these entries.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when a key is neither bool, int, uint nor string, or occurs twice.
    pub fn from_entries(mut entries: Vec<(Value<'a>, Value<'a>)>) -> Result<Map<'a>, EvalError> {
        if let Some((key, _)) = entries.iter().find(|(key, _)| !key.is_key()) {
            let message = format!("a map key must be bool, int, uint or string, not {}", key.kind());
            return Err(EvalError::new(ErrorKind::InvalidArgument, message));
        }
        entries.sort_by(|(a, _), (b, _)| key_order(a, b));
        if let Some(pair) = entries.windows(2).find(|pair| key_order(&pair[0].0, &pair[1].0).is_eq()) {
            let key = pair[0].0.to_json().map_or_else(|error| error.to_string(), |json| json.to_string());
            let message = format!("the map key `{key}` occurs twice");
            return Err(EvalError::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Map::Owned(Arc::new(entries)))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Owned(entries) => entries.len(),
            Map::Json(members, _) => members.len(),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `key`, `None` when there is none. A double with an integral value finds the integer key.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn get(&self, key: &Value<'_>) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Owned(entries) => {
                let at = entries.binary_search_by(|(entry, _)| key_order(entry, key)).ok()?;
                Some(Ok(entries[at].1.clone()))
            }
            Map::Json(..) => match key {
                Value::String(name) => self.member(name),
                _ => None,
            },
        }
    }

    /// The value at the string key `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn member(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Owned(_) => self.get(&Value::String(Text::Borrowed(name))),
            Map::Json(members, ty) => {
                let json = members.get(name)?;
                Some(from_json(json, member_type(ty, name)))
            }
        }
    }

    /// As [`Map::member`], `None` too where the submission says null: for a field that is the same as not being there. In a map
    /// that a rule made, null is a value like any other, as CEL has it.
    ///
    /// # Errors
    /// [`ErrorKind::Misfit`] when the JSON there does not fit the schema's type.
    pub fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        match self {
            Map::Json(members, _) if members.get(name).is_some_and(Json::is_null) => None,
            _ => self.member(name),
        }
    }

    /// The keys in order.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Owned(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Map::Json(members, _) => members.keys().map(|key| Value::from(key.as_str())).collect(),
        }
    }

    /// The entries in order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Value<'a>, Value<'a>), EvalError>> {
        let map = self.clone();
        self.keys().into_iter().filter_map(move |key| {
            let value = map.get(&key)?;
            Some(value.map(|value| (key, value)))
        })
    }
}

/// The type of the member `name` of a JSON object typed `ty`.
pub(super) fn member_type<'a>(ty: &'a Type, name: &str) -> &'a Type {
    match ty {
        Type::Object(object) => object.field(name).map_or(&DYN, |field| &field.ty),
        Type::Map(_, value) => value,
        _ => &DYN,
    }
}
