//! In which order rules run: every rule after those whose results it reads, else as written.
//!
//! Called by [`super::compile`]. Goes by the names in the expressions; types and slots are not known yet.

use super::OUTCOMES;
use super::definition::{Definition, Kind, Problems};
use super::table;
use crate::syntax::parse;

/// The definitions in an order in which every rule comes after those whose results it reads, else as written.
pub(super) fn ordered(definitions: Vec<Definition>, problems: &mut Problems) -> Vec<Definition> {
    let reads: Vec<Vec<String>> = definitions.iter().map(names_read).collect();
    let writes: Vec<Option<String>> = definitions.iter().map(name_written).collect();
    let depends = |rule: usize, on: usize| {
        writes[on].as_ref().is_some_and(|written| reads[rule].iter().any(|read| overlap(read, written)))
    };
    let mut waiting: Vec<usize> = (0..definitions.len()).collect();
    let mut order = Vec::with_capacity(definitions.len());
    while let Some(at) = waiting.iter().position(|&rule| !waiting.iter().any(|&on| depends(rule, on))) {
        order.push(waiting.remove(at));
    }
    for &rule in &waiting {
        let circle: Vec<String> = waiting
            .iter()
            .filter(|&&on| depends(rule, on))
            .map(|&on| format!("`{}`", definitions[on].id))
            .collect();
        let message =
            format!("the rule waits for its own result: it reads what {} gives", circle.join(" and "));
        problems.error(format!("/rules/{}", definitions[rule].place), Some(&definitions[rule].id), message);
    }
    let mut slots: Vec<Option<Definition>> = definitions.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| slots[at].take()).collect()
}

/// Whether one dotted name is the other or lies inside it.
fn overlap(a: &str, b: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    inside(a, b) || inside(b, a)
}

/// The dotted names in a rule's expressions. What does not parse reads nothing; it is reported when it is compiled.
fn names_read(definition: &Definition) -> Vec<String> {
    let mut names = Vec::new();
    let mut collect = |source: &str| {
        if let Ok(tree) = parse(source) {
            tree.names(&mut names);
        }
    };
    match &definition.kind {
        Kind::Constraint { assert, .. } => collect(assert),
        Kind::Compute { value, .. } => collect(value),
        Kind::Decision { when, .. } => collect(when),
        Kind::Table(table) => {
            table.inputs.iter().for_each(|input| collect(input));
            table
                .rows
                .iter()
                .flat_map(|row| &row.when)
                .for_each(|cell| table::expressions(cell).for_each(&mut collect));
        }
    }
    names
}

/// The dotted name of what a rule makes.
fn name_written(definition: &Definition) -> Option<String> {
    match &definition.kind {
        Kind::Constraint { .. } => None,
        Kind::Compute { into, .. } => Some(path(into).join(".")),
        Kind::Decision { .. } | Kind::Table(_) => Some(format!("{OUTCOMES}.{}", definition.id)),
    }
}

/// The member names of a JSON Pointer.
pub(super) fn path(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}
