//! Numbers as text: the printed form of doubles and the readers behind `int('…')`, `uint('…')`, `double('…')`.
//!
//! Used by conversions, comparisons, `format`, JSON output and the literal reader.

use rust_decimal::Decimal;

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
    // From the text again, which `Decimal` rounds half away from zero where its places end; the library's own conversion rounds twice. What is normal
    // has no sign where it is zero.
    written.flatten().or_else(|| format!("{double}").parse().ok().map(|decimal: Decimal| decimal.normalize()))
}

/// The double nearest to a decimal, as its text would be read. The library's own conversion is off by one step for many decimals of 16 and more digits.
pub(crate) fn decimal_to_double(decimal: &Decimal) -> f64 {
    decimal.to_string().parse().expect("the text of a decimal is one of a double")
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
        for tiny in [1e-40, -1e-40] {
            let zero = double_to_decimal(tiny).expect("a decimal");
            assert!(zero.is_zero() && zero.is_sign_positive(), "{tiny}");
        }
        assert_eq!([1e30, f64::INFINITY, f64::NAN].map(double_to_decimal), [None; 3]);
    }

    #[test]
    fn a_double_with_more_places_than_a_decimal_is_rounded_once() {
        for (text, rounded) in [
            ("9.026105120454588e-17", "0.0000000000000000902610512045"),
            ("3.786068124545147e-15", "0.0000000000000037860681245451"),
            ("-8.839296715311732e-29", "-0.0000000000000000000000000001"),
            ("2.5e-28", "0.0000000000000000000000000003"),
        ] {
            let decimal = double_to_decimal(text.parse().expect("a number"));
            assert_eq!(decimal.map(|decimal| decimal.to_string()).as_deref(), Some(rounded), "{text}");
        }
    }

    #[test]
    fn an_exponent_moves_the_point_and_loses_no_digit() {
        for (text, plain) in [
            ("1.5e3", "1500"),
            ("1.5E+1", "15"),
            ("1.50e1", "15.0"),
            ("-12.25e-3", "-0.01225"),
            ("10e-29", "0.0000000000000000000000000001"),
            ("0.00000000000000000000000000005e1", "0.0000000000000000000000000005"),
            ("0.0001e30", "100000000000000000000000000"),
            ("7.9228162514264337593543950335e28", "79228162514264337593543950335"),
            ("0e2", "0"),
            ("-0e2", "0"),
        ] {
            assert_eq!(
                decimal_from_text(text).map(|decimal| decimal.to_string()).as_deref(),
                Some(plain),
                "{text}"
            );
        }
        for text in [
            "1.23456789012345678901234567890123e0",
            "12345678901234567890123456789.5e0",
            "5e-29",
            "8e28",
            "1e999999999999",
            "1e2147483647",
            "1e-2147483648",
            "1_000e1",
            "e5",
            "1e",
            "1e1.5",
            "1e2e3",
        ] {
            assert_eq!(decimal_from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_decimal_becomes_the_nearest_double() {
        for text in
            ["7783799097090022.6", "0.00517133350774711675", "0.0007608571828227609641071781", "-0.1", "1"]
        {
            let decimal = decimal_from_text(text).expect("a decimal");
            assert_eq!(Ok(decimal_to_double(&decimal)), text.parse::<f64>(), "{text}");
        }
    }
}
