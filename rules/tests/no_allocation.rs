//! Rules over numbers, texts, booleans, times and lists of them are evaluated without asking the allocator for anything; ordering
//! them asks for little at a time.

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use formledger_rules::{Budget, Field, Layout, ObjectType, Program, RuleSet, Type};
use serde_json::{Value as Json, json};

/// Every form of expression that forms use to decide and to refuse; what makes a new text, list or map is not among them.
const SCALAR: [&str; 24] = [
    "amount > 10000.0 && (country in ['DE', 'FR'] || risk >= 0.8) && applicant.age >= 18",
    "amount > 10000.0 || !approved",
    "amount * 2.0 + 1.5 - risk / 3.0 > 7.0",
    "count % 7 == 3 ? count + 1 : count - 1",
    "-count < 12",
    "double(count) > risk",
    "int(amount) == 12000",
    "price * decimal('1.19') <= decimal('10.00')",
    "price > 5",
    "has(note) && note != ''",
    "!has(missing) || missing == 'x'",
    "country == 'DE' || country == 'FR' || country == 'IT'",
    "note.startsWith('for') && note.endsWith('s') && note.contains('th')",
    "note.matches('^for [a-z]+$')",
    "size(note) > 3 && size(lines) == 3",
    "lines[1] > 10",
    "12 in lines",
    "lines.all(n, n > 0)",
    "lines.exists(n, n == 30)",
    "lines.exists_one(n, n > 20)",
    "sum(lines) < 100",
    "since < date('2027-01-01') && since.daysUntil(date('2026-12-31')) > 3",
    "at > timestamp('2026-01-01T00:00:00Z') && at.getFullYear() == 2026",
    "at - timestamp('2026-01-01T00:00:00Z') > duration('24h')",
];

fn layout() -> Layout {
    let applicant = ObjectType::new([Field::required("age", Type::Int)], false);
    let fields = [
        Field::required("amount", Type::Double),
        Field::required("risk", Type::Double),
        Field::required("count", Type::Int),
        Field::required("price", Type::Decimal),
        Field::required("approved", Type::Bool),
        Field::required("country", Type::String),
        Field::optional("note", Type::String),
        Field::optional("missing", Type::String),
        Field::required("lines", Type::list(Type::Int)),
        Field::required("since", Type::Date),
        Field::required("at", Type::Timestamp),
        Field::required("applicant", Type::Object(Arc::new(applicant))),
    ];
    Layout::new(Arc::new(ObjectType::new(fields, false)))
}

fn data() -> Json {
    json!({"amount": 12_000.0, "risk": 0.2, "count": 10, "price": "8.40", "approved": true, "country": "DE",
           "note": "for months", "lines": [5, 12, 30], "since": "2026-11-28", "at": "2026-11-28T12:00:00Z",
           "applicant": {"age": 30}})
}

fn evaluating(source: &str, layout: &Layout, data: &Json) -> AllocationInfo {
    let program =
        Program::compile(source, layout).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
    let slots = layout.bind(data);
    let mut budget = Budget::default();
    // What is made once, at the first use of a program, is not what an evaluation costs.
    assert!(program.eval(&slots, &mut budget).is_ok(), "{source}");
    measure(|| assert!(program.eval(&slots, &mut budget).is_ok(), "{source}"))
}

#[test]
fn evaluating_a_rule_over_filled_slots_allocates_nothing() {
    let (layout, data) = (layout(), data());
    let counted: Vec<_> = SCALAR.iter().map(|source| (source, evaluating(source, &layout, &data))).collect();
    let allocating: Vec<_> = counted.iter().filter(|(_, counted)| counted.count_total > 0).collect();
    assert!(allocating.is_empty(), "{allocating:#?}");
}

#[test]
fn what_makes_a_text_is_counted() {
    let (layout, data) = (layout(), data());
    assert!(evaluating("note + country", &layout, &data).count_total > 0);
}

#[test]
fn rules_are_ordered_without_the_large_trees_of_all_of_them_at_once() {
    const RULES: usize = 40;
    let junk = vec!["count"; 8_000].join(", ");
    // A circle, so that nothing is compiled after it was ordered.
    let rule = |at: usize| {
        let when = format!("size([{junk}]) > 0 && outcomes.r{}.matched", (at + 1) % RULES);
        json!({"id": format!("r{at}"), "kind": "decision", "when": when, "then": 1})
    };
    let rules: Json = (0..RULES).map(rule).collect();
    let text = rules.to_string().len();
    let layout = layout();
    let counted = measure(|| assert!(RuleSet::compile(&rules, &layout).is_err()));
    let most = u64::try_from(text * 3).unwrap();
    assert!(counted.bytes_max < most, "{} bytes at once for a text of {text}", counted.bytes_max);
}
