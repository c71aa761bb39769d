//! `formledger verify`: reads ledgers again from their first event and compares everything with what was recorded; then the bytes of
//! every attachment that an event names.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::Utc;
use formledger_domain::{Attachment, Position, TenantContext, TenantId};
use formledger_store::{Store, StoreError, VerifyProgress, causes};

use super::attached::Named;
use super::serve::runtime;
use super::{existing_tenant, one_line, readable_ledger};
use crate::app::StartError;
use crate::attachments::AttachmentStore;
use crate::config::{ConfigError, TenantsArgs};
use crate::hex;
use crate::limits::{STREAM_PAGE_BYTES_MAX, STREAM_PAGE_EVENTS};
use crate::logging;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Verifies one tenant or all; exit 1 on any difference, 2 where none was found and not all can be read.
pub fn verify(arguments: &TenantsArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    logging::start(&arguments.storage.log)?;
    let verified = runtime()?.block_on(async {
        let store = readable_ledger(&storage).await?;
        let attachments = AttachmentStore::open(&storage.data, &storage.attachments)?;
        let tenants = match &arguments.tenant {
            Some(tenant) => {
                existing_tenant(&store, tenant).await?;
                vec![Ok(tenant.clone())]
            }
            None => store.owners().await.map_err(StartError::from)?,
        };
        if tenants.is_empty() {
            print_line!("nobody has a ledger here")?;
        }
        let (mut sound, mut unreadable) = (true, None);
        for tenant in tenants {
            let of_tenant = async {
                match tenant {
                    Ok(tenant) => Ok(verify_one(&store, &tenant).await?
                        & verify_attachments(&store, &attachments, &tenant, &mut unreadable).await?),
                    Err(StoreError::Damaged(what)) => {
                        print_line!("{what}")?;
                        Ok(false)
                    }
                    Err(error) => Err(anyhow::Error::from(error)),
                }
            };
            match of_tenant.await {
                Ok(is_sound) => sound &= is_sound,
                Err(error) if sound => return Err(error),
                // What was found stays found.
                Err(error) => {
                    eprintln!("formledger: {}", one_line(&unread(error)));
                    break;
                }
            }
        }
        store.close().await;
        match unreadable {
            Some(error) if sound => Err(error),
            _ => Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        }
    });
    verified.map_err(unread)
}

/// A ledger that cannot be read is not one that was changed, and whoever is woken by the exit status is told them apart.
fn unread(error: anyhow::Error) -> anyhow::Error {
    let of_start = error.downcast_ref::<StartError>().and_then(|error| match error {
        StartError::Ledger(error) => Some(error),
        _ => None,
    });
    match error.downcast_ref::<StoreError>().or(of_start) {
        Some(failed) if !failed.is_damage() => ConfigError(format!(
            "the ledger cannot be read, so nothing more is said of it: {}",
            causes(failed)
        ))
        .into(),
        _ => error,
    }
}

async fn verify_one(store: &Store, tenant: &TenantId) -> anyhow::Result<bool> {
    let mut told = Instant::now();
    // Lines that overwrite each other are for people; a log gets a line each time.
    let end = if std::io::stderr().is_terminal() { '\r' } else { '\n' };
    let progress = |VerifyProgress { position, head }: VerifyProgress| {
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            eprint!("{tenant}: {position} of {head}{end}");
        }
    };
    let report = match store.verify(tenant, progress).await {
        Ok(report) => report,
        // What is wrong with one ledger hides nothing of the others.
        Err(StoreError::Damaged(what)) => {
            print_line!("{tenant}: {what}")?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    for difference in &report.differences {
        match difference.position {
            Some(position) => print_line!("{tenant}: position {position}: {}", difference.what)?,
            None => print_line!("{tenant}: {}", difference.what)?,
        }
    }
    let root = hex::encode(&report.root_hash);
    if report.is_sound() {
        print_line!("{tenant}: {} events are as they were recorded, root {root}", report.events)?;
    } else {
        print_line!(
            "{tenant}: {} difference(s) in {} events, root {root}",
            report.differences_count,
            report.events
        )?;
    }
    if !report.others_seen {
        print_line!(
            "{tenant}: whether events of other tenants stand in its streams was not looked for, because the login sees one tenant: \
             log in as a member of `formledger_projector` too"
        )?;
    }
    Ok(report.is_sound())
}

/// Reads the bytes of every attachment that the tenant's events name, and compares them with their hashes; also of those that were taken
/// off, which are part of the record.
async fn verify_attachments(
    store: &Store,
    attachments: &AttachmentStore,
    tenant: &TenantId,
    unreadable: &mut Option<anyhow::Error>,
) -> anyhow::Result<bool> {
    let ledger = store.ledger(&TenantContext::system(tenant.clone(), "verify", Utc::now()));
    let (mut after, mut named, mut wrong) = (Position::START, Named::default(), 0_u64);
    let (mut count, mut unread) = (0_u64, 0_u64);
    loop {
        let events = match ledger.read_page(after, STREAM_PAGE_EVENTS, STREAM_PAGE_BYTES_MAX).await {
            Ok(events) => events,
            Err(StoreError::Damaged(what)) => {
                print_line!("{tenant}: attachments after position {after} were not looked for: {what}")?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(last) = events.last() else { break };
        after = last.position;
        for event in &events {
            let Some(Attachment { sha256, name, bytes, .. }) = named.first_by(event) else { continue };
            count += 1;
            match attachments.check(tenant, sha256, bytes).await {
                Ok(None) => {}
                Ok(Some(what)) => {
                    wrong += 1;
                    print_line!(
                        "{tenant}: position {}: attachment {sha256} (`{name}`) {what}",
                        event.position
                    )?;
                }
                // The others are looked at all the same.
                Err(error) => {
                    let what =
                        format!("attachment {sha256} of `{tenant}` cannot be read: {}", causes(&error));
                    print_line!("{tenant}: position {}: {what}", event.position)?;
                    unreadable.get_or_insert_with(|| ConfigError(what).into());
                    unread += 1;
                }
            }
        }
    }
    match (count - unread, wrong) {
        (0, _) => {}
        (count, 0) => print_line!("{tenant}: {count} attachments hold the bytes that were attached")?,
        _ => print_line!("{tenant}: {wrong} of {count} attachments are missing or hold other bytes")?,
    }
    Ok(wrong == 0)
}
