//! `formledger export`: a tenant's whole ledger as NDJSON, one recorded event a line in position order.
//! The format is described in `docs/proof.md`; `docs/verify-ledger.py` checks it without this program.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use formledger_domain::{CanonicalJson, Position, TenantContext};
use formledger_store::{Metadata, RecordedEvent, Store};
use serde::Serialize;

use super::readable_ledger;
use super::serve::runtime;
use crate::config::{ConfigError, ExportArgs};
use crate::limits::STREAM_PAGE_EVENTS;
use crate::logging;

/// Writes the ledger as it is when the command starts. A file is replaced by the whole export or not at all.
pub fn export(arguments: &ExportArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    logging::start(&arguments.storage.log)?;
    runtime()?.block_on(async {
        let store = readable_ledger(&storage).await?;
        let context = TenantContext::system(arguments.tenant.clone(), "export", Utc::now());
        let written = match &arguments.out {
            Some(path) => write_file(&store, &context, path).await,
            None => write_ledger(&store, &context, BufWriter::new(std::io::stdout().lock())).await,
        };
        store.close().await;
        written?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Writes beside the file and then moves it into its place, so that what was there before survives every failure.
async fn write_file(store: &Store, context: &TenantContext, path: &Path) -> anyhow::Result<()> {
    let named = || format!("`{}`", path.display());
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        // A pipe or a device is written to; a file in its place would be of no use.
        let out = File::options().write(true).open(path).with_context(named)?;
        return write_ledger(store, context, BufWriter::new(out)).await;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    let file = File::create_new(&beside)
        .map_err(|error| ConfigError(format!("`--out`: `{}`: {error}", path.display())))?;
    let written = match write_ledger(store, context, BufWriter::new(&file)).await {
        Ok(()) => file.sync_all().and_then(|()| fs::rename(&beside, path)).with_context(named),
        Err(error) => Err(error),
    };
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Writes all events up to the head that is there now.
///
/// # Errors
/// A [`ConfigError`] before anything is written when there is no such tenant; one that says which position is missing, where one is.
pub(super) async fn write_ledger(
    store: &Store,
    context: &TenantContext,
    mut out: impl Write,
) -> anyhow::Result<()> {
    let ledger = store.ledger(context);
    let head = ledger.head().await?.position;
    if head == Position::START {
        return Err(ConfigError(format!("there is no tenant `{}` in this ledger", context.tenant)).into());
    }
    let mut after = Position::START;
    while after < head {
        for event in ledger.read_next(after, STREAM_PAGE_EVENTS, usize::MAX).await? {
            after = event.position;
            if after > head {
                break;
            }
            serde_json::to_writer(&mut out, &Line::of(&event))?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(())
}

/// One recorded event; the members of the hashed envelope by their own names, the payload as it is stored.
#[derive(Serialize)]
struct Line<'a> {
    tenant: &'a str,
    position: Position,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: formledger_domain::Sequence,
    event_id: formledger_domain::EventId,
    event_type: &'a str,
    event_version: &'a str,
    recorded_at: String,
    metadata: &'a Metadata,
    payload: &'a CanonicalJson,
    leaf_hash: String,
}

impl<'a> Line<'a> {
    fn of(event: &'a RecordedEvent) -> Self {
        Self {
            tenant: event.tenant.as_str(),
            position: event.position,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence,
            event_id: event.event_id,
            event_type: &event.event_type,
            event_version: &event.event_version,
            recorded_at: event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            metadata: &event.metadata,
            payload: &event.payload,
            leaf_hash: crate::hex::encode(&event.leaf_hash),
        }
    }
}
