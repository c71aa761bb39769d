//! The timer on a real ledger: of many nodes one is heard, and nobody stands in another's way.

use std::path::Path;

use formledger_domain::{
    Actor, Form, FormCommand, FormId, LedgerAggregate, SubmissionId, Tenant, TenantCommand, TenantId,
};
use formledger_projections::MomentSettings;
use serde_json::{Value, json};

use super::*;
use crate::app::App;
use crate::config::{AuthSettings, Settings, Storage};
use crate::limits::Limits;

fn start() -> DateTime<Utc> {
    "2026-02-26T10:00:00Z".parse().expect("a time")
}

fn context(tenant: &str) -> TenantContext {
    let actor = Actor { subject: "sam".into(), roles: Arc::new([]) };
    TenantContext { actor, ..TenantContext::system(tenant.parse().expect("a slug"), "test", start()) }
}

async fn execute<A: LedgerAggregate<Services = ()>>(api: &Api, tenant: &str, id: &str, command: A::Command) {
    let context = context(tenant);
    let options = ExecuteOptions {
        expectation: Expectation::Any,
        idempotency: None,
        topic: None,
        basis: None,
        outcome: &|_: &A, _: &[_]| (),
    };
    let done =
        api.store.ledger(&context).execute::<A, _>(&context.stream::<A>(id), command, &(), options).await;
    assert!(done.is_ok(), "{:?}", done.err().map(|error| error.to_string()));
}

async fn app(data: &Path) -> App {
    let secret = Some("a secret that is long enough for HMAC-SHA-256".to_owned());
    let settings = Settings {
        listen: "127.0.0.1:0".parse().expect("an address"),
        storage: Storage::embedded(data),
        replicas: Vec::new(),
        possible_standbys: Vec::new(),
        auth: AuthSettings { jwt_secret: secret, ..AuthSettings::default() },
        provisioned_tenants: false,
        cors_origins: Vec::new(),
        append_batch_max: 512,
        limits: Limits::default(),
        moments: MomentSettings::default(),
    };
    App::build(settings).await.expect("builds")
}

/// A tenant with so many submissions that are due so long after [`start`].
async fn seed(app: &App, slug: &str, due: &str, submissions: usize) {
    seed_in(app, slug, json!({"due": due, "escalate": {"to": "late"}}), submissions).await;
}

/// A tenant with so many submissions that wait in `review`, which is like this.
async fn seed_in(app: &App, slug: &str, review: Value, submissions: usize) {
    let api = app.api();
    let definition: Value = json!({"title": "Claim", "schema": {"type": "object"}, "workflow": {
        "initial": "review", "transitions": [{"name": "close", "from": ["review", "late"], "to": "closed"},
                                                 {"name": "leave", "from": "review", "to": "late"}],
        "states": {"review": review, "late": {}, "closed": {"final": true}},
    }});
    let tenant: TenantId = slug.parse().expect("a slug");
    execute::<Tenant>(api, slug, slug, TenantCommand::Register { tenant }).await;
    let form: FormId = "claim".parse().expect("a form id");
    let save = FormCommand::SaveDraft { form: form.clone(), definition: Arc::new(definition) };
    execute::<Form>(api, slug, "claim", save).await;
    execute::<Form>(api, slug, "claim", FormCommand::Publish { form: form.clone() }).await;
    let context = context(slug);
    let compiled = api.catalogue.open(&api.store.ledger(&context), &context, &form).await.expect("open").form;
    let submissions = (0..submissions).map(|_| {
        let (form, by) = (compiled.clone(), context.actor.clone());
        let submit =
            SubmissionCommand::Submit { form, data: Arc::new(json!({})), draft: false, by, now: start() };
        let id = SubmissionId(Uuid::now_v7()).to_string();
        async move { execute::<Submission>(api, slug, &id, submit).await }
    });
    stream::iter(submissions).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}

/// A look of a node that has just started.
async fn first_look(api: &Api, now: DateTime<Utc>) -> Look {
    look(api, &mut Attempts::default(), now).await.expect("a look")
}

#[tokio::test]
async fn of_three_timers_at_the_same_moment_each_escalation_happens_once() {
    const TASKS: usize = 300;
    let data = tempfile::tempdir().expect("a directory");
    let app = app(data.path()).await;
    seed(&app, "acme", "P1D", TASKS).await;
    app.catch_up().await.expect("read models");
    let api = app.api();
    assert_eq!(first_look(api, start()).await, Look::default(), "nothing is due yet");
    let late = start() + TimeDelta::days(1);
    let looks = futures_util::future::join_all((0..3).map(|_| first_look(api, late))).await;
    assert_eq!(looks.iter().map(|look| look.escalated).sum::<usize>(), TASKS);
    // The read model has not heard of it: what it calls due has nothing left to do, and is not asked again and again.
    let mut attempts = Attempts::default();
    for tried in [TASKS, 0] {
        let again = look(api, &mut attempts, late).await.expect("a look");
        assert_eq!(again, Look { due: TASKS, tried, escalated: 0, left_since: Some(late) });
    }
    app.catch_up().await.expect("read models");
    assert_eq!(first_look(api, late).await, Look::default());
}

#[tokio::test]
async fn a_clock_that_goes_backwards_escalates_nothing_early_and_nothing_twice() {
    const TASKS: usize = 3;
    let data = tempfile::tempdir().expect("a directory");
    let app = app(data.path()).await;
    seed(&app, "acme", "P1D", TASKS).await;
    app.catch_up().await.expect("read models");
    let (api, mut attempts, late) = (app.api(), Attempts::default(), start() + TimeDelta::days(1));
    let head = async || api.store.ledger(&context("acme")).head().await.expect("a head").position;
    assert_eq!(look(api, &mut attempts, late).await.expect("a look").escalated, TASKS);
    let escalated = head().await;
    // The clock is set back before the due date, while the read model has not heard yet and after it has; then it comes by again.
    for now in [start(), late - TimeDelta::seconds(1), late] {
        assert_eq!(look(api, &mut attempts, now).await.expect("a look").escalated, 0, "{now}");
    }
    app.catch_up().await.expect("read models");
    for now in [start() - TimeDelta::days(365), late, late + TimeDelta::days(1)] {
        assert_eq!(look(api, &mut attempts, now).await.expect("a look"), Look::default(), "{now}");
    }
    assert_eq!(head().await, escalated, "nothing was recorded meanwhile");
    // What is made while the clock is back is due by that clock.
    seed_in(&app, "globex", json!({"due": "P2D", "escalate": {"to": "late"}}), 1).await;
    app.catch_up().await.expect("read models");
    assert_eq!(look(api, &mut attempts, late).await.expect("a look"), Look::default());
    assert_eq!(look(api, &mut attempts, start() + TimeDelta::days(2)).await.expect("a look").escalated, 1);
}

#[tokio::test]
async fn a_tenant_with_more_that_cannot_be_escalated_than_a_page_holds_delays_no_other_tenant() {
    const STUCK: usize = 4 * PAGE_TASKS as usize + 100;
    let data = tempfile::tempdir().expect("a directory");
    let app = app(data.path()).await;
    seed(&app, "acme", "P1D", STUCK).await;
    seed(&app, "globex", "P2D", 1).await;
    app.catch_up().await.expect("read models");
    let api = app.api();
    let next_day = start() + TimeDelta::days(1);
    assert_eq!(first_look(api, next_day).await.escalated, STUCK);
    // From here on the read model goes on to call all of them due, and longer overdue than the other tenant's.
    let look = first_look(api, next_day + TimeDelta::days(1)).await;
    assert_eq!((look.due, look.escalated, look.left_since), (STUCK + 1, 1, Some(next_day)));
}

#[tokio::test]
async fn a_look_that_may_see_no_more_pages_is_gone_on_with_by_the_next_one() {
    const TASKS: usize = 2 * PAGE_TASKS as usize + 50;
    let data = tempfile::tempdir().expect("a directory");
    let app = app(data.path()).await;
    seed(&app, "acme", "P1D", TASKS).await;
    app.catch_up().await.expect("read models");
    let (api, mut attempts, late) = (app.api(), Attempts::default(), start() + TimeDelta::days(1));
    // The read model goes on to call all of them due. Beginning anywhere, a round ends within four pages.
    let (mut escalated, mut looks) = (0, 0);
    while looks == 0 || !attempts.left.is_empty() {
        let look = look_at(api, &mut attempts, late, 1).await.expect("a look");
        assert!(look.due <= PAGE_TASKS as usize, "{look:?}");
        assert_eq!(look.left_since, (!attempts.left.is_empty()).then_some(late), "{look:?}");
        escalated += look.escalated;
        looks += 1;
    }
    assert_eq!(escalated, TASKS);
    assert!((3..=4).contains(&looks), "{looks}");
}

#[tokio::test]
async fn of_three_timers_at_the_same_moment_each_reminder_is_told_once_and_the_escalation_still_comes() {
    const TASKS: usize = 200;
    let data = tempfile::tempdir().expect("a directory");
    let app = app(data.path()).await;
    let review = json!({"due": "P3D", "remind": ["P1D", "-P1D"], "escalate": {"to": "late"}});
    seed_in(&app, "acme", review, TASKS).await;
    app.catch_up().await.expect("read models");
    let api = app.api();
    assert_eq!(first_look(api, start()).await, Look::default(), "nothing is to be told yet");
    for days in 1..=3 {
        let now = start() + TimeDelta::days(days);
        let looks = futures_util::future::join_all((0..3).map(|_| first_look(api, now))).await;
        assert_eq!(looks.iter().map(|look| look.escalated).sum::<usize>(), TASKS, "day {days}");
        app.catch_up().await.expect("read models");
        assert_eq!(first_look(api, now).await, Look::default(), "day {days}");
    }
    let context = context("acme");
    let events = api.store.ledger(&context).read_after(Default::default(), 10_000).await.expect("reads");
    let told = |name: &str| events.iter().filter(|event| event.event_type.ends_with(name)).count();
    assert_eq!((told(".reminded"), told(".escalated")), (2 * TASKS, TASKS));
}
