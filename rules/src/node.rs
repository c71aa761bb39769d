//! The compiled form of an expression: what the checker makes and the evaluator runs.
//!
//! A tree of a few kinds of node. Names are gone: fields are slots, macro variables are positions, functions are the
//! table's code pointers, regular expressions and constants are ready.

use regex::Regex;
use std::sync::Arc;

use crate::error::EvalError;
use crate::function::Function;
use crate::layout::Slot;
use crate::limits::ELEMENTS_ASSUMED;
use crate::overload::{Overload, Run, comparison};
use crate::value::{List, Value};

/// One operation of a program.
pub(crate) enum Node {
    Const(Value<'static>),
    /// The value in a slot; missing, misfit and unbound slots are errors.
    Slot(Slot),
    /// Whether a slot has a value that is not null.
    Present(Slot),
    /// A macro variable by its position on the stack.
    Local(u32),
    /// Always this error; only in dynamic programs, where the checker's refusals happen at run time.
    Fail(EvalError),
    /// The value of a nullable operand where null is not expected: null is a missing value.
    NonNull(Box<Node>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Cond(Box<[Node; 3]>),
    /// One overload, chosen by the checker.
    Call1(for<'a> fn(&Value<'a>) -> Result<Value<'a>, EvalError>, Box<Node>),
    Call2(for<'a> fn(&Value<'a>, &Value<'a>) -> Result<Value<'a>, EvalError>, Box<[Node; 2]>),
    /// As the two before, of overloads that only look: their work does not grow with lists and maps that they are given.
    Look1(for<'a> fn(&Value<'a>) -> Result<Value<'a>, EvalError>, Box<Node>),
    Look2(for<'a> fn(&Value<'a>, &Value<'a>) -> Result<Value<'a>, EvalError>, Box<[Node; 2]>),
    /// A comparison, or another test of two operands.
    Test(for<'a> fn(&Value<'a>, &Value<'a>) -> Result<bool, EvalError>, Box<[Node; 2]>),
    /// A field beside a constant number: the commonest condition of a form, with nothing to fetch but the slot. A whole one is
    /// asked of doubles, too: `amount > 1000`.
    DoubleBound(Slot, Order, f64),
    IntBound(Slot, Order, i64),
    CallN(for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, EvalError>, Box<[Node]>),
    /// Overloads to choose among by run-time types.
    Dispatch(Box<Dispatch>),
    /// A function of the embedding program.
    Injected(Box<Injected>),
    /// `text.matches(pattern)`, of a pattern that is known when it runs.
    Search(Box<[Node; 2]>),
    /// `text.matches(literal)`.
    Matches(Box<(Node, Regex)>),
    /// `operand.name` of a map or object.
    Select(Box<(Node, Arc<str>)>),
    /// `operand.?name`.
    SelectOptional(Box<(Node, Arc<str>)>),
    /// `has(operand.name)`.
    Has(Box<(Node, Arc<str>)>),
    /// A list; the flag marks `?element`.
    List(Box<[(Node, bool)]>),
    /// A map; the flag marks `?key: value`.
    Map(Box<[(Node, Node, bool)]>),
    Fold(Box<Fold>),
    /// The second with the value of the first as a further macro variable.
    Let(Box<[Node; 2]>),
    /// `optMap` and `optFlatMap` (`flat`): the body with the optional's value as a further macro variable.
    OptionalMap {
        parts: Box<[Node; 2]>,
        flat: bool,
    },
}

/// A call on `dyn` operands.
pub(crate) struct Dispatch {
    pub name: &'static str,
    pub rows: Vec<&'static Overload>,
    pub args: Box<[Node]>,
}

/// A call of the embedding program's function.
pub(crate) struct Injected {
    pub function: Arc<Function>,
    pub args: Box<[Node]>,
}

/// A macro over the elements of a list or map.
pub(crate) struct Fold {
    pub kind: FoldKind,
    pub range: Node,
    /// Two variables (index and element, key and value) instead of one (element, key).
    pub two: bool,
    /// Which elements take part.
    pub filter: Option<Node>,
    /// The predicate or the new element.
    pub body: Node,
    /// What one round costs.
    pub round_cost: u64,
}

/// What a [`Fold`] makes of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// A list of the bodies.
    List,
    /// A list of the elements for which the body holds.
    Filter,
    /// A map from the first variable to the body.
    Map,
    /// The union of the one-entry maps that the body makes.
    MapEntry,
    /// The elements ordered by the body.
    SortBy,
}

/// The operators of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    /// The operator called `name`.
    fn named(name: &str) -> Option<Order> {
        Some(match name {
            "<" => Order::Less,
            "<=" => Order::LessOrEqual,
            ">" => Order::Greater,
            ">=" => Order::GreaterOrEqual,
            _ => return None,
        })
    }

    /// Whether it holds between two numbers of one type.
    #[inline]
    pub fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Order::Less => a < b,
            Order::LessOrEqual => a <= b,
            Order::Greater => a > b,
            Order::GreaterOrEqual => a >= b,
        }
    }

    /// Whether it holds between any two values.
    pub fn test<'a>(self, a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
        match self {
            Order::Less => comparison::less(a, b),
            Order::LessOrEqual => comparison::less_or_equal(a, b),
            Order::Greater => comparison::greater(a, b),
            Order::GreaterOrEqual => comparison::greater_or_equal(a, b),
        }
    }
}

/// Whether the overloads called `name` look at one element of a list or map, at its size, or hand it on as it is.
pub(crate) fn only_looks(name: &str) -> bool {
    ["[]", "[?]", "size", "first", "last", "or", "orValue", "optional.of", "type", "dyn"].contains(&name)
}

impl Node {
    /// Calls the overload of the row called `name`.
    pub fn call_row(name: &str, run: Run, args: Vec<Node>) -> Node {
        match (Order::named(name), &args[..]) {
            (Some(order), [Node::Slot(slot), Node::Const(Value::Double(bound))]) => {
                Node::DoubleBound(*slot, order, *bound)
            }
            (Some(order), [Node::Slot(slot), Node::Const(Value::Int(bound))]) => {
                Node::IntBound(*slot, order, *bound)
            }
            _ if only_looks(name) => Node::call(run, args).looking(),
            _ if name == "matches" => Node::call(run, args).searching(),
            _ => Node::call(run, args),
        }
    }

    /// The call as one that only looks.
    fn looking(self) -> Node {
        match self {
            Node::Call1(run, arg) => Node::Look1(run, arg),
            Node::Call2(run, args) => Node::Look2(run, args),
            other => other,
        }
    }

    /// The call as one of `matches`.
    fn searching(self) -> Node {
        match self {
            Node::Call2(_, args) => Node::Search(args),
            other => other,
        }
    }

    /// The constant that the node compares `slot` with, when it does nothing else.
    pub fn compared(&self, slot: Slot) -> Option<Value<'static>> {
        match self {
            Node::Test(_, args) if matches!(args[0], Node::Slot(read) if read == slot) => {
                args[1].as_const().cloned()
            }
            Node::DoubleBound(read, _, bound) if *read == slot => Some(Value::Double(*bound)),
            Node::IntBound(read, _, bound) if *read == slot => Some(Value::Int(*bound)),
            _ => None,
        }
    }

    /// Calls one overload.
    pub fn call(run: Run, mut args: Vec<Node>) -> Node {
        let two = |args: Vec<Node>| match <Box<[Node; 2]>>::try_from(args) {
            Ok(pair) => pair,
            Err(_) => unreachable!("the caller matched two arguments"),
        };
        match (run, args.len()) {
            (Run::One(run), 1) => Node::Call1(run, Box::new(args.remove(0))),
            (Run::Two(run), 2) => Node::Call2(run, two(args)),
            (Run::Test(run), 2) => Node::Test(run, two(args)),
            (Run::Many(run), _) => Node::CallN(run, args.into()),
            _ => unreachable!("a row's code takes as many arguments as the row has parameters"),
        }
    }

    /// The constant, when this is one.
    pub fn as_const(&self) -> Option<&Value<'static>> {
        match self {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    /// Worst-case cost in units of about one operation; lists of unknown size count as [`ELEMENTS_ASSUMED`].
    pub fn cost(&self) -> u64 {
        let sum = |nodes: &[Node]| nodes.iter().fold(1, |sum: u64, node| sum.saturating_add(node.cost()));
        match self {
            Node::Const(_) | Node::Slot(_) | Node::Present(_) | Node::Local(_) | Node::Fail(_) => 1,
            // As a test of two operands.
            Node::DoubleBound(..) | Node::IntBound(..) => 3,
            Node::And(nodes) | Node::Or(nodes) | Node::CallN(_, nodes) => sum(nodes),
            Node::Cond(nodes) => {
                nodes[0].cost().saturating_add(nodes[1].cost().max(nodes[2].cost())).saturating_add(1)
            }
            Node::NonNull(node) | Node::Call1(_, node) | Node::Look1(_, node) => {
                node.cost().saturating_add(1)
            }
            Node::Call2(_, nodes)
            | Node::Search(nodes)
            | Node::Look2(_, nodes)
            | Node::Test(_, nodes)
            | Node::Let(nodes)
            | Node::OptionalMap { parts: nodes, .. } => sum(&nodes[..]),
            Node::Dispatch(dispatch) => sum(&dispatch.args).saturating_add(4),
            Node::Injected(call) => sum(&call.args).saturating_add(call.function.cost()),
            Node::Matches(parts) => parts.0.cost().saturating_add(20),
            Node::Select(parts) | Node::SelectOptional(parts) | Node::Has(parts) => {
                parts.0.cost().saturating_add(4)
            }
            Node::List(items) => items.iter().fold(1, |sum: u64, (node, _)| sum.saturating_add(node.cost())),
            Node::Map(entries) => entries.iter().fold(1, |sum: u64, (key, value, _)| {
                sum.saturating_add(key.cost()).saturating_add(value.cost())
            }),
            Node::Fold(fold) => {
                fold.range.cost().saturating_add(fold.round_cost.saturating_mul(fold.rounds()))
            }
        }
    }
}

impl Fold {
    /// Rounds to expect: exact for a literal list.
    fn rounds(&self) -> u64 {
        match &self.range {
            Node::Const(Value::List(List::Owned(items))) => items.len() as u64,
            Node::List(items) => items.len() as u64,
            _ => ELEMENTS_ASSUMED,
        }
    }
}
