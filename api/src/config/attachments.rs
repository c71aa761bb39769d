//! Where the bytes of attachments are, as `--attachments-url` says it: `file:///folder` or `s3://bucket/prefix`.
//! Part of the configuration: a bucket's credentials come from the environment (`AWS_…`), as every tool for buckets takes them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStore, RetryConfig};

use super::ConfigError;

/// How often a request to a bucket is repeated, and for how long; then the upload or download is answered 503.
const RETRIES_MAX: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the bytes of attachments are.
#[derive(Debug, Clone)]
pub enum AttachmentPlace {
    /// In a folder; of several servers the same one, on a file system that they share.
    Folder(PathBuf),
    /// In an S3-compatible bucket.
    Bucket(Bucket),
}

/// An S3-compatible bucket, and where in it.
#[derive(Clone)]
pub struct Bucket {
    name: String,
    prefix: Key,
    /// On the heap: there are many of them, most unset.
    settings: Box<AmazonS3Builder>,
}

/// Without the settings, which hold secrets.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.name, self.prefix)
    }
}

impl AttachmentPlace {
    /// Reads the option; the folder in the data directory when it is missing.
    ///
    /// # Errors
    /// For what is neither a folder nor a bucket.
    pub fn read(url: Option<&str>, data: &Path) -> Result<Self, ConfigError> {
        let Some(url) = url else { return Ok(Self::Folder(data.join(crate::attachments::FOLDER))) };
        let refused =
            || ConfigError("`--attachments-url` is `s3://bucket/prefix` or `file:///folder`".to_owned());
        if let Some(folder) = url.strip_prefix("file://").filter(|folder| folder.starts_with('/')) {
            return Ok(Self::Folder(folder.into()));
        }
        let (name, prefix) = match url.strip_prefix("s3://") {
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None => return Err(refused()),
        };
        // A user in the URL would be a secret on a command line; credentials come from the environment.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        {
            return Err(refused());
        }
        let prefix = Key::parse(prefix.trim_end_matches('/')).map_err(|_| refused())?;
        let settings = Box::new(AmazonS3Builder::from_env());
        Ok(Self::Bucket(Bucket { name: name.to_owned(), prefix, settings }))
    }
}

impl Bucket {
    /// A client of the bucket, and where in it attachments are. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When region, endpoint or credentials in the environment make no sense.
    pub fn open(&self) -> Result<(Arc<dyn ObjectStore>, Key), ConfigError> {
        // The client asks for the process's own choice; whoever chose before chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retries =
            RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let bucket: AmazonS3 = AmazonS3Builder::clone(&self.settings)
            .with_bucket_name(&self.name)
            .with_retry(retries)
            .build()
            .map_err(|error| ConfigError(format!("`--attachments-url {self:?}`: {error}")))?;
        Ok((Arc::new(bucket), self.prefix.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<String, String> {
        let place = AttachmentPlace::read(Some(url), Path::new("data")).map_err(|error| error.to_string())?;
        Ok(format!("{place:?}"))
    }

    #[test]
    fn a_place_is_a_folder_or_a_bucket_and_the_data_folder_when_nothing_is_said() {
        let beside = AttachmentPlace::read(None, Path::new("data")).expect("a folder");
        assert!(matches!(beside, AttachmentPlace::Folder(folder) if folder == Path::new("data/attachments")));
        assert_eq!(read("file:///srv/files"), Ok("Folder(\"/srv/files\")".to_owned()));
        assert_eq!(read("s3://files"), Ok("Bucket(s3://files/)".to_owned()));
        assert_eq!(read("s3://files/a/b/"), Ok("Bucket(s3://files/a/b)".to_owned()));
        for bad in [
            "",
            "files",
            "file://srv",
            "s3://",
            "s3:///a",
            "s3://user:secret@files/a",
            "gs://files",
            "s3://files/a//b",
        ] {
            let told = read(bad).expect_err("refused");
            assert!(told.contains("s3://bucket/prefix") && !told.contains("secret"), "{bad}: {told}");
        }
    }
}
