//! The checker: resolves names to slots and calls to overloads, infers types, and makes the program's nodes.
//!
//! Called by [`crate::Program::compile`] and by [`crate::dynamic`]. In a dynamic program what would be refused becomes an
//! error when it runs, as unchecked CEL has it; everything else is the same code.

use crate::error::{ErrorKind, EvalError, Problem};
use crate::layout::{Layout, Member, Slot};
use crate::node::Node;
use crate::overload;
use crate::slots::SlotSet;
use crate::syntax::{Element, Entry, Expr, ExprKind, Literal, Span};
use crate::types::Type;
use crate::value::{Kind, Value};

mod call;
mod guard;
mod literal;
mod macros;
mod name;

pub(crate) use name::nearest;

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
    /// Slots that `has(…)` or a comparison with null has shown to be there.
    guards: Vec<Slot>,
    pub problems: Vec<Problem>,
    pub uses: SlotSet,
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
        }
    }

    /// Compiles the whole expression, a literal as `wanted` where it can be read so.
    pub fn check_root(&mut self, expr: &Expr<'s>, wanted: Option<&Type>) -> Typed {
        let reread = wanted.and_then(|wanted| self.reread(expr, wanted));
        reread.unwrap_or_else(|| self.check(expr))
    }

    /// Compiles an expression; problems collect in `self.problems`.
    pub fn check(&mut self, expr: &Expr<'s>) -> Typed {
        match &expr.kind {
            ExprKind::Literal(literal) => Typed::new(Node::Const(constant(literal)), literal_type(literal)),
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

    fn ident(&mut self, expr: &Expr<'s>, name: &str, absolute: bool) -> Typed {
        if !absolute && let Some(at) = self.scope.iter().rposition(|(variable, _)| *variable == name) {
            return Typed::new(Node::Local(at as u32), self.scope[at].1.clone());
        }
        if let Some(path) = self.path(expr) {
            return self.read(expr, &path);
        }
        match kind_named(name) {
            Some(kind) => Typed::new(Node::Const(Value::Type(kind)), Type::Type),
            None if self.layout.is_open() && self.mode == Mode::Checked => {
                let message = format!(
                    "the form may hold `{name}`, but its schema does not describe it, so rules cannot read it"
                );
                self.refuse(expr.span, ErrorKind::Unresolved, message)
            }
            None => {
                let message = self.unknown_name(name);
                self.refuse(expr.span, ErrorKind::Unresolved, message)
            }
        }
    }

    /// The members from the top-level name to the end of a plain path, when the layout knows all of it. In dynamic
    /// programs a variable's own name may contain dots; the longest name wins.
    fn path(&self, expr: &Expr<'s>) -> Option<Vec<&'c Member>> {
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
    fn is_local(&self, expr: &Expr<'s>) -> bool {
        match &expr.kind {
            ExprKind::Ident { name, absolute } => {
                !absolute && self.scope.iter().any(|(local, _)| local == name)
            }
            ExprKind::Select { operand, .. } => self.is_local(operand),
            _ => false,
        }
    }

    /// Reads the slot at the end of a path, and warns when something on the way may be missing.
    fn read(&mut self, expr: &Expr<'s>, path: &[&'c Member]) -> Typed {
        let slot = path[path.len() - 1].slot;
        self.uses.insert(slot);
        let mut ty = self.layout.info(slot).ty.clone();
        if self.guards.contains(&slot) {
            ty = ty.non_null().clone();
        }
        let missing = path
            .iter()
            .find(|member| self.layout.info(member.slot).optional && !self.guards.contains(&member.slot));
        if let Some(member) = missing
            && self.mode == Mode::Checked
        {
            self.warn_missing(expr.span, member.slot);
        }
        Typed::new(Node::Slot(slot), ty)
    }

    fn warn_missing(&mut self, span: Span, slot: Slot) {
        let name = self.layout.info(slot).path.join(".");
        let message = format!(
            "`{name}` may be missing, and then this is not evaluated; `has({name}) && …` decides that case"
        );
        let warning = Problem::warning(span.range(), message);
        if !self.problems.iter().any(|known| known.message == warning.message) {
            self.problems.push(warning);
        }
    }

    fn select(
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
        let inner = self.check(operand);
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
        let operand = if nullable { Node::NonNull(Box::new(inner.node)) } else { inner.node };
        let parts = Box::new((operand, field.into()));
        if optional || through_optional {
            Typed::new(Node::SelectOptional(parts), Type::optional(member))
        } else {
            Typed::new(Node::Select(parts), member)
        }
    }

    /// The type of the member `field` of a value of type `holder`.
    fn member_type(&self, holder: &Type, field: &str) -> Result<Type, String> {
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

    fn list(&mut self, elements: &[Element<'s>]) -> Typed {
        let mut items: Vec<Typed> = elements.iter().map(|element| self.check(&element.value)).collect();
        let sources: Vec<&Expr<'s>> = elements.iter().map(|element| &element.value).collect();
        self.meet_literals(&sources, items.iter_mut());
        let types =
            items.iter().zip(elements).map(|(item, element)| element_type(&item.ty, element.optional));
        let element = join_all(types);
        let constant = elements.iter().all(|element| !element.optional);
        if constant && let Some(values) = items.iter().map(|item| item.node.as_const().cloned()).collect() {
            return Typed::new(Node::Const(Value::list(values)), Type::list(element));
        }
        let nodes = items.into_iter().zip(elements).map(|(item, element)| (item.node, element.optional));
        Typed::new(Node::List(nodes.collect()), Type::list(element))
    }

    fn map(&mut self, entries: &[Entry<'s>]) -> Typed {
        let mut nodes = Vec::with_capacity(entries.len());
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for entry in entries {
            let key = self.check(&entry.key);
            let value = self.check(&entry.value);
            let is_key = matches!(key.ty, Type::Bool | Type::Int | Type::Uint | Type::String | Type::Dyn);
            if !is_key && self.mode == Mode::Checked {
                let message = format!("a map key must be bool, int, uint or string; this is {}", key.ty);
                self.problems.push(Problem::error(entry.key.span.range(), message));
            }
            keys.push(key.ty);
            values.push(element_type(&value.ty, entry.optional));
            nodes.push((key.node, value.node, entry.optional));
        }
        let ty = Type::map(join_all(keys.into_iter()), join_all(values.into_iter()));
        Typed::new(Node::Map(nodes.into()), ty)
    }
}

/// The type that a list or map gets from an element, `?element` giving what its optional holds.
fn element_type(ty: &Type, optional: bool) -> Type {
    match ty {
        Type::Optional(inner) if optional => (**inner).clone(),
        _ if optional => Type::Dyn,
        plain => plain.clone(),
    }
}

/// The one type of all elements, `dyn` when they have none in common or there are none.
fn join_all(types: impl Iterator<Item = Type>) -> Type {
    types.map(Some).reduce(|a, b| a?.join(&b?)).flatten().unwrap_or(Type::Dyn)
}

/// The type that `name` denotes.
fn kind_named(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name)
}

fn constant(literal: &Literal<'_>) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Int(int) => Value::Int(*int),
        Literal::Uint(uint) => Value::Uint(*uint),
        Literal::Double(double) => Value::Double(*double),
        Literal::String(text) => Value::text(&**text),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

fn literal_type(literal: &Literal<'_>) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
