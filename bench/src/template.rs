//! Text with placeholders, expanded anew for every request so that no two submissions are equal.
//!
//! `request` expands heads and bodies through it on the hot path: a template is parsed once, expansion only copies bytes
//! into a buffer that is reused. Placeholders are closed by the next `}}`, so JSON around them needs no escaping.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;

use anyhow::{Context, Result, bail};

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// A parsed text. Knows `{{seq}}` (the request's number), `{{uuid}}` (random, version 4), `{{int:LOW:HIGH}}` (uniform,
/// both ends included) and `{{pick:A|B|C}}` (one of the words).
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(Vec<u8>),
    Sequence,
    Uuid,
    Integer { low: i64, span: u64 },
    Pick(Vec<Vec<u8>>),
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// A placeholder that is not closed, not known, or whose range is empty.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(OPEN) {
            let inside = &rest[open + OPEN.len()..];
            let close =
                inside.find(CLOSE).with_context(|| format!("`{}` is not closed", head(&rest[open..])))?;
            if open > 0 {
                parts.push(Part::Literal(rest[..open].into()));
            }
            parts.push(placeholder(&inside[..close])?);
            rest = &inside[close + CLOSE.len()..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self { parts })
    }

    /// Appends the expansion for request number `sequence` to `out`.
    pub fn expand(&self, sequence: u64, random: &mut Random, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Sequence => append(out, format_args!("{sequence}")),
                Part::Uuid => append_uuid(random, out),
                Part::Integer { low, span } => {
                    append(out, format_args!("{}", low.wrapping_add_unsigned(random.below(*span))));
                }
                Part::Pick(words) => out.extend_from_slice(&words[random.below(words.len() as u64) as usize]),
            }
        }
    }
}

fn placeholder(text: &str) -> Result<Part> {
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "seq" if argument.is_empty() => Ok(Part::Sequence),
        "uuid" if argument.is_empty() => Ok(Part::Uuid),
        "int" => {
            let (low, high) = argument.split_once(':').context("`{{int:LOW:HIGH}}` needs two numbers")?;
            let low: i64 = low.parse().with_context(|| format!("`{low}` is not an integer"))?;
            let high: i64 = high.parse().with_context(|| format!("`{high}` is not an integer"))?;
            let span =
                high.checked_sub(low).and_then(|width| u64::try_from(width).ok()).map(|width| width + 1);
            Ok(Part::Integer {
                low,
                span: span.with_context(|| format!("the range {low} to {high} is empty"))?,
            })
        }
        "pick" => Ok(Part::Pick(argument.split('|').map(|word| word.as_bytes().to_vec()).collect())),
        _ => bail!("`{{{{{text}}}}}` is not a placeholder; known: seq, uuid, int:LOW:HIGH, pick:A|B|C"),
    }
}

fn head(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    text.chars().take(SHOWN_CHARS).collect()
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

/// Version 4, variant 1 (RFC 9562 §5.4), without a formatter: one of these goes into most requests.
fn append_uuid(random: &mut Random, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (high, low) = (random.next(), random.next());
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0x0f)]]);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a few instructions a number, which is all that distinct test data needs.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A stream that differs from run to run, so that a repeated run does not repeat its idempotency keys.
    pub fn from_entropy() -> Self {
        Self { state: RandomState::new().build_hasher().finish() }
    }

    /// The same numbers every time, for tests.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `bound`; the bias of the multiplication is below 2^-32 for every bound used here.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn expand(text: &str, sequence: u64) -> String {
        let mut out = Vec::new();
        Template::parse(text).unwrap().expand(sequence, &mut Random::from_seed(7), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_without_placeholders_stays_as_it_is() {
        assert_eq!(expand(r#"{"a":{"b":{"c":1}}}"#, 1), r#"{"a":{"b":{"c":1}}}"#);
        assert_eq!(expand("", 1), "");
    }

    #[test]
    fn the_sequence_is_the_requests_number() {
        assert_eq!(expand(r#"{"n":{{seq}},"m":"{{seq}}"}"#, 42), r#"{"n":42,"m":"42"}"#);
    }

    #[test]
    fn a_uuid_is_version_4_and_never_the_same() {
        let template = Template::parse("{{uuid}}").unwrap();
        let mut random = Random::from_entropy();
        let mut seen = HashSet::new();
        for sequence in 0..10_000 {
            let mut out = Vec::new();
            template.expand(sequence, &mut random, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.len(), 36);
            let bytes = text.as_bytes();
            assert_eq!([bytes[8], bytes[13], bytes[18], bytes[23]], *b"----");
            assert_eq!(bytes[14], b'4');
            assert!(b"89ab".contains(&bytes[19]), "{text}");
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn an_integer_covers_its_range_with_both_ends() {
        let template = Template::parse("{{int:-1:2}}").unwrap();
        let mut random = Random::from_seed(1);
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let mut out = Vec::new();
            template.expand(0, &mut random, &mut out);
            seen.insert(String::from_utf8(out).unwrap());
        }
        assert_eq!(seen, ["-1", "0", "1", "2"].map(String::from).into());
    }

    #[test]
    fn a_pick_is_one_of_its_words() {
        assert!(["DE", "FR"].contains(&expand("{{pick:DE|FR}}", 0).as_str()));
    }

    #[test]
    fn mistakes_are_refused_with_what_would_be_right() {
        for (text, message) in [
            ("a {{seq", "not closed"),
            ("{{sequence}}", "known: seq"),
            ("{{int:5}}", "two numbers"),
            ("{{int:5:4}}", "empty"),
            ("{{int:a:4}}", "not an integer"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
    }
}
