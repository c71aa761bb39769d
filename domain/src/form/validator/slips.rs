//! Slips of the pen that JSON Schema takes without a word: a keyword that it does not know says nothing, and neither does a `format`.
//! Told as warnings, because a schema may hold both: words of other tools stand beside the standard's own.
//! Called by [`super::check`] for a schema that is one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::format;
use crate::form::problem::DefinitionProblem;
use crate::form::violation;
use crate::json::pointer;

/// The most slips that are told of one schema; further ones are found when these are mended.
const TOLD_MAX: usize = 50;
/// The most unknown keywords like a known one whose values are looked at; those behind them are passed over.
const TRIED_MAX: usize = 1_000;
/// The most names that are compared with those that are known, each once; further ones are passed over.
const COMPARED_MAX: usize = 1_000;
/// The longest name that is compared with those that are known, in bytes: nobody misspells these into more.
const NAME_BYTES_MAX: usize = 32;

/// What a keyword holds.
#[derive(Clone, Copy)]
enum Holds {
    /// No schema.
    Other,
    /// A schema, or a list of schemas.
    Schemas,
    /// Schemas by names of the form's own.
    Named,
}

use Holds::{Named, Other, Schemas};

/// The keywords of all drafts that are supported.
const KEYWORDS: [(&str, Holds); 63] = [
    ("$anchor", Other),
    ("$comment", Other),
    ("$defs", Named),
    ("$dynamicAnchor", Other),
    ("$dynamicRef", Other),
    ("$id", Other),
    ("$recursiveAnchor", Other),
    ("$recursiveRef", Other),
    ("$ref", Other),
    ("$schema", Other),
    ("$vocabulary", Other),
    ("additionalItems", Schemas),
    ("additionalProperties", Schemas),
    ("allOf", Schemas),
    ("anyOf", Schemas),
    ("const", Other),
    ("contains", Schemas),
    ("contentEncoding", Other),
    ("contentMediaType", Other),
    ("contentSchema", Schemas),
    ("default", Other),
    ("definitions", Named),
    ("dependencies", Named),
    ("dependentRequired", Other),
    ("dependentSchemas", Named),
    ("deprecated", Other),
    ("description", Other),
    ("else", Schemas),
    ("enum", Other),
    ("examples", Other),
    ("exclusiveMaximum", Other),
    ("exclusiveMinimum", Other),
    ("format", Other),
    ("id", Other),
    ("if", Schemas),
    ("items", Schemas),
    ("maxContains", Other),
    ("maxItems", Other),
    ("maxLength", Other),
    ("maxProperties", Other),
    ("maximum", Other),
    ("minContains", Other),
    ("minItems", Other),
    ("minLength", Other),
    ("minProperties", Other),
    ("minimum", Other),
    ("multipleOf", Other),
    ("not", Schemas),
    ("oneOf", Schemas),
    ("pattern", Other),
    ("patternProperties", Named),
    ("prefixItems", Schemas),
    ("properties", Named),
    ("propertyNames", Schemas),
    ("readOnly", Other),
    ("required", Other),
    ("then", Schemas),
    ("title", Other),
    ("type", Other),
    ("unevaluatedItems", Schemas),
    ("unevaluatedProperties", Schemas),
    ("uniqueItems", Other),
    ("writeOnly", Other),
];
/// Keywords that nobody meant who wrote something like them: a `comment` is one, and `id` has been no keyword since draft 4.
const NOT_MEANT: [&str; 2] = ["$comment", "id"];
/// Keywords that are one letter away from a word of its own, and hold anything: `cost` is no `const`, `cosnt` is one.
const ANOTHER_WORD: [&str; 1] = ["const"];
/// Words of OpenAPI, in schemas that come from there.
const ELSEWHERE: [&str; 5] = ["discriminator", "example", "externalDocs", "nullable", "xml"];

/// Tells what in `schema` looks like a keyword or a format and is none. `is_said` tells whether a keyword may have that value.
pub(super) fn slips(schema: &Value, is_said: &dyn Fn(&str, &Value) -> bool) -> Vec<DefinitionProblem> {
    let mut reader =
        Reader { is_said, place: "/schema".to_owned(), compared: HashMap::new(), tried: 0, told: Vec::new() };
    reader.schemas(schema);
    reader.told
}

struct Reader<'f> {
    is_said: &'f dyn Fn(&str, &Value) -> bool,
    place: String,
    /// The names that were compared, with the keyword that each was meant to be.
    compared: HashMap<String, Option<&'static str>>,
    tried: usize,
    told: Vec<DefinitionProblem>,
}

impl Reader<'_> {
    /// Reads a schema or a list of schemas.
    fn schemas(&mut self, value: &Value) {
        match value {
            Value::Object(keywords) => self.keywords(keywords),
            Value::Array(schemas) => {
                for (at, schema) in schemas.iter().enumerate() {
                    self.at(&at.to_string(), |reader| reader.schemas(schema));
                }
            }
            _ => {}
        }
    }

    fn keywords(&mut self, keywords: &Map<String, Value>) {
        for (name, value) in keywords {
            let known = KEYWORDS.binary_search_by(|(known, _)| (*known).cmp(name)).map(|at| KEYWORDS[at].1);
            self.at(name, |reader| match (known, value) {
                (Ok(Schemas), _) => reader.schemas(value),
                (Ok(Named), Value::Object(schemas)) => {
                    for (name, schema) in schemas {
                        reader.at(name, |reader| reader.schemas(schema));
                    }
                }
                (Ok(_), Value::String(format)) if name == "format" => reader.format(format),
                (Ok(_), _) => {}
                (Err(_), _) => reader.unknown(name, value),
            });
        }
    }

    fn at(&mut self, token: &str, read: impl FnOnce(&mut Self)) {
        let before = self.place.len();
        pointer::push(&mut self.place, token);
        read(self);
        self.place.truncate(before);
    }

    fn unknown(&mut self, name: &str, value: &Value) {
        if name.starts_with("x-") || ELSEWHERE.contains(&name) {
            return;
        }
        if self.told.len() == TOLD_MAX || self.tried == TRIED_MAX {
            return;
        }
        let Some(meant) = self.meant(name) else { return };
        self.tried += 1;
        // A `note` that says something is no `not`, which would hold a schema.
        if (self.is_said)(meant, value) {
            self.tell(format!(
                "`{name}` is no keyword of JSON Schema, so it says nothing; did you mean `{meant}`?"
            ));
        }
    }

    /// The keyword that somebody meant who wrote `name`.
    fn meant(&mut self, name: &str) -> Option<&'static str> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        if let Some(meant) = self.compared.get(name) {
            return *meant;
        }
        if self.compared.len() == COMPARED_MAX {
            return None;
        }
        let may_be_meant = |known: &&str| {
            !NOT_MEANT.contains(known) && (!ANOTHER_WORD.contains(known) || same_letters(name, known))
        };
        let meant = nearest(name, KEYWORDS.iter().map(|(known, _)| *known).filter(may_be_meant));
        self.compared.insert(name.to_owned(), meant);
        meant
    }

    fn format(&mut self, name: &str) {
        if self.told.len() == TOLD_MAX || format::is_known(name) {
            return;
        }
        let advice = match nearest(name, format::names()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "a `pattern` can say which texts fit".to_owned(),
        };
        let name = violation::clip(name);
        self.tell(format!("`{name}` is no format that is checked, so any text has it; {advice}"));
    }

    fn tell(&mut self, message: String) {
        self.told.push(DefinitionProblem::warning(self.place.clone(), message));
    }
}

/// The known name that somebody meant who wrote `name`: one slip away from it, two where it is long.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let slips_max = match name.len() {
        0..3 => 0,
        3..7 => 1,
        _ => 2,
    };
    known
        .filter(|known| known.len().abs_diff(name.len()) <= slips_max)
        .map(|known| (slips_between(name, known), known))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, known)| known)
}

/// Whether two names have the same letters in any order and case.
fn same_letters(a: &str, b: &str) -> bool {
    let sorted = |name: &str| {
        let mut letters = name.to_ascii_lowercase().into_bytes();
        letters.sort_unstable();
        letters
    };
    sorted(a) == sorted(b)
}

/// Letters added, left out, replaced, or exchanged with their neighbours, whatever their case (Damerau's and Levenshtein's distance, in bytes, where no
/// letter is part of two exchanges).
fn slips_between(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase().into_bytes(), b.to_ascii_lowercase().into_bytes());
    let mut earlier: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(earlier[j - 1] + 1);
            }
            next.push(least);
        }
        earlier = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keywords_are_in_the_order_in_which_they_are_looked_for() {
        assert!(KEYWORDS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn an_exchange_of_neighbours_is_one_slip() {
        for (a, b, slips) in [
            ("", "", 0),
            ("type", "Type", 0),
            ("tyep", "type", 1),
            ("emial", "email", 1),
            ("minimun", "minimum", 1),
            ("requird", "required", 1),
            ("propertys", "properties", 2),
            ("ab", "", 2),
            ("note", "not", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((slips_between(a, b), slips_between(b, a)), (slips, slips), "{a} {b}");
        }
    }
}
