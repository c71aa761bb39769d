//! Numbers as text: the printed form of doubles and the readers behind `int('…')`, `uint('…')`, `double('…')`.
//!
//! Used by conversions, `format`, JSON output and the literal reader.

/// A double as CEL prints it: shortest digits that read back, plain between 1e-6 and 1e21, else with exponent.
pub(crate) fn double_to_string(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = double.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        return exponent_form(&format!("{double:e}"));
    }
    format!("{double}")
}

/// Rust's `1.5e7` as C's `1.5e+07`: a sign and at least two exponent digits.
pub(crate) fn exponent_form(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
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
    }
}
