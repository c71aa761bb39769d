//! Lenience where it costs nothing: real published schemas break their own meta-schema in ways that change no meaning.
//! Such a place is mended in a copy before it is compiled, and told as a warning. The stored definition stays as it was sent.

use serde_json::Value;

use super::problem::DefinitionProblem;
use super::violation::Violation;

/// Keywords that only describe; a value of the wrong type can be left out.
const ANNOTATIONS: [&str; 8] =
    ["title", "description", "$comment", "default", "examples", "readOnly", "writeOnly", "deprecated"];
/// Keywords whose members are named by the form, not by JSON Schema.
const NAMESPACES: [&str; 6] =
    ["properties", "patternProperties", "definitions", "$defs", "dependencies", "dependentSchemas"];

/// Mends the place in `schema` that breaks the meta-schema; `None` when that would change what the schema means.
pub(super) fn mend(schema: &mut Value, broken: &Violation) -> Option<DefinitionProblem> {
    let (place, keyword) = broken.pointer.rsplit_once('/')?;
    let within = place.rsplit_once('/').map_or("", |(_, token)| token);
    let is_keyword = !NAMESPACES.contains(&within);
    let members = schema.pointer_mut(place)?.as_object_mut()?;
    let value = members.get_mut(keyword)?;
    let what = match (keyword, value) {
        ("required", Value::Array(names)) if is_keyword && names.is_empty() => {
            members.remove(keyword);
            "`required` names nothing and is taken as left out"
        }
        ("required", Value::Bool(false)) if is_keyword => {
            members.remove(keyword);
            "`required` is a list of names in the object around a field; `false` is taken as left out"
        }
        ("required" | "enum" | "type", Value::Array(items))
            if is_keyword && broken.keyword == "uniqueItems" =>
        {
            let mut seen: Vec<Value> = Vec::new();
            items.retain(|item| {
                let first = !seen.contains(item);
                seen.extend(first.then(|| item.clone()));
                first
            });
            "lists a value twice; it counts once"
        }
        (_, Value::Array(names)) if within == "dependencies" && names.is_empty() => {
            members.remove(keyword);
            "depends on nothing and is taken as left out"
        }
        (name, _) if is_keyword && ANNOTATIONS.contains(&name) => {
            members.remove(keyword);
            "describes the field with a value of the wrong type and is left out"
        }
        _ => return None,
    };
    Some(DefinitionProblem::warning(format!("/schema{}", broken.pointer), what))
}

/// Mends the regular expression at `place`: inside brackets, browsers take a hyphen beside `\w` and its like for a hyphen, and the
/// stricter reading that JSON Schema asks for (ECMA-262 with the `u` flag) refuses it.
pub(super) fn mend_pattern(schema: &mut Value, place: &str) -> Option<DefinitionProblem> {
    let Value::String(pattern) = schema.pointer_mut(place).filter(|_| place.ends_with("/pattern"))? else {
        return None;
    };
    let mended = with_literal_hyphens(pattern);
    if mended == *pattern {
        return None;
    }
    *pattern = mended;
    let what = "the hyphen beside a class such as `\\w` is taken for a hyphen; write `\\-`";
    Some(DefinitionProblem::warning(format!("/schema{place}"), what))
}

/// `pattern` with a backslash before every hyphen that has a character class beside it, inside brackets.
fn with_literal_hyphens(pattern: &str) -> String {
    let characters: Vec<char> = pattern.chars().collect();
    let is_class = |at: usize| {
        characters.get(at) == Some(&'\\')
            && characters.get(at + 1).is_some_and(|name| "wWdDsS".contains(*name))
    };
    let mut mended = String::with_capacity(pattern.len() + 1);
    let mut inside = false;
    let mut at = 0;
    // Whether the character before is a class, as in `\w`.
    let mut after_class = false;
    while let Some(&character) = characters.get(at) {
        if character == '\\' {
            mended.extend(&characters[at..characters.len().min(at + 2)]);
            after_class = is_class(at);
            at += 2;
            continue;
        }
        match character {
            '[' => inside = true,
            ']' => inside = false,
            '-' if inside && (after_class || is_class(at + 1)) => mended.push('\\'),
            _ => {}
        }
        mended.push(character);
        after_class = false;
        at += 1;
    }
    mended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hyphens_beside_a_class_inside_brackets_are_touched() {
        for (pattern, mended) in [
            (r"^[\w-.]+$", r"^[\w\-.]+$"),
            (r"[.-\d]", r"[.\-\d]"),
            (r"[a-z\w-]-\w", r"[a-z\w\-]-\w"),
            (r"[\w\-.]\[-\w", r"[\w\-.]\[-\w"),
        ] {
            assert_eq!(with_literal_hyphens(pattern), mended, "{pattern}");
        }
    }
}
