//! From source text to syntax tree: the grammar of the CEL language definition, with spans.
//!
//! Called by the compiler only. Knows no types and no names: macros are calls here, and the checker gives them meaning.

mod ast;
mod lexer;
mod literal;
mod parser;

pub(crate) use ast::{Element, Entry, Expr, ExprKind, Literal, Span};
pub(crate) use parser::{Parsed, parse, written_name};
