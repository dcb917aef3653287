//! The operations of one commit as one piece of staged bytes, and how a commit walks through them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::sink::packed;

const VERSION: u32 = 1;

/// What is done with a key; what the arguments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Fields and their values, by turns; null deletes the field.
    PutFields,
    /// The value.
    PutText,
    /// The member.
    SetAdd,
    /// The field or null, then the amount.
    AddInteger,
    /// The same with fractions.
    AddDecimal,
    /// Fields and their values.
    PutFieldsIfAbsent,
    /// The value.
    PutTextIfAbsent,
    /// How many fields are compared, those with their values, then those to put.
    PutFieldsIfEqual,
    /// None.
    Delete,
}

impl Kind {
    /// What the user calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PutFields | Self::PutText => "put",
            Self::SetAdd => "set_add",
            Self::AddInteger | Self::AddDecimal => "atomic_add",
            Self::PutFieldsIfAbsent | Self::PutTextIfAbsent | Self::PutFieldsIfEqual => "cond_put",
            Self::Delete => "delete",
        }
    }

    /// Whether what it does depends on what is under the key.
    pub(super) fn has_condition(self) -> bool {
        matches!(self, Self::PutFieldsIfAbsent | Self::PutTextIfAbsent | Self::PutFieldsIfEqual)
    }
}

/// What is known of all operations of a commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Head {
    version: u32,
    pub(super) kind: Kind,
    pub(super) ttl_ms: Option<u64>,
    pub(super) operations: usize,
}

/// Puts operations together.
#[derive(Debug)]
pub(super) struct Packer {
    out: packed::Packer,
    head: Head,
}

impl Packer {
    pub(super) fn new(kind: Kind, ttl_ms: Option<u64>) -> Self {
        Self { out: packed::Packer::default(), head: Head { version: VERSION, kind, ttl_ms, operations: 0 } }
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for what is longer than 4 GiB.
    pub(super) fn add(&mut self, key: &[u8], arguments: &[Option<&[u8]>]) -> Result<()> {
        self.out.bytes(Some(key))?;
        self.out.number(arguments.len())?;
        arguments.iter().try_for_each(|argument| self.out.bytes(*argument))?;
        self.head.operations += 1;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.operations == 0
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.finish(&self.head)
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation<'a> {
    pub(super) key: &'a [u8],
    pub(super) arguments: Vec<Option<&'a [u8]>>,
}

/// The operations to commit.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    body: Bytes,
    pub(super) head: Head,
}

/// How far a commit has come in them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    /// Operations before it.
    pub(super) done: usize,
    byte: usize,
}

impl Staged {
    /// Looks at the head.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if these are not operations that a sink of this version staged.
    pub(super) fn open(bytes: &Bytes) -> Result<Self> {
        let (body, head): (Bytes, Head) = packed::open(bytes).ok_or_else(damaged)?;
        if head.version != VERSION {
            return Err(damaged());
        }
        Ok(Self { body, head })
    }

    /// The operation there, and what comes after it.
    pub(super) fn next(&self, at: Position) -> Result<(Operation<'_>, Position)> {
        let mut rest = self.body.get(at.byte..).ok_or_else(damaged)?;
        let operation = read(&mut rest).ok_or_else(damaged)?;
        let after = Position { done: at.done + 1, byte: self.body.len() - rest.len() };
        if after.done == self.head.operations && !rest.is_empty() {
            return Err(damaged());
        }
        Ok((operation, after))
    }

    /// The place after so many operations.
    pub(super) fn after(&self, done: usize) -> Result<Position> {
        let mut at = Position::default();
        while at.done < done {
            at = self.next(at)?.1;
        }
        Ok(at)
    }
}

fn read<'a>(rest: &mut &'a [u8]) -> Option<Operation<'a>> {
    let key = packed::bytes(rest)??;
    let arguments = (0..packed::number(rest)?).map(|_| packed::bytes(rest)).collect::<Option<Vec<_>>>()?;
    Some(Operation { key, arguments })
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the staged operations are damaged, or were staged by a sink of another kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bytes {
        let mut packer = Packer::new(Kind::PutFields, Some(5));
        packer.add(b"a", &[Some(b"f"), None, Some(b"g"), Some(b"")]).unwrap();
        packer.add(b"", &[]).unwrap();
        packer.finish()
    }

    #[test]
    fn operations_come_back_as_they_were() {
        let staged = Staged::open(&sample()).unwrap();
        assert_eq!((staged.head.operations, staged.head.ttl_ms, staged.head.kind), (2, Some(5), Kind::PutFields));
        let (first, at) = staged.next(Position::default()).unwrap();
        assert_eq!(first, Operation { key: b"a", arguments: vec![Some(b"f"), None, Some(b"g"), Some(b"")] });
        assert_eq!(staged.after(1).unwrap().byte, at.byte);
        assert_eq!(staged.next(at).unwrap().0, Operation { key: b"", arguments: vec![] });
        assert_eq!(staged.next(at).unwrap().1.done, 2);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(Staged::open(&whole.slice(..length)).and_then(|staged| staged.after(2)).is_err(), "{length}");
        }
        // A head that is right, of operations that are not all there.
        let staged = Staged::open(&whole).unwrap();
        let cut = Staged { body: staged.body.slice(1..), ..staged };
        assert_eq!(cut.after(2).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
