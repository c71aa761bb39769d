//! The keys of `field_keys`: form, field and value in one text of bytes, whose order is that of the values. A database compares it at once,
//! where it would compare six columns one after the other. Written by the projection, asked for by `select`.

use formledger_domain::FormId;

use super::fields::FieldValue;
use crate::columns::KEY_BYTES_MAX;
use crate::condition::Comparison;

/// Ends the form and the pointer in a key. Neither can hold it: a form's id is a slug, and a pointer is written with [`ESCAPE`].
const END: u8 = 0;
/// Stands for [`END`], and with a second byte for itself, in a pointer.
const ESCAPE: u8 = 1;

/// What stands before the value, by kind: fields without a value first, then numbers, then texts.
const NONE: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;

/// The beginning of the keys of one field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldPrefix(Vec<u8>);

impl FieldPrefix {
    /// Of a field by its pointer.
    pub(crate) fn new(form: &FormId, pointer: &str) -> Self {
        let mut prefix = Vec::with_capacity(form.as_str().len() + pointer.len() + 2);
        prefix.extend_from_slice(form.as_str().as_bytes());
        prefix.push(END);
        for byte in pointer.bytes() {
            match byte {
                END => prefix.extend([ESCAPE, 1]),
                ESCAPE => prefix.extend([ESCAPE, 2]),
                byte => prefix.push(byte),
            }
        }
        prefix.push(END);
        Self(prefix)
    }

    /// Whether a pointer is short enough for a key, however it has to be written.
    pub(crate) fn admits(pointer: &str) -> bool {
        let escaped = pointer.bytes().filter(|byte| matches!(*byte, END | ESCAPE)).count();
        pointer.len() + escaped <= KEY_BYTES_MAX
    }

    /// The key of a value.
    pub(crate) fn key(&self, value: &FieldValue) -> Vec<u8> {
        let (kind, number, text) = match value {
            FieldValue::None => (NONE, None, ""),
            FieldValue::Number(number) => (NUMBER, Some(sortable(*number)), ""),
            FieldValue::Text(text) => (TEXT, None, text.as_str()),
        };
        let mut key = Vec::with_capacity(self.0.len() + 1 + size_of::<u64>().max(text.len()));
        key.extend_from_slice(&self.0);
        key.push(kind);
        key.extend(number.into_iter().flatten());
        key.extend_from_slice(text.as_bytes());
        key
    }

    /// All values of the field.
    pub(crate) fn values(&self) -> KeyRange {
        let mut beyond = self.0.clone();
        beyond.pop();
        beyond.push(END + 1);
        KeyRange { first: self.0.clone(), beyond }
    }

    /// All values of the kind that `value` is of: the first key that may be one, and the first that is none any more.
    fn values_like(&self, value: &FieldValue) -> (Vec<u8>, Vec<u8>) {
        let kind = match value {
            FieldValue::None => NONE,
            FieldValue::Number(_) => NUMBER,
            FieldValue::Text(_) => TEXT,
        };
        let from = |kind| self.0.iter().copied().chain([kind]).collect();
        (from(kind), from(kind + 1))
    }

    /// The keys of the values that compare with `value` as asked: only those of its own kind do. `None` where they do not lie together.
    pub(crate) fn values_that(&self, comparison: Comparison, value: &FieldValue) -> Option<KeyRange> {
        let (first, beyond) = self.values_like(value);
        let key = self.key(value);
        let (first, beyond) = match comparison {
            Comparison::NotEqual => return None,
            Comparison::Equal => (key.clone(), next(key)),
            Comparison::Less => (first, key),
            Comparison::LessOrEqual => (first, next(key)),
            Comparison::Greater => (next(key), beyond),
            Comparison::GreaterOrEqual => (key, beyond),
        };
        Some(KeyRange { first, beyond })
    }

    /// What of a key of this field comes behind the prefix: kind and value.
    pub(crate) fn rest<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&*self.0)
    }

    /// The key that [`FieldPrefix::rest`] was taken of.
    pub(crate) fn with(&self, rest: &[u8]) -> Vec<u8> {
        [&self.0, rest].concat()
    }
}

/// Keys that lie together: from `first` on, up to `beyond` without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) first: Vec<u8>,
    pub(crate) beyond: Vec<u8>,
}

impl KeyRange {
    /// Of one key.
    pub(crate) fn of(key: Vec<u8>) -> Self {
        Self { first: key.clone(), beyond: next(key) }
    }

    /// Those of them that `other` has as well.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), beyond: self.beyond.min(other.beyond) }
    }

    /// Those from `key` on.
    pub(crate) fn from(self, key: Vec<u8>) -> Self {
        Self { first: self.first.max(key), ..self }
    }

    /// Those up to `key`, and `key`.
    pub(crate) fn up_to(self, key: Vec<u8>) -> Self {
        Self { beyond: self.beyond.min(next(key)), ..self }
    }
}

/// The key that comes next to `key`: nothing lies between a text of bytes and the same with a zero behind it.
fn next(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The bits of a number, so that their order as bytes is the numbers' order. JSON has no NaN, and -0 equals 0.
fn sortable(number: f64) -> [u8; 8] {
    let bits = (number + 0.0).to_bits();
    let negative = bits >> 63 == 1;
    (if negative { !bits } else { bits | 1 << 63 }).to_be_bytes()
}

/// What a key says, for people: form, pointer and value; `None` for bytes that are no key.
pub(crate) fn described(key: &[u8]) -> Option<String> {
    let mut parts = key.splitn(3, |byte| *byte == END);
    let (form, pointer, value) = (parts.next()?, parts.next()?, parts.next()?);
    let value = match value.split_first()? {
        (&NONE, []) => "no value".to_owned(),
        (&NUMBER, bits) => {
            let bits = u64::from_be_bytes(bits.try_into().ok()?);
            f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }).to_string()
        }
        (&TEXT, text) => serde_json::Value::from(std::str::from_utf8(text).ok()?).to_string(),
        _ => return None,
    };
    Some(format!("{} {} {value}", String::from_utf8_lossy(form), String::from_utf8_lossy(pointer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(form: &str, pointer: &str) -> FieldPrefix {
        FieldPrefix::new(&form.parse().expect("a form id"), pointer)
    }

    fn any_value() -> impl Strategy<Value = FieldValue> {
        prop_oneof![
            Just(FieldValue::None),
            any::<f64>()
                .prop_filter("JSON has no such number", |n| n.is_finite())
                .prop_map(FieldValue::Number),
            prop_oneof![Just(0.0), Just(-0.0), -3.0..3.0].prop_map(FieldValue::Number),
            "[a-c\u{0}\u{1}ä]{0,4}".prop_map(FieldValue::Text),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_values(a in any_value(), b in any_value()) {
            let rank = |value: &FieldValue| match value {
                FieldValue::None => (0, 0.0, String::new()),
                FieldValue::Number(number) => (1, *number, String::new()),
                FieldValue::Text(text) => (2, 0.0, text.clone()),
            };
            let field = prefix("claim", "/n");
            let (left, right) = (field.key(&a), field.key(&b));
            prop_assert_eq!(Some(left.cmp(&right)), rank(&a).partial_cmp(&rank(&b)), "{:?} {:?}", a, b);
        }

        #[test]
        fn keys_of_one_field_lie_together_and_no_others_among_them(
            forms in ("[ab]{1,2}", "[ab]{1,2}"), pointers in ("(/[ab\u{0}\u{1}]{0,2}){0,2}", "(/[ab\u{0}\u{1}]{0,2}){0,2}"),
            value in any_value(), other in any_value(),
        ) {
            let (field, beside) = (prefix(&forms.0, &pointers.0), prefix(&forms.1, &pointers.1));
            let all = field.values();
            let within = |key: &Vec<u8>| all.first <= *key && *key < all.beyond;
            prop_assert!(within(&field.key(&value)));
            prop_assert_eq!(within(&beside.key(&other)), field == beside);
            prop_assert_eq!(field == beside, forms.0 == forms.1 && pointers.0 == pointers.1);
            let (first, beyond) = field.values_like(&value);
            let key = field.key(&other);
            let alike = std::mem::discriminant(&value) == std::mem::discriminant(&other);
            prop_assert_eq!(first <= key && key < beyond, alike);
        }
    }

    proptest! {
        #[test]
        fn a_comparison_is_a_range_of_keys(values in prop::collection::vec(any_value(), 3), others in ("[ab]", "/[ab]{0,1}")) {
            let field = prefix("a", "/a");
            let [value, low, high] = <[FieldValue; 3]>::try_from(values).expect("three");
            let beside = prefix(&others.0, &others.1).key(&value);
            let key = field.key(&value);
            let holds = |range: &KeyRange, key: &Vec<u8>| range.first <= *key && *key < range.beyond;
            let compared = |with: &FieldValue, comparison| {
                let alike = std::mem::discriminant(&value) == std::mem::discriminant(with);
                let order = match (&value, with) {
                    (FieldValue::Number(a), FieldValue::Number(b)) => a.partial_cmp(b).expect("numbers"),
                    (FieldValue::Text(a), FieldValue::Text(b)) => a.cmp(b),
                    _ => std::cmp::Ordering::Equal,
                };
                alike && match comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::NotEqual => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                }
            };
            let comparisons = [Comparison::Equal, Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];
            for one in comparisons {
                let range = field.values_that(one, &low).expect("a range");
                prop_assert_eq!(holds(&range, &key), compared(&low, one), "{:?} {:?} {:?}", value, one, low);
                prop_assert!(field == prefix(&others.0, &others.1) || !holds(&range, &beside));
                for other in comparisons {
                    let both = range.clone().and(field.values_that(other, &high).expect("a range"));
                    prop_assert_eq!(holds(&both, &key), compared(&low, one) && compared(&high, other));
                }
            }
            prop_assert_eq!(field.values_that(Comparison::NotEqual, &low), None);
            let (bound, all) = (field.key(&low), field.values());
            prop_assert_eq!(holds(&all.clone().from(bound.clone()), &key), key >= bound);
            prop_assert_eq!(holds(&all.up_to(bound.clone()), &key), key <= bound);
        }
    }

    #[test]
    fn a_key_says_what_it_stands_for() {
        let field = prefix("claim", "/a/b");
        let said = |value| described(&field.key(&value)).expect("a key");
        assert_eq!(said(FieldValue::None), "claim /a/b no value");
        assert_eq!(said(FieldValue::Number(-12.5)), "claim /a/b -12.5");
        assert_eq!(said(FieldValue::Number(0.25)), "claim /a/b 0.25");
        assert_eq!(said(FieldValue::text("DE")), "claim /a/b \"DE\"");
        assert_eq!(described(&[7; 16]), None);
    }

    #[test]
    fn a_pointer_is_measured_as_it_is_written() {
        assert!(FieldPrefix::admits(&format!("/{}", "a".repeat(KEY_BYTES_MAX - 1))));
        assert!(!FieldPrefix::admits(&format!("/{}", "\u{0}".repeat(KEY_BYTES_MAX / 2))));
    }
}
