//! A format of Java's `Formatter`, taken apart and checked as Java checks it: as a whole, before anything is written.

use crate::error::{Error, ErrorKind, Result};

/// Characters that one value may be filled up to.
const WIDTH_MAX: usize = 1_000_000;

/// A part of a format.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Spec(Spec),
}

/// How one value is written.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) source: Source,
    pub(super) flags: Flags,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
    /// The conversion in lower case.
    pub(super) conversion: u8,
    /// Whether it was written in upper case.
    pub(super) upper: bool,
}

/// Which argument is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    /// None: `%%`, `%n`.
    Nothing,
    /// The one after the last that was taken in order.
    Next,
    /// The same as before.
    Same,
    /// This one, from 0 on.
    At(usize),
}

/// What stands between `%` and the width.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Flags {
    pub(super) left: bool,
    pub(super) alternate: bool,
    pub(super) plus: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    pub(super) group: bool,
    pub(super) parentheses: bool,
}

/// What is wrong with a format, or with a value for it. Spark's error has no condition.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, message.into())
}

/// Takes `format` apart.
pub(super) fn parse(format: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        let (spec, length) = spec(&rest[at + 1..])?;
        spec.check()?;
        parts.push(Part::Spec(spec));
        rest = &rest[at + 1 + length..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// The digits that `text` begins with.
fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

fn size(digits: &str, what: &str) -> Result<usize> {
    let size = digits
        .parse()
        .ok()
        .filter(|size| *size <= i32::MAX as usize)
        .ok_or_else(|| invalid(format!("the {what} {digits} is too large")))?;
    if size > WIDTH_MAX {
        return Err(Error::new(ErrorKind::Limit, format!("the {what} {digits} is above {WIDTH_MAX}")));
    }
    Ok(size)
}

/// What stands behind a `%`, and how many bytes it has.
fn spec(text: &str) -> Result<(Spec, usize)> {
    let mut at = 0;
    let mut source = Source::Next;
    let index = digits(text);
    if !index.is_empty() && text[index.len()..].starts_with('$') {
        // Java takes an index of 0 for none.
        source = match size(index, "argument index")? {
            0 => Source::Next,
            place => Source::At(place - 1),
        };
        at = index.len() + 1;
    }
    let mut flags = Flags::default();
    while let Some(flag) = text.as_bytes().get(at) {
        let slot = match flag {
            b'-' => &mut flags.left,
            b'#' => &mut flags.alternate,
            b'+' => &mut flags.plus,
            b' ' => &mut flags.space,
            b'0' => &mut flags.zero,
            b',' => &mut flags.group,
            b'(' => &mut flags.parentheses,
            b'<' => {
                source = Source::Same;
                at += 1;
                continue;
            }
            _ => break,
        };
        if std::mem::replace(slot, true) {
            return Err(invalid(format!("a flag stands twice in the format specifier %{text}")));
        }
        at += 1;
    }
    let width = digits(&text[at..]);
    at += width.len();
    let width = if width.is_empty() { None } else { Some(size(width, "width")?) };
    let mut precision = None;
    if let Some(written) = text[at..].strip_prefix('.') {
        let written = digits(written);
        if !written.is_empty() {
            precision = Some(size(written, "precision")?);
            at += 1 + written.len();
        }
    }
    let unknown = || invalid(format!("there is no such conversion: %{}", text.chars().take(at + 1).collect::<String>()));
    let written = *text.as_bytes().get(at).ok_or_else(unknown)?;
    if matches!(written, b't' | b'T') {
        return Err(Error::spark(
            ErrorKind::Config,
            "UNSUPPORTED_FEATURE",
            "%t in a format is not supported; date_format formats times",
        ));
    }
    let conversion = written.to_ascii_lowercase();
    let upper = written.is_ascii_uppercase();
    let known = if upper { b"bhscxega".contains(&conversion) } else { b"bhscdoxefga%n".contains(&conversion) };
    if !known {
        return Err(unknown());
    }
    if matches!(conversion, b'%' | b'n') {
        source = Source::Nothing;
    }
    Ok((Spec { source, flags, width, precision, conversion, upper }, at + 1))
}

impl Spec {
    /// Flags, width and precision that the conversion cannot have are errors.
    fn check(&self) -> Result<()> {
        let flags = self.flags;
        let wrong = |what: &str| Err(invalid(format!("{what} does not go with the conversion %{}", char::from(self.conversion))));
        let number = matches!(self.conversion, b'd' | b'o' | b'x' | b'e' | b'f' | b'g' | b'a');
        if (flags.left || number && flags.zero) && self.width.is_none() && self.conversion != b'n' {
            return Err(invalid("a flag needs a width"));
        }
        if number {
            if flags.plus && flags.space || flags.left && flags.zero {
                return Err(invalid("two flags of the format contradict each other"));
            }
        } else if flags.plus || flags.space || flags.zero || flags.group || flags.parentheses {
            return wrong("a flag");
        }
        match self.conversion {
            b'd' | b'o' | b'x' if self.precision.is_some() => wrong("a precision"),
            b'd' if flags.alternate => wrong("#"),
            b'o' | b'x' | b'e' if flags.group => wrong(","),
            b'a' if flags.group || flags.parentheses => wrong("a flag"),
            b'g' | b'b' | b'h' | b'c' | b'%' if flags.alternate => wrong("#"),
            b'c' | b'%' | b'n' if self.precision.is_some() => wrong("a precision"),
            b'n' if self.width.is_some() || flags != Flags::default() => wrong("a width or flag"),
            _ => Ok(()),
        }
    }
}
