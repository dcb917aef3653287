//! Character classes: `[…]`, `\p{…}` and the shorthands.

use std::fmt::Write;

use super::translate::{Problem, Step, Translator};

impl Translator {
    /// What follows `[`, up to its `]`, as a class with brackets.
    pub(super) fn class(&mut self) -> Step<String> {
        let class = self.nested_class()?;
        let folds = self.flags.ignore_case && self.flags.unicode_case;
        Ok(if folds { format!("(?i:{class})") } else { class })
    }

    /// The same within another class. Each operand of `&&` becomes a class of its own.
    fn nested_class(&mut self) -> Step<String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err(Problem::Unsupported("classes that are nested too deeply".into()));
        }
        let negated = self.take("^");
        let mut operands = vec![String::new()];
        let mut empty = true;
        loop {
            self.skip_comments();
            let out = operands.last_mut().ok_or("an empty class")?;
            let (ch, quoted) = self.next_any().ok_or("unclosed character class")?;
            match ch {
                _ if quoted => self.range(out, ch)?,
                ']' if !empty => break,
                '[' => out.push_str(&self.nested_class()?),
                '&' if self.take("&") => {
                    operands.push(String::new());
                    continue;
                }
                '\\' => self.escape_in_class(out)?,
                ch => self.range(out, ch)?,
            }
            empty = false;
        }
        self.depth -= 1;
        operands.retain(|operand| !operand.is_empty());
        let not = if negated { "^" } else { "" };
        Ok(match operands.as_slice() {
            [only] => format!("[{not}{only}]"),
            operands => format!("[{not}[{}]]", operands.join("]&&[")),
        })
    }

    fn escape_in_class(&mut self, out: &mut String) -> Step {
        match self.peek() {
            Some(kind @ ('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V')) => {
                self.next();
                let (members, negated) = shorthand(kind, self.flags.unicode_class);
                let _ = write!(out, "[{}{members}]", if negated { "^" } else { "" });
            }
            Some(kind @ ('p' | 'P')) => {
                self.next();
                out.push_str(&self.property(kind == 'P')?);
            }
            Some('N') => return Err(Problem::Unsupported(r"\N".into())),
            _ => {
                let ch = self.next().ok_or("nothing after the backslash")?;
                if ch.is_ascii_digit() && ch != '0' {
                    return Err("an illegal escape in a class".into());
                }
                let low = self.escaped_char(ch)?;
                self.range(out, low)?;
            }
        }
        Ok(())
    }

    /// A member of a class, or a range that begins with it.
    fn range(&mut self, out: &mut String, low: char) -> Step {
        self.skip_comments();
        let mut high = low;
        if self.peek() == Some('-') && !matches!(self.peek_second(), None | Some(']' | '[')) {
            self.next();
            high = self.next().ok_or("unclosed character class")?;
            if high == '\\' {
                let ch = self.next().ok_or("nothing after the backslash")?;
                high = self.escaped_char(ch)?;
            }
            if high < low {
                return Err("illegal character range".into());
            }
        }
        push_range(out, low, high);
        if self.flags.ignore_case {
            for (from, to, other) in [('a', 'z', 'A'), ('A', 'Z', 'a')] {
                let (low, high) = (low.max(from), high.min(to));
                if low <= high {
                    let shift = |ch: char| char::from(other as u8 + (ch as u8 - from as u8));
                    push_range(out, shift(low), shift(high));
                }
            }
        }
        Ok(())
    }

    /// `\p{…}` as a class of its own, brackets included.
    pub(super) fn property(&mut self, negated: bool) -> Step<String> {
        let name = match self.take("{") {
            true => self.until('}', "unclosed character family")?,
            false => self.next().ok_or("unclosed character family")?.to_string(),
        };
        let unknown = || Problem::Invalid(format!("the unknown character property {{{name}}}"));
        let ignore_case = self.flags.ignore_case;
        let members = if let Some((key, value)) = name.split_once('=') {
            match key.to_ascii_lowercase().as_str() {
                "sc" | "script" => script(value),
                "gc" | "general_category" => category(value, ignore_case),
                "blk" | "block" => Some(block(value)?),
                _ => None,
            }
        } else if let Some(name) = name.strip_prefix("In") {
            Some(block(name)?)
        } else if let Some(name) = name.strip_prefix("Is") {
            binary(name, ignore_case).or_else(|| category(name, ignore_case)).or_else(|| script(name))
        } else {
            let posix = posix(&name, ignore_case, self.flags.unicode_class).map(str::to_owned);
            posix.or_else(|| category(&name, ignore_case)).or_else(|| of_java(&name, ignore_case))
        };
        let members = members.ok_or_else(unknown)?;
        Ok(format!("[{}{members}]", if negated { "^" } else { "" }))
    }
}

fn posix(name: &str, ignore_case: bool, unicode: bool) -> Option<&'static str> {
    Some(match (name, unicode) {
        ("Lower" | "Upper", true) if ignore_case => r"\p{Lowercase}\p{Uppercase}\p{Lt}",
        ("Lower", true) => r"\p{Lowercase}",
        ("Upper", true) => r"\p{Uppercase}",
        ("Alpha", true) => r"\p{Alphabetic}",
        ("Digit", true) => r"\p{Nd}",
        ("Alnum", true) => r"\p{Alphabetic}\p{Nd}",
        ("Punct", true) => r"\p{P}",
        ("Graph", true) => r"[^\p{White_Space}\p{Cc}\p{Cs}\p{Cn}]",
        ("Print", true) => r"[^\p{Zl}\p{Zp}\p{Cc}\p{Cs}\p{Cn}]",
        ("Blank", true) => r"\p{Zs}\t",
        ("Cntrl", true) => r"\p{Cc}",
        ("XDigit", true) => r"\p{Nd}\p{Hex_Digit}",
        ("Space", true) => r"\p{White_Space}",
        ("Lower" | "Upper", _) if ignore_case => "a-zA-Z",
        ("Lower", _) => "a-z",
        ("Upper", _) => "A-Z",
        ("ASCII", _) => r"\x00-\x7F",
        ("Alpha", _) => "a-zA-Z",
        ("Digit", _) => "0-9",
        ("Alnum", _) => "a-zA-Z0-9",
        ("Punct", _) => r##"!-/:-@\[-`{-~"##,
        ("Graph", _) => "!-~",
        ("Print", _) => " -~",
        ("Blank", _) => r" \t",
        ("Cntrl", _) => r"\x00-\x1F\x7F",
        ("XDigit", _) => "0-9A-Fa-f",
        ("Space", _) => r" \t\n\x0B\f\r",
        _ => return None,
    })
}

/// General categories, and what Java counts as such.
fn category(name: &str, ignore_case: bool) -> Option<String> {
    Some(match name {
        "Lu" | "Ll" | "Lt" if ignore_case => r"\p{Lu}\p{Ll}\p{Lt}".into(),
        "LC" => r"\p{Lu}\p{Ll}\p{Lt}".into(),
        "LD" => r"\p{L}\p{Nd}".into(),
        "L1" => r"\x{0}-\x{FF}".into(),
        "all" => r"\x{0}-\x{10FFFF}".into(),
        "Cn" | "L" | "Lu" | "Ll" | "Lt" | "Lm" | "Lo" | "M" | "Mn" | "Mc" | "Me" | "N" | "Nd" | "Nl" | "No" | "P" | "Pc"
        | "Pd" | "Ps" | "Pe" | "Pi" | "Pf" | "Po" | "S" | "Sm" | "Sc" | "Sk" | "So" | "Z" | "Zs" | "Zl" | "Zp" | "C" | "Cc"
        | "Cf" | "Co" => format!("\\p{{{name}}}"),
        _ => return None,
    })
}

/// Properties that a character has or has not; their names know no case.
fn binary(name: &str, ignore_case: bool) -> Option<String> {
    Some(
        match name.to_ascii_uppercase().as_str() {
            "UPPERCASE" | "LOWERCASE" | "TITLECASE" if ignore_case => r"\p{Lowercase}\p{Uppercase}\p{Lt}",
            "ALPHABETIC" => r"\p{Alphabetic}",
            "LETTER" => r"\p{L}",
            "IDEOGRAPHIC" => r"\p{Ideographic}",
            "LOWERCASE" => r"\p{Lowercase}",
            "UPPERCASE" => r"\p{Uppercase}",
            "TITLECASE" => r"\p{Lt}",
            "WHITE_SPACE" | "WHITESPACE" => r"\p{White_Space}",
            "CONTROL" => r"\p{Cc}",
            "PUNCTUATION" => r"\p{P}",
            "HEX_DIGIT" | "HEXDIGIT" => r"\p{Nd}\p{Hex_Digit}",
            "ASSIGNED" => r"\P{Cn}",
            "NONCHARACTER_CODE_POINT" | "NONCHARACTERCODEPOINT" => r"\p{Noncharacter_Code_Point}",
            "DIGIT" => r"\p{Nd}",
            "JOIN_CONTROL" | "JOINCONTROL" => r"\x{200C}\x{200D}",
            _ => return None,
        }
        .to_owned(),
    )
}

/// What methods of `java.lang.Character` say.
fn of_java(name: &str, ignore_case: bool) -> Option<String> {
    Some(
        match name {
            "javaLowerCase" | "javaUpperCase" | "javaTitleCase" if ignore_case => r"\p{Lowercase}\p{Uppercase}\p{Lt}",
            "javaLowerCase" => r"\p{Lowercase}",
            "javaUpperCase" => r"\p{Uppercase}",
            "javaTitleCase" => r"\p{Lt}",
            "javaAlphabetic" => r"\p{Alphabetic}",
            "javaIdeographic" => r"\p{Ideographic}",
            "javaDigit" => r"\p{Nd}",
            "javaLetter" => r"\p{L}",
            "javaLetterOrDigit" => r"\p{L}\p{Nd}",
            "javaDefined" => r"\P{Cn}",
            "javaSpaceChar" => r"\p{Z}",
            "javaWhitespace" => r"\t-\r\x{1C}-\x{20}\x{1680}\x{2000}-\x{2006}\x{2008}-\x{200A}\x{2028}\x{2029}\x{205F}\x{3000}",
            "javaISOControl" => r"\p{Cc}",
            _ => return None,
        }
        .to_owned(),
    )
}

/// A script, if the crates know one of that name.
fn script(name: &str) -> Option<String> {
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let members = format!("\\p{{Script={name}}}");
    (is_name && regex::Regex::new(&members).is_ok()).then_some(members)
}

/// A block of code points.
fn block(name: &str) -> Step<String> {
    let plain: String = name.chars().filter(|ch| ch.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
    let found = BLOCKS.iter().find(|(name, ..)| *name == plain);
    let (_, low, high) = found.ok_or_else(|| Problem::Unsupported(format!("the Unicode block {{{name}}}")))?;
    Ok(format!("\\x{{{low:X}}}-\\x{{{high:X}}}"))
}

/// Blocks by name, without what is neither letter nor digit.
#[rustfmt::skip]
const BLOCKS: &[(&str, u32, u32)] = &[
    ("basiclatin", 0, 0x7F), ("latin1supplement", 0x80, 0xFF), ("latinextendeda", 0x100, 0x17F), ("latinextendedb", 0x180, 0x24F),
    ("ipaextensions", 0x250, 0x2AF), ("spacingmodifierletters", 0x2B0, 0x2FF), ("combiningdiacriticalmarks", 0x300, 0x36F),
    ("greek", 0x370, 0x3FF), ("greekandcoptic", 0x370, 0x3FF), ("cyrillic", 0x400, 0x4FF), ("cyrillicsupplementary", 0x500, 0x52F),
    ("armenian", 0x530, 0x58F), ("hebrew", 0x590, 0x5FF), ("arabic", 0x600, 0x6FF), ("syriac", 0x700, 0x74F), ("thaana", 0x780, 0x7BF),
    ("devanagari", 0x900, 0x97F), ("bengali", 0x980, 0x9FF), ("gurmukhi", 0xA00, 0xA7F), ("gujarati", 0xA80, 0xAFF),
    ("tamil", 0xB80, 0xBFF), ("telugu", 0xC00, 0xC7F), ("kannada", 0xC80, 0xCFF), ("malayalam", 0xD00, 0xD7F), ("thai", 0xE00, 0xE7F),
    ("lao", 0xE80, 0xEFF), ("tibetan", 0xF00, 0xFFF), ("georgian", 0x10A0, 0x10FF), ("hanguljamo", 0x1100, 0x11FF),
    ("latinextendedadditional", 0x1E00, 0x1EFF), ("greekextended", 0x1F00, 0x1FFF), ("generalpunctuation", 0x2000, 0x206F),
    ("superscriptsandsubscripts", 0x2070, 0x209F), ("currencysymbols", 0x20A0, 0x20CF), ("letterlikesymbols", 0x2100, 0x214F),
    ("numberforms", 0x2150, 0x218F), ("arrows", 0x2190, 0x21FF), ("mathematicaloperators", 0x2200, 0x22FF),
    ("boxdrawing", 0x2500, 0x257F), ("blockelements", 0x2580, 0x259F), ("geometricshapes", 0x25A0, 0x25FF),
    ("miscellaneoussymbols", 0x2600, 0x26FF), ("dingbats", 0x2700, 0x27BF), ("braillepatterns", 0x2800, 0x28FF),
    ("cjksymbolsandpunctuation", 0x3000, 0x303F), ("hiragana", 0x3040, 0x309F), ("katakana", 0x30A0, 0x30FF),
    ("cjkunifiedideographsextensiona", 0x3400, 0x4DBF), ("cjkunifiedideographs", 0x4E00, 0x9FFF), ("hangulsyllables", 0xAC00, 0xD7AF),
    ("privateusearea", 0xE000, 0xF8FF), ("cjkcompatibilityideographs", 0xF900, 0xFAFF), ("arabicpresentationformsa", 0xFB50, 0xFDFF),
    ("halfwidthandfullwidthforms", 0xFF00, 0xFFEF), ("specials", 0xFFF0, 0xFFFF), ("emoticons", 0x1F600, 0x1F64F),
    ("miscellaneoussymbolsandpictographs", 0x1F300, 0x1F5FF), ("transportandmapsymbols", 0x1F680, 0x1F6FF),
];

/// The members of a shorthand class, and whether they are what it excludes.
pub(super) fn shorthand(kind: char, unicode: bool) -> (&'static str, bool) {
    let members = match (kind.to_ascii_lowercase(), unicode) {
        ('d', true) => r"\p{Nd}",
        ('w', true) => r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}",
        ('s', true) => r"\p{White_Space}",
        ('d', false) => "0-9",
        ('w', false) => "a-zA-Z0-9_",
        ('s', false) => r" \t\n\x0B\f\r",
        ('h', _) => r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
        _ => r"\n\x0B\f\r\x{85}\x{2028}\x{2029}",
    };
    (members, kind.is_ascii_uppercase())
}

fn push_range(out: &mut String, low: char, high: char) {
    push_escaped(out, low);
    if high > low {
        out.push('-');
        push_escaped(out, high);
    }
}

/// Appends a character that means itself.
pub(super) fn push_escaped(out: &mut String, ch: char) {
    let plain = ch.is_ascii_alphanumeric() || (!ch.is_ascii() && ch != super::translate::END_MARK) || ch == '_' || ch == ' ';
    if plain {
        out.push(ch);
    } else {
        let _ = write!(out, "\\x{{{:X}}}", ch as u32);
    }
}
