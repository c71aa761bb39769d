//! Bounds for waiting. Tests wait for levels ("position is at least n", "this line was printed"), never for time to pass; what is here
//! only turns waiting for ever into a failure that says what did not happen.

use std::future::Future;
use std::time::Duration;

/// How long anything may take that should take milliseconds, on a machine that is busy with everything else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The result of `future`, or a failure naming `what` after [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(what, PATIENCE, future).await
}

/// The result of `future`, or a failure naming `what` after `limit`.
pub async fn within_time<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => panic!("waited {limit:?} for {what}, and it did not happen"),
    }
}
