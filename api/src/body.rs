//! Bodies in both directions: read with limits, written whole or as a stream.
//! Called by handlers; nothing here knows what a body means.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use formledger_store::causes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use warp::Reply;
use warp::reply::Response;

use crate::error::ApiError;
use crate::limits::{BODY_DISCARD_BYTES_MAX, Limits};

/// Header fields of an answer to a command, with room to spare.
const ANSWER_HEADERS: usize = 12;

/// A request's body, not read yet.
pub struct Body(Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>);

impl Body {
    /// Takes over what the filter `warp::body::stream` gives.
    pub fn new<B: Buf>(stream: impl Stream<Item = Result<B, warp::Error>> + Send + 'static) -> Self {
        // hyper hands out `Bytes`, of which this copies nothing.
        Self(Box::pin(stream.map(|chunk| chunk.map(|mut buffer| buffer.copy_to_bytes(buffer.remaining())))))
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// 413 as soon as there is more than the limit, 408 when it takes too long, 400 when it breaks off.
    pub async fn read(self, limits: &Limits) -> Result<Bytes, ApiError> {
        tokio::time::timeout(limits.body_read_timeout, self.read_all(limits.body_bytes_max))
            .await
            .map_err(|_| ApiError::BodyTimeout)?
    }

    async fn read_all(mut self, limit_bytes: usize) -> Result<Bytes, ApiError> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit_bytes {
            return self.refuse(limit_bytes).await;
        }
        // Nearly every body is one chunk, which is then handed on without a copy.
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut all = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(chunk) = next {
            if all.len() + chunk.len() > limit_bytes {
                return self.refuse(limit_bytes).await;
            }
            all.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(all.freeze())
    }

    /// Refuses a body that is too large, after reading on for a while: a client that is still sending would otherwise get a reset
    /// connection instead of the answer.
    async fn refuse(&mut self, limit_bytes: usize) -> Result<Bytes, ApiError> {
        self.discard().await;
        Err(ApiError::BodyTooLarge { limit_bytes })
    }

    /// Reads on for a while and throws away what comes, at most [`BODY_DISCARD_BYTES_MAX`].
    pub async fn discard(&mut self) {
        let mut discarded_bytes = 0;
        while discarded_bytes < BODY_DISCARD_BYTES_MAX {
            match self.chunk().await {
                Ok(Some(chunk)) => discarded_bytes += chunk.len(),
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// 400 when the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.0.next().await.transpose().map_err(|error| ApiError::Malformed {
            code: "body-incomplete",
            detail: format!("the body broke off: {error}"),
        })
    }
}

/// An answer whose body is all there.
pub fn whole(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    let headers = response.headers_mut();
    // At once, for those that all answers have, and those of commands.
    headers.reserve(ANSWER_HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Why a body is broken off on purpose, which is no failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokenOff(pub &'static str);

/// An answer whose body comes in pieces; hyper asks for the next one only when the last one is written.
pub fn stream<S, E>(content_type: &'static str, chunks: S) -> Response
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let chunks = chunks.map(|chunk| {
        chunk.map_err(|error| {
            let error = error.into();
            // The status has left already, so the client sees a body that breaks off; the reason is told here only.
            let cause = causes(error.as_ref());
            if error.is::<BrokenOff>() {
                tracing::info!(cause, "a streamed answer was broken off");
            } else {
                tracing::error!(cause, "a streamed answer broke off");
            }
            error
        })
    });
    let mut response = warp::reply::stream(Shared(Mutex::new(Box::pin(chunks)))).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Warp wants bodies that are `Sync`, which futures of a database are not. The mutex is never locked: polling has `&mut`.
struct Shared<S>(Mutex<Pin<Box<S>>>);

impl<S: Stream> Stream for Shared<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let inner = self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        inner.as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::iter;

    fn limits(body_bytes_max: usize) -> Limits {
        Limits { body_bytes_max, ..Limits::default() }
    }

    fn body(chunks: &[&'static str]) -> Body {
        Body::new(iter(chunks.iter().map(|chunk| Ok(Bytes::from(*chunk))).collect::<Vec<_>>()))
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_refused() {
        for chunks in [&["12345678"][..], &["1234", "5678"], &["1", "234567", "8"]] {
            assert_eq!(body(chunks).read(&limits(8)).await.expect("fits"), "12345678");
            let refused = body(chunks).read(&limits(7)).await.expect_err("too large");
            assert!(matches!(refused, ApiError::BodyTooLarge { limit_bytes: 7 }));
        }
        assert!(body(&[]).read(&limits(0)).await.expect("empty").is_empty());
    }
}
