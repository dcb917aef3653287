//! `sentences`: a text as sentences of words, without what stands between them.

use std::sync::Arc;

use arrow::array::{ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::DataType;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, array_of, coerce_optional};
use super::super::native::{Returns, call};
use crate::error::Result;

/// `sentences(text[, language, country])`; language and country change nothing here.
pub(super) fn sentences(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce_optional(&mut c, 1, &[Want::Text, Want::Text, Want::Text])?;
    let returns = Returns::new(array_of(array_of(DataType::Utf8)), args[0].nullable);
    Ok(call("sentences", args, returns, |a| {
        let texts = a.column::<StringArray>(0)?;
        let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
        for row in 0..a.rows() {
            let text = texts.get(row);
            let mut rest = text.unwrap_or_default();
            while !rest.is_empty() {
                let (sentence, behind) = rest.split_at(sentence_end(rest));
                words(sentence, |word| lists.values().values().append_value(word));
                lists.values().append(true);
                rest = behind;
            }
            lists.append(text.is_some());
        }
        Ok(Arc::new(lists.finish()))
    }))
}

/// Where the first sentence of `text` ends. `!` and `?` always end one, a full stop only in front of a space and no small letter.
fn sentence_end(text: &str) -> usize {
    let (mut ended, mut only_stops, mut spaced) = (false, true, false);
    for (at, char) in text.char_indices() {
        match char {
            '.' | '!' | '?' | '…' | '。' | '！' | '？' if !spaced || !ended => {
                only_stops &= char == '.' || char == '…';
                ended = true;
            }
            _ if !ended => {}
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' if !spaced => {}
            _ if char.is_whitespace() => spaced = true,
            _ if !only_stops => return at,
            // What is neither small nor capital decides nothing.
            _ if spaced && !char.is_lowercase() => return at,
            _ => (ended, only_stops, spaced) = (false, true, false),
        }
    }
    text.len()
}

/// Calls `take` with each word that begins with a letter or digit.
fn words(text: &str, mut take: impl FnMut(&str)) {
    let mut start = None;
    let mut chars = text.char_indices().peekable();
    let mut last = ' ';
    while let Some((at, char)) = chars.next() {
        let next = chars.peek().map_or(' ', |(_, next)| *next);
        let joins = match char {
            '\'' | '’' | '-' | '.' | '_' | '\u{ad}' => last.is_alphanumeric() && next.is_alphanumeric(),
            ',' => last.is_numeric() && next.is_numeric(),
            '%' => last.is_numeric(),
            '$' | '£' | '€' => next.is_numeric(),
            _ => false,
        };
        if char.is_alphanumeric() || joins {
            start.get_or_insert(at);
        } else if let Some(start) = start.take() {
            take_word(&text[start..at], &mut take);
        }
        last = char;
    }
    if let Some(start) = start {
        take_word(&text[start..], &mut take);
    }
}

fn take_word(word: &str, take: &mut impl FnMut(&str)) {
    if word.starts_with(char::is_alphanumeric) {
        take(word);
    }
}
