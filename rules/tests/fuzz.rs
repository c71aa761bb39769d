//! A fuzzer that runs on stable Rust: mutated expressions, cells, rules and documents must give an answer or a refusal, soon, without
//! a panic, and never a type error in what the checker accepted.
//!
//! Deterministic: every run tries the same inputs in the same order. `FORMLEDGER_FUZZ_SECONDS=600` runs it for so long instead of
//! the few seconds of an ordinary test run (see CONTRIBUTING.md).

#[path = "support/effort.rs"]
mod effort;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use effort::Effort;
use formledger_rules::dynamic::eval_ndjson_case;
use formledger_rules::exchange::{Format, import};
use formledger_rules::{Budget, ErrorKind, Field, Layout, ObjectType, Program, RuleSet, Type};
use serde_json::{Value as Json, json};

/// Inputs of an ordinary test run.
const INPUTS: u64 = 6_000;
/// CPU time that one input may take; far more than any needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the longest input that mutation makes; longer ones are what `bounds.rs` is about.
const INPUT_BYTES_MAX: usize = 2_000;
/// What one evaluation may spend, in cost units.
const BUDGET: u64 = 50_000;

/// Pieces that mean something to the language, to cells or to the documents of other engines.
const TOKENS: [&str; 64] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    ":",
    "?",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    " in ",
    "not(",
    "..",
    "'",
    "\"",
    "'''",
    "r'",
    "b'",
    "\\",
    "\\u00e9",
    "`",
    "//",
    "0x",
    "1e309",
    "9223372036854775807",
    "0u",
    "0.1",
    "1",
    "null",
    "true",
    "has(",
    ".all(x,",
    ".map(x,",
    ".filter(x,",
    "optional.of(",
    ".?",
    "[?",
    "size(",
    "decimal(",
    "date(",
    "timestamp(",
    "duration(",
    "matches('(a+)+$')",
    ".format([",
    "i",
    "xs",
    "s",
    "o.age",
    "é",
    "\u{1f600}",
    "<text>",
    "</text>",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// The specification's expressions, cells, and a document of each kind.
fn corpus() -> Vec<String> {
    let cases = include_str!("data/cel-cases.ndjson").lines();
    let cases =
        cases.filter_map(|line| serde_json::from_str::<Json>(line).ok()?["expr"].as_str().map(str::to_owned));
    let own = [
        "amount > 10000 && (country in ['DE', 'FR'] || risk >= 0.8)",
        "lines.map(l, l.qty * l.price).sum()",
        "< 100, [5..10), not('a', \"b\"), in ['x'], date('2026-01-01')",
        r#"<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/"><decision id="a"><decisionTable><input><inputExpression><text>i</text></inputExpression></input><output name="o"/><rule><inputEntry><text>[1..2]</text></inputEntry><outputEntry><text>"x"</text></outputEntry></rule></decisionTable></decision></definitions>"#,
        r#"{"nodes":[{"type":"decisionTableNode","name":"t","content":{"inputs":[{"id":"a","field":"i"}],"outputs":[{"id":"b","field":"o"}],"rules":[{"a":"> 1","b":"2"}]}}]}"#,
    ];
    cases.chain(own.map(str::to_owned)).collect()
}

fn mutate(random: &mut Random, corpus: &[String]) -> String {
    let mut bytes = corpus[random.below(corpus.len())].clone().into_bytes();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1).min(40);
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copy = bytes[at..end].to_vec();
                let copies = 1 + random.below(20);
                bytes.splice(at..at, copy.iter().copied().cycle().take(copy.len() * copies));
            }
            2 => drop(bytes.splice(at..end, TOKENS[random.below(TOKENS.len())].bytes())),
            3 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
            4 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            _ => {
                let other = corpus[random.below(corpus.len())].as_bytes();
                let from = random.below(other.len() + 1);
                bytes.splice(at..end, other[from..].iter().copied().take(60));
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn layout() -> Layout {
    let inner =
        ObjectType::new([Field::optional("age", Type::Int), Field::required("ok", Type::Bool)], false);
    let fields = [
        Field::required("i", Type::Int),
        Field::required("d", Type::Double),
        Field::optional("s", Type::nullable(Type::String)),
        Field::optional("m", Type::Decimal),
        Field::optional("day", Type::Date),
        Field::required("xs", Type::list(Type::Int)),
        Field::optional("o", Type::Object(Arc::new(inner))),
        Field::required("x", Type::Dyn),
        Field::required("amount", Type::Double),
        Field::required("country", Type::String),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false))).with_variable("now", Type::Timestamp)
}

/// Everything that takes a text from outside.
fn attempt(source: &str, layout: &Layout, data: &Json) {
    if let Ok(program) = Program::compile(source, layout) {
        let result = program.eval(&layout.bind(data), &mut Budget::new(BUDGET));
        if let Err(error) = result
            && !program.is_dynamic()
        {
            let wrong = matches!(error.kind(), ErrorKind::NoOverload | ErrorKind::Unresolved);
            assert!(!wrong, "a type error in what the checker accepted: {error}");
        }
    }
    let _ = eval_ndjson_case(source, &json!({"i": {"int64Value": "3"}, "xs": {"listValue": {}}}));
    let rules = json!([
        {"id": "d", "kind": "decision", "when": source, "then": 1},
        {"id": "t", "kind": "table", "hit": "unique", "inputs": ["i", "country"], "rows": [
            {"when": [source, "-"], "then": 1}, {"when": ["> 3", source], "then": 2}]},
    ]);
    if let Ok(rules) = RuleSet::compile(&rules, layout) {
        let outcome = rules.evaluate(data, &[], &mut Budget::new(BUDGET));
        let _ = rules.explain(&outcome.outcomes_json(), &outcome.why_json().unwrap_or_default(), data);
    }
    let _ = (import(Format::Dmn, source), import(Format::Jdm, source));
}

#[test]
fn mutated_input_gives_an_answer_or_a_refusal_soon() {
    let seconds = std::env::var("FORMLEDGER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (started, limit) = (Instant::now(), seconds.map(Duration::from_secs));
    let (corpus, layout) = (corpus(), layout());
    let data = json!({"i": 3, "d": 0.5, "s": "a-b", "m": "1.5", "day": "2020-01-31", "xs": [3, 1, 2], "amount": 12.0,
                      "country": "DE", "o": {"age": 5, "ok": false}, "x": {"a": [1, "b", null]}});
    let mut random = Random(0x5eed_1234_5678_9abc);
    let mut tried = 0;
    while limit.map_or(tried < INPUTS, |limit| started.elapsed() < limit) {
        let source = mutate(&mut random, &corpus);
        let effort = Effort::begin();
        let survived = catch_unwind(AssertUnwindSafe(|| attempt(&source, &layout, &data)));
        assert!(survived.is_ok(), "input {tried} panicked: {source:?}");
        assert!(effort.spent() < PATIENCE, "input {tried} took {:?}: {source:?}", effort.spent());
        tried += 1;
    }
    println!("{tried} inputs in {:?}", started.elapsed());
}
