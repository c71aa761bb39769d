//! Takes the values of indexed fields out of a submission's data, reading only as much of the JSON as it must.
//! Used by the projection for every submission, so it never builds a tree of the whole document.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use formledger_domain::{
    CanonicalJson, CompiledForm, FormDefinition, FormId, FormVersion, TextKind, place_computed, scan,
};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::key::FieldPrefix;
use super::numeral::Numeral;
use crate::columns::beginning;

/// The most bytes of a text that are kept for comparing; longer ones are ordered by their beginning, and equal to nothing.
pub(crate) const FIELD_TEXT_BYTES_MAX: usize = 1024;

/// Levels down to which values are looked for level by level; each looks through all below it once more. Deeper ones are found in one walk.
const QUICK_LEVELS_MAX: usize = 3;

/// An indexed value, comparable with others of its kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum FieldValue {
    /// Missing, `null`, an object or an array: nothing to compare.
    #[default]
    None,
    /// A number, or a text that says one in a field of [`TextKind::Decimal`].
    Number(Numeral),
    /// A text, or `true` and `false`.
    Text(String),
    /// What a text begins with that is too long.
    Beginning(String),
    /// A text that says a moment in a field of [`TextKind::Timestamp`].
    Time(DateTime<Utc>),
}

impl FieldValue {
    pub(crate) fn text(text: &str) -> Self {
        match beginning(text, FIELD_TEXT_BYTES_MAX) {
            whole if whole.len() == text.len() => Self::Text(text.to_owned()),
            beginning => Self::Beginning(beginning.to_owned()),
        }
    }

    /// What a text says in a field of this kind; `None` where it says nothing of the kind.
    pub(crate) fn said(text: &str, kind: TextKind) -> Option<Self> {
        match kind {
            TextKind::Plain => None,
            TextKind::Decimal => Numeral::of_decimal(text).map(Self::Number),
            TextKind::Timestamp => moment(text).map(Self::Time),
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Number(number) => Numeral::of_json(&number.to_string()).map_or(Self::None, Self::Number),
            Value::String(text) => Self::text(text),
            Value::Bool(flag) => Self::text(if *flag { "true" } else { "false" }),
            Value::Null | Value::Array(_) | Value::Object(_) => Self::None,
        }
    }
}

/// Whether a text is a JSON number that can be compared.
pub(crate) fn is_number(text: &str) -> bool {
    Numeral::of_json(text).is_some()
}

/// The moment that a text says (RFC 3339); a day or a month, which conditions name, begins in UTC.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let begins = |rest| DateTime::parse_from_rfc3339(&format!("{text}{rest}")).ok();
    let time = match text.len() {
        7 => begins("-01T00:00:00Z"),
        10 => begins("T00:00:00Z"),
        _ => begins(""),
    };
    time.map(|time| time.to_utc())
}

/// The fields that one form version indexes.
#[derive(Debug, Default)]
pub(crate) struct IndexedFields {
    pointers: Vec<String>,
    /// Of those that do not hold plain texts, by their place in `pointers`.
    kinds: Vec<(usize, TextKind)>,
    paths: Path,
    /// Of the deepest of them.
    levels: usize,
}

/// The pointers as a tree of reference tokens, so that one walk finds all of them.
#[derive(Debug, Default)]
struct Path {
    slot: Option<usize>,
    below: Vec<(String, Path)>,
}

impl IndexedFields {
    /// The fields at `pointers`, whose texts are of the kind that `kind` says; one whose pointer is too long for a key is not indexed.
    pub(crate) fn new(mut pointers: Vec<String>, kind: impl Fn(&str) -> TextKind) -> Self {
        pointers.retain(|pointer| FieldPrefix::admits(pointer));
        let kinds = pointers.iter().map(|pointer| kind(pointer)).enumerate();
        let kinds = kinds.filter(|(_, kind)| *kind != TextKind::Plain).collect();
        let mut paths = Path::default();
        for (slot, pointer) in pointers.iter().enumerate() {
            let mut path = &mut paths;
            for token in pointer.split('/').skip(1) {
                path = path.child(&unescaped(token));
            }
            path.slot = Some(slot);
        }
        let levels = pointers.iter().map(|pointer| pointer.matches('/').count()).max().unwrap_or_default();
        Self { pointers, kinds, paths, levels }
    }

    /// What `index` of a published definition lists; a publication was checked, so anything unexpected there means nothing is indexed.
    pub(crate) fn of_definition(definition: &CanonicalJson, form: &FormId, version: FormVersion) -> Self {
        #[derive(Deserialize)]
        struct Indexing {
            #[serde(default)]
            index: Vec<String>,
        }
        let Ok(Indexing { index }) = serde_json::from_str(definition.as_str()) else {
            return Self::default();
        };
        let compiled = (!index.is_empty() && may_hold_kinds(definition))
            .then(|| FormDefinition::parse(&definition.to_value()))
            .and_then(|parsed| CompiledForm::compile(&parsed.ok()?, form, version).ok());
        let kind = |pointer: &str| compiled.as_ref().map_or(TextKind::Plain, |form| form.text_kind(pointer));
        Self::new(index, kind)
    }

    pub(crate) fn pointers(&self) -> impl Iterator<Item = &str> {
        self.pointers.iter().map(String::as_str)
    }

    /// The fields, and what their texts say.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, TextKind)> {
        let kind = |slot| {
            self.kinds.iter().find(|(known, _)| *known == slot).map_or(TextKind::Plain, |(_, kind)| *kind)
        };
        self.pointers().enumerate().map(move |(slot, pointer)| (pointer, kind(slot)))
    }

    /// Whether the same values come of it, in the same order, as of another version.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.fields().eq(other.fields())
    }

    /// One value per pointer, in their order.
    pub(crate) fn values(&self, data: &CanonicalJson, computed: Option<&CanonicalJson>) -> Vec<FieldValue> {
        if self.pointers.is_empty() {
            return Vec::new();
        }
        let mut values = self.written(data, computed);
        for (slot, kind) in &self.kinds {
            if let FieldValue::Text(text) = &values[*slot]
                && let Some(said) = FieldValue::said(text, *kind)
            {
                values[*slot] = said;
            }
        }
        values
    }

    fn written(&self, data: &CanonicalJson, computed: Option<&CanonicalJson>) -> Vec<FieldValue> {
        match computed {
            Some(computed) if self.overlaps(computed) => {
                let mut data = data.to_value();
                place_computed(&mut data, computed);
                let value = |pointer: &String| data.pointer(pointer).map(FieldValue::of).unwrap_or_default();
                self.pointers.iter().map(value).collect()
            }
            _ => self.picked(data),
        }
    }

    fn picked(&self, data: &CanonicalJson) -> Vec<FieldValue> {
        let mut values = vec![FieldValue::None; self.pointers.len()];
        if self.levels <= QUICK_LEVELS_MAX && self.paths.pick(data.as_str(), &mut values).is_some() {
            return values;
        }
        // What it left there, the long way finds again.
        let mut deserializer = serde_json::Deserializer::from_str(data.as_str());
        Pick { path: &self.paths, values: &mut values }
            .deserialize(&mut deserializer)
            .expect("canonical JSON is JSON, and picking refuses none");
        values
    }

    /// Whether a computed value may stand at, above or below an indexed field.
    fn overlaps(&self, computed: &CanonicalJson) -> bool {
        let Value::Object(computed) = computed.to_value() else { return false };
        computed.keys().any(|at| {
            self.pointers
                .iter()
                .any(|pointer| at.starts_with(pointer.as_str()) || pointer.starts_with(at.as_str()))
        })
    }
}

/// Whether a definition may have fields that do not hold plain texts: only then is it worth compiling.
fn may_hold_kinds(definition: &CanonicalJson) -> bool {
    ["decimal", "date-time", "compute"].iter().any(|name| definition.as_str().contains(name))
}

impl Path {
    fn child(&mut self, token: &str) -> &mut Self {
        let place = match self.below.iter().position(|(name, _)| name == token) {
            Some(place) => place,
            None => {
                self.below.push((token.to_owned(), Self::default()));
                self.below.len() - 1
            }
        };
        &mut self.below[place].1
    }

    /// Finds the values where a canonical text has them; `None` when something in it is to be read the long way.
    fn pick(&self, text: &str, values: &mut [FieldValue]) -> Option<()> {
        if let Some(slot) = self.slot {
            values[slot] = match text.as_bytes().first()? {
                b'{' | b'[' | b'n' => FieldValue::None,
                b'"' => FieldValue::text(scan::plain_string(text)?),
                b't' | b'f' => FieldValue::text(text),
                _ => FieldValue::Number(Numeral::of_json(text)?),
            };
        }
        match text.as_bytes().first()? {
            b'{' if !self.below.is_empty() => {
                // A canonical text has no name twice.
                let (mut left, mut is_plain) = (self.below.len(), true);
                scan::each_member(text, |name, value| {
                    if name.contains('\\') {
                        is_plain = false;
                    } else if let Some(path) = self.find(name) {
                        is_plain &= path.pick(value, values).is_some();
                        left -= 1;
                    }
                    if is_plain && left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
                return is_plain.then_some(());
            }
            b'[' if !self.below.is_empty() => {
                for (index, item) in scan::items(text)?.into_iter().enumerate() {
                    if let Some(path) = self.find(&index.to_string()) {
                        path.pick(item, values)?;
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    fn find(&self, token: &str) -> Option<&Self> {
        self.below.iter().find(|(name, _)| name == token).map(|(_, path)| path)
    }
}

fn unescaped(token: &str) -> Cow<'_, str> {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~").into() } else { token.into() }
}

/// Walks a document along the paths and passes over everything beside them.
struct Pick<'a> {
    path: &'a Path,
    values: &'a mut [FieldValue],
}

impl Pick<'_> {
    fn found<E>(self, value: FieldValue) -> Result<(), E> {
        if let Some(slot) = self.path.slot {
            self.values[slot] = value;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.found(FieldValue::text(if flag { "true" } else { "false" }))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        // Exact: canonical JSON holds no integer beyond 2^53.
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.found(FieldValue::Number(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.found(FieldValue::text(text))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(below) = members.next_key_seed(Step(self.path))? {
            match below {
                Some(path) => members.next_value_seed(Pick { path, values: &mut *self.values })?,
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0usize.. {
            let more = match self.path.find(&index.to_string()) {
                Some(path) => items.next_element_seed(Pick { path, values: &mut *self.values })?.is_some(),
                None => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// Finds a member's path by its name, without keeping the name.
struct Step<'a>(&'a Path);

impl<'a, 'de> DeserializeSeed<'de> for Step<'a> {
    type Value = Option<&'a Path>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a, 'de> Visitor<'de> for Step<'a> {
    type Value = Option<&'a Path>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.find(name))
    }
}

#[cfg(test)]
mod tests;
