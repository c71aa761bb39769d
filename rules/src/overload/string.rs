//! String functions. Positions and sizes count code points, as CEL defines.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::Param::{Bool, Bytes, Int, List, String as Str};
use super::{Overload, Ran, Run, invalid, limit_size, no_overload, out_of_range, size_of_int};
use crate::error::EvalError;
use crate::limits::TEXT_BYTES_MAX;
use crate::value::Value;

/// Why a position may not be there.
const SHORT: &str = "the text may be shorter";

pub(super) const OVERLOADS: &[Overload] = &[
    Overload::method("contains", &[Str, Str], Bool, Run::Test(contains)),
    Overload::method("startsWith", &[Str, Str], Bool, Run::Test(starts_with)),
    Overload::method("endsWith", &[Str, Str], Bool, Run::Test(ends_with)),
    Overload::method("charAt", &[Str, Int], Str, Run::Two(char_at)).failing(SHORT),
    Overload::method("indexOf", &[Str, Str], Int, Run::Many(index_of)),
    Overload::method("indexOf", &[Str, Str, Int], Int, Run::Many(index_of)),
    Overload::method("lastIndexOf", &[Str, Str], Int, Run::Many(last_index_of)),
    Overload::method("lastIndexOf", &[Str, Str, Int], Int, Run::Many(last_index_of)),
    Overload::method("lowerAscii", &[Str], Str, Run::One(lower_ascii)),
    Overload::method("upperAscii", &[Str], Str, Run::One(upper_ascii)),
    Overload::method("replace", &[Str, Str, Str], Str, Run::Many(replace)),
    Overload::method("replace", &[Str, Str, Str, Int], Str, Run::Many(replace)),
    Overload::method("split", &[Str, Str], List(&Str), Run::Many(split)),
    Overload::method("split", &[Str, Str, Int], List(&Str), Run::Many(split)),
    Overload::method("substring", &[Str, Int], Str, Run::Many(substring)).failing(SHORT),
    Overload::method("substring", &[Str, Int, Int], Str, Run::Many(substring)).failing(SHORT),
    Overload::method("trim", &[Str], Str, Run::One(trim)),
    Overload::method("reverse", &[Str], Str, Run::One(reverse)),
    Overload::function("strings.quote", &[Str], Str, Run::One(quote)),
    Overload::function("base64.encode", &[Bytes], Str, Run::One(base64_encode)),
    Overload::function("base64.decode", &[Str], Bytes, Run::One(base64_decode))
        .failing("the text may not be Base64"),
];

fn contains<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
    test("contains", a, b, |text, part| text.contains(part))
}

fn starts_with<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
    test("startsWith", a, b, |text, part| text.starts_with(part))
}

fn ends_with<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
    test("endsWith", a, b, |text, part| text.ends_with(part))
}

fn test(name: &str, a: &Value<'_>, b: &Value<'_>, holds: fn(&str, &str) -> bool) -> Result<bool, EvalError> {
    match (a, b) {
        (Value::String(text), Value::String(part)) => Ok(holds(text, part)),
        _ => Err(no_overload(name, &[a.clone(), b.clone()])),
    }
}

fn map_text<'a>(name: &str, a: &Value<'a>, make: impl FnOnce(&str) -> String) -> Ran<'a> {
    match a {
        Value::String(text) => Ok(Value::text(make(text))),
        _ => Err(no_overload(name, std::slice::from_ref(a))),
    }
}

fn lower_ascii<'a>(a: &Value<'a>) -> Ran<'a> {
    map_text("lowerAscii", a, str::to_ascii_lowercase)
}

fn upper_ascii<'a>(a: &Value<'a>) -> Ran<'a> {
    map_text("upperAscii", a, str::to_ascii_uppercase)
}

fn trim<'a>(a: &Value<'a>) -> Ran<'a> {
    map_text("trim", a, |text| text.trim().to_owned())
}

fn reverse<'a>(a: &Value<'a>) -> Ran<'a> {
    map_text("reverse", a, |text| text.chars().rev().collect())
}

/// The byte offset of code point `position`; the end of the text counts as one.
fn byte_offset(name: &str, text: &str, position: i64) -> Result<usize, EvalError> {
    let position = size_of_int(name, position)?;
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().nth(position).ok_or_else(|| {
        out_of_range(format!(
            "`{name}`: {position} is past the end of a text of {} characters",
            text.chars().count()
        ))
    })
}

fn char_at<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let (Value::String(text), Value::Int(position)) = (a, b) else {
        return Err(no_overload("charAt", &[a.clone(), b.clone()]));
    };
    let at = byte_offset("charAt", text, *position)?;
    Ok(Value::text(text[at..].chars().next().map_or_else(String::new, String::from)))
}

/// A byte offset as a position in code points.
fn position<'a>(text: &str, at: Option<usize>) -> Ran<'a> {
    Ok(Value::Int(at.map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn index_of<'a>(args: &[Value<'a>]) -> Ran<'a> {
    let (Some(Value::String(text)), Some(Value::String(part))) = (args.first(), args.get(1)) else {
        return Err(no_overload("indexOf", args));
    };
    let from = match args.get(2) {
        None => 0,
        Some(Value::Int(from)) => byte_offset("indexOf", text, *from)?,
        Some(_) => return Err(no_overload("indexOf", args)),
    };
    position(text, text[from..].find(&**part).map(|at| from + at))
}

/// The last place where `part` starts, at or before the given position.
fn last_index_of<'a>(args: &[Value<'a>]) -> Ran<'a> {
    let (Some(Value::String(text)), Some(Value::String(part))) = (args.first(), args.get(1)) else {
        return Err(no_overload("lastIndexOf", args));
    };
    let limit = match args.get(2) {
        None => text.len(),
        Some(Value::Int(last)) => (byte_offset("lastIndexOf", text, *last)? + part.len()).min(text.len()),
        Some(_) => return Err(no_overload("lastIndexOf", args)),
    };
    // The limit may cut a character of the text when `part` has wider ones; then nothing starting there can match.
    let limit = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    position(text, text[..limit].rfind(&**part))
}

fn replace<'a>(args: &[Value<'a>]) -> Ran<'a> {
    let [Value::String(text), Value::String(from), Value::String(to), rest @ ..] = args else {
        return Err(no_overload("replace", args));
    };
    let most = match rest {
        [] => usize::MAX,
        [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => return Err(no_overload("replace", args)),
    };
    let times = text.matches(&**from).take(most).count();
    limit_size("replace", text.len().saturating_add(times.saturating_mul(to.len())), TEXT_BYTES_MAX)?;
    Ok(Value::text(text.replacen(&**from, to, most)))
}

fn split<'a>(args: &[Value<'a>]) -> Ran<'a> {
    let [Value::String(text), Value::String(separator), rest @ ..] = args else {
        return Err(no_overload("split", args));
    };
    let most = match rest {
        [] => -1,
        [Value::Int(most)] => *most,
        _ => return Err(no_overload("split", args)),
    };
    let parts: Vec<Value<'a>> = if separator.is_empty() {
        split_characters(text, most)
    } else if most < 0 {
        text.split(&**separator).map(Value::text).collect()
    } else {
        text.splitn(most as usize, &**separator).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

/// A split at nothing: one part a character, the last of `most` parts taking the rest.
fn split_characters<'a>(text: &str, most: i64) -> Vec<Value<'a>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let full = most >= 0 && parts.len() as i64 + 1 >= most;
        let (part, after) = if full { (rest, "") } else { rest.split_at(first.len_utf8()) };
        parts.push(Value::text(part));
        rest = after;
    }
    if most == 0 { Vec::new() } else { parts }
}

fn substring<'a>(args: &[Value<'a>]) -> Ran<'a> {
    let [Value::String(text), Value::Int(from), rest @ ..] = args else {
        return Err(no_overload("substring", args));
    };
    let start = byte_offset("substring", text, *from)?;
    let end = match rest {
        [] => text.len(),
        [Value::Int(to)] => byte_offset("substring", text, *to)?,
        _ => return Err(no_overload("substring", args)),
    };
    let part = text.get(start..end);
    part.map(Value::text).ok_or_else(|| out_of_range("`substring`: the end is before the start"))
}

/// The text between double quotes, with escapes for quotes, backslashes and control characters.
fn quote<'a>(a: &Value<'a>) -> Ran<'a> {
    map_text("strings.quote", a, |text| {
        let mut out = String::with_capacity(text.len() + 2);
        out.push('"');
        for character in text.chars() {
            match character {
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{b}' => out.push_str("\\v"),
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                other => out.push(other),
            }
        }
        out.push('"');
        out
    })
}

fn base64_encode<'a>(a: &Value<'a>) -> Ran<'a> {
    match a {
        Value::Bytes(bytes) => Ok(Value::text(base64::engine::general_purpose::STANDARD.encode(bytes))),
        _ => Err(no_overload("base64.encode", std::slice::from_ref(a))),
    }
}

/// Standard alphabet; padding may be left out.
fn base64_decode<'a>(a: &Value<'a>) -> Ran<'a> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    match a {
        Value::String(text) => match LENIENT.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Value::Bytes(Arc::from(bytes))),
            Err(error) => Err(invalid(format!("not base64: {error}"))),
        },
        _ => Err(no_overload("base64.decode", std::slice::from_ref(a))),
    }
}
