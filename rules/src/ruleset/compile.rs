//! Compiling a rule set: each rule, in the order in which they run, against a layout that grows with what rules make.
//!
//! Called by [`super::RuleSet::compile`].

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::definition::{Collect, Definition, Hit, Kind, Problems, TableDefinition, read};
use super::order::{ordered, path};
use super::outcome::RuleProblem;
use super::place::nothing_at;
use super::shape::{meet, outcome_type, type_of};
use super::table::Table;
use super::{Action, OUTCOMES, Rule, RuleSet, VALUE};
use crate::error::{Problem, Severity};
use crate::layout::{Layout, Slot};
use crate::program::Program;
use crate::slots::SlotSet;
use crate::syntax::{Parsed, parse};
use crate::types::{Field, ObjectType, Type};
use crate::value::Value;

pub(super) fn compile(source: &Json, layout: &Layout) -> Result<RuleSet, Vec<RuleProblem>> {
    let mut problems = Problems::default();
    let definitions = read(source, &mut problems);
    let mut layout = layout.clone();
    layout.add_variable(&Field::required(OUTCOMES, outcomes(&definitions)));
    // Before any rule is compiled, because some stand before the one that computes what they read.
    for definition in &definitions {
        if let Kind::Compute { into, .. } = &definition.kind {
            let path = path(into);
            layout.forget_limits(&path.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    let mut compiler = Compiler { layout, problems, uses: SlotSet::default(), computed: HashMap::new() };
    let mut rules = Vec::with_capacity(definitions.len());
    for (definition, tree) in ordered(&definitions, &mut compiler.problems) {
        let action = compiler.action(definition, tree);
        rules.extend(action.map(|action| Rule {
            id: definition.id.clone(),
            place: definition.place,
            read: false,
            action,
        }));
    }
    if compiler.problems.broken {
        return Err(compiler.problems.found);
    }
    compiler.look_for_places(&definitions);
    let plan = compiler.layout.root().pruned(&compiler.uses);
    let read = compiler.layout.variables().pruned(&compiler.uses);
    let read = read.member(OUTCOMES).and_then(|outcomes| outcomes.branch.as_ref());
    for rule in &mut rules {
        rule.read = read.is_some_and(|outcomes| outcomes.member(&rule.id).is_some());
    }
    Ok(RuleSet {
        layout: compiler.layout,
        source: source.clone(),
        kept: rules.iter().filter(|rule| rule.keeps()).count(),
        plan,
        uses: compiler.uses,
        rules,
        remarks: compiler.problems.found,
    })
}

/// The type of the variable `outcomes`: what each decision and table may say.
fn outcomes(definitions: &[Definition]) -> Type {
    let fields = definitions.iter().filter_map(|definition| {
        let ty = match &definition.kind {
            Kind::Decision { then, otherwise, .. } => {
                let result = otherwise.iter().map(type_of).fold(type_of(then), meet);
                outcome_type(result, otherwise.is_none())
            }
            Kind::Table(table) => outcome_type(table_type(table), table.otherwise.is_none()),
            Kind::Constraint { .. } | Kind::Compute { .. } => return None,
        };
        Some(Field::required(&definition.id, ty))
    });
    Type::Object(Arc::new(ObjectType::new(fields, false)))
}

/// The type of a table's result.
fn table_type(table: &TableDefinition) -> Type {
    let rows = table.rows.iter().map(|row| type_of(&row.then)).reduce(meet).unwrap_or(Type::Null);
    let collected = match (table.hit, rows) {
        (Hit::Collect(collect), Type::Object(row)) => {
            let fields =
                row.fields().iter().map(|field| Field::optional(&field.name, collected(collect, &field.ty)));
            Type::Object(Arc::new(ObjectType::new(fields, false)))
        }
        (Hit::Collect(collect), scalar) => collected(collect, &scalar),
        (_, rows) => rows,
    };
    table.otherwise.iter().map(type_of).fold(collected, meet)
}

/// The keys that every result of a table has a value for: [`VALUE`] where all are values of their own. Its type does not know them where a row may be
/// missing, or where several rows are put together.
fn keys_of_all(table: &TableDefinition) -> Vec<&str> {
    let results: Vec<&Json> = table.rows.iter().map(|row| &row.then).chain(&table.otherwise).collect();
    let Some((Json::Object(first), others)) = results.split_first() else {
        let values = results.iter().all(|result| !result.is_object() && !result.is_null());
        return if values { vec![VALUE] } else { Vec::new() };
    };
    let has = |result: &Json, key: &str| result.get(key).is_some_and(|value| !value.is_null());
    let keys =
        first.iter().filter(|(key, value)| !value.is_null() && others.iter().all(|other| has(other, key)));
    keys.map(|(key, _)| key.as_str()).collect()
}

fn collected(collect: Collect, ty: &Type) -> Type {
    match collect {
        Collect::List => Type::list(ty.clone()),
        Collect::Count => Type::Int,
        Collect::Sum | Collect::Min | Collect::Max => ty.non_null().clone(),
    }
}

/// The state of compiling one set.
pub(super) struct Compiler {
    pub layout: Layout,
    pub problems: Problems,
    uses: SlotSet,
    /// The rule that computes a slot.
    computed: HashMap<Slot, Arc<str>>,
}

impl Compiler {
    /// Compiles one expression at `member` of a rule. `tree` is `source` parsed, where that happened already; `offset` is where
    /// its text starts in that member, and `prefix` how many bytes of `source` come before that text.
    pub fn program(
        &mut self,
        definition: &Definition,
        member: &str,
        source: &str,
        tree: Option<Parsed<'_>>,
        (prefix, offset): (usize, usize),
        wanted: Option<&Type>,
    ) -> Option<Program> {
        let tree = tree.unwrap_or_else(|| parse(source));
        let result = Program::compile_tree(source, tree, &self.layout, wanted);
        let remarks = match &result {
            Ok(program) => program.warnings(),
            Err(problems) => problems,
        };
        for remark in remarks {
            let located = self.located(definition, member, remark, prefix, offset);
            if remark.tolerated { self.problems.remark(located) } else { self.problems.push(located) }
        }
        let program = result.ok()?;
        self.uses.extend(program.uses());
        Some(program)
    }

    fn located(
        &self,
        definition: &Definition,
        member: &str,
        problem: &Problem,
        prefix: usize,
        offset: usize,
    ) -> RuleProblem {
        let shift = |at: usize| at.saturating_sub(prefix) + offset;
        RuleProblem {
            pointer: format!("/rules/{}/{member}", definition.place),
            rule: Some(definition.id.clone()),
            message: if prefix == 0 { problem.message.clone() } else { self.with_inputs(&problem.message) },
            span: Some(shift(problem.span.start)..shift(problem.span.end)),
            severity: problem.severity,
        }
    }

    /// A message about a cell, with inputs called as their author did.
    fn with_inputs(&self, message: &str) -> String {
        let hidden = self.layout.variables().members.iter().filter(|member| member.name.starts_with('@'));
        hidden.fold(message.to_owned(), |message, member| {
            let shown = self.layout.info(member.slot).path.join(".");
            message.replace(&format!("`{}`", member.name), &shown)
        })
    }

    pub fn error(&mut self, definition: &Definition, member: &str, message: impl Into<String>) {
        self.problems.error(format!("/rules/{}/{member}", definition.place), Some(&definition.id), message);
    }

    pub fn warn(&mut self, definition: &Definition, member: &str, message: &str) {
        self.remark(definition, member, message.to_owned(), Severity::Warning);
    }

    /// Refuses what was found by analysis. Rules published by a binary that did not find it go on running.
    pub fn refuse(&mut self, definition: &Definition, member: &str, message: String) {
        self.remark(definition, member, message, Severity::Error);
    }

    fn remark(&mut self, definition: &Definition, member: &str, message: String, severity: Severity) {
        self.problems.remark(RuleProblem {
            pointer: format!("/rules/{}/{member}", definition.place),
            rule: Some(definition.id.clone()),
            message,
            span: None,
            severity,
        });
    }

    fn action(&mut self, definition: &Definition, tree: Option<Parsed<'_>>) -> Option<Action> {
        match &definition.kind {
            Kind::Constraint { assert, at, message } => {
                let assert = self.condition(definition, "assert", assert, tree)?;
                match assert.constant() {
                    Some(Value::Bool(true)) => self.warn(definition, "assert", "this always holds"),
                    Some(_) => {
                        self.warn(definition, "assert", "this never holds: no submission would be accepted")
                    }
                    None => {}
                }
                let message =
                    message.clone().unwrap_or_else(|| format!("the rule `{}` does not hold", definition.id));
                Some(Action::Constraint { assert, at: at.as_str().into(), message })
            }
            Kind::Decision { when, then, otherwise } => {
                let when = self.condition(definition, "when", when, tree)?;
                match when.constant() {
                    Some(Value::Bool(true)) => {
                        self.warn(definition, "when", "this always holds, so `otherwise` is never used")
                    }
                    Some(_) => self.warn(definition, "when", "this never holds, so `then` is never used"),
                    None => {}
                }
                let otherwise = otherwise.clone().unwrap_or_default();
                Some(Action::Decision { when, then: then.clone().into(), otherwise: otherwise.into() })
            }
            Kind::Compute { value, into } => self.compute(definition, value, tree, into),
            Kind::Table(source) => {
                let (table, complete) = Table::compile(self, definition, source)?;
                if complete || source.otherwise.is_some() {
                    for key in keys_of_all(source) {
                        self.layout.promise(&[OUTCOMES, &definition.id, key]);
                    }
                }
                Some(Action::Table(Box::new(table)))
            }
        }
    }

    /// Warns of constraints that mark a field that is nowhere. Once all computes have made their fields.
    fn look_for_places(&mut self, definitions: &[Definition]) {
        for definition in definitions {
            if let Kind::Constraint { at, .. } = &definition.kind
                && let Some(message) = nothing_at(&self.layout, at)
            {
                self.warn(definition, "at", &message);
            }
        }
    }

    /// Compiles an expression that must be a bool.
    fn condition(
        &mut self,
        definition: &Definition,
        member: &str,
        source: &str,
        tree: Option<Parsed<'_>>,
    ) -> Option<Program> {
        let program = self.program(definition, member, source, tree, (0, 0), None)?;
        match program.result_type().non_null() {
            Type::Bool | Type::Dyn => Some(program),
            other => {
                self.error(definition, member, format!("`{member}` must be a bool; this is {other}"));
                None
            }
        }
    }

    fn compute(
        &mut self,
        definition: &Definition,
        value: &str,
        tree: Option<Parsed<'_>>,
        into: &str,
    ) -> Option<Action> {
        let path = path(into);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let existing = self.layout.slot(&path);
        let wanted = existing.map(|slot| self.layout.info(slot).ty.non_null().clone());
        if matches!(wanted, Some(Type::Object(_))) {
            // Its members have slots of their own, which would go on holding what was submitted.
            self.error(definition, "into", format!("`{into}` is an object; compute its members one by one"));
            return None;
        }
        let program = self.program(definition, "value", value, tree, (0, 0), wanted.as_ref())?;
        let made = match program.result_type().non_null() {
            Type::Object(_) => Type::map(Type::String, Type::Dyn),
            plain => plain.clone(),
        };
        if let Some(wanted) = &wanted
            && !assignable(&made, wanted)
        {
            let message = format!("`{into}` holds {wanted}, but this is {made}{}", conversion(&made, wanted));
            self.error(definition, "value", message);
            return None;
        }
        let ty = wanted.unwrap_or(made);
        if existing.is_none() && !self.layout.add_field(&path, ty.clone()) {
            self.error(definition, "into", format!("there is no object for `{into}` to lie in"));
            return None;
        }
        let slot = existing.or_else(|| self.layout.slot(&path))?;
        if let Some(other) = self.computed.insert(slot, definition.id.clone()) {
            // Rules would read what the last one made, and the data keep whatever was written last.
            let message = format!("the rule `{other}` computes `{into}` already; a field has one compute");
            self.refuse(definition, "into", message);
        }
        Some(Action::Compute { value: program, into: into.into(), slot, ty })
    }
}

/// Whether a value of type `made` may be put where `wanted` is. A `dyn` value may be put where a scalar is, because that
/// is checked when it runs; its elements would not be.
fn assignable(made: &Type, wanted: &Type) -> bool {
    match (made, wanted) {
        (_, Type::Dyn) => true,
        (Type::Dyn, Type::List(_) | Type::Map(..) | Type::Optional(_)) => false,
        (Type::Dyn, _) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a == b || **b == Type::Dyn,
        (Type::Map(ak, av), Type::Map(bk, bv)) => (ak, av) == (bk, bv) || (ak == bk && **bv == Type::Dyn),
        (a, b) => a == b,
    }
}

/// Which conversion would make it right.
fn conversion(made: &Type, wanted: &Type) -> String {
    if wanted.is_number() && (made.is_number() || *made == Type::String) || *wanted == Type::String {
        format!("; `{wanted}(…)` converts it")
    } else {
        String::new()
    }
}
