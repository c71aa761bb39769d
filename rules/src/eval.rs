//! The evaluator: runs compiled nodes over slots. No names, no allocation on scalar paths.
//!
//! Called by [`crate::Program::eval`] only. Must not know where slots come from, and must end: every loop spends budget.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::budget::Budget;
use crate::error::{ErrorKind, EvalError};
use crate::layout::Slot;
use crate::node::{self, Dispatch, Node, Order};
use crate::overload::{Pattern, no_overload, refuse_long_pattern, select_optional};
use crate::slots::{Cell, Slots};
use crate::value::{Map, Value};

mod fold;
pub(crate) mod quick;
pub(crate) mod trace;
mod weight;

pub(crate) use fold::round_cost;

type Ran<'a> = Result<Value<'a>, EvalError>;

/// Arguments, or the variables of macros inside one another: more than these few are rare, and then they are on the heap.
type Few<'a> = SmallVec<[Value<'a>; 4]>;

/// One evaluation under way.
pub(crate) struct Frame<'f, 'a> {
    slots: &'f Slots<'a>,
    locals: Few<'a>,
    budget: &'f mut Budget,
}

impl<'f, 'a> Frame<'f, 'a> {
    pub fn new(slots: &'f Slots<'a>, budget: &'f mut Budget) -> Frame<'f, 'a> {
        Frame { slots, locals: Few::new(), budget }
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
                self.weigh(&[left, right])?;
                run(left, right)
            }
            Node::Test(..)
            | Node::And(_)
            | Node::Or(_)
            | Node::Present(_)
            | Node::DoubleBound(..)
            | Node::IntBound(..) => self.truth(node).map(Value::Bool),
            Node::Call1(run, arg) => {
                let mut hold = Value::Null;
                let arg = self.operand(arg, &mut hold)?;
                self.weigh(&[arg])?;
                run(arg)
            }
            Node::Look1(run, arg) => {
                let mut hold = Value::Null;
                let arg = self.operand(arg, &mut hold)?;
                self.weigh_look(arg)?;
                run(arg)
            }
            Node::Look2(run, args) => {
                let (mut left, mut right) = (Value::Null, Value::Null);
                let left = self.operand(&args[0], &mut left)?;
                let right = self.operand(&args[1], &mut right)?;
                self.weigh_look(left)?;
                self.weigh_look(right)?;
                run(left, right)
            }
            Node::Local(at) => Ok(self.locals[*at as usize].clone()),
            Node::Cond(parts) => {
                let taken = if self.truth(&parts[0])? { &parts[1] } else { &parts[2] };
                self.eval(taken)
            }
            other => self.eval_rare(other),
        }
    }

    /// The nodes that are not on scalar paths, apart so that the common ones stay in one small function.
    fn eval_rare(&mut self, node: &'a Node) -> Ran<'a> {
        match node {
            Node::Fail(error) => Err(error.clone()),
            Node::NonNull(inner) => self.non_null(inner),
            Node::CallN(run, args) => {
                let args = self.all(args)?;
                self.weigh_all(&args)?;
                run(&args)
            }
            Node::Dispatch(dispatch) => self.dispatch(dispatch),
            Node::Injected(call) => {
                let args = self.all(&call.args)?;
                self.weigh_all(&args)?;
                self.budget.spend(call.function.cost())?;
                call.function.call(&args)
            }
            Node::Search(args) => {
                let (mut text, mut pattern) = (Value::Null, Value::Null);
                let text = self.operand(&args[0], &mut text)?;
                let pattern = self.operand(&args[1], &mut pattern)?;
                self.weigh(&[text, pattern])?;
                self.search(text, pattern)
            }
            Node::Matches(parts) => {
                let mut hold = Value::Null;
                let operand = self.operand(&parts.0, &mut hold)?;
                self.weigh(&[operand])?;
                match operand {
                    Value::String(text) => Ok(Value::Bool(parts.1.is_match(text))),
                    other => Err(no_overload("matches", std::slice::from_ref(other))),
                }
            }
            Node::Select(parts) => self.select(&parts.0, &parts.1),
            Node::SelectOptional(parts) if self.is_missing(&parts.0) => Ok(Value::Optional(None)),
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

    /// Whether `text` matches a pattern, which is compiled at the cost of its length and its classes.
    fn search(&mut self, text: &Value<'a>, pattern: &Value<'a>) -> Ran<'a> {
        let (Value::String(text), Value::String(pattern)) = (text, pattern) else {
            return Err(no_overload("matches", &[text.clone(), pattern.clone()]));
        };
        refuse_long_pattern(pattern)?;
        self.budget.spend(weight::of_pattern(pattern))?;
        let pattern = Pattern::read(pattern)?;
        self.budget.spend(pattern.units())?;
        Ok(Value::Bool(pattern.compile()?.is_match(text)))
    }

    /// Spends what operands cost by their size.
    #[inline(always)]
    fn weigh(&mut self, operands: &[&Value<'a>]) -> Result<(), EvalError> {
        if operands.iter().all(|operand| weight::is_light(operand)) {
            return Ok(());
        }
        self.spend_all(operands)
    }

    fn weigh_all(&mut self, operands: &[Value<'a>]) -> Result<(), EvalError> {
        operands.iter().try_for_each(|operand| self.weigh(&[operand]))
    }

    #[inline(never)]
    fn spend_all(&mut self, operands: &[&Value<'a>]) -> Result<(), EvalError> {
        self.budget.spend(operands.iter().map(|operand| weight::of_all(operand)).sum())
    }

    /// As [`Frame::weigh`], of an operation that looks at no more than one element.
    #[inline(always)]
    fn weigh_look(&mut self, operand: &Value<'a>) -> Result<(), EvalError> {
        if weight::is_light(operand) {
            return Ok(());
        }
        self.budget.spend(weight::of_a_look(operand, !self.locals.is_empty()))
    }

    /// As [`Frame::weigh`], of a test. A list that the rule spells out is bounded by its text, and free outside loops.
    #[inline(always)]
    fn weigh_test(&mut self, args: &[Node; 2], left: &Value<'a>, right: &Value<'a>) -> Result<(), EvalError> {
        if quick::is_free(args, left, right) && (weight::is_light(right) || self.locals.is_empty()) {
            return Ok(());
        }
        self.spend_test(left, right)
    }

    #[inline(never)]
    fn spend_test(&mut self, left: &Value<'a>, right: &Value<'a>) -> Result<(), EvalError> {
        self.budget.spend(weight::of_test(left, right))
    }

    /// The truth of `node`.
    pub fn truth(&mut self, node: &'a Node) -> Result<bool, EvalError> {
        match node {
            Node::DoubleBound(slot, order, bound) => match quick::atom(node, self.slots) {
                Some(truth) => Ok(truth),
                None => self.bound_apart(*slot, *order, &Value::Double(*bound)),
            },
            Node::IntBound(slot, order, bound) => match quick::atom(node, self.slots) {
                Some(truth) => Ok(truth),
                None => self.bound_apart(*slot, *order, &Value::Int(*bound)),
            },
            Node::Test(run, args) => {
                if let (Some(left), Some(right)) =
                    (quick::lying(&args[0], self.slots), quick::lying(&args[1], self.slots))
                {
                    self.weigh_test(args, left, right)?;
                    return run(left, right);
                }
                let (mut left, mut right) = (Value::Null, Value::Null);
                let left = self.operand(&args[0], &mut left)?;
                let right = self.operand(&args[1], &mut right)?;
                self.weigh_test(args, left, right)?;
                run(left, right)
            }
            Node::And(nodes) => self.logic(nodes, false),
            Node::Or(nodes) => self.logic(nodes, true),
            Node::Present(slot) => quick::present(*slot, self.slots).ok_or_else(|| self.slots.reason(*slot)),
            other => match self.eval(other)? {
                Value::Bool(truth) => Ok(truth),
                Value::Null => Err(EvalError::new(ErrorKind::Missing, "the condition is null")),
                value => Err(no_overload("a condition", &[value])),
            },
        }
    }

    /// A bound on a slot that holds no number of the bound's type, or nothing.
    #[cold]
    fn bound_apart(&self, slot: Slot, order: Order, bound: &Value<'a>) -> Result<bool, EvalError> {
        order.test(self.slot(slot)?, bound)
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

    /// `&&` (decided by false) and `||` (decided by true): an operand that decides wins over errors on either side.
    fn logic(&mut self, nodes: &'a [Node], decides: bool) -> Result<bool, EvalError> {
        for (at, node) in nodes.iter().enumerate() {
            match self.truth(node) {
                Ok(truth) if truth == decides => return Ok(decides),
                Ok(_) => {}
                Err(error) => return self.logic_after(error, &nodes[at + 1..], decides),
            }
        }
        Ok(!decides)
    }

    /// The rest of a logic operation after an error, which stands unless a later operand decides.
    #[cold]
    fn logic_after(&mut self, error: EvalError, rest: &'a [Node], decides: bool) -> Result<bool, EvalError> {
        // A spent budget ends the evaluation; absorbing it would only go on spending.
        if error.kind() == ErrorKind::Budget {
            return Err(error);
        }
        for node in rest {
            match self.truth(node) {
                Ok(truth) if truth == decides => return Ok(decides),
                Err(next) if next.kind() == ErrorKind::Budget => return Err(next),
                Ok(_) | Err(_) => {}
            }
        }
        Err(error)
    }

    /// Whether `node` is nothing but a field that is absent, or null where its type has null.
    fn is_missing(&self, node: &Node) -> bool {
        match node {
            Node::Slot(slot) => matches!(self.slots.cell(*slot), Cell::Absent),
            Node::NonNull(inner) => match **inner {
                Node::Slot(slot) => quick::present(slot, self.slots) == Some(false),
                _ => false,
            },
            _ => false,
        }
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

    fn all(&mut self, nodes: &'a [Node]) -> Result<Few<'a>, EvalError> {
        nodes.iter().map(|node| self.eval(node)).collect()
    }

    fn dispatch(&mut self, dispatch: &'a Dispatch) -> Ran<'a> {
        let args = self.all(&dispatch.args)?;
        match &args[..] {
            args if node::only_looks(dispatch.name) => {
                args.iter().try_for_each(|arg| self.weigh_look(arg))?;
            }
            [left, right] if dispatch.rows.iter().all(|row| row.is_test()) => self.spend_test(left, right)?,
            args => self.weigh_all(args)?,
        }
        match dispatch.rows.iter().find(|row| row.accepts(&args)) {
            Some(_) if dispatch.name == "matches" => self.search(&args[0], &args[1]),
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
            Value::Map(map) => Ok(Value::Bool(map.field(name).is_some())),
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
