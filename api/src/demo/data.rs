//! What the demonstration tenant holds: real published forms, an expense claim, and submissions made from them.
//! Called by `demo`; all of it is the same at every start, so that a second start adds nothing.

use serde_json::{Value, json};

/// The expense claim's definition.
pub const EXPENSE: &str = include_str!("../../demo/expense.json");

/// Expense claims that are submitted.
pub const EXPENSES: usize = 240;
/// Submissions to each form that comes with an example.
pub const SUBMISSIONS_PER_EXAMPLE: usize = 20;

macro_rules! embedded {
    ($kind:literal: $($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../../demo/va-forms/", $name, ".", $kind, ".json")))),*]
    };
}

/// The claim that waits for the decisions of the printed lines: too large for anybody to decide alone.
pub fn claim() -> Value {
    json!({
        "employee": "Ada Example", "purpose": "Measuring bench", "category": "equipment", "country": "DE",
        "amount": 18_400, "receipt": "R-2026-0815", "date": "2026-09-14",
        "lines": [{"what": "Bench", "price": 17_900}, {"what": "Calibration", "price": 500}],
    })
}

/// Name and JSON Schema of every published form.
#[rustfmt::skip]
pub const SCHEMAS: &[(&str, &str)] = embedded![
    "schema":
    "0873",
    "10-10CG",
    "10-8678",
    "21-0538",
    "21-0779-SIMPLE",
    "21-22",
    "21-22-AND-21-22A",
    "21-4142",
    "21-674-V2",
    "21-686C",
    "21-686C-V2",
    "21-8940V1",
    "21A",
    "21P-527EZ-KITCHEN_SINK",
    "21P-530EZ",
    "21P-530V2",
    "21P-534EZ",
    "22-0810",
    "22-0839",
    "22-0989",
    "22-0994",
    "22-10215",
    "22-1990",
    "22-1990EMEB",
    "22-5490",
    "22-5490E",
    "24-0296",
    "26-1880",
    "26-4555",
    "28-8832",
    "40-10007",
    "40-10007-INTEGRATION",
    "686C-674-V2",
    "COVID-VACCINE-TRIAL",
    "DECISION-REVIEW-GET-CONTESTABLE-ISSUES-RESPONSE-200_V1",
    "DISPUTE-DEBT",
    "FEEDBACK-TOOL",
    "VRRAP",
    "VYE-ADDRESS-CHANGE",
    "VYE-DIRECT-DEPOSIT-CHANGE",
];

/// Name and a filled-in example of the forms that have one.
pub const EXAMPLES: &[(&str, &str)] = embedded![
    "example":
    "10-10CG",
    "21-0779-SIMPLE",
    "21P-527EZ-KITCHEN_SINK",
    "DECISION-REVIEW-GET-CONTESTABLE-ISSUES-RESPONSE-200_V1",
];

const FIRST_NAMES: [&str; 12] = [
    "Amara", "Bruno", "Chiara", "Daniel", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Luis",
];
const LAST_NAMES: [&str; 11] = [
    "Adler", "Brandt", "Castillo", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova", "Jensen",
    "Keller",
];
const COUNTRIES: [&str; 9] = ["DE", "FR", "NL", "AT", "ES", "IT", "US", "GB", "JP"];
const CLAIMS: [(&str, &str, f64); 7] = [
    ("travel", "Train to the customer", 184.5),
    ("lodging", "Hotel, two nights", 312.0),
    ("meals", "Dinner with the auditors", 148.75),
    ("equipment", "Replacement laptop", 1_649.0),
    ("training", "Certification course", 2_400.0),
    ("meals", "Coffee at the station", 4.8),
    ("equipment", "Rack of servers", 18_750.0),
];

/// Who works with the demonstration's expense claims.
pub fn employee(number: usize) -> String {
    let first = FIRST_NAMES[number % FIRST_NAMES.len()];
    let last = LAST_NAMES[(number * 5) % LAST_NAMES.len()];
    format!("{first} {last}")
}

/// A realistic expense claim; another number, another claim.
pub fn expense(number: usize) -> Value {
    let (category, purpose, price) = CLAIMS[(number * 3) % CLAIMS.len()];
    let amount = price + (number % 40) as f64 * 0.25;
    json!({
        "employee": employee(number),
        "purpose": purpose,
        "category": category,
        "country": COUNTRIES[(number * 7) % COUNTRIES.len()],
        "amount": amount,
        "receipt": format!("R-{:05}", 20_000 + number * 17),
        "date": format!("2026-{:02}-{:02}", 1 + number % 9, 1 + (number * 11) % 28),
        "lines": [{"what": purpose, "price": amount}],
    })
}

/// An example filled in by somebody else: every full name in it is another one.
pub fn vary(mut example: Value, number: usize) -> Value {
    rename(&mut example, &mut (number * 13));
    example
}

fn rename(value: &mut Value, person: &mut usize) {
    match value {
        Value::Object(members) => {
            if members.contains_key("first") && members.contains_key("last") {
                *person += 1;
                members.insert("first".to_owned(), json!(FIRST_NAMES[*person % FIRST_NAMES.len()]));
                members.insert("last".to_owned(), json!(LAST_NAMES[*person % LAST_NAMES.len()]));
            }
            members.values_mut().for_each(|member| rename(member, person));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, person)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
