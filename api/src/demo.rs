//! The demonstration: one tenant with real forms, an expense claim with rules, and a few hundred submissions.
//! Called by `formledger demo` before it listens. It goes the way of every command, with fixed idempotency keys, so that a second start
//! adds nothing and an interrupted one is completed.

mod data;

use std::sync::Arc;

use chrono::Utc;
use formledger_domain::{
    Actor, Form, FormCommand, FormId, LedgerAggregate, Submission, SubmissionCommand, SubmissionId, Tenant,
    TenantCommand, TenantContext, TenantId,
};
use formledger_store::{
    ExecuteError, ExecuteOptions, Executed, Expectation, Idempotency, Remember, TenantLedger,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::Api;
use crate::auth::role;
use crate::error::ApiError;
use crate::forms::topic;

/// The form that shows rules.
pub const EXPENSE_FORM: &str = "expense";
/// The demonstration's tenant.
pub const TENANT: &str = "demo";

/// The claim that the printed lines decide; its id is fixed, so that they can be printed before anybody asks.
pub const CLAIM: SubmissionId = SubmissionId(Uuid::from_u128(0x0193_a000_0000_7000_8000_0000_0000_0001));

/// Commands on their way at once; they share commits.
const CONCURRENCY: usize = 32;

/// Makes what is missing of the demonstration tenant.
///
/// # Errors
/// When a form or submission is refused, which a test rules out, or the ledger fails.
pub async fn seed(api: &Api) -> Result<(), ApiError> {
    let tenant: TenantId = TENANT.parse().map_err(ApiError::internal)?;
    let admin = context(&tenant, "Dana Designer", &[role::ADMIN]);
    begin(&api.store.ledger(&admin), &admin).await?;
    let forms = forms()?;
    stream::iter(forms.into_iter().map(|(form, definition)| publish(api, &admin, form, definition)))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    stream::iter(submissions()?.into_iter().map(|planned| submit(api, &tenant, planned)))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await
}

/// One submission to make.
struct Planned {
    id: SubmissionId,
    form: FormId,
    number: usize,
    by: String,
    data: Value,
}

fn context(tenant: &TenantId, subject: &str, roles: &[&str]) -> TenantContext {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let actor = Actor { subject: subject.into(), roles };
    TenantContext { actor, ..TenantContext::system(tenant.clone(), "demo", Utc::now()) }
}

fn forms() -> Result<Vec<(FormId, Value)>, ApiError> {
    let mut forms = vec![(form_id(EXPENSE_FORM)?, read(data::EXPENSE)?)];
    for (name, schema) in data::SCHEMAS {
        let schema = read(schema)?;
        let title = schema.get("title").and_then(Value::as_str).unwrap_or(name);
        forms.push((form_id(name)?, json!({"title": title, "schema": schema})));
    }
    Ok(forms)
}

fn submissions() -> Result<Vec<Planned>, ApiError> {
    let expense = form_id(EXPENSE_FORM)?;
    let mut planned: Vec<Planned> = (0..data::EXPENSES)
        .map(|number| {
            let (form, by) = (expense.clone(), data::employee(number));
            Planned { id: fresh(), form, number, by, data: data::expense(number) }
        })
        .collect();
    let (number, by) = (data::EXPENSES, data::employee(data::EXPENSES));
    planned.push(Planned { id: CLAIM, form: expense, number, by, data: data::claim() });
    for (name, example) in data::EXAMPLES {
        let (form, example) = (form_id(name)?, read(example)?);
        planned.extend((0..data::SUBMISSIONS_PER_EXAMPLE).map(|number| Planned {
            id: fresh(),
            form: form.clone(),
            number,
            by: data::employee(number + 3),
            data: data::vary(example.clone(), number),
        }));
    }
    Ok(planned)
}

fn fresh() -> SubmissionId {
    SubmissionId(Uuid::now_v7())
}

async fn begin(ledger: &TenantLedger, context: &TenantContext) -> Result<(), ApiError> {
    let tenant = context.tenant.clone();
    let command = TenantCommand::Register { tenant: tenant.clone() };
    execute::<Tenant>(ledger, context, tenant.as_str(), command, "tenant", None, Expectation::NoStream).await
}

async fn publish(api: &Api, admin: &TenantContext, form: FormId, definition: Value) -> Result<(), ApiError> {
    let ledger = api.store.ledger(admin);
    let definition = Arc::new(definition);
    let draft = FormCommand::SaveDraft { form: form.clone(), definition };
    let key = |step: &str| format!("{step}/{form}");
    execute::<Form>(&ledger, admin, form.as_str(), draft, &key("draft"), topic(&form), Expectation::Any)
        .await?;
    let publication = FormCommand::Publish { form: form.clone() };
    execute::<Form>(
        &ledger,
        admin,
        form.as_str(),
        publication,
        &key("publish"),
        topic(&form),
        Expectation::Any,
    )
    .await?;
    api.catalogue.refresh(&ledger, admin, &form).await;
    Ok(())
}

async fn submit(api: &Api, tenant: &TenantId, planned: Planned) -> Result<(), ApiError> {
    let Planned { id, form, number, by, data } = planned;
    let context = context(tenant, &by, &[role::SUBMITTER]);
    let ledger = api.store.ledger(&context);
    let compiled = api.catalogue.open(&ledger, &context, &form).await?.form;
    let (by, now) = (context.actor.clone(), context.now);
    let command = SubmissionCommand::Submit { form: compiled, data: Arc::new(data), draft: false, by, now };
    let key = format!("submission/{form}/{number}");
    execute::<Submission>(
        &ledger,
        &context,
        &id.to_string(),
        command,
        &key,
        topic(&form),
        Expectation::NoStream,
    )
    .await
}

/// Runs a command unless a start before this one did.
async fn execute<A>(
    ledger: &TenantLedger,
    context: &TenantContext,
    id: &str,
    command: A::Command,
    key: &str,
    topic: Option<Arc<str>>,
    expectation: Expectation,
) -> Result<(), ApiError>
where
    A: LedgerAggregate<Services = ()>,
    ApiError: From<A::Error>,
{
    // The same for every start and every version of the demonstration's data: what was made once stays as it was made.
    let idempotency = Idempotency { key: format!("demo/{key}"), request_hash: [0; 32] };
    if ledger.first_outcome(&idempotency).await?.is_some() {
        return Ok(());
    }
    // Nobody asks how it went the first time.
    let remember: Remember<()> = |()| "{}".to_owned();
    let idempotency = Some((idempotency, remember));
    let options = ExecuteOptions { expectation, idempotency, topic, basis: None, outcome: &|_, _| () };
    match ledger.execute::<A, _>(&context.stream::<A>(id), command, &(), options).await {
        Ok(Executed::Now { .. } | Executed::Before(_)) => Ok(()),
        Err(ExecuteError::Refused(refusal)) => Err(refusal.into()),
        Err(ExecuteError::Append(error)) => Err(error.into()),
    }
}

fn form_id(name: &str) -> Result<FormId, ApiError> {
    name.parse().map_err(|error: formledger_domain::InvalidId| ApiError::internal(error))
}

fn read(text: &str) -> Result<Value, ApiError> {
    formledger_domain::parse_exact(text.as_bytes()).map_err(ApiError::from)
}
