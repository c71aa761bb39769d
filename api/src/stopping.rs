//! That the application stops: what waits for nobody in particular hears it here and ends, rather than to hold the stop up.
//! Called by feeds, by waits for a position, and by requests with many lines.

use tokio::sync::watch;

/// Ready when the application stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the application is gone, which is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
