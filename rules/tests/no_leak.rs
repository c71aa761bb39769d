//! Slots give back to the allocator whatever was put into them, and so does the evaluation of a rule set.

use std::sync::Arc;

use allocation_counter::measure;
use formledger_rules::{Budget, Field, Layout, List, Map, ObjectType, RuleSet, Slots, Type, Value};
use serde_json::json;

fn layout() -> Layout {
    let fields = [
        Field::required("count", Type::Int),
        Field::required("note", Type::String),
        Field::required("photo", Type::Bytes),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

/// One value of every kind that owns memory.
fn owning() -> Vec<Value<'static>> {
    vec![
        Value::text("made"),
        Value::Bytes(Arc::from(*b"made")),
        Value::list(vec![Value::text("made")]),
        Value::List(List::Owned(Arc::new(vec![Value::Int(1)]))),
        Value::Map(Map::Owned(Arc::new(vec![(Value::text("key"), Value::text("made"))]))),
        Value::Optional(Some(Arc::new(Value::text("made")))),
    ]
}

#[test]
fn slots_give_back_all_that_they_held() {
    let layout = layout();
    let note = layout.slot(&["note"]).unwrap();
    let plain = json!({"count": 1, "note": "as it is", "photo": null});
    let decoded = json!({"count": 1, "note": "as it is", "photo": "bWFkZQ=="});
    let misfit = json!({"count": "one", "note": 7, "photo": "no"});
    type Change<'c> = &'c dyn Fn(&mut Slots<'_>);
    let changes: [(&str, Change<'_>); 5] = [
        ("nothing", &|_| {}),
        ("set", &|slots| owning().into_iter().for_each(|value| slots.set(note, value))),
        ("set to a number", &|slots| {
            slots.set(note, Value::text("made"));
            slots.set(note, Value::Int(1));
        }),
        ("cleared", &|slots| {
            slots.set(note, Value::text("made"));
            slots.clear(note);
        }),
        ("cloned", &|slots| {
            slots.set(note, Value::text("made"));
            drop(slots.clone());
        }),
    ];
    for data in [&plain, &decoded, &misfit] {
        for (name, change) in &changes {
            let counted = measure(|| change(&mut layout.bind(data)));
            assert!(counted.count_total > 0, "{name}: the slots themselves are allocated");
            assert_eq!(counted.count_current, 0, "{name} on {data}: {counted:?}");
        }
        // One kind for each slots: what is put later over an owning cell would free the one before in any case.
        for at in 0..owning().len() {
            let counted = measure(|| layout.bind(data).set(note, owning().swap_remove(at)));
            assert_eq!(counted.count_current, 0, "{:?} on {data}: {counted:?}", owning()[at]);
        }
    }
}

#[test]
fn an_evaluation_gives_back_what_its_outcomes_held() {
    // `x` says a number, which borrows nothing, and `y` reads whether it matched.
    let rules = json!([
        {"id": "x", "kind": "decision", "when": "count > 0", "then": 1, "otherwise": 2},
        {"id": "t", "kind": "decision", "when": "count > 0", "then": {"says": "made"}, "otherwise": {"says": "none"}},
        {"id": "made", "kind": "compute", "value": "note + '!'", "into": "/made"},
        {"id": "y", "kind": "decision", "when": "outcomes.x.matched && outcomes.t.says == 'made' && made != ''",
         "then": true},
    ]);
    let rules = RuleSet::compile(&rules, &layout()).unwrap();
    let data = json!({"count": 1, "note": "as it is", "photo": "bWFkZQ=="});
    let evaluate = || rules.evaluate(&data, &[], &mut Budget::default());
    assert!(evaluate().outcomes.iter().all(|outcome| outcome.matched), "{:?}", evaluate());
    let counted = measure(|| drop(evaluate()));
    assert!(counted.count_total > 0, "the slots themselves are allocated");
    assert_eq!(counted.count_current, 0, "{counted:?}");
}
