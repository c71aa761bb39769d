//! What may be edited, and by whom: in a state, by taking a transition, on somebody's behalf.

use super::*;

#[track_caller]
fn refused_at(decided: Decided, places: &[&str]) {
    let Err(SubmissionError::NotEditable { pointers, .. }) = decided else { panic!("{decided:?}") };
    assert_eq!(pointers, places);
}

/// A claim whose data have objects that the form says nothing of, in a state where only `/who` and `/extra/a` may be edited.
fn loose(data: Value) -> Case {
    let mut case = Case::new();
    case.form = compiled(json!({
        "title": "Claim",
        "schema": {"type": "object", "properties": {
            "who": {"type": "string"}, "amount": {"type": "number"}, "waiver": {"type": "object"}, "any": {},
            "extra": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "object"}}}}},
        "rules": [{"id": "route", "kind": "decision", "when": "has(waiver)", "then": "auto", "otherwise": "people"}],
        "workflow": {
            "initial": "review",
            "states": {"review": {"edit": ["/who", "/extra/a"]}, "ok": {"final": true}},
            "auto": [{"from": "review", "to": "ok", "when": "outcomes.route.matched"}],
            "transitions": [
                {"name": "pay", "from": "review", "to": "ok", "when": "has(waiver)"},
                {"name": "close", "from": "review", "to": "ok", "roles": ["submitter"]}
            ]
        }
    }));
    let (form, now, data) = (case.form.clone(), case.now, Arc::new(data));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    case
}

#[test]
fn an_empty_object_is_edited_only_where_something_may_be() {
    let mut case = loose(json!({"amount": 5, "any": {"o": {}, "n": null, "l": [{}]}}));
    for (patch, places) in [
        (json!({"waiver": {}}), vec!["/waiver"]),
        (json!({"waiver": {"text": null}}), vec!["/waiver"]),
        (json!({"not_a_field": {"deep": {}}}), vec!["/not_a_field/deep"]),
        (json!({"any": {"o": null}}), vec!["/any/o"]),
        (json!({"any": null}), vec!["/any/l", "/any/n", "/any/o"]),
        (json!({"any": {"o": {"p": {}}}}), vec!["/any/o/p"]),
        (json!({"any": {"n": {}}}), vec!["/any/n"]),
        (json!({"any": {"l": [{"x": {}}]}}), vec!["/any/l"]),
        (json!({"amount": {}}), vec!["/amount"]),
        (json!({"extra": {}}), vec!["/extra"]),
        (json!({"extra": {"a": "x", "b": {}}}), vec!["/extra/b"]),
    ] {
        refused_at(case.patch(&sam(), patch.clone()), &places);
        refused_at(case.act(&reviewer("rita"), with_data("pay", patch.clone())), &places);
        refused_at(case.act(&sam(), with_data("close", patch)), &places);
    }
    assert_eq!(case.state(), "review", "nobody let it through");
    case.patch(&sam(), json!({"extra": {"a": "x"}})).expect("what is around a field comes with it");
    case.patch(&sam(), json!({"any": {"o": {}}, "amount": 5})).expect("what is there already");
    case.patch(&sam(), json!({"extra": null})).expect("and goes with it");
    assert_eq!(case.state.data(), Some(json!({"amount": 5, "any": {"o": {}, "n": null, "l": [{}]}})));
}
