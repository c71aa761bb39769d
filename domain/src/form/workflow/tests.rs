//! What the checker says of workflows, sentence by sentence.

use serde_json::{Value, json};

use super::super::{CompiledForm, DefinitionProblem, FormDefinition, Severity};
use crate::ids::FormVersion;

/// The expense claim of the public contract, with the workflow changed.
fn definition(change: impl FnOnce(&mut Value)) -> Value {
    let mut workflow = json!({
        "initial": "submitted",
        "states": {
            "submitted": {"edit": ["/lines"]},
            "review": {"due": "P3D", "escalate": {"to": "overdue"}},
            "overdue": {},
            "approved": {"final": true},
            "rejected": {"final": true}
        },
        "auto": [
            {"from": "submitted", "to": "approved", "when": "outcomes.route.route == 'auto'"},
            {"from": "submitted", "to": "review"}
        ],
        "transitions": [
            {"name": "approve", "from": ["review", "overdue"], "to": "approved", "roles": ["reviewer"],
             "approvals": 2, "exclude_submitter": true},
            {"name": "reject", "from": ["review", "overdue"], "to": "rejected", "roles": ["reviewer"],
             "reason": "required"}
        ]
    });
    change(&mut workflow);
    json!({
        "title": "Expense claim",
        "schema": {"type": "object", "required": ["amount", "country"], "properties": {
            "amount": {"type": "number", "minimum": 0}, "country": {"type": "string"}, "manager": {"type": "string"},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"qty": {"type": "integer"}}}}
        }},
        "rules": [{"id": "route", "kind": "decision", "when": "amount > 10000.0 && country in ['DE', 'FR']",
                   "then": {"route": "committee"}, "otherwise": {"route": "auto"}}],
        "workflow": workflow
    })
}

fn problems(change: impl FnOnce(&mut Value)) -> Vec<DefinitionProblem> {
    FormDefinition::problems(&definition(change), &"expense".parse().expect("a form id"))
}

/// The places of errors, and of warnings.
fn places(change: impl FnOnce(&mut Value)) -> (Vec<String>, Vec<String>) {
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems(change).into_iter().partition(|problem| problem.severity == Severity::Error);
    let pointers = |problems: Vec<DefinitionProblem>| problems.into_iter().map(|it| it.pointer).collect();
    (pointers(errors), pointers(warnings))
}

fn errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
    places(change).0
}

#[test]
fn the_workflow_of_the_contract_is_sound() {
    assert_eq!(problems(|_| {}), vec![]);
}

#[test]
fn members_that_are_not_understood_are_refused_where_they_stand() {
    assert_eq!(errors(|w| w["timers"] = json!([])), ["/workflow/timers"]);
    assert_eq!(
        errors(|w| w["states"]["review"]["colour"] = json!("red")),
        ["/workflow/states/review/colour"]
    );
    assert_eq!(errors(|w| w["auto"][0]["if"] = json!("true")), ["/workflow/auto/0/if"]);
    assert_eq!(
        errors(|w| w["transitions"][1]["reasons"] = json!("required")),
        ["/workflow/transitions/1/reasons"]
    );
    assert_eq!(errors(|w| w["states"]["review"]["escalate"] = json!({"too": "x"})).len(), 2);
}

#[test]
fn members_of_the_wrong_type_are_refused_where_they_stand() {
    for (change, place) in [
        (json!({"initial": 1}), "/workflow/initial"),
        (json!({"states": []}), "/workflow/states"),
        (json!({"auto": {}}), "/workflow/auto"),
        (json!({"transitions": "none"}), "/workflow/transitions"),
    ] {
        let told = errors(|w| {
            for (name, value) in change.as_object().expect("an object") {
                w[name] = value.clone();
            }
        });
        assert!(told.contains(&place.to_owned()), "{change}: {told:?}");
    }
    for (member, value) in [
        ("name", json!("")),
        ("name", json!("has space")),
        ("from", json!([])),
        ("roles", json!("reviewer")),
        ("approvals", json!(0)),
        ("approvals", json!(1000)),
        ("approvals", json!({"need": 3, "of": 2})),
        ("exclude_submitter", json!("yes")),
        ("reason", json!("please")),
        ("when", json!(true)),
    ] {
        let told = errors(|w| w["transitions"][0][member] = value.clone());
        assert!(
            told.iter().any(|place| place.starts_with(&format!("/workflow/transitions/0/{member}"))),
            "{member} {value}: {told:?}"
        );
    }
}

#[test]
fn a_role_for_one_form_is_not_how_a_workflow_names_a_role() {
    let told = problems(|w| {
        w["transitions"][0]["roles"] = json!(["reviewer@expense"]);
        w["states"]["review"]["editors"] = json!(["clerk", "@expense", "two words@expense"]);
    });
    let told: Vec<(&str, &str)> = told.iter().map(|problem| (&*problem.pointer, &*problem.message)).collect();
    let expected = "`reviewer@expense` is how a credential says `reviewer` for the form `expense` alone; a workflow is of one form and says `reviewer`";
    assert!(told.contains(&("/workflow/transitions/0/roles/0", expected)), "{told:?}");
    for place in [1, 2] {
        let pointer = format!("/workflow/states/review/editors/{place}");
        let message = told.iter().find(|(at, _)| *at == pointer).map(|(_, message)| *message);
        assert!(
            message.is_some_and(|message| message.starts_with("a name is 1 to 128")),
            "{place}: {told:?}"
        );
    }
}

#[test]
fn every_state_that_is_named_exists() {
    assert_eq!(errors(|w| w["initial"] = json!("start")), ["/workflow/initial"]);
    assert_eq!(
        errors(|w| w["states"]["review"]["escalate"]["to"] = json!("late")),
        ["/workflow/states/review/escalate/to"]
    );
    assert_eq!(errors(|w| w["auto"][1]["to"] = json!("reviews")), ["/workflow/auto/1/to"]);
    assert_eq!(
        errors(|w| w["transitions"][0]["from"] = json!(["review", "nowhere"])),
        ["/workflow/transitions/0/from"]
    );
}

#[test]
fn every_state_is_reached_and_leads_to_an_end() {
    assert_eq!(errors(|w| w["states"]["forgotten"] = json!({"final": true})), ["/workflow/states/forgotten"]);
    let dead_end = errors(|w| {
        w["states"]["limbo"] = json!({});
        w["transitions"][1]["to"] = json!("limbo");
        w["states"].as_object_mut().expect("states").remove("rejected");
    });
    assert_eq!(dead_end, ["/workflow/states/limbo"]);
    let no_end = errors(|w| {
        w["states"]["approved"] = json!({});
        w["states"]["rejected"] = json!({});
    });
    assert_eq!(no_end.len(), 5, "{no_end:?}");
}

#[test]
fn what_moves_by_itself_cannot_go_round_for_ever() {
    let told = errors(|w| {
        w["auto"] = json!([{"from": "submitted", "to": "review"}, {"from": "review", "to": "submitted", "when": "amount > 1.0"}]);
    });
    assert_eq!(told, ["/workflow/auto/0", "/workflow/auto/1"]);
    let itself = errors(|w| w["auto"][1] = json!({"from": "review", "to": "review"}));
    assert!(itself.contains(&"/workflow/auto/1".to_owned()), "{itself:?}");
}

#[test]
fn an_automatic_transition_behind_one_that_always_goes_is_remarked() {
    let (errors, warnings) = places(|w| {
        let auto = w["auto"].as_array_mut().expect("a list");
        auto.swap(0, 1);
    });
    assert_eq!((errors, warnings), (vec![], vec!["/workflow/auto/1".to_owned()]));
}

#[test]
fn a_final_state_is_the_end() {
    assert_eq!(errors(|w| w["states"]["approved"]["due"] = json!("P1D")), ["/workflow/states/approved"]);
    let reopened = errors(|w| w["transitions"][1]["from"] = json!(["review", "approved"]));
    assert_eq!(reopened, ["/workflow/states/approved"]);
}

#[test]
fn draft_and_withdrawn_mean_the_same_in_every_form() {
    let draft = errors(|w| {
        w["states"]["draft"] = json!({});
        w["transitions"][1]["to"] = json!("draft");
        w["transitions"][0]["from"] = json!(["review", "overdue", "draft"]);
        w["states"].as_object_mut().expect("states").remove("rejected");
    });
    assert_eq!(draft, ["/workflow/states/draft"]);
    let withdrawn = |last: bool| {
        errors(|w| {
            w["states"].as_object_mut().expect("states").remove("rejected");
            w["states"]["withdrawn"] = if last { json!({"final": true}) } else { json!({}) };
            w["transitions"][1]["to"] = json!("withdrawn");
            if !last {
                w["transitions"][0]["from"] = json!(["review", "overdue", "withdrawn"]);
            }
        })
    };
    assert_eq!(withdrawn(true), Vec::<String>::new());
    assert_eq!(withdrawn(false), ["/workflow/states/withdrawn"]);
}

#[test]
fn guards_are_conditions_over_fields_outcomes_and_who_acts() {
    let guarded = |guard: &str| errors(|w| w["transitions"][0]["when"] = json!(guard));
    for good in [
        "amount < 50000.0",
        "outcomes.route.route == 'committee'",
        "actor != submitter",
        "'cfo' in roles || amount < 100.0",
        "now < timestamp('2030-01-01T00:00:00Z')",
    ] {
        assert_eq!(guarded(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["amount", "amount < 'ten'", "outcomes.route.rout == 'x'", "amout > 1.0", "amount >", "roles"]
    {
        assert_eq!(guarded(bad), ["/workflow/transitions/0/when"], "{bad}");
    }
    let alone = errors(|w| w["auto"][0]["when"] = json!("actor == 'ada'"));
    assert_eq!(alone, ["/workflow/auto/0/when"], "nobody acts when a submission moves by itself");
    let span = problems(|w| w["auto"][0]["when"] = json!("amout > 1.0"));
    assert!(span[0].span.is_some(), "{span:?}");
}

#[test]
fn candidates_are_people() {
    let named = |text: &str| errors(|w| w["transitions"][0]["candidates"] = json!(text));
    for good in ["manager", "[manager, 'cfo@example.org']", "amount > 5000.0 ? ['cfo'] : ['clerk']"] {
        assert_eq!(named(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["amount", "[amount]", "true"] {
        assert_eq!(named(bad), ["/workflow/transitions/0/candidates"], "{bad}");
    }
}

#[test]
fn what_may_be_edited_is_a_field() {
    let edit = |pointers: Value| errors(|w| w["states"]["review"]["edit"] = pointers);
    assert_eq!(edit(json!(["/lines", "/amount", ""])), Vec::<String>::new());
    assert_eq!(edit(json!(["/line"])), ["/workflow/states/review/edit/0"]);
    assert_eq!(edit(json!(["/amount", "/lines/0/qty"])), ["/workflow/states/review/edit/1"]);
    assert_eq!(edit(json!(["amount"])), ["/workflow/states/review/edit/0"]);
    assert_eq!(edit(json!(["/amount", "/amount"])), ["/workflow/states/review/edit/1"]);
}

#[test]
fn names_are_not_given_twice() {
    assert_eq!(errors(|w| w["transitions"][1]["name"] = json!("approve")), ["/workflow/transitions/1/name"]);
}

#[test]
fn roles_that_nobody_holds_are_remarked() {
    for (role, remarked) in
        [("Reviewer", true), ("reviewers", true), ("auditor", true), ("clerk", false), ("reviewer", false)]
    {
        let (errors, warnings) = places(|w| w["transitions"][0]["roles"] = json!([role]));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(!warnings.is_empty(), remarked, "{role}: {warnings:?}");
    }
}

#[test]
fn a_transition_for_the_submitter_alone_cannot_exclude_them() {
    let told = errors(|w| w["transitions"][0]["roles"] = json!(["submitter"]));
    assert_eq!(told, ["/workflow/transitions/0/roles"]);
}

#[test]
fn due_dates_are_calendar_durations_and_escalation_needs_one() {
    assert_eq!(errors(|w| w["states"]["review"]["due"] = json!("3 days")), ["/workflow/states/review/due"]);
    let told = errors(|w| w["states"]["review"] = json!({"escalate": {"to": "overdue"}}));
    assert_eq!(told, ["/workflow/states/review/escalate"]);
}

#[test]
fn a_workflow_is_bounded() {
    let told = errors(|w| {
        let transition = w["transitions"][0].clone();
        w["transitions"] = json!(vec![transition; 501]);
    });
    assert!(told.contains(&"/workflow/transitions".to_owned()), "{told:?}");
    let told = errors(|w| {
        w["states"] = (0..201).map(|n| (format!("s{n}"), json!({}))).collect();
    });
    assert!(told.contains(&"/workflow/states".to_owned()), "{told:?}");
}

#[test]
fn escalations_that_go_round_are_refused_but_what_is_published_works() {
    let round = |w: &mut Value| {
        w["states"]["overdue"] = json!({"due": "P1D", "escalate": {"to": "review"}});
    };
    assert_eq!(errors(round), ["/workflow/states/overdue/escalate", "/workflow/states/review/escalate"]);
    let back = |w: &mut Value| w["states"]["review"]["escalate"] = json!({"to": "submitted"});
    assert_eq!(errors(back), ["/workflow/states/overdue", "/workflow/states/review/escalate"]);
    let definition = FormDefinition::parse(&definition(round)).expect("a definition");
    let form = "expense".parse().expect("a form id");
    let published = CompiledForm::compile(&definition, &form, FormVersion::FIRST).expect("it works");
    assert_eq!(published.remarks().iter().filter(|remark| remark.is_error()).count(), 2);
}

#[test]
fn a_signature_says_what_it_means_and_how_fresh_credentials_must_be() {
    let with = |signature: Value| errors(|workflow| workflow["transitions"][0]["signature"] = signature);
    assert!(with(json!({"meaning": "I approve this claim", "max_age": "PT5M"})).is_empty());
    let at = |member: &str| vec![format!("/workflow/transitions/0/signature{member}")];
    for (bad, member) in [
        (json!("I approve"), ""),
        (json!({}), "/meaning"),
        (json!({"meaning": ""}), "/meaning"),
        (json!({"meaning": "a\nb"}), "/meaning"),
        (json!({"meaning": "I \u{202e}tcejer"}), "/meaning"),
        (json!({"meaning": "x".repeat(501)}), "/meaning"),
        (json!({"meaning": "x", "max_age": 300}), "/max_age"),
        (json!({"meaning": "x", "max_age": "5m"}), "/max_age"),
        (json!({"meaning": "x", "by": "ada"}), "/by"),
    ] {
        assert_eq!(with(bad.clone()), at(member), "{bad}");
    }
}

#[test]
fn a_state_that_lets_files_be_attached_is_in_a_form_that_takes_some() {
    let attach = |value: Value, takes: bool| {
        let mut definition = definition(|workflow| workflow["states"]["overdue"] = json!({"attach": value}));
        if takes {
            definition["attachments"] = json!({});
        }
        let problems = FormDefinition::problems(&definition, &"expense".parse().expect("a form id"));
        problems.into_iter().filter(DefinitionProblem::is_error).map(|it| it.pointer).collect::<Vec<_>>()
    };
    assert!(attach(json!(true), true).is_empty());
    assert!(attach(json!(false), false).is_empty());
    assert_eq!(attach(json!(true), false), ["/workflow/states/overdue/attach"]);
    assert_eq!(attach(json!("yes"), true), ["/workflow/states/overdue/attach"]);
    let closed = errors(|workflow| workflow["states"]["approved"]["attach"] = json!(true));
    assert_eq!(closed, ["/workflow/states/approved"]);
}

#[test]
fn candidates_that_are_always_too_few_are_remarked() {
    for (candidates, approvals, remarked) in [
        ("['a']", json!(2), true),
        ("[]", json!(1), true),
        ("['a', 'b']", json!(2), false),
        ("['a', 'a']", json!(2), true),
        ("manager", json!(2), false),
        ("'a'", json!(1), false),
    ] {
        let (errors, warnings) = places(|w| {
            w["transitions"][0] = json!({"name": "approve", "from": ["review", "overdue"], "to": "approved",
                                         "candidates": candidates, "approvals": approvals});
        });
        let at = "/workflow/transitions/0/candidates".to_owned();
        // Where a field may be missing, that is remarked at the same place.
        let found = warnings.contains(&at) && candidates != "manager";
        assert_eq!((errors, found), (vec![], remarked), "{candidates}: {warnings:?}");
    }
    let with_role = places(|w| w["transitions"][0]["candidates"] = json!("[]"));
    assert_eq!(with_role, (vec![], vec![]), "holders of the role remain");
}

#[test]
fn editors_may_be_named_where_files_are_attached_alone() {
    assert_eq!(
        errors(|w| w["states"]["overdue"] = json!({"editors": ["clerk"]})),
        ["/workflow/states/overdue"]
    );
    // The form of these tests takes no files, which is said at `attach`.
    let attach = errors(|w| w["states"]["overdue"] = json!({"editors": ["clerk"], "attach": true}));
    assert_eq!(attach, ["/workflow/states/overdue/attach"]);
}
