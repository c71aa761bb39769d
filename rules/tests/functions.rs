//! Functions of the embedding program: typed at publish, checked when they run, paid for.

use std::sync::Arc;

use formledger_rules::{
    Budget, ErrorKind, EvalError, Field, Function, Layout, ObjectType, Program, Type, Value,
};
use serde_json::{Value as Json, json};

/// Counts the letters of a text, and refuses one that is empty.
fn letters() -> Function {
    Function::new("text.letters", &[Type::String], Type::Int, |args| match args {
        [Value::String(text)] if !text.is_empty() => {
            Ok(Value::Int(text.chars().filter(|c| c.is_alphabetic()).count() as i64))
        }
        _ => Err(EvalError::new(ErrorKind::InvalidArgument, "`text.letters` needs a text that is not empty")),
    })
    .expect("a name that is free")
}

fn layout() -> Layout {
    let liar = Function::new("liar", &[Type::list(Type::Int)], Type::list(Type::Int), |_| {
        Ok(Value::list(vec![Value::from("one")]))
    });
    let rate = Function::new("rate", &[Type::Decimal], Type::Decimal, |args| Ok(args[0].clone()));
    let fields = [Field::required("name", Type::String), Field::required("xs", Type::list(Type::Int))];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
        .with_function(letters().costing(500))
        .with_function(liar.expect("a name that is free"))
        .with_function(rate.expect("a name that is free"))
}

fn eval(source: &str, data: &Json, budget: u64) -> Result<Json, EvalError> {
    let layout = layout();
    let program = Program::compile(source, &layout).unwrap_or_else(|problems| panic!("{problems:?}"));
    program.eval(&layout.bind(data), &mut Budget::new(budget))?.to_json()
}

fn refusal(source: &str) -> String {
    Program::compile(source, &layout()).expect_err("refused")[0].to_string()
}

#[test]
fn a_function_is_called_by_its_name_and_gives_a_value_of_its_type() {
    let data = json!({"name": "a-b", "xs": [1]});
    assert_eq!(eval("text.letters(name) + 1", &data, 10_000), Ok(json!(3)));
    assert_eq!(eval("xs.all(x, text.letters(name) > x)", &data, 10_000), Ok(json!(true)));
    assert_eq!(eval("rate(10.10)", &data, 10_000), Ok(json!("10.10")), "literals are read as its parameters");
}

#[test]
fn a_wrong_call_is_refused_with_the_place_and_what_would_be_right() {
    assert_eq!(refusal("text.letters(xs)"), "13..15: `text.letters` needs string here; this is list(int)");
    let wrong = refusal("text.letters()");
    assert!(wrong.ends_with("takes 1 arguments; it is `text.letters(string) -> int`"), "{wrong}");
    assert!(refusal("ratte(1)").contains("did you mean `rate`?"));
}

#[test]
fn what_it_fails_with_and_what_it_should_not_have_given_are_errors_of_the_rule() {
    let data = json!({"name": "", "xs": [1]});
    assert_eq!(
        eval("text.letters(name)", &data, 10_000).expect_err("empty").kind(),
        ErrorKind::InvalidArgument
    );
    let lie = eval("liar(xs)[0] + 1", &data, 10_000).expect_err("not what it promised");
    assert_eq!(
        (lie.kind(), lie.message()),
        (ErrorKind::Misfit, "`liar` gave list where it promises list(int)")
    );
}

#[test]
fn it_is_paid_for() {
    let data = json!({"name": "a", "xs": [1, 2, 3, 4]});
    let spent = eval("xs.all(x, text.letters(name) == 1)", &data, 1_500).expect_err("four calls of 500");
    assert_eq!(spent.kind(), ErrorKind::Budget);
}

#[test]
fn names_of_the_language_and_of_nothing_are_refused() {
    for name in ["size", "has", "math.abs", "", "a..b", "1a", "a b"] {
        assert!(Function::new(name, &[], Type::Int, |_| Ok(Value::Int(1))).is_err(), "{name}");
    }
}
