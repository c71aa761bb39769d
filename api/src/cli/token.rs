//! `formledger token`: mints a token with the configured secret.

use std::process::ExitCode;

use crate::auth::mint;
use crate::config::TokenArgs;

/// Prints the token.
pub fn token(arguments: &TokenArgs) -> anyhow::Result<ExitCode> {
    let secret = arguments.secret()?;
    print_line!(
        "{}",
        mint(&secret, &arguments.tenant, &arguments.subject, &arguments.roles, arguments.ttl)?
    )?;
    Ok(ExitCode::SUCCESS)
}
