//! The file `meta`: which checkpoint this is, written once.
//!
//! Three lines: the format with its version, a JSON object, the checksum of both.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Identity;
use super::storage::SharedVfs;
use crate::error::{Error, ErrorKind, Result};

/// Name of the file, below the query's folder.
pub(super) const FILE: &str = "meta";
const MAGIC: &str = "tidemill checkpoint ";
const VERSION: u32 = 1;

/// What is fixed when a checkpoint is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// UUIDv7, 32 hex digits.
    pub(super) query_id: String,
    pub(super) identity: Identity,
    /// State partitions per operator.
    pub(super) partitions: u32,
}

impl Meta {
    pub(super) fn new(identity: &Identity) -> Self {
        Self { query_id: uuid::Uuid::now_v7().simple().to_string(), identity: identity.clone(), partitions: 1 }
    }

    /// The UUID's bytes.
    pub(super) fn query_id_bytes(&self) -> Option<[u8; 16]> {
        let number = u128::from_str_radix(&self.query_id, 16).ok()?;
        (self.query_id.len() == 32).then_some(number.to_be_bytes())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("an identity is plain data");
        let text = format!("{MAGIC}{VERSION}\n{json}\n");
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}{crc:08x}\n").into_bytes()
    }

    /// Reads the file in the query's folder; `None` when there is none.
    pub(super) fn read(vfs: &SharedVfs, dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let Some(bytes) = vfs.read(&path)? else { return Ok(None) };
        match Self::decode(&bytes) {
            Ok(meta) => Ok(Some(meta)),
            Err(Unreadable::Damaged) => {
                Err(Error::spark(ErrorKind::Corrupt, "CKPT_CORRUPT", format!("{} is damaged", path.display())))
            }
            Err(Unreadable::Version(version)) => Err(Error::spark(
                ErrorKind::Config,
                "CKPT_INCOMPATIBLE",
                format!("{} has format version {version}, and this tidemill reads version {VERSION}", path.display()),
            )),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::Damaged)?;
        let body = text.len().checked_sub(CRC_LINE_BYTES).filter(|at| text.is_char_boundary(*at)).ok_or(Unreadable::Damaged)?;
        let (body, crc) = text.split_at(body);
        if crc != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return Err(Unreadable::Damaged);
        }
        let (head, json) = body.split_once('\n').ok_or(Unreadable::Damaged)?;
        let version: u32 = head.strip_prefix(MAGIC).and_then(|version| version.parse().ok()).ok_or(Unreadable::Damaged)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let meta: Self = serde_json::from_str(json).map_err(|_| Unreadable::Damaged)?;
        if meta.query_id_bytes().is_some() { Ok(meta) } else { Err(Unreadable::Damaged) }
    }
}

enum Unreadable {
    Damaged,
    Version(u32),
}

const CRC_LINE_BYTES: usize = 9;
