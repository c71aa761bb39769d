//! What the catalogue keeps, forgets and reads again.

use chrono::Utc;
use formledger_domain::{EncodedEvent, FormCommand};
use formledger_store::{Append, ExecuteOptions, Executed, Expectation, Store, StoreSettings};
use serde_json::json;

use super::*;

/// Records versions 1 to `versions` of a form, whose titles count them.
async fn published(ledger: &TenantLedger, context: &TenantContext, form: &FormId, versions: u32) {
    let events = (1..=versions).map(|version| {
        let definition = json!({"title": format!("Version {version}"), "schema": {"type": "object"}});
        let definition = CanonicalJson::from_value(&definition).expect("exact");
        Form::encode(&FormEvent::Published { definition, form: form.clone(), version: FormVersion(version) })
    });
    let append = Append {
        stream: context.stream::<Form>(form),
        expected: Sequence::START,
        events: events.collect(),
        topic: None,
        idempotency: None,
    };
    ledger.append(append).await.expect("recorded");
}

#[tokio::test]
async fn versions_are_kept_up_to_a_limit_and_compiled_again_when_asked_for() {
    const KEPT: usize = 3;
    let data = tempfile::tempdir().expect("a directory");
    let store =
        Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default()).await.expect("opens");
    let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
    let (ledger, catalogue) = (store.ledger(&context), Catalogue::of(KEPT, KEPT));
    let forms: Vec<FormId> =
        ["claim", "order", "leave", "travel", "visit"].map(|id| id.parse().expect("an id")).into();
    for form in &forms {
        published(&ledger, &context, form, 4).await;
    }
    for _ in 0..2 {
        for form in &forms {
            let open = catalogue.open(&ledger, &context, form).await.expect("open");
            assert_eq!((open.form.id(), open.form.version()), (form, FormVersion(4)));
            for version in 1..=4 {
                let pin = FormPin { form: form.clone(), version: FormVersion(version) };
                let pinned = catalogue.pinned(&ledger, &context, &pin).await.expect("published");
                assert_eq!(pinned.title(), format!("Version {version}"));
                assert!(catalogue.pinned.len() <= KEPT && catalogue.newest.len() <= KEPT);
                assert!(catalogue.compiled.len() <= KEPT);
            }
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_form_that_cannot_be_read_again_is_forgotten_rather_than_kept_as_it_was() {
    let data = tempfile::tempdir().expect("a directory");
    let store =
        Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default()).await.expect("opens");
    let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
    let ledger = store.ledger(&context);
    let form: FormId = "expense".parse().expect("an id");
    let catalogue = Catalogue::of(8, 8);
    let key = (context.tenant.clone(), form.clone());
    catalogue.refresh(&ledger, &context, &form).await;
    assert!(catalogue.newest.get(&key).is_some());
    store.close().await;
    catalogue.refresh(&ledger, &context, &form).await;
    assert!(catalogue.newest.get(&key).is_none());
}

#[tokio::test]
async fn the_same_text_of_two_tenants_is_compiled_once_and_another_one_apart() {
    let data = tempfile::tempdir().expect("a directory");
    let store =
        Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default()).await.expect("opens");
    let (catalogue, form) = (Catalogue::of(8, 8), "claim".parse().expect("an id"));
    let mut open = Vec::new();
    for (tenant, versions) in [("acme", 1), ("globex", 1), ("initech", 2)] {
        let context = TenantContext::system(tenant.parse().expect("a slug"), "test", Utc::now());
        let ledger = store.ledger(&context);
        published(&ledger, &context, &form, versions).await;
        open.push(catalogue.open(&ledger, &context, &form).await.expect("open").form);
    }
    assert!(Arc::ptr_eq(&open[0], &open[1]) && !Arc::ptr_eq(&open[0], &open[2]));
    assert_eq!((catalogue.compiled.len(), catalogue.newest.len()), (2, 3));
    store.close().await;
}

#[tokio::test]
async fn that_a_form_takes_nothing_is_asked_again_soon() {
    let data = tempfile::tempdir().expect("a directory");
    let store =
        Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default()).await.expect("opens");
    let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
    let (ledger, catalogue) = (store.ledger(&context), Catalogue::of(8, 8));
    let (other, form) = ("other".parse().expect("an id"), "claim".parse().expect("an id"));
    published(&ledger, &context, &other, 1).await;
    assert!(catalogue.open(&ledger, &context, &form).await.is_err(), "there is no such form");
    // As a draft is: nobody tells the catalogue.
    published(&ledger, &context, &form, 1).await;
    tokio::time::sleep(FRESH_FOR + Duration::from_millis(100)).await;
    assert_eq!(catalogue.open(&ledger, &context, &form).await.expect("open").form.version(), FormVersion(1));
    store.close().await;
}

/// What another process publishes is seen although nobody asks the stream of a ledger that only this one moves.
#[tokio::test]
async fn a_publication_of_another_process_is_seen_in_time() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("ledger.db");
    let (ours, theirs) = (
        Store::open_sqlite(&path, StoreSettings::default()).await.expect("opens"),
        Store::open_sqlite(&path, StoreSettings::default()).await.expect("opens"),
    );
    let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
    let (ledger, form) = (ours.ledger(&context), "claim".parse::<FormId>().expect("an id"));
    published(&ledger, &context, &form, 1).await;
    let catalogue = Catalogue::of(8, 8);
    let version = async || catalogue.open(&ledger, &context, &form).await.expect("open").form.version();
    assert_eq!(version().await, FormVersion(1));
    tokio::time::sleep(FRESH_FOR + Duration::from_secs(1)).await;
    let loaded = |catalogue: &Catalogue| {
        let key = (context.tenant.clone(), form.clone());
        catalogue.newest.get(&key).expect("known").loaded
    };
    // On a busy machine a look at all ledgers may be late, and then it is right to ask.
    let mut asked_again = 0;
    loop {
        let before = loaded(&catalogue);
        tokio::time::sleep(FRESH_FOR).await;
        assert_eq!(version().await, FormVersion(1));
        if loaded(&catalogue) == before {
            break;
        }
        asked_again += 1;
        assert!(asked_again < 10, "it is read again although nobody else moves the ledger");
    }

    let definition = CanonicalJson::from_value(&json!({"title": "Theirs", "schema": {"type": "object"}}));
    let published = FormEvent::Published {
        definition: definition.expect("exact"),
        form: form.clone(),
        version: FormVersion(2),
    };
    let append = Append {
        stream: context.stream::<Form>(&form),
        expected: Sequence(1),
        events: vec![Form::encode(&published)],
        topic: None,
        idempotency: None,
    };
    theirs.ledger(&context).append(append).await.expect("recorded");
    let deadline = Instant::now() + FRESH_FOR + Duration::from_secs(8);
    while version().await == FormVersion(1) {
        assert!(Instant::now() < deadline, "a publication of another process stays unseen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ours.close().await;
    theirs.close().await;
}

#[tokio::test]
async fn of_a_form_that_was_saved_very_often_only_what_counts_is_read() {
    let data = tempfile::tempdir().expect("a directory");
    let store =
        Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default()).await.expect("opens");
    let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
    let (ledger, form) = (store.ledger(&context), "claim".parse::<FormId>().expect("an id"));
    let definition = |title: &str| {
        let definition = json!({"title": title, "schema": {"type": "object"}});
        CanonicalJson::from_value(&definition).expect("exact")
    };
    let draft =
        |title| Form::encode(&FormEvent::DraftSaved { definition: definition(title), form: form.clone() });
    let version = |title, version| {
        let version = FormVersion(version);
        Form::encode(&FormEvent::Published { definition: definition(title), form: form.clone(), version })
    };
    // Whoever reads one of the many drafts that were replaced fails.
    let replaced = EncodedEvent { event_version: "unknown", ..draft("Replaced") };
    let mut events = vec![replaced; 20];
    events.extend([draft("One"), version("One", 1), draft("Two"), version("Two", 2), draft("Three")]);
    let append = Append {
        stream: context.stream::<Form>(&form),
        expected: Sequence::START,
        events,
        topic: None,
        idempotency: None,
    };
    ledger.append(append).await.expect("recorded");

    let catalogue = Catalogue::of(8, 8);
    let open = catalogue.open(&ledger, &context, &form).await.expect("open");
    assert_eq!((open.form.title(), open.basis.sequence), ("Two", Sequence(25)));
    let pin = |version| FormPin { form: form.clone(), version: FormVersion(version) };
    assert_eq!(catalogue.pinned(&ledger, &context, &pin(1)).await.expect("published").title(), "One");
    assert!(catalogue.pinned(&ledger, &context, &pin(3)).await.is_err(), "there is no such version");

    let publish = FormCommand::Publish { form: form.clone() };
    let outcome = &|form: &Form, _: &[FormEvent]| form.version();
    let options = ExecuteOptions {
        expectation: Expectation::Any,
        idempotency: None,
        topic: None,
        basis: None,
        outcome,
    };
    let stream = context.stream::<Form>(&form);
    let published = ledger.execute::<Form, _>(&stream, publish, &(), options).await.expect("published");
    let Executed::Now { outcome, sequence, .. } = published else { panic!("{published:?}") };
    assert_eq!((outcome, sequence), (Some(FormVersion(3)), Sequence(26)));
    store.close().await;
}
