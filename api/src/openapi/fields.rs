//! What answers have beside their bodies, for the OpenAPI document: header fields, and problem details where they refuse.
//! Held against real answers by `tests/http/description.rs`.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Content, ContentBuilder, Object, Ref, RefOr, Response};

/// The media type of a refusal.
pub const PROBLEM: &str = "application/problem+json";

/// Queries that answer one thing, which has a sequence or is known by its bytes.
const TAGGED: [&str; 3] = ["/v1/submissions/{id}", "/v1/forms/{form}", FILE];
/// The bytes of a file, of which a part may be asked for.
const FILE: &str = "/v1/submissions/{id}/attachments/{sha256}";
/// Commands that make something which is found at a place of its own.
const PLACED: [&str; 4] = [
    "/v1/forms/{form}/submissions",
    "/v1/forms/{form}/publish",
    "/v1/submissions/{id}/attachments",
    "/v1/replays",
];

/// Adds to the answers of an operation what they share.
pub fn describe(path: &str, is_command: bool, operation: &mut Operation) {
    // Many commands at once are answered before any of them is recorded.
    let is_bulk = path.starts_with("/v1/submissions:");
    let has_position = path.starts_with("/v1/") && !is_bulk;
    let has_tag =
        if is_command { has_position && !path.starts_with("/v1/replays") } else { TAGGED.contains(&path) };
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(answer) = answer else { continue };
        add(answer, "X-Request-Id", Type::String, "The request's id: as it was sent, or made for it.");
        if matches!(status.as_str(), "206" | "416") {
            add(
                answer,
                "Content-Range",
                Type::String,
                "`bytes <first>-<last>/<size>`; of a refusal `bytes */<size>`.",
            );
        }
        if status.starts_with('2') || status.starts_with('3') {
            if has_position {
                add(
                    answer,
                    "Ledger-Position",
                    Type::Integer,
                    "How far the ledger, or what was read of it, reaches.",
                );
            }
            if has_tag {
                add(answer, "ETag", Type::String, "`\"<sequence>\"` for `If-Match`; of a file, its hash.");
            }
            if !is_command && path == FILE && status.starts_with('2') {
                add(answer, "Accept-Ranges", Type::String, "`bytes`");
            }
            if status == "201" && PLACED.contains(&path) {
                add(answer, "Location", Type::String, "Where it is found.");
            }
            if is_download(path) && status.starts_with('2') {
                add(answer, "Content-Disposition", Type::String, "`attachment`, with the file's name.");
            }
        } else {
            if matches!(status.as_str(), "401" | "default") {
                add(answer, "WWW-Authenticate", Type::String, "Of 401: the challenge (RFC 6750, RFC 9470).");
            }
            answer.content.entry(PROBLEM.to_owned()).or_insert_with(|| problem_content().into());
            if matches!(status.as_str(), "429" | "503" | "default") {
                add(answer, "Retry-After", Type::Integer, "Of 429 and 503: when to ask again, in seconds.");
            }
        }
    }
}

/// Whether what is answered is to be saved as a file.
fn is_download(path: &str) -> bool {
    path == FILE || path.starts_with("/v1/exports/")
}

fn add(answer: &mut Response, name: &str, kind: Type, description: &str) {
    answer.headers.insert(name.to_owned(), header(kind, description).into());
}

fn header(kind: Type, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(description)).build()
}

/// Problem details.
pub fn problem_content() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDetails"))).build()
}
