//! Every bound of the language in one place, with its unit and what happens at the bound.
//!
//! Read by the parser, the checker, the compiler and the evaluator. Nothing here may depend on who asks: a rule that
//! compiles on one machine compiles on every machine.

/// Longest source text of one expression, in bytes. A longer one is refused before it is read.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;

/// Brackets and unary operators that may be open at once in one expression. More are refused by the parser, which recurses
/// through them.
pub const NESTING_MAX: u16 = 64;

/// Tallest syntax tree of one expression, in nodes from root to leaf: `a + b + c` has height 3, and chains of `&&` and
/// `||` count once. A taller one is refused by the parser, so that no later pass (all of them recurse) can exhaust a stack.
pub const HEIGHT_MAX: u16 = 160;

/// Static cost ceiling of one expression, in cost units (see [`crate::Program::cost`]). A costlier one is refused at
/// compile time.
pub const COST_MAX: u64 = 10_000_000;

/// Elements that static cost assumes in a list or map whose size only the submission knows, in elements.
pub const ELEMENTS_ASSUMED: u64 = 100;

/// Run-time budget that evaluation gets when the embedding program states none, in cost units. An evaluation that needs
/// more ends in [`crate::ErrorKind::Budget`].
pub const BUDGET_DEFAULT: u64 = 10_000_000;

/// Longest string or byte string that an operation may produce, in bytes. A longer result is a run-time error.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest list or map that an operation may produce, in elements. A larger result is a run-time error.
pub const ELEMENTS_MAX: usize = 1_000_000;

/// Longest regular expression, in bytes: as long as the text of a rule, so that only one that is made while rules run can be longer. A longer one is
/// a run-time error before it is read.
pub const PATTERN_BYTES_MAX: usize = SOURCE_BYTES_MAX;

/// Compiled size of one regular expression, in bytes. A larger one is refused (at compile time when it is a literal).
pub const REGEX_BYTES_MAX: usize = 256 * 1024;

/// Rules in one rule set. More are refused at compile time.
pub const RULES_MAX: usize = 2_000;

/// Longest source text whose syntax tree is kept between ordering a rule set and compiling it, in bytes. A longer one is parsed
/// twice: a tree takes many times the memory of its text, and those of all rules would lie there at once.
pub const TREE_KEPT_BYTES_MAX: usize = 4 * 1024;

/// Rows of one decision table. More are refused at compile time.
pub const TABLE_ROWS_MAX: usize = 10_000;

/// Atomic conditions of one decision that its outcome records; further ones are evaluated but not explained.
pub const CONDITIONS_RECORDED: usize = 64;

/// Problems reported for one rule set; further ones are dropped, because nobody reads the thousandth. Warnings are dropped for
/// errors, never the other way round.
pub const PROBLEMS_MAX: usize = 200;
