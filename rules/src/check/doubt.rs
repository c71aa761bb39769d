//! Remarks on what is right but will surprise: operations that may fail when they run, comparisons that the schema decides.
//!
//! Part of the checker. All of it is warnings: the author may know more than the schema says.

use std::cmp::Ordering;

use super::{Checker, Mode};
use crate::error::Problem;
use crate::layout::Slot;
use crate::node::{FoldKind, Node};
use crate::overload::Overload;
use crate::syntax::{Expr, Span};
use crate::value::{Value, compare, decimal_from_text};

impl<'s> Checker<'_, 's> {
    /// Warns of a call that its arguments may make fail.
    pub(super) fn warn_failing(
        &mut self,
        row: &'static Overload,
        span: Span,
        sources: &[&Expr<'s>],
        nodes: &[Node],
    ) {
        let Some(why) = row.fails.filter(|_| self.mode == Mode::Checked) else { return };
        // A constant divisor was tried already, where it is not zero by being written so, and so was a constant zone.
        let certain = match (row.name, nodes) {
            (_, [_, Node::Const(_)]) if row.takes_zone() => true,
            ("/" | "%", [_, Node::Const(divisor)]) => !is_zero(divisor),
            ("/" | "%", [_, Node::Slot(divisor)]) => self.is_non_zero(*divisor),
            ("[]", [list, Node::Const(Value::Int(at))]) => {
                u64::try_from(*at).is_ok_and(|at| at < self.least_size(list))
            }
            ("min" | "max", [list]) => self.least_size(list) > 0,
            ("slice", [list, Node::Const(Value::Int(from)), Node::Const(Value::Int(to))]) => {
                (0..=*to).contains(from) && to.cast_unsigned() <= self.least_size(list)
            }
            _ => false,
        };
        if certain || sources.is_empty() {
            return;
        }
        self.remark(span, |text| format!("`{text}` may fail: {why}"), Problem::failing);
    }

    /// The fewest elements that a list has, as far as the schema says it.
    fn least_size(&self, list: &Node) -> u64 {
        match list {
            Node::Slot(slot) => self.layout.info(*slot).min_items,
            Node::NonNull(inner) => self.least_size(inner),
            Node::Fold(fold)
                if matches!(fold.kind, FoldKind::List | FoldKind::SortBy) && fold.filter.is_none() =>
            {
                self.least_size(&fold.range)
            }
            _ => 0,
        }
    }

    /// Warns of a call whose types are known only when it runs, once.
    pub(super) fn warn_dynamic(&mut self, span: Span) {
        let known = |problem: &Problem| problem.message.ends_with(DYNAMIC);
        if !self.problems.iter().any(known) {
            self.remark(span, |text| format!("`{text}` {DYNAMIC}"), Problem::failing);
        }
    }

    /// Warns of a comparison that the schema's limits of a number decide.
    pub(super) fn warn_decided(&mut self, name: &str, span: Span, slot: Slot, value: &Value<'static>) {
        let info = self.layout.info(slot);
        let limit = |limit: &Option<serde_json::Number>| {
            limit.as_ref().and_then(|number| decimal_from_text(&number.to_string())).map(Value::Decimal)
        };
        let order = |limit: Option<Value<'static>>| limit.and_then(|limit| compare(&limit, value));
        let (least, most) = (order(limit(&info.minimum)), order(limit(&info.maximum)));
        let above = least == Some(Ordering::Greater);
        let below = most == Some(Ordering::Less);
        let holds = match name {
            "<" if above || least == Some(Ordering::Equal) => false,
            ">" if below || most == Some(Ordering::Equal) => false,
            "<=" | "==" if above => false,
            ">=" | "==" if below => false,
            ">=" if above || least == Some(Ordering::Equal) => true,
            "<=" if below || most == Some(Ordering::Equal) => true,
            ">" | "!=" if above => true,
            "<" | "!=" if below => true,
            _ => return,
        };
        let shown = |name: &str, limit: &Option<serde_json::Number>| {
            limit.as_ref().map(|limit| format!("{name} {limit}"))
        };
        let limits: Vec<String> = [shown("at least", &info.minimum), shown("at most", &info.maximum)]
            .into_iter()
            .flatten()
            .collect();
        let (path, limits) = (info.path.join("."), limits.join(" and "));
        let verdict = if holds { "always" } else { "never" };
        let message = |text: &str| format!("`{text}` {verdict} holds: the schema admits `{path}` {limits}");
        self.remark(span, message, |warning| warning);
    }

    fn remark(
        &mut self,
        span: Span,
        message: impl FnOnce(&str) -> String,
        finish: impl FnOnce(Problem) -> Problem,
    ) {
        // What stands before the source of a table's cell means nothing to its author.
        let text = self.source.get(span.range()).unwrap_or_default();
        let warning = finish(Problem::warning(span.range(), message(text)));
        if !self.problems.contains(&warning) {
            self.problems.push(warning);
        }
    }
}

/// How the warning about unknown types ends.
const DYNAMIC: &str = "may fail: the schema does not say what types it works on";

fn is_zero(value: &Value<'_>) -> bool {
    compare(value, &Value::Int(0)) == Some(Ordering::Equal)
}
