//! What parses in our language as it does in another engine's, and yet means something else there: rewritten, or refused.
//!
//! Part of [`super`]; `feel` calls it with texts whose words are ours already. Whatever is not known to mean the same is refused here,
//! because the checker cannot: it sees a good expression.

use std::ops::Range;

use super::ExchangeError;
use super::feel::Dialect;
use crate::syntax::{Expr, ExprKind, Literal, parse};

/// The name that stands for a cell's input until [`carried`] puts the input there. It cannot be written in either language.
pub(super) const INPUT: &str = "?";

/// Functions that mean the same: what FEEL and we call dates, points in time and durations.
const FUNCTIONS: [&str; 3] = ["date", "timestamp", "duration"];

/// `source` with the meaning that it had in `dialect`; [`INPUT`] becomes `input`.
pub(super) fn carried(source: &str, dialect: Dialect, input: Option<&str>) -> Result<String, ExchangeError> {
    let tree = parse(source).map_err(|_| ExchangeError::new("it cannot be read"))?;
    let mut edits = Vec::new();
    visit(&tree, dialect, input, &mut edits)?;
    edits.sort_by_key(|(range, _)| range.start);
    let mut carried = source.to_owned();
    for (range, text) in edits.into_iter().rev() {
        carried.replace_range(range, &text);
    }
    Ok(carried)
}

/// Collects what is written otherwise here, by its place in the source.
fn visit(
    expr: &Expr<'_>,
    dialect: Dialect,
    input: Option<&str>,
    edits: &mut Vec<(Range<usize>, String)>,
) -> Result<(), ExchangeError> {
    match &expr.kind {
        ExprKind::Ident { name, .. } if *name == INPUT => {
            let input = input.ok_or_else(|| ExchangeError::new("there is no input that it could test"))?;
            edits.push((expr.span.range(), format!("({input})")));
        }
        ExprKind::Index { index, .. } if dialect == Dialect::Feel => match &index.kind {
            // FEEL counts from 1.
            ExprKind::Literal(Literal::Int(nth @ 1..)) => {
                edits.push((index.span.range(), (nth - 1).to_string()));
            }
            _ => {
                return Err(ExchangeError::new(
                    "of FEEL's brackets only those with a number from 1 are carried over",
                ));
            }
        },
        ExprKind::Call { name: "/", args, .. } if !args.iter().any(has_fraction) => {
            return Err(ExchangeError::new(
                "`/` divides decimals there and whole numbers here, where both sides are such; divide by a number with \
                 a decimal point, or compute the quotient in a `compute` rule",
            ));
        }
        ExprKind::Call { name, .. } if is_function(name) && !FUNCTIONS.contains(name) => {
            return Err(ExchangeError::new(format!("the function `{name}` is not carried over")));
        }
        _ => {}
    }
    expr.parts().into_iter().try_for_each(|part| visit(part, dialect, input, edits))
}

/// Whether a call has a name; operators are calls too.
fn is_function(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name != "in"
}

/// Whether dividing by it, or dividing it, divides no whole numbers.
fn has_fraction(expr: &Expr<'_>) -> bool {
    matches!(expr.kind, ExprKind::Literal(Literal::Double(_)))
}
