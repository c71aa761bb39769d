//! Expressions of FEEL (DMN) and of ZEN (GoRules) as expressions of our language, and back where both mean the same.
//!
//! Part of [`super`]. A translation of words, not an interpreter: numbers, texts, truth values, dates, comparisons, ranges, lists
//! and logic carry over; whatever does not parse afterwards, or would mean something else (`meaning`), is refused with its text.

use serde_json::Value as Json;

use super::ExchangeError;
use super::meaning::{INPUT, carried};
use crate::ruleset::{Alternative, cell_ranges, cut};
use crate::syntax::{Expr, ExprKind, Literal, parse};

/// The language that a text comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Of DMN.
    Feel,
    /// Of GoRules.
    Zen,
}

/// The text of an input's expression.
pub(super) fn input(text: &str, dialect: Dialect) -> Result<String, ExchangeError> {
    let text = text.trim();
    let spaced = text.contains(' ')
        && text.split('.').all(|part| {
            !part.trim().is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '_'))
        });
    if spaced && !text.split(' ').any(|word| matches!(word, "and" | "or" | "not" | "in" | "if")) {
        // FEEL names may hold spaces; ours are quoted then.
        let parts = text.split('.').map(|part| match part.trim() {
            plain if plain.contains(' ') => format!("`{plain}`"),
            plain => plain.to_owned(),
        });
        return Ok(parts.collect::<Vec<_>>().join("."));
    }
    carried(&words(text, false), dialect, None).map_err(|error| refused(text, &error))
}

/// The text of a cell that tests `input`; without one each cell is a condition of its own.
pub(super) fn cell(text: &str, dialect: Dialect, input: Option<&str>) -> Result<String, ExchangeError> {
    let text = text.trim();
    if matches!(text, "" | "-") {
        return Ok("-".to_owned());
    }
    let negated = |rest: &str| format!("not({})", rest.trim().trim_start_matches('[').trim_end_matches(']'));
    let cell = match text.strip_prefix("not in ") {
        Some(list) if list.trim().starts_with('[') && !list.contains("..") => negated(list),
        _ => text.to_owned(),
    };
    let mut cell = words(&cell, true);
    // From the last to the first, so that the places of those before stay right.
    for range in cell_ranges(&cell).into_iter().rev() {
        let part = carried(&cell[range.clone()], dialect, input).map_err(|error| refused(text, &error))?;
        cell.replace_range(range, &part);
    }
    Ok(cell)
}

fn refused(text: &str, why: &ExchangeError) -> ExchangeError {
    ExchangeError::new(format!("`{text}` has no counterpart here: {why}"))
}

/// The value of an output's text; `None` when there is no text.
pub(super) fn output(text: &str) -> Result<Option<Json>, ExchangeError> {
    let text = text.trim();
    if matches!(text, "" | "-") {
        return Ok(None);
    }
    let refused = || {
        ExchangeError::new(format!("the output `{text}` is not a literal; a `compute` rule can compute it"))
    };
    let tree = words(text, false);
    let tree = parse(&tree).map_err(|_| refused())?;
    literal(&tree).map(Some).ok_or_else(refused)
}

fn literal(expr: &Expr<'_>) -> Option<Json> {
    Some(match &expr.kind {
        ExprKind::Literal(Literal::Null) => Json::Null,
        ExprKind::Literal(Literal::Bool(truth)) => Json::Bool(*truth),
        ExprKind::Literal(Literal::Int(int)) => (*int).into(),
        ExprKind::Literal(Literal::Double(double)) => serde_json::Number::from_f64(*double)?.into(),
        ExprKind::Literal(Literal::String(text)) => Json::String(text.to_string()),
        ExprKind::List(items) => items.iter().map(|item| literal(&item.value)).collect::<Option<_>>()?,
        ExprKind::Map(entries) => {
            let member = |entry: &crate::syntax::Entry<'_>| {
                let name = match &entry.key.kind {
                    ExprKind::Literal(Literal::String(text)) => text.to_string(),
                    ExprKind::Ident { name, .. } => (*name).to_owned(),
                    _ => return None,
                };
                Some((name, literal(&entry.value)?))
            };
            Json::Object(entries.iter().map(member).collect::<Option<_>>()?)
        }
        ExprKind::Call { target: None, name: "date" | "timestamp", args, .. } => match args.as_slice() {
            [day] => literal(day)?,
            _ => return None,
        },
        _ => return None,
    })
}

/// Rewrites words outside of texts: `and`, `or`, `=`, `date and time(…)`, ISO durations, and in a cell what stands for the input itself.
fn words(text: &str, in_cell: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' | '\'' => quoted(rest),
            _ if first.is_alphabetic() || first == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(taken);
        rest = after;
        match token {
            "and" => out.push_str("&&"),
            "or" => out.push_str("||"),
            "not" if !out.trim().is_empty() => out.push('!'),
            "date" if after.starts_with(" and time(") => {
                out.push_str("timestamp");
                rest = &after[" and time".len()..];
            }
            "?" | "$" if in_cell && !out.ends_with('.') => out.push_str(&format!("`{INPUT}`")),
            "=" if !out.ends_with(['<', '>', '=', '!']) && !rest.starts_with('=') => out.push_str("=="),
            text if text.starts_with('"') && out.ends_with("duration(") => {
                out.push_str(&iso_duration(text).unwrap_or_else(|| text.to_owned()));
            }
            other => out.push_str(other),
        }
    }
    out
}

/// The length of a quoted text at the start of `rest`.
fn quoted(rest: &str) -> usize {
    let mut characters = rest.char_indices();
    let Some((_, quote)) = characters.next() else { return 0 };
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            _ if character == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// `"P1DT2H"` as `"93600s"`. Years and months have no length.
fn iso_duration(quoted: &str) -> Option<String> {
    let text = quoted.trim_matches('"');
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) => (days, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let mut seconds: u64 = match days.strip_suffix('D') {
        Some(days) => days.parse::<u64>().ok()?.checked_mul(86_400)?,
        None if days.is_empty() => 0,
        None => return None,
    };
    let mut rest = time;
    for (unit, length) in [('H', 3_600), ('M', 60), ('S', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(length)?)?;
            rest = after;
        }
    }
    rest.is_empty().then(|| format!("\"{sign}{seconds}s\""))
}

/// A cell in a form that FEEL and ZEN read alike; `None` when only our language says it.
pub(super) fn plain_cell(text: &str) -> Option<String> {
    let Some(cut) = cut(text) else { return Some("-".to_owned()) };
    let mut parts = Vec::with_capacity(cut.alternatives.len());
    let mut differs = false;
    for alternative in &cut.alternatives {
        match alternative {
            Alternative::Compare("in", range) => {
                let list = parse(&text[range.clone()]).ok()?;
                let ExprKind::List(items) = &list.kind else { return None };
                for item in items {
                    parts.push(constant(&text[range.clone()][item.value.span.range()])?);
                }
            }
            Alternative::Compare("==", range) => parts.push(constant(&text[range.clone()])?),
            Alternative::Compare("!=", range) => {
                differs = true;
                parts.push(constant(&text[range.clone()])?);
            }
            Alternative::Compare(operator, range) => {
                parts.push(format!("{operator} {}", constant(&text[range.clone()])?));
            }
            Alternative::Between { low, high } => {
                let open = if low.0 == ">=" { '[' } else { '(' };
                let close = if high.0 == "<=" { ']' } else { ')' };
                let (from, to) = (constant(&text[low.1.clone()])?, constant(&text[high.1.clone()])?);
                parts.push(format!("{open}{from}..{to}{close}"));
            }
            Alternative::Plain(range) => parts.push(constant(&text[range.clone()])?),
        }
    }
    match (cut.negated, differs, parts.len()) {
        (false, false, _) => Some(parts.join(", ")),
        (true, false, _) | (false, true, 1) => Some(format!("not({})", parts.join(", "))),
        _ => None,
    }
}

/// A literal as all three languages write it.
fn constant(text: &str) -> Option<String> {
    let tree = parse(text).ok()?;
    match &tree.kind {
        ExprKind::Literal(Literal::String(_) | Literal::Bool(_) | Literal::Int(_) | Literal::Double(_)) => {
            Some(value(&literal(&tree)?))
        }
        ExprKind::Call { target: None, name: "date", args, .. } if args.len() == 1 => {
            Some(format!("date({})", value(&literal(&args[0])?)))
        }
        _ => None,
    }
}

/// A JSON value as a literal of FEEL and ZEN.
pub(super) fn value(json: &Json) -> String {
    json.to_string()
}

/// Whether an input is a plain name, which every engine reads.
pub(super) fn is_name(text: &str) -> bool {
    parse(text).is_ok_and(|tree| tree.qualified_name().is_some()) && !text.contains('`')
}
