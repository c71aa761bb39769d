//! What commands are told, and which leave a batch before the others. Called by `writer` alone; holds nothing and asks nobody.

use std::collections::HashSet;
use std::time::Instant;

use formledger_domain::TenantId;

use super::command::Command;
use crate::append::Appended;
use crate::error::{AppendError, StoreError, causes};
use crate::progress::Progress;
use crate::seldom::Seldom;

/// Where nothing can be recorded, clients see to it that there is a batch to say so of many times a second.
static FAILED: Seldom = Seldom::new();

/// Answers commands that could not be recorded.
pub(super) fn fail(commands: Vec<Command>, error: &StoreError) {
    if let Some(times) = FAILED.count(Instant::now()) {
        tracing::error!(error = causes(error), commands = commands.len(), times, "append failed");
    }
    for command in commands {
        answer(command, Err(error.clone().into()));
    }
}

/// Answers and removes commands that were decided on what was read in another era, and may be lost.
pub(super) fn refuse_outdated(commands: &mut Vec<Command>, era: u64) {
    for command in commands.extract_if(.., |command| !command.is_of(era)) {
        answer(command, Err(AppendError::Outdated));
    }
}

/// Answers and removes the commands of tenants whose ledgers another process holds and does not move.
pub(super) fn refuse_stuck(commands: &mut Vec<Command>, stuck: &HashSet<TenantId>, progress: &Progress) {
    let of_stuck: Vec<Command> =
        commands.extract_if(.., |command| stuck.contains(command.stream.tenant())).collect();
    if !of_stuck.is_empty() {
        progress.held();
        fail(of_stuck, &StoreError::Held);
    }
}

/// Answers and removes the commands of one tenant, whose ledger takes none.
pub(super) fn refuse(commands: &mut Vec<Command>, tenant: &TenantId, why: &StoreError) {
    let of_tenant = commands.extract_if(.., |command| command.stream.tenant() == tenant);
    match why {
        // Nothing failed, and timers try again until the import is done.
        StoreError::Importing => of_tenant.for_each(|command| answer(command, Err(why.clone().into()))),
        _ => fail(of_tenant.collect(), why),
    }
}

/// Answers every command but those of `moved` tenants, which stay for another attempt.
pub(super) fn settle(
    commands: &mut Vec<Command>,
    verdicts: Vec<Result<Appended, AppendError>>,
    moved: &[TenantId],
) {
    for (command, verdict) in std::mem::take(commands).into_iter().zip(verdicts) {
        if moved.contains(command.stream.tenant()) {
            commands.push(command);
        } else {
            answer(command, verdict);
        }
    }
}

/// Why an append may be refused, as the metric tells it.
pub(super) const REASONS: [&str; 5] = ["conflict", "outdated", "key-reused", "refused", "held"];

pub(super) fn is_repeat(verdict: &Result<Appended, AppendError>) -> bool {
    matches!(verdict, Ok(Appended::Replayed(_)))
}

fn answer(command: Command, verdict: Result<Appended, AppendError>) {
    let rejection = match &verdict {
        Err(AppendError::Conflict { .. }) => Some("conflict"),
        Err(AppendError::Outdated) => Some("outdated"),
        Err(AppendError::KeyReused) => Some("key-reused"),
        Err(AppendError::Store(StoreError::Refused(_))) => Some("refused"),
        Err(AppendError::Store(StoreError::Held)) => Some("held"),
        Err(AppendError::Store(_)) | Ok(_) => None,
    };
    if let Some(reason) = rejection {
        metrics::counter!("formledger_append_rejections_total", "reason" => reason).increment(1);
    }
    // A caller that went away does not undo what was recorded.
    let _gone = command.answer.send(verdict);
}
