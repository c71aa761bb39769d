//! Published forms, compiled once and kept: what a submission is checked against.
//! Filled from the ledger, never from a read model; refreshed before a publication or retirement is acknowledged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formledger_domain::{
    CanonicalJson, CompiledForm, Form, FormDefinition, FormError, FormEvent, FormId, FormPin, FormVersion,
    LedgerAggregate, Sequence, TenantContext, TenantId,
};
use formledger_store::{Basis, RecordedEvent, TenantLedger, causes};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::bounded::BoundedMap;
use crate::error::ApiError;
use crate::limits::KNOWN_FORMS_MAX;

/// The age at which a form's stream is read again, unless no other process appended to the ledger. This process knows its own publications at once;
/// for those of others it bounds how long readers may see the version before. Commands are not recorded on an old version: see [`Basis`].
const FRESH_FOR: Duration = Duration::from_secs(2);
/// The age at which a form's stream is read again although no other process is known to have appended: should the look at all ledgers twice a second
/// ever miss something, it is not missed for ever. With ten thousand tenants, a minute meant a stream read for every thirtieth submission.
const OURS_FOR: Duration = Duration::from_secs(300);
/// How long beyond that an entry is good enough while somebody else reads, of this form or of another that waits for the same place.
const STALE_FOR: Duration = Duration::from_secs(2);

/// Loads that may run at once, chosen by form: enough that forms do not wait for each other, few enough that a burst of
/// submissions to one form compiles it once.
const LOADERS: usize = 16;

type Key = (TenantId, FormId);

/// The newest published version of every form in use, and older ones that drafts are pinned to.
pub struct Catalogue {
    newest: BoundedMap<Key, Entry>,
    /// By the era, too, in which they were read: a version that was lost may have been published otherwise since.
    pinned: BoundedMap<(TenantId, u64, FormId, FormVersion), Text>,
    /// Of tenants that publish the same texts, as those do that begin with the same template, one does for all.
    compiled: BoundedMap<Text, Arc<CompiledForm>>,
    loaders: [Mutex<()>; LOADERS],
}

/// SHA-256 of all that a compiled form is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Text([u8; 32]);

impl Text {
    fn of(form: &FormId, version: FormVersion, definition: &CanonicalJson) -> Self {
        // No id and no number holds a line break.
        let pin = format!("{form}\n{version}\n");
        Self(Sha256::new().chain_update(pin).chain_update(definition.as_str()).finalize().into())
    }
}

#[derive(Clone)]
struct Entry {
    /// What takes submissions now, or why nothing does.
    open: Result<Text, FormError>,
    /// What was read.
    basis: Arc<Basis>,
    loaded: Instant,
}

/// A form that takes submissions.
#[derive(Debug)]
pub struct Opened {
    /// Its newest version.
    pub form: Arc<CompiledForm>,
    /// What says that it is: a submission is recorded only while that is so.
    pub basis: Arc<Basis>,
}

/// A form that takes submissions, or why it does not.
type Open = Result<Arc<CompiledForm>, FormError>;

impl Entry {
    /// Whether it can be used without asking the form's stream. That a form takes nothing is asked again soon in any case: not everything that this
    /// process records about such a form is told here.
    fn is_fresh(&self, ledger: &TenantLedger) -> bool {
        self.is_known(ledger, Duration::ZERO)
    }

    /// Whether it may still be used while it, or another one, is being read.
    fn is_good_enough(&self, ledger: &TenantLedger) -> bool {
        self.is_known(ledger, STALE_FOR)
    }

    /// Whether it need not be read again. A form that is open may be older: the writer checks it again when a submission is recorded. Nobody checks
    /// one that is closed.
    fn is_known(&self, ledger: &TenantLedger, longer: Duration) -> bool {
        let (age, since) = (self.loaded.elapsed(), self.basis.since);
        let is_ours = || age < OURS_FOR && ledger.is_ours_since(since, FRESH_FOR + longer);
        let is_young = age < FRESH_FOR + longer;
        self.basis.era == ledger.era()
            && if self.open.is_ok() {
                is_young || is_ours()
            } else {
                is_young && !ledger.has_moved_since(since)
            }
    }
}

impl Catalogue {
    /// An empty catalogue that keeps so many compiled forms.
    pub fn new(compiled_max: usize) -> Self {
        metrics::describe_counter!(
            "formledger_forms_compiled_total",
            "Published forms that were made ready for submissions"
        );
        metrics::counter!("formledger_forms_compiled_total").increment(0);
        Self::of(KNOWN_FORMS_MAX, compiled_max)
    }

    /// An empty catalogue that knows so many forms, and so many versions that are not their newest.
    fn of(known_max: usize, compiled_max: usize) -> Self {
        Self {
            newest: BoundedMap::new(known_max),
            pinned: BoundedMap::new(known_max),
            compiled: BoundedMap::new(compiled_max),
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
    ) -> Result<Opened, ApiError> {
        let key = (context.tenant.clone(), form.clone());
        let known = self.newest.get(&key);
        let usable = known.and_then(|entry| Some((self.compiled_of(&entry)?, entry)));
        let opened = |(open, entry): (Open, Entry)| Ok(Opened { form: open?, basis: entry.basis });
        match usable {
            Some(usable) if usable.1.is_fresh(ledger) => opened(usable),
            usable => {
                let loader = self.loader(&key);
                let good_enough = usable.filter(|(_, entry)| entry.is_good_enough(ledger));
                // Somebody is asking already.
                let _loading = match (loader.try_lock(), good_enough) {
                    (Ok(guard), _) => guard,
                    (Err(_), Some(usable)) => return opened(usable),
                    (Err(_), None) => loader.lock().await,
                };
                let fresh = self.newest.get(&key).filter(|entry| entry.is_fresh(ledger));
                if let Some(fresh) = fresh.and_then(|entry| Some((self.compiled_of(&entry)?, entry))) {
                    return opened(fresh);
                }
                opened(self.load(ledger, context, key).await?)
            }
        }
    }

    /// Makes the next submission see the form as it is recorded now.
    ///
    /// Cannot fail, because what was recorded is to be acknowledged: when the form cannot be read now, it is forgotten, and the next
    /// submission reads it.
    pub async fn refresh(&self, ledger: &TenantLedger, context: &TenantContext, form: &FormId) {
        self.replace(ledger, context, form, None).await;
    }

    /// The same where what was known did not hold any more. Of many that find so at once, one reads.
    pub async fn renew(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
        form: &FormId,
        outdated: &Arc<Basis>,
    ) {
        self.replace(ledger, context, form, Some(outdated)).await;
    }

    async fn replace(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
        form: &FormId,
        outdated: Option<&Arc<Basis>>,
    ) {
        let key = (context.tenant.clone(), form.clone());
        // After a load that began earlier, so that what it read cannot replace what is read now.
        let _loading = self.loader(&key).lock().await;
        let is_replaced =
            |entry: Entry| outdated.is_some_and(|outdated| !Arc::ptr_eq(outdated, &entry.basis));
        if self.newest.get(&key).is_some_and(is_replaced) {
            return;
        }
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
        if let Some(compiled) = self.pinned.get(&key).and_then(|text| self.compiled.get(&text)) {
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
        let (text, compiled) = self.compile(&definition, &pin.form, pin.version)?;
        self.pinned.insert(key, text);
        Ok(compiled)
    }

    async fn load(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
        key: Key,
    ) -> Result<(Open, Entry), ApiError> {
        let (loaded, since, era) = (Instant::now(), ledger.moment(), ledger.era());
        let stream = context.stream::<Form>(&key.1);
        let events = ledger.load(&stream).await?;
        let sequence = events.last().map_or(Sequence::START, |event| event.sequence);
        let is_same = |known: &Entry| (known.basis.sequence, known.basis.era) == (sequence, era);
        let same = self.newest.get(&key).filter(is_same);
        let known = same.and_then(|known| Some((known.open.clone(), self.compiled_of(&known)?)));
        let (text, open) = match known {
            Some(known) => known,
            None => self.newest_of(&events, &key.1)?,
        };
        let basis = Arc::new(Basis { stream, sequence, era, since });
        let entry = Entry { open: text, basis, loaded };
        self.newest.insert(key, entry.clone());
        Ok((open, entry))
    }

    /// What an entry stands for; `None` when it has to be compiled again.
    fn compiled_of(&self, entry: &Entry) -> Option<Open> {
        match &entry.open {
            Ok(text) => self.compiled.get(text).map(Ok),
            Err(closed) => Some(Err(closed.clone())),
        }
    }

    fn newest_of(
        &self,
        events: &[RecordedEvent],
        id: &FormId,
    ) -> Result<(Result<Text, FormError>, Open), ApiError> {
        let mut form = Form::default();
        for event in events {
            cqrs_es::Aggregate::apply(&mut form, decode(event)?);
        }
        match form.open() {
            Ok((version, definition)) => {
                let (text, compiled) = self.compile(definition, id, version)?;
                Ok((Ok(text), Ok(compiled)))
            }
            Err(closed) => Ok((Err(closed.clone()), Err(closed))),
        }
    }

    fn compile(
        &self,
        definition: &CanonicalJson,
        form: &FormId,
        version: FormVersion,
    ) -> Result<(Text, Arc<CompiledForm>), ApiError> {
        let text = Text::of(form, version, definition);
        if let Some(compiled) = self.compiled.get(&text) {
            return Ok((text, compiled));
        }
        let compiled = FormDefinition::parse(&definition.to_value())
            .and_then(|parsed| CompiledForm::compile(&parsed, form, version))
            .map(Arc::new)
            .map_err(|problems| {
                // It compiled when it was published, so this binary understands less than the one that published it.
                ApiError::internal(format!("`{form}` version {version} does not compile: {problems:?}"))
            })?;
        metrics::counter!("formledger_forms_compiled_total").increment(1);
        self.compiled.insert(text, Arc::clone(&compiled));
        Ok((text, compiled))
    }

    fn loader(&self, key: &Key) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = hasher.finish() % LOADERS as u64;
        &self.loaders[index as usize]
    }
}

fn decode(event: &RecordedEvent) -> Result<FormEvent, ApiError> {
    Form::decode(&event.event_type, &event.event_version, &event.payload).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
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
        let store = Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("opens");
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
        let store = Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("opens");
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
        let store = Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("opens");
        let context = TenantContext::system("acme".parse().expect("a slug"), "test", Utc::now());
        let (ledger, catalogue) = (store.ledger(&context), Catalogue::of(8, 8));
        let (other, form) = ("other".parse().expect("an id"), "claim".parse().expect("an id"));
        published(&ledger, &context, &other, 1).await;
        assert!(catalogue.open(&ledger, &context, &form).await.is_err(), "there is no such form");
        // As a draft is: nobody tells the catalogue.
        published(&ledger, &context, &form, 1).await;
        tokio::time::sleep(FRESH_FOR + Duration::from_millis(100)).await;
        assert_eq!(
            catalogue.open(&ledger, &context, &form).await.expect("open").form.version(),
            FormVersion(1)
        );
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
}
