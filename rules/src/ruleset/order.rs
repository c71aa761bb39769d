//! In which order rules run: every rule after those whose results it reads, else as written.
//!
//! Called by [`super::compile`]. Goes by the names in the expressions; types and slots are not known yet.

use super::OUTCOMES;
use super::definition::{Definition, Kind, Problems};
use super::table;
use crate::syntax::{Parsed, parse};

/// The definitions in an order in which every rule comes after those whose results it reads, else as written, each with its
/// expression as it was parsed for that. The expressions of tables are parsed again, cell by cell.
pub(super) fn ordered<'d>(
    definitions: &'d [Definition],
    problems: &mut Problems,
) -> Vec<(&'d Definition, Option<Parsed<'d>>)> {
    let mut trees: Vec<Option<Parsed<'d>>> = definitions.iter().map(tree).collect();
    // What the rules make that have not found their place yet.
    let written = |(at, definition)| Some((at, name_written(definition)?));
    let mut making: Vec<(usize, String)> = definitions.iter().enumerate().filter_map(written).collect();
    // Where nothing is made nobody waits, and the names are not asked for.
    let reading = if making.is_empty() { &[] } else { definitions };
    let reads: Vec<Vec<String>> =
        reading.iter().zip(&trees).map(|(definition, tree)| names_read(definition, tree.as_ref())).collect();
    let depends = |rule: usize, written: &str| reads[rule].iter().any(|read| overlap(read, written));
    let mut waiting: Vec<usize> = (0..definitions.len()).collect();
    let mut order = Vec::with_capacity(definitions.len());
    while let Some(at) =
        waiting.iter().position(|&rule| !making.iter().any(|(_, written)| depends(rule, written)))
    {
        let rule = waiting.remove(at);
        making.retain(|(maker, _)| *maker != rule);
        order.push((&definitions[rule], trees[rule].take()));
    }
    for &rule in &waiting {
        let circle: Vec<String> = making
            .iter()
            .filter(|(_, written)| depends(rule, written))
            .map(|(on, _)| format!("`{}`", definitions[*on].id))
            .collect();
        let message =
            format!("the rule waits for its own result: it reads what {} gives", circle.join(" and "));
        problems.error(format!("/rules/{}", definitions[rule].place), Some(&definitions[rule].id), message);
    }
    order
}

/// The expression of a rule that has one.
fn tree(definition: &Definition) -> Option<Parsed<'_>> {
    match &definition.kind {
        Kind::Constraint { assert: source, .. }
        | Kind::Compute { value: source, .. }
        | Kind::Decision { when: source, .. } => Some(parse(source)),
        Kind::Table(_) => None,
    }
}

/// Whether one dotted name is the other or lies inside it.
fn overlap(a: &str, b: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    inside(a, b) || inside(b, a)
}

/// The dotted names in a rule's expressions. What does not parse reads nothing; it is reported when it is compiled.
fn names_read(definition: &Definition, tree: Option<&Parsed<'_>>) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(Ok(tree)) = tree {
        tree.names(&mut names);
    }
    if let Kind::Table(table) = &definition.kind {
        let cells = table.rows.iter().flat_map(|row| &row.when).flat_map(|cell| table::expressions(cell));
        for source in table.inputs.iter().map(String::as_str).chain(cells) {
            if let Ok(tree) = parse(source) {
                tree.names(&mut names);
            }
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
