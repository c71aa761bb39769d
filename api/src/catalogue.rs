//! Published forms, compiled once and kept: what a submission is checked against.
//! Filled from the ledger, never from a read model; refreshed before a publication or retirement is acknowledged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formledger_domain::{
    CompiledForm, Form, FormDefinition, FormError, FormEvent, FormId, FormPin, FormVersion, LedgerAggregate,
    Sequence, TenantContext, TenantId,
};
use formledger_store::{RecordedEvent, TenantLedger, causes};
use tokio::sync::Mutex;

use crate::bounded::BoundedMap;
use crate::error::ApiError;
use crate::limits::COMPILED_FORMS_MAX;

/// How long an entry is used before the form's stream is asked again. Publications of this process are known at once; this bounds how
/// long one that another process recorded stays unseen.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// Loads that may run at once, chosen by form: enough that forms do not wait for each other, few enough that a burst of
/// submissions to one form compiles it once.
const LOADERS: usize = 16;

type Key = (TenantId, FormId);

/// The newest published version of every form in use, and older ones that drafts are pinned to.
pub struct Catalogue {
    newest: BoundedMap<Key, Entry>,
    /// By the era, too, in which they were read: a version that was lost may have been published otherwise since.
    pinned: BoundedMap<(TenantId, u64, FormId, FormVersion), Arc<CompiledForm>>,
    loaders: [Mutex<()>; LOADERS],
}

#[derive(Clone)]
struct Entry {
    /// What takes submissions now, or why nothing does.
    open: Result<Arc<CompiledForm>, FormError>,
    sequence: Sequence,
    /// The ledgers' era in which it was read.
    era: u64,
    loaded: Instant,
}

impl Entry {
    /// Whether it can be used without asking the form's stream.
    fn is_fresh(&self, ledger: &TenantLedger) -> bool {
        self.loaded.elapsed() < FRESH_FOR && self.era == ledger.era()
    }
}

impl Catalogue {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::of(COMPILED_FORMS_MAX)
    }

    /// An empty catalogue that keeps so many forms, and so many versions that are not their newest.
    fn of(forms_max: usize) -> Self {
        Self {
            newest: BoundedMap::new(forms_max),
            pinned: BoundedMap::new(forms_max),
            loaders: Default::default(),
        }
    }

    /// The version of a form that takes submissions now.
    ///
    /// # Errors
    /// 404 for a missing form, 409 for one that is retired or has drafts only.
    pub async fn open(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
        form: &FormId,
    ) -> Result<Arc<CompiledForm>, ApiError> {
        let key = (context.tenant.clone(), form.clone());
        match self.newest.get(&key) {
            Some(entry) if entry.is_fresh(ledger) => Ok(entry.open?),
            stale => {
                let loader = self.loader(&key);
                // Somebody is asking already: what is known is good enough meanwhile.
                let _loading = match (loader.try_lock(), stale) {
                    (Ok(guard), _) => guard,
                    (Err(_), Some(entry)) if entry.era == ledger.era() => return Ok(entry.open?),
                    (Err(_), _) => loader.lock().await,
                };
                if let Some(entry) = self.newest.get(&key).filter(|entry| entry.is_fresh(ledger)) {
                    return Ok(entry.open?);
                }
                Ok(self.load(ledger, context, key).await?.open?)
            }
        }
    }

    /// Makes the next submission see the form as it is recorded now.
    ///
    /// Cannot fail, because what was recorded is to be acknowledged: when the form cannot be read now, it is forgotten, and the next
    /// submission reads it.
    pub async fn refresh(&self, ledger: &TenantLedger, context: &TenantContext, form: &FormId) {
        let key = (context.tenant.clone(), form.clone());
        // After a load that began earlier, so that what it read cannot replace what is read now.
        let _loading = self.loader(&key).lock().await;
        if let Err(error) = self.load(ledger, context, key.clone()).await {
            self.newest.remove(&key);
            let (tenant, form) = (context.tenant.as_str(), form.as_str());
            tracing::warn!(tenant, form, cause = causes(&error), "a changed form could not be read again");
        }
    }

    /// The version that a submission is pinned to, newest or not, retired or not.
    ///
    /// # Errors
    /// 500 when the ledger holds no such version: a pin is made of one.
    pub async fn pinned(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
        pin: &FormPin,
    ) -> Result<Arc<CompiledForm>, ApiError> {
        let key = (context.tenant.clone(), ledger.era(), pin.form.clone(), pin.version);
        if let Some(compiled) = self.pinned.get(&key) {
            return Ok(compiled);
        }
        let events = ledger.load(&context.stream::<Form>(&pin.form)).await?;
        let definition = events.iter().map(decode).find_map(|event| match event {
            Ok(FormEvent::Published { version, definition, .. }) if version == pin.version => {
                Some(definition)
            }
            _ => None,
        });
        let definition =
            definition.ok_or_else(|| ApiError::internal(format!("{pin} is not in the ledger")))?;
        let compiled = compile(&definition.to_value(), &pin.form, pin.version)?;
        self.pinned.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    async fn load(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
        key: Key,
    ) -> Result<Entry, ApiError> {
        let (loaded, era) = (Instant::now(), ledger.era());
        let events = ledger.load(&context.stream::<Form>(&key.1)).await?;
        let sequence = events.last().map_or(Sequence::START, |event| event.sequence);
        let open = match self.newest.get(&key) {
            Some(known) if (known.sequence, known.era) == (sequence, era) => known.open,
            _ => newest(&events, &key.1)?,
        };
        let entry = Entry { open, sequence, era, loaded };
        self.newest.insert(key, entry.clone());
        Ok(entry)
    }

    fn loader(&self, key: &Key) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = hasher.finish() % LOADERS as u64;
        &self.loaders[index as usize]
    }
}

fn newest(events: &[RecordedEvent], id: &FormId) -> Result<Result<Arc<CompiledForm>, FormError>, ApiError> {
    let mut form = Form::default();
    for event in events {
        cqrs_es::Aggregate::apply(&mut form, decode(event)?);
    }
    match form.open() {
        Ok((version, definition)) => compile(&definition.to_value(), id, version).map(Ok),
        Err(closed) => Ok(Err(closed)),
    }
}

fn decode(event: &RecordedEvent) -> Result<FormEvent, ApiError> {
    Form::decode(&event.event_type, &event.event_version, &event.payload).map_err(ApiError::internal)
}

fn compile(
    definition: &serde_json::Value,
    form: &FormId,
    version: FormVersion,
) -> Result<Arc<CompiledForm>, ApiError> {
    FormDefinition::parse(definition)
        .and_then(|parsed| CompiledForm::compile(&parsed, form, version))
        .map(Arc::new)
        .map_err(|problems| {
            // It compiled when it was published, so this binary understands less than the one that published it.
            ApiError::internal(format!("`{form}` version {version} does not compile: {problems:?}"))
        })
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use formledger_domain::CanonicalJson;
    use formledger_store::{Append, Store, StoreSettings};
    use serde_json::json;

    use super::*;

    /// Records versions 1 to `versions` of a form, whose titles count them.
    async fn published(ledger: &TenantLedger, context: &TenantContext, form: &FormId, versions: u32) {
        let events = (1..=versions).map(|version| {
            let definition = json!({"title": format!("Version {version}"), "schema": {"type": "object"}});
            let definition = CanonicalJson::from_value(&definition).expect("exact");
            Form::encode(&FormEvent::Published {
                definition,
                form: form.clone(),
                version: FormVersion(version),
            })
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
        let store = Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("opens");
        let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
        let (ledger, catalogue) = (store.ledger(&context), Catalogue::of(KEPT));
        let forms: Vec<FormId> =
            ["claim", "order", "leave", "travel", "visit"].map(|id| id.parse().expect("an id")).into();
        for form in &forms {
            published(&ledger, &context, form, 4).await;
        }
        for _ in 0..2 {
            for form in &forms {
                let open = catalogue.open(&ledger, &context, form).await.expect("open");
                assert_eq!((open.id(), open.version()), (form, FormVersion(4)));
                for version in 1..=4 {
                    let pin = FormPin { form: form.clone(), version: FormVersion(version) };
                    let pinned = catalogue.pinned(&ledger, &context, &pin).await.expect("published");
                    assert_eq!(pinned.title(), format!("Version {version}"));
                    assert!(catalogue.pinned.len() <= KEPT && catalogue.newest.len() <= KEPT);
                }
            }
        }
        store.close().await;
    }

    #[tokio::test]
    async fn a_form_that_cannot_be_read_again_is_forgotten_rather_than_kept_as_it_was() {
        let data = tempfile::tempdir().expect("a directory");
        let store = Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("opens");
        let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
        let ledger = store.ledger(&context);
        let form: FormId = "expense".parse().expect("an id");
        let catalogue = Catalogue::new();
        let key = (context.tenant.clone(), form.clone());
        catalogue.refresh(&ledger, &context, &form).await;
        assert!(catalogue.newest.get(&key).is_some());
        store.close().await;
        catalogue.refresh(&ledger, &context, &form).await;
        assert!(catalogue.newest.get(&key).is_none());
    }
}
