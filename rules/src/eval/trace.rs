//! Conditions evaluated with a trace: which atomic condition held. What an outcome records so that it can be explained.
//!
//! Part of the evaluator. Only rules that are recorded run so; everything else takes the path without a trace.

use super::Frame;
use crate::error::{ErrorKind, EvalError};
use crate::limits::CONDITIONS_RECORDED;
use crate::node::Node;

/// It held.
pub(crate) const HELD: char = 't';
/// It did not.
pub(crate) const NOT_HELD: char = 'f';
/// It was not asked, because others had decided.
pub(crate) const NOT_ASKED: char = '-';
/// A field that it reads is missing.
pub(crate) const MISSING: char = '?';
/// It failed.
pub(crate) const FAILED: char = '!';

impl<'a> Frame<'_, 'a> {
    /// As [`Frame::truth`], noting in `trace` for every atomic condition, in the order of the source, what it was.
    pub fn truth_traced(&mut self, node: &'a Node, trace: &mut String) -> Result<bool, EvalError> {
        match node {
            Node::And(nodes) => self.logic_traced(nodes, false, trace),
            Node::Or(nodes) => self.logic_traced(nodes, true, trace),
            atom => {
                let truth = self.truth(atom);
                note(
                    trace,
                    match &truth {
                        Ok(true) => HELD,
                        Ok(false) => NOT_HELD,
                        Err(error) if error.kind() == ErrorKind::Missing => MISSING,
                        Err(_) => FAILED,
                    },
                );
                truth
            }
        }
    }

    /// The same rules as `logic`: an operand that decides wins over errors on either side, a spent budget over everything.
    fn logic_traced(
        &mut self,
        nodes: &'a [Node],
        decides: bool,
        trace: &mut String,
    ) -> Result<bool, EvalError> {
        let mut failure = None;
        for (at, node) in nodes.iter().enumerate() {
            match self.truth_traced(node, trace) {
                Ok(truth) if truth == decides => {
                    nodes[at + 1..].iter().for_each(|node| skip(node, trace));
                    return Ok(decides);
                }
                Err(error) if error.kind() == ErrorKind::Budget => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
                Ok(_) => {}
            }
        }
        failure.map_or(Ok(!decides), Err)
    }
}

fn skip(node: &Node, trace: &mut String) {
    match node {
        Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| skip(node, trace)),
        _ => note(trace, NOT_ASKED),
    }
}

fn note(trace: &mut String, mark: char) {
    if trace.len() < CONDITIONS_RECORDED {
        trace.push(mark);
    }
}
