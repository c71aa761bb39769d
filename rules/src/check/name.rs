//! Messages about unknown names, with the nearest known one.
//!
//! Part of the checker.

use super::{Checker, overload};
use crate::overload::Style;

/// Edits that still count as a slip of the pen, per started four characters.
const EDITS_PER_FOUR: usize = 1;
/// Names longer than this, in bytes, are not compared: suggestions are a courtesy, not a search.
const NAME_BYTES_MAX: usize = 64;

impl Checker<'_, '_> {
    /// What to say about a top-level name that nothing declares.
    pub(super) fn unknown_name(&self, name: &str) -> String {
        let fields = self.layout.root().members.iter().chain(&self.layout.variables().members);
        let known = fields.map(|member| &*member.name).chain(self.scope.iter().map(|(local, _)| *local));
        match nearest(name, known) {
            Some(near) => format!("there is no field `{name}`; did you mean `{near}`?"),
            None if self.layout.is_open() => {
                format!("the form's schema does not describe `{name}`, so rules cannot read it")
            }
            None => format!("there is no field `{name}`"),
        }
    }

    /// What to say about a function or method that the table does not have.
    pub(super) fn unknown_function(&self, name: &str, method: bool) -> String {
        let what = if method { "method" } else { "function" };
        let style = if method { Style::Method } else { Style::Function };
        if !overload::rows(name, !method).is_empty() {
            let right = if method { format!("{name}(…)") } else { format!("….{name}()") };
            return format!("there is no {what} `{name}`; it is written `{right}`");
        }
        let macros = super::macros::USAGE;
        if let Some((_, forms)) = macros.iter().find(|(known, _)| *known == name) {
            let usage = forms.join("` or `");
            return format!("`{name}` is written `{usage}`, with a plain name where that says one");
        }
        let macros = macros.iter().map(|(name, _)| *name);
        let mut known: Vec<&str> = overload::names(style).chain(macros).collect();
        if !method {
            known.extend(self.layout.function_names());
        }
        match nearest(name, known.into_iter()) {
            Some(near) => format!("there is no {what} `{name}`; did you mean `{near}`?"),
            None => format!("there is no {what} `{name}`"),
        }
    }
}

/// What to say about a member that an object does not have.
pub(super) fn unknown_member<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("there is no member `{name}`; did you mean `{near}`?"),
        None => format!("there is no member `{name}`"),
    }
}

/// The known name with the fewest edits, when they are few for its length.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = EDITS_PER_FOUR * name.len().div_ceil(4);
    known
        .filter(|other| other.len().max(name.len()) <= NAME_BYTES_MAX)
        .map(|other| (distance(name, other), other))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, other)| other)
}

/// Levenshtein distance in bytes, ignoring ASCII case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
