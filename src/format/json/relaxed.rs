//! JSON by other rules than usual, rewritten to text that the decoder reads as it always does.

/// What is taken beside what always is, and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relaxed {
    /// `{a: 1}`.
    pub unquoted_names: bool,
    /// `007`.
    pub leading_zeros: bool,
    /// `/* … */` and `// …`.
    pub comments: bool,
    /// `"\q"` is `"q"`.
    pub any_escape: bool,
    /// Line ends and the like in strings as they are.
    pub control_chars: bool,
    /// `'a'`, which is usual.
    pub single_quotes: bool,
    /// `NaN`, `Infinity`, which is usual.
    pub non_numeric: bool,
}

impl Default for Relaxed {
    fn default() -> Self {
        Self {
            unquoted_names: false,
            leading_zeros: false,
            comments: false,
            any_escape: false,
            control_chars: false,
            single_quotes: true,
            non_numeric: true,
        }
    }
}

/// What no text with it in it can be read as.
const BROKEN: char = '\u{1}';

impl Relaxed {
    /// `text` as the decoder reads it; what these rules do not take becomes something that it does not take.
    pub fn rewritten(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        // The open brackets, and whether a name may come.
        let (mut open, mut name) = (Vec::new(), false);
        while let Some(char) = rest.chars().next() {
            let length = match char {
                '"' | '\'' if char == '"' || self.single_quotes => self.string(rest, char, &mut out),
                '\'' => {
                    out.push(BROKEN);
                    1
                }
                '/' if self.comments && rest[1..].starts_with(['*', '/']) => {
                    let (end, after) = if rest[1..].starts_with('*') { ("*/", 2) } else { ("\n", 1) };
                    out.push(' ');
                    rest[2..].find(end).map_or(rest.len(), |at| at + 2 + after)
                }
                '{' | '[' | '}' | ']' | ',' => {
                    match char {
                        '{' | '[' => open.push(char),
                        ',' => {}
                        _ => drop(open.pop()),
                    }
                    name = matches!(char, '{' | ',') && open.last() == Some(&'{');
                    out.push(char);
                    1
                }
                _ if char.is_whitespace() || char == ':' => {
                    out.push(char);
                    char.len_utf8()
                }
                _ => self.word(rest, name, &mut out),
            };
            if !char.is_whitespace() && !matches!(char, '{' | ',' | '/') {
                name = false;
            }
            rest = &rest[length..];
        }
        out
    }

    /// A string with its quotes; how many bytes it has.
    fn string(&self, text: &str, quote: char, out: &mut String) -> usize {
        out.push(quote);
        let mut chars = text.char_indices().skip(1);
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some((_, next)) if !self.any_escape || "\"\\/bfnrtu".contains(next) => out.extend(['\\', next]),
                    Some((_, next)) if next < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(next))),
                    Some((_, next)) => out.push(next),
                    None => out.push('\\'),
                },
                _ if char == quote => {
                    out.push(quote);
                    return at + 1;
                }
                '\0'..='\u{1f}' if self.control_chars => out.push_str(&format!("\\u{:04x}", u32::from(char))),
                _ => out.push(char),
            }
        }
        text.len()
    }

    /// A number, a name or a word such as `null`; how many bytes it has.
    fn word(&self, text: &str, name: bool, out: &mut String) -> usize {
        let ends = |char: char| char.is_whitespace() || matches!(char, '{' | '}' | '[' | ']' | ',' | ':' | '"' | '\'' | '/');
        let length = text.find(ends).unwrap_or(text.len()).max(text.chars().next().map_or(0, char::len_utf8));
        let word = &text[..length];
        if name && self.unquoted_names {
            out.extend(['"']);
            out.push_str(word);
            out.extend(['"']);
            return length;
        }
        let (sign, digits) = word.split_at(usize::from(word.starts_with('-')));
        let is_number = digits.starts_with(|char: char| char.is_ascii_digit());
        if !is_number && !self.non_numeric && !matches!(word, "true" | "false" | "null") {
            out.push(BROKEN);
        }
        out.push_str(sign);
        if is_number && self.leading_zeros {
            let zeros = digits.len() - digits.trim_start_matches('0').len();
            let needed = usize::from(!digits[zeros..].starts_with(|char: char| char.is_ascii_digit()));
            out.push_str(&digits[zeros.saturating_sub(needed)..]);
        } else {
            out.push_str(digits);
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_changes_what_it_is_about_and_nothing_else() {
        let usual = Relaxed::default();
        let text = r#"{a-b: [01, "x\q/*", 'y' /*c*/], "d": NaN, "e": -007.50, "f": {g: null}} // h"#;
        for (rules, expected) in [
            (usual, text),
            (
                Relaxed { unquoted_names: true, ..usual },
                r#"{"a-b": [01, "x\q/*", 'y' /*c*/], "d": NaN, "e": -007.50, "f": {"g": null}} // h"#,
            ),
            (
                Relaxed { leading_zeros: true, ..usual },
                r#"{a-b: [1, "x\q/*", 'y' /*c*/], "d": NaN, "e": -7.50, "f": {g: null}} // h"#,
            ),
            (Relaxed { comments: true, ..usual }, r#"{a-b: [01, "x\q/*", 'y'  ], "d": NaN, "e": -007.50, "f": {g: null}}  "#),
            (
                Relaxed { any_escape: true, ..usual },
                r#"{a-b: [01, "xq/*", 'y' /*c*/], "d": NaN, "e": -007.50, "f": {g: null}} // h"#,
            ),
        ] {
            assert_eq!(rules.rewritten(text), expected, "{rules:?}");
        }
        assert_eq!(Relaxed { control_chars: true, ..usual }.rewritten("[\"a\tb\"]"), r#"["a\u0009b"]"#);
        assert_eq!(Relaxed { single_quotes: false, ..usual }.rewritten("['a']"), "[\u{1}a\u{1}]");
        assert_eq!(Relaxed { non_numeric: false, ..usual }.rewritten("[NaN, 0, true]"), "[\u{1}NaN, 0, true]");
    }
}
