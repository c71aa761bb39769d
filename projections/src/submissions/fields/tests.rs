//! Indexed values are found wherever a document has them, and are what their texts say.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn number(number: f64) -> FieldValue {
    FieldValue::Number(number.into())
}

fn plain(pointers: &[&str]) -> IndexedFields {
    IndexedFields::new(pointers.iter().map(|&pointer| pointer.to_owned()).collect(), |_| TextKind::Plain)
}

fn canonical(value: &Value) -> CanonicalJson {
    CanonicalJson::from_value(value).expect("exact")
}

#[test]
fn values_are_found_wherever_the_pointer_leads() {
    let fields =
        plain(&["/amount", "/who/name", "/a~1b", "/list/1", "/flag", "/missing", "/who", "/nothing"]);
    let data = json!({"amount": 12.5, "who": {"name": "Ann", "age": 3}, "a/b": -4, "list": ["x", "y"],
                      "flag": true, "nothing": null, "other": {"amount": 9}});
    assert_eq!(
        fields.values(&canonical(&data), None),
        [
            number(12.5),
            FieldValue::text("Ann"),
            number(-4.0),
            FieldValue::text("y"),
            FieldValue::text("true"),
            FieldValue::None,
            FieldValue::None,
            FieldValue::None,
        ]
    );
}

#[test]
fn what_stands_behind_the_last_indexed_value_is_not_looked_at() {
    let fields = plain(&["/a", "/b/c"]);
    let data = CanonicalJson::from_stored(r#"{"a":1,"b":{"c":2,"d\\n":3},"e\\n":4}"#);
    assert_eq!(fields.values(&data, None), [number(1.0), number(2.0)]);
    let mut values = vec![FieldValue::None; 2];
    assert_eq!(fields.paths.pick(data.as_str(), &mut values), Some(()));
}

#[test]
fn a_name_is_found_by_what_it_says_and_not_by_how_it_is_written() {
    let fields = plain(&["/a\\nb", "/c\nd", "/e"]);
    let data = json!({"a\nb": 1, "c\nd": 2, "e": "f\ng"});
    assert_eq!(
        fields.values(&canonical(&data), None),
        [FieldValue::None, number(2.0), FieldValue::text("f\ng")]
    );
}

proptest! {
    #[test]
    fn both_ways_of_looking_find_the_same(
        data in prop::collection::btree_map("[ab\\\\\"]{1,2}", prop::collection::vec("[ab\\\\\n]{0,2}", 0..3), 0..4),
        number in prop::num::f64::NORMAL,
    ) {
        let fields = plain(&["/a/0", "/b/1", "/ab/0", "/n", "/a", "/o/a/1"]);
        let data = json!({"n": number, "o": data.clone(), "a": data.get("a"), "b": data.get("b"), "ab": data.get("ab")});
        let Ok(data) = CanonicalJson::from_value(&data) else { return Ok(()) };
        let mut values = vec![FieldValue::None; 6];
        let mut deserializer = serde_json::Deserializer::from_str(data.as_str());
        Pick { path: &fields.paths, values: &mut values }.deserialize(&mut deserializer).expect("JSON");
        prop_assert_eq!(fields.values(&data, None), values);
    }
}

#[test]
fn a_number_is_the_same_however_deep_it_stands() {
    // Lies in the middle between two shortest decimals, of which canonical JSON writes this one.
    let data = canonical(&json!({"n": 747455532489509.2, "a": {"b": {"c": {"d": 747455532489509.2}}}}));
    let written = FieldValue::Number(Numeral::of_json("747455532489509.2").expect("a number"));
    for pointer in ["/n", "/a/b/c/d"] {
        assert_eq!(plain(&[pointer]).values(&data, None).first(), Some(&written), "{pointer}");
    }
}

#[test]
fn a_computed_value_is_found_where_it_is_shown() {
    let fields = plain(&["/total", "/sum/net", "/amount"]);
    let data = canonical(&json!({"amount": 1, "sum": {}}));
    let computed = canonical(&json!({"/total": 7, "/sum": {"net": 8}}));
    let values = fields.values(&data, Some(&computed));
    assert_eq!(values, [7.0, 8.0, 1.0].map(number));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let long = "ä".repeat(FIELD_TEXT_BYTES_MAX);
    assert_eq!(FieldValue::text(&long), FieldValue::Beginning("ä".repeat(FIELD_TEXT_BYTES_MAX / 2)));
    let whole = "a".repeat(FIELD_TEXT_BYTES_MAX);
    assert_eq!(FieldValue::text(&whole), FieldValue::Text(whole.clone()));
}

#[test]
fn texts_of_decimals_and_moments_are_what_they_say() {
    let definition = canonical(&json!({
        "title": "Claim", "index": ["/total", "/net", "/seen", "/code", "/due"],
        "schema": {"type": "object", "properties": {
            "total": {"type": ["string", "null"], "format": "decimal"}, "seen": {"type": "string", "format": "date-time"},
            "code": {"type": "string"}}},
        "rules": [{"id": "net", "kind": "compute", "value": "total * decimal('0.5')", "into": "/net"},
                  {"id": "due", "kind": "compute", "value": "seen + duration('24h')", "into": "/due"}],
    }));
    let fields =
        IndexedFields::of_definition(&definition, &"claim".parse().expect("an id"), FormVersion::FIRST);
    let kinds: Vec<_> = fields.fields().map(|(_, kind)| kind).collect();
    let (decimal, time) = (TextKind::Decimal, TextKind::Timestamp);
    assert_eq!(kinds, [decimal, decimal, time, TextKind::Plain, time]);
    let data = canonical(&json!({"total": "0150.50", "seen": "2026-01-31T01:00:00+02:00", "code": "150.50"}));
    let computed = canonical(&json!({"/net": "75.25", "/due": "2026-01-31T23:00:00Z"}));
    let decimal = |text| FieldValue::Number(Numeral::of_decimal(text).expect("a decimal"));
    let time = |text: &str| FieldValue::Time(text.parse().expect("a moment"));
    let (seen, due) = (time("2026-01-30T23:00:00Z"), time("2026-01-31T23:00:00Z"));
    assert_eq!(
        fields.values(&data, Some(&computed)),
        [decimal("150.5"), decimal("75.25"), seen, FieldValue::text("150.50"), due]
    );
    // A draft may hold anything.
    let draft = canonical(&json!({"total": "much", "seen": "2026-02-30T00:00:00Z", "code": 7}));
    let texts = ["much", "2026-02-30T00:00:00Z"].map(FieldValue::text);
    assert_eq!(
        fields.values(&draft, None),
        [texts[0].clone(), FieldValue::None, texts[1].clone(), number(7.0), FieldValue::None]
    );
}

#[test]
fn a_number_is_what_is_one_in_json() {
    for text in ["0", "-0", "1", "10.50", "-1e-7", "1E+05", "1e400", "12345678901234567890.01"] {
        assert!(is_number(text), "{text}");
    }
    for text in [
        "01", "+1", "-00", "-01", "00", ".5", "5.", "1e", "1e+", "1e 5", "1_0", " 1", "1 ", "0x1", "NaN",
        "--1", "-+1", "1e+-5", "٣",
    ] {
        assert!(!is_number(text), "{text}");
    }
}

#[test]
fn a_day_and_a_month_begin_in_utc() {
    let begins = |text| moment(text).map(|time| time.to_rfc3339());
    assert_eq!(begins("2026-01-31").as_deref(), Some("2026-01-31T00:00:00+00:00"));
    assert_eq!(begins("2026-01").as_deref(), Some("2026-01-01T00:00:00+00:00"));
    for text in ["2026", "2026-13", "31.01.2026", "tomorrow"] {
        assert_eq!(begins(text), None, "{text}");
    }
}
