//! The overload table: every operator and function with its parameter types, its result type and its code.
//!
//! One row drives three readers: the checker resolves calls against it, the compiler puts its code into the program, and
//! calls on `dyn` values choose among its rows when they run. A function that is not in the table does not exist.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::error::{ErrorKind, EvalError};
use crate::types::Type;
use crate::value::Value;

mod arithmetic;
pub(crate) mod comparison;
mod conversion;
mod format;
mod list;
mod math;
mod optional;
mod regex;
mod signature;
mod string;
mod time;

pub(crate) use conversion::decimal_as_before;
pub(crate) use list::at as element_at;
pub(crate) use optional::select as select_optional;
pub(crate) use regex::{
    Pattern, compile as compile_regex, compile_as_before as compile_regex_as_before,
    refuse_long as refuse_long_pattern,
};
pub(crate) use signature::{Fit, Param, Signature};

/// What running an overload gives.
pub(crate) type Ran<'a> = Result<Value<'a>, EvalError>;

/// The code of an overload, by number of arguments (a method's receiver is its first).
#[derive(Clone, Copy)]
pub(crate) enum Run {
    One(for<'a> fn(&Value<'a>) -> Ran<'a>),
    Two(for<'a> fn(&Value<'a>, &Value<'a>) -> Ran<'a>),
    /// Two arguments to a truth value, which is returned in registers: comparisons are what rules consist of.
    Test(for<'a> fn(&Value<'a>, &Value<'a>) -> Result<bool, EvalError>),
    Many(for<'a> fn(&[Value<'a>]) -> Ran<'a>),
}

/// How a call of an overload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `a + b`, `!a`, `a[b]`.
    Operator,
    /// `name(a, b)`.
    Function,
    /// `a.name(b)`.
    Method,
}

/// One row of the table.
pub(crate) struct Overload {
    pub name: &'static str,
    pub style: Style,
    pub params: &'static [Param],
    pub result: Param,
    pub run: Run,
    /// Why the row may fail on values of its types, when authors can do something about it. Overflow is not told: every sum could.
    pub fails: Option<&'static str>,
}

impl Overload {
    /// An operator row.
    const fn op(name: &'static str, params: &'static [Param], result: Param, run: Run) -> Overload {
        Overload { name, style: Style::Operator, params, result, run, fails: None }
    }

    /// The same row, which may fail because of `why`.
    const fn failing(self, why: &'static str) -> Overload {
        Overload { fails: Some(why), ..self }
    }

    /// A function row.
    const fn function(name: &'static str, params: &'static [Param], result: Param, run: Run) -> Overload {
        Overload { name, style: Style::Function, params, result, run, fails: None }
    }

    /// A method row; the first parameter is the receiver.
    const fn method(name: &'static str, params: &'static [Param], result: Param, run: Run) -> Overload {
        Overload { name, style: Style::Method, params, result, run, fails: None }
    }

    /// Whether the row takes values of these run-time types.
    pub fn accepts(&self, args: &[Value<'_>]) -> bool {
        self.params.len() == args.len() && self.params.iter().zip(args).all(|(param, arg)| param.accepts(arg))
    }

    /// Whether the row's second argument is a time zone: a text beside a timestamp is nothing else.
    pub fn takes_zone(&self) -> bool {
        matches!(self.params, [Param::Timestamp, Param::String])
    }

    /// Whether the row is a test of two operands.
    pub fn is_test(&self) -> bool {
        matches!(self.run, Run::Test(_))
    }

    /// Runs the row on arguments of the right number.
    pub fn call<'a>(&self, args: &[Value<'a>]) -> Ran<'a> {
        match (self.run, args) {
            (Run::One(run), [a]) => run(a),
            (Run::Two(run), [a, b]) => run(a, b),
            (Run::Test(run), [a, b]) => run(a, b).map(Value::Bool),
            (Run::Many(run), args) => run(args),
            _ => Err(no_overload(self.name, args)),
        }
    }
}

/// All rows, grouped by subject.
const TABLE: [&[Overload]; 10] = [
    arithmetic::OVERLOADS,
    comparison::OVERLOADS,
    conversion::OVERLOADS,
    format::OVERLOADS,
    list::OVERLOADS,
    math::OVERLOADS,
    optional::OVERLOADS,
    regex::OVERLOADS,
    string::OVERLOADS,
    time::OVERLOADS,
];

/// The rows called `name`, operators and functions apart from methods; empty when there are none.
pub(crate) fn rows(name: &str, method: bool) -> &'static [&'static Overload] {
    static INDEX: OnceLock<[HashMap<&'static str, Vec<&'static Overload>>; 2]> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut index = [HashMap::new(), HashMap::new()];
        for row in TABLE.iter().copied().flatten() {
            index[usize::from(row.style == Style::Method)].entry(row.name).or_insert_with(Vec::new).push(row);
        }
        index
    });
    index[usize::from(method)].get(name).map_or(&[], Vec::as_slice)
}

/// The names of all functions, or of all methods.
pub(crate) fn names(style: Style) -> impl Iterator<Item = &'static str> {
    TABLE.iter().copied().flatten().filter(move |row| row.style == style).map(|row| row.name)
}

/// The error of arguments that no row takes. A null among them, of a field whose type nobody knows, has no value here as that of any other field.
#[cold]
pub(crate) fn no_overload(name: &str, args: &[Value<'_>]) -> EvalError {
    if args.iter().any(|arg| matches!(arg, Value::Null)) {
        return EvalError::new(ErrorKind::Missing, format!("`{name}` of null"));
    }
    let kinds: Vec<&str> = args.iter().map(|arg| arg.kind().name()).collect();
    EvalError::new(ErrorKind::NoOverload, format!("no overload of `{name}` takes ({})", kinds.join(", ")))
}

/// Why a function of a time zone may fail.
const ZONE: &str = "the zone may not be known";

/// The error of an argument that an operation does not admit.
#[cold]
fn invalid(message: impl Into<String>) -> EvalError {
    EvalError::new(ErrorKind::InvalidArgument, message)
}

/// The error of a result outside its type.
#[cold]
fn overflow(message: impl Into<String>) -> EvalError {
    EvalError::new(ErrorKind::Overflow, message)
}

/// The error of a position outside a value.
#[cold]
fn out_of_range(message: impl Into<String>) -> EvalError {
    EvalError::new(ErrorKind::OutOfRange, message)
}

/// A position or count argument as a size.
fn size_of_int(name: &str, int: i64) -> Result<usize, EvalError> {
    usize::try_from(int).map_err(|_| out_of_range(format!("`{name}`: {int} is negative")))
}

/// Refuses a result of more than `limit` units before it is made.
fn limit_size(name: &str, size: usize, limit: usize) -> Result<(), EvalError> {
    if size <= limit {
        return Ok(());
    }
    Err(EvalError::new(
        ErrorKind::Budget,
        format!("`{name}`: a result of size {size} is over the limit of {limit}"),
    ))
}

/// A row as the function list shows it: `name(types) -> type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDoc {
    /// The name; operators by their symbol.
    pub name: &'static str,
    /// How it is called, with parameter and result types.
    pub signature: String,
    /// Why a call may fail on values of its types; overflow is not told.
    pub fails: Option<&'static str>,
}

/// Every operator and function of the language, from the table that the checker and the evaluator use.
pub fn functions() -> Vec<FunctionDoc> {
    let rows = TABLE.iter().copied().flatten();
    let doc = |row: &Overload| FunctionDoc {
        name: row.name,
        signature: Signature(row).to_string(),
        fails: row.fails,
    };
    rows.map(doc).collect()
}

/// The static type that a row's result pattern denotes.
pub(crate) fn result_type(row: &Overload, vars: &[Option<Type>; 2]) -> Type {
    row.result.resolve(vars)
}
