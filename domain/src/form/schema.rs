//! From a form's JSON Schema to a validator: which draft it is written in, whether it is a schema at all, and what it may not do.
//! Nothing is ever fetched: a schema stands on its own.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Validator};
use serde_json::Value;

use super::problem::DefinitionProblem;
use super::violation;

/// The most problems reported for one schema.
const PROBLEMS_MAX: usize = 50;

/// Makes the validator of `schema`.
///
/// # Errors
/// Problems with pointers from the root of the form definition.
pub(super) fn validator(schema: &Value) -> Result<Validator, Vec<DefinitionProblem>> {
    let draft = draft(schema).map_err(|problem| vec![problem])?;
    let problems = meta_problems(schema, draft);
    if !problems.is_empty() {
        return Err(problems);
    }
    jsonschema::options()
        .with_draft(draft)
        .offline()
        // People who write `"format": "date"` mean it, also under the drafts in which it is only an annotation.
        .should_validate_formats(true)
        .with_format("decimal", is_decimal)
        .build(schema)
        .map_err(|error| vec![build_problem(&error)])
}

/// The draft that `$schema` names; 2020-12 when it names none.
pub(super) fn draft(schema: &Value) -> Result<Draft, DefinitionProblem> {
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

fn meta_problems(schema: &Value, draft: Draft) -> Vec<DefinitionProblem> {
    let meta = match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validator(),
        Draft::Draft6 => jsonschema::draft6::meta::validator(),
        Draft::Draft7 => jsonschema::draft7::meta::validator(),
        Draft::Draft201909 => jsonschema::draft201909::meta::validator(),
        _ => jsonschema::draft202012::meta::validator(),
    };
    violation::violations(meta.iter_errors(schema))
        .into_iter()
        .take(PROBLEMS_MAX)
        .map(|violation| {
            let message = format!("not a JSON Schema: {}", violation.message);
            DefinitionProblem::error(format!("/schema{}", violation.pointer), message)
        })
        .collect()
}

fn build_problem(error: &jsonschema::ValidationError<'_>) -> DefinitionProblem {
    let pointer = format!("/schema{}", error.instance_path());
    match error.kind() {
        ValidationErrorKind::Referencing(reason) => {
            let message = format!(
                "a reference cannot be resolved: {}; nothing is fetched, so put the referenced schema under `$defs`",
                violation::clip(&reason.to_string())
            );
            DefinitionProblem::error(pointer, message)
        }
        _ => DefinitionProblem::error(pointer, violation::clip(&error.to_string())),
    }
}

/// `format: decimal`: an exact decimal number as a string, for money.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}
