//! Conditions that the slots decide at once: fields beside constants and other fields, and logic over such.
//!
//! Part of the evaluator; what a program tries before anything else, because most rules of a form are nothing more. The answer
//! is one byte in a register: nothing is made, spent or reported here. Where there is none, because a field is missing,
//! an operand has to be computed or paid for by its size, or a test fails, [`super::Frame`] begins again and says why.

use super::weight;
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
        Node::Test(run, args) => {
            let (left, right) = (lying(&args[0], slots)?, lying(&args[1], slots)?);
            if is_free(args, left, right) { run(left, right).ok() } else { None }
        }
        Node::Present(slot) => present(*slot, slots),
        _ => None,
    }
}

/// Whether a test of two operands costs nothing by their size: both are light, or the second is a list that the rule itself spells
/// out, as in `country in ['DE', 'FR']`. Everything else is paid for, which is not done here.
#[inline(always)]
pub(super) fn is_free(args: &[Node; 2], left: &Value<'_>, right: &Value<'_>) -> bool {
    weight::is_light(left) && (weight::is_light(right) || matches!(args[1], Node::Const(Value::List(_))))
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

    use crate::budget::Budget;
    use crate::layout::Layout;
    use crate::program::Program;
    use crate::slots::Slots;
    use crate::types::{Field, ObjectType, Type};
    use crate::value::Value;

    /// Comparisons of two operands, which are asked of `dyn(a) op dyn(b)`, too: that is never decided at once.
    const ATOMS: [(&str, &str, &str); 18] = [
        ("n", ">", "3"),
        ("n", "<=", "3"),
        ("n", "==", "4"),
        ("n", "<", "d"),
        ("d", ">=", "0.5"),
        ("d", "<", "1"),
        ("d", "!=", "d"),
        ("d", ">", "n"),
        ("u", ">=", "uint(3)"),
        ("u", "<", "n"),
        ("u", "==", "d"),
        ("p", ">", "decimal('0.5')"),
        ("p", "<=", "n"),
        ("p", "==", "d"),
        ("t", "==", "'x'"),
        ("t", "<", "'y'"),
        ("t", "in", "['x', 'y']"),
        ("xs", "==", "[2, 4]"),
    ];

    fn layout() -> Layout {
        let fields = [
            ("n", Type::Int),
            ("d", Type::Double),
            ("u", Type::Uint),
            ("p", Type::Decimal),
            ("t", Type::String),
            ("m", Type::nullable(Type::Int)),
            ("xs", Type::list(Type::Int)),
        ];
        let fields = fields.map(|(name, ty)| Field::optional(name, ty));
        Layout::new(Arc::new(ObjectType::new(fields, false)))
    }

    /// Every field there, missing, null and of the wrong kind, beside others that are there.
    fn submissions() -> Vec<Json> {
        let low = json!({"n": 2, "d": 0.2, "u": 2, "p": "0.2", "t": "x", "m": null, "xs": [2, 4]});
        let high = json!({"n": 4, "d": 4.0, "u": 4, "p": "4", "t": "z", "m": 4, "xs": [4]});
        let mut all = vec![json!({}), low.clone(), high.clone()];
        for base in [low, high] {
            for name in ["n", "d", "u", "p", "t", "m", "xs"] {
                for value in [None, Some(Json::Null), Some(json!(7.5)), Some(json!("no")), Some(json!([]))] {
                    let mut changed = base.clone();
                    match value {
                        Some(value) => changed[name] = value,
                        None => drop(changed.as_object_mut().expect("an object").remove(name)),
                    }
                    all.push(changed);
                }
            }
        }
        all
    }

    /// `true`, `false`, or `None` where there is no value.
    fn truth(program: &Program, slots: &Slots<'_>) -> Option<bool> {
        program.eval_bool(slots, &mut Budget::default()).ok()
    }

    fn compiled(source: &str, layout: &Layout) -> Program {
        Program::compile(source, layout).unwrap_or_else(|problems| panic!("{source}: {problems:?}"))
    }

    /// CEL's logic over the values of its operands: one that decides wins over those without a value.
    fn logic(operands: [Option<bool>; 2], decides: bool) -> Option<bool> {
        if operands.contains(&Some(decides)) {
            return Some(decides);
        }
        operands.iter().all(Option::is_some).then_some(!decides)
    }

    #[test]
    fn what_is_decided_at_once_is_what_slower_ways_say() {
        let layout = layout();
        let atoms = ATOMS.map(|(a, op, b)| {
            let dynamic = format!("dyn({a}) {op} dyn({b})");
            (
                format!("{a} {op} {b}"),
                compiled(&format!("{a} {op} {b}"), &layout),
                compiled(&dynamic, &layout),
            )
        });
        let pairs: Vec<_> = atoms
            .iter()
            .flat_map(|a| atoms.iter().map(move |b| (a, b)))
            .flat_map(|(a, b)| [("&&", false), ("||", true)].map(|(op, decides)| (a, b, op, decides)))
            .map(|(a, b, op, decides)| (compiled(&format!("{} {op} {}", a.0, b.0), &layout), a, b, decides))
            .collect();
        let nan = layout.slot(&["d"]).expect("a field");
        let (mut decided, mut left) = (0, 0);
        for data in submissions() {
            for with_nan in [false, true] {
                let mut slots = layout.bind(&data);
                if with_nan {
                    slots.set(nan, Value::Double(f64::NAN));
                }
                for (source, quick, slow) in &atoms {
                    assert_eq!(
                        truth(quick, &slots),
                        truth(slow, &slots),
                        "{source} on {data}, NaN: {with_nan}"
                    );
                }
                for (program, a, b, decides) in &pairs {
                    let wanted = logic([truth(&a.2, &slots), truth(&b.2, &slots)], *decides);
                    let said = truth(program, &slots);
                    assert_eq!(said, wanted, "{} and {} on {data}, NaN: {with_nan}", a.0, b.0);
                    *(if said.is_some() { &mut decided } else { &mut left }) += 1;
                }
            }
        }
        assert!(decided > 1_000 && left > 1_000, "{decided} decided, {left} left");
    }

    /// A field that may be null is compared as it is; under `dyn` null is no value, so that is no second opinion.
    #[test]
    fn null_is_compared_where_it_may_stand() {
        let layout = layout();
        let conditions = ["m == 4", "m != null", "m == null", "m == 4 || n > 9", "m != 4 && n < 9"]
            .map(|source| compiled(source, &layout));
        for (data, wanted) in [
            (json!({"m": null, "n": 2}), [Some(false), Some(false), Some(true), Some(false), Some(true)]),
            (json!({"m": 4, "n": 2}), [Some(true), Some(true), Some(false), Some(true), Some(false)]),
            (json!({"m": 5}), [Some(false), Some(true), Some(false), None, None]),
        ] {
            let slots = layout.bind(&data);
            assert_eq!(conditions.each_ref().map(|condition| truth(condition, &slots)), wanted, "{data}");
        }
    }

    #[test]
    fn presence_is_whether_the_submission_has_a_value() {
        let layout = layout();
        for data in submissions() {
            for name in ["n", "d", "u", "p", "t", "m", "xs"] {
                let slots = layout.bind(&data);
                let said = truth(&compiled(&format!("has({name})"), &layout), &slots);
                // A null where none belongs is a value of the wrong kind.
                let has = data.get(name).is_some_and(|value| !value.is_null() || name != "m");
                assert_eq!(said, Some(has), "{name} of {data}");
            }
        }
    }
}
