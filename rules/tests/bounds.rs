//! Hostile and extreme input: a clear error or a specified value, in bounded time and memory.

#[path = "support/effort.rs"]
mod effort;

use std::sync::Arc;
use std::time::Duration;

use effort::Effort;
use formledger_rules::dynamic::eval_ndjson_case;
use formledger_rules::limits::{HEIGHT_MAX, NESTING_MAX, PATTERN_BYTES_MAX, RULES_MAX, SOURCE_BYTES_MAX};
use formledger_rules::{Budget, ErrorKind, EvalError, Field, Layout, ObjectType, Program, RuleSet, Type};
use serde_json::{Value as Json, json};

/// CPU time: far more than any of these needs, far less than an unbounded one would take.
const PATIENCE: Duration = Duration::from_secs(20);

fn layout() -> Layout {
    let fields = [
        Field::required("xs", Type::list(Type::Int)),
        Field::required("text", Type::String),
        Field::required("n", Type::Int),
        Field::required("d", Type::Double),
        Field::required("price", Type::Decimal),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

fn refusal(source: &str) -> String {
    let problems = Program::compile(source, &layout()).expect_err("the source is refused");
    problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
}

fn eval(source: &str, data: &Json, budget: u64) -> Result<Json, EvalError> {
    let layout = layout();
    let program =
        Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
    program.eval(&layout.bind(data), &mut Budget::new(budget))?.to_json()
}

fn data() -> Json {
    json!({"xs": (0..10_000).collect::<Vec<_>>(), "text": "a".repeat(30_000), "n": 0, "d": 0.5, "price": "0.1"})
}

#[test]
fn a_source_of_a_megabyte_is_refused_before_it_is_read() {
    assert!(refusal(&"1+".repeat(500_000)).contains(&format!("at most {SOURCE_BYTES_MAX}")));
}

#[test]
fn deep_nesting_of_every_kind_is_refused_and_never_overflows_the_stack() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("-", ""),
        ("!", ""),
        ("{1:", "}"),
        ("size(", ")"),
        ("xs[", "]"),
        ("n?1:", ""),
    ] {
        let source = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        assert!(refusal(&source).contains(&format!("more than {NESTING_MAX} levels")), "{open}");
    }
    for (start, link) in [("1", "+1"), ("text", ".x"), ("xs", "[0]"), ("text", ".trim()")] {
        let source = format!("{start}{}", link.repeat(5_000));
        assert!(refusal(&source).contains(&format!("more than {HEIGHT_MAX} levels")), "{link}");
    }
}

#[test]
fn the_deepest_expression_that_is_admitted_compiles_and_runs() {
    let depth = usize::from(NESTING_MAX) - 1;
    let source = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Program::compile(&source, &layout()).is_ok());
    assert_eq!(
        eval(&format!("{}n{}", "-(".repeat(depth / 2), ")".repeat(depth / 2)), &data(), 1_000),
        Ok(json!(0))
    );
    let tall = vec!["n"; usize::from(HEIGHT_MAX)].join(" + ");
    assert_eq!(eval(&tall, &data(), 1_000), Ok(json!(0)));
    assert!(eval_ndjson_case(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)), &Json::Null).is_ok());
}

#[test]
fn long_chains_of_logic_are_not_nesting() {
    let source = vec!["n == 1"; 3_000].join(" || ");
    assert_eq!(eval(&source, &data(), 1_000), Ok(json!(false)));
}

/// A submission may supply it.
#[test]
fn a_pattern_that_is_known_late_is_bounded_and_paid_for() {
    let matches = |pattern: String, budget| {
        let mut data = data();
        data["text"] = json!(pattern);
        ["'ab1'.matches(text)", "matches(dyn('ab1'), dyn(text))"].map(|source| eval(source, &data, budget))
    };
    for hostile in ["{", "[:", "[[:]", "{1,"] {
        let long = hostile.repeat(1024 * 1024 / hostile.len());
        for said in matches(long, u64::MAX) {
            assert!(said.expect_err(hostile).message().contains(&format!("at most {PATTERN_BYTES_MAX} are")));
        }
    }
    for said in matches("(?i)^[A-Z]{2}\\d+$".to_owned(), 300) {
        assert_eq!(said, Ok(json!(true)));
    }
    for dear in ["a".repeat(60_000), "(?i)[é\\W]".repeat(10)] {
        for said in matches(dear, 200_000) {
            assert_eq!(said.expect_err("it costs more").kind(), ErrorKind::Budget);
        }
    }
}

#[test]
fn a_catastrophic_regular_expression_takes_linear_time_and_a_huge_one_is_refused() {
    let effort = Effort::begin();
    assert_eq!(eval("text.matches('^(a+)+$b')", &data(), 1_000), Ok(json!(false)));
    assert!(effort.spent() < PATIENCE);
    assert!(refusal("text.matches('(a{1000}){1000}')").contains("regular expression"));
    assert!(refusal("text.matches('(')").contains("regular expression"));
}

#[test]
fn nested_macros_over_large_lists_end_with_the_budget() {
    let effort = Effort::begin();
    let source = "xs.map(a, xs.map(b, xs.map(c, a * b * c)))";
    let error = eval(source, &data(), 1_000_000).expect_err("there is not that much budget");
    assert_eq!(error.kind(), ErrorKind::Budget);
    assert!(effort.spent() < PATIENCE);
    // Logic absorbs errors, but not this one.
    let absorbed = eval(&format!("{source}.size() > 3 || true"), &data(), 1_000_000);
    assert_eq!(absorbed, Ok(json!(true)), "`|| true` is decided at compile time");
    let not_absorbed = eval(&format!("{source}.size() > 3 || n == 0"), &data(), 1_000_000);
    assert_eq!(not_absorbed.expect_err("the budget is spent").kind(), ErrorKind::Budget);
}

#[test]
fn macros_nested_too_deeply_cost_too_much_to_publish() {
    let source = "xs.all(a, xs.all(b, xs.all(c, xs.all(d, xs.all(e, a + b + c + d + e > 0)))))";
    assert!(refusal(source).contains("units"));
}

#[test]
fn texts_do_not_grow_without_bound() {
    let source = "text.replace('a', text).replace('a', text)";
    assert_eq!(eval(source, &data(), 1_000).expect_err("too long").kind(), ErrorKind::Budget);
    assert_eq!(
        eval("xs.map(x, text).join()", &data(), 1_000_000).expect_err("too long").kind(),
        ErrorKind::Budget
    );
}

#[test]
fn lists_that_share_their_parts_do_not_explode() {
    let effort = Effort::begin();
    let binds = |last: &str| {
        let chain: String = (0..40).map(|at| format!("cel.bind(v{}, [v{at}, v{at}], ", at + 1)).collect();
        format!("cel.bind(v0, [n, n], {chain}{last}{}", ")".repeat(41))
    };
    assert_eq!(eval(&binds("v40"), &data(), 1_000).expect_err("too large").kind(), ErrorKind::Budget);
    assert_eq!(
        eval(&binds("v40 == [v39, v39]"), &data(), 1_000).expect_err("too large").kind(),
        ErrorKind::Budget
    );
    let dynamic = binds("v40").replace("[n, n]", "[1, 1]");
    assert!(eval_ndjson_case(&dynamic, &Json::Null).is_err());
    assert!(effort.spent() < PATIENCE);
}

#[test]
fn loops_pay_for_the_size_of_what_they_work_on() {
    let effort = Effort::begin();
    for source in ["xs.all(x, !text.contains('b'))", "xs.all(x, x in xs)", "xs.all(x, !text.matches('b$'))"] {
        let error = eval(source, &data(), 200_000).expect_err("there is not that much budget");
        assert_eq!(error.kind(), ErrorKind::Budget, "{source}");
    }
    assert!(effort.spent() < PATIENCE);
}

/// As many rules as there may be, each after the next one; `junk` is what each reads besides, often.
fn reversed_chain(junk: usize) -> Json {
    let junk = format!("size([{}]) > 0", vec!["n"; junk].join(", "));
    let rule = |at: usize| {
        let when = if at + 1 < RULES_MAX {
            format!("{junk} && outcomes.r{:04}.matched", at + 1)
        } else {
            junk.clone()
        };
        json!({"id": format!("r{at:04}"), "kind": "decision", "when": when, "then": 1})
    };
    (0..RULES_MAX).map(rule).collect()
}

#[test]
fn as_many_rules_as_there_may_be_are_ordered_whoever_waits_for_whom() {
    let effort = Effort::begin();
    let rules = RuleSet::compile(&reversed_chain(190), &layout()).expect("the chain is no circle");
    assert!(effort.spent() < PATIENCE);
    let data = data();
    let outcomes = rules.evaluate(&data, &[], &mut Budget::default()).outcomes;
    // Which says that they were asked in that order: none matches before the one that it waits for.
    assert_eq!(outcomes.len(), RULES_MAX);
    assert!(outcomes.iter().all(|outcome| outcome.matched));
}

#[test]
fn as_many_rules_as_there_may_be_that_all_wait_for_all_are_refused_at_once() {
    let effort = Effort::begin();
    let rule = |at: usize| {
        let name = format!("f{at:04}");
        json!({"id": name, "kind": "decision", "when": "outcomes == outcomes", "then": 1})
    };
    let refused = RuleSet::compile(&(0..RULES_MAX).map(rule).collect(), &layout());
    assert!(refused.expect_err("a circle")[0].message.contains("waits for its own result"));
    assert!(effort.spent() < PATIENCE);
}

#[test]
fn conditions_pay_for_the_lists_they_compare() {
    let fields = ["xs", "ys"].map(|name| Field::required(name, Type::list(Type::Int)));
    let nested = ["xss", "yss"].map(|name| Field::required(name, Type::list(Type::list(Type::Int))));
    let fields = fields.into_iter().chain(nested).chain([
        Field::required("n", Type::Int),
        Field::required("a", Type::Dyn),
        Field::required("b", Type::Dyn),
        Field::required("text", Type::String),
    ]);
    let layout = Layout::new(Arc::new(ObjectType::new(fields, false)));
    let ones = json!(vec![1; 250_000]);
    let data = json!({"xs": ones, "ys": ones, "xss": [ones], "yss": [ones], "n": 1, "a": ones, "b": ones,
                      "text": "a".repeat(1_000_000)});
    let slots = layout.bind(&data);
    let effort = Effort::begin();
    for condition in [
        "xs == ys",
        "!(xs != ys)",
        "xss == yss",
        "[xs] == [ys]",
        "xs in yss",
        "optional.of(xs) == optional.of(ys)",
        "a == b",
        "!(2 in xs)",
        "sum(xs) > 0",
        "!(text.matches('b$'))",
        "!(text.contains('b'))",
    ] {
        for last in ["n > 0", "n + 1 > 0"] {
            let source = format!("{} && {last}", vec![condition; 1_500].join(" && "));
            let program =
                Program::compile(&source, &layout).unwrap_or_else(|problems| panic!("{problems:?}"));
            let refused = program.eval_bool(&slots, &mut Budget::new(200_000)).expect_err(condition);
            assert_eq!(refused.kind(), ErrorKind::Budget, "{condition}");
        }
    }
    assert!(effort.spent() < PATIENCE);
    // What only looks at a large value costs what it costs of a small one.
    for condition in ["size(xs) > 0", "xs[0] == 1", "xs != []", "n in [1, 2]", "xs.last().orValue(0) == 1"] {
        let source = vec![condition; 1_000].join(" && ");
        let program = Program::compile(&source, &layout).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(program.eval_bool(&slots, &mut Budget::new(1_000)), Ok(true), "{condition}");
    }
}

#[test]
fn arithmetic_at_the_edges_is_an_error_or_a_value_that_is_specified() {
    let kind = |source: &str| eval(source, &data(), 1_000).expect_err(source).kind();
    assert_eq!(kind("1 / n"), ErrorKind::DivideByZero);
    assert_eq!(kind("1 % n"), ErrorKind::DivideByZero);
    assert_eq!(kind("price / n"), ErrorKind::DivideByZero);
    assert_eq!(kind("9223372036854775807 + (n + 1)"), ErrorKind::Overflow);
    assert_eq!(kind("-(n - 9223372036854775807 - 1)"), ErrorKind::Overflow);
    assert_eq!(kind("(n - 9223372036854775807 - 1) / (n - 1)"), ErrorKind::Overflow);
    assert_eq!(kind("price * decimal('79228162514264337593543950335')  * 20"), ErrorKind::Overflow);
    assert_eq!(kind("xs[n - 1]"), ErrorKind::OutOfRange);
    assert_eq!(
        kind("timestamp('9999-12-31T23:59:59Z') + duration(string(n + 1) + 's') == timestamp(n)"),
        ErrorKind::Overflow
    );
    assert_eq!(eval("d / 0.0", &data(), 1_000), Ok(json!("Infinity")));
    assert_eq!(eval("0.0 / (d - d) == 0.0 / (d - d)", &data(), 1_000), Ok(json!(false)));
    assert_eq!(eval("price + price + price == 0.3", &data(), 1_000), Ok(json!(true)));
}

#[test]
fn a_value_that_does_not_fit_its_field_is_an_error_that_names_the_field() {
    let error = eval("n + 1", &json!({"n": "seven"}), 1_000).expect_err("not an int");
    assert_eq!((error.kind(), error.message().contains("`n`")), (ErrorKind::Misfit, true));
    assert_eq!(eval("n + 1", &json!({"n": 7.0}), 1_000), Ok(json!(8)));
    assert_eq!(
        eval("xs[1]", &json!({"xs": [1, "two"]}), 1_000).expect_err("not an int").kind(),
        ErrorKind::Misfit
    );
    assert_eq!(eval("n", &json!([1]), 1_000).expect_err("no object").kind(), ErrorKind::Missing);
}

#[test]
fn programs_are_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Program>();
    shared::<formledger_rules::RuleSet>();
}
