//! Where the bytes of attachments are: a folder beside the database, or an S3-compatible bucket. Named by tenant and SHA-256, so that a
//! tenant's cannot be reached from another one's and the same bytes are kept once; never changed, never removed by the product.
//! Called by `attachments` and by `verify`; why it is built this way is said in `docs/adr/0007-attachments-beside-the-ledger.md`.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use formledger_domain::{ContentHash, TenantId};
use futures_util::stream::{BoxStream, unfold};
use futures_util::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::spool::{Spooled, remove_stale, unwritable};
use crate::config::{AttachmentPlace, ConfigError};
use crate::error::ApiError;
use crate::limits::{ATTACHMENT_CHUNK_BYTES, BUCKET_PART_BYTES, BUCKET_PROBE_TIMEOUT};

/// The folder in the data directory.
pub const FOLDER: &str = "attachments";
/// The folder in it for what is on its way in. No tenant is called so, because a slug holds no dot.
const INCOMING: &str = ".incoming";
/// What is written into a bucket at start, to find out whether it can be.
const PROBE: &str = ".formledger";

/// Bytes that are read piece by piece.
pub type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// Where the bytes of attachments are.
pub struct AttachmentStore {
    incoming: PathBuf,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Bucket { bucket: Arc<dyn ObjectStore>, prefix: Key },
}

impl AttachmentStore {
    /// Opens the place; makes nothing.
    ///
    /// # Errors
    /// When a bucket's settings make no sense. Whether it lets us in is found out later.
    pub fn open(data: &Path, place: &AttachmentPlace) -> Result<Self, OpenError> {
        let incoming = match place {
            AttachmentPlace::Folder(folder) => folder.join(INCOMING),
            AttachmentPlace::Bucket(_) => data.join(FOLDER).join(INCOMING),
        };
        let place = match place {
            AttachmentPlace::Folder(folder) => Place::Folder(folder.clone()),
            AttachmentPlace::Bucket(bucket) => {
                let (bucket, prefix) = bucket.open()?;
                Place::Bucket { bucket, prefix }
            }
        };
        Ok(Self { incoming, place })
    }

    /// Makes the folders that uploads need, and removes what a killed server left of some.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn prepare(&self) -> Result<(), OpenError> {
        let Self { incoming, .. } = self;
        let failed = |source| OpenError::Folder { path: incoming.display().to_string(), source };
        make_durably(incoming, sync).map_err(failed)?;
        if let Err(error) = remove_stale(incoming, SystemTime::now()) {
            tracing::warn!(%error, "uploads that a killed server left could not be removed");
        }
        Ok(())
    }

    /// Where uploads are written until they are kept.
    pub fn incoming(&self) -> &Path {
        &self.incoming
    }

    /// Tells the log when a bucket does not let us write.
    pub async fn probe(&self) {
        let Place::Bucket { bucket, prefix } = &self.place else { return };
        let key = prefix.clone().join(PROBE);
        let write = bucket.put(&key, Bytes::from_static(b"attachments of formledger\n").into());
        let failed = match tokio::time::timeout(BUCKET_PROBE_TIMEOUT, write).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        tracing::error!(
            cause = failed,
            "the bucket of `--attachments-url` cannot be written to; attaching files will fail"
        );
    }

    /// Keeps bytes for good: when this returns, they are durable under their hash. Bytes that are there already are written again, or in a
    /// bucket, where that is paid for, found to be there.
    ///
    /// # Errors
    /// 503 for a full disk or a bucket that does not answer.
    pub async fn keep(&self, tenant: &TenantId, spooled: Spooled) -> Result<(), ApiError> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, parts) = (folder.clone(), parts(tenant, spooled.sha256));
                tokio::task::spawn_blocking(move || keep_in(&folder, &parts, spooled.path(), sync))
                    .await
                    .map_err(ApiError::internal)?
                    .map_err(unwritable)
            }
            Place::Bucket { bucket, prefix } => {
                let key = key(prefix, tenant, spooled.sha256);
                put(bucket, key, &spooled).await.map_err(|error| unavailable(&error))
            }
        }
    }

    /// Reads bytes piece by piece, all of them or a `part`. All are compared with the hash as they pass, and the last piece comes only when
    /// all are right, so that whoever counts the bytes never takes wrong ones for whole. A part says nothing of the hash: who asks for parts
    /// compares what they make.
    ///
    /// # Errors
    /// 503 `attachment-missing` when they are not there, `attachment-unavailable` when they cannot be reached; later ones break the stream
    /// off.
    pub async fn read(
        &self,
        tenant: &TenantId,
        sha256: ContentHash,
        part: Option<Range<u64>>,
    ) -> Result<Chunks, ApiError> {
        let whole = part.is_none();
        let chunks = self.chunks(tenant, sha256, part).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(tenant, sha256),
            _ => unavailable(&error),
        })?;
        Ok(if whole { verified(chunks, sha256) } else { chunks })
    }

    /// Whether bytes are there and what they are named after; `None` when they are, else what is wrong.
    ///
    /// # Errors
    /// When that cannot be found out, because the place cannot be reached.
    pub async fn check(
        &self,
        tenant: &TenantId,
        sha256: ContentHash,
        bytes: u64,
    ) -> io::Result<Option<&'static str>> {
        let mut chunks = match self.chunks(tenant, sha256, None).await {
            Ok(chunks) => chunks,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("is missing")),
            Err(error) => return Err(error),
        };
        let (mut hash, mut found) = (Sha256::new(), 0_u64);
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
            found += chunk.len() as u64;
        }
        let same = found == bytes && ContentHash(hash.finalize().into()) == sha256;
        Ok((!same).then_some("holds other bytes than were attached"))
    }

    async fn chunks(
        &self,
        tenant: &TenantId,
        sha256: ContentHash,
        part: Option<Range<u64>>,
    ) -> io::Result<Chunks> {
        match &self.place {
            Place::Folder(folder) => {
                let path = parts(tenant, sha256).iter().fold(folder.clone(), |path, part| path.join(part));
                let mut file = tokio::fs::File::open(path).await?;
                let Range { start, end } = part.unwrap_or(0..u64::MAX);
                if start > 0 {
                    file.seek(io::SeekFrom::Start(start)).await?;
                }
                let chunks = unfold(file.take(end - start), |mut file| async {
                    let mut chunk = Vec::with_capacity(ATTACHMENT_CHUNK_BYTES);
                    match file.read_buf(&mut chunk).await {
                        Ok(0) => None,
                        Ok(_) => Some((Ok(Bytes::from(chunk)), file)),
                        Err(error) => Some((Err(error), file)),
                    }
                });
                Ok(chunks.boxed())
            }
            Place::Bucket { bucket, prefix } => {
                let options = GetOptions { range: part.map(GetRange::Bounded), ..GetOptions::default() };
                let key = key(prefix, tenant, sha256);
                let found = bucket.get_opts(&key, options).await.map_err(io::Error::from)?;
                Ok(found.into_stream().map_err(io::Error::from).boxed())
            }
        }
    }
}

/// Why attachments cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made.
    #[error("the folder `{path}` for attachments cannot be made")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The bucket's settings make no sense.
    #[error(transparent)]
    Bucket(#[from] ConfigError),
}

/// `<tenant>/ab/cd/<the other digits>`: two levels of at most 256 folders each, so that none gets too long to list.
fn parts(tenant: &TenantId, sha256: ContentHash) -> [String; 4] {
    let digits = sha256.to_string();
    [tenant.to_string(), digits[..2].to_owned(), digits[2..4].to_owned(), digits[4..].to_owned()]
}

fn key(prefix: &Key, tenant: &TenantId, sha256: ContentHash) -> Key {
    parts(tenant, sha256).into_iter().fold(prefix.clone(), |key, part| key.join(part))
}

/// Moves a synced file to its place, and syncs every folder on the way that says where it is: without that, a power cut could take back
/// the name of bytes that an event was recorded for. Also folders that were there: another upload may have made them and not synced yet.
fn keep_in(
    folder: &Path,
    parts: &[String; 4],
    spooled: &Path,
    mut sync: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let [folders @ .., file] = parts;
    let mut place = folder.to_owned();
    for part in folders {
        let parent = place.clone();
        place.push(part);
        match fs::create_dir(&place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync(&parent)?,
        }
    }
    fs::rename(spooled, place.join(file))?;
    sync(&place)
}

/// Makes a folder with those above it that are missing, and syncs each that says where one of them is; at least the two next ones, which
/// are ours: a killed server may have made what they name and not synced it.
fn make_durably(folder: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let missing =
        folder.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).count();
    fs::create_dir_all(folder)?;
    for above in folder.ancestors().skip(1).take(missing.max(2)) {
        // What a relative path begins in has no name in it.
        sync(if above.as_os_str().is_empty() { Path::new(".") } else { above })?;
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

async fn put(bucket: &Arc<dyn ObjectStore>, key: Key, spooled: &Spooled) -> io::Result<()> {
    match bucket.head(&key).await {
        Ok(there) if there.size == spooled.bytes => return Ok(()),
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut file = tokio::fs::File::open(spooled.path()).await?;
    // One part at a time: what is in memory is a part and what fills the next one.
    let mut object =
        BufWriter::with_capacity(Arc::clone(bucket), key, BUCKET_PART_BYTES).with_max_concurrency(1);
    let mut chunk = Vec::with_capacity(ATTACHMENT_CHUNK_BYTES);
    while file.read_buf(&mut chunk).await? > 0 {
        if let Err(error) = object.put(Bytes::from(std::mem::take(&mut chunk))).await {
            // The first error is the one to tell; parts that stay are for the bucket's own rules to remove.
            let _ = object.abort().await;
            return Err(error.into());
        }
        chunk.reserve(ATTACHMENT_CHUNK_BYTES);
    }
    tokio::io::AsyncWriteExt::shutdown(&mut object).await
}

/// The same bytes, of which the last piece is held back until all are known to be right.
fn verified(chunks: Chunks, sha256: ContentHash) -> Chunks {
    let state = (chunks, Sha256::new(), None::<Bytes>);
    let verified = futures_util::stream::try_unfold(state, move |(mut chunks, mut hash, held)| async move {
        let mut held = held;
        loop {
            match chunks.try_next().await? {
                Some(next) => {
                    hash.update(&next);
                    if let Some(ready) = held.replace(next) {
                        return Ok(Some((ready, (chunks, hash, held))));
                    }
                }
                None => {
                    let Some(last) = held.take() else { return Ok(None) };
                    if ContentHash(hash.clone().finalize().into()) != sha256 {
                        return Err(io::Error::other(format!("attachment {sha256} holds other bytes")));
                    }
                    return Ok(Some((last, (futures_util::stream::empty().boxed(), hash, None))));
                }
            }
        }
    });
    verified.boxed()
}

fn unavailable(error: &io::Error) -> ApiError {
    tracing::error!(cause = %formledger_store::causes(error), "the bytes of an attachment cannot be reached");
    ApiError::Overloaded {
        code: "attachment-unavailable",
        detail: "the place where attachments are kept does not give or take them at the moment",
    }
}

fn missing(tenant: &TenantId, sha256: ContentHash) -> ApiError {
    tracing::error!(%tenant, %sha256, "the bytes of an attachment are not where they were kept");
    ApiError::Overloaded {
        code: "attachment-missing",
        detail: "the bytes of this file are not where they were kept; they come back from a backup, or when the same file is attached again where files are still taken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::limits::Limits;
    use formledger_domain::MediaType;

    async fn arrived(store: &AttachmentStore, text: &'static str) -> Spooled {
        let mut body = Body::new(futures_util::stream::iter([Ok(Bytes::from(text))]));
        let declared = MediaType::named("text/plain").expect("known");
        super::super::spool::spool(&mut body, store.incoming(), &Limits::default(), 1_000, Some(declared))
            .await
            .expect("arrives")
    }

    fn open(data: &Path) -> AttachmentStore {
        let store = AttachmentStore::open(data, &AttachmentPlace::Folder(data.join(FOLDER))).expect("opens");
        store.prepare().expect("a folder");
        store
    }

    #[tokio::test]
    async fn bytes_are_kept_once_for_each_tenant_and_never_found_by_another() {
        let data = tempfile::tempdir().expect("a folder");
        let store = open(data.path());
        let [acme, globex] = ["acme", "globex"].map(|slug| slug.parse::<TenantId>().expect("a slug"));
        let spooled = arrived(&store, "receipt").await;
        let sha256 = spooled.sha256;
        store.keep(&acme, spooled).await.expect("kept");
        store.keep(&acme, arrived(&store, "receipt").await).await.expect("kept again");
        let digits = sha256.to_string();
        let place = data.path().join(FOLDER).join("acme").join(&digits[..2]).join(&digits[2..4]);
        let names: Vec<_> =
            fs::read_dir(&place).expect("a folder").map(|it| it.expect("one").file_name()).collect();
        assert_eq!(names, [digits[4..].to_owned().as_str()]);
        assert_eq!(fs::read_dir(store.incoming()).expect("a folder").count(), 0);
        assert_eq!(store.check(&acme, sha256, 7).await.expect("read"), None);
        assert_eq!(store.check(&globex, sha256, 7).await.expect("read"), Some("is missing"));
        assert!(store.read(&globex, sha256, None).await.is_err());
    }

    #[test]
    fn every_folder_that_says_where_bytes_are_is_synced_whoever_made_it() {
        let data = tempfile::tempdir().expect("a folder");
        let place = data.path().join(FOLDER);
        let synced = |upload: &str, parts: &[String; 4]| {
            let spooled = data.path().join(upload);
            fs::write(&spooled, upload).expect("written");
            let mut synced = Vec::new();
            keep_in(&place, parts, &spooled, |folder| {
                assert!(folder.is_dir(), "{}", folder.display());
                synced.push(folder.strip_prefix(&place).expect("in it").to_string_lossy().into_owned());
                Ok(())
            })
            .expect("kept");
            synced
        };
        fs::create_dir(&place).expect("made");
        let [one, two] = ["one", "two"].map(|rest| ["acme", "ab", "cd", rest].map(str::to_owned));
        let all = ["", "acme", "acme/ab", "acme/ab/cd"];
        assert_eq!(synced("first", &one), all);
        assert_eq!(synced("second", &two), all, "the first may not have come so far");
    }

    #[test]
    fn the_folder_of_attachments_is_synced_into_the_folders_above_it() {
        let data = tempfile::tempdir().expect("a folder");
        let incoming = data.path().join("new").join(FOLDER).join(INCOMING);
        let synced = || {
            let mut synced = Vec::new();
            make_durably(&incoming, |folder| {
                synced.push(folder.strip_prefix(data.path()).expect("in it").to_owned());
                Ok(())
            })
            .expect("made");
            synced
        };
        assert_eq!(synced(), [Path::new("new/attachments"), Path::new("new"), Path::new("")]);
        assert_eq!(synced(), [Path::new("new/attachments"), Path::new("new")], "also when all is there");
        make_durably(Path::new("src"), sync).expect("a relative path is one, too");
    }

    #[tokio::test]
    async fn damaged_bytes_are_told_and_never_given_out_whole() {
        let data = tempfile::tempdir().expect("a folder");
        let store = open(data.path());
        let acme: TenantId = "acme".parse().expect("a slug");
        let spooled = arrived(&store, "receipt").await;
        let sha256 = spooled.sha256;
        store.keep(&acme, spooled).await.expect("kept");
        let read =
            async || store.read(&acme, sha256, None).await.expect("there").try_collect::<Vec<_>>().await;
        assert_eq!(read().await.expect("whole").concat(), b"receipt");
        let path = parts(&acme, sha256).iter().fold(data.path().join(FOLDER), |path, part| path.join(part));
        fs::write(&path, "reCeipt").expect("written");
        assert!(
            store
                .check(&acme, sha256, 7)
                .await
                .expect("read")
                .is_some_and(|told| told.contains("other bytes"))
        );
        read().await.expect_err("not given out");
        // Whoever attaches them again heals them.
        store.keep(&acme, arrived(&store, "receipt").await).await.expect("kept");
        assert_eq!(store.check(&acme, sha256, 7).await.expect("read"), None);
    }
}
