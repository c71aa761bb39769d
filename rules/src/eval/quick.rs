//! Conditions that the slots decide at once: fields beside constants and other fields, and logic over such.
//!
//! Part of the evaluator; what a program tries before anything else, because most rules of a form are nothing more. The answer
//! is one byte in a register: nothing is made, spent or reported here. Where there is none, because a field is missing,
//! an operand has to be computed or a test fails, [`super::Frame`] begins again and says why.

use crate::layout::Slot;
use crate::node::Node;
use crate::slots::{Cell, Slots};
use crate::value::Value;

/// The truth of `node`, when the slots decide it.
pub(crate) fn truth<'a>(node: &'a Node, slots: &Slots<'a>) -> Option<bool> {
    match node {
        Node::And(nodes) => logic(nodes, false, slots),
        Node::Or(nodes) => logic(nodes, true, slots),
        atom => self::atom(atom, slots),
    }
}

/// `&&` (decided by false) and `||` (decided by true).
#[inline]
fn logic<'a>(nodes: &'a [Node], decides: bool, slots: &Slots<'a>) -> Option<bool> {
    for node in nodes {
        // Its own call only for logic inside logic: a call costs more than the comparison.
        let truth = match node {
            Node::And(_) | Node::Or(_) => truth(node, slots)?,
            atom => self::atom(atom, slots)?,
        };
        if truth == decides {
            return Some(decides);
        }
    }
    Some(!decides)
}

/// The truth of what is no logic.
#[inline(always)]
pub(super) fn atom<'a>(node: &'a Node, slots: &Slots<'a>) -> Option<bool> {
    match node {
        Node::DoubleBound(slot, order, bound) => match slots.cell(*slot) {
            Cell::Value(Value::Double(double)) => Some(order.holds(*double, *bound)),
            _ => None,
        },
        Node::IntBound(slot, order, bound) => match slots.cell(*slot) {
            // As `compare_numbers` has it.
            Cell::Value(Value::Double(double)) => Some(order.holds(*double, *bound as f64)),
            Cell::Value(Value::Int(int)) => Some(order.holds(*int, *bound)),
            _ => None,
        },
        other => test(other, slots),
    }
}

/// The truth of what is no bound; apart, so that a bound needs neither its registers nor its stack.
#[inline(never)]
fn test<'a>(node: &'a Node, slots: &Slots<'a>) -> Option<bool> {
    match node {
        Node::Test(run, args) => run(lying(&args[0], slots)?, lying(&args[1], slots)?).ok(),
        Node::Present(slot) => present(*slot, slots),
        _ => None,
    }
}

/// Whether a slot has a value that is not null; `None` when nothing was bound to it.
pub(super) fn present(slot: Slot, slots: &Slots<'_>) -> Option<bool> {
    match slots.cell(slot) {
        Cell::Value(Value::Null) | Cell::Absent => Some(false),
        Cell::Value(_) | Cell::Misfit(_) => Some(true),
        Cell::Unbound => None,
    }
}

/// The value of `node` where it lies in a slot or in the program.
#[inline]
pub(super) fn lying<'s, 'a: 's>(node: &'a Node, slots: &'s Slots<'a>) -> Option<&'s Value<'a>> {
    match node {
        Node::Slot(slot) => match slots.cell(*slot) {
            Cell::Value(value) => Some(value),
            _ => None,
        },
        Node::Const(value) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::budget::Budget;
    use crate::check::{Checker, Mode};
    use crate::eval::Frame;
    use crate::layout::Layout;
    use crate::syntax::parse;
    use crate::types::{Field, ObjectType, Type};

    /// `n`, `d` and `t` may be missing; a text where a number belongs is a misfit.
    const CONDITIONS: [&str; 10] = [
        "n > 3",
        "n <= 3 || d >= 0.5",
        "d < 1 && t == 'x'",
        "t in ['x', 'y'] || n > 3",
        "has(n) && n > 3",
        "has(t) || has(d)",
        "n > 3 && (d > 0.5 || t != 'x') && has(t)",
        "(n > 3 && d > 0.5) || (n <= 3 && d <= 0.5)",
        "n + 1 > 3 || d > 0.5",
        "t.startsWith('x') && n > 3",
    ];

    fn layout() -> Layout {
        let fields = [("n", Type::Int), ("d", Type::Double), ("t", Type::String)];
        let fields = fields.map(|(name, ty)| Field::optional(name, ty));
        Layout::new(Arc::new(ObjectType::new(fields, false)))
    }

    fn submissions() -> Vec<Json> {
        let (n, d, t) = (
            [json!(2), json!(4), json!("no")],
            [json!(0.2), json!(0.9), json!(7)],
            [json!("x"), json!("z"), json!("")],
        );
        let mut all = Vec::new();
        for (n, d, t) in n
            .iter()
            .flat_map(|n| d.iter().map(move |d| (n, d)))
            .flat_map(|(n, d)| t.iter().map(move |t| (n, d, t)))
        {
            all.push(json!({"n": n, "d": d, "t": t}));
            all.extend([
                json!({"n": n, "d": d}),
                json!({"d": d, "t": t}),
                json!({"n": n, "t": t, "d": null}),
            ]);
        }
        all
    }

    #[test]
    fn what_is_decided_at_once_is_what_the_evaluator_says() {
        let layout = layout();
        let (mut decided, mut left) = (0, 0);
        for source in CONDITIONS {
            let tree = parse(source).unwrap();
            let node = Checker::new(source, &layout, Mode::Checked).check_root(&tree, None).node;
            for data in submissions() {
                let slots = layout.bind(&data);
                match truth(&node, &slots) {
                    Some(truth) => {
                        decided += 1;
                        assert_eq!(
                            Frame::new(&slots, &mut Budget::default()).truth(&node),
                            Ok(truth),
                            "{source} on {data}"
                        );
                    }
                    None => left += 1,
                }
            }
        }
        assert!(decided > 100 && left > 100, "{decided} decided, {left} left");
    }
}
