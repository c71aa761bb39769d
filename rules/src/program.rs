//! A compiled expression: made once at publish, shared by all threads, run for every submission.
//!
//! The way in to parser, checker and evaluator; the embedding program sees nothing of them.

use std::fmt;

use crate::budget::Budget;
use crate::check::{Checker, Mode};
use crate::error::{EvalError, Problem, Severity};
use crate::eval::{Frame, quick};
use crate::layout::{Layout, Slot};
use crate::limits::COST_MAX;
use crate::node::Node;
use crate::slots::{SlotSet, Slots};
use crate::syntax::{Expr, ExprKind, Parsed, parse};
use crate::types::Type;
use crate::value::Value;

/// A type-checked, compiled expression.
pub struct Program {
    node: Node,
    ty: Type,
    cost: u64,
    uses: SlotSet,
    dynamic: bool,
    warnings: Vec<Problem>,
}

impl Program {
    /// Compiles `source` against the names and types of `layout`.
    ///
    /// # Errors
    /// Every problem found, at least one of them of severity error and not `tolerated`; the first syntax error alone.
    pub fn compile(source: &str, layout: &Layout) -> Result<Program, Vec<Problem>> {
        Program::compile_tree(source, parse(source), layout, None)
    }

    /// As [`Program::compile`], of a source that is parsed already; a literal is read as `wanted` where it can be.
    pub(crate) fn compile_tree(
        source: &str,
        tree: Parsed<'_>,
        layout: &Layout,
        wanted: Option<&Type>,
    ) -> Result<Program, Vec<Problem>> {
        let program = tree
            .map(|tree| Program::build(source, &tree, layout, Mode::Checked, wanted))
            .map_err(|problem| vec![problem])?;
        if program.warnings.iter().any(|problem| problem.severity == Severity::Error && !problem.tolerated) {
            return Err(program.warnings);
        }
        if program.cost > COST_MAX {
            let message =
                format!("the expression may cost {} units; at most {COST_MAX} are allowed", program.cost);
            return Err(vec![Problem::error(0..source.len(), message)]);
        }
        Ok(program)
    }

    /// Compiles `source` against a layout of `dyn` variables; what the checker would refuse fails when it runs.
    ///
    /// # Errors
    /// The first syntax error.
    pub(crate) fn compile_dynamic(source: &str, layout: &Layout) -> Result<Program, Problem> {
        Ok(Program::build(source, &parse(source)?, layout, Mode::Dynamic, None))
    }

    fn build<'s>(
        source: &'s str,
        tree: &Expr<'s>,
        layout: &Layout,
        mode: Mode,
        wanted: Option<&Type>,
    ) -> Program {
        let mut checker = Checker::new(source, layout, mode);
        let typed = checker.check_root(tree, wanted);
        let Checker { problems, uses, dynamic, .. } = checker;
        Program { cost: typed.node.cost(), node: typed.node, ty: typed.ty, uses, dynamic, warnings: problems }
    }

    /// The value, when the expression is constant.
    pub(crate) fn constant(&self) -> Option<&Value<'static>> {
        self.node.as_const()
    }

    /// The constant that the expression compares `slot` with, when it does nothing else.
    pub(crate) fn compared(&self, slot: Slot) -> Option<Value<'static>> {
        self.node.compared(slot)
    }

    /// The slot, when the expression is nothing but a field or a variable.
    pub(crate) fn slot(&self) -> Option<Slot> {
        match self.node {
            Node::Slot(slot) => Some(slot),
            _ => None,
        }
    }

    /// The static type of the result.
    pub fn result_type(&self) -> &Type {
        &self.ty
    }

    /// Worst-case cost, in units of about one operation. Lists whose size only the submission knows count as
    /// [`crate::limits::ELEMENTS_ASSUMED`] elements.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether some part of the expression is `dyn`, so that types may still fail when it runs.
    pub fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    /// Whether its evaluation may fail by more than a missing field, as far as the checker tells: overflow and a spent budget are not told.
    pub(crate) fn may_fail(&self) -> bool {
        self.dynamic || self.warnings.iter().any(|problem| problem.fails)
    }

    /// The slots that the program reads.
    pub fn uses(&self) -> &SlotSet {
        &self.uses
    }

    /// What the checker remarked without refusing, such as fields that may be missing, and what it refuses in new sources only.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The value of the expression over `slots`.
    ///
    /// # Errors
    /// See [`crate::ErrorKind`]. A program that is not [dynamic](Program::is_dynamic) never ends in `NoOverload` or
    /// `Unresolved`.
    pub fn eval<'a>(&'a self, slots: &Slots<'a>, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        budget.spend(1)?;
        match quick::truth(&self.node, slots) {
            Some(truth) => Ok(Value::Bool(truth)),
            None => Frame::new(slots, budget).eval(&self.node),
        }
    }

    /// The atomic conditions of a boolean expression: the operands of `&&` and `||` that are neither, in the order of the
    /// source. `tree` is the expression's own.
    pub(crate) fn conditions<'t, 's>(&self, tree: &'t Expr<'s>) -> Vec<&'t Expr<'s>> {
        fn collect<'t, 's>(expr: &'t Expr<'s>, node: &Node, found: &mut Vec<&'t Expr<'s>>) {
            match (&expr.kind, node) {
                (ExprKind::And(exprs), Node::And(nodes)) | (ExprKind::Or(exprs), Node::Or(nodes)) => {
                    exprs.iter().zip(nodes).for_each(|(expr, node)| collect(expr, node, found));
                }
                _ => found.push(expr),
            }
        }
        let mut found = Vec::new();
        collect(tree, &self.node, &mut found);
        found
    }

    /// As [`Program::eval_bool`], noting in `trace` what each of several atomic conditions was; nothing for a single one.
    pub(crate) fn eval_traced<'a>(
        &'a self,
        slots: &Slots<'a>,
        budget: &mut Budget,
        trace: &mut String,
    ) -> Result<bool, EvalError> {
        if !matches!(self.node, Node::And(_) | Node::Or(_)) {
            return self.eval_bool(slots, budget);
        }
        budget.spend(1)?;
        Frame::new(slots, budget).truth_traced(&self.node, trace)
    }

    /// The truth of a boolean expression over `slots`.
    ///
    /// # Errors
    /// As [`Program::eval`]; `NoOverload` when a `dyn` result is not a bool.
    #[inline]
    pub fn eval_bool<'a>(&'a self, slots: &Slots<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
        budget.spend(1)?;
        match quick::truth(&self.node, slots) {
            Some(truth) => Ok(truth),
            None => Frame::new(slots, budget).truth(&self.node),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("ty", &self.ty).field("cost", &self.cost).finish_non_exhaustive()
    }
}
