//! What changed between two JSON documents, field by field, as timelines tell it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::pointer;

/// The most differences told between two documents; the rest is left out.
pub const DIFFERENCES_MAX: usize = 500;

/// One field that is not the same in two documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldDifference {
    /// The field, as a JSON Pointer into both documents; empty for the whole document.
    pub pointer: String,
    /// What it was; `None` when it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub from: Option<Value>,
    /// What it is; `None` when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::payload::present")]
    pub to: Option<Value>,
}

/// The fields that differ, in the order of their names and places, at most [`DIFFERENCES_MAX`].
///
/// Objects are compared member by member and arrays item by item; what was added, removed or replaced whole is one difference.
pub fn differences(before: &Value, after: &Value) -> Vec<FieldDifference> {
    let mut found = Differences { list: Vec::new(), place: String::new() };
    found.compare(Some(before), Some(after));
    found.list
}

struct Differences {
    list: Vec<FieldDifference>,
    place: String,
}

impl Differences {
    fn compare(&mut self, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (before, after) if before == after => {}
            _ if self.list.len() >= DIFFERENCES_MAX => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => self.members(before, after),
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                for index in 0..before.len().max(after.len()) {
                    self.below(&index.to_string(), before.get(index), after.get(index));
                }
            }
            (before, after) => self.list.push(FieldDifference {
                pointer: self.place.clone(),
                from: before.cloned(),
                to: after.cloned(),
            }),
        }
    }

    fn members(&mut self, before: &Map<String, Value>, after: &Map<String, Value>) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            self.below(name, before.get(name), after.get(name));
        }
    }

    fn below(&mut self, token: &str, before: Option<&Value>, after: Option<&Value>) {
        let length = self.place.len();
        pointer::push(&mut self.place, token);
        self.compare(before, after);
        self.place.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_changed_field_is_told_once_in_order() {
        let before = json!({"b": 1, "a": {"x": 1, "y": 2}, "list": [1, 2], "gone": null});
        let after = json!({"b": 1, "a": {"x": 5, "y": 2}, "list": [1, 3, 4], "new": {"z": 1}});
        assert_eq!(
            serde_json::to_value(differences(&before, &after)).expect("writes"),
            json!([
                {"pointer": "/a/x", "from": 1, "to": 5},
                {"pointer": "/gone", "from": null},
                {"pointer": "/list/1", "from": 2, "to": 3},
                {"pointer": "/list/2", "to": 4},
                {"pointer": "/new", "to": {"z": 1}},
            ])
        );
    }

    #[test]
    fn differences_are_bounded() {
        let before = Value::Array(vec![json!(0); DIFFERENCES_MAX + 1]);
        let after = Value::Array(vec![json!(1); DIFFERENCES_MAX + 1]);
        assert_eq!(differences(&before, &after).len(), DIFFERENCES_MAX);
        assert_eq!(differences(&before, &before), []);
    }

    #[test]
    fn a_difference_to_null_survives_being_stored() {
        let told = differences(&json!({"a": 1}), &json!({"a": null}));
        let text = serde_json::to_string(&told).expect("writes");
        assert_eq!(serde_json::from_str::<Vec<FieldDifference>>(&text).expect("reads"), told);
    }
}
