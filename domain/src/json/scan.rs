//! Reads canonical JSON where it lies: the members of an object as pieces of its text, without a tree and without copying.
//! Used where every event passes: decoding payloads, and finding indexed values. What is not canonical, or not quite JSON, it does not read at all:
//! then whoever asked reads it the long way, which also says what is wrong.

use std::ops::ControlFlow;

use super::exact::NESTING_MAX;
use super::plain::plain_length;

/// Levels that are read: a document as deep as the door admits, inside of an event.
const DEPTH_MAX: usize = NESTING_MAX + 4;
/// Digits before the point with which a number without exponent is not beyond every double, whatever they are.
const SAFE_WHOLE_DIGITS: usize = 308;

/// The members of a canonical JSON object in the order of its text: the name as it is written between its quotes, and the text of the value.
///
/// `None` when the text is not an object in canonical form, up to the order of members, which is for the reader to look at, and the spelling of
/// numbers and escapes.
pub fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut members = Vec::with_capacity(8);
    let all = |name, value| {
        members.push((name, value));
        ControlFlow::Continue(())
    };
    each_member(text, all).map(|()| members)
}

/// Goes through the members that [`members`] lists until `member` breaks off. What stands behind that is not looked at.
pub fn each_member<'a>(
    text: &'a str,
    mut member: impl FnMut(&'a str, &'a str) -> ControlFlow<()>,
) -> Option<()> {
    let mut scan = Scan { text, at: 0 };
    match scan.object(0, &mut member)? {
        ControlFlow::Continue(()) => (scan.at == text.len()).then_some(()),
        ControlFlow::Break(()) => Some(()),
    }
}

/// The items of a canonical JSON array; `None` as for [`members`].
pub fn items(text: &str) -> Option<Vec<&str>> {
    let mut scan = Scan { text, at: 0 };
    let mut items = Vec::new();
    scan.array(0, |item| items.push(item))?;
    (scan.at == text.len()).then_some(items)
}

/// What stands between the quotes of a JSON string in which nothing is escaped; `None` for anything else.
pub fn plain_string(value: &str) -> Option<&str> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inside.contains(['\\', '"'])).then_some(inside)
}

/// Whether a text can be read here, to its end; then it can be read as a tree, too. What cannot may still be.
pub(super) fn is_plain_document(text: &str) -> bool {
    let mut scan = Scan { text, at: 0 };
    scan.value(0).is_some() && scan.at == text.len()
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn object(
        &mut self,
        depth: usize,
        member: &mut impl FnMut(&'a str, &'a str) -> ControlFlow<()>,
    ) -> Option<ControlFlow<()>> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(ControlFlow::Continue(()));
        }
        loop {
            let name = self.at;
            self.string()?;
            let name = &self.text[name + 1..self.at - 1];
            self.take(b':')?;
            let value = self.at;
            self.value(depth + 1)?;
            let told = member(name, &self.text[value..self.at]);
            if told.is_break() {
                return Some(told);
            }
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(b'}').map(ControlFlow::Continue),
            }
        }
    }

    fn array(&mut self, depth: usize, mut item: impl FnMut(&'a str)) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            let value = self.at;
            self.value(depth + 1)?;
            item(&self.text[value..self.at]);
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.take(b']'),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'"' => self.string(),
            b'{' => self.object(depth, &mut |_, _| ControlFlow::Continue(())).map(drop),
            b'[' => self.array(depth, |_| ()),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let special = plain_length(rest);
            self.at += special + 1;
            match rest.get(special)? {
                b'"' => return Some(()),
                b'\\' => self.escape(rest.get(special + 1..)?)?,
                // Canonical JSON holds no control character.
                _ => return None,
            }
        }
    }

    /// Half a pair of surrogates is no text, so those are read the long way.
    fn escape(&mut self, escaped: &[u8]) -> Option<()> {
        let bytes = match escaped.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 1,
            b'u' if escaped.get(1..5)?.iter().all(u8::is_ascii_hexdigit)
                && !matches!(escaped[1], b'd' | b'D') =>
            {
                5
            }
            _ => return None,
        };
        self.at += bytes;
        Some(())
    }

    /// One beyond every double is no number to readers of the tree, so it is read the long way.
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let _sign = self.take(b'-');
        let leads_with_zero = self.peek()? == b'0';
        let whole = self.digits()?;
        if whole > 1 && leads_with_zero {
            return None;
        }
        let mut may_overflow = whole > SAFE_WHOLE_DIGITS;
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            may_overflow = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let is_finite = || self.text[start..self.at].parse().is_ok_and(f64::is_finite);
        (!may_overflow || is_finite()).then_some(())
    }

    /// How many there are, at least one.
    fn digits(&mut self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::CanonicalJson;

    fn canonical(value: &Value) -> CanonicalJson {
        CanonicalJson::from_value(value).expect("exact")
    }

    #[test]
    fn the_members_of_an_object_are_pieces_of_its_text() {
        let text = r#"{"a":[1,{"b":"}]"}],"c\"d":-1.5e+3,"e":{},"f":"\u001f\\","g":[],"h":null}"#;
        let expected = [
            ("a", r#"[1,{"b":"}]"}]"#),
            (r#"c\"d"#, "-1.5e+3"),
            ("e", "{}"),
            ("f", r#""\u001f\\""#),
            ("g", "[]"),
            ("h", "null"),
        ];
        assert_eq!(members(text).as_deref(), Some(&expected[..]));
        assert_eq!(items(r#"[1,"a,b",[2,3]]"#), Some(vec!["1", r#""a,b""#, "[2,3]"]));
        assert_eq!((members("{}"), items("[]")), (Some(vec![]), Some(vec![])));
    }

    #[test]
    fn who_breaks_off_is_told_no_more() {
        let told = |until: &str| {
            let mut names = Vec::new();
            let read = each_member(r#"{"a":{"a":1},"b":[2],"c":oops"#, |name, _| {
                names.push(name.to_owned());
                if name == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (names.concat(), read)
        };
        assert_eq!(told("a"), ("a".to_owned(), Some(())));
        assert_eq!(told("b"), ("ab".to_owned(), Some(())));
        assert_eq!(told("z"), ("ab".to_owned(), None));
    }

    #[test]
    fn what_is_not_canonical_or_not_json_is_not_read() {
        for text in [
            "",
            "{",
            "{}}",
            "[]",
            "1",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 }"#,
            "{\"a\":\"\u{1}\"}",
            "{\"\n\":1}",
            "{\"a\":\n1}",
            "{\"a\":1\n}",
            "{\"a\":1}\n",
            "{\"a\":[1,\t2]}",
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":nul}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"b}"#,
            r#"{"a":"b\"}"#,
            r#"{a:1}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[1 2]}"#,
        ] {
            assert_eq!(members(text), None, "{text}");
        }
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(members(&deep(NESTING_MAX)).is_some());
        assert!(members(&deep(1_000_000)).is_none());
    }

    #[test]
    fn a_plain_string_is_what_stands_between_its_quotes() {
        assert_eq!(plain_string(r#""Ann""#), Some("Ann"));
        for other in [r#""A\nn""#, "1", r#"""#, "null", r#""a"b""#] {
            assert_eq!(plain_string(other), None, "{other}");
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_canonical_object_is_read(value in prop::collection::btree_map(any::<String>(), tree(), 0..6)) {
            let value = json!(value);
            // Numbers beyond what canonical JSON holds are refused at the door.
            let Ok(text) = CanonicalJson::from_value(&value) else { return Ok(()) };
            let read = members(text.as_str()).expect("canonical");
            let again: serde_json::Map<String, Value> = read
                .iter()
                .map(|(name, value)| {
                    let name = serde_json::from_str(&format!("\"{name}\"")).expect("a name");
                    (name, serde_json::from_str(value).expect("a value"))
                })
                .collect();
            prop_assert_eq!(canonical(&Value::Object(again)), text);
        }

        /// Whatever it reads of a text that something happened to, a JSON reader reads, too, and in the same pieces.
        #[test]
        fn nothing_is_read_that_is_no_json(
            value in tree(), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:0-9eE.+tfnu\\\\\n\t -]{0,2}", cut in 0..3usize,
        ) {
            let Ok(text) = CanonicalJson::from_value(&json!({"a": value, "b": 1})) else { return Ok(()) };
            let mut damaged = text.as_str().to_owned();
            let mut from = at.index(damaged.len());
            while !damaged.is_char_boundary(from) { from -= 1 }
            let mut to = (from + cut).min(damaged.len());
            while !damaged.is_char_boundary(to) { to += 1 }
            damaged.replace_range(from..to, &with);
            if let Some(read) = members(&damaged) {
                serde_json::from_str::<serde::de::IgnoredAny>(&damaged).expect("JSON");
                for (_, value) in read {
                    let raw: &RawValue = serde_json::from_str(value).expect("JSON");
                    prop_assert_eq!(raw.get(), value);
                }
            }
        }
    }
}
