//! From a form's JSON Schema to a validator: which draft it is written in and whether it is a schema at all.
//! Nothing is ever fetched: a schema stands on its own.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use super::cost;
use super::mend;
use super::problem::DefinitionProblem;
use super::references::{self, References};
use super::violation::{self, Violation};

mod format;
mod slips;

/// How often a schema is mended and looked at again; each round mends every place that the last one told.
const MENDING_ROUNDS_MAX: usize = 10;

/// The most steps back of one match of a `pattern` against one text; at the limit the text does not fit. Enough for patterns with
/// look-around as people write them, too little to be kept busy by one that was made for it.
const BACKTRACKS_MAX: usize = 10_000;

/// The most bytes of the places of all keywords together, as JSON Pointers. A definition of 1 MiB whose members lie 32 objects deep under
/// names of ordinary length has 30 MiB.
const PLACES_BYTES_MAX: usize = 64 << 20;

/// A schema that can be used.
pub(super) struct Checked {
    /// The schema, mended where it broke its meta-schema without harm.
    pub(super) schema: Value,
    /// The draft it is written in.
    pub(super) draft: Draft,
    /// Its validator.
    pub(super) validator: Validator,
    /// What was mended, and what looks like a slip of the pen.
    pub(super) warnings: Vec<DefinitionProblem>,
}

/// Checks a schema by its draft's meta-schema and makes its validator.
///
/// # Errors
/// Problems with pointers from the root of the form definition.
pub(super) fn check(given: &Value) -> Result<Checked, Vec<DefinitionProblem>> {
    let draft = draft(given).map_err(|problem| vec![problem])?;
    if bytes_of_places(given, 0) > PLACES_BYTES_MAX {
        let message = "the names in the schema are so long, and so much lies below them, that they cannot be kept for every keyword; \
                       shorten them, or put what lies deep under `$defs` and refer to it";
        return Err(vec![DefinitionProblem::error("/schema", message)]);
    }
    let options = format::checked(jsonschema::options())
        .with_draft(draft)
        .offline()
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS_MAX));
    let mut schema = given.clone();
    let is_known = |pattern: &str| {
        let schema = json!({"pattern": pattern});
        meta_violations(&schema, draft).is_empty() && options.build(&schema).is_ok()
    };
    let mut warnings = mend::mend_patterns(&mut schema, &is_known);
    warnings.extend(references::mend_fragments(&mut schema));
    let (schema, mended) = mended(schema, draft)?;
    warnings.extend(mended);
    // Before the validator is made: where checks double, so do the parts of the validator that mark what is evaluated.
    let at = |place: &str, why: String| vec![DefinitionProblem::error(format!("/schema{place}"), why)];
    let registry = references::registry(&schema, draft)
        .map_err(|unreadable| at(&unreadable.place, unreadable.to_string()))?;
    let references = References::of(&schema, draft, &registry);
    cost::check(&schema, &references).map_err(|costly| at(&costly.place, costly.to_string()))?;
    let validator = options.build(&schema).map_err(|error| vec![build_problem(&references, error)])?;
    drop(registry);
    if fits_no_object(&validator) {
        let message = "the data of a submission are an object, and this lets no object through; describe one (`\"type\": \"object\"`)";
        warnings.push(DefinitionProblem::warning("/schema", message));
    }
    // In the schema as it was sent, whose places these are.
    warnings.extend(slips::slips(given, &|keyword, value| {
        meta_violations(&json!({keyword: value}), draft).is_empty()
    }));
    Ok(Checked { schema, draft, validator, warnings })
}

/// Whether the type of the whole is wrong whatever an object holds.
fn fits_no_object(validator: &Validator) -> bool {
    let nothing = json!({});
    validator.iter_errors(&nothing).any(|error| {
        let is_about_types =
            matches!(error.kind(), ValidationErrorKind::Type { .. } | ValidationErrorKind::FalseSchema);
        is_about_types && error.instance_path().as_str().is_empty()
    })
}

/// The bytes of the places of all keywords in `value`, which is at a place of `place` bytes: the validator and those who mend keep or
/// write each of them whole.
fn bytes_of_places(value: &Value, place: usize) -> usize {
    let below = |name: usize, member: &Value| {
        let place = place + 1 + name;
        place.saturating_add(bytes_of_places(member, place))
    };
    match value {
        Value::Object(members) => members
            .iter()
            .fold(0, |bytes: usize, (name, member)| bytes.saturating_add(below(name.len(), member))),
        Value::Array(items) => {
            let items = items.iter().filter(|item| item.is_object() || item.is_array());
            items.fold(0, |bytes: usize, item| bytes.saturating_add(below(1, item)))
        }
        _ => 0,
    }
}

fn mended(
    mut schema: Value,
    draft: Draft,
) -> Result<(Value, Vec<DefinitionProblem>), Vec<DefinitionProblem>> {
    let mut warnings = Vec::new();
    for _ in 0..MENDING_ROUNDS_MAX {
        let broken = meta_violations(&schema, draft);
        if broken.is_empty() {
            return Ok((schema, warnings));
        }
        let before = warnings.len();
        let mends = broken.iter().filter_map(|violation| mend::mend(&mut schema, violation));
        warnings.extend(mends);
        if warnings.len() == before {
            break;
        }
    }
    Err(meta_violations(&schema, draft).iter().map(meta_problem).collect())
}

/// The draft that `$schema` names; 2020-12 when it names none.
fn draft(schema: &Value) -> Result<Draft, DefinitionProblem> {
    let supported = "drafts 4, 6, 7, 2019-09 and 2020-12 are supported, \
                     for example `https://json-schema.org/draft/2020-12/schema`";
    let name = match schema.get("$schema") {
        None => return Ok(Draft::Draft202012),
        Some(Value::String(name)) => name,
        Some(_) => {
            let message = format!("`$schema` must be a string; {supported}");
            return Err(DefinitionProblem::error("/schema/$schema", message));
        }
    };
    // Published schemas write `http` for `https` and drop or keep the empty fragment as they like.
    let bare = name.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('#');
    match bare {
        "json-schema.org/draft-04/schema" => Ok(Draft::Draft4),
        "json-schema.org/draft-06/schema" => Ok(Draft::Draft6),
        "json-schema.org/draft-07/schema" => Ok(Draft::Draft7),
        "json-schema.org/draft/2019-09/schema" => Ok(Draft::Draft201909),
        // The undated name means the newest draft.
        "json-schema.org/draft/2020-12/schema" | "json-schema.org/schema" => Ok(Draft::Draft202012),
        _ => {
            let name = violation::clip(name);
            let message = format!("`{name}` is not a draft that is known here; {supported}");
            Err(DefinitionProblem::error("/schema/$schema", message))
        }
    }
}

fn meta_violations(schema: &Value, draft: Draft) -> Vec<Violation> {
    let meta = match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validator(),
        Draft::Draft6 => jsonschema::draft6::meta::validator(),
        Draft::Draft7 => jsonschema::draft7::meta::validator(),
        Draft::Draft201909 => jsonschema::draft201909::meta::validator(),
        _ => jsonschema::draft202012::meta::validator(),
    };
    violation::violations(meta.iter_errors(schema))
}

fn meta_problem(violation: &Violation) -> DefinitionProblem {
    let message = format!("not a JSON Schema: {}", violation.message);
    DefinitionProblem::error(format!("/schema{}", violation.pointer), message)
}

fn build_problem(references: &References<'_>, error: ValidationError<'static>) -> DefinitionProblem {
    if let ValidationErrorKind::Referencing(reason) = error.kind() {
        let place = references.unresolved().unwrap_or_default();
        let message = format!(
            "a reference cannot be resolved: {}; nothing is fetched, so put the schema it means into this one, \
             under `$defs` or `definitions`",
            violation::clip(&reason.to_string())
        );
        return DefinitionProblem::error(format!("/schema{place}"), message);
    }
    // Of a name in `patternProperties` only this path tells the place.
    let by_schema = error.schema_path().as_str().to_owned();
    let violations = violation::violations(std::iter::once(error));
    violations.first().map_or_else(
        || DefinitionProblem::error("/schema", "the schema cannot be used"),
        |violation| {
            let place = Some(&violation.pointer).filter(|place| !place.is_empty()).unwrap_or(&by_schema);
            DefinitionProblem::error(
                format!("/schema{place}"),
                format!("cannot be used: {}", violation.message),
            )
        },
    )
}
