//! The run-time budget: a deterministic bound on the work of one evaluation.
//!
//! Counted in cost units, never in time, so that the same submission gives the same outcome on every machine. Charged by
//! the evaluator for the start of a program, for every round of a loop, and inside loops for the size of what is worked on;
//! work outside of loops is bounded by the source. The embedding program decides how much to give.

use crate::error::{ErrorKind, EvalError};
use crate::limits::BUDGET_DEFAULT;

/// What an evaluation may still spend, in cost units.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
}

impl Budget {
    /// A budget of `units`.
    pub fn new(units: u64) -> Budget {
        Budget { remaining: units }
    }

    /// What is left, in cost units.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Takes `units`.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] when less than that is left; the budget is empty from then on.
    #[inline]
    pub(crate) fn spend(&mut self, units: u64) -> Result<(), EvalError> {
        match self.remaining.checked_sub(units) {
            Some(left) => {
                self.remaining = left;
                Ok(())
            }
            None => Err(self.spent()),
        }
    }

    #[cold]
    fn spent(&mut self) -> EvalError {
        self.remaining = 0;
        EvalError::new(ErrorKind::Budget, "the evaluation needs more than its budget")
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(BUDGET_DEFAULT)
    }
}
