//! `formledger verify`: reads ledgers again from their first event and compares everything with what was recorded.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use formledger_domain::TenantId;
use formledger_store::{Store, StoreError, VerifyProgress};

use super::readable_ledger;
use super::serve::runtime;
use crate::config::TenantsArgs;
use crate::hex;
use crate::logging;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Verifies one tenant or all; exit 1 on any difference.
pub fn verify(arguments: &TenantsArgs) -> anyhow::Result<ExitCode> {
    let storage = arguments.storage.storage()?;
    logging::start(&arguments.storage.log)?;
    runtime()?.block_on(async {
        let store = readable_ledger(&storage).await?;
        let tenants = match &arguments.tenant {
            Some(tenant) => vec![Ok(tenant.clone())],
            None => store.owners().await?,
        };
        let mut sound = true;
        for tenant in tenants {
            sound &= match tenant {
                Ok(tenant) => verify_one(&store, &tenant).await?,
                Err(StoreError::Damaged(what)) => {
                    println!("{what}");
                    false
                }
                Err(error) => return Err(error.into()),
            };
        }
        store.close().await;
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
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
    let report = store.verify(tenant, progress).await?;
    for difference in &report.differences {
        match difference.position {
            Some(position) => println!("{tenant}: position {position}: {}", difference.what),
            None => println!("{tenant}: {}", difference.what),
        }
    }
    let root = hex::encode(&report.root_hash);
    if report.is_sound() {
        println!("{tenant}: {} events are as they were recorded, root {root}", report.events);
    } else {
        println!(
            "{tenant}: {} difference(s) in {} events, root {root}",
            report.differences_count, report.events
        );
    }
    Ok(report.is_sound())
}
