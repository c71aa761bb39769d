//! The door: request JSON is read once, and only if every reader of it would read the same.
//! Called by `api` for every body; nothing behind it meets a repeated member, a number that was rounded, or bottomless nesting.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::number;
use super::pointer;
use super::unreadable::{TextPlace, UnreadableJson};
use super::{INTEGER_MAX, InexactNumber};

/// The deepest nesting of arrays and objects that is read.
pub const NESTING_MAX: usize = 64;

/// Reads a JSON text exactly: what was sent, or an error.
///
/// Decimal numbers are kept as IEEE doubles whose shortest text is the number as sent, so `0.1` and `10.10` are fine and
/// `0.1234567890123456789` is not.
///
/// # Errors
/// [`UnreadableJson`], with the place and what to send instead.
pub fn parse_exact(bytes: &[u8]) -> Result<Value, UnreadableJson> {
    parse_within(bytes, NESTING_MAX)
}

/// [`parse_exact`] with another bound on nesting, which the error does not name.
pub(super) fn parse_within(bytes: &[u8], nesting_max: usize) -> Result<Value, UnreadableJson> {
    let mut context = Context { depth: 0, nesting_max, decimals: false, extremes: false, problem: None };
    // Looked at as a whole, a text need not be looked at string by string.
    let read = match std::str::from_utf8(bytes) {
        Ok(text) => read_all(serde_json::Deserializer::from_str(text), &mut context),
        // Whose error says where.
        Err(_) => read_all(serde_json::Deserializer::from_slice(bytes), &mut context),
    };
    match read {
        Ok(value) if context.are_safe(bytes) || !number::any_inexact(bytes) => Ok(value),
        Ok(_) => Err(locate_inexact(bytes).map_or_else(
            || UnreadableJson::Malformed {
                what: "a number cannot be kept exactly".to_owned(),
                at: TextPlace { line: Some(1), column: 1 },
            },
            UnreadableJson::Inexact,
        )),
        Err(error) => Err(match context.problem {
            Some(problem) => problem.into_error(bytes, &error),
            None => malformed(bytes, &error),
        }),
    }
}

fn place_of(error: &serde_json::Error) -> TextPlace {
    TextPlace { line: Some(error.line()), column: error.column() }
}

fn read_all<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    context: &mut Context,
) -> Result<Value, serde_json::Error> {
    let value = Reader(context).deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// serde_json stops at a number that is too large for a double; that is no syntax error to the sender.
fn malformed(bytes: &[u8], error: &serde_json::Error) -> UnreadableJson {
    match locate_inexact(bytes) {
        Some(number) => UnreadableJson::Inexact(number),
        // Nobody sees it: editors write it and hide it.
        None if bytes.starts_with(b"\xef\xbb\xbf") => UnreadableJson::Malformed {
            what: "it begins with a byte order mark; send UTF-8 without one".to_owned(),
            at: place_of(error),
        },
        None => no_json(error),
    }
}

/// What the parser said, without the place, which stands beside it.
fn no_json(error: &serde_json::Error) -> UnreadableJson {
    let (said, at) = (error.to_string(), place_of(error));
    let what = said.strip_suffix(&format!(" at {at}")).unwrap_or(&said).to_owned();
    UnreadableJson::Malformed { what, at }
}

struct Context {
    depth: usize,
    nesting_max: usize,
    /// Whether a number with a fraction or exponent was met: only then is the text looked at again.
    decimals: bool,
    /// Whether one of those was so near the ends of what a double holds that few digits may be too many.
    extremes: bool,
    problem: Option<Problem>,
}

/// What is wrong, with its path from the inside out: each level adds its token while the error travels up.
struct Problem {
    path: Vec<String>,
    what: What,
}

enum What {
    Duplicate,
    TooDeep,
    Integer(String),
}

impl Problem {
    /// The error, of which the parser knows the place.
    fn into_error(self, bytes: &[u8], error: &serde_json::Error) -> UnreadableJson {
        let mut pointer = String::new();
        self.path.iter().rev().for_each(|token| pointer::push(&mut pointer, token));
        match self.what {
            What::Duplicate => UnreadableJson::DuplicateMember { pointer, at: place_of(error) },
            What::TooDeep => UnreadableJson::TooDeep { at: place_of(error) },
            // Numbers do not matter in what is no JSON at all.
            What::Integer(number) => match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
                Err(syntax) => no_json(&syntax),
                Ok(_) => UnreadableJson::Inexact(InexactNumber { pointer, number }),
            },
        }
    }
}

impl Context {
    /// Whether all numbers that were read are as they were written, as far as can be told without looking at each.
    fn are_safe(&self, bytes: &[u8]) -> bool {
        !self.decimals || !(self.extremes || number::any_long(bytes))
    }

    fn fail<E: Error>(&mut self, what: What) -> E {
        self.problem = Some(Problem { path: Vec::new(), what });
        E::custom("refused")
    }

    fn came_through(&mut self, token: impl FnOnce() -> String) {
        if let Some(problem) = &mut self.problem {
            problem.path.push(token());
        }
    }
}

struct Reader<'c>(&'c mut Context);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(self.0.fail(What::Integer(value.to_string())));
        }
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(self.0.fail(What::Integer(value.to_string())));
        }
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.0.decimals = true;
        self.0.extremes |= number::is_extreme(value);
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let context = self.0;
        enter(context)?;
        let mut list = Vec::new();
        loop {
            match items.next_element_seed(Reader(context)) {
                Ok(Some(item)) => list.push(item),
                Ok(None) => break,
                Err(error) => {
                    context.came_through(|| list.len().to_string());
                    return Err(error);
                }
            }
        }
        context.depth -= 1;
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let context = self.0;
        enter(context)?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            match members.next_value_seed(Reader(context)) {
                Ok(value) => match object.entry(name) {
                    serde_json::map::Entry::Vacant(place) => {
                        place.insert(value);
                    }
                    serde_json::map::Entry::Occupied(place) => {
                        let error = context.fail(What::Duplicate);
                        context.came_through(|| place.key().clone());
                        return Err(error);
                    }
                },
                Err(error) => {
                    context.came_through(|| name);
                    return Err(error);
                }
            }
        }
        context.depth -= 1;
        Ok(Value::Object(object))
    }
}

fn enter<E: Error>(context: &mut Context) -> Result<(), E> {
    context.depth += 1;
    if context.depth > context.nesting_max { Err(context.fail(What::TooDeep)) } else { Ok(()) }
}

/// Finds the first number that a double does not carry as written. Only for texts that hold one, so it may be slow.
fn locate_inexact(bytes: &[u8]) -> Option<InexactNumber> {
    let document: &RawValue = serde_json::from_slice(bytes).ok()?;
    locate_in(document, &mut String::new(), 0)
}

fn locate_in(raw: &RawValue, place: &mut String, depth: usize) -> Option<InexactNumber> {
    if depth > NESTING_MAX {
        return None;
    }
    let text = raw.get();
    let before = place.len();
    let mut below = |token: &str, raw: &RawValue| {
        pointer::push(place, token);
        let found = locate_in(raw, place, depth + 1);
        place.truncate(before);
        found
    };
    match text.as_bytes().first()? {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            members.into_iter().find_map(|(name, raw)| below(&name, raw))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            items.into_iter().enumerate().find_map(|(index, raw)| below(&index.to_string(), raw))
        }
        b'-' | b'0'..=b'9' if !number::is_exact(text) => {
            Some(InexactNumber { pointer: place.clone(), number: number::quoted(text) })
        }
        _ => None,
    }
}

/// An object's members in the order of the text, values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Numbers of all lengths and sizes, between strings that look like some.
    fn text_with_numbers() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
            "-?[0-9]\\.[0-9]{10,18}",
            any::<f64>()
                .prop_filter("finite", |number| number.is_finite())
                .prop_map(|number| number.to_string()),
        ];
        let item = prop_oneof![number, "\"[A-Z:, ]{0,4}[0-9.]{0,40}\""];
        let space = "[ \n\t]{0,3}";
        prop::collection::vec((space, item), 0..12).prop_map(|items| {
            let items: Vec<_> = items.into_iter().map(|(space, item)| space + &item).collect();
            format!("[{}]", items.join(","))
        })
    }

    proptest! {
        /// Looking at each number only where one may be inexact finds the same texts as looking at every one.
        #[test]
        fn exactly_the_texts_without_an_inexact_number_are_read(text in text_with_numbers()) {
            let all_are_numbers = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&text).is_ok();
            prop_assume!(all_are_numbers);
            prop_assert_eq!(parse_exact(text.as_bytes()).is_ok(), !number::any_inexact(text.as_bytes()), "{}", text);
        }
    }

    fn refused(text: &str) -> UnreadableJson {
        parse_exact(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn what_was_sent_is_what_is_read() {
        let text = r#" {"b": [1, -2, 0.1, 10.10, 1e2, true, null], "a": {"é\u00e9": "\ud83d\ude00"}} "#;
        let expected = json!({"b": [1, -2, 0.1, 10.1, 100.0, true, null], "a": {"éé": "😀"}});
        assert_eq!(parse_exact(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_member_given_twice_is_refused_at_its_place() {
        let error = refused(r#"{"list": [{"x": 1}, {"a/b": 1, "c": 2, "a\u002fb": 1}]}"#);
        let at = TextPlace { line: Some(1), column: 53 };
        assert_eq!(error, UnreadableJson::DuplicateMember { pointer: "/list/1/a~1b".to_owned(), at });
    }

    #[test]
    fn a_number_that_would_be_rounded_is_refused_as_it_was_sent() {
        for (text, pointer, number) in [
            ("9007199254740993", "", "9007199254740993"),
            (r#"{"a": [0, -9007199254740993]}"#, "/a/1", "-9007199254740993"),
            (r#"{"a": {"b": 0.1234567890123456789}}"#, "/a/b", "0.1234567890123456789"),
            (r#"{"a": "9007199254740993", "b": 1e400}"#, "/b", "1e400"),
            (r#"[[1], [18446744073709551616]]"#, "/1/0", "18446744073709551616"),
        ] {
            let error = refused(text);
            assert_eq!(error.pointer(), Some(pointer), "{text}");
            assert!(error.to_string().starts_with(&format!("`{number}` cannot")), "{error}");
        }
    }

    #[test]
    fn a_huge_number_is_not_echoed_whole() {
        assert!(refused(&format!("[{}]", "9".repeat(1_000_000))).to_string().len() < 500);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_exact(nested(NESTING_MAX).as_bytes()).is_ok());
        // The parser looks for the end of what was refused, and stops behind it where it comes at once.
        for (text, column) in
            [(nested(NESTING_MAX + 1), NESTING_MAX + 2), ("[".repeat(1_000_000), NESTING_MAX + 1)]
        {
            let at = TextPlace { line: Some(1), column };
            assert_eq!(refused(&text), UnreadableJson::TooDeep { at });
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "nul",
            "01",
            "1.",
            "+1",
            "NaN",
            "'a'",
            "\"\\ud800\"",
            "{} {}",
            "\u{feff}{}",
            "{\"a\" 1}",
            "\"\u{1}\"",
        ] {
            assert!(matches!(refused(text), UnreadableJson::Malformed { .. }), "{text}");
            let said = refused(text).to_string();
            assert_eq!(said.contains("byte order mark"), text.starts_with('\u{feff}'), "{said}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_its_place() {
        for (text, line, column, said) in [
            (&b"{\n  \"a\": }"[..], 2, 8, "not JSON: expected value (line 2 column 8)"),
            (b"{\n\"a\": \"\xff\"}", 2, 7, "not JSON: invalid unicode code point (line 2 column 7)"),
            (b"[\"\\ud800\"]", 1, 9, "not JSON: unexpected end of hex escape (line 1 column 9)"),
            (b"{\"a\": 9007199254740993, ]", 1, 25, "not JSON: key must be a string (line 1 column 25)"),
        ] {
            let error = parse_exact(text).expect_err("no JSON");
            assert_eq!(error.place(), Some(TextPlace { line: Some(line), column }), "{error}");
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn of_one_line_of_many_only_the_column_is_told() {
        for (text, said) in [
            ("{\"a\": }", "not JSON: expected value (column 7)"),
            ("{\"a\":1,\"a\":2}", "the member at `/a` is given twice; give it once (column 13)"),
        ] {
            let error = refused(text).in_line();
            assert_eq!((error.place().and_then(|at| at.line), error.to_string().as_str()), (None, said));
        }
    }

    #[test]
    fn what_is_read_can_always_be_stored_and_read_again() {
        for text in
            ["1e21", "1e-7", "123456789.125", "-0.0", "5e-324", "0.30000000000000004", "9007199254740991.0"]
        {
            let value = parse_exact(text.as_bytes()).expect(text);
            let stored = crate::CanonicalJson::from_value(&value).expect(text);
            let again = parse_exact(stored.as_str().as_bytes()).expect(text);
            assert_eq!(crate::CanonicalJson::from_value(&again), Ok(stored), "{text}");
        }
    }
}
