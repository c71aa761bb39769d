//! Functions of the embedding program: typed like the table's own, called by name from rules.
//!
//! Declared with [`crate::Layout::with_function`], resolved by the checker, run by the evaluator. A function must be pure:
//! an outcome that is recorded today must be the one that a replay would compute.

use std::fmt;
use std::sync::Arc;

use crate::check::is_macro;
use crate::error::{ErrorKind, EvalError};
use crate::overload::{self, no_overload};
use crate::types::Type;
use crate::value::Value;

/// What one call costs unless [`Function::costing`] says otherwise, in cost units.
const COST_DEFAULT: u64 = 20;

type Code = dyn for<'a> Fn(&[Value<'a>]) -> Result<Value<'a>, EvalError> + Send + Sync;

/// A function that the embedding program adds to the language.
#[derive(Clone)]
pub struct Function {
    name: Arc<str>,
    params: Arc<[Type]>,
    result: Type,
    cost: u64,
    code: Arc<Code>,
}

/// Why a function cannot be declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRefused(String);

impl fmt::Display for FunctionRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FunctionRefused {}

impl Function {
    /// A function called `name`, such as `iban.valid`, that takes arguments of exactly these types. Arguments and the result are
    /// checked when it runs, so that `code` may rely on the number and the kinds of its arguments, and programs on its result.
    ///
    /// # Errors
    /// [`FunctionRefused`] when the name is no name, is taken by the language, or the types are objects, whose members nobody
    /// could check.
    pub fn new(
        name: &str,
        params: &[Type],
        result: Type,
        code: impl for<'a> Fn(&[Value<'a>]) -> Result<Value<'a>, EvalError> + Send + Sync + 'static,
    ) -> Result<Function, FunctionRefused> {
        let refuse = |why: &str| Err(FunctionRefused(format!("`{name}` {why}")));
        if !name.split('.').all(is_identifier) {
            return refuse("is not a function's name, which is identifiers joined by dots");
        }
        if !overload::rows(name, false).is_empty() || is_macro(name) {
            return refuse("is a function of the language already");
        }
        if params.iter().chain([&result]).any(|ty| matches!(ty.non_null(), Type::Object(_))) {
            return refuse("takes or gives an object; a map is `Type::map`");
        }
        Ok(Function {
            name: name.into(),
            params: params.into(),
            result,
            cost: COST_DEFAULT,
            code: Arc::new(code),
        })
    }

    /// The same function with a price of its own, in cost units of about one operation.
    #[must_use]
    pub fn costing(self, units: u64) -> Function {
        Function { cost: units, ..self }
    }

    /// The name by which rules call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn params(&self) -> &[Type] {
        &self.params
    }

    pub(crate) fn result(&self) -> &Type {
        &self.result
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Runs it on arguments of the right number.
    pub(crate) fn call<'a>(&self, args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
        for (arg, param) in args.iter().zip(self.params()) {
            if !conforms(arg, param)? {
                return Err(no_overload(&self.name, args));
            }
        }
        let value = (self.code)(args)?;
        if conforms(&value, &self.result)? {
            return Ok(value);
        }
        let message = format!("`{}` gave {} where it promises {}", self.name, value.kind(), self.result);
        Err(EvalError::new(ErrorKind::Misfit, message))
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<String> = self.params.iter().map(Type::to_string).collect();
        write!(f, "{}({}) -> {}", self.name, params.join(", "), self.result)
    }
}

/// Whether a value is of a static type, elements included.
fn conforms(value: &Value<'_>, ty: &Type) -> Result<bool, EvalError> {
    Ok(match (ty, value) {
        (Type::Dyn, _) | (Type::Nullable(_), Value::Null) => true,
        (Type::Nullable(inner), value) => conforms(value, inner)?,
        (Type::List(element), Value::List(list)) => {
            for item in list.iter() {
                if !conforms(&item?, element)? {
                    return Ok(false);
                }
            }
            true
        }
        (Type::Map(key_type, value_type), Value::Map(map)) => {
            for entry in map.entries() {
                let (key, value) = entry?;
                if !conforms(&key, key_type)? || !conforms(&value, value_type)? {
                    return Ok(false);
                }
            }
            true
        }
        (Type::Optional(held), Value::Optional(Some(value))) => conforms(value, held)?,
        (ty, value) => ty.kind() == Some(value.kind()),
    })
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
