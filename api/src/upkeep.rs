//! What goes on beside requests as long as the application runs: timers, what is audited in counts, metrics, keys. Begun by `app`.
//! One that panics is logged and counted and begun again after a pause, as what keeps the read models is; unnoticed, it would be missing
//! until a restart. `/readyz` says nothing of it: requests are answered as before, and another node would be no better.

use std::future::{Future, ready};

use formledger_projections::keep;
use metrics::counter;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stopping::stopped;

/// Runs what `start` makes until it ends by itself; it is not begun again once the application stops.
pub fn spawn<R>(
    task: &'static str,
    start: impl FnMut() -> R + Send + 'static,
    mut stopping: watch::Receiver<bool>,
) -> JoinHandle<()>
where
    R: Future<Output = ()> + Send + 'static,
{
    let restarts = counter!("formledger_upkeep_restarts_total", "task" => task);
    // From the start, so that the first one is an increase.
    restarts.increment(0);
    let failed = move |said: String| {
        restarts.increment(1);
        tracing::error!(task, panic = said, "what goes on beside requests failed; it is started again");
        ready(())
    };
    tokio::spawn(async move { keep(start, failed, stopped(&mut stopping)).await })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_beside_requests_is_begun_again_until_the_application_stops() {
        let (stop, stopping) = watch::channel(false);
        let begun = Arc::new(AtomicUsize::new(0));
        let start = {
            let (begun, stopping) = (Arc::clone(&begun), stopping.clone());
            move || {
                let (nth, mut stopping) = (begun.fetch_add(1, Ordering::Relaxed), stopping.clone());
                async move {
                    assert!(nth >= 2, "not yet");
                    stopped(&mut stopping).await;
                }
            }
        };
        let running = spawn("test", start, stopping.clone());
        while begun.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        assert!(!running.is_finished());
        stop.send_replace(true);
        running.await.expect("ends well");

        let failing = spawn("test", || async { panic!("at once") }, stopping);
        failing.await.expect("a stop is not waited out");
    }
}
