//! Logs: JSON lines on standard error, with tenant and request id as fields where there are any.
//! Called once by each command; standard output belongs to what the command answers.

use tracing_subscriber::EnvFilter;

use crate::config::ConfigError;

/// Starts logging what `directives` let through.
///
/// # Errors
/// When the directives cannot be read. A second call in one process keeps the first call's directives.
pub fn start(directives: &str) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| ConfigError(format!("`--log {directives}` is not a log filter: {error}")))?;
    // Fails only when a subscriber is set already, which is what the caller wanted.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written is lost: reporting that would print to standard error as well, and panic where its disk is full.
        .log_internal_errors(false)
        .try_init();
    Ok(())
}
