//! Keeps a runner running: one that panics is logged and counted, gives its lead away, and is started again after a pause that grows.
//! Used for every replica of this process, and by `api` for what goes on beside requests; a failure of the database is none of this, the runner itself tries again after those.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

/// How long a runner that panicked rests; doubled each time it panics again soon.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest it rests.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Runs what `start` makes until it ends by itself or `shutdown` completes. Calls `failed` with what each panic said.
pub async fn keep<R, F>(
    mut start: impl FnMut() -> R,
    mut failed: impl FnMut(String) -> F,
    shutdown: impl Future<Output = ()>,
) where
    R: Future<Output = ()>,
    F: Future<Output = ()>,
{
    tokio::pin!(shutdown);
    let mut pause = PAUSE_FIRST;
    loop {
        let began = Instant::now();
        // What it worked on is dropped with it; the next one starts from what the database holds.
        let Err(panic) = AssertUnwindSafe(start()).catch_unwind().await else { return };
        failed(said(&*panic).to_owned()).await;
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE_FIRST;
        }
        tokio::select! {
            () = &mut shutdown => return,
            () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// The message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_runner_that_panics_is_started_again_after_growing_pauses_until_it_ends_well() {
        let starts = RefCell::new(Vec::new());
        let told = RefCell::new(Vec::new());
        let began = Instant::now();
        let start = || {
            starts.borrow_mut().push(began.elapsed().as_secs());
            let count = starts.borrow().len();
            async move { assert!(count > 3, "event {count} is too much") }
        };
        let failed = |said: String| {
            told.borrow_mut().push(said);
            ready(())
        };
        keep(start, failed, pending()).await;
        assert_eq!(*starts.borrow(), [0, 1, 3, 7]);
        assert_eq!(told.borrow()[2], "event 3 is too much");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_the_pause_to_end() {
        let starts = Cell::new(0);
        let start = || {
            starts.set(starts.get() + 1);
            async { panic!("at once") }
        };
        let began = Instant::now();
        keep(start, |_| ready(()), sleep(Duration::from_secs(2))).await;
        assert_eq!((starts.get(), began.elapsed().as_secs()), (2, 2));
    }
}
