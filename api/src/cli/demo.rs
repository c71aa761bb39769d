//! `formledger demo`: `serve` with a secret made on first start and a tenant to play with; prints what to paste.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use uuid::Uuid;

use super::serve::{runtime, say, stop_signal};
use crate::app::App;
use crate::auth::{mint, role};
use crate::config::{ConfigError, ServeArgs};
use crate::demo::{CLAIM, EXPENSE_FORM, TENANT, seed};
use crate::logging;

/// File of the secret in the data directory; only its owner may read it.
const SECRET_FILE: &str = "demo-secret";
/// Length of a secret: two UUIDs of 32 hexadecimal digits.
const SECRET_BYTES: usize = 64;
/// How long the printed token lasts.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Serves the demonstration.
pub fn demo(arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let mut settings = arguments.settings()?;
    logging::start(&arguments.storage.log)?;
    let secret = match &settings.auth.jwt_secret {
        Some(secret) => secret.clone(),
        None => secret_in(&settings.storage.data)?,
    };
    settings.auth.jwt_secret = Some(secret.clone());
    let tenant = TENANT.parse()?;
    let token = |subject: &str, role: &str| mint(&secret, &tenant, subject, &[role.to_owned()], TOKEN_TTL);
    let people = People {
        admin: token("demo", role::ADMIN)?,
        reviewers: [token("Rita Reviewer", role::REVIEWER)?, token("Rob Reviewer", role::REVIEWER)?],
    };
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let app = App::build(settings).await?;
        seed(app.api()).await.context("the demonstration could not be set up")?;
        app.catch_up().await.context("the demonstration cannot be read back")?;
        say(&format!("listening on http://{}", app.address()));
        say(&greeting(app.address(), &people));
        app.run(stop).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The secret of an earlier start, or a new one.
///
/// # Errors
/// When the file cannot be read or written, or holds less than a secret: whoever guesses it can sign tokens.
fn secret_in(directory: &Path) -> anyhow::Result<String> {
    let path = directory.join(SECRET_FILE);
    let named = || format!("`{}`", path.display());
    fs::create_dir_all(directory).with_context(named)?;
    match fs::read_to_string(&path) {
        Ok(secret) if secret.len() < SECRET_BYTES => Err(ConfigError(format!(
            "`{}` is too short to be a secret; remove it, and the next start makes a new one",
            path.display()
        ))
        .into()),
        Ok(secret) => Ok(secret),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Two random UUIDs hold 244 random bits from the operating system.
            let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
            keep(&secret, &path).with_context(named)?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(named),
    }
}

/// Writes the secret beside its place and moves it there whole, so that no interruption leaves a part of it.
fn keep(secret: &str, path: &Path) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
            file.write_all(secret.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
    if written.is_err() {
        // The first error is the one to tell; a file that cannot be removed is in nobody's way.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Tokens of those who play in the demonstration.
struct People {
    admin: String,
    reviewers: [String; 2],
}

/// What to paste; each line stands alone.
fn greeting(address: SocketAddr, people: &People) -> String {
    let People { admin: token, reviewers: [rita, rob] } = people;
    let curl = format!("curl -sS -H 'Authorization: Bearer {token}'");
    // The same key gets the same answer again, so that a line can be pasted twice.
    let approve = |reviewer: &str, key: &str| {
        format!(
            "curl -sS -H 'Authorization: Bearer {reviewer}' -H 'Content-Type: application/json' -H 'Idempotency-Key: {key}' \
             -d '{{\"reason\":\"Within the budget\"}}' http://{address}/v1/submissions/{CLAIM}/transitions/approve"
        )
    };
    let (first, second) = (approve(rita, "first"), approve(rob, "second"));
    let json = "-H 'Content-Type: application/json'";
    let url = format!("http://{address}");
    let claim = |amount: &str, receipt: &str| {
        format!(
            "'{{\"data\":{{\"employee\":\"Ada Example\",\"purpose\":\"Conference\",\"category\":\"travel\",\
             \"country\":\"DE\",\"amount\":{amount},\"date\":\"2026-10-01\"{receipt}}}}}'"
        )
    };
    let accepted = claim("12500", ",\"receipt\":\"R-1\"");
    let refused = claim("80", "");
    format!(
        "
Tenant `{TENANT}` holds published forms and submissions. Paste any of these lines into a shell.

# The forms
{curl} {url}/v1/forms

# Submit an expense claim: 201, and what the rules said
{curl} -i {json} -d {accepted} {url}/v1/forms/{EXPENSE_FORM}/submissions

# One that a rule refuses, because it has no receipt: 422
{curl} -i {json} -d {refused} {url}/v1/forms/{EXPENSE_FORM}/submissions

# The largest claims
{curl} '{url}/v1/submissions?form={EXPENSE_FORM}&where=/amount%3E%3D10000&sort=-/amount&limit=5'

# How many, and what the rules said
{curl} '{url}/v1/stats?form={EXPENSE_FORM}'

# What waits for a reviewer, most urgent first
curl -sS -H 'Authorization: Bearer {rita}' '{url}/v1/tasks?limit=5'

# A large claim takes two reviewers: the first approves, and it stays in review
{first}

# The second approves, and it is approved
{second}

# Who did what to it, and why
{curl} {url}/v1/submissions/{CLAIM}/timeline

# The ledger: its position and the root hash that stands for all of it
{curl} {url}/v1/ledger

# Every fact as it is recorded, from the beginning and then live; Ctrl-C ends it
{curl} -N '{url}/v1/feed?after=0'

Console: {url}/
OpenAPI: {url}/openapi.json
Token:   {token}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_kept_whole_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().expect("a directory");
        let secret = secret_in(data.path()).expect("made");
        assert_eq!(secret.len(), SECRET_BYTES);
        assert_eq!(secret_in(data.path()).expect("read"), secret);
        let files: Vec<_> = fs::read_dir(data.path()).expect("a directory").collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let mode = fs::metadata(data.path().join(SECRET_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_was_cut_short_is_refused() {
        let data = tempfile::tempdir().expect("a directory");
        for cut in ["", "0123456789abcdef"] {
            fs::write(data.path().join(SECRET_FILE), cut).expect("written");
            let error = secret_in(data.path()).expect_err("refused");
            assert!(error.is::<ConfigError>(), "{error}");
        }
    }
}
