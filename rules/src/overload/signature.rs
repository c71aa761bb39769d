//! Parameter patterns: how static types and run-time values are matched against a row of the table.

use std::fmt;

use super::{Overload, Style};
use crate::types::Type;
use crate::value::{Kind, Value};

/// What a parameter takes, or a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    Decimal,
    Date,
    Type,
    /// Any number type.
    Number,
    /// Anything, null included.
    Any,
    /// Only as a result: known when it runs.
    Dyn,
    /// A type variable: the same type wherever it occurs in a row.
    A,
    /// The other type variable.
    B,
    List(&'static Param),
    Map(&'static Param, &'static Param),
    Optional(&'static Param),
}

/// How an argument's static type fits a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    No,
    /// `dyn` is involved: decided when it runs.
    Maybe,
    Yes,
}

impl Param {
    /// Matches an argument's static type, binding type variables in `vars`. A null in the argument itself counts as a
    /// missing value, so it is looked through; one in an element is not.
    pub fn fit(self, ty: &Type, vars: &mut [Option<Type>; 2]) -> Fit {
        if self == Param::Any { Fit::Yes } else { self.fit_inside(ty.non_null(), vars) }
    }

    fn fit_inside(self, ty: &Type, vars: &mut [Option<Type>; 2]) -> Fit {
        match (self, ty) {
            (Param::Any, _) => Fit::Yes,
            (Param::A, _) => bind(&mut vars[0], ty),
            (Param::B, _) => bind(&mut vars[1], ty),
            (_, Type::Dyn) => {
                self.bind_dyn(vars);
                Fit::Maybe
            }
            (Param::Number, _) if ty.is_number() => Fit::Yes,
            (Param::List(param), Type::List(element)) => param.fit_inside(element, vars),
            (Param::Optional(param), Type::Optional(inner)) => param.fit_inside(inner, vars),
            (Param::Map(key, value), Type::Map(key_type, value_type)) => {
                key.fit_inside(key_type, vars).min(value.fit_inside(value_type, vars))
            }
            (Param::Map(key, value), Type::Object(_)) => {
                key.fit_inside(&Type::String, vars).min(value.fit_inside(&Type::Dyn, vars).max(Fit::Maybe))
            }
            _ if self.kind().is_some() && self.resolve(vars) == *ty => Fit::Yes,
            _ => Fit::No,
        }
    }

    /// Binds the variables inside a parameter that was given `dyn`.
    fn bind_dyn(self, vars: &mut [Option<Type>; 2]) {
        match self {
            Param::A => drop(bind(&mut vars[0], &Type::Dyn)),
            Param::B => drop(bind(&mut vars[1], &Type::Dyn)),
            Param::List(inner) | Param::Optional(inner) => inner.bind_dyn(vars),
            Param::Map(key, value) => {
                key.bind_dyn(vars);
                value.bind_dyn(vars);
            }
            _ => {}
        }
    }

    /// Whether a run-time value fits. Elements are not looked at: the row's code checks those it reads.
    pub fn accepts(self, value: &Value<'_>) -> bool {
        match self {
            Param::Any | Param::A | Param::B | Param::Dyn => true,
            Param::Number => matches!(value.kind(), Kind::Int | Kind::Uint | Kind::Double | Kind::Decimal),
            _ => self.kind() == Some(value.kind()),
        }
    }

    /// The only run-time type that fits, when there is one.
    fn kind(self) -> Option<Kind> {
        Some(match self {
            Param::Bool => Kind::Bool,
            Param::Int => Kind::Int,
            Param::Uint => Kind::Uint,
            Param::Double => Kind::Double,
            Param::String => Kind::String,
            Param::Bytes => Kind::Bytes,
            Param::Timestamp => Kind::Timestamp,
            Param::Duration => Kind::Duration,
            Param::Decimal => Kind::Decimal,
            Param::Date => Kind::Date,
            Param::Type => Kind::Type,
            Param::List(_) => Kind::List,
            Param::Map(..) => Kind::Map,
            Param::Optional(_) => Kind::Optional,
            Param::Number | Param::Any | Param::Dyn | Param::A | Param::B => return None,
        })
    }

    /// The static type that the pattern denotes under `vars`; what is unbound is `dyn`.
    pub fn resolve(self, vars: &[Option<Type>; 2]) -> Type {
        match self {
            Param::Bool => Type::Bool,
            Param::Int => Type::Int,
            Param::Uint => Type::Uint,
            Param::Double => Type::Double,
            Param::String => Type::String,
            Param::Bytes => Type::Bytes,
            Param::Timestamp => Type::Timestamp,
            Param::Duration => Type::Duration,
            Param::Decimal => Type::Decimal,
            Param::Date => Type::Date,
            Param::Type => Type::Type,
            Param::Number | Param::Any | Param::Dyn => Type::Dyn,
            Param::A => vars[0].clone().unwrap_or(Type::Dyn),
            Param::B => vars[1].clone().unwrap_or(Type::Dyn),
            Param::List(element) => Type::list(element.resolve(vars)),
            Param::Map(key, value) => Type::map(key.resolve(vars), value.resolve(vars)),
            Param::Optional(inner) => Type::optional(inner.resolve(vars)),
        }
    }
}

/// Binds a type variable, or meets what it is bound to. Numbers of different types meet as `dyn`, because they compare
/// across types; so does `dyn` with anything.
fn bind(var: &mut Option<Type>, ty: &Type) -> Fit {
    match var {
        None => {
            *var = Some(ty.clone());
            Fit::Yes
        }
        Some(bound) => match bound.join(ty) {
            Some(joined) => {
                *var = Some(joined);
                Fit::Yes
            }
            None => Fit::No,
        },
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Param::Number => f.write_str("number"),
            Param::Any => f.write_str("any"),
            Param::A => f.write_str("A"),
            Param::B => f.write_str("B"),
            Param::List(inner) => write!(f, "list({inner})"),
            Param::Map(key, value) => write!(f, "map({key}, {value})"),
            Param::Optional(inner) => write!(f, "optional({inner})"),
            plain => write!(f, "{}", plain.resolve(&[None, None])),
        }
    }
}

/// A row written as a call.
pub(crate) struct Signature<'r>(pub &'r Overload);

impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signature(row) = self;
        let list = |params: &[Param]| params.iter().map(Param::to_string).collect::<Vec<_>>().join(", ");
        match (row.style, row.params) {
            (Style::Operator, [list, index]) if row.name == "[]" => write!(f, "{list}[{index}]")?,
            (Style::Operator, [list, index]) if row.name == "[?]" => write!(f, "{list}[?{index}]")?,
            (Style::Operator, [a]) => write!(f, "{}{a}", row.name.trim_end_matches('_'))?,
            (Style::Operator, [a, b]) => write!(f, "{a} {} {b}", row.name)?,
            (Style::Method, [receiver, rest @ ..]) => write!(f, "{receiver}.{}({})", row.name, list(rest))?,
            (_, params) => write!(f, "{}({})", row.name, list(params))?,
        }
        write!(f, " -> {}", row.result)
    }
}
