//! The checker: resolves names to slots and calls to overloads, infers types, and makes the program's nodes.
//!
//! Called by [`crate::Program::compile`] and by [`crate::dynamic`]. In a dynamic program what would be refused becomes an
//! error when it runs, as unchecked CEL has it; everything else is the same code.

use crate::error::{ErrorKind, EvalError, Problem};
use crate::layout::Layout;
use crate::node::Node;
use crate::overload;
use crate::slots::SlotSet;
use crate::syntax::{Expr, ExprKind, Span};
use crate::types::Type;
use crate::value::Value;

mod call;
mod composite;
mod doubt;
mod guard;
mod literal;
mod macros;
mod name;
mod path;
mod reads;

pub(crate) use macros::is_macro;
pub(crate) use name::nearest;
pub(crate) use reads::names_read;

/// Whether a refusal is a problem now or an error when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Form rules: refuse, read number literals by context, warn of missing fields.
    Checked,
    /// Plain CEL over `dyn` variables.
    Dynamic,
}

/// A compiled expression and its type.
pub(crate) struct Typed {
    pub node: Node,
    pub ty: Type,
}

impl Typed {
    fn new(node: Node, ty: Type) -> Typed {
        Typed { node, ty }
    }
}

/// One expression being checked.
pub(crate) struct Checker<'c, 's> {
    source: &'s str,
    layout: &'c Layout,
    mode: Mode,
    /// Macro variables, innermost last; a variable's position is its place on the evaluator's stack.
    scope: Vec<(&'s str, Type)>,
    /// What `has(…)` or a comparison with null has shown to be there.
    guards: Vec<guard::Guard>,
    pub problems: Vec<Problem>,
    pub uses: SlotSet,
    /// Whether some part is `dyn`, so that calls may be left to run-time types.
    pub dynamic: bool,
}

impl<'c, 's> Checker<'c, 's> {
    pub fn new(source: &'s str, layout: &'c Layout, mode: Mode) -> Checker<'c, 's> {
        Checker {
            source,
            layout,
            mode,
            scope: Vec::new(),
            guards: Vec::new(),
            problems: Vec::new(),
            uses: SlotSet::default(),
            dynamic: false,
        }
    }

    /// Compiles the whole expression, a literal as `wanted` where it can be read so.
    pub fn check_root(&mut self, expr: &Expr<'s>, wanted: Option<&Type>) -> Typed {
        let reread = wanted.and_then(|wanted| self.reread(expr, wanted));
        reread.unwrap_or_else(|| self.check(expr))
    }

    /// Compiles an expression; problems collect in `self.problems`.
    pub fn check(&mut self, expr: &Expr<'s>) -> Typed {
        let typed = self.check_kind(expr);
        self.dynamic |= typed.ty.involves_dyn();
        typed
    }

    fn check_kind(&mut self, expr: &Expr<'s>) -> Typed {
        match &expr.kind {
            ExprKind::Literal(literal) => {
                Typed::new(Node::Const(composite::constant(literal)), composite::literal_type(literal))
            }
            ExprKind::Ident { name, absolute } => self.ident(expr, name, *absolute),
            ExprKind::Select { operand, field, field_span, optional } => {
                self.select(expr, operand, field, *field_span, *optional)
            }
            ExprKind::Index { operand, index, optional } => {
                let args = vec![self.check(operand), self.check(index)];
                let sources = [&**operand, &**index];
                self.resolve(if *optional { "[?]" } else { "[]" }, expr.span, &sources, args, false)
            }
            ExprKind::Call { target, name, name_span, args } => {
                self.call(expr, target.as_deref(), name, *name_span, args)
            }
            ExprKind::And(operands) => self.logic(operands, true),
            ExprKind::Or(operands) => self.logic(operands, false),
            ExprKind::Cond(parts) => self.cond(expr, parts),
            ExprKind::List(elements) => self.list(elements),
            ExprKind::Map(entries) => self.map(entries),
        }
    }

    /// Compiles an expression that must be a truth value.
    pub fn check_bool(&mut self, expr: &Expr<'s>, what: &str) -> Node {
        let typed = self.check(expr);
        match typed.ty.non_null() {
            Type::Bool | Type::Dyn => self.without_null(typed),
            // Unchecked CEL absorbs wrong types in `&&` and `||`, so the evaluator decides.
            _ if self.mode == Mode::Dynamic => typed.node,
            other => {
                let message = format!("{what} must be a bool; this is {other}");
                self.problems.push(Problem::error(expr.span.range(), message));
                typed.node
            }
        }
    }

    /// The node of an operand whose null would be a missing value.
    fn without_null(&self, typed: Typed) -> Node {
        match typed.ty {
            Type::Nullable(_) => Node::NonNull(Box::new(typed.node)),
            _ => typed.node,
        }
    }

    /// Refuses: a problem, or in a dynamic program an error when it runs.
    fn refuse(&mut self, span: Span, kind: ErrorKind, message: String) -> Typed {
        if self.mode == Mode::Checked {
            self.problems.push(Problem::error(span.range(), message.clone()));
        }
        // `dyn` keeps one mistake from being reported again by everything around it.
        Typed::new(Node::Fail(EvalError::new(kind, message)), Type::Dyn)
    }

    fn logic(&mut self, operands: &[Expr<'s>], and: bool) -> Typed {
        let guarded = self.guards.len();
        let mut nodes = Vec::with_capacity(operands.len());
        for operand in operands {
            nodes.push(
                self.check_bool(operand, if and { "an operand of `&&`" } else { "an operand of `||`" }),
            );
            // What an earlier operand shows when it does not decide holds in the later ones.
            self.learn(operand, and);
        }
        self.guards.truncate(guarded);
        let decided =
            nodes.iter().any(|node| matches!(node, Node::Const(Value::Bool(truth)) if *truth != and));
        if decided {
            return Typed::new(Node::Const(Value::Bool(!and)), Type::Bool);
        }
        let node = if and { Node::And(nodes.into()) } else { Node::Or(nodes.into()) };
        Typed::new(node, Type::Bool)
    }

    fn cond(&mut self, expr: &Expr<'s>, parts: &[Expr<'s>; 3]) -> Typed {
        let [condition, then, otherwise] = parts;
        let test = self.check_bool(condition, "the condition of `? :`");
        let guarded = self.guards.len();
        self.learn(condition, true);
        let mut yes = self.check(then);
        self.guards.truncate(guarded);
        self.learn(condition, false);
        let mut no = self.check(otherwise);
        self.guards.truncate(guarded);
        self.meet_literals(&[then, otherwise], [&mut yes, &mut no]);
        let ty = match yes.ty.join(&no.ty) {
            Some(ty) => ty,
            None if self.mode == Mode::Dynamic => Type::Dyn,
            None => {
                let message =
                    format!("both results of `? :` must have one type; these are {} and {}", yes.ty, no.ty);
                return self.refuse(expr.span, ErrorKind::NoOverload, message);
            }
        };
        match test {
            Node::Const(Value::Bool(true)) => Typed::new(yes.node, ty),
            Node::Const(Value::Bool(false)) => Typed::new(no.node, ty),
            test => Typed::new(Node::Cond(Box::new([test, yes.node, no.node])), ty),
        }
    }
}
