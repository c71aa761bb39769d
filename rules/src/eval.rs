//! The evaluator: runs compiled nodes over slots. No names, no allocation on scalar paths.
//!
//! Called by [`crate::Program::eval`] only. Must not know where slots come from, and must end: every loop spends budget.

use std::sync::Arc;

use crate::budget::Budget;
use crate::error::{ErrorKind, EvalError};
use crate::layout::Slot;
use crate::node::{Dispatch, Node};
use crate::overload::{no_overload, select_optional};
use crate::slots::{Cell, Slots};
use crate::value::{Map, Value};

mod fold;

pub(crate) use fold::round_cost;

type Ran<'a> = Result<Value<'a>, EvalError>;

/// One evaluation under way.
pub(crate) struct Frame<'f, 'a> {
    slots: &'f Slots<'a>,
    locals: Vec<Value<'a>>,
    budget: &'f mut Budget,
}

impl<'f, 'a> Frame<'f, 'a> {
    pub fn new(slots: &'f Slots<'a>, budget: &'f mut Budget) -> Frame<'f, 'a> {
        Frame { slots, locals: Vec::new(), budget }
    }

    /// The value of `node`.
    pub fn eval(&mut self, node: &'a Node) -> Ran<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Slot(slot) => self.slot(*slot).cloned(),
            Node::Call2(run, args) => {
                let (mut left, mut right) = (Value::Null, Value::Null);
                let left = self.operand(&args[0], &mut left)?;
                let right = self.operand(&args[1], &mut right)?;
                run(left, right)
            }
            Node::And(nodes) => self.logic(nodes, false),
            Node::Or(nodes) => self.logic(nodes, true),
            Node::Present(slot) => self.present(*slot),
            Node::Call1(run, arg) => {
                let mut hold = Value::Null;
                run(self.operand(arg, &mut hold)?)
            }
            Node::Local(at) => Ok(self.locals[*at as usize].clone()),
            Node::Cond(parts) => match self.eval(&parts[0])? {
                Value::Bool(true) => self.eval(&parts[1]),
                Value::Bool(false) => self.eval(&parts[2]),
                other => Err(no_overload("?:", &[other])),
            },
            other => self.eval_rare(other),
        }
    }

    /// The nodes that are not on scalar paths, apart so that the common ones stay in one small function.
    fn eval_rare(&mut self, node: &'a Node) -> Ran<'a> {
        match node {
            Node::Fail(error) => Err(error.clone()),
            Node::NonNull(inner) => self.non_null(inner),
            Node::CallN(run, args) => run(&self.all(args)?),
            Node::Dispatch(dispatch) => self.dispatch(dispatch),
            Node::Matches(parts) => match self.operand(&parts.0, &mut Value::Null)? {
                Value::String(text) => Ok(Value::Bool(parts.1.is_match(text))),
                other => Err(no_overload("matches", std::slice::from_ref(other))),
            },
            Node::Select(parts) => self.select(&parts.0, &parts.1),
            Node::SelectOptional(parts) => {
                let mut hold = Value::Null;
                select_optional(self.operand(&parts.0, &mut hold)?, &parts.1)
            }
            Node::Has(parts) => self.has(&parts.0, &parts.1),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Fold(fold) => self.fold(fold),
            Node::Let(parts) => {
                let value = self.eval(&parts[0])?;
                self.with_local(value, &parts[1])
            }
            Node::OptionalMap { parts, flat } => self.optional_map(parts, *flat),
            common => self.eval(common),
        }
    }

    /// The value of `node` by reference where it lies somewhere already, else by way of `hold`.
    #[inline]
    fn operand<'h>(&mut self, node: &'a Node, hold: &'h mut Value<'a>) -> Result<&'h Value<'a>, EvalError>
    where
        'f: 'h,
    {
        match node {
            Node::Slot(slot) => self.slot(*slot),
            Node::Const(value) => Ok(value),
            other => {
                *hold = self.eval(other)?;
                Ok(hold)
            }
        }
    }

    #[inline]
    fn slot(&self, slot: Slot) -> Result<&'f Value<'a>, EvalError> {
        match self.slots.cell(slot) {
            Cell::Value(value) => Ok(value),
            _ => Err(self.slots.reason(slot)),
        }
    }

    fn present(&self, slot: Slot) -> Ran<'a> {
        match self.slots.cell(slot) {
            Cell::Value(Value::Null) | Cell::Absent => Ok(Value::Bool(false)),
            Cell::Value(_) | Cell::Misfit(_) => Ok(Value::Bool(true)),
            Cell::Unbound => Err(self.slots.reason(slot)),
        }
    }

    /// `&&` (decided by false) and `||` (decided by true): an operand that decides wins over errors on either side.
    fn logic(&mut self, nodes: &'a [Node], decides: bool) -> Ran<'a> {
        let mut failure: Option<EvalError> = None;
        for node in nodes {
            match self.eval(node) {
                Ok(Value::Bool(truth)) if truth == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(other) => drop(
                    failure.get_or_insert_with(|| no_overload(if decides { "||" } else { "&&" }, &[other])),
                ),
                // A spent budget ends the evaluation; absorbing it would only go on spending.
                Err(error) if error.kind() == ErrorKind::Budget => return Err(error),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn non_null(&mut self, inner: &'a Node) -> Ran<'a> {
        match self.eval(inner)? {
            Value::Null => Err(match inner {
                Node::Slot(slot) => self.slots.reason(*slot),
                _ => EvalError::new(ErrorKind::Missing, "a value is null"),
            }),
            value => Ok(value),
        }
    }

    fn all(&mut self, nodes: &'a [Node]) -> Result<Vec<Value<'a>>, EvalError> {
        nodes.iter().map(|node| self.eval(node)).collect()
    }

    fn dispatch(&mut self, dispatch: &'a Dispatch) -> Ran<'a> {
        let args = self.all(&dispatch.args)?;
        match dispatch.rows.iter().find(|row| row.accepts(&args)) {
            Some(row) => row.call(&args),
            None => Err(no_overload(dispatch.name, &args)),
        }
    }

    fn select(&mut self, operand: &'a Node, name: &str) -> Ran<'a> {
        let mut hold = Value::Null;
        match self.operand(operand, &mut hold)? {
            Value::Map(map) => map.member(name).unwrap_or_else(|| {
                Err(EvalError::new(ErrorKind::Missing, format!("there is no member `{name}`")))
            }),
            optional @ Value::Optional(_) => select_optional(optional, name),
            Value::Null => Err(EvalError::new(ErrorKind::Missing, format!("`.{name}` of null"))),
            other => Err(no_overload(&format!(".{name}"), std::slice::from_ref(other))),
        }
    }

    fn has(&mut self, operand: &'a Node, name: &str) -> Ran<'a> {
        let mut hold = Value::Null;
        match self.operand(operand, &mut hold)? {
            Value::Map(map) => Ok(Value::Bool(map.member(name).is_some())),
            optional @ Value::Optional(_) => match select_optional(optional, name)? {
                Value::Optional(found) => Ok(Value::Bool(found.is_some())),
                other => Err(no_overload("has", &[other])),
            },
            other => Err(no_overload("has", std::slice::from_ref(other))),
        }
    }

    fn list(&mut self, items: &'a [(Node, bool)]) -> Ran<'a> {
        let mut values = Vec::with_capacity(items.len());
        for (node, optional) in items {
            let value = self.eval(node)?;
            values.extend(if *optional { unwrap_optional(value)? } else { Some(value) });
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Ran<'a> {
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            let value = if *optional { unwrap_optional(value)? } else { Some(value) };
            pairs.extend(value.map(|value| (key, value)));
        }
        Map::from_entries(pairs).map(Value::Map)
    }

    /// `body` with `value` as a further macro variable.
    fn with_local(&mut self, value: Value<'a>, body: &'a Node) -> Ran<'a> {
        self.locals.push(value);
        let result = self.eval(body);
        self.locals.pop();
        result
    }

    fn optional_map(&mut self, parts: &'a [Node; 2], flat: bool) -> Ran<'a> {
        let [optional, body] = parts;
        match self.eval(optional)? {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                let result = self.with_local((*inner).clone(), body)?;
                match (flat, result) {
                    (true, optional @ Value::Optional(_)) => Ok(optional),
                    (true, other) => Err(no_overload("optFlatMap", &[other])),
                    (false, value) => Ok(Value::Optional(Some(Arc::new(value)))),
                }
            }
            other => Err(no_overload(if flat { "optFlatMap" } else { "optMap" }, &[other])),
        }
    }
}

/// The value of a `?element`.
fn unwrap_optional(value: Value<'_>) -> Result<Option<Value<'_>>, EvalError> {
    match value {
        Value::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
        other => Err(no_overload("?", &[other])),
    }
}
