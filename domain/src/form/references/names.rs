//! References as they were read for the tree of fields before they were resolved as URIs: by the last words of names, the first schema of
//! a name for all of them. Versions whose rules fit only the types that this gave go on with it; nothing else calls it.

use std::collections::HashMap;

use serde_json::Value;

use super::{Naming, Role, percent_decoded};

/// The schemas of one document by their names.
pub(in crate::form) struct Names<'s> {
    root: &'s Value,
    naming: Naming,
    /// By `$id` or `id`, and by `#` and `$anchor`: the first in the document.
    named: HashMap<&'s str, &'s Value>,
}

impl<'s> Names<'s> {
    /// Reads all names in `root`. Nesting is bounded by the door.
    pub(super) fn of(root: &'s Value, naming: Naming) -> Self {
        let mut names = Self { root, naming, named: HashMap::new() };
        names.collect(root, Role::Schema);
        names
    }

    /// Whether a schema names itself as a resource.
    pub(in crate::form) fn is_resource(&self, schema: &Value) -> bool {
        self.naming.own_name(schema).is_some_and(|id| !id.starts_with('#'))
    }

    /// What `reference` meant inside the resource `base`, and the resource in which the references of that were read.
    pub(in crate::form) fn resolve(
        &self,
        reference: &str,
        base: &'s Value,
    ) -> Option<(&'s Value, &'s Value)> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = match document {
            "" => base,
            name => *self.named.get(name)?,
        };
        let schema = match fragment {
            "" => base,
            path if path.starts_with('/') => {
                let path = percent_decoded(path);
                base.pointer(&path).or_else(|| self.root.pointer(&path))?
            }
            anchor => self.named.get(anchor)?,
        };
        Some((schema, base))
    }

    fn collect(&mut self, value: &'s Value, role: Role) {
        match value {
            Value::Object(members) => {
                if role == Role::Schema {
                    self.collect_names(value);
                }
                members.iter().for_each(|(name, member)| self.collect(member, role.of_member(name, member)));
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, role)),
            _ => {}
        }
    }

    fn collect_names(&mut self, schema: &'s Value) {
        let anchors = ["$anchor", "$dynamicAnchor"].iter().filter_map(|name| schema.get(*name)?.as_str());
        for name in self.naming.own_name(schema).into_iter().chain(anchors) {
            let name = name.trim_start_matches('#').trim_end_matches('#');
            self.named.entry(name).or_insert(schema);
        }
    }
}
