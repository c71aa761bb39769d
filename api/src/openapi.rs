//! The OpenAPI 3.1 document: gathered from the handlers' own descriptions, rendered once.
//! Served by `operations`; `tests/http/description.rs` walks it against the running routes.

pub mod answers;
mod fields;

use std::sync::LazyLock;

use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Object, OpenApi, RefOr, Required, Response, ResponseBuilder, Schema};

use crate::{
    api_keys, attachments, audit_settings, bulk, diff, events, exports, feed, form_queries, forms, ledger,
    operations, replays, stats, submission_queries, submissions, tasks, tenants, workflow,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Formledger", description = "Records what happened to forms that have consequences. What is refused is answered with a stable `code`: docs/errors.md tells each with its status, what it means and what to do."),
    paths(
        forms::save_draft, forms::publish, forms::retire,
        form_queries::list, form_queries::one, form_queries::version,
        bulk::import::import, bulk::decisions::transition,
        submissions::submit, submissions::patch, submissions::submit_draft,
        workflow::transition, workflow::comment, workflow::claim, workflow::assign, workflow::release,
        workflow::delegate, workflow::withdraw, tasks::list,
        attachments::attach, attachments::list, attachments::download, attachments::detach,
        submission_queries::list, submission_queries::one, submission_queries::timeline,
        events::list, feed::subscribe, ledger::head, stats::counts, diff::submission, diff::tenant,
        exports::csv, exports::ndjson,
        api_keys::list, api_keys::create, api_keys::revoke,
        replays::create, replays::list, replays::one, replays::feed,
        replays::pause, replays::resume, replays::cancel,
        audit_settings::show, audit_settings::configure, audit_settings::entries,
        tenants::create,
        operations::healthz, operations::readyz, operations::metrics, operations::openapi, operations::index,
    ),
    components(schemas(ProblemDetails)),
    modifiers(&Credentials, &Shared)
)]
struct Document;

/// Declares the credentials, one of which every path under `/v1` asks for.
struct Credentials;

impl utoipa::Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKeyValue::with_description("X-Api-Key", "Made with `POST /v1/api-keys`.");
        components.add_security_scheme("api-key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// Adds what all operations share: problem details as the default answer, and the header fields of commands, queries and answers.
struct Shared;

impl utoipa::Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            name_operations(path, item);
            let PathItem { get, put, post, patch, delete, .. } = item;
            for operation in [put, post, patch, delete].into_iter().flatten() {
                // Directing a replay records nothing, so there is no first answer to give again and no sequence to match.
                if !path.starts_with("/v1/replays/") {
                    add_fields(operation, &COMMAND_FIELDS);
                }
                without_null(operation);
                operation.responses.responses.insert("default".to_owned(), problem().into());
                fields::describe(path, true, operation);
            }
            if let Some(operation) = get {
                if path.starts_with("/v1/") {
                    add_fields(operation, &QUERY_FIELDS);
                }
                operation.responses.responses.insert("default".to_owned(), problem().into());
                fields::describe(path, false, operation);
            }
        }
    }
}

/// A body that may be missing is not null when it is there.
fn without_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(either))) = &content.schema {
            let named = either.items.iter().find(|schema| matches!(schema, RefOr::Ref(_))).cloned();
            content.schema = named;
        }
    }
}

/// Gives each operation an id that no other has (OpenAPI 3.1 section 4.8.10.1), from its method and path: `get_submissions_id_timeline`.
/// The handlers' names, which it would have otherwise, are unique within their files only.
fn name_operations(path: &str, item: &mut PathItem) {
    let words = path.split(|char: char| !char.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty() && *word != "v1").collect();
    let name = if words.is_empty() { "index".to_owned() } else { words.join("_") };
    let PathItem { get, put, post, patch, delete, .. } = item;
    let methods = [("get", get), ("put", put), ("post", post), ("patch", patch), ("delete", delete)];
    for (method, operation) in methods {
        if let Some(operation) = operation {
            operation.operation_id = Some(format!("{method}_{name}"));
        }
    }
}

const COMMAND_FIELDS: [(&str, &str); 3] = [
    (
        "Idempotency-Key",
        "1 to 255 visible ASCII characters: the same request with the same key gets its first outcome again. A refusal records nothing, so it is no outcome: the key stays free, and a request with it is judged anew.",
    ),
    ("If-Match", "The `ETag` that the client saw; 412 when the resource is elsewhere by now."),
    (
        "If-None-Match",
        "`*`: only where the resource is not there yet, to make it and change none; or tags at which it must not be. 412 otherwise.",
    ),
];
const QUERY_FIELDS: [(&str, &str); 2] = [
    ("Ledger-Min-Position", "Wait until the data reach this position; as `min_position`."),
    ("Prefer", "`wait=<seconds>`: how long to wait for that position, 2 when missing and 30 at most."),
];

fn add_fields(operation: &mut Operation, fields: &[(&str, &str)]) {
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

fn problem() -> Response {
    let why = "Why not: problem details (RFC 9457) with a stable `code`.";
    ResponseBuilder::new().description(why).content(fields::PROBLEM, fields::problem_content()).build()
}

/// Problem details (RFC 9457). Further members depend on the code: `errors`, `position`, `sequence`, `line`, `column` and others, as
/// docs/errors.md tells them.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `problem` writes by hand")]
struct ProblemDetails {
    /// `urn:formledger:problem:<code>`
    r#type: String,
    /// The same for every problem with this code.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable, for programs.
    code: String,
    /// What is wrong this time and what would be right.
    detail: String,
    /// The request's id.
    instance: String,
}

/// The document as JSON.
pub fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| {
        Document::openapi().to_json().expect("the document holds strings, numbers and maps with string keys")
    });
    &JSON
}
