//! Tokens: what each lets its holder do, and how one is looked up.
//!
//! Only their hashes are kept. Two may be in force at once, so that one can replace the other without a pause; those that are the text
//! of a file follow it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::pipeline::Text;
use crate::service::renewal::Renewed;

/// Characters of a token at least: 128 bits as base64.
const TOKEN_CHARS_MIN: usize = 22;

/// What a token lets one do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read `/metrics`.
    Metrics,
    /// That, and see everything.
    Read,
    /// That, and control queries.
    Operate,
    /// Send rows to a source.
    Ingest,
}

impl Scope {
    /// Whether a token of this scope is good for what needs `asked`.
    pub fn covers(self, asked: Self) -> bool {
        match self {
            Self::Metrics | Self::Ingest => self == asked,
            Self::Read => matches!(asked, Self::Metrics | Self::Read),
            Self::Operate => asked != Self::Ingest,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Ingest => "ingest",
        }
    }
}

/// A token in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Scope and number, such as `operate-1`: what logs call it.
    pub(super) id: Arc<str>,
    pub(super) scope: Scope,
    digest: [u8; 32],
    file: Option<PathBuf>,
}

/// The tokens of a listener; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    known: Arc<RwLock<Vec<Token>>>,
}

impl Tokens {
    /// Takes these tokens of the listener `of`, in the order in which logs number those of a scope.
    ///
    /// # Errors
    /// `Config` for one that is no good.
    pub fn new<'a>(of: &str, given: impl IntoIterator<Item = (Scope, &'a Text)>) -> Result<Self> {
        let mut known: Vec<Token> = Vec::new();
        for (scope, text) in given {
            check_token(text.expose()).map_err(|message| Error::config(format!("the token of {of}: {message}")))?;
            let number = known.iter().filter(|before| before.scope == scope).count() + 1;
            let id = format!("{}-{number}", scope.name()).into();
            known.push(Token { id, scope, digest: digest(text.expose()), file: text.file().map(Path::to_owned) });
        }
        Ok(Self { known: Arc::new(RwLock::new(known)) })
    }

    /// Whether nothing has to be shown.
    pub fn is_empty(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The token that was shown, in a time that does not depend on which it is nor on how much of it is right.
    pub(super) fn find(&self, shown: &str) -> Option<Token> {
        let shown = digest(shown);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for token in known.iter() {
            if is_same(&shown, &token.digest) && found.is_none() {
                found = Some(token.clone());
            }
        }
        found
    }
}

impl Renewed for Tokens {
    fn files(&self) -> Vec<PathBuf> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).iter().filter_map(|token| token.file.clone()).collect()
    }

    fn renew(&self) -> Result<()> {
        let mut renewed = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        for token in &mut renewed {
            let Some(file) = &token.file else { continue };
            let refused = |why: &str| Error::config(format!("no token in {}: {why}", file.display()));
            let text = Text::of_file(file, "token").map_err(|why| refused(&why))?;
            check_token(text.expose()).map_err(refused)?;
            token.digest = digest(text.expose());
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

/// Whether a text is good for a token: long enough not to be guessed, and of characters that a header takes.
pub fn check_token(token: &str) -> std::result::Result<(), &'static str> {
    match token {
        token if token.len() < TOKEN_CHARS_MIN => Err("expected 22 characters or more, such as `openssl rand -base64 24` makes"),
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err("expected letters, digits and signs of ASCII"),
        _ => Ok(()),
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Looks at every byte, so that the time it takes tells nothing.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    std::hint::black_box(one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_lets_do_what_it_says_and_what_is_less() {
        let all = [Scope::Metrics, Scope::Read, Scope::Operate, Scope::Ingest];
        let check = |scope: Scope| all.iter().filter(|asked| scope.covers(**asked)).copied().collect::<Vec<_>>();
        assert_eq!(check(Scope::Metrics), [Scope::Metrics]);
        assert_eq!(check(Scope::Read), [Scope::Metrics, Scope::Read]);
        assert_eq!(check(Scope::Operate), [Scope::Metrics, Scope::Read, Scope::Operate]);
        assert_eq!(check(Scope::Ingest), [Scope::Ingest]);
    }

    #[test]
    fn tokens_follow_their_files_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let [old, new, fixed] = ["old-456789012345678901", "new-456789012345678901", "fix-456789012345678901"];
        std::fs::write(&file, format!("{old}\n")).unwrap();
        let (plain, read) = (Text::plain(fixed), Text::of_file(&file, "${file:token}").unwrap());
        let tokens = Tokens::new("--http", [(Scope::Operate, &plain), (Scope::Operate, &read), (Scope::Read, &read)]).unwrap();
        let id = |shown: &str| tokens.find(shown).map(|token| token.id.to_string());
        assert_eq!((id(old), id(fixed), id(new)), (Some("operate-2".into()), Some("operate-1".into()), None));
        for bad in ["short", "with a blank 3456789012", "\u{e9}".repeat(22).as_str()] {
            std::fs::write(&file, bad).unwrap();
            let error = tokens.renew().unwrap_err().chain();
            assert!(error.contains("token") && !error.contains(bad), "{error}");
            assert_eq!((id(old), id(fixed)), (Some("operate-2".into()), Some("operate-1".into())));
        }
        std::fs::write(&file, new).unwrap();
        tokens.renew().unwrap();
        assert_eq!((id(old), id(fixed), id(new)), (None, Some("operate-1".into()), Some("operate-2".into())));
        std::fs::remove_file(&file).unwrap();
        assert!(tokens.renew().is_err() && id(new).is_some());
    }

    #[test]
    fn what_can_be_guessed_is_no_token() {
        let check = |token: &str| Tokens::new("--http", [(Scope::Read, &Text::plain(token))]).map_err(|error| error.chain());
        assert!(check("0123456789abcdefghijkl").is_ok());
        assert!(check("0123456789abcdefghijk").unwrap_err().contains("the token of --http: expected 22 characters"));
        assert!(check("0123456789 bcdefghijkl").is_err());
    }
}
