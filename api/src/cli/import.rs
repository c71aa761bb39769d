//! `formledger import`: a ledger that `formledger export` wrote, put into an empty tenant as it was: positions, sequences, times, hashes.
//! Every line is checked before the first one is recorded, so a file that was changed is refused as a whole. An import that was
//! interrupted, also by a file that changes between the two readings, says how far it came and goes on there when it is begun again.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use formledger_domain::{
    Audit, CanonicalJson, EventId, Form, LedgerAggregate, Position, Sequence, StreamId, Submission, Tenant,
    TenantContext, TenantId, UndecodableEvent,
};
use formledger_store::{Chain, Metadata, RecordedEvent, Restoration};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::attached::Named;
use super::serve::{runtime, say};
use crate::app::open_restoration;
use crate::config::{ConfigError, ImportArgs};
use crate::hex;
use crate::logging;

/// Bytes of a line; a larger one is refused. Far above the largest event, whose submission has at most 1 MiB.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Events of a transaction.
const BATCH_EVENTS: usize = 512;
/// Bytes of payloads after which a transaction takes no further event.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How far ahead of this computer's clock a time may be recorded: later events are never recorded before it.
const RECORDED_AHEAD_MAX: Duration = Duration::from_mins(10);
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Imports the file. Exit 1 when a line is not as it was recorded, 2 when the file cannot be read or the tenant is not empty.
pub fn import(arguments: &ImportArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    logging::start(&arguments.storage.log)?;
    let path = &arguments.file;
    let tenant =
        Reader::open(path)?.next()?.ok_or_else(|| anyhow!("`{}` holds no events", path.display()))?.tenant;
    runtime()?.block_on(async {
        let mut restoration = open_restoration(&storage, tenant.clone()).await?;
        let done = run(&mut restoration, path, &tenant, arguments.root.as_deref()).await;
        restoration.close().await;
        let Imported { events: imported, chain, files } = done?;
        let (end, root) = (chain.position(), hex::encode(&chain.root_hash()));
        say(&format!("{tenant}: {imported} events imported, up to position {end}, root {root}"));
        if files > 0 {
            say(&format!(
                "{tenant}: they name {files} attachment(s), which are not in the file; copy `attachments/{tenant}` as well, then run `formledger verify`"
            ));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What was done.
struct Imported {
    /// How many events were recorded.
    events: u64,
    /// The whole ledger.
    chain: Chain,
    /// How many files the ledger names, also such as were taken off.
    files: u64,
}

/// Checks the whole file, then records what is not there yet.
async fn run(
    restoration: &mut Restoration,
    path: &Path,
    tenant: &TenantId,
    root: Option<&str>,
) -> anyhow::Result<Imported> {
    let there = restoration.position();
    let mut progress = Progress::new("checked");
    let (mut reader, mut chain) = (Reader::open(path)?, Chain::new(tenant.clone()));
    // An empty ledger is the beginning of every other.
    let mut goes_on = there == Position::START;
    let latest = Utc::now() + RECORDED_AHEAD_MAX;
    let (mut named, mut files) = (Named::default(), 0);
    while let Some(event) = reader.next()? {
        readable(&event).map_err(|what| reader.refuse(&what))?;
        if event.recorded_at > latest {
            let (at, minutes) = (event.recorded_at, RECORDED_AHEAD_MAX.as_secs() / 60);
            let what = format!(
                "it was recorded at {at}, more than {minutes} minutes ahead of this computer's clock"
            );
            return Err(reader.refuse(&what));
        }
        chain.add(&event).map_err(|what| reader.refuse(&what))?;
        goes_on |= chain.is_where(restoration);
        files += u64::from(named.first_by(&event).is_some());
        progress.tell(tenant, chain.position());
    }
    let computed = hex::encode(&chain.root_hash());
    if let Some(root) = root.filter(|root| !root.eq_ignore_ascii_case(&computed)) {
        return Err(anyhow!("`{}` has root {computed}, not {root}", path.display()));
    }
    if goes_on && there == chain.position() && restoration.is_unfinished() {
        // All of it is there, and somebody says that it is all that will be.
        restoration.append(&[], &chain, true).await?;
        return Ok(Imported { events: 0, chain, files });
    }
    if !goes_on || there >= chain.position() {
        let what = match restoration.is_unfinished() {
            true => format!(
                "an import into `{tenant}` came to position {there} and is not at its end, and `{}` is no file of it that goes on from there; import \
                 that, or end it there with what `formledger export --tenant {tenant}` writes now",
                path.display()
            ),
            false => format!(
                "`{tenant}` is not empty, its ledger ends at position {there}; import into a tenant without events"
            ),
        };
        return Err(ConfigError(what).into());
    }
    record(restoration, path, &chain).await?;
    Ok(Imported { events: chain.position().0 - there.0, chain, files })
}

/// Records the file's events behind those that are there, checking each again: it is another reading, which has to end where `whole`, the first, did.
async fn record(restoration: &mut Restoration, path: &Path, whole: &Chain) -> anyhow::Result<()> {
    let tenant = whole.tenant();
    let (mut reader, mut chain) = (Reader::open(path)?, Chain::new(tenant.clone()));
    reader.imported = restoration.position();
    let context = TenantContext::system(tenant.clone(), "import", Utc::now());
    let mut progress = Progress::new("imported");
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(event) = reader.next()? {
        // Not before there is another one: the last batch is also the end.
        if batch.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES_MAX {
            restoration.append(&batch, &chain, false).await.with_context(|| reader.so_far())?;
            reader.imported = restoration.position();
            (batch, bytes) = (Vec::new(), 0);
            progress.tell(tenant, restoration.position());
        }
        chain.add(&event).map_err(|what| reader.refuse(&what))?;
        if event.position <= restoration.position() {
            continue;
        }
        bytes += event.payload.as_str().len();
        let stream = stream(&context, &event).ok_or_else(|| reader.refuse("it belongs to no aggregate"))?;
        batch.push((stream, event));
    }
    if (chain.position(), chain.root_hash()) != (whole.position(), whole.root_hash()) {
        let what = format!("`{}` is not what it was when it was checked", path.display());
        return Err(anyhow!(what)).with_context(|| reader.so_far());
    }
    restoration.append(&batch, &chain, true).await.with_context(|| reader.so_far())
}

/// The stream that an event belongs to; `None` for an aggregate that this program does not know.
fn stream(context: &TenantContext, event: &RecordedEvent) -> Option<StreamId> {
    let id = &event.aggregate_id;
    match &*event.aggregate_type {
        Tenant::TYPE => Some(context.stream::<Tenant>(id)),
        Form::TYPE => Some(context.stream::<Form>(id)),
        Submission::TYPE => Some(context.stream::<Submission>(id)),
        Audit::TYPE => Some(context.stream::<Audit>(id)),
        _ => None,
    }
}

/// Whether this program understands an event: one that it does not would stop the tenant's read models later.
fn readable(event: &RecordedEvent) -> Result<(), String> {
    fn of<A: LedgerAggregate>(event: &RecordedEvent) -> Result<(), UndecodableEvent> {
        A::decode(&event.event_type, &event.event_version, &event.payload).map(drop)
    }
    let read = match &*event.aggregate_type {
        Tenant::TYPE => of::<Tenant>(event),
        Form::TYPE => of::<Form>(event),
        Submission::TYPE => of::<Submission>(event),
        Audit::TYPE => of::<Audit>(event),
        other => return Err(format!("this program knows no aggregate `{other}`")),
    };
    read.map_err(|error| error.to_string())
}

/// A line as `export` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    tenant: TenantId,
    position: Position,
    aggregate_type: String,
    aggregate_id: String,
    sequence: Sequence,
    event_id: EventId,
    event_type: String,
    event_version: String,
    recorded_at: DateTime<Utc>,
    metadata: Metadata,
    #[serde(borrow)]
    payload: &'a RawValue,
    leaf_hash: String,
}

/// The file, event by event.
struct Reader<'a> {
    path: &'a Path,
    lines: BufReader<File>,
    number: u64,
    line: Vec<u8>,
    /// Up to where the ledger holds the file's events; nothing of it while it is checked.
    imported: Position,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> anyhow::Result<Self> {
        let unreadable = |error| ConfigError(format!("`{}`: {error}", path.display()));
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(ConfigError(format!("`{}` is no file; it is read twice", path.display())).into());
        }
        Ok(Self { path, lines: BufReader::new(file), number: 0, line: Vec::new(), imported: Position::START })
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> anyhow::Result<Option<RecordedEvent>> {
        use std::io::Read;
        self.line.clear();
        self.number += 1;
        let read = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
        let read = read.with_context(|| format!("`{}`: {}", self.path.display(), self.so_far()))?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(what) = (self.number == 1).then(|| other_encoding(&self.line)).flatten() {
            return Err(self.refuse(what));
        }
        if self.line.pop() != Some(b'\n') {
            return Err(self.refuse("it does not end; the file was cut off, or the line is too long"));
        }
        let line: Line<'_> =
            serde_json::from_slice(&self.line).map_err(|error| self.refuse(&error.to_string()))?;
        // Its hash is part of what is checked, so it is the text that was recorded, or the line is refused; whoever hashed it anew may have put there
        // what nobody can read, or what readers read differently.
        let payload = CanonicalJson::from_stored(line.payload.get());
        payload
            .check()
            .map_err(|why| self.refuse(&format!("its payload is not as it is recorded: {why}")))?;
        let leaf_hash =
            hash(&line.leaf_hash).ok_or_else(|| self.refuse("`leaf_hash` is not 64 hexadecimal digits"))?;
        Ok(Some(RecordedEvent {
            tenant: line.tenant,
            position: line.position,
            aggregate_type: line.aggregate_type.into(),
            aggregate_id: line.aggregate_id.into(),
            sequence: line.sequence,
            event_id: line.event_id,
            event_type: line.event_type.into(),
            event_version: line.event_version.into(),
            recorded_at: line.recorded_at,
            metadata: line.metadata,
            payload,
            leaf_hash,
        }))
    }

    /// Why the line that was read last is not taken.
    fn refuse(&self, what: &str) -> anyhow::Error {
        anyhow!("`{}` line {}: {what}; {}", self.path.display(), self.number, self.so_far())
    }

    /// What became of the file when no more of it is taken.
    fn so_far(&self) -> String {
        match self.imported {
            Position::START => "nothing of it is imported".to_owned(),
            position => {
                format!(
                    "it is imported up to position {position}, another import goes on from there, and nothing else is recorded in this ledger until one \
                     comes to the end"
                )
            }
        }
    }
}

/// What was done to a file after `export` wrote it, by how it begins; nothing of that shows in an editor.
fn other_encoding(line: &[u8]) -> Option<&'static str> {
    match line {
        [0x1f, 0x8b, ..] => Some("the file is compressed with gzip; uncompress it first"),
        [0xef, 0xbb, 0xbf, ..] => {
            Some("the file begins with a byte order mark; an export has none, remove it")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("the file is written in UTF-16; an export is UTF-8"),
        _ => None,
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok().filter(|_| rest.is_empty())
}

/// Progress on standard error: lines that overwrite each other for people, lines for logs.
struct Progress {
    what: &'static str,
    told: Instant,
    end: char,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        let end = if std::io::stderr().is_terminal() { '\r' } else { '\n' };
        Self { what, told: Instant::now(), end }
    }

    fn tell(&mut self, tenant: &TenantId, at: Position) {
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            eprint!("{tenant}: {} up to position {at}{}", self.what, self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use formledger_domain::{CanonicalJson, FormEvent};
    use formledger_store::{Append, AppendError, Store, StoreError, StoreSettings};

    use super::*;

    const TENANT: &str = "acme";

    /// A ledger of so many events, as `export` writes it.
    async fn exported(folder: &Path, events: usize) -> String {
        let store = Store::open_sqlite(&folder.join("source.db"), StoreSettings::default()).await;
        let store = store.expect("a ledger");
        let context = TenantContext::system(TENANT.parse().expect("a slug"), "test", Utc::now());
        let ledger = store.ledger(&context);
        let title = CanonicalJson::from_value(&serde_json::json!({"schema": {}})).expect("exact");
        let drafted =
            Form::encode(&FormEvent::DraftSaved { form: "claim".parse().expect("an id"), definition: title });
        let append = Append {
            stream: context.stream::<Form>("claim"),
            expected: Sequence::START,
            events: vec![drafted; events],
            topic: None,
            idempotency: None,
        };
        ledger.append(append).await.expect("appends");
        let mut lines = Vec::new();
        super::super::export::write_ledger(&store, &context, &mut lines).await.expect("exports");
        store.close().await;
        String::from_utf8(lines).expect("JSON")
    }

    #[tokio::test]
    async fn a_file_that_breaks_while_it_is_recorded_is_told_of_with_the_position_that_was_reached() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = exported(folder.path(), BATCH_EVENTS + 20).await;
        let path = folder.path().join("acme.ndjson");
        let tenant: TenantId = TENANT.parse().expect("a slug");
        let target = folder.path().join("target.db");
        let open = || Restoration::open_sqlite(&target, tenant.clone());
        for (from, broken, said) in [
            (0, BATCH_EVENTS, "nothing of it is imported".to_owned()),
            (0, BATCH_EVENTS + 5, format!("imported up to position {BATCH_EVENTS}")),
            (BATCH_EVENTS, BATCH_EVENTS + 3, format!("imported up to position {BATCH_EVENTS}")),
        ] {
            // The second reading meets what the first one did not.
            let lines = whole.lines().enumerate();
            let lines =
                lines.map(|(n, line)| if n + 1 == broken { "{}\n".to_owned() } else { format!("{line}\n") });
            std::fs::write(&path, lines.collect::<String>()).expect("writes");
            let mut restoration = open().await.expect("opens");
            assert_eq!(restoration.position(), Position(from as u64));
            let refused = record(&mut restoration, &path, &Chain::new(tenant.clone()))
                .await
                .expect_err("a broken line");
            let refused = format!("{refused:#}");
            assert!(refused.contains(&format!("line {broken}:")) && refused.contains(&said), "{refused}");
            restoration.close().await;
        }
        std::fs::write(&path, &whole).expect("writes");
        let mut restoration = open().await.expect("opens");
        let imported = run(&mut restoration, &path, &tenant, None).await.expect("goes on");
        assert_eq!(imported.events, 20);
        restoration.close().await;
    }

    #[tokio::test]
    async fn nobody_else_records_anything_until_an_import_is_at_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = exported(folder.path(), BATCH_EVENTS + 20).await;
        let (path, target) = (folder.path().join("acme.ndjson"), folder.path().join("target.db"));
        let tenant: TenantId = TENANT.parse().expect("a slug");
        let broken: String = whole
            .lines()
            .enumerate()
            .map(|(n, line)| format!("{}\n", if n == BATCH_EVENTS + 9 { "{}" } else { line }))
            .collect();
        std::fs::write(&path, broken).expect("writes");
        let mut restoration = Restoration::open_sqlite(&target, tenant.clone()).await.expect("opens");
        record(&mut restoration, &path, &Chain::new(tenant.clone())).await.expect_err("a broken line");
        restoration.close().await;
        // A server that runs meanwhile.
        let store = Store::open_sqlite(&target, StoreSettings::default()).await.expect("opens");
        let context = TenantContext::system(tenant.clone(), "test", Utc::now());
        let form = || FormEvent::DraftSaved {
            form: "other".parse().expect("an id"),
            definition: CanonicalJson::from_stored("{}"),
        };
        let append = || Append {
            stream: context.stream::<Form>("other"),
            expected: Sequence::START,
            events: vec![Form::encode(&form())],
            topic: None,
            idempotency: None,
        };
        let refused = store.ledger(&context).append(append()).await.expect_err("is being imported");
        assert!(matches!(refused, AppendError::Store(StoreError::Importing)), "{refused:?}");
        // The same file of which the end is missing is no end; what is there, exported, is.
        let mut there = Vec::new();
        super::super::export::write_ledger(&store, &context, &mut there).await.expect("exports");
        for (file, imported) in [(whole.into_bytes(), Some(20)), (there, None)] {
            std::fs::write(&path, file).expect("writes");
            let mut restoration = Restoration::open_sqlite(&target, tenant.clone()).await.expect("opens");
            let done = run(&mut restoration, &path, &tenant, None).await;
            restoration.close().await;
            assert_eq!(done.ok().map(|done| done.events), imported);
        }
        store.ledger(&context).append(append()).await.expect("it is at its end");
        store.close().await;
    }

    #[tokio::test]
    async fn an_import_is_ended_where_it_stands_by_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = exported(folder.path(), 3).await;
        let (path, target) = (folder.path().join("acme.ndjson"), folder.path().join("target.db"));
        std::fs::write(&path, whole).expect("writes");
        let tenant: TenantId = TENANT.parse().expect("a slug");
        let mut restoration = Restoration::open_sqlite(&target, tenant.clone()).await.expect("opens");
        let (mut reader, mut chain) = (Reader::open(&path).expect("opens"), Chain::new(tenant.clone()));
        while let Some(event) = reader.next().expect("reads") {
            chain.add(&event).expect("follows");
        }
        let shorter = record(&mut restoration, &path, &Chain::new(tenant.clone())).await;
        shorter.expect_err("it is another file than the one that was checked");
        record(&mut restoration, &path, &chain).await.expect("imports");
        restoration.append(&[], &chain, false).await.expect("is marked");
        assert!(restoration.is_unfinished());
        assert_eq!(run(&mut restoration, &path, &tenant, None).await.expect("ends").events, 0);
        restoration.close().await;
        let restoration = Restoration::open_sqlite(&target, tenant.clone()).await.expect("opens");
        assert!(!restoration.is_unfinished());
        restoration.close().await;
    }
}
