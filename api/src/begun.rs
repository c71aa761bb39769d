//! Finishes work whose client left: hyper drops a request's future then, and what it has begun must end all the same. Used by `router` for commands and notes of the audit, by `bulk` for lines; `app` waits for it when it stops.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How much is under way by itself.
#[derive(Debug, Clone)]
pub struct Begun(Arc<watch::Sender<usize>>);

/// One of them; it has ended when this is dropped.
struct UnderWay(Begun);

/// A future that ends also where it is dropped: then it goes on by itself.
#[must_use = "it does nothing before it is waited for or dropped"]
pub struct ToItsEnd<F: Future<Output: Send> + Send + 'static> {
    /// `None` once it ended, and while it is polled: what panicked is not asked to go on.
    rest: Option<Pin<Box<F>>>,
    begun: Begun,
}

impl Begun {
    /// Nothing is.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Runs a future on a task of its own. Whoever drops the handle leaves it running.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let under_way = self.one_more();
        tokio::spawn(async move {
            let _until_it_ends = under_way;
            work.await
        })
    }

    /// A future that its caller waits for as for any other, on the same task, and that goes on as by [`Begun::spawn`] when it is dropped
    /// before its end.
    pub fn to_its_end<F: Future<Output: Send> + Send + 'static>(&self, work: F) -> ToItsEnd<F> {
        ToItsEnd { rest: Some(Box::pin(work)), begun: self.clone() }
    }

    /// Waits until nothing is under way by itself.
    pub async fn ended(&self) {
        // Fails only without a sender, of which this is one.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }

    fn one_more(&self) -> UnderWay {
        self.0.send_modify(|count| *count += 1);
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut rest = self.rest.take().expect("a future is not polled after its end");
        let polled = rest.as_mut().poll(context);
        if polled.is_pending() {
            self.rest = Some(rest);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if let (Some(rest), Ok(_)) = (self.rest.take(), Handle::try_current()) {
            drop(self.begun.spawn(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_is_dropped_half_way_goes_on_and_is_waited_for() {
        let begun = Begun::new();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let mut work = begun.to_its_end(async move {
            may_go_on.await.expect("told");
            tell.send("done").expect("somebody listens");
        });
        assert!((&mut work).now_or_never().is_none());
        assert!(begun.ended().now_or_never().is_some(), "its caller still waits for it");
        drop(work);
        assert!(begun.ended().now_or_never().is_none(), "it goes on by itself");
        go_on.send(()).expect("it waits");
        begun.ended().await;
        assert_eq!(told.await, Ok("done"));
    }

    #[tokio::test]
    async fn what_ended_or_panicked_is_not_waited_for() {
        let begun = Begun::new();
        assert_eq!(begun.to_its_end(async { 7 }).await, 7);
        assert_eq!(begun.spawn(async { 8 }).await.expect("no panic"), 8);
        assert!(begun.spawn(async { panic!("a line that fails") }).await.is_err());
        let panicked = begun.to_its_end(async { panic!("a request that fails") });
        assert!(std::panic::AssertUnwindSafe(panicked).catch_unwind().await.is_err());
        begun.ended().await;
    }
}
