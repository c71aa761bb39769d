//! The same rule in other engines, each as its own documentation says it is fast: compiled once, the data handed over as parsed JSON.

use std::hint::black_box;

use serde_json::{Value as Json, json};

use crate::{Contestant, RULE};

/// The rule in ZEN, the language of GoRules.
const ZEN: &str = "amount > 10000 and (country in ['DE','FR'] or risk >= 0.8) and applicant.age >= 18";

/// The rule in JSONLogic.
fn jsonlogic() -> Json {
    json!({"and": [
        {">": [{"var": "amount"}, 10000]},
        {"or": [{"in": [{"var": "country"}, ["DE", "FR"]]}, {">=": [{"var": "risk"}, 0.8]}]},
        {">=": [{"var": "applicant.age"}, 18]},
    ]})
}

/// Each engine from parsed JSON to a truth value.
pub fn evaluation(data: &Json) -> Vec<Contestant<'_>> {
    let program = cel::Program::compile(RULE).expect("CEL");
    // The functions of the language are registered once; each submission gets a scope of its own.
    let language = cel::Context::default();
    let cel = move || {
        let mut context = language.new_inner_scope();
        for (name, value) in black_box(data).as_object().expect("an object") {
            context.add_variable(name.as_str(), value).expect("a value");
        }
        let value = program.execute(&context).expect("a value");
        assert!(matches!(black_box(value), cel::Value::Bool(true)));
    };
    let expression = zen_expression::compile_expression(ZEN).expect("ZEN");
    let zen = move || {
        let value = expression.evaluate(black_box(data).clone().into()).expect("a value");
        assert!(matches!(black_box(value), zen_expression::variable::Variable::Bool(true)));
    };
    let engine = datalogic_rs::Engine::new();
    let logic = engine.compile(&jsonlogic().to_string()).expect("JSONLogic");
    let mut arena = bumpalo::Bump::new();
    let datalogic = move || {
        let truth = engine.evaluate(&logic, black_box(data), &arena).expect("a value").as_bool();
        assert!(black_box(truth) == Some(true));
        arena.reset();
    };
    vec![
        Contestant::new("datalogic-rs, from parsed JSON", datalogic),
        Contestant::new("zen-expression, from parsed JSON", zen),
        Contestant::new("cel, from parsed JSON", cel),
    ]
}

/// Each engine from text to something it can evaluate.
pub fn compilation() -> Vec<Contestant<'static>> {
    let text = jsonlogic().to_string();
    let engine = datalogic_rs::Engine::new();
    vec![
        Contestant::new("datalogic-rs", move || {
            drop(black_box(engine.compile(black_box(&text)).expect("JSONLogic")))
        }),
        Contestant::new("zen-expression", || {
            drop(black_box(zen_expression::compile_expression(black_box(ZEN))))
        }),
        Contestant::new("cel", || drop(black_box(cel::Program::compile(black_box(RULE)).expect("CEL")))),
    ]
}
