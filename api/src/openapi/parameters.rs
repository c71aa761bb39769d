//! What parameters may be, for the OpenAPI document: header fields that all commands or all queries take, and the spelling of those that are
//! text and not any text. Held against what is read by `tests/http/description.rs`.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Object, RefOr, Required};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
const IF_MATCH: &str = "If-Match";
const IF_NONE_MATCH: &str = "If-None-Match";
const LEDGER_MIN_POSITION: &str = "Ledger-Min-Position";

/// `*`, or a list of entity tags (RFC 9110 section 8.8.3).
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#;
/// Digits without a sign and without zeros in front, as `numbers` reads them.
const POSITION: &str = "^(0|[1-9][0-9]{0,19})$";
/// A form's id.
const FORM: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";

/// Fields of commands.
pub const OF_COMMANDS: [(&str, &str); 3] = [
    (
        IDEMPOTENCY_KEY,
        "1 to 255 visible ASCII characters: the same request with the same key gets its first outcome again. A refusal records nothing, so it is no outcome: the key stays free, and a request with it is judged anew.",
    ),
    (IF_MATCH, "The `ETag` that the client saw; 412 when the resource is elsewhere by now."),
    (
        IF_NONE_MATCH,
        "`*`: only where the resource is not there yet, to make it and change none; or tags at which it must not be. 412 otherwise.",
    ),
];
/// Fields of queries.
pub const OF_QUERIES: [(&str, &str); 2] = [
    (LEDGER_MIN_POSITION, "Wait until the data reach this position; as `min_position`."),
    ("Prefer", "`wait=<seconds>`: how long to wait for that position, 2 when missing and 30 at most."),
];

/// Adds header fields to an operation.
pub fn add(operation: &mut Operation, fields: &[(&str, &str)]) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(fields.iter().map(|(name, description)| {
        ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(*description))
            .schema(Some(Object::with_type(Type::String)))
            .build()
            .into()
    }));
}

/// Says of each parameter of an operation what it may be, where that is less than any text.
pub fn spell(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if let Some(spelling) = spelling(parameter) {
            parameter.schema = Some(spelling.schema_type(Type::String).build().into());
        }
    }
}

fn spelling(parameter: &Parameter) -> Option<ObjectBuilder> {
    let text = ObjectBuilder::new();
    Some(match (&parameter.parameter_in, &*parameter.name) {
        (ParameterIn::Path | ParameterIn::Query, "form") => text.pattern(Some(FORM)),
        (ParameterIn::Path, "id") => text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))),
        (ParameterIn::Path, "sha256") => text.pattern(Some("^[0-9a-f]{64}$")),
        (ParameterIn::Path, "name") => text.min_length(Some(1)),
        (ParameterIn::Header, IDEMPOTENCY_KEY) => {
            text.min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!-~]+$"))
        }
        (ParameterIn::Header, IF_MATCH | IF_NONE_MATCH) => text.pattern(Some(TAGS)),
        (ParameterIn::Header, LEDGER_MIN_POSITION) => text.pattern(Some(POSITION)),
        _ => return None,
    })
}
