//! Names and member paths: to slots, macro variables, type names, or members looked up when they run.
//!
//! Part of the checker.

use super::guard::Guard;
use super::{Checker, Mode, Typed, name};
use crate::error::{ErrorKind, Problem};
use crate::layout::Member;
use crate::node::Node;
use crate::syntax::{Expr, ExprKind, Span, written_name};
use crate::types::Type;
use crate::value::{Kind, Value};

impl<'c, 's> Checker<'c, 's> {
    pub(super) fn ident(&mut self, expr: &Expr<'s>, name: &str, absolute: bool) -> Typed {
        if !absolute && let Some(at) = self.scope.iter().rposition(|(variable, _)| *variable == name) {
            return Typed::new(Node::Local(at as u32), self.scope[at].1.clone());
        }
        if let Some(path) = self.path(expr) {
            return self.read(expr, &path);
        }
        match kind_named(name) {
            Some(kind) => Typed::new(Node::Const(Value::Type(kind)), Type::Type),
            None => {
                let message = self.unknown_name(name);
                self.refuse(expr.span, ErrorKind::Unresolved, message)
            }
        }
    }

    /// The members from the top-level name to the end of a plain path, when the layout knows all of it. In dynamic
    /// programs a variable's own name may contain dots; the longest name wins.
    pub(super) fn path(&self, expr: &Expr<'s>) -> Option<Vec<&'c Member>> {
        match &expr.kind {
            ExprKind::Ident { name, absolute } => {
                if !absolute && self.scope.iter().any(|(variable, _)| variable == name) {
                    return None;
                }
                let layout = self.layout;
                let member = layout.root().member(name).or_else(|| layout.variables().member(name))?;
                Some(vec![member])
            }
            ExprKind::Select { operand, field, optional: false, .. } => {
                if self.mode == Mode::Dynamic
                    && let Some(name) = expr.qualified_name()
                    && let Some(member) = self.layout.variables().member(&name)
                    && !self.is_local(expr)
                {
                    return Some(vec![member]);
                }
                let mut path = self.path(operand)?;
                path.push(path.last()?.branch.as_ref()?.member(field)?);
                Some(path)
            }
            _ => None,
        }
    }

    /// Whether a path starts at a macro variable.
    pub(super) fn is_local(&self, expr: &Expr<'s>) -> bool {
        match &expr.kind {
            ExprKind::Ident { name, absolute } => {
                !absolute && self.scope.iter().any(|(local, _)| local == name)
            }
            ExprKind::Select { operand, .. } => self.is_local(operand),
            _ => false,
        }
    }

    /// Reads the slot at the end of a path.
    fn read_slot(&mut self, path: &[&'c Member]) -> Typed {
        let slot = path[path.len() - 1].slot;
        self.uses.insert(slot);
        let mut ty = self.layout.info(slot).ty.clone();
        if self.is_guarded(slot) {
            ty = ty.non_null().clone();
        }
        Typed::new(Node::Slot(slot), ty)
    }

    /// As [`Checker::read_slot`], and warns when something on the way may be missing.
    fn read(&mut self, expr: &Expr<'s>, path: &[&'c Member]) -> Typed {
        let read = self.read_slot(path);
        let missing = path
            .iter()
            .find(|member| self.layout.info(member.slot).optional && !self.is_guarded(member.slot));
        if let Some(member) = missing
            && self.mode == Mode::Checked
        {
            let path = &self.layout.info(member.slot).path;
            let written: Option<Vec<_>> = path.iter().map(|name| written_name(name)).collect();
            self.warn_missing(expr.span, &path.join("."), written.map(|names| names.join(".")).as_deref());
        }
        read
    }

    /// `written` is how an expression writes the field, where it can be written.
    fn warn_missing(&mut self, span: Span, name: &str, written: Option<&str>) {
        let advice = match written {
            // Set apart as in Markdown, so that it can be copied.
            Some(path) if path.contains('`') => format!("; `` has({path}) && … `` decides that case"),
            Some(path) => format!("; `has({path}) && …` decides that case"),
            None => String::new(),
        };
        let message = format!("`{name}` may be missing, and then this is not evaluated{advice}");
        let warning = Problem::warning(span.range(), message);
        if !self.problems.iter().any(|known| known.message == warning.message) {
            self.problems.push(warning);
        }
    }

    pub(super) fn select(
        &mut self,
        expr: &Expr<'s>,
        operand: &Expr<'s>,
        field: &str,
        at: Span,
        optional: bool,
    ) -> Typed {
        if let Some(path) = self.path(expr) {
            return self.read(expr, &path);
        }
        if !optional
            && let Some(name) = expr.qualified_name()
            && let Some(kind) = kind_named(&name)
        {
            return Typed::new(Node::Const(Value::Type(kind)), Type::Type);
        }
        let inner = match self.path(operand).filter(|_| optional) {
            // Nothing to warn of: without the field there is none.
            Some(path) => self.read_slot(&path),
            None => self.check(operand),
        };
        let nullable = matches!(inner.ty, Type::Nullable(_));
        let through_optional = matches!(inner.ty.non_null(), Type::Optional(_));
        let held = match inner.ty.non_null() {
            Type::Optional(held) => held.non_null(),
            plain => plain,
        };
        let member = match self.member_type(held, field) {
            Ok(member) => member,
            Err(message) => return self.refuse(at, ErrorKind::NoOverload, message),
        };
        if !optional && !through_optional {
            self.warn_missing_member(expr, held, field);
        }
        let operand = if nullable { Node::NonNull(Box::new(inner.node)) } else { inner.node };
        let parts = Box::new((operand, field.into()));
        if optional || through_optional {
            Typed::new(Node::SelectOptional(parts), Type::optional(member))
        } else {
            Typed::new(Node::Select(parts), member)
        }
    }

    /// Warns when a member of an element may be missing, as in `lines.all(line, line.discount > 0)`.
    fn warn_missing_member(&mut self, expr: &Expr<'s>, holder: &Type, field: &str) {
        let Type::Object(object) = holder else { return };
        let optional =
            object.field(field).is_some_and(|field| !field.required || matches!(field.ty, Type::Nullable(_)));
        if !optional || self.mode == Mode::Dynamic {
            return;
        }
        let name = expr.qualified_name();
        if name.as_ref().is_none_or(|name| !self.guards.contains(&Guard::Path(name.clone()))) {
            let written = &self.source[expr.span.range()];
            self.warn_missing(expr.span, &name.unwrap_or_else(|| written.to_owned()), Some(written));
        }
    }

    /// The type of the member `field` of a value of type `holder`.
    pub(super) fn member_type(&self, holder: &Type, field: &str) -> Result<Type, String> {
        match holder {
            Type::Dyn => Ok(Type::Dyn),
            Type::Map(_, value) => Ok((**value).clone()),
            Type::Object(object) => match object.field(field) {
                Some(field) => Ok(field.ty.clone()),
                None if object.is_open() => Ok(Type::Dyn),
                None => Err(name::unknown_member(field, object.fields().iter().map(|field| &*field.name))),
            },
            other => Err(format!("`.{field}` needs an object or a map; this is {other}")),
        }
    }
}

/// The type that `name` denotes.
fn kind_named(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name)
}
