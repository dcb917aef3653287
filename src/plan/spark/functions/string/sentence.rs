//! `sentences`: a text as sentences of words, without what stands between them.
//!
//! Both are cut where Java's `BreakIterator` cuts them, whose rules are older than Unicode's.

use std::sync::{Arc, LazyLock};

use arrow::array::{ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use regex::Regex;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, array_of, coerce_optional};
use super::super::native::{Returns, call, within_column};
use crate::error::Result;

/// `sentences(text[, language, country])`; language and country change nothing here.
pub(super) fn sentences(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce_optional(&mut c, 1, &[Want::Text, Want::Text, Want::Text])?;
    let returns = Returns::new(array_of(array_of(DataType::Utf8)), args[0].nullable);
    Ok(call("sentences", args, returns, |a| {
        let texts = a.column::<StringArray>(0)?;
        let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
        let mut bytes = 0;
        for row in 0..a.rows() {
            let text = texts.get(row);
            let mut rest = text.unwrap_or_default();
            while !rest.is_empty() {
                let (sentence, behind) = rest.split_at(sentence_end(rest));
                bytes = within_column(bytes + sentence.len())?;
                words(sentence, |word| lists.values().values().append_value(word));
                lists.values().append(true);
                rest = behind;
            }
            lists.append(text.is_some());
        }
        Ok(Arc::new(lists.finish()))
    }))
}

/// What a character is to the end of a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ends a sentence wherever it stands.
    End,
    /// Ends one in front of a space and no small letter.
    Stop,
    Space,
    /// A closing bracket or quote.
    Closing,
    Small,
    /// A letter that is not small.
    Letter,
    Digit,
    /// Of no importance: an accent, a soft hyphen.
    Mark,
    Paragraph,
    Other,
}

fn kind(char: char) -> Kind {
    const CLASSES: [(&str, Kind); 6] = [
        (r"[\p{Mn}\p{Me}\p{Cf}]", Kind::Mark),
        (r"\p{Zs}", Kind::Space),
        (r"\p{Ll}", Kind::Small),
        (r"\p{L}", Kind::Letter),
        (r"\p{N}", Kind::Digit),
        (r"[\p{Pe}\p{Pf}]", Kind::Closing),
    ];
    static OF_ALL: LazyLock<Vec<(Regex, Kind)>> =
        LazyLock::new(|| CLASSES.iter().filter_map(|(class, kind)| Some((Regex::new(class).ok()?, *kind))).collect());
    match char {
        '!' | '?' | '。' | '！' | '？' | '।' | '॥' => Kind::End,
        '.' | '．' => Kind::Stop,
        ' ' | '\t' | '\r' | '\n' | '\u{c}' | '\u{2028}' => Kind::Space,
        '\u{2029}' => Kind::Paragraph,
        ')' | ']' | '}' | '"' | '\'' => Kind::Closing,
        'a'..='z' => Kind::Small,
        'A'..='Z' => Kind::Letter,
        '0'..='9' => Kind::Digit,
        '\0'..='\u{7f}' => Kind::Other,
        other => {
            let mut bytes = [0; 4];
            let text = other.encode_utf8(&mut bytes);
            OF_ALL.iter().find(|(class, _)| class.is_match(text)).map_or(Kind::Other, |(_, kind)| *kind)
        }
    }
}

/// Where the first sentence of `text` ends.
fn sentence_end(text: &str) -> usize {
    // The strongest mark since the last letter, whether anything but a mark was behind it, and where the spaces behind it end.
    let (mut ended, mut closed, mut spaced): (Option<Kind>, bool, Option<usize>) = (None, false, None);
    let mut opened = false;
    for (at, char) in text.char_indices() {
        let kind = kind(char);
        match (kind, ended) {
            (Kind::Paragraph, _) => return at + char.len_utf8(),
            (Kind::Mark, _) => {}
            (_, Some(Kind::End)) if spaced.is_some() && kind != Kind::Space => return at,
            (Kind::End | Kind::Stop, Some(last)) if !closed && spaced.is_none() => {
                ended = Some(if last == Kind::End { last } else { kind });
            }
            (_, Some(Kind::End)) if !matches!(kind, Kind::Space | Kind::Closing) => return at,
            (Kind::End | Kind::Stop, _) => (ended, closed, spaced, opened) = (Some(kind), false, None, false),
            (_, None) => {}
            (Kind::Closing, Some(_)) if spaced.is_none() => closed = true,
            (Kind::Space, Some(_)) if !opened => spaced = Some(at + char.len_utf8()),
            (Kind::Letter, Some(_)) if spaced.is_some() => return spaced.unwrap_or(at),
            // What may stand in front of the first letter of a sentence.
            (Kind::Other | Kind::Closing, Some(_)) if spaced.is_some() => opened = true,
            _ => (ended, closed, spaced, opened) = (None, false, None, false),
        }
    }
    text.len()
}

/// Words, numbers and mixtures of both, with what is between: whatever else there is stands alone and is no word. Marks belong to
/// what they stand behind.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const KANJI: &str = r"\x{3005}\x{4e00}-\x{9fa5}\x{f900}-\x{fa2d}";
    const KATAKANA: &str = r"\x{30a1}-\x{30fa}\x{30fd}\x{30fe}";
    const HIRAGANA: &str = r"\x{3041}-\x{3094}\x{309d}\x{309e}";
    const SOUNDS: &str = r"\x{3099}-\x{309c}\x{30fb}\x{30fc}";
    const MARK: &str = r"[\p{Mn}\p{Me}\p{Cf}]*";
    let letters = format!(r"(?:[\p{{L}}\p{{Mc}}--[{KANJI}{KATAKANA}{HIRAGANA}{SOUNDS}]]{MARK})+");
    let word = format!(r#"{letters}(?:[\p{{Pd}}\p{{Pc}}\x{{ad}}\x{{2027}}"'.]{MARK}{letters})*(?:[।॥]{MARK})?"#);
    let digits = format!(r"(?:\p{{N}}{MARK})+");
    let number = format!(r#"{digits}(?:["',\x{{66b}}.]{MARK}{digits})*"#);
    let last = format!(r"{number}(?:[¢%٪‰‱&]{MARK})?");
    let mixed = format!("(?:{number}{word})*(?:{last})?");
    let prefixed = format!(r"[\p{{Sc}}#.--¢]{MARK}{mixed}");
    let run = |script: &str| format!("[{SOUNDS}]*[{script}][{script}{SOUNDS}]*");
    let scripts = format!("{}|{}|[{SOUNDS}]+|[{KANJI}]+", run(KATAKANA), run(HIRAGANA));
    Regex::new(&format!("{prefixed}|{word}{mixed}|(?:{number}{word})+(?:{last})?|{last}|{scripts}")).ok()
});

/// Calls `take` with each word that begins with a letter or digit.
fn words<'t>(text: &'t str, take: impl FnMut(&'t str)) {
    static FIRST: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}--[\x{10000}-\x{10ffff}]]").ok());
    let (Some(word), Some(first)) = (WORD.as_ref(), FIRST.as_ref()) else { return };
    word.find_iter(text).map(|found| found.as_str()).filter(|word| first.is_match(word)).for_each(take);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with a space between, sentences with a bar.
    fn cut(mut text: &str) -> String {
        let mut sentences = Vec::new();
        while !text.is_empty() {
            let (sentence, rest) = text.split_at(sentence_end(text));
            let mut found = Vec::new();
            words(sentence, |word| found.push(word));
            sentences.push(found.join(" "));
            text = rest;
        }
        sentences.join("|")
    }

    #[test]
    fn texts_are_cut_where_java_cuts_them() {
        for (text, expected) in [
            ("Hi there! How are you? fine. thanks. Bye", "Hi there|How are you|fine thanks|Bye"),
            ("x=1&y=2 5% #7 $5.00 .5 1,000.5 3.x a-b 1-2 c_d", "x 1& y 2 5% 1,000.5 3 x a-b 1 2 c_d"),
            ("A. 3 B. (D e. \"F\". G h. ( I", "A 3 B|D e|F|G h I"),
            ("日本語テキスト です。カタカナ", "日本語 テキスト です|カタカナ"),
            ("e\u{301}a. \u{1f600} b. \u{1f600}C", "e\u{301}a b|C"),
        ] {
            assert_eq!(cut(text), expected, "{text}");
        }
    }
}
