//! Whether there can be something at a pointer into the data: what a constraint's `at` is checked against.
//!
//! Called by [`super::compile`], when all computed fields have their slots.

use super::order::path;
use crate::layout::{Branch, Layout};
use crate::types::Type;

/// The token that stands for every item of a list, as forms are described.
const ANY_ITEM: &str = "*";

/// Why neither the schema nor a compute has anything at `pointer`; `None` when one has, or where the schema does not say.
pub(super) fn nothing_at(layout: &Layout, pointer: &str) -> Option<String> {
    let path = path(pointer);
    let (missing, near) = in_branch(layout.root(), layout.is_open(), &path)?;
    let advice = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Some(format!("neither the schema nor a compute has a field `{missing}` for `{pointer}`{advice}"))
}

/// The first name on a path that is nowhere, and a known one like it.
type Missing = Option<(String, Option<String>)>;

fn in_branch(branch: &Branch, open: bool, path: &[String]) -> Missing {
    let (name, rest) = path.split_first()?;
    let Some(member) = branch.member(name) else {
        return unknown(name, open, branch.members.iter().map(|member| &*member.name));
    };
    match (&member.branch, member.ty.non_null()) {
        (Some(branch), Type::Object(object)) => in_branch(branch, object.is_open(), rest),
        (_, ty) => in_type(ty, rest),
    }
}

fn in_type(ty: &Type, path: &[String]) -> Missing {
    let (name, rest) = path.split_first()?;
    match ty.non_null() {
        Type::Object(object) => match object.field(name) {
            Some(field) => in_type(&field.ty, rest),
            None => unknown(name, object.is_open(), object.fields().iter().map(|field| &*field.name)),
        },
        Type::List(item) if name == ANY_ITEM || name.parse::<usize>().is_ok() => in_type(item, rest),
        Type::Map(_, value) => in_type(value, rest),
        Type::Dyn => None,
        _ => Some((name.clone(), None)),
    }
}

/// An object of which the schema says nothing may have anything in it.
fn unknown<'n>(name: &str, open: bool, known: impl Iterator<Item = &'n str> + Clone) -> Missing {
    let silent = open && known.clone().next().is_none();
    (!silent).then(|| (name.to_owned(), crate::check::nearest(name, known).map(str::to_owned)))
}
