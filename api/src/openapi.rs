//! The OpenAPI 3.1 document: gathered from the handlers' own descriptions, rendered once.
//! Served by `operations`; `tests/api_description.rs` walks it against the running routes.

use std::sync::LazyLock;

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::{
    events, exports, feed, form_queries, forms, ledger, operations, stats, submission_queries, submissions,
    tenants,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Formledger", description = "Records what happened to forms that have consequences."),
    paths(
        forms::save_draft, forms::publish, forms::retire,
        form_queries::list, form_queries::one, form_queries::version,
        submissions::submit, submissions::patch, submissions::submit_draft,
        submission_queries::list, submission_queries::one, submission_queries::timeline,
        events::list, feed::subscribe, ledger::head, stats::counts,
        exports::csv, exports::ndjson,
        tenants::create,
        operations::healthz, operations::readyz, operations::metrics, operations::openapi, operations::index,
    ),
    modifiers(&Credentials)
)]
struct Document;

/// Declares the bearer token, which every path under `/v1` asks for.
struct Credentials;

impl utoipa::Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The document as JSON.
pub fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| {
        Document::openapi().to_json().expect("the document holds strings, numbers and maps with string keys")
    });
    &JSON
}
