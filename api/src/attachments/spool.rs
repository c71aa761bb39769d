//! An attachment on its way in: streamed to a file of its own, hashed and looked at as it passes, never whole in memory.
//! Called by `attachments`; the file lies in the data folder until the store of attachments takes it over, and goes when nobody does.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use formledger_domain::{ContentHash, Inspection, MediaType};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::body::Body;
use crate::error::ApiError;
use crate::limits::{Limits, SPOOLED_AGE_MAX};

/// Bytes that have arrived whole and are synced to disk.
pub struct Spooled {
    file: SpoolFile,
    /// What they hash to.
    pub sha256: ContentHash,
    /// How many.
    pub bytes: u64,
    /// What they look like.
    pub inspection: Inspection,
}

impl Spooled {
    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.file.0
    }
}

/// A file that is removed when it is dropped; after it was moved elsewhere that finds nothing.
struct SpoolFile(PathBuf);

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // What cannot be removed now is removed at a later start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Takes bytes in that are said to be of a type, or of none: what those look like is found all the same, unless they are text.
///
/// # Errors
/// 413 as soon as there are more than `bytes_max`, 408 when they take too long, 400 when they break off, 503 for a full disk.
pub async fn spool(
    body: &mut Body,
    folder: &Path,
    limits: &Limits,
    bytes_max: u64,
    declared: Option<MediaType>,
) -> Result<Spooled, ApiError> {
    let file = SpoolFile(folder.join(Uuid::new_v4().simple().to_string()));
    let mut written = File::create_new(&file.0).await.map_err(unwritable)?;
    // What bytes look like does not depend on what they are said to be; only whether they fit that does.
    let looked_at_as = declared.or_else(|| MediaType::all().next()).expect("there are known types");
    let (mut hash, mut bytes, mut inspection) = (Sha256::new(), 0_u64, Inspection::of(looked_at_as));
    let mut arrival = Arrival::of(body, limits, bytes_max);
    while let Some(chunk) = arrival.next().await? {
        bytes += chunk.len() as u64;
        hash.update(&chunk);
        inspection.read(&chunk);
        written.write_all(&chunk).await.map_err(unwritable)?;
    }
    written.flush().await.map_err(unwritable)?;
    written.sync_all().await.map_err(unwritable)?;
    Ok(Spooled { file, sha256: ContentHash(hash.finalize().into()), bytes, inspection })
}

/// The hash of bytes of which nothing is kept.
///
/// # Errors
/// As [`spool`].
pub async fn digest(body: &mut Body, limits: &Limits, bytes_max: u64) -> Result<ContentHash, ApiError> {
    let mut hash = Sha256::new();
    let mut arrival = Arrival::of(body, limits, bytes_max);
    while let Some(chunk) = arrival.next().await? {
        hash.update(&chunk);
    }
    Ok(ContentHash(hash.finalize().into()))
}

/// A body that must arrive within bounds of size and time.
struct Arrival<'a> {
    body: &'a mut Body,
    ends: tokio::time::Instant,
    silence_max: Duration,
    bytes_max: u64,
    bytes: u64,
}

impl<'a> Arrival<'a> {
    fn of(body: &'a mut Body, limits: &Limits, bytes_max: u64) -> Self {
        let ends = tokio::time::Instant::now() + limits.attachment_read_timeout;
        Self { body, ends, silence_max: limits.body_read_timeout, bytes_max, bytes: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let patience = (tokio::time::Instant::now() + self.silence_max).min(self.ends);
        let next = tokio::time::timeout_at(patience, self.body.chunk()).await;
        let chunk = next.map_err(|_| ApiError::BodyTimeout)??;
        self.bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.bytes > self.bytes_max {
            // Who is still sending would not hear the refusal before; who went silent must not hold its place for that.
            let patience = (tokio::time::Instant::now() + self.silence_max).min(self.ends);
            let _ = tokio::time::timeout_at(patience, self.body.discard()).await;
            return Err(ApiError::AttachmentTooLarge { limit_bytes: self.bytes_max });
        }
        Ok(chunk)
    }
}

/// Why a file cannot be written, as clients are told.
pub fn unwritable(error: io::Error) -> ApiError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ApiError::Overloaded {
            code: "storage-full",
            detail: "the storage is full; nothing is recorded until there is space again",
        },
        _ => ApiError::internal(error),
    }
}

/// Removes what a killed server left of uploads. Only what is old: another server may be writing into the same folder.
///
/// # Errors
/// When the folder cannot be read or a file not removed.
pub fn remove_stale(folder: &Path, now: SystemTime) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        if age > SPOOLED_AGE_MAX {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use futures_util::stream::iter;

    fn body(chunks: &'static [&'static str]) -> Body {
        Body::new(iter(chunks.iter().map(|chunk| Ok(Bytes::from(*chunk)))))
    }

    fn text() -> MediaType {
        MediaType::named("text/plain").expect("known")
    }

    #[tokio::test]
    async fn what_arrives_is_on_disk_under_a_name_of_its_own_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits::default();
        let arrived =
            spool(&mut body(&["ab", "c"]), folder.path(), &limits, 3, Some(text())).await.expect("fits");
        assert_eq!(std::fs::read(arrived.path()).expect("there"), b"abc");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((arrived.sha256.to_string().as_str(), arrived.bytes), (abc, 3));
        assert_eq!(digest(&mut body(&["a", "bc"]), &limits, 3).await.expect("fits"), arrived.sha256);
        assert!(arrived.inspection.fits());
        drop(arrived);
        let refused = spool(&mut body(&["ab", "cd"]), folder.path(), &limits, 3, Some(text())).await;
        assert!(matches!(refused, Err(ApiError::AttachmentTooLarge { limit_bytes: 3 })));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_a_byte_now_and_then_does_not_hold_a_place_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits::default();
        let drops = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Some((Ok(Bytes::from("x")), ()))
        });
        let begun = tokio::time::Instant::now();
        let refused = spool(&mut Body::new(drops), folder.path(), &limits, 1_000_000, Some(text())).await;
        assert!(matches!(refused, Err(ApiError::BodyTimeout)));
        assert_eq!(begun.elapsed(), limits.attachment_read_timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_too_much_and_then_goes_silent_does_not_hold_a_place_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits::default();
        let silent = || Body::new(iter([Ok(Bytes::from("abcd"))]).chain(futures_util::stream::pending()));
        let begun = tokio::time::Instant::now();
        let refused = spool(&mut silent(), folder.path(), &limits, 3, Some(text())).await;
        assert!(matches!(refused, Err(ApiError::AttachmentTooLarge { limit_bytes: 3 })));
        assert_eq!(begun.elapsed(), limits.body_read_timeout);
        let refused = digest(&mut silent(), &limits, 3).await;
        assert!(matches!(refused, Err(ApiError::AttachmentTooLarge { limit_bytes: 3 })));
        assert_eq!(begun.elapsed(), 2 * limits.body_read_timeout);
    }

    #[test]
    fn only_what_is_old_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("upload"), "x").expect("written");
        let now = SystemTime::now();
        remove_stale(folder.path(), now).expect("read");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        remove_stale(folder.path(), now + SPOOLED_AGE_MAX + Duration::from_secs(60)).expect("removed");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
