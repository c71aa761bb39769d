//! Published forms, compiled once and kept: what a submission is checked against.
//! Filled from the ledger, never from a read model; refreshed before a publication or retirement is acknowledged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formledger_domain::{
    CanonicalJson, CompiledForm, Form, FormDefinition, FormError, FormEvent, FormId, FormPin, FormVersion,
    LedgerAggregate, Sequence, TenantContext, TenantId,
};
use formledger_store::{Basis, Part, RecordedEvent, TenantLedger, causes};
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
        let part = Part::Nth { event_type: FormEvent::PUBLISHED, number: pin.version.0 };
        let published = ledger.load_part(&context.stream::<Form>(&pin.form), part).await?;
        let definition = match published.first().map(decode).transpose()? {
            Some(FormEvent::Published { version, definition, .. }) if version == pin.version => definition,
            _ => return Err(ApiError::internal(format!("{pin} is not in the ledger"))),
        };
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
        let events = ledger.load_part(&stream, Part::LastOfEachType).await?;
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
mod tests;
