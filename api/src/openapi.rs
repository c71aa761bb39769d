//! The OpenAPI 3.1 document: gathered from the handlers' own descriptions, rendered once.
//! Served by `operations`; `tests/http/description.rs` walks it against the running routes.

pub mod answers;
pub mod definition;
mod examples;
mod fields;
mod parameters;
mod problem;

use std::sync::LazyLock;

use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Response, ResponseBuilder, Schema};

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
    servers((url = "/", description = "Where this document was fetched.")),
    tags(
        (name = "forms", description = "What is asked for: drafts, versions, retirement."),
        (name = "submissions", description = "What was filled in: made, amended, read back, one by one or many at once."),
        (name = "workflow", description = "Who decides: transitions, tasks, comments, delegation."),
        (name = "attachments", description = "Files of submissions."),
        (name = "events", description = "What happened, as it happens and page by page."),
        (name = "ledger", description = "The end of the ledger, with its root hash."),
        (name = "statistics", description = "Counts."),
        (name = "exports", description = "Submissions as files."),
        (name = "replays", description = "A range of the ledger again: as a feed, under candidate rules, beside the read models."),
        (name = "audit", description = "What is audited, and what was found."),
        (name = "credentials", description = "API keys."),
        (name = "tenants", description = "Tenants, for operators."),
        (name = "operations", description = "What operators and machines ask of the process."),
    ),
    components(schemas(problem::ProblemDetails)),
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
            let PathItem { get, put, post, patch, delete, .. } = item;
            for operation in [put, post, patch, delete].into_iter().flatten() {
                // Directing a replay records nothing, so there is no first answer to give again and no sequence to match.
                if !path.starts_with("/v1/replays/") {
                    parameters::add(operation, &parameters::OF_COMMANDS);
                }
                without_null(operation);
                half_done(operation);
                examples::show(operation);
                parameters::spell(operation);
                operation.responses.responses.insert("default".to_owned(), problem().into());
                fields::describe(path, true, operation);
            }
            if let Some(operation) = get {
                if path.starts_with("/v1/") {
                    parameters::add(operation, &parameters::OF_QUERIES);
                } else {
                    // Said, because what says nothing may be taken for forgotten.
                    operation.security = Some(Vec::new());
                }
                parameters::spell(operation);
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

/// A draft may be saved before it is a definition: any object is taken, and its problems are told.
fn half_done(operation: &mut Operation) {
    if operation.operation_id.as_deref() != Some("saveFormDraft") {
        return;
    }
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let any = ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(true)));
        let definition = content.schema.take().expect("it is described as a definition");
        content.schema = Some(Schema::AnyOf(AnyOfBuilder::new().item(definition).item(any).build()).into());
    }
}

fn problem() -> Response {
    let why = "Why not: problem details (RFC 9457) with a stable `code`.";
    ResponseBuilder::new().description(why).content(fields::PROBLEM, fields::problem_content()).build()
}

/// The document as JSON.
pub fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| {
        Document::openapi().to_json().expect("the document holds strings, numbers and maps with string keys")
    });
    &JSON
}
