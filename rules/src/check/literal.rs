//! Literals read by context: `amount > 1000` on a double field, `price * 2` on a decimal one, dates as text.
//!
//! Part of the checker, for form rules only; dynamic programs keep CEL's strict types. A literal changes type, a computed
//! value never does.

use super::{Checker, Mode, Typed};
use crate::node::Node;
use crate::syntax::{Expr, ExprKind, Literal};
use crate::time;
use crate::types::Type;
use crate::value::{Value, decimal_from_text};

impl<'s> Checker<'_, 's> {
    /// The literal `expr` as a value of `wanted`, when it can be read as one without loss.
    pub(super) fn reread(&self, expr: &Expr<'s>, wanted: &Type) -> Option<Typed> {
        let ExprKind::Literal(literal) = &expr.kind else { return None };
        let text = || &self.source[expr.span.range()];
        let value = match (literal, wanted) {
            // Above 2^53 a double would not be the number that is written.
            (Literal::Int(int), Type::Double) if int.unsigned_abs() <= 1 << 53 => Value::Double(*int as f64),
            (Literal::Int(int), Type::Decimal) => Value::Decimal((*int).into()),
            (Literal::Int(int), Type::Uint) => Value::Uint(u64::try_from(*int).ok()?),
            // From the source text, so that `10.10` is exactly that.
            (Literal::Double(_), Type::Decimal) => Value::Decimal(decimal_from_text(text())?),
            (Literal::String(text), Type::Date) => Value::Date(time::parse_date(text)?),
            (Literal::String(text), Type::Timestamp) => Value::Timestamp(time::parse_timestamp(text)?),
            (Literal::String(text), Type::Decimal) => Value::Decimal(decimal_from_text(text)?),
            _ => return None,
        };
        Some(Typed::new(Node::Const(value), wanted.clone()))
    }

    /// Reads the literals among operands that must have one type as the type of the others.
    pub(super) fn meet_literals<'t>(
        &self,
        sources: &[&Expr<'s>],
        typed: impl IntoIterator<Item = &'t mut Typed>,
    ) {
        if self.mode == Mode::Dynamic {
            return;
        }
        let mut typed: Vec<&mut Typed> = typed.into_iter().collect();
        let Some(wanted) = widest(typed.iter().map(|typed| typed.ty.non_null())) else { return };
        for (source, typed) in sources.iter().zip(&mut typed) {
            if *typed.ty.non_null() != wanted
                && let Some(read) = self.reread(source, &wanted)
            {
                **typed = read;
            }
        }
    }
}

/// The type that literals beside these are read as: decimal before double, and any other number as it is.
pub(super) fn widest<'t>(types: impl Iterator<Item = &'t Type>) -> Option<Type> {
    let rank = |ty: &Type| match ty {
        Type::Decimal => 5,
        Type::Date | Type::Timestamp => 4,
        Type::Double => 3,
        Type::Uint => 2,
        _ => 0,
    };
    types.max_by_key(|ty| rank(ty)).filter(|ty| rank(ty) > 0).cloned()
}
