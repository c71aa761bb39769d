//! What a condition shows about presence: after `has(a.b) &&`, reading `a.b` needs no warning.
//!
//! Part of the checker. Only looks at plain paths; anything cleverer just keeps its warning.

use super::Checker;
use crate::layout::Slot;
use crate::syntax::{Expr, ExprKind, Literal};

/// Something that is known to be there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Guard {
    Slot(Slot),
    /// A path from a macro variable, such as `line.discount`.
    Path(String),
    /// A number that is not zero.
    NonZero(Slot),
}

impl<'s> Checker<'_, 's> {
    /// Adds to the guards what `condition` shows when it is `holds`.
    pub(super) fn learn(&mut self, condition: &Expr<'s>, holds: bool) {
        match &condition.kind {
            ExprKind::And(operands) if holds => operands.iter().for_each(|operand| self.learn(operand, true)),
            ExprKind::Or(operands) if !holds => {
                operands.iter().for_each(|operand| self.learn(operand, false))
            }
            ExprKind::Call { target: None, name, args, .. } => match (*name, args.as_slice()) {
                ("!", [inner]) => self.learn(inner, !holds),
                ("has", [path]) if holds => self.guard(path),
                ("!=", [path, null]) | ("!=", [null, path]) if holds && is_null(null) => self.guard(path),
                ("==", [path, null]) | ("==", [null, path]) if !holds && is_null(null) => self.guard(path),
                ("!=" | ">" | "<", [path, zero]) | ("!=" | ">" | "<", [zero, path])
                    if holds && is_zero(zero) =>
                {
                    self.guard_zero(path);
                }
                ("==" | ">=" | "<=", [path, zero]) | ("==" | ">=" | "<=", [zero, path])
                    if !holds && is_zero(zero) =>
                {
                    self.guard_zero(path);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Marks every slot on a path as present.
    fn guard(&mut self, path: &Expr<'s>) {
        if let Some(members) = self.path(path) {
            self.guards.extend(members.iter().map(|member| Guard::Slot(member.slot)));
        } else if let Some(name) = path.qualified_name() {
            self.guards.push(Guard::Path(name));
        }
    }

    /// Marks the number at the end of a path as not zero.
    fn guard_zero(&mut self, path: &Expr<'s>) {
        if let Some(members) = self.path(path) {
            self.guards.extend(members.last().map(|member| Guard::NonZero(member.slot)));
        }
    }

    /// Whether a number is known not to be zero.
    pub(super) fn is_non_zero(&self, slot: Slot) -> bool {
        self.guards.contains(&Guard::NonZero(slot))
    }

    /// Whether a slot is known to be there.
    pub(super) fn is_guarded(&self, slot: Slot) -> bool {
        self.guards.contains(&Guard::Slot(slot))
    }
}

fn is_zero(expr: &Expr<'_>) -> bool {
    matches!(expr.kind, ExprKind::Literal(Literal::Int(0) | Literal::Uint(0)))
        || matches!(expr.kind, ExprKind::Literal(Literal::Double(zero)) if zero == 0.0)
}

fn is_null(expr: &Expr<'_>) -> bool {
    matches!(expr.kind, ExprKind::Literal(Literal::Null))
}
