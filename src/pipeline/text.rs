//! Values that may have come from a reference (`${env:NAME}`, `${file:/path}`).
//!
//! Such a value is a secret: it is used, and never shown. What `Display` and `Debug` give is the text as it stands in the file,
//! so that no log line, message or status page can leak what the reference stood for.

use std::fmt;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Longest text that a reference to a file stands for.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Text to use, and text to show for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    value: String,
    shown: Option<String>,
    file: Option<PathBuf>,
}

impl Text {
    /// Text that is its own display.
    pub fn plain(value: impl Into<String>) -> Self {
        Self { value: value.into(), shown: None, file: None }
    }

    /// A secret: `shown` is the text with its references.
    pub fn secret(value: impl Into<String>, shown: impl Into<String>) -> Self {
        Self { value: value.into(), shown: Some(shown.into()), file: None }
    }

    /// A secret that is the text of `file` and nothing else, without its last line end, which editors add.
    ///
    /// # Errors
    /// Why the file could not be read; it is not named.
    pub fn of_file(file: &Path, shown: impl Into<String>) -> Result<Self, String> {
        let mut text = String::new();
        if !std::fs::metadata(file).map_err(|error| error.to_string())?.is_file() {
            return Err("not a file".to_owned());
        }
        let opened = std::fs::File::open(file).and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        opened.map_err(|error| error.to_string())?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err("larger than 64 KiB".to_owned());
        }
        let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        let mut read = Self::secret(line, shown);
        read.file = Some(file.to_owned());
        wipe(text);
        Ok(read)
    }

    /// The file whose text it is.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The value itself, to be used and never shown.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// What may be shown.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.value)
    }

    /// Whether the value came from a reference.
    pub fn is_secret(&self) -> bool {
        self.shown.is_some()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if self.is_secret() {
            wipe(std::mem::take(&mut self.value));
        }
    }
}

/// Overwrites a secret before its memory is given back. Copies that libraries have made are theirs.
fn wipe(secret: String) {
    let mut bytes = secret.into_bytes();
    bytes.fill(0);
    // What is looked at cannot be left out.
    std::hint::black_box(&bytes);
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

/// A path to use, and text to show for it.
#[derive(Clone, PartialEq, Eq)]
pub struct FilePath {
    path: PathBuf,
    shown: Option<String>,
}

impl FilePath {
    /// A path that is its own display.
    pub fn plain(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), shown: None }
    }

    /// The path that `text` names, relative ones seen from `folder`.
    pub fn resolve(text: &Text, folder: &Path) -> Self {
        let path = normal(&folder.join(text.expose()));
        Self { path, shown: text.is_secret().then(|| text.shown().to_owned()) }
    }

    /// The program that `text` names: a name stays one, to be looked for where `PATH` says.
    pub fn program(text: &Text, folder: &Path) -> Self {
        let name = text.expose().trim();
        let path = match normal(&folder.join(name)) {
            _ if !name.contains('/') => PathBuf::from(name),
            // A path stays one where the folder is this one.
            path if path.is_relative() => Path::new(".").join(path),
            path => path,
        };
        Self { path, shown: text.is_secret().then(|| text.shown().to_owned()) }
    }
}

/// `path` without `.` components, so that it reads well in messages. `..` stays: what it means depends on links.
fn normal(path: &Path) -> PathBuf {
    let short: PathBuf = path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect();
    if short.as_os_str().is_empty() { PathBuf::from(".") } else { short }
}

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Some(shown) => f.write_str(shown),
            None => self.path.display().fmt(f),
        }
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A host and a port: `localhost:5555`, `10.0.0.7:5555`, `[::1]:5555`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    shown: Option<String>,
}

impl Address {
    /// The address that `text` names, or what was expected instead.
    pub fn parse(text: &Text) -> Result<Self, String> {
        let expected = || "expected host:port".to_owned();
        let (host, port) = text.expose().trim().rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| "expected a port of 0 to 65535 after the last colon".to_owned())?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err("expected an IPv6 address between the brackets".to_owned()),
            None if host.contains(':') => return Err("expected an IPv6 address in brackets: [::1]:5555".to_owned()),
            None => host,
        };
        if host.is_empty() {
            return Err(expected());
        }
        if host.len() > 253 || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
            return Err("expected a host name or an IP address before the port".to_owned());
        }
        Ok(Self { host: host.to_owned(), port, shown: text.is_secret().then(|| text.shown().to_owned()) })
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as resolvers take them.
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Some(shown) => f.write_str(shown),
            None if self.host.contains(':') => write!(f, "[{}]:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(&Text::plain(text))
    }
}
