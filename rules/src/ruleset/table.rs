//! Decision tables: rows of small tests on inputs, compiled to the same programs as other rules.
//!
//! Compiled by [`super::compile`], run by [`super::evaluate`]. Each input is evaluated once, into a slot of its own; a
//! row's tests read that slot.
//!
//! A cell is `-` (always), or alternatives separated by commas, or `not(…)` around them. An alternative is a comparison
//! (`< 100`, `>= date('2026-01-01')`, `!= 'DE'`), a range (`[1..10)`, `(0..1]`; round brackets exclude), a value to
//! equal (`'DE'`, `limit * 2`), `in [..]`, or a condition of its own (`risk > 0.5`, where the input is not a bool).

use std::sync::Arc;

use serde_json::{Number, Value as Json};

use super::compile::Compiler;
use super::definition::{Collect, Definition, Hit, TableDefinition};
use crate::budget::Budget;
use crate::error::{ErrorKind, EvalError};
use crate::layout::Slot;
use crate::program::Program;
use crate::slots::Slots;
use crate::syntax::{ExprKind, parse};
use crate::types::{Field, Type};
use crate::value::{Value, from_json};

mod analysis;
mod axis;
mod cell;
mod collect;

pub(super) use cell::expressions;
pub(crate) use cell::{Alternative, cut, ranges as cell_ranges};

/// A compiled table.
#[derive(Debug)]
pub(super) struct Table {
    hit: Hit,
    /// What is tested, and the slot that holds it for the rows.
    inputs: Vec<(Program, Slot)>,
    rows: Vec<Row>,
    /// What it says where no row matches; null when it does not say.
    otherwise: Arc<Json>,
}

#[derive(Debug)]
struct Row {
    tests: Vec<Test>,
    then: Arc<Json>,
    ty: Type,
    priority: f64,
}

/// A cell that is not `-`.
#[derive(Debug)]
struct Test {
    negated: bool,
    /// One of these must hold; each is a conjunction.
    alternatives: Vec<Vec<Program>>,
}

/// What a table says, and the rows that matched.
pub(super) struct Matched<'a> {
    pub said: Said<'a>,
    pub rows: Vec<usize>,
}

/// What a table says.
pub(super) enum Said<'a> {
    /// No row matched.
    Nothing(&'a Arc<Json>),
    /// A row's `then`.
    Row(&'a Arc<Json>),
    /// Values put together from several rows: by key, or one where rows are no objects.
    Keys(Vec<(&'a str, Value<'a>)>),
    Scalar(Value<'a>),
}

impl Table {
    /// Compiles a table, and tells whether it is certain that some row gives its result, whatever is submitted.
    pub(super) fn compile(
        compiler: &mut Compiler,
        definition: &Definition,
        source: &TableDefinition,
    ) -> Option<(Table, bool)> {
        let columns: Vec<Column> = source
            .inputs
            .iter()
            .enumerate()
            .map(|(at, text)| Column::compile(compiler, definition, at, text))
            .collect();
        let rows: Option<Vec<(Row, Vec<cell::Admits>)>> = (0..source.rows.len())
            .map(|at| Row::compile(compiler, definition, source, at, &columns))
            // All of them, for their problems, before the first that failed ends it.
            .collect::<Vec<_>>()
            .into_iter()
            .collect();
        let (rows, cells): (Vec<Row>, Vec<Vec<cell::Admits>>) = rows?.into_iter().unzip();
        let covered = analysis::analyse(compiler, definition, source, &columns, &cells);
        let inputs = columns.into_iter().map(|column| Some((column.program?, column.slot)));
        let inputs: Vec<(Program, Slot)> = inputs.collect::<Option<_>>()?;
        let tests = rows.iter().flat_map(|row| &row.tests).flat_map(|test| &test.alternatives).flatten();
        let fails = inputs.iter().map(|(program, _)| program).chain(tests).any(Program::may_fail);
        let otherwise = source.otherwise.clone().unwrap_or_default().into();
        Some((Table { hit: source.hit, inputs, rows, otherwise }, covered && !fails))
    }

    /// Whether its result may be put together from several rows.
    pub(super) fn collects(&self) -> bool {
        matches!(self.hit, Hit::Collect(_))
    }

    /// What the table says over `slots`. An input that reads a missing field matches only `-`.
    ///
    /// # Errors
    /// The run-time error of an input or a test; two matching rows under [`Hit::Unique`].
    pub(super) fn run<'a>(
        &'a self,
        slots: &mut Slots<'a>,
        budget: &mut Budget,
    ) -> Result<Matched<'a>, EvalError> {
        for (program, slot) in &self.inputs {
            match program.eval(slots, budget) {
                Ok(Value::Null) => slots.clear(*slot),
                Ok(value) => slots.set(*slot, value),
                Err(error) if error.kind() == ErrorKind::Missing => slots.clear(*slot),
                Err(error) => return Err(error),
            }
        }
        let mut matching: Vec<usize> = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            if !row.matches(slots, budget)? {
                continue;
            }
            if self.hit == Hit::First {
                return Ok(Matched { said: Said::Row(&row.then), rows: vec![at] });
            }
            matching.push(at);
        }
        Ok(Matched { said: self.choose(&matching)?, rows: matching })
    }

    fn choose(&self, matching: &[usize]) -> Result<Said<'_>, EvalError> {
        let Some(&first) = matching.first() else { return Ok(Said::Nothing(&self.otherwise)) };
        match self.hit {
            Hit::First => Ok(Said::Row(&self.rows[first].then)),
            Hit::Unique => match matching.get(1) {
                None => Ok(Said::Row(&self.rows[first].then)),
                Some(second) => {
                    let message =
                        format!("rows {} and {} both match, but `hit` is `unique`", first + 1, second + 1);
                    Err(EvalError::new(ErrorKind::InvalidArgument, message))
                }
            },
            Hit::Priority => {
                let better = |best: usize, next: usize| {
                    if self.rows[next].priority > self.rows[best].priority { next } else { best }
                };
                let best = matching.iter().copied().fold(first, better);
                Ok(Said::Row(&self.rows[best].then))
            }
            Hit::Collect(collect) => self.collect(collect, matching),
        }
    }

    /// Puts the matching rows together, key by key when they are objects.
    fn collect(&self, collect: Collect, matching: &[usize]) -> Result<Said<'_>, EvalError> {
        let rows = || matching.iter().map(|&at| &self.rows[at]);
        if rows().any(|row| !matches!(row.ty, Type::Object(_))) {
            let values = rows().map(|row| from_json(&row.then, &row.ty)).collect::<Result<_, _>>()?;
            return collect::aggregate(collect, values).map(Said::Scalar);
        }
        let mut keys: Vec<(&str, Vec<Value<'_>>)> = Vec::new();
        for row in rows() {
            let (Json::Object(members), Type::Object(object)) = (&*row.then, &row.ty) else { continue };
            for (name, json) in members {
                let Some(field) = object.field(name) else { continue };
                let value = from_json(json, &field.ty)?;
                match keys.iter_mut().find(|(key, _)| key == name) {
                    Some((_, values)) => values.push(value),
                    None => keys.push((name, vec![value])),
                }
            }
        }
        let keys = keys.into_iter().map(|(key, values)| Ok((key, collect::aggregate(collect, values)?)));
        keys.collect::<Result<_, EvalError>>().map(Said::Keys)
    }
}

/// An input being compiled. Without a program there was a problem, and its cells are checked as far as they can be.
struct Column {
    program: Option<Program>,
    slot: Slot,
    ty: Type,
    /// The schema's least and greatest number, when the input is a plain field; those that a function gives. The checker does not see them on the input's
    /// own slot: what they decide is told of the row.
    limits: [Option<Number>; 2],
    /// Whether the input may be missing.
    optional: bool,
}

impl Column {
    fn compile(compiler: &mut Compiler, definition: &Definition, at: usize, text: &str) -> Column {
        let program = compiler.program(definition, &format!("inputs/{at}"), text, None, (0, 0), None);
        let ty = program.as_ref().map_or(Type::Dyn, |program| program.result_type().non_null().clone());
        let optional = program.as_ref().is_none_or(|program| {
            matches!(program.result_type(), Type::Nullable(_)) || !program.warnings().is_empty()
        });
        // A plain field passes its enum on, so that cells are checked against it.
        let field = program.as_ref().and_then(Program::slot);
        let info = field.map(|slot| compiler.layout.info(slot).clone());
        let least = is_size(text).then(|| Number::from(0));
        let (values, limits) =
            info.map_or((None, [least, None]), |info| (info.values, [info.minimum, info.maximum]));
        let name = cell::variable(definition.place, at);
        let slot = compiler.layout.add_variable(&Field { values, ..Field::required(&name, ty.clone()) });
        compiler.layout.show_as(slot, text);
        Column { program, slot, ty, limits, optional }
    }

    /// Whether the input may be no number that is in any order: fields never are.
    fn may_be_nan(&self) -> bool {
        let is_field = self.program.as_ref().is_some_and(|program| program.slot().is_some());
        self.ty == Type::Double && !is_field
    }
}

/// Whether an input is nothing but a size, which is never negative.
fn is_size(text: &str) -> bool {
    text.contains("size")
        && parse(text).is_ok_and(|tree| matches!(tree.kind, ExprKind::Call { name: "size", .. }))
}

impl Row {
    fn compile(
        compiler: &mut Compiler,
        definition: &Definition,
        source: &TableDefinition,
        at: usize,
        columns: &[Column],
    ) -> Option<(Row, Vec<cell::Admits>)> {
        let row = &source.rows[at];
        let mut tests = Vec::new();
        for (column, text) in row.when.iter().enumerate() {
            let place = cell::Place {
                definition,
                row: at,
                column,
                input: &columns[column].ty,
                slot: columns[column].slot,
            };
            tests.push(cell::compile(compiler, &place, text));
        }
        let ty = super::shape::type_of(&row.then);
        if let Hit::Collect(collect) = source.hit
            && let Some(message) = collect::refusal(collect, &ty)
        {
            compiler.error(definition, &format!("rows/{at}/then"), message);
        }
        let (tests, admits): (Vec<_>, Vec<_>) =
            tests.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let tests = tests.into_iter().flatten().collect();
        Some((Row { tests, then: row.then.clone().into(), ty, priority: row.priority }, admits))
    }

    fn matches<'a>(&'a self, slots: &Slots<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
        budget.spend(1)?;
        for test in &self.tests {
            if !test.holds(slots, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Test {
    fn holds<'a>(&'a self, slots: &Slots<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
        for alternative in &self.alternatives {
            match all_hold(alternative, slots, budget) {
                Ok(true) => return Ok(!self.negated),
                Ok(false) => {}
                // Whatever is missing is in no alternative, and not outside of them either.
                Err(error) if error.kind() == ErrorKind::Missing => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(self.negated)
    }
}

fn all_hold<'a>(programs: &'a [Program], slots: &Slots<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    for program in programs {
        if !program.eval_bool(slots, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}
