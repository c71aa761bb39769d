//! Bodies that last no longer than the credential that they were asked for with: exports, events as lines, files.
//! A slow client draws them out as long as it likes, so they break off when the credential ends or is revoked, and the client sees that
//! what it has is not whole. Feeds end by themselves (`feed`), because one that ends is nothing special.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use formledger_domain::TenantId;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::access::Rule;
use crate::app::Api;
use crate::body::BrokenOff;
use crate::call::caller_now;
use crate::error::ApiError;
use crate::head::Head;
use crate::places::Place;

/// Why such a body ends early: on purpose, or for want of what it is made of.
pub type Ended = Box<dyn Error + Send + Sync>;

const CREDENTIAL_ENDED: BrokenOff = BrokenOff("the credential ended or was revoked");

/// What a body was asked for with.
pub struct Lasting {
    /// The application.
    pub api: Arc<Api>,
    /// What the request said, its credential among it.
    pub head: Arc<Head>,
    /// The route.
    pub rule: &'static Rule,
    /// How long the credential lasts at most.
    pub lasts: Duration,
}

impl Lasting {
    /// The same pieces, of which none is given out once the credential is not good any more; `place` is held until the last is.
    pub fn give<S, E>(
        self,
        place: Option<Place>,
        pieces: S,
    ) -> impl Stream<Item = Result<Bytes, Ended>> + Send + 'static
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Ended> + Send + 'static,
    {
        let Self { api, head, rule, lasts } = self;
        let ends = Instant::now().checked_add(lasts);
        async_stream::try_stream! {
            let _held_while_given = place;
            let mut pieces = pin!(pieces);
            let mut end = pin!(async move {
                match ends {
                    Some(ends) => sleep_until(ends).await,
                    None => std::future::pending().await,
                }
            });
            loop {
                let piece = tokio::select! {
                    biased;
                    () = &mut end => Err(Ended::from(CREDENTIAL_ENDED)),
                    piece = pieces.next() => piece.transpose().map_err(E::into),
                };
                let Some(piece) = piece? else { break };
                // It may have been revoked, or the key that signed it taken out.
                caller_now(&api, &head, rule).await.map_err(ended)?;
                yield piece;
            }
        }
    }
}

/// That nobody knows whether a credential is good is a failure of ours; that it is not, none.
fn ended(refusal: ApiError) -> Ended {
    match refusal {
        ApiError::Unauthenticated(_) | ApiError::TokenRefused(_) | ApiError::NotPermitted(_) => {
            CREDENTIAL_ENDED.into()
        }
        failure => failure.into(),
    }
}

/// A place for one more export of `tenant`, or for its events as lines, which are one by another name.
///
/// # Errors
/// 429 when the tenant has as many as it may, 503 when all have together.
pub fn take_place(api: &Api, tenant: &TenantId) -> Result<Place, ApiError> {
    api.exports.take(tenant).map_err(|full| {
        let of_tenant = "as many exports of this tenant are under way as may be at once; wait for one to end";
        let of_server = "as many exports are under way on this server as may be at once; try again soon";
        full.refusal("too-many-exports", of_tenant, of_server)
    })
}
