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
    case.patch(&sam(), json!({"extra": {"a": "x"}})).expect("it comes again");
    case.patch(&sam(), json!({"extra": {"a": null}})).expect("what was in it goes");
    case.patch(&sam(), json!({"extra": null})).expect("and what is left of it");
    refused_at(case.patch(&sam(), json!({"extra": {}})), &["/extra"]);
    assert_eq!(case.state.data(), Some(json!({"amount": 5, "any": {"o": {}, "n": null, "l": [{}]}})));
}

/// A claim in a state where `editors` may edit the amount, and a transition the note.
fn with_editors(editors: Value) -> Case {
    let mut workflow = workflow();
    workflow["states"]["review"]["edit"] = json!(["/amount"]);
    workflow["states"]["review"]["editors"] = editors;
    for transition in [0, 1] {
        workflow["transitions"][transition]["edit"] = json!(["/note"]);
    }
    let mut case = Case::new();
    case.form = form_with(workflow);
    let (form, now) = (case.form.clone(), case.now);
    let data = Arc::new(json!({"amount": 5000, "manager": "mia"}));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    case
}

#[test]
fn taking_a_transition_is_no_right_to_edit_what_editors_may() {
    for (editors, who) in [
        (json!(["clerk"]), "a `clerk`"),
        (json!(["submitter", "clerk"]), "its submitter or a `clerk`"),
        (json!([]), "nobody, because `editors` of this state is empty"),
    ] {
        let mut case = with_editors(editors);
        let patched = case.patch(&reviewer("rita"), json!({"amount": 6000})).expect_err("no editor");
        assert_eq!(patched.to_string().replace(", may", " may"), format!("only {who} may do this"));
        for (transition, by) in [("approve", reviewer("rita")), ("sign", person("mia", &[]))] {
            let taken = case.act(&by, with_data(transition, json!({"amount": 6000, "manager": "eve"})));
            refused_at(taken.clone(), &["/amount"]);
            let said = format!("in `review` this may be edited only by {who}: `/amount`");
            assert_eq!(taken.expect_err("no editor").to_string(), said);
            refused_at(case.act(&by, with_data(transition, json!({"manager": "eve"}))), &["/manager"]);
        }
        case.act(&reviewer("rita"), with_data("approve", json!({"note": "n"})))
            .expect("the transition's own");
        let clerk = person("rolf", &["reviewer", "clerk"]);
        let edited = case.act(&clerk, with_data("approve", json!({"amount": 6000, "note": "m"})));
        assert_eq!(edited.is_ok(), who.contains("clerk"), "{edited:?}");
    }
}

#[test]
fn who_acts_for_an_editor_edits_what_that_one_may() {
    let dora = person("dora", &[]);
    let mut case = with_editors(json!(["clerk"]));
    case.act(&reviewer("rita"), delegate("dora")).expect("delegated by one who is no editor");
    refused_as_not_permitted(case.patch(&dora, json!({"amount": 6000})));
    case.act(&person("carl", &["clerk"]), delegate("dora")).expect("delegated by an editor");
    case.patch(&dora, json!({"amount": 6000})).expect("for carl");
    refused_at(case.patch(&dora, json!({"note": "n"})), &["/note"]);
    case.act(&person("carl", &["clerk"]), Act::EndDelegation { from: None, reason: None }).expect("ended");
    refused_as_not_permitted(case.patch(&dora, json!({"amount": 7000})));

    let mut own = with_editors(json!(["submitter"]));
    own.act(&person("eve", &["submitter", "reviewer"]), delegate("dora")).expect("delegated");
    refused_as_not_permitted(own.patch(&dora, json!({"amount": 6000})));
    own.act(&person("sam", &["submitter", "reviewer"]), delegate("dora")).expect("delegated");
    own.patch(&dora, json!({"amount": 6000})).expect("for sam, whose submission it is");
}

#[test]
fn data_of_an_approval_that_is_not_the_last_lead_on_as_those_of_a_patch_do() {
    let mut workflow = workflow();
    workflow["states"]["review"]["edit"] = json!(["/amount", "/manager"]);
    let small = json!({"from": "review", "to": "approved", "when": "outcomes.route.route == 'auto'"});
    workflow["auto"].as_array_mut().expect("a list").push(small);
    let form = form_with(workflow);
    let in_review = || {
        let mut case = Case { form: form.clone(), ..Case::new() };
        let (form, now, data) = (case.form.clone(), case.now, Arc::new(json!({"amount": 5000})));
        case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
        case
    };
    let mut case = in_review();
    let events = case.act(&reviewer("rita"), with_data("approve", json!({"amount": 10}))).expect("approved");
    assert_eq!(kinds(&events), ["amended", "rules-evaluated", "approved", "transitioned"]);
    assert_eq!(case.state(), "approved");
    let mut patched = in_review();
    patched.patch(&reviewer("rita"), json!({"amount": 10})).expect("edited");
    assert_eq!(patched.state(), "approved");

    let mut stays = in_review();
    let events =
        stays.act(&reviewer("rita"), with_data("approve", json!({"manager": "mia"}))).expect("approved");
    assert_eq!(kinds(&events), ["amended", "rules-evaluated", "task-opened", "approved"]);
    assert_eq!((stays.state(), stays.have()), ("review", 1));
}

#[test]
fn a_computed_field_that_shows_null_is_sent_back_and_submitted_anew() {
    let form = compiled(json!({
        "title": "Order",
        "schema": {"type": "object", "properties": {
            "n": {"type": "integer"}, "m": {"type": "integer"}, "t": {"type": "integer"},
            "o": {"type": "object", "properties": {"t": {"type": "integer"}}}}},
        "rules": [{"id": "t", "kind": "compute", "value": "n", "into": "/t"},
                  {"id": "ot", "kind": "compute", "value": "n", "into": "/o/t"}],
        "workflow": {"initial": "open", "states": {"open": {"edit": ["/m"]}, "done": {"final": true}},
                     "transitions": [{"name": "end", "from": "open", "to": "done"}]}
    }));
    let submitted = |data: Value| {
        let mut case = Case { form: form.clone(), ..Case::new() };
        let (form, now, data) = (form.clone(), case.now, Arc::new(data));
        case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).map(|_| case)
    };
    let mut case = submitted(json!({"t": 5, "o": {"t": 5}})).expect("accepted");
    let shown = json!({"t": null, "o": {"t": null}});
    assert_eq!(case.state.data(), Some(shown.clone()));
    assert_eq!(case.patch(&sam(), shown.clone()).expect("nothing"), []);
    case.patch(&sam(), json!({"t": null, "o": {"t": null}, "m": 3}))
        .expect("what was shown, and one field more");
    let shown = json!({"t": null, "o": {"t": null}, "m": 3});
    assert_eq!(case.state.data(), Some(shown.clone()));
    assert_eq!(submitted(shown.clone()).expect("as it is shown").state.data(), Some(shown));
    for wrong in [json!({"t": null, "m": "3"}), json!({"m": null}), json!({"t": "5"})] {
        assert!(submitted(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn what_nobody_can_see_of_an_edit_is_none() {
    let mut case = Case::new();
    case.form = compiled(json!({
        "title": "Order",
        "schema": {"type": "object", "properties": {"n": {"type": "integer"}, "t": {"type": "integer"}}},
        "rules": [{"id": "t", "kind": "compute", "value": "n", "into": "/t"}],
        "workflow": {"initial": "review", "states": {"review": {"edit": [""]}, "approved": {"final": true}},
                     "transitions": [{"name": "approve", "from": "review", "to": "approved", "approvals": 2}]}
    }));
    let (form, now, data) = (case.form.clone(), case.now, Arc::new(json!({"n": 1})));
    case.run(SubmissionCommand::Submit { form, data, draft: false, by: sam(), now }).expect("accepted");
    case.take(&reviewer("rita"), "approve").expect("the first");
    assert_eq!(
        case.patch(&sam(), json!({"t": 999})),
        Ok(Vec::new()),
        "the rule says 1, whatever is filled in"
    );
    assert_eq!(case.have(), 1);
    case.patch(&sam(), json!({"n": 2, "t": 999})).expect("an edit");
    assert_eq!((case.have(), case.state.data()), (0, Some(json!({"n": 2, "t": 2}))));
}
