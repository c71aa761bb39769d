//! What Formledger's submissions cost on the stock path: the same HTTP libraries, form, rules and aggregate, recorded by cqrs-es and postgres-es.
//!
//! Started by `formledger-bench compare --stock`, one process on a database of its own. Like the Go program, everything is left out that
//! could slow it down beyond the path itself: no credentials, no hashes, no read models (stock ones would be a SELECT and an UPDATE more
//! for each command), no routes. What is in: the body is read as strictly, the data are validated, the rules run, the aggregate is loaded
//! and decides, its events are committed, and the answer says the same.

mod answers;
mod http_loop;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use clap::Parser;
use cqrs_es::AggregateError;
use formledger_domain::{
    Actor, CompiledForm, FormDefinition, FormVersion, Submission, SubmissionCommand, SubmissionError,
    parse_exact,
};
use http::{Response, StatusCode};
use postgres_es::{PostgresCqrs, default_postgress_pool, postgres_cqrs};
use serde_json::Value;
use uuid::Uuid;
use warp::Filter;

use answers::Answers;

// The program's `malloc`, as it is the server's.
use mimalloc as _;

/// The form of the comparison.
const FORM: &str = include_str!("../../data/form.json");
const FORM_ID: &str = "benchmark";
const VERSION: u32 = 1;
/// As the server's default.
const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// The table of postgres-es, as its documentation has it.
const TABLE: &str = "\
CREATE TABLE events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
    timestamp timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

/// Takes submissions to the benchmark's form and records them with cqrs-es and postgres-es.
#[derive(Parser)]
#[command(name = "formledger-bench-stock", version)]
struct Arguments {
    /// Address; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// An empty database.
    #[arg(long)]
    database_url: String,
}

/// What answers need.
struct Stock {
    form: Arc<CompiledForm>,
    framework: PostgresCqrs<Submission>,
    answers: Answers,
    actor: Actor,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let pool = default_postgress_pool(&arguments.database_url).await;
    sqlx::query(TABLE).execute(&pool).await.context("creating the table of events")?;
    let answers = Answers::default();
    let stock = Arc::new(Stock {
        form: form()?,
        framework: postgres_cqrs(pool, vec![Box::new(answers.clone())], ()),
        answers,
        actor: Actor { subject: "bench".into(), roles: ["submitter".to_owned()].into() },
    });
    let routes = warp::post()
        .and(warp::body::content_length_limit(BODY_BYTES_MAX))
        .and(warp::body::bytes())
        .then(move |body| answer(Arc::clone(&stock), body))
        .boxed();
    http_loop::serve(arguments.listen, routes).await
}

fn form() -> Result<Arc<CompiledForm>> {
    let definition: Value = serde_json::from_str(FORM).context("the form is no JSON")?;
    let compiled = FormDefinition::parse(&definition).and_then(|parsed| {
        CompiledForm::compile(&parsed, &FORM_ID.parse().expect("a slug"), FormVersion(VERSION))
    });
    compiled.map(Arc::new).map_err(|problems| anyhow!("the form does not compile: {problems:?}"))
}

async fn answer(stock: Arc<Stock>, body: Bytes) -> Response<Bytes> {
    let (status, text) = match stock.submit(&body).await {
        Ok(text) => (StatusCode::CREATED, text),
        Err((status, why)) => (status, serde_json::json!({ "detail": why }).to_string()),
    };
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

impl Stock {
    async fn submit(&self, body: &[u8]) -> Result<String, (StatusCode, String)> {
        let bad = |why: String| (StatusCode::BAD_REQUEST, why);
        let mut body = parse_exact(body).map_err(|error| bad(error.to_string()))?;
        let data = body.get_mut("data").map(Value::take).ok_or_else(|| bad("`data` is missing".into()))?;
        let id = Uuid::now_v7().to_string();
        let command = SubmissionCommand::Submit {
            form: Arc::clone(&self.form),
            data: Arc::new(data),
            draft: false,
            by: self.actor.clone(),
            now: chrono::Utc::now(),
        };
        self.framework.execute(&id, command).await.map_err(refused)?;
        self.answers.take(&id).ok_or((StatusCode::INTERNAL_SERVER_ERROR, "no events were committed".into()))
    }
}

fn refused(error: AggregateError<SubmissionError>) -> (StatusCode, String) {
    let status = match &error {
        AggregateError::UserError(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string())
}
