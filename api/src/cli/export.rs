//! `formledger export`: a tenant's whole ledger as NDJSON, one recorded event a line in position order.
//! The format is described in `docs/proof.md`; `docs/verify-ledger.py` checks it without this program.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use formledger_domain::{CanonicalJson, Position, TenantContext};
use formledger_store::{Metadata, RecordedEvent, Store};
use serde::Serialize;

use super::existing_ledger;
use super::serve::runtime;
use crate::config::{ConfigError, ExportArgs};
use crate::limits::STREAM_PAGE_EVENTS;
use crate::logging;

/// Writes the ledger as it is when the command starts.
pub fn export(arguments: &ExportArgs) -> anyhow::Result<ExitCode> {
    let directory = arguments.storage.directory()?;
    logging::start(&arguments.storage.log)?;
    let mut out: Box<dyn Write> = match &arguments.out {
        Some(path) => Box::new(File::create(path).with_context(|| format!("`{}`", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    };
    runtime()?.block_on(async {
        let store = existing_ledger(&directory).await?;
        let context = TenantContext::system(arguments.tenant.clone(), "export", Utc::now());
        let written = write_ledger(&store, &context, BufWriter::new(&mut out)).await;
        store.close().await;
        if written? == Position::START {
            return Err(
                ConfigError(format!("there is no tenant `{}` in this ledger", arguments.tenant)).into()
            );
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Writes all events up to the head that is there now; answers that position.
async fn write_ledger(
    store: &Store,
    context: &TenantContext,
    mut out: impl Write,
) -> anyhow::Result<Position> {
    let ledger = store.ledger(context);
    let head = ledger.head().await?.position;
    let mut after = Position::START;
    while after < head {
        for event in ledger.read_after(after, STREAM_PAGE_EVENTS).await? {
            after = event.position;
            if after > head {
                break;
            }
            serde_json::to_writer(&mut out, &Line::of(&event))?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()?;
    Ok(head)
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
