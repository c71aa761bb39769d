//! The keys of `field_keys`: form, field and value in one text of bytes, whose order is that of the values. A database compares it at once,
//! where it would compare six columns one after the other. Written by the projection, asked for by `select`.

use formledger_domain::FormId;

use chrono::{DateTime, SecondsFormat};

use super::fields::FieldValue;
use super::numeral::Numeral;
use crate::columns::KEY_BYTES_MAX;
use crate::condition::Comparison;

/// Ends the form and the pointer in a key. Neither can hold it: a form's id is a slug, and a pointer is written with [`ESCAPE`].
const END: u8 = 0;
/// Stands for [`END`], and with a second byte for itself, in a pointer.
const ESCAPE: u8 = 1;

/// What stands before the value, by kind: fields without a value first, then numbers, then texts, then moments.
const NONE: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const TIME: u8 = 3;

/// Comes behind the beginning of a text that is longer. No text holds this byte, so no key of a whole text is the same.
const MORE: u8 = u8::MAX;

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

    /// The keys of all fields of a form.
    pub(crate) fn of_form(form: &FormId) -> KeyRange {
        let with = |end| form.as_str().bytes().chain([end]).collect();
        KeyRange { first: with(END), beyond: with(END + 1) }
    }

    /// Whether a pointer is short enough for a key, however it has to be written.
    pub(crate) fn admits(pointer: &str) -> bool {
        let escaped = pointer.bytes().filter(|byte| matches!(*byte, END | ESCAPE)).count();
        pointer.len() + escaped <= KEY_BYTES_MAX
    }

    /// The key of a value.
    pub(crate) fn key(&self, value: &FieldValue) -> Vec<u8> {
        let moment;
        let (said, more): (&[u8], Option<u8>) = match value {
            FieldValue::None => (&[], None),
            FieldValue::Number(number) => (number.as_bytes(), None),
            FieldValue::Text(text) => (text.as_bytes(), None),
            FieldValue::Beginning(text) => (text.as_bytes(), Some(MORE)),
            FieldValue::Time(time) => {
                moment = sortable(time.timestamp(), time.timestamp_subsec_nanos());
                (&moment, None)
            }
        };
        let mut key = Vec::with_capacity(self.0.len() + 1 + said.len() + 1);
        key.extend_from_slice(&self.0);
        key.push(kind(value));
        key.extend_from_slice(said);
        key.extend(more);
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
        let from = |kind| self.0.iter().copied().chain([kind]).collect();
        (from(kind(value)), from(kind(value) + 1))
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

fn kind(value: &FieldValue) -> u8 {
    match value {
        FieldValue::None => NONE,
        FieldValue::Number(_) => NUMBER,
        FieldValue::Text(_) | FieldValue::Beginning(_) => TEXT,
        FieldValue::Time(_) => TIME,
    }
}

/// A moment so that the order of the bytes is that of the moments.
fn sortable(seconds: i64, nanos: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&seconds.wrapping_sub(i64::MIN).to_be_bytes());
    bytes[8..].copy_from_slice(&nanos.to_be_bytes());
    bytes
}

/// The moment that [`sortable`] made such bytes of.
fn moment(bytes: &[u8]) -> Option<String> {
    let (seconds, nanos) = bytes.split_first_chunk::<8>()?;
    let seconds = i64::from_be_bytes(*seconds).wrapping_add(i64::MIN);
    let time = DateTime::from_timestamp(seconds, u32::from_be_bytes(nanos.try_into().ok()?))?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// What a key says, for people: form, pointer and value; `None` for bytes that are no key.
pub(crate) fn described(key: &[u8]) -> Option<String> {
    let mut parts = key.splitn(3, |byte| *byte == END);
    let (form, pointer, value) = (parts.next()?, parts.next()?, parts.next()?);
    let value = match value.split_first()? {
        (&NONE, []) => "no value".to_owned(),
        (&NUMBER, digits) => Numeral::described(digits)?,
        (&TEXT, text) => match text.strip_suffix(&[MORE]) {
            Some(text) => format!("{} and more", serde_json::Value::from(std::str::from_utf8(text).ok()?)),
            None => serde_json::Value::from(std::str::from_utf8(text).ok()?).to_string(),
        },
        (&TIME, bytes) => moment(bytes)?,
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
            any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()).prop_map(number),
            prop_oneof![Just(0.0), Just(-0.0), -3.0..3.0].prop_map(number),
            "[a-c\u{0}\u{1}ä]{0,4}".prop_map(FieldValue::Text),
            "[a-c\u{0}\u{1}ä]{0,4}".prop_map(FieldValue::Beginning),
            (-5_i64..5, 0_u32..3).prop_map(|(seconds, nanos)| time(seconds, nanos)),
        ]
    }

    fn number(number: f64) -> FieldValue {
        FieldValue::Number(number.into())
    }

    fn time(seconds: i64, nanos: u32) -> FieldValue {
        FieldValue::Time(DateTime::from_timestamp(seconds, nanos).expect("a moment"))
    }

    /// What values are ordered by: their kind, and then all but one of these are alike.
    type Rank = (u8, Option<Numeral>, Vec<u8>, Option<DateTime<chrono::Utc>>);

    fn rank(value: &FieldValue) -> Rank {
        match value {
            FieldValue::None => (0, None, Vec::new(), None),
            FieldValue::Number(number) => (1, Some(number.clone()), Vec::new(), None),
            FieldValue::Text(text) => (2, None, text.clone().into_bytes(), None),
            // Whatever follows, it is behind the same text and before texts that go on with a character.
            FieldValue::Beginning(text) => (2, None, [text.as_bytes(), &[MORE]].concat(), None),
            FieldValue::Time(time) => (3, None, Vec::new(), Some(*time)),
        }
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_values(a in any_value(), b in any_value()) {
            let field = prefix("claim", "/n");
            let (left, right) = (field.key(&a), field.key(&b));
            prop_assert_eq!(left.cmp(&right), rank(&a).cmp(&rank(&b)), "{:?} {:?}", a, b);
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
            prop_assert_eq!(first <= key && key < beyond, kind(&value) == kind(&other));
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
                let order = rank(&value).cmp(&rank(with));
                kind(&value) == kind(with) && match comparison {
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
        assert_eq!(said(number(-12.5)), "claim /a/b -12.5");
        assert_eq!(said(number(0.25)), "claim /a/b 0.25");
        assert_eq!(said(FieldValue::text("DE")), "claim /a/b \"DE\"");
        assert_eq!(said(FieldValue::Beginning("DE".into())), "claim /a/b \"DE\" and more");
        assert_eq!(said(time(-1, 500_000_000)), "claim /a/b 1969-12-31T23:59:59.500Z");
        assert_eq!(described(&[7; 16]), None);
    }

    #[test]
    fn a_pointer_is_measured_as_it_is_written() {
        assert!(FieldPrefix::admits(&format!("/{}", "a".repeat(KEY_BYTES_MAX - 1))));
        assert!(!FieldPrefix::admits(&format!("/{}", "\u{0}".repeat(KEY_BYTES_MAX / 2))));
    }
}
