//! The keys that are trusted now, and the tokens that they were seen to have signed. Asked by `auth`; `follow` is run by `app`.
//!
//! The file of a key set is read again when it says something else, so that a provider's new key needs no new start. What cannot be read
//! changes nothing: who was let in is let in still. Tokens are remembered with the keys that verified them and forgotten with these.

use std::io::{Error, Read};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use super::Verified;
use super::keys::Keys;
use crate::app::Api;
use crate::bounded::BoundedMap;
use crate::config::{AuthSettings, ConfigError};
use crate::limits::{JWKS_BYTES_MAX, JWKS_INTERVAL, VERIFIED_TOKENS_MAX};

/// Keys, and what they verified.
pub struct Trusted {
    /// The keys.
    pub keys: Keys,
    /// Tokens that they signed, by hash.
    pub verified: BoundedMap<[u8; 32], Verified>,
}

/// What is trusted at any time.
pub struct Trust {
    settings: AuthSettings,
    now: RwLock<Arc<Trusted>>,
    /// What the file of the key set said when it was last looked at, or why it could not be read.
    seen: Mutex<Result<String, String>>,
}

impl Trust {
    /// Reads the keys that the settings name.
    ///
    /// # Errors
    /// When none is named, or the key set cannot be read.
    pub fn new(settings: &AuthSettings) -> Result<Self, ConfigError> {
        let failed = |path: &Path, error| ConfigError(format!("`--jwks {}`: {error}", path.display()));
        let read = |path| std::fs::File::open(path).and_then(read_set).map_err(|error| failed(path, error));
        let jwks = settings.jwks.as_deref().map(read).transpose()?;
        let trusted = Trusted::new(settings, jwks.as_deref())?;
        Ok(Self {
            settings: settings.clone(),
            now: RwLock::new(Arc::new(trusted)),
            seen: Mutex::new(Ok(jwks.unwrap_or_default())),
        })
    }

    /// What is trusted now.
    pub fn now(&self) -> Arc<Trusted> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file of the key set again. A line of the log tells what came of it: always when `told`, else when something did.
    pub async fn read_again(&self, told: bool) {
        let Some(path) = &self.settings.jwks else {
            if told {
                tracing::info!("no `--jwks` is given, so there are no keys to read again");
            }
            return;
        };
        // Held while it is read, so that what was read first is never taken last.
        let mut seen = self.seen.lock().await;
        let file = path.clone();
        let read = spawn_blocking(move || std::fs::File::open(file).and_then(read_set)).await;
        let read = read.unwrap_or_else(|ended| Err(Error::other(ended))).map_err(|error| error.to_string());
        if !told && *seen == read {
            return;
        }
        let taken = read
            .clone()
            .and_then(|text| Trusted::new(&self.settings, Some(&text)).map_err(|error| error.to_string()));
        *seen = read;
        let path = path.display();
        match taken {
            Ok(trusted) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trusted);
                tracing::info!(%path, "the key set was read again");
            }
            Err(error) => {
                tracing::warn!(%path, error, "the key set cannot be read; the keys from before are trusted still");
            }
        }
    }
}

/// The text of a key set.
fn read_set(file: std::fs::File) -> Result<String, Error> {
    let mut text = String::new();
    file.take(JWKS_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > JWKS_BYTES_MAX {
        return Err(Error::other(format!("larger than {JWKS_BYTES_MAX} bytes, which no key set is")));
    }
    Ok(text)
}

impl Trusted {
    fn new(settings: &AuthSettings, jwks: Option<&str>) -> Result<Self, ConfigError> {
        let keys = Keys::new(settings, jwks)?;
        Ok(Self { keys, verified: BoundedMap::new(VERIFIED_TOKENS_MAX) })
    }
}

/// Looks at the file of the key set from time to time, as long as it is polled.
pub async fn follow(api: Arc<Api>) {
    if api.settings.auth.jwks.is_none() {
        return;
    }
    let mut interval = tokio::time::interval(JWKS_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        api.authenticator.trust.read_again(false).await;
    }
}
