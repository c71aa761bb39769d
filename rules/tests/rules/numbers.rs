//! Literals, comparisons and rounding: what a number is when it meets another kind of number.

use std::sync::Arc;

use formledger_rules::{Budget, Field, Layout, ObjectType, Program, Severity, Type};
use serde_json::json;

use super::{data, layout, run};

#[test]
fn number_and_date_literals_take_the_type_of_the_other_side() {
    for source in
        ["amount > 1000", "budget * 2 >= 10.10", "born < '2008-01-01'", "budget in [1, 2.5]", "-5 < amount"]
    {
        let program = Program::compile(source, &layout());
        assert!(program.is_ok(), "{source}: {program:?}");
    }
    for source in [
        "amount + applicant.age > 1.0",
        "budget > 1.0 + applicant.age",
        "born < 'soon'",
        "amount == 'x'",
        "country == null",
    ] {
        assert!(Program::compile(source, &layout()).is_err(), "{source}");
    }
}

/// Published forms with such a constant go on as they were.
#[test]
fn a_constant_decimal_that_was_rounded_once_is_refused_of_new_forms_only() {
    for (text, rounded) in [
        ("1.23456789012345678901234567890123e0", "1.2345678901234567890123456789"),
        ("12345678901234567890123456789.5E0", "12345678901234567890123456790"),
        ("-0.00000000000000000000000000004e0", "0.0000000000000000000000000000"),
    ] {
        let source = format!("string(decimal('{text}'))");
        let program = Program::compile(&source, &layout()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let told = program.warnings().iter();
        let told: Vec<_> = told.map(|told| (told.severity, told.tolerated, &*told.message)).collect();
        let message = format!("`{text}` is not a decimal of at most 28 digits");
        assert_eq!(told, [(Severity::Error, true, &*message)], "{text}");
        let rules = json!([{"id": "z", "kind": "compute", "value": source, "into": "/zero"}]);
        assert_eq!(*run(rules, data()).computed[0].value, json!(rounded));
    }
    for text in ["5e-29", "5e", "1e99", "x", "0.00000000000000000000000000005"] {
        let refused = Program::compile(&format!("decimal('{text}') > 1"), &layout()).expect_err(text);
        assert!(refused.iter().any(|told| told.severity == Severity::Error && !told.tolerated), "{text}");
    }
}

/// A field beside a whole number has a short way through the evaluator; operands of unknown type go the long one.
#[test]
fn a_field_beside_a_constant_is_compared_as_any_two_numbers_are() {
    let field = |ty| Layout::new(Arc::new(ObjectType::new([Field::required("n", ty)], false)));
    let whole = [0, 3, -3, (1 << 53) + 1, i64::MAX].map(|n| json!(n));
    let broken = [0.0, -0.0, 2.5, 3.0, -3.5, 9_007_199_254_740_992.0, 1e300].map(|n| json!(n));
    for (ty, values) in [(Type::Int, &whole[..]), (Type::Double, &broken[..])] {
        let layout = field(ty);
        for (order, bound) in ["<", "<=", ">", ">="].iter().flat_map(|order| {
            ["0", "3", "-3", "2.5", "9007199254740993", "9223372036854775807"].map(|bound| (order, bound))
        }) {
            let compile = |source: &str| Program::compile(source, &layout).expect("compiles");
            let (short, long) =
                (compile(&format!("n {order} {bound}")), compile(&format!("dyn(n) {order} dyn({bound})")));
            for value in values {
                let data = json!({ "n": value });
                let eval = |program: &Program| {
                    program.eval_bool(&layout.bind(&data), &mut Budget::default()).expect("evaluates")
                };
                assert_eq!(eval(&short), eval(&long), "{value} {order} {bound}");
            }
        }
    }
}

#[test]
fn an_operation_without_a_result_on_fields_that_are_there_violates_a_constraint() {
    let empty = || json!({"amount": 1, "country": "FR", "level": "low", "lines": []});
    for (assert, why) in [
        ("lines[0].qty > 0", "index `0` is outside a list of 0 elements"),
        ("lines.map(l, l.qty).min() > 0", "`min` of an empty list"),
        ("lines.map(l, l.qty).max() > 0", "`max` of an empty list"),
        ("lines.first().value().qty > 0", "`value()` of an optional that has none"),
        ("{'DE': 100.0}[country] > amount", "the map has no key `FR`"),
    ] {
        let rule = |kind: &str, member: &str| json!([{"id": "r", "kind": kind, member: assert, "then": 1}]);
        let mut constraint = rule("constraint", "assert");
        constraint[0].as_object_mut().expect("a rule").remove("then");
        let outcome = run(constraint, empty());
        assert!(outcome.skipped.is_empty(), "{assert}");
        assert_eq!(outcome.violations[0].message, format!("`r` could not be evaluated: {why}"));
        let decided = run(rule("decision", "when"), empty());
        assert_eq!(decided.outcomes[0].error.as_deref(), Some(why), "{assert}");
    }
    // A member that the submission does not have, and a key that a rule did not give, are missing fields however they are read.
    for assert in ["applicant['age'] > 17", "outcomes.none['key'] == 1"] {
        let outcome = run(
            json!([
                {"id": "none", "kind": "decision", "when": "amount > 0", "then": null, "otherwise": {"key": 1}},
                {"id": "r", "kind": "constraint", "assert": assert},
            ]),
            json!({"amount": 1, "country": "FR", "level": "low", "applicant": {"name": "Ada"}}),
        );
        assert_eq!((outcome.violations.len(), outcome.skipped.len()), (0, 1), "{assert}: {outcome:?}");
    }
}

#[test]
fn a_number_that_is_smaller_than_every_decimal_is_not_zero_to_one() {
    let tiny = |amount: f64| json!({"amount": amount, "country": "DE", "level": "low", "budget": "0.00"});
    for (holds, fails) in
        [("amount > decimal('0')", "amount == decimal('0')"), ("budget < amount", "amount <= budget")]
    {
        let rules = json!([{"id": "holds", "kind": "constraint", "assert": holds},
                           {"id": "fails", "kind": "constraint", "assert": fails}]);
        let outcome = run(rules, tiny(1e-29));
        assert_eq!(
            outcome.violations.iter().map(|broken| &*broken.rule).collect::<Vec<_>>(),
            ["fails"],
            "{holds}"
        );
    }
}

/// A decimal has 96 bits for its digits, and at most 28 of them behind the point.
#[test]
fn a_decimal_quotient_is_rounded_where_its_digits_end() {
    for (quotient, text) in [
        ("decimal(1) / 3", "0.3333333333333333333333333333"),
        ("decimal(2) / 3", "0.6666666666666666666666666667"),
        ("decimal(10) / 3", "3.3333333333333333333333333333"),
        ("decimal(100) / 3", "33.333333333333333333333333333"),
        ("decimal('0.0000000000000000000000000005') / 10", "0"),
        ("decimal('0.0000000000000000000000000015') / 10", "0.0000000000000000000000000002"),
        ("decimal('0.0000000000000000000000000025') / 10", "0.0000000000000000000000000002"),
        ("decimal(1) / decimal('79228162514264337593543950335')", "0"),
    ] {
        let rules =
            json!([{"id": "q", "kind": "compute", "value": format!("string({quotient})"), "into": "/q"}]);
        assert_eq!(*run(rules, data()).computed[0].value, json!(text), "{quotient}");
    }
}

/// Half away from zero, for money above all: what is written is what `math.round` makes.
#[test]
fn a_decimal_is_written_with_fewer_digits_rounded_as_math_round_does() {
    let written = |text: String| {
        let rules = json!([{"id": "w", "kind": "compute", "value": text, "into": "/w"}]);
        run(rules, data()).computed[0].value.as_str().expect("a text").to_owned()
    };
    for number in
        ["0.999", "1.019", "2.675", "2.665", "-2.675", "2.5", "-0.96", "-0.001", "0", "1e-28", "9.9999"]
    {
        for places in [0, 1, 2, 28] {
            let formatted = written(format!("'%.{places}f'.format([decimal('{number}')])"));
            let rounded = written(format!("string(math.round(decimal('{number}'), {places}))"));
            let (whole, fraction) = rounded.split_once('.').unwrap_or((&rounded, ""));
            let point = if places > 0 { "." } else { "" };
            assert_eq!(formatted, format!("{whole}{point}{fraction:0<places$}"), "{number} with {places}");
        }
    }
    for (format, number, text) in [
        ("%.2f", "decimal('0.999')", "1.00"),
        ("%f", "decimal('1.0000009')", "1.000001"),
        ("%.30f", "decimal('1.5')", "1.500000000000000000000000000000"),
        ("%.0f", "decimal('7922816251426433759354395033.5')", "7922816251426433759354395034"),
        ("%.2f", "9007199254740993", "9007199254740993.00"),
        ("%.1e", "decimal('0.125')", "1.3e-01"),
        ("%.1e", "decimal('-99.96')", "-1.0e+02"),
        ("%.0e", "decimal('25')", "3e+01"),
        ("%.17e", "decimal('12345678901234567.89')", "1.23456789012345679e+16"),
        ("%e", "decimal('0.00')", "0.000000e+00"),
        ("%d %s", "decimal('1.50'), decimal('1.50')", "1.50 1.50"),
    ] {
        assert_eq!(written(format!("'{format}'.format([{number}])")), text, "{format} of {number}");
    }
}

/// A sum of nothing owed is no debt: `-0.00` is on no bill.
#[test]
fn a_decimal_has_no_negative_zero() {
    for (zero, text) in [
        ("-decimal('0.00')", "0.00"),
        ("-(price - price)", "0.00"),
        ("price - price", "0.00"),
        ("decimal('0.00') - decimal('0.00')", "0.00"),
        ("decimal('0') - 0", "0"),
        ("0 - decimal('0')", "0"),
        ("decimal('-1.50') + decimal('1.50')", "0.00"),
        ("[decimal('-1.50'), decimal('1.50')].sum()", "0.00"),
        ("math.ceil(decimal('-0.5'))", "0"),
        ("math.trunc(decimal('-0.5'))", "0"),
        ("math.round(decimal('-0.4'))", "0"),
        ("decimal('-0.00')", "0.00"),
        ("decimal('-0e2')", "0"),
        ("decimal(-0.0)", "0"),
        ("decimal(-1e-40)", "0"),
        ("decimal('-1e-20') * decimal('0')", "0"),
        ("decimal('-1.5') % decimal('0.5')", "0.0"),
        ("decimal(-1) / decimal('79228162514264337593543950335')", "0"),
    ] {
        let rules = json!([
            {"id": "p", "kind": "compute", "value": "decimal('1.50')", "into": "/price"},
            {"id": "z", "kind": "compute", "value": zero, "into": "/zero"},
            {"id": "w", "kind": "compute", "value": "'%.0f %s'.format([zero, zero])", "into": "/written"}
        ]);
        let computed = run(rules, data()).computed;
        assert_eq!(
            (&*computed[1].value, &*computed[2].value),
            (&json!(text), &json!(format!("0 {text}"))),
            "{zero}"
        );
    }
}

/// Events of published versions go on as they were.
#[test]
fn a_duration_is_recorded_as_it_always_was() {
    for (value, recorded) in [
        ("duration('90m')", json!("PT5400S")),
        ("dyn(duration('90m'))", json!("PT5400S")),
        ("[duration('90m')]", json!(["5400s"])),
        ("optional.of(duration('90m'))", json!("5400s")),
    ] {
        let rules = json!([{"id": "d", "kind": "compute", "value": value, "into": "/d"}]);
        assert_eq!(*run(rules, data()).computed[0].value, recorded, "{value}");
    }
}
