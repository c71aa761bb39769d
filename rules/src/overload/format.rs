//! `'…'.format([…])`: the verbs `%s %d %f %e %b %o %x %X %%`, as the CEL string extension defines them.

use rust_decimal::Decimal;

use super::Param::{A, List, String as Str};
use super::math::half_up;
use super::{Overload, Ran, Run, invalid, limit_size, no_overload};
use crate::error::EvalError;
use crate::limits::TEXT_BYTES_MAX;
use crate::number::{double_to_string, exponent_form};
use crate::time;
use crate::value::Value;

pub(super) const OVERLOADS: &[Overload] =
    &[Overload::method("format", &[Str, List(&A)], Str, Run::Two(format))];

/// Digits after the point when a verb states none.
const PRECISION: usize = 6;
/// Most digits after the point that a verb may state.
const PRECISION_MAX: usize = 1_000;

fn format<'a>(a: &Value<'a>, b: &Value<'a>) -> Ran<'a> {
    let (Value::String(template), Value::List(args)) = (a, b) else {
        return Err(no_overload("format", &[a.clone(), b.clone()]));
    };
    let mut out = String::new();
    let mut next = 0;
    let mut rest: &str = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (precision, verb, after) = read_verb(&rest[at + 1..])?;
        rest = after;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let arg = args
            .get(next)
            .ok_or_else(|| invalid(format!("`format` has no argument for verb {}", next + 1)))?;
        next += 1;
        write(&mut out, verb, precision, &arg?)?;
        limit_size("format", out.len(), TEXT_BYTES_MAX)?;
    }
    out.push_str(rest);
    limit_size("format", out.len(), TEXT_BYTES_MAX)?;
    Ok(Value::text(out))
}

/// The verb after a `%`, with its precision.
fn read_verb(text: &str) -> Result<(Option<usize>, char, &str), EvalError> {
    let (precision, rest) = match text.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let precision = rest[..digits].parse().ok().filter(|places| *places <= PRECISION_MAX);
            let message = || invalid(format!("`format`: a precision is a number up to {PRECISION_MAX}"));
            (Some(precision.ok_or_else(message)?), &rest[digits..])
        }
        None => (None, text),
    };
    let verb = rest.chars().next().ok_or_else(|| invalid("`format`: the text ends after `%`"))?;
    Ok((precision, verb, &rest[verb.len_utf8()..]))
}

fn write(out: &mut String, verb: char, precision: Option<usize>, arg: &Value<'_>) -> Result<(), EvalError> {
    match verb {
        's' => write_text(out, arg)?,
        'd' => out.push_str(&decimal(arg)?),
        'f' => out.push_str(&fixed(arg, precision.unwrap_or(PRECISION))?),
        'e' => out.push_str(&scientific(arg, precision.unwrap_or(PRECISION))?),
        'b' => out.push_str(&radix(arg, 'b')?),
        'o' => out.push_str(&radix(arg, 'o')?),
        'x' => out.push_str(&hexadecimal(arg)?),
        'X' => out.push_str(&hexadecimal(arg)?.to_uppercase()),
        other => return Err(invalid(format!("`format` knows no verb `%{other}`"))),
    }
    Ok(())
}

/// The error of an argument that a verb does not take.
fn refused<T>(verb: &str, arg: &Value<'_>) -> Result<T, EvalError> {
    Err(invalid(format!("`format`: `{verb}` does not take {}", arg.kind())))
}

fn write_text(out: &mut String, arg: &Value<'_>) -> Result<(), EvalError> {
    match arg {
        Value::String(text) => out.push_str(text),
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(&truth.to_string()),
        Value::Int(int) => out.push_str(&int.to_string()),
        Value::Uint(uint) => out.push_str(&uint.to_string()),
        Value::Double(double) => out.push_str(&double_to_string(*double)),
        Value::Decimal(decimal) => out.push_str(&decimal.to_string()),
        Value::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Value::Timestamp(at) => out.push_str(&time::timestamp_text(at)),
        Value::Duration(nanos) => out.push_str(&time::format_duration(*nanos)),
        Value::Date(date) => out.push_str(&time::format_date(*date)),
        Value::Type(kind) => out.push_str(kind.name()),
        Value::List(list) => {
            let mut parts = Vec::with_capacity(list.len());
            for item in list.iter() {
                parts.push(text_of(&item?)?);
                limit_size("format", parts.len(), TEXT_BYTES_MAX)?;
            }
            out.push_str(&format!("[{}]", parts.join(", ")));
        }
        Value::Map(map) => {
            let mut parts = Vec::with_capacity(map.len());
            for entry in map.entries() {
                let (key, value) = entry?;
                parts.push(format!("{}: {}", text_of(&key)?, text_of(&value)?));
            }
            // Ordered by the printed key, as the extension says.
            parts.sort();
            out.push_str(&format!("{{{}}}", parts.join(", ")));
        }
        Value::Optional(_) => return refused("%s", arg),
    }
    limit_size("format", out.len(), TEXT_BYTES_MAX)
}

fn text_of(value: &Value<'_>) -> Result<String, EvalError> {
    let mut out = String::new();
    write_text(&mut out, value)?;
    Ok(out)
}

fn decimal(arg: &Value<'_>) -> Result<String, EvalError> {
    match arg {
        Value::Int(int) => Ok(int.to_string()),
        Value::Uint(uint) => Ok(uint.to_string()),
        Value::Double(double) => Ok(double_to_string(*double)),
        Value::Decimal(decimal) => Ok(decimal.to_string()),
        _ => refused("%d", arg),
    }
}

/// Exact numbers keep all their digits before the point and are rounded behind it; doubles as CEL has it, by their binary value.
fn fixed(arg: &Value<'_>, precision: usize) -> Result<String, EvalError> {
    let exact = match arg {
        Value::Double(double) if double.is_finite() => return Ok(format!("{double:.precision$}")),
        Value::Double(double) => return Ok(double_to_string(*double)),
        Value::Int(int) => Decimal::from(*int),
        Value::Uint(uint) => Decimal::from(*uint),
        Value::Decimal(decimal) => *decimal,
        _ => return refused("%f", arg),
    };
    let places = u32::try_from(precision).unwrap_or(Decimal::MAX_SCALE).min(Decimal::MAX_SCALE);
    // Told to write fewer digits than there are, the decimal would cut the others off.
    Ok(format!("{:.precision$}", half_up(&exact, places)))
}

fn scientific(arg: &Value<'_>, precision: usize) -> Result<String, EvalError> {
    let number = match arg {
        Value::Double(double) => *double,
        Value::Int(int) => *int as f64,
        Value::Uint(uint) => *uint as f64,
        Value::Decimal(decimal) => return Ok(scientific_decimal(decimal, precision)),
        _ => return refused("%e", arg),
    };
    Ok(if number.is_finite() {
        exponent_form(&format!("{number:.precision$e}"))
    } else {
        double_to_string(number)
    })
}

/// From the decimal's own digits, which a double does not have all, rounded as [`half_up`] does.
fn scientific_decimal(decimal: &Decimal, precision: usize) -> String {
    let sign = if decimal.is_sign_negative() && !decimal.is_zero() { "-" } else { "" };
    let mantissa = decimal.mantissa().unsigned_abs();
    let mut digits = mantissa.to_string();
    let mut exponent =
        if decimal.is_zero() { 0 } else { digits.len() as i64 - 1 - i64::from(decimal.scale()) };
    if digits.len() > precision + 1 {
        let unit = 10_u128.pow((digits.len() - precision - 1) as u32);
        digits = ((mantissa + unit / 2) / unit).to_string();
        // 9.99 becomes 10.0.
        exponent += (digits.len() - precision - 1) as i64;
    }
    let (first, rest) = digits.split_at(1);
    let rest = if precision > 0 { format!(".{rest:0<precision$.precision$}") } else { String::new() };
    exponent_form(&format!("{sign}{first}{rest}e{exponent}"))
}

/// Binary or octal digits, with a sign.
fn radix(arg: &Value<'_>, verb: char) -> Result<String, EvalError> {
    let (sign, size) = match arg {
        Value::Bool(truth) if verb == 'b' => ("", u64::from(*truth)),
        Value::Int(int) => (if *int < 0 { "-" } else { "" }, int.unsigned_abs()),
        Value::Uint(uint) => ("", *uint),
        _ => return refused(if verb == 'b' { "%b" } else { "%o" }, arg),
    };
    Ok(if verb == 'b' { format!("{sign}{size:b}") } else { format!("{sign}{size:o}") })
}

fn hexadecimal(arg: &Value<'_>) -> Result<String, EvalError> {
    let octets = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match arg {
        Value::Int(int) => Ok(format!("{}{:x}", if *int < 0 { "-" } else { "" }, int.unsigned_abs())),
        Value::Uint(uint) => Ok(format!("{uint:x}")),
        Value::String(text) => Ok(octets(text.as_bytes())),
        Value::Bytes(bytes) => Ok(octets(bytes)),
        _ => refused("%x", arg),
    }
}
