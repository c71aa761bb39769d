//! What publishing warns of, and what keeps it quiet.

use std::sync::Arc;

use formledger_rules::{Budget, Field, Layout, ObjectType, Program, RuleSet, Severity, Type};
use serde_json::json;

use super::{compile, layout};

#[test]
fn a_constraint_on_a_missing_optional_field_is_skipped_and_was_warned_of() {
    let rules = compile(json!([{"id": "adult", "kind": "constraint", "assert": "applicant.age >= 18"}]));
    assert!(rules.remarks()[0].message.contains("has(applicant) && …"), "{:?}", rules.remarks());
    let data = json!({"amount": 1, "country": "DE", "level": "low"});
    let outcome = rules.evaluate(&data, &[], &mut Budget::default());
    assert!(outcome.violations.is_empty());
    assert_eq!(outcome.skipped[0].reason, "`applicant.age` is missing");
}

#[test]
fn a_guarded_field_gives_no_warning() {
    let guarded = "!has(applicant.age) || applicant.age >= 18";
    assert!(compile(json!([{"id": "a", "kind": "constraint", "assert": guarded}])).remarks().is_empty());
    let guarded = "has(applicant.age) && applicant.age >= 18 ? has(lines) : true";
    assert!(compile(json!([{"id": "a", "kind": "constraint", "assert": guarded}])).remarks().is_empty());
}

#[test]
fn a_member_of_an_element_that_may_be_missing_is_warned_of_too() {
    let line = ObjectType::new([Field::optional("off", Type::Int)], false);
    let fields = [Field::required("lines", Type::list(Type::Object(Arc::new(line))))];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let warnings = |source: &str| Program::compile(source, &layout).expect(source).warnings().len();
    assert_eq!(warnings("lines.all(l, l.off > 0)"), 1);
    assert_eq!(warnings("lines.all(l, !has(l.off) || l.off > 0)"), 0);
    // That there is a first line is another remark.
    assert_eq!(warnings("lines.exists(l, has(l.off) && l.off > 0) || lines[0].off == 3"), 2);
}

#[test]
fn what_may_fail_when_it_runs_is_warned_of_and_what_decides_it_silences_the_warning() {
    let warnings = |source: &str| -> Vec<String> {
        let program = Program::compile(source, &layout()).unwrap_or_else(|problems| panic!("{problems:?}"));
        program.warnings().iter().map(|warning| warning.message.clone()).collect()
    };
    assert_eq!(
        warnings("100 / country.size() > 1"),
        ["`100 / country.size()` may fail: the divisor may be zero"]
    );
    assert_eq!(warnings("int(country) > 3"), ["`int(country)` may fail: the text may not be one"]);
    assert_eq!(warnings("has(lines) && lines[0].qty > 1").len(), 1);
    assert_eq!(warnings("has(budget) && budget != 0.0 && 100 / budget > 1"), Vec::<String>::new());
    assert_eq!(warnings("has(budget) && (budget <= 0.0 || 100 / budget > 1)"), Vec::<String>::new());
    assert_eq!(warnings("amount / 3 > 1 && country.size() / 2 > 1 && int('3') == 3"), Vec::<String>::new());
    let open = Layout::new(Arc::new(ObjectType::new([Field::required("x", Type::Dyn)], false)));
    let program = Program::compile("x + 1 > 2 && x * 2 < 5", &open).expect("compiles");
    assert_eq!(program.warnings().len(), 1, "{:?}", program.warnings());
    assert!(program.warnings()[0].message.contains("does not say what types"));
}

#[test]
fn a_list_that_the_schema_makes_long_enough_is_not_doubted() {
    let fields = [
        Field::required("phq", Type::list(Type::Int)).of_at_least(9),
        Field::optional("maybe", Type::nullable(Type::list(Type::Int))).of_at_least(1),
        Field::required("any", Type::list(Type::Int)),
        Field::required("n", Type::Int),
    ];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let warned = |source: &str| {
        let program =
            Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        program.warnings().iter().filter(|warning| warning.message.contains("may fail")).count()
    };
    for source in [
        "phq[8] > 0 && phq[0] > 0",
        "phq.min() > 0 && phq.map(x, x * 2).max() > 3 && phq.sortBy(x, -x)[8] > 0",
        "phq.slice(0, 9).sum() > 3 && phq.slice(2, 2).size() == 0",
        "maybe[0] > 0",
    ] {
        assert_eq!(warned(source), 0, "{source}");
    }
    for source in [
        "phq[9] > 0",
        "phq[-1] > 0",
        "phq[n] > 0",
        "any[0] > 0",
        "maybe[1] > 0",
        "any.min() > 0",
        "phq.filter(x, x > 0)[0] > 0",
        "phq.filter(x, x > 0).min() > 0",
        "phq.map(x, x > 0, x)[0] > 0",
        "phq.slice(0, 10).sum() > 3",
        "phq.slice(3, 2).sum() > 3",
    ] {
        assert_eq!(warned(source), 1, "{source}");
    }
}

#[test]
fn a_call_that_always_fails_is_told_once() {
    for source in [
        "date('2026-02-30') > date('2026-01-01')",
        "decimal('1,5') > 1",
        "1 / 0 > 1",
        "int('x') > 1",
        "'a'.matches('(')",
    ] {
        let problems = Program::compile(source, &layout()).expect_err(source);
        assert_eq!(problems.len(), 1, "{source}: {problems:#?}");
        assert!(problems[0].message.starts_with("this always fails: "), "{source}: {problems:#?}");
    }
}

/// As the answer says it, for top-level fields, members and members of list items.
#[test]
fn a_default_for_a_field_that_is_no_optional_is_answered_with_how_it_is_written() {
    let inner = [
        Field::optional("age", Type::Int),
        Field::optional("a b", Type::Int),
        Field::optional("price", Type::Decimal),
        Field::optional("rate", Type::Double),
    ];
    let inner = Type::Object(Arc::new(ObjectType::new(inner, false)));
    let fields = [
        Field::optional("deductible", Type::Decimal),
        Field::optional("a b", Type::Int),
        Field::optional("applicant", inner.clone()),
        Field::required("lines", Type::list(inner)),
    ];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    for (source, place, right) in [
        ("deductible.orValue(0) > 1", "decimal", "has(deductible) ? deductible : 0"),
        ("`a b`.orValue(1 + 1) > 1", "int", "has(`a b`) ? `a b` : 1 + 1"),
        ("(applicant.age).orValue(0) > 1", "int", "applicant.?age.orValue(0)"),
        ("applicant.price.orValue(0) > 1", "decimal", "applicant.?price.orValue(decimal('0'))"),
        ("lines.all(l, l.rate.orValue(0) > 1)", "double", "l.?rate.orValue(0.0)"),
        ("applicant.rate.orValue(2.5) > 1", "double", "applicant.?rate.orValue(2.5)"),
        ("applicant.`a b`.orValue(0) > 1", "int", "applicant.?`a b`.orValue(0)"),
        ("lines.all(l, l.age.orValue(0) > 1)", "int", "l.?age.orValue(0)"),
        ("deductible.hasValue()", "decimal", "has(deductible)"),
        ("applicant.age.hasValue()", "int", "has(applicant.age)"),
    ] {
        let problems = Program::compile(source, &layout).expect_err(source);
        let error = problems.iter().find(|problem| problem.severity == Severity::Error).expect("an error");
        let quoted = if right.contains('`') { format!("`` {right} ``") } else { format!("`{right}`") };
        let name = if source.contains("hasValue") { "hasValue" } else { "orValue" };
        let message = format!(
            "`{name}` is a method of optionals, which `.?` and `[?…]` give; this is {place}; write {quoted}"
        );
        assert_eq!(error.message, message, "{source}");
        let right = if name == "hasValue" { right.to_owned() } else { format!("({right}) > 1") };
        let right = if source.starts_with("lines") { format!("lines.all(l, {right})") } else { right };
        let written =
            Program::compile(&right, &layout).unwrap_or_else(|problems| panic!("{right}: {problems:?}"));
        assert!(written.warnings().is_empty(), "{right}: {:?}", written.warnings());
    }
    for (source, ty) in
        [("lines.size().orValue(0) > 1", "int"), ("lines.all(l, l.orValue(l).age > 1)", "object")]
    {
        let problems = Program::compile(source, &layout).expect_err(source);
        let message = format!("`orValue` is a method of optionals, which `.?` and `[?…]` give; this is {ty}");
        assert!(problems.iter().any(|problem| problem.message == message), "{source}: {problems:#?}");
    }
}

#[test]
fn a_time_zone_that_is_written_out_is_looked_up_at_publish() {
    let told = |source: &str| {
        let program =
            Program::compile(source, &layout()).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        let told = program.warnings().iter();
        told.map(|told| (told.severity, told.tolerated, told.message.clone())).collect::<Vec<_>>()
    };
    for source in
        ["date(now, 'Europe/Berlin') > '2026-01-01'", "now.getHours('+01:00') > 8", "now.getDate('UTC') > 1"]
    {
        assert_eq!(told(source), [], "{source}");
    }
    for (source, message) in [
        (
            "date(now, 'Europe/Berlim') > '2026-01-01'",
            "`Europe/Berlim` is not a time zone; did you mean `Europe/Berlin`?",
        ),
        (
            "now.getHours('europe/berlin') > 8",
            "`europe/berlin` is not a time zone; did you mean `Europe/Berlin`?",
        ),
        (
            "now.getDayOfWeek('+1 hour') == 1",
            "`+1 hour` is not a time zone; one is a name such as `Europe/Berlin`, or an offset such as `+01:00`",
        ),
    ] {
        assert_eq!(told(source), [(Severity::Error, true, message.to_owned())], "{source}");
    }
    // Of unknown types there is a warning, too.
    let dynamic = told("date(dyn(now), 'Europe/Berlim') > '2026-01-01'");
    assert!(dynamic.iter().any(|(severity, ..)| *severity == Severity::Error), "{dynamic:?}");
    let unknown = "the zone may not be known";
    for source in ["date(now, country) > '2026-01-01'", "now.getHours(country) > 8"] {
        assert!(
            matches!(&*told(source), [(Severity::Warning, _, message)] if message.ends_with(unknown)),
            "{source}"
        );
    }
    let constant = Program::compile(
        "date(timestamp('2026-01-01T00:00:00Z'), 'Europe/Berlim') == '2026-01-01'",
        &layout(),
    );
    let errors = constant
        .expect_err("always fails")
        .into_iter()
        .filter(|told| told.severity == Severity::Error)
        .count();
    assert_eq!(errors, 1);
}

#[test]
fn a_comparison_that_the_schema_decides_is_warned_of() {
    let fields = [Field::required("n", Type::Int).within(Some(0.into()), Some(10.into()))];
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let warned = |source: &str| {
        let program = Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{problems:?}"));
        program.warnings().first().map(|warning| warning.message.clone())
    };
    let message = warned("n < 0 || n == 3").expect("a warning");
    assert_eq!(message, "`n < 0` never holds: the schema admits `n` at least 0 and at most 10");
    assert!(warned("10 >= n").expect("a warning").contains("always holds"));
    for source in ["n > 0", "n <= 9", "n == 10", "n >= 10", "n != 0"] {
        assert_eq!(warned(source), None, "{source}");
    }
    assert!(warned("n == 11").is_some() && warned("n > 10").is_some() && warned("n != 11").is_some());
}

/// As the advice of the checker has it, for every name that the language can write.
#[test]
fn the_advice_about_a_missing_field_can_be_followed_as_it_is_written() {
    let names =
        ["a", "a b", "straße", "first-name", "in", "true", "for", "", "1", "e.mail", "tick`", "line\nbreak"];
    let inner = ObjectType::new(names.map(|name| Field::optional(name, Type::Int)), false);
    let object = Type::Object(Arc::new(inner));
    let lines = Field::required("lines", Type::list(object.clone()));
    let fields = names.map(|name| Field::optional(name, Type::Int));
    let root = ObjectType::new(fields.into_iter().chain([Field::optional("o o", object), lines]), false);
    let layout = Layout::new(Arc::new(root));
    let advice = |source: &str| {
        let program =
            Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{source}: {problems:#?}"));
        let mut messages = program.warnings().iter().map(|warning| warning.message.clone());
        let message = messages.next()?;
        let written =
            message.split_once("is not evaluated; ")?.1.strip_suffix(" decides that case")?.to_owned();
        Some(written.trim_matches(['`', ' ']).replace("&& …", "&& "))
    };
    let quoted = |name: &str| format!("`{name}` > 1");
    for name in names.into_iter().filter(|name| !name.contains(['`', '\n'])) {
        for source in
            [quoted(name), format!("`o o`.{}", quoted(name)), format!("lines.all(l, l.{})", quoted(name))]
        {
            let advised = advice(&source).unwrap_or_else(|| panic!("no advice for {source}"));
            let followed = match source.strip_prefix("lines.all(l, ") {
                Some(condition) => format!("lines.all(l, {advised}{condition}"),
                None => format!("{advised}{source}"),
            };
            assert_eq!(advice(&followed).filter(|again| *again == advised), None, "{source}: {advised}");
        }
    }
}

/// Whatever its name is, unless a backtick or the end of a line is in it.
#[test]
fn a_field_without_a_name_is_written_as_two_backticks() {
    let root = ObjectType::new([Field::required("", Type::Int), Field::required("n", Type::Int)], false);
    let layout = Layout::new(Arc::new(root));
    let rules = json!([
        {"id": "twice", "kind": "compute", "value": "`` * 2", "into": "/n"},
        {"id": "large", "kind": "decision", "when": "n > 5 && has(``)", "then": "large"}
    ]);
    let rules = RuleSet::compile(&rules, &layout).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let data = json!({"": 3, "n": 0});
    let outcome = rules.evaluate(&data, &[], &mut Budget::default());
    assert_eq!(*outcome.computed[0].value, json!(6));
    assert!(outcome.outcomes[0].matched, "{:?}", outcome.outcomes);
    let rules = json!([{"id": "zero", "kind": "compute", "value": "n + 1", "into": "/"},
                       {"id": "one", "kind": "decision", "when": "`` == 1", "then": 1}]);
    let rules = RuleSet::compile(&rules, &layout).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(rules.evaluate(&data, &[], &mut Budget::default()).outcomes[0].matched);
}

#[test]
fn a_place_of_a_constraint_that_no_field_has_is_warned_of() {
    let remarks = |at: &str| {
        let rules = compile(json!([
            {"id": "c", "kind": "constraint", "assert": "amount > 0", "at": at},
            {"id": "net", "kind": "compute", "value": "amount * 2", "into": "/applicant/net"},
            {"id": "any", "kind": "compute", "value": "{'deep': dyn({'x': 1})}", "into": "/made"},
        ]));
        let told = rules.remarks().iter().filter(|remark| remark.pointer == "/rules/0/at");
        told.map(|remark| (remark.message.clone(), remark.severity)).collect::<Vec<_>>()
    };
    for at in [
        "",
        "/amount",
        "/applicant",
        "/applicant/age",
        "/applicant/net",
        "/lines/0/qty",
        "/lines/*/qty",
        "/lines/12",
        "/made/deep/x",
    ] {
        assert_eq!(remarks(at), [], "{at}");
    }
    for (at, missing, near) in [
        ("/amuont", "amuont", Some("amount")),
        ("/applicant/ages", "ages", Some("age")),
        ("/applicants/age", "applicants", Some("applicant")),
        ("/lines/0/quantity", "quantity", None),
        ("/lines/first", "first", None),
        ("/amount/value", "value", None),
    ] {
        let told = remarks(at);
        let advice = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let message = format!("neither the schema nor a compute has a field `{missing}` for `{at}`{advice}");
        assert_eq!(told, [(message, Severity::Warning)], "{at}");
    }
    // Of an object of which the schema says nothing, nothing is known.
    let anything = Type::Object(Arc::new(ObjectType::new([], true)));
    let layout = Layout::new(Arc::new(ObjectType::new([Field::optional("more", anything)], false)));
    let rules = json!([{"id": "c", "kind": "constraint", "assert": "has(more)", "at": "/more/or/less"}]);
    assert!(RuleSet::compile(&rules, &layout).expect("right").remarks().is_empty());
}
