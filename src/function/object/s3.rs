//! Objects of a bucket, by the protocol of S3.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, RetryConfig};
use reqwest::Url;

use super::heard::{Connector, Heard};
use super::path::Range;
use super::{Object, Store, Wanted, rejected};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::function::Mistake;
use crate::function::http::{Clients, ConnectionSettings, Refused, address, check, failure, shortened};
use crate::function::{CallError, CallErrorKind};
use crate::pipeline::Text;

/// Longest key that there is.
const KEY_BYTES_MAX: usize = 1024;

/// A bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct S3Settings {
    /// The bucket.
    pub bucket: String,
    /// Where it is, without the bucket; default: AWS.
    pub endpoint: Option<Text>,
    /// Its region.
    pub region: String,
    /// Id and secret of the key that requests are signed with; default: they are not signed.
    pub key: Option<(Text, Text)>,
    /// What goes along with a key that is good for a while.
    pub session_token: Option<Text>,
    /// Whether the bucket stands in the path of URLs; else in front of the host.
    pub path_style: bool,
    /// Whether `endpoint` may be without encryption.
    pub allow_http: bool,
    /// How connections are made.
    pub connection: ConnectionSettings,
}

impl S3Settings {
    /// Everything that is wrong with it. Opens nothing.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut expect = |setting: &'static str, wrong: Option<String>| {
            mistakes.extend(wrong.map(|message| Mistake { setting, message }));
        };
        let lower =
            |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b));
        let is_bucket = (3..=63).contains(&self.bucket.len()) && lower(&self.bucket, b"-.") && !self.bucket.contains("..");
        let edges = |text: &str| !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']);
        if !is_bucket || !edges(&self.bucket) {
            expect("bucket", Some("expected a name of 3 to 63 lower-case letters, digits, - and .".to_owned()));
        }
        if self.region.is_empty() || !lower(&self.region, b"-") {
            expect("region", Some("expected a region such as eu-central-1".to_owned()));
        }
        expect("endpoint", self.url().err());
        let visible = |text: &Text| !text.expose().is_empty() && text.expose().bytes().all(|b| b.is_ascii_graphic());
        if let Some((id, secret)) = &self.key {
            for (setting, text) in [("access_key_id", id), ("secret_access_key", secret)] {
                let wrong = !visible(text);
                expect(setting, wrong.then(|| "expected a key without spaces and special characters".to_owned()));
            }
        }
        if self.session_token.as_ref().is_some_and(|token| !visible(token)) {
            expect("session_token", Some("expected a token without spaces and special characters".to_owned()));
        }
        mistakes
    }

    /// The URL of the bucket, if it is not one of AWS.
    fn url(&self) -> Result<Option<String>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let mut url: Url = check(endpoint.expose())?;
        if url.query().is_some() {
            return Err("expected a URL without a query".to_owned());
        }
        if url.scheme() == "http" && !self.allow_http {
            return Err("expected a URL that begins with https://, or allow_http: true".to_owned());
        }
        let rules = &self.connection.addresses;
        if let Some(address) = address(&url) {
            if !rules.admit(address) {
                return Err(Refused::literal(address).to_string());
            }
            if !self.path_style {
                return Err("expected a host with a name, or path_style: true".to_owned());
            }
        }
        if self.path_style {
            url.path_segments_mut().map_err(|()| "expected a URL with a host".to_owned())?.pop_if_empty().push(&self.bucket);
        } else {
            let host = format!("{}.{}", self.bucket, url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|error| error.to_string())?;
        }
        Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// A bucket.
pub(super) struct S3 {
    store: AmazonS3,
    bucket: String,
}

/// The store itself would show its keys.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl S3 {
    pub(super) fn new(settings: &S3Settings) -> Result<Self> {
        if let Some(mistake) = settings.mistakes().first() {
            return Err(Error::config(format!("{}: {}", mistake.setting, mistake.message)));
        }
        let client = Clients::default().client(&settings.connection)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_http_connector(Connector(client))
            .with_skip_signature(settings.key.is_none())
            // Whoever calls makes further attempts.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_virtual_hosted_style_request(!settings.path_style);
        if let Some(url) = settings.url().map_err(Error::config)? {
            // The URL of the bucket is taken as it is.
            builder = builder.with_endpoint(url).with_virtual_hosted_style_request(true);
        }
        if let Some((id, secret)) = &settings.key {
            builder = builder.with_access_key_id(id.expose()).with_secret_access_key(secret.expose());
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token.expose());
        }
        let store = builder.build().attempting(ErrorKind::Config, || "set up the client for S3".to_owned())?;
        Ok(Self { store, bucket: settings.bucket.clone() })
    }
}

#[async_trait]
impl Store for S3 {
    async fn fetch(&self, wanted: Wanted) -> Result<Object, CallError> {
        if wanted.key.len() > KEY_BYTES_MAX {
            return Err(rejected(format!("no object has a path of more than {KEY_BYTES_MAX} bytes")));
        }
        let location = Path::parse(&wanted.key).map_err(|error| rejected(shortened(&error.to_string())))?;
        let heard = Heard::default();
        let range = wanted.range.filter(|_| wanted.content).map(|range| match range {
            Range::Bounded(first, last) => GetRange::Bounded(first..last + 1),
            Range::From(first) => GetRange::Offset(first),
            Range::Last(count) => GetRange::Suffix(count),
        });
        let mut options = GetOptions::new().with_head(!wanted.content).with_range(range);
        options.extensions.insert(heard.clone());
        let failed = |error: &object_store::Error| heard.refusal().map_or_else(|| broken(error), |refusal| refusal.meaning());
        let found = self.store.get_opts(&location, options).await.map_err(|error| failed(&error))?;
        let bytes = found.range.end.saturating_sub(found.range.start);
        let modified_us = Some(found.meta.last_modified.timestamp_micros()).filter(|us| *us != 0);
        let etag = found.meta.e_tag.as_deref().map(|etag| unquoted(etag).to_owned());
        let mut object = Object { content: Bytes::new(), size: found.meta.size, etag, modified_us };
        if !wanted.content {
            return Ok(object);
        }
        wanted.admit(bytes)?;
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        let mut stream = found.into_stream();
        while let Some(chunk) = stream.next().await {
            content.extend_from_slice(&chunk.map_err(|error| failed(&error))?);
            wanted.admit(content.len() as u64)?;
        }
        if content.len() as u64 != bytes {
            return Err(CallError::new(CallErrorKind::Unavailable, "the answer ended early"));
        }
        object.content = content.into();
        Ok(object)
    }
}

/// `abc` of `"abc"`.
fn unquoted(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// What a failure without an answer means. It never shows the URL.
fn broken(error: &object_store::Error) -> CallError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut innermost = String::new();
    while let Some(here) = cause {
        if let Some(sending) = here.downcast_ref::<reqwest::Error>() {
            return failure(sending);
        }
        innermost = here.to_string();
        cause = here.source();
    }
    CallError::new(CallErrorKind::BadAnswer, shortened(&innermost))
}
