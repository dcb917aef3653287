//! Text with places for arguments: `/users/{id}`.
//!
//! A template is read before the references in it are replaced, so that what a secret holds is never taken for a place.

use std::fmt;

use crate::pipeline::Text;

/// Text with places for arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Text),
    /// An argument, by name.
    Arg(String),
}

impl Template {
    /// The template that `text` writes: `{name}` is a place, `{{` and `}}` are braces.
    ///
    /// # Errors
    /// What was expected where a brace stands alone.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut template = Self::default();
        template.push(text)?;
        Ok(template)
    }

    /// Adds what `text` writes, see [`Template::parse`].
    pub fn push(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            self.push_text(Text::plain(&rest[..at]));
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(literal) = after.strip_prefix(brace) {
                self.push_text(Text::plain(brace));
                rest = literal;
                continue;
            }
            let name = after.split_once('}').filter(|(name, _)| brace == "{" && !name.contains('{') && !name.trim().is_empty());
            let Some((name, tail)) = name else {
                return Err(format!(
                    "expected {{name of an argument}}, found a {brace} alone (write {brace}{brace} for the character)"
                ));
            };
            self.pieces.push(Piece::Arg(name.trim().to_owned()));
            rest = tail;
        }
        self.push_text(Text::plain(rest));
        Ok(())
    }

    /// Adds text as it is, braces and all.
    pub fn push_text(&mut self, text: Text) {
        if !text.expose().is_empty() {
            self.pieces.push(Piece::Text(text));
        }
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The arguments that it has places for.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| if let Piece::Arg(name) = piece { Some(name.as_str()) } else { None })
    }

    /// The argument, if it is nothing but a place for one.
    pub(crate) fn only_arg(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Arg(name)] => Some(name),
            _ => None,
        }
    }

    /// The text before the first place, secrets and all.
    pub(crate) fn start(&self) -> String {
        let texts = self.pieces.iter().map_while(|piece| if let Piece::Text(text) = piece { Some(text.expose()) } else { None });
        texts.collect()
    }
}

/// As it was written: places as `{name}`, secrets as their references.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => write!(f, "{text}"),
            Piece::Arg(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> String {
        match Template::parse(text) {
            Ok(template) => {
                let piece = |piece: &Piece| match piece {
                    Piece::Text(text) => format!("{:?}", text.expose()),
                    Piece::Arg(name) => format!("<{name}>"),
                };
                template.pieces.iter().map(piece).collect::<Vec<_>>().join(" ")
            }
            Err(message) => message,
        }
    }

    #[test]
    fn braces_are_places_and_doubled_ones_characters() {
        assert_eq!(pieces("/u/{user}?a={ amount }"), r#""/u/" <user> "?a=" <amount>"#);
        assert_eq!(pieces("a{{b}}c"), r#""a" "{" "b" "}" "c""#);
        assert_eq!(pieces("{é}"), "<é>");
        assert_eq!(pieces(""), "");
        let open = "expected {name of an argument}, found a { alone (write {{ for the character)";
        for wrong in ["{", "a{b", "{}", "{ }", "{a{b}"] {
            assert_eq!(pieces(wrong), open, "{wrong}");
        }
        assert_eq!(pieces("a}"), "expected {name of an argument}, found a } alone (write }} for the character)");
    }

    #[test]
    fn what_a_secret_holds_is_no_place() {
        let mut template = Template::parse("/{user}/").unwrap();
        template.push_text(Text::secret("{user}", "${env:KEY}"));
        assert_eq!(template.args().collect::<Vec<_>>(), ["user"]);
        assert_eq!(format!("{template} {template:?}").matches("${env:KEY}").count(), 2);
    }
}
