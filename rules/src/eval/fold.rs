//! Macros over lists and maps: `all`, `exists`, `exists_one`, `map`, `filter`, their two-variable forms, `sortBy`.
//!
//! Part of the evaluator. Every round spends its cost before it runs.

use std::cmp::Ordering;

use super::{Frame, Ran};
use crate::error::{ErrorKind, EvalError};
use crate::limits::ELEMENTS_MAX;
use crate::node::{Fold, FoldKind, Node};
use crate::overload::no_overload;
use crate::value::{Map, Value, compare};

/// What the rounds have made so far.
enum State<'a> {
    /// `all` (decided by false) and `exists` (decided by true); an error counts only when no round decides.
    Quantifier {
        decides: bool,
        failure: Option<EvalError>,
    },
    Count(usize),
    List(Vec<Value<'a>>),
    Entries(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Frame<'_, 'a> {
    pub(super) fn fold(&mut self, fold: &'a Fold) -> Ran<'a> {
        let mut state = match fold.kind {
            FoldKind::All => State::Quantifier { decides: false, failure: None },
            FoldKind::Exists => State::Quantifier { decides: true, failure: None },
            FoldKind::ExistsOne => State::Count(0),
            FoldKind::List | FoldKind::Filter => State::List(Vec::new()),
            FoldKind::Map | FoldKind::MapEntry | FoldKind::SortBy => State::Entries(Vec::new()),
        };
        let range = self.eval(&fold.range)?;
        match range {
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let variables = (Value::Int(index as i64), item?);
                    if let Some(decided) = self.round(fold, variables, &mut state)? {
                        return Ok(decided);
                    }
                }
            }
            Value::Map(map) => {
                for entry in map.entries() {
                    let (key, value) = entry?;
                    let variables = if fold.two { (key, value) } else { (Value::Null, key) };
                    if let Some(decided) = self.round(fold, variables, &mut state)? {
                        return Ok(decided);
                    }
                }
            }
            other => return Err(no_overload("a macro over elements", &[other])),
        }
        finish(fold.kind, state)
    }

    /// One round; the value of the whole when this round decides it.
    fn round(
        &mut self,
        fold: &'a Fold,
        (first, second): (Value<'a>, Value<'a>),
        state: &mut State<'a>,
    ) -> Result<Option<Value<'a>>, EvalError> {
        self.budget.spend(fold.round_cost)?;
        let height = self.locals.len();
        if fold.two {
            self.locals.push(first.clone());
        }
        self.locals.push(second.clone());
        let result = self.body(fold);
        self.locals.truncate(height);
        match state {
            State::Quantifier { decides, failure } => match result {
                Ok(Some(Value::Bool(truth))) if truth == *decides => return Ok(Some(Value::Bool(truth))),
                Ok(Some(Value::Bool(_)) | None) => {}
                Ok(Some(other)) => drop(failure.get_or_insert_with(|| no_overload("a predicate", &[other]))),
                Err(error) if error.kind() == ErrorKind::Budget => return Err(error),
                Err(error) => drop(failure.get_or_insert(error)),
            },
            State::Count(count) => *count += usize::from(truth(result?)?),
            State::List(items) if fold.kind == FoldKind::Filter => {
                if truth(result?)? {
                    // Over a map the element is its key, which both forms hold in the right place.
                    items.push(second);
                }
            }
            State::List(items) => items.extend(result?),
            State::Entries(entries) => match (fold.kind, result?) {
                (_, None) => {}
                (FoldKind::Map, Some(value)) => entries.push((first, value)),
                (FoldKind::SortBy, Some(key)) => entries.push((key, second)),
                (_, Some(Value::Map(map))) => {
                    for entry in map.entries() {
                        entries.push(entry?);
                    }
                }
                (_, Some(other)) => return Err(no_overload("transformMapEntry", &[other])),
            },
        }
        bounded(state)?;
        Ok(None)
    }

    /// The body's value; `None` when the filter leaves the element out.
    fn body(&mut self, fold: &'a Fold) -> Result<Option<Value<'a>>, EvalError> {
        if let Some(filter) = &fold.filter
            && !truth(Some(self.eval(filter)?))?
        {
            return Ok(None);
        }
        self.eval(&fold.body).map(Some)
    }
}

/// The truth of a predicate.
fn truth(value: Option<Value<'_>>) -> Result<bool, EvalError> {
    match value {
        Some(Value::Bool(truth)) => Ok(truth),
        Some(other) => Err(no_overload("a predicate", &[other])),
        None => Ok(false),
    }
}

/// Refuses results beyond the element limit.
fn bounded(state: &State<'_>) -> Result<(), EvalError> {
    let len = match state {
        State::List(items) => items.len(),
        State::Entries(entries) => entries.len(),
        State::Quantifier { .. } | State::Count(_) => 0,
    };
    if len > ELEMENTS_MAX {
        return Err(EvalError::new(
            ErrorKind::Budget,
            format!("a result has more than {ELEMENTS_MAX} elements"),
        ));
    }
    Ok(())
}

fn finish<'a>(kind: FoldKind, state: State<'a>) -> Ran<'a> {
    match state {
        State::Quantifier { failure: Some(error), .. } => Err(error),
        State::Quantifier { decides, failure: None } => Ok(Value::Bool(!decides)),
        State::Count(count) => Ok(Value::Bool(count == 1)),
        State::List(items) => Ok(Value::list(items)),
        State::Entries(entries) if kind == FoldKind::SortBy => sorted(entries),
        State::Entries(entries) => Map::from_entries(entries).map(Value::Map),
    }
}

/// The elements in the order of their keys, equal keys in their old order.
fn sorted<'a>(mut entries: Vec<(Value<'a>, Value<'a>)>) -> Ran<'a> {
    if entries.windows(2).any(|pair| compare(&pair[0].0, &pair[1].0).is_none()) {
        return Err(EvalError::new(ErrorKind::InvalidArgument, "`sortBy` needs keys that can be compared"));
    }
    entries.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(entries.into_iter().map(|(_, item)| item).collect()))
}

/// The cost of one round over `body` and `filter`.
pub(crate) fn round_cost(filter: Option<&Node>, body: &Node) -> u64 {
    body.cost().saturating_add(filter.map_or(0, Node::cost)).saturating_add(2)
}
