//! Numbers as text: the printed form of doubles and the readers behind `int('…')`, `uint('…')`, `double('…')`.
//!
//! Used by conversions, comparisons, `format`, JSON output and the literal reader.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use crate::value::decimal_from_text;

/// A double as CEL prints it: shortest digits that read back, plain between 1e-6 and 1e21, else with exponent. They are the digits that canonical JSON
/// writes: where two shortest decimals are equally near, the standard library chooses another one than ECMAScript.
pub(crate) fn double_to_string(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if double == 0.0 {
        return format!("{double}");
    }
    exponent_form(ryu_js::Buffer::new().format_finite(double))
}

/// The decimal that the text of a double denotes, which is what its author wrote; rounded to what a decimal holds where that is less. `None` for doubles
/// beyond all decimals.
pub(crate) fn double_to_decimal(double: f64) -> Option<Decimal> {
    let written = double.is_finite().then(|| decimal_from_text(ryu_js::Buffer::new().format_finite(double)));
    written.flatten().or_else(|| Decimal::from_f64(double))
}

/// An exponent as C writes it, `1.5e+07`: a sign and at least two digits.
pub(crate) fn exponent_form(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// The double that `text` denotes; `NaN`, `Infinity` and `-Infinity` included, Rust's other spellings not.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" | "+Infinity" | "Inf" | "+Inf" => Some(f64::INFINITY),
        "-Infinity" | "-Inf" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_they_are_written() {
        assert_eq!(double_to_string(123.456), "123.456");
        assert_eq!(double_to_string(-0.0045), "-0.0045");
        assert_eq!(double_to_string(1e300), "1e+300");
        assert_eq!(double_to_string(2.0), "2");
        assert_eq!(double_to_string(-0.0), "-0");
        assert_eq!(double_to_string(1e21), "1e+21");
        assert_eq!(double_to_string(1.5e-7), "1.5e-07");
    }

    #[test]
    fn of_two_equally_near_decimals_the_one_of_canonical_json_is_meant() {
        for text in ["747455532489509.2", "218377904684591.12", "1043984806127479.2"] {
            let double = text.parse().expect("a number");
            assert_eq!(double_to_string(double), text);
            assert_eq!(double_to_decimal(double), decimal_from_text(text));
        }
        assert_eq!(double_to_string(2f64.powi(-25)), "2.9802322387695312e-08");
    }

    #[test]
    fn a_decimal_has_all_digits_of_the_double() {
        for text in ["123456789012345.67", "0.12345678901234568", "1e-7", "-9007199254740991.0", "1e28"] {
            assert_eq!(double_to_decimal(text.parse().expect("a number")), decimal_from_text(text), "{text}");
        }
        assert_eq!(double_to_decimal(1e-40), Some(Decimal::ZERO));
        assert_eq!([1e30, f64::INFINITY, f64::NAN].map(double_to_decimal), [None; 3]);
    }
}
