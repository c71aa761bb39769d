//! Cells: their text cut into alternatives, and those compiled as tests on the input's slot.
//!
//! Part of [`super::Table`].

use std::ops::Range;

use super::super::compile::Compiler;
use super::super::definition::Definition;
use super::Test;
use crate::layout::Slot;
use crate::program::Program;
use crate::types::Type;
use crate::value::{List, Value};

/// Where a cell is, and what its input holds.
pub(super) struct Place<'d> {
    pub definition: &'d Definition,
    pub row: usize,
    pub column: usize,
    pub input: &'d Type,
    pub slot: Slot,
}

/// What a cell admits, as far as that is known before there is a submission.
#[derive(Debug)]
pub(super) enum Admits {
    /// `-`: everything, a missing input too.
    Anything,
    /// One of the alternatives, each a conjunction of bounds; `None` is one that only a submission can decide.
    Tests { negated: bool, alternatives: Vec<Option<Vec<Bound>>> },
}

/// A comparison of the input with a constant.
#[derive(Debug)]
pub(super) struct Bound {
    pub operator: &'static str,
    pub value: Value<'static>,
}

impl Admits {
    /// All bounds in the cell.
    pub fn bounds(&self) -> impl Iterator<Item = &Bound> {
        let alternatives = match self {
            Admits::Anything => &[][..],
            Admits::Tests { alternatives, .. } => alternatives,
        };
        alternatives.iter().flatten().flatten()
    }
}

/// The hidden variable that holds an input. No name in a rule can be spelled like it by accident.
pub(super) fn variable(rule: usize, column: usize) -> String {
    format!("@{rule}.{column}")
}

/// A cell cut into parts, as ranges of its text.
pub(crate) struct Cut {
    pub negated: bool,
    pub alternatives: Vec<Alternative>,
}

pub(crate) enum Alternative {
    /// An operator and what it compares with.
    Compare(&'static str, Range<usize>),
    Between {
        low: (&'static str, Range<usize>),
        high: (&'static str, Range<usize>),
    },
    /// A value to equal, or a condition.
    Plain(Range<usize>),
}

/// Compiles a cell, without a test for `-`; `None` when there was a problem.
pub(super) fn compile(
    compiler: &mut Compiler,
    place: &Place<'_>,
    text: &str,
) -> Option<(Option<Test>, Admits)> {
    let Some(cut) = cut(text) else { return Some((None, Admits::Anything)) };
    let mut alternatives = Vec::with_capacity(cut.alternatives.len());
    let mut admitted = Vec::with_capacity(cut.alternatives.len());
    for alternative in cut.alternatives {
        let operators: &[&'static str] = match &alternative {
            Alternative::Compare(operator, _) => &[*operator],
            Alternative::Between { low, high } => &[low.0, high.0],
            Alternative::Plain(_) => &["=="],
        };
        let programs = match alternative {
            Alternative::Compare(operator, range) => {
                Some(vec![compare(compiler, place, text, operator, range)?])
            }
            Alternative::Between { low, high } => {
                let low = compare(compiler, place, text, low.0, low.1);
                let high = compare(compiler, place, text, high.0, high.1);
                Some(vec![low?, high?])
            }
            Alternative::Plain(range) => plain(compiler, place, text, range).map(|program| vec![program]),
        };
        admitted.extend(programs.iter().flat_map(|programs| bounds(programs, operators, place.slot)));
        alternatives.push(programs);
    }
    let alternatives = alternatives.into_iter().collect::<Option<_>>()?;
    let admits = Admits::Tests { negated: cut.negated, alternatives: admitted };
    Some((Some(Test { negated: cut.negated, alternatives }), admits))
}

/// What an alternative compares its input with: one conjunction, or one for each value of `in`.
fn bounds(programs: &[Program], operators: &[&'static str], slot: Slot) -> Vec<Option<Vec<Bound>>> {
    let bound = |(program, operator): (&Program, &&'static str)| {
        program.compared(slot).map(|value| Bound { operator, value })
    };
    match (operators, programs) {
        (["in"], [program]) => match program.compared(slot) {
            Some(Value::List(List::Owned(items))) => {
                items.iter().map(|value| Some(vec![Bound { operator: "==", value: value.clone() }])).collect()
            }
            _ => vec![None],
        },
        _ => vec![programs.iter().zip(operators).map(bound).collect()],
    }
}

/// The test `input operator text`.
fn compare(
    compiler: &mut Compiler,
    place: &Place<'_>,
    text: &str,
    operator: &str,
    range: Range<usize>,
) -> Option<Program> {
    let prefix = format!("`{}` {operator} (", variable(place.definition.place, place.column));
    let source = format!("{prefix}{})", &text[range.clone()]);
    let member = format!("rows/{}/when/{}", place.row, place.column);
    compiler.program(place.definition, &member, &source, None, (prefix.len(), range.start), None)
}

/// A value to equal, unless it is a condition and the input is no truth value.
fn plain(compiler: &mut Compiler, place: &Place<'_>, text: &str, range: Range<usize>) -> Option<Program> {
    let source = &text[range.clone()];
    let condition = !matches!(source, "true" | "false")
        && *place.input != Type::Bool
        && Program::compile(source, &compiler.layout)
            .is_ok_and(|program| *program.result_type() == Type::Bool);
    if condition {
        let member = format!("rows/{}/when/{}", place.row, place.column);
        return compiler.program(place.definition, &member, source, None, (0, range.start), None);
    }
    compare(compiler, place, text, "==", range)
}

/// The expressions in a cell's text, for finding what it reads.
pub(crate) fn expressions(text: &str) -> impl Iterator<Item = &str> {
    ranges(text).into_iter().map(|range| &text[range])
}

/// Where they are, in the order of the text.
pub(crate) fn ranges(text: &str) -> Vec<Range<usize>> {
    let alternatives = cut(text).map_or_else(Vec::new, |cut| cut.alternatives);
    let ranges = alternatives.into_iter().flat_map(|alternative| match alternative {
        Alternative::Compare(_, range) | Alternative::Plain(range) => vec![range],
        Alternative::Between { low, high } => vec![low.1, high.1],
    });
    ranges.collect()
}

/// Cuts a cell; `None` for `-` and for a cell that is blank.
pub(crate) fn cut(text: &str) -> Option<Cut> {
    let whole = trimmed(text, 0..text.len());
    if matches!(&text[whole.clone()], "" | "-") {
        return None;
    }
    let inside = text[whole.clone()].strip_prefix("not(").and_then(|rest| rest.strip_suffix(')'));
    // `not(a) || (b)` also starts and ends like that; only brackets that belong together count.
    let negated = inside.filter(|inside| closes_at(&format!("({inside})"), 0) == Some(inside.len() + 1));
    let body = if negated.is_some() { whole.start + 4..whole.end - 1 } else { whole };
    let parts = split(text, body).into_iter().map(|range| alternative(text, range)).collect();
    Some(Cut { negated: negated.is_some(), alternatives: parts })
}

fn alternative(text: &str, range: Range<usize>) -> Alternative {
    let part = &text[range.clone()];
    for (written, operator) in
        [("<=", "<="), (">=", ">="), ("==", "=="), ("!=", "!="), ("<", "<"), (">", ">"), ("=", "==")]
    {
        if part.starts_with(written) {
            return Alternative::Compare(operator, trimmed(text, range.start + written.len()..range.end));
        }
    }
    if part.starts_with("in ") || part.starts_with("in[") {
        return Alternative::Compare("in", trimmed(text, range.start + 2..range.end));
    }
    between(text, range.clone()).unwrap_or(Alternative::Plain(range))
}

/// A range `[a..b]`, with round or outward brackets where an end is left out.
fn between(text: &str, range: Range<usize>) -> Option<Alternative> {
    let part = &text[range.clone()];
    if part.len() < 2 {
        return None;
    }
    let low = match part.as_bytes().first()? {
        b'[' => ">=",
        b'(' | b']' => ">",
        _ => return None,
    };
    let high = match part.as_bytes().last()? {
        b']' => "<=",
        b')' | b'[' => "<",
        _ => return None,
    };
    let body = range.start + 1..range.end - 1;
    let dots = places(text, body.clone(), |rest| rest.starts_with("..")).first().copied()?;
    let (low_range, high_range) = (trimmed(text, body.start..dots), trimmed(text, dots + 2..body.end));
    Some(Alternative::Between { low: (low, low_range), high: (high, high_range) })
}

/// The parts between commas that are outside brackets and strings.
fn split(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = range.start;
    for comma in places(text, range.clone(), |rest| rest.starts_with(',')) {
        parts.push(trimmed(text, start..comma));
        start = comma + 1;
    }
    parts.push(trimmed(text, start..range.end));
    parts
}

/// Where `found` holds in a part of the text, outside brackets and strings. A range's own brackets need not match, so a
/// closing bracket below the ground level counts as nothing.
fn places(text: &str, range: Range<usize>, found: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut places = Vec::new();
    let (mut depth, mut quote) = (0usize, None);
    let mut characters = text[range.clone()].char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[' | '(' | '{') => depth += 1,
            (None, ']' | ')' | '}') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 && found(&text[range.start + at..range.end]) => {
                places.push(range.start + at)
            }
            (None, _) => {}
        }
    }
    places
}

/// Where the bracket at `open` is closed.
fn closes_at(text: &str, open: usize) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    let mut characters = text[open..].char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(mark), _) if character == mark => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[' | '(' | '{') => depth += 1,
            (None, ']' | ')' | '}') if depth <= 1 => return Some(open + at),
            (None, ']' | ')' | '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// The range without white space at its ends.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start.max(range.start + part.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        expressions(text).collect()
    }

    #[test]
    fn a_cell_is_cut_outside_strings_and_brackets_only() {
        assert_eq!(parts(" - "), Vec::<&str>::new());
        assert_eq!(parts("'a,b', [1, 2].size(), < 3"), ["'a,b'", "[1, 2].size()", "3"]);
        assert_eq!(parts("[1..10), (0.5 .. 1.5]"), ["1", "10", "0.5", "1.5"]);
        assert_eq!(parts("not('DE', 'FR')"), ["'DE'", "'FR'"]);
        assert_eq!(parts("not(a) || (b)"), ["not(a) || (b)"]);
    }

    #[test]
    fn malformed_cells_do_not_panic() {
        for text in ["not(", "[..]", "[", ")", "'", "'\\", ",,", "<", "in", "not()", "é..é", "[é..é)"] {
            let _ = parts(text);
        }
    }
}
