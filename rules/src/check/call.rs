//! Calls against the overload table: static choice, literals by context, enums, constant folding.
//!
//! Part of the checker.

use std::sync::Arc;

use serde_json::Value as Json;

use super::literal::widest;
use super::{Checker, Mode, Typed};
use crate::error::{ErrorKind, Problem};
use crate::function::Function;
use crate::node::{Dispatch, Injected, Node};
use crate::overload::{self, Fit, Overload, Signature};
use crate::syntax::{Expr, ExprKind, Literal, Span};
use crate::time;
use crate::types::Type;
use crate::value::{List, Value};

/// A row that takes the arguments, with the type it gives.
struct Choice {
    row: &'static Overload,
    result: Type,
    fit: Fit,
}

impl<'s> Checker<'_, 's> {
    /// A call as it is written: a macro, a function with a qualified name, a method or a function.
    pub(super) fn call(
        &mut self,
        expr: &Expr<'s>,
        target: Option<&Expr<'s>>,
        name: &'s str,
        name_span: Span,
        args: &[Expr<'s>],
    ) -> Typed {
        if let Some(typed) = self.expand_macro(expr, target, name, args) {
            return typed;
        }
        let Some(target) = target else {
            if let Some(function) = self.layout.function(name) {
                return self.call_injected(expr, function, args);
            }
            return self.call_row(expr, name, name_span, &args.iter().collect::<Vec<_>>(), false);
        };
        if let Some(qualifier) = target.qualified_name()
            && !self.is_local(target)
            && self.path(target).is_none()
        {
            let qualified = format!("{qualifier}.{name}");
            if let Some(function) = self.layout.function(&qualified) {
                return self.call_injected(expr, function, args);
            }
            if !overload::rows(&qualified, false).is_empty() {
                return self.call_row(expr, &qualified, name_span, &args.iter().collect::<Vec<_>>(), false);
            }
        }
        let sources: Vec<&Expr<'s>> = std::iter::once(target).chain(args).collect();
        self.call_row(expr, name, name_span, &sources, true)
    }

    /// A call of the embedding program's function.
    fn call_injected(&mut self, expr: &Expr<'s>, function: &Arc<Function>, args: &[Expr<'s>]) -> Typed {
        if args.len() != function.params().len() {
            let message = format!(
                "`{}` takes {} arguments; it is `{function}`",
                function.name(),
                function.params().len()
            );
            return self.refuse(expr.span, ErrorKind::NoOverload, message);
        }
        let mut nodes = Vec::with_capacity(args.len());
        for (arg, param) in args.iter().zip(function.params()) {
            let typed = self.reread(arg, param.non_null()).unwrap_or_else(|| self.check(arg));
            let fits = typed.ty == *param || typed.ty.non_null() == param;
            if !fits && !typed.ty.involves_dyn() && *param != Type::Dyn {
                let message = format!("`{}` needs {param} here; this is {}", function.name(), typed.ty);
                return self.refuse(arg.span, ErrorKind::NoOverload, message);
            }
            nodes.push(if matches!(param, Type::Nullable(_) | Type::Dyn) {
                typed.node
            } else {
                self.without_null(typed)
            });
        }
        let injected = Injected { function: function.clone(), args: nodes.into() };
        Typed::new(Node::Injected(Box::new(injected)), function.result().clone())
    }

    fn call_row(
        &mut self,
        expr: &Expr<'s>,
        name: &str,
        name_span: Span,
        sources: &[&Expr<'s>],
        method: bool,
    ) -> Typed {
        if overload::rows(name, method).is_empty() {
            let message = self.unknown_function(name, method);
            return self.refuse(name_span, ErrorKind::Unresolved, message);
        }
        let args = sources.iter().map(|source| self.check(source)).collect();
        self.resolve(name, expr.span, sources, args, method)
    }

    /// Chooses among the rows called `name` for arguments that are checked already.
    pub(super) fn resolve(
        &mut self,
        name: &str,
        span: Span,
        sources: &[&Expr<'s>],
        mut args: Vec<Typed>,
        method: bool,
    ) -> Typed {
        let rows = overload::rows(name, method);
        let mut choices = matching(rows, &args);
        let equality = matches!(name, "==" | "!=");
        if self.mode == Mode::Checked && (equality || !choices.iter().any(|choice| choice.fit == Fit::Yes)) {
            self.reread_literals(sources, &mut args);
            choices = matching(rows, &args);
        }
        if self.mode == Mode::Checked {
            self.check_operands(name, span, &args);
            self.check_zone(&choices, sources, &args);
        }
        if let Some(at) = choices.iter().position(|choice| choice.fit == Fit::Yes) {
            let choice = choices.swap_remove(at);
            return self.call_one(choice, span, sources, args);
        }
        if self.mode == Mode::Dynamic {
            choices = rows.iter().map(|row| Choice { row, result: Type::Dyn, fit: Fit::Maybe }).collect();
        }
        if choices.is_empty() {
            let message =
                self.no_optional(name, sources, &args).unwrap_or_else(|| refusal(name, rows, &args));
            return self.refuse(span, ErrorKind::NoOverload, message);
        }
        if self.mode == Mode::Checked {
            self.warn_dynamic(span);
        }
        let first = choices[0].result.clone();
        let result = if choices.iter().all(|choice| choice.result == first) { first } else { Type::Dyn };
        let rows: Vec<_> = choices.into_iter().map(|choice| choice.row).collect();
        let name = rows[0].name;
        let args = args
            .into_iter()
            .map(|arg| if name == "==" { arg.node } else { self.without_null(arg) })
            .collect();
        Typed::new(Node::Dispatch(Box::new(Dispatch { name, rows, args })), result)
    }

    /// Calls the one row that takes the arguments, at once when they are all constant.
    fn call_one(&mut self, choice: Choice, span: Span, sources: &[&Expr<'s>], args: Vec<Typed>) -> Typed {
        let Choice { row, result, .. } = choice;
        let nodes: Vec<Node> = row
            .params
            .iter()
            .zip(args)
            .map(
                |(param, arg)| if *param == overload::Param::Any { arg.node } else { self.without_null(arg) },
            )
            .collect();
        let constants: Option<Vec<Value<'static>>> =
            nodes.iter().map(|node| node.as_const().cloned()).collect();
        if let Some(values) = constants {
            match row.call(&values) {
                Ok(value) => return Typed::new(Node::Const(value), result),
                // What is refused needs no warning.
                Err(error) if self.mode == Mode::Checked => {
                    if let ("decimal", [Value::String(text)]) = (row.name, values.as_slice())
                        && let Some(rounded) = overload::decimal_as_before(text)
                    {
                        self.problems.push(Problem::tolerated(span.range(), error.message()));
                        return Typed::new(Node::Const(rounded), result);
                    }
                    let message = format!("this always fails: {error}");
                    self.problems.push(Problem::error(span.range(), message));
                    return Typed::new(Node::call_row(row.name, row.run, nodes), result);
                }
                Err(_) => {}
            }
        }
        if row.name == "matches"
            && let Some(Value::String(pattern)) = nodes[1].as_const()
        {
            let regex = match overload::compile_regex(pattern) {
                Ok(regex) => regex,
                Err(error) => match overload::compile_regex_as_before(pattern) {
                    Some(regex) if self.mode == Mode::Checked => {
                        self.problems.push(Problem::tolerated(sources[1].span.range(), error.message()));
                        regex
                    }
                    _ => return self.refuse(sources[1].span, error.kind(), error.message().to_owned()),
                },
            };
            let text = nodes.into_iter().next().expect("`matches` has two arguments");
            return Typed::new(Node::Matches(Box::new((text, regex))), result);
        }
        self.warn_failing(row, span, sources, &nodes);
        Typed::new(Node::call_row(row.name, row.run, nodes), result)
    }

    /// What to say of a method of optionals on a value that is none: people write `age.orValue(0)` for a field that may be missing.
    fn no_optional(&self, name: &str, sources: &[&Expr<'s>], args: &[Typed]) -> Option<String> {
        let (holder, ty) = (sources.first()?, args.first()?.ty.non_null());
        if !matches!(name, "orValue" | "hasValue" | "value" | "or") || matches!(ty, Type::Optional(_)) {
            return None;
        }
        let text = |span: Span| self.source.get(span.range()).unwrap_or_default();
        let field = text(holder.span);
        let right = match (&holder.kind, name, sources) {
            (ExprKind::Select { operand, field_span, optional: false, .. }, "orValue", [_, default]) => {
                // `orValue` takes a default of another number type, and nobody knows the type of what it gives then.
                let default = match (&default.kind, ty, text(default.span)) {
                    (ExprKind::Literal(Literal::Int(_)), Type::Double, whole) => format!("{whole}.0"),
                    (ExprKind::Literal(Literal::Int(_) | Literal::Double(_)), Type::Decimal, number) => {
                        format!("decimal('{number}')")
                    }
                    (_, _, other) => other.to_owned(),
                };
                Some(format!("{}.?{}.orValue({default})", text(operand.span), text(*field_span)))
            }
            // A variable of a macro is always there.
            (ExprKind::Ident { .. }, ..) if self.is_local(holder) => None,
            (ExprKind::Ident { .. }, "orValue", [_, default]) => {
                Some(format!("has({field}) ? {field} : {}", text(default.span)))
            }
            (ExprKind::Ident { .. } | ExprKind::Select { optional: false, .. }, "hasValue", _) => {
                Some(format!("has({field})"))
            }
            _ => None,
        };
        let right = match right {
            // Set apart as in Markdown, so that it can be copied.
            Some(right) if right.contains('`') => format!("; write `` {right} ``"),
            Some(right) => format!("; write `{right}`"),
            None => String::new(),
        };
        Some(format!("`{name}` is a method of optionals, which `.?` and `[?…]` give; this is {ty}{right}"))
    }

    /// Reads literals as the type of the other arguments, elements of literal lists included.
    fn reread_literals(&self, sources: &[&Expr<'s>], args: &mut [Typed]) {
        let types = args.iter().map(|arg| match arg.ty.non_null() {
            Type::List(element) => element.non_null(),
            plain => plain,
        });
        let Some(wanted) = widest(types) else { return };
        for (source, arg) in sources.iter().zip(args) {
            if let Some(read) = self.reread(source, &wanted) {
                *arg = read;
            } else if let (ExprKind::List(elements), Type::List(element)) = (&source.kind, &arg.ty)
                && **element != wanted
            {
                let items = elements.iter().map(|item| match self.reread(&item.value, &wanted)?.node {
                    Node::Const(value) => Some(value),
                    _ => None,
                });
                if let Some(values) = items.collect() {
                    *arg = Typed::new(Node::Const(Value::list(values)), Type::list(wanted.clone()));
                }
            }
        }
    }

    /// Looks at comparisons that the schema decides.
    fn check_operands(&mut self, name: &str, span: Span, args: &[Typed]) {
        if matches!(name, "==" | "!=" | "in") {
            self.check_comparison(name, span, args);
        }
        let [left, right] = args else { return };
        match (&left.node, right.node.as_const(), left.node.as_const(), &right.node) {
            (Node::Slot(slot), Some(value), _, _) => self.warn_decided(name, span, *slot, value),
            (_, _, Some(value), Node::Slot(slot)) => self.warn_decided(mirrored(name), span, *slot, value),
            _ => {}
        }
    }

    /// Refuses comparisons that can never hold: other types, a value that the field's enum does not list.
    fn check_comparison(&mut self, name: &str, span: Span, args: &[Typed]) {
        let [left, right] = args else { return };
        if name != "in" && left.ty.join(&right.ty).is_none() {
            let message = format!("`{name}` compares {} with {}, which are never equal", left.ty, right.ty);
            self.problems.push(Problem::error(span.range(), message));
            return;
        }
        if name != "in" && (left.ty == Type::Null) != (right.ty == Type::Null) {
            let other = if left.ty == Type::Null { &right.ty } else { &left.ty };
            if !matches!(other, Type::Nullable(_) | Type::Dyn) {
                let message = format!("this {other} is never null; whether a field is there is `has(…)`");
                self.problems.push(Problem::error(span.range(), message));
            }
        }
        let (Node::Slot(slot), Some(value)) = (&left.node, right.node.as_const()) else {
            if let (Some(value), Node::Slot(slot)) = (left.node.as_const(), &right.node) {
                self.check_enum(span, *slot, value);
            }
            return;
        };
        match value {
            Value::List(List::Owned(items)) if name == "in" => {
                items.iter().for_each(|item| self.check_enum(span, *slot, item));
            }
            value => self.check_enum(span, *slot, value),
        }
    }

    /// Refuses a time zone that is written out and that nobody knows; what was published before this was looked at goes on.
    fn check_zone(&mut self, choices: &[Choice], sources: &[&Expr<'s>], args: &[Typed]) {
        let [at, zone] = args else { return };
        let (true, None, Some(Value::String(zone))) = (
            !choices.is_empty() && choices.iter().all(|choice| choice.row.takes_zone()),
            // A constant call is made at once, and says so itself.
            at.node.as_const(),
            zone.node.as_const(),
        ) else {
            return;
        };
        if let Some(message) = time::zone_refusal(zone) {
            self.problems.push(Problem::tolerated(sources[1].span.range(), message).failing());
        }
    }

    fn check_enum(&mut self, span: Span, slot: crate::layout::Slot, value: &Value<'static>) {
        let info = self.layout.info(slot);
        let Some(values) = &info.values else { return };
        let Ok(wanted) = value.to_json() else { return };
        if wanted.is_null() || values.iter().any(|known| same_json(known, &wanted)) {
            return;
        }
        let known: Vec<String> = values.iter().take(8).map(|known| format!("`{known}`")).collect();
        let more = if values.len() > 8 { ", …" } else { "" };
        let name = info.path.join(".");
        let message = format!("`{name}` is never `{wanted}`; it is one of {}{more}", known.join(", "));
        self.problems.push(Problem::error(span.range(), message));
    }
}

/// The comparison with its sides exchanged.
fn mirrored(name: &str) -> &str {
    match name {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        other => other,
    }
}

/// Equality of JSON values, numbers by value.
fn same_json(a: &Json, b: &Json) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// The rows that take the arguments, or may.
fn matching(rows: &'static [&'static Overload], args: &[Typed]) -> Vec<Choice> {
    let mut choices = Vec::new();
    for row in rows {
        let mut vars = [None, None];
        if row.params.len() != args.len() {
            continue;
        }
        let fits = row.params.iter().zip(args).map(|(param, arg)| param.fit(&arg.ty, &mut vars));
        let fit = fits.min().unwrap_or(Fit::Yes);
        if fit == Fit::No {
            continue;
        }
        choices.push(Choice { row, result: overload::result_type(row, &vars), fit });
        if fit == Fit::Yes {
            break;
        }
    }
    choices
}

/// What to say when no row takes the arguments.
fn refusal(name: &str, rows: &[&'static Overload], args: &[Typed]) -> String {
    let types: Vec<String> = args.iter().map(|arg| arg.ty.to_string()).collect();
    let shown = name.trim_end_matches('_');
    let numbers: Vec<&Type> = args.iter().map(|arg| arg.ty.non_null()).collect();
    if let ("+" | "-" | "*" | "/" | "%", [a, b]) = (name, numbers.as_slice())
        && a.is_number()
        && b.is_number()
    {
        if a == b {
            return format!("`{shown}` has no meaning on {a}");
        }
        let wider = widest([*a, *b].into_iter()).unwrap_or(Type::Int);
        return format!("`{shown}` does not mix {a} and {b}; convert one, for example with `{wider}(…)`");
    }
    let known: Vec<String> = rows.iter().take(6).map(|row| format!("`{}`", Signature(row))).collect();
    format!("`{shown}` does not take ({}); it is {}", types.join(", "), known.join(" or "))
}
