//! The values that a schema lists for one place.

use std::collections::HashSet;

use serde_json::Value;

use super::types::Types;

/// Listed values, in their order.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) listed: Vec<Value>,
    /// Their types.
    pub(super) types: Types,
    /// The same values, once others were added: alternatives are added one after the other, and the list may become long.
    known: HashSet<Value>,
}

impl Options {
    pub(super) fn of(listed: Vec<Value>) -> Self {
        let types = listed.iter().fold(Types::NONE, |types, value| types.union(Types::of(value)));
        Self { listed, types, known: HashSet::new() }
    }

    /// Those of either.
    pub(super) fn join(mut self, other: Self) -> Self {
        // What may be null is written so at every field, and needs no set of all else.
        if self.known.is_empty() && other.listed == [Value::Null] {
            if !self.listed.contains(&Value::Null) {
                self.listed.push(Value::Null);
            }
            self.types = self.types.union(other.types);
            return self;
        }
        if self.known.is_empty() {
            self.known.extend(self.listed.iter().cloned());
        }
        for value in other.listed {
            if self.known.insert(value.clone()) {
                self.listed.push(value);
            }
        }
        self.types = self.types.union(other.types);
        self
    }

    /// Those of both.
    pub(super) fn meet(mut self, other: &Self) -> Self {
        let known: HashSet<&Value> = other.listed.iter().collect();
        self.listed.retain(|value| known.contains(value));
        Self::of(self.listed)
    }
}
