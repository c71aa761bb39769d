//! Exact numbers as bytes whose order is that of the numbers: those of JSON and those that texts of `format: decimal` say, in one order.
//! Used by `fields` and `matches` for the keys of `field_keys`.

/// What a numeral begins with.
const NEGATIVE: u8 = 0;
const ZERO: u8 = 1;
const POSITIVE: u8 = 2;

/// Comes behind the digits of a negative number, whose digits are inverted: of two of which one begins like the other, the longer one is less.
const END_OF_NEGATIVE: u8 = u8::MAX;

/// Digits before the point of a number that is written out in full.
const WHOLE_DIGITS_SHOWN_MAX: i32 = 21;
/// Zeros behind the point that are written out.
const ZEROS_SHOWN_MAX: i32 = 6;

/// A number as bytes that sort as numbers do: any number of digits, an exponent of 100 of 16 bits.
///
/// A sign byte; the exponent, big-endian; the digits in pairs, each plus one, so that none is 0. All bytes behind a negative sign are inverted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numeral(Vec<u8>);

impl Numeral {
    /// What a JSON number says (RFC 8259, section 6).
    pub(crate) fn of_json(text: &str) -> Option<Self> {
        let (text, exponent) = match text.split_once(['e', 'E']) {
            Some((text, exponent)) => (text, exponent.parse().ok()?),
            None => (text, 0),
        };
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
        if leading_zero { None } else { Self::of_digits(is_negative, digits, exponent) }
    }

    /// What a text of `format: decimal` says: a sign or none, digits, and more behind a point or none.
    pub(crate) fn of_decimal(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        Self::of_digits(text.starts_with('-'), digits, 0)
    }

    fn of_digits(is_negative: bool, digits: &str, exponent: i32) -> Option<Self> {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let digit = |place: usize| {
            let byte = whole.as_bytes().get(place).or_else(|| fraction.as_bytes().get(place - whole.len()));
            byte.map_or(0, |byte| byte - b'0')
        };
        let mut places = (0..whole.len() + fraction.len()).filter(|place| digit(*place) != 0);
        let Some(first) = places.next() else { return Some(Self(vec![ZERO])) };
        let last = places.next_back().unwrap_or(first);
        // The number is 0.d₁d₂… times 10 to the power of this, d₁ not 0; of an odd one, a zero comes first.
        let ten = i32::try_from(whole.len())
            .ok()?
            .checked_sub(i32::try_from(first).ok()?)?
            .checked_add(exponent)?;
        let hundred = i16::try_from(ten.checked_add(1)?.div_euclid(2)).ok()?;
        let shift = usize::from(ten.rem_euclid(2) == 1);
        let mut bytes = Vec::with_capacity(5 + (last - first) / 2 + 2);
        bytes.push(if is_negative { NEGATIVE } else { POSITIVE });
        bytes.extend(hundred.wrapping_sub(i16::MIN).to_be_bytes());
        let mut place = first;
        if shift == 1 {
            bytes.push(digit(first) + 1);
            place += 1;
        }
        while place <= last {
            bytes.push(digit(place) * 10 + digit(place + 1) + 1);
            place += 2;
        }
        if is_negative {
            bytes[1..].iter_mut().for_each(|byte| *byte = !*byte);
            bytes.push(END_OF_NEGATIVE);
        }
        Some(Self(bytes))
    }

    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What such bytes say, for people; `None` for others.
    pub(crate) fn described(bytes: &[u8]) -> Option<String> {
        let (sign, rest) = bytes.split_first()?;
        let rest = match *sign {
            ZERO => return rest.is_empty().then(|| "0".to_owned()),
            POSITIVE => rest.to_vec(),
            NEGATIVE => rest.strip_suffix(&[END_OF_NEGATIVE])?.iter().map(|byte| !byte).collect(),
            _ => return None,
        };
        let (exponent, pairs) = rest.split_first_chunk::<2>()?;
        let mut digits = String::with_capacity(pairs.len() * 2);
        for pair in pairs {
            let pair = pair.checked_sub(1).filter(|pair| *pair < 100)?;
            digits.extend([pair / 10, pair % 10].map(|digit| char::from(b'0' + digit)));
        }
        let mut ten = i32::from(i16::from_be_bytes(*exponent).wrapping_add(i16::MIN)) * 2;
        if digits.starts_with('0') {
            digits.remove(0);
            ten -= 1;
        }
        let digits = digits.trim_end_matches('0');
        let sign = if *sign == NEGATIVE { "-" } else { "" };
        let whole = usize::try_from(ten).ok();
        Some(match whole {
            Some(whole) if whole >= digits.len() && ten <= WHOLE_DIGITS_SHOWN_MAX => {
                format!("{sign}{digits:0<whole$}")
            }
            Some(whole) if whole > 0 && whole < digits.len() => {
                let (whole, fraction) = digits.split_at(whole);
                format!("{sign}{whole}.{fraction}")
            }
            _ if (-ZEROS_SHOWN_MAX..=0).contains(&ten) => {
                format!("{sign}0.{}{digits}", "0".repeat(ten.unsigned_abs() as usize))
            }
            _ => format!("{sign}0.{digits}e{ten}"),
        })
    }
}

impl From<f64> for Numeral {
    /// What canonical JSON writes for this number. JSON has no NaN and no infinity.
    fn from(number: f64) -> Self {
        let number = serde_json::Number::from_f64(number).expect("a number of JSON");
        Self::of_json(&number.to_string()).expect("a number of JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("JSON has no such number", |number| number.is_finite()),
            -3.0..3.0,
            (-2000_i32..2000).prop_map(|number| f64::from(number) / 100.0),
            Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn numerals_are_in_the_order_of_the_numbers(a in number(), b in number()) {
            let order = Numeral::from(a).cmp(&Numeral::from(b));
            prop_assert_eq!(Some(order), a.partial_cmp(&b), "{} {}", a, b);
        }

        #[test]
        fn a_number_is_the_same_however_it_is_written(whole in "0{0,2}[0-9]{1,30}", fraction in "[0-9]{1,30}0{0,2}", sign in "[-+]?") {
            let said = Numeral::of_decimal(&format!("{sign}{whole}.{fraction}")).expect("a decimal");
            let trimmed = match whole.trim_start_matches('0') { "" => "0", whole => whole };
            let minus = sign.replace('+', "");
            prop_assert_eq!(&said, &Numeral::of_json(&format!("{minus}{trimmed}.{fraction}")).expect("a number"));
            let scientific = format!("{minus}{trimmed}{fraction}e-{}", fraction.len());
            if trimmed != "0" {
                prop_assert_eq!(&said, &Numeral::of_json(&scientific).expect("a number"));
            }
            let told = Numeral::described(said.as_bytes()).expect("a numeral");
            prop_assert_eq!(&said, &Numeral::of_json(&told).expect("a number"), "{}", told);
        }

        #[test]
        fn decimals_are_told_apart_beyond_what_a_double_holds(whole in "[1-9][0-9]{20,25}", sign in "-?") {
            let at = |cents: u32| Numeral::of_decimal(&format!("{sign}{whole}.{cents:02}")).expect("a decimal");
            let order = if sign.is_empty() { [at(0), at(1), at(10)] } else { [at(10), at(1), at(0)] };
            prop_assert!(order.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn only_what_says_a_number_is_one() {
        for text in [
            "",
            "-",
            "+1",
            "1.",
            ".5",
            "01",
            "-01.5",
            "1e",
            "1e+",
            "0x1",
            "1 ",
            "NaN",
            "1_000",
            "1e99999999999",
            "--1",
            "1.2.3",
        ] {
            assert_eq!(Numeral::of_json(text), None, "{text}");
        }
        for text in ["", "-", "1.", ".5", "1e5", "+-1", "1,000.00", "١"] {
            assert_eq!(Numeral::of_decimal(text), None, "{text}");
        }
        for text in ["+1", "01", "-00.50", "0.0"] {
            assert!(Numeral::of_decimal(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_numeral_says_what_it_stands_for() {
        for text in [
            "0",
            "5",
            "-12.5",
            "0.25",
            "1000",
            "-0.000001",
            "123456789012345678901",
            "0.1e25",
            "-0.12e-9",
            "10.01",
        ] {
            let numeral = Numeral::of_json(text).expect("a number");
            assert_eq!(Numeral::described(numeral.as_bytes()).as_deref(), Some(text));
        }
        for bytes in [&[][..], &[7], &[ZERO, 1], &[POSITIVE, 0], &[NEGATIVE, 1, 2, 3]] {
            assert_eq!(Numeral::described(bytes), None);
        }
    }
}
