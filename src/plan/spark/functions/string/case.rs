//! Letters: capitals, masks, and how words sound or differ.

use std::mem::swap;
use std::sync::Arc;

use arrow::array::{Array, Int32Array, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, coerce, coerce_optional, text};
use super::super::native::{Returns, call, from_arrow};
use crate::error::Result;

/// All letters as capitals.
pub(super) fn upper(c: Call<'_>) -> Result<Typed> {
    cased(c, str::make_ascii_uppercase, str::to_uppercase)
}

/// All letters as small ones.
pub(super) fn lower(c: Call<'_>) -> Result<Typed> {
    cased(c, str::make_ascii_lowercase, str::to_lowercase)
}

/// Texts of ASCII are changed in place, a whole column of them at once; others one by one.
fn cased(mut c: Call<'_>, in_place: fn(&mut str), any: fn(&str) -> String) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let s = a.column::<StringArray>(0)?;
        let array = s.array();
        let offsets = array.value_offsets();
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        let bytes = &array.value_data()[first as usize..last as usize];
        if bytes.is_ascii() && array.len() == a.rows() {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            in_place(&mut text);
            let offsets = offsets.iter().map(|offset| offset - first).collect::<Vec<_>>();
            let changed =
                StringArray::try_new(OffsetBuffer::new(offsets.into()), text.into_bytes().into(), array.nulls().cloned());
            return Ok(Arc::new(changed.map_err(from_arrow)?));
        }
        a.strings(|row, out| {
            let s = s.get(row)?;
            if s.is_ascii() {
                out.push_str(s);
                in_place(out);
            } else {
                out.push_str(&any(s));
            }
            Some(())
        })
    }))
}

/// Words, separated by spaces alone, with a capital first letter and small others.
pub(super) fn initcap(s: &str, out: &mut String) {
    if s.is_ascii() {
        let mut first = true;
        out.extend(s.bytes().map(|byte| {
            let letter = if first { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            first = byte == b' ';
            char::from(letter)
        }));
        return;
    }
    for (index, word) in s.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            push_title(first, out);
            let rest = letters.as_str();
            if rest.contains('Σ') {
                // Lower-cased with the letter before it, which a final sigma depends on.
                let skip: usize = first.to_lowercase().map(char::len_utf8).sum();
                out.push_str(&word.to_lowercase()[skip..]);
            } else {
                out.extend(rest.chars().flat_map(char::to_lowercase));
            }
        }
    }
}

/// Title case where it is not upper case: digraphs, ligatures, Greek with iota subscript, Georgian.
fn push_title(letter: char, out: &mut String) {
    let text = match letter {
        'ß' => "Ss",
        'Ǆ' | 'ǅ' | 'ǆ' => "ǅ",
        'Ǉ' | 'ǈ' | 'ǉ' => "ǈ",
        'Ǌ' | 'ǋ' | 'ǌ' => "ǋ",
        'Ǳ' | 'ǲ' | 'ǳ' => "ǲ",
        'ﬀ' => "Ff",
        'ﬁ' => "Fi",
        'ﬂ' => "Fl",
        'ﬃ' => "Ffi",
        'ﬄ' => "Ffl",
        'ﬅ' | 'ﬆ' => "St",
        'և' => "Եւ",
        'ﬓ' => "Մն",
        'ﬔ' => "Մե",
        'ﬕ' => "Մի",
        'ﬖ' => "Վն",
        'ﬗ' => "Մխ",
        '\u{1FB3}' | '\u{1FBC}' => "\u{1FBC}",
        '\u{1FC3}' | '\u{1FCC}' => "\u{1FCC}",
        '\u{1FF3}' | '\u{1FFC}' => "\u{1FFC}",
        '\u{1FB2}' => "\u{1FBA}\u{345}",
        '\u{1FB4}' => "\u{386}\u{345}",
        '\u{1FB7}' => "\u{391}\u{342}\u{345}",
        '\u{1FC2}' => "\u{1FCA}\u{345}",
        '\u{1FC4}' => "\u{389}\u{345}",
        '\u{1FC7}' => "\u{397}\u{342}\u{345}",
        '\u{1FF2}' => "\u{1FFA}\u{345}",
        '\u{1FF4}' => "\u{38F}\u{345}",
        '\u{1FF7}' => "\u{3A9}\u{342}\u{345}",
        '\u{10D0}'..='\u{10FA}' | '\u{10FD}'..='\u{10FF}' => return out.push(letter),
        '\u{1F80}'..='\u{1FAF}' => return out.extend(char::from_u32(letter as u32 | 8)),
        _ => return out.extend(letter.to_uppercase()),
    };
    out.push_str(text);
}

/// The American soundex code; a text that does not begin with a letter is its own code.
pub(super) fn soundex(s: &str, out: &mut String) {
    // Digit per letter A..Z; 0 for vowels, 7 for H and W, which do not separate equal codes.
    const CODES: &[u8; 26] = b"01230127022455012623017202";
    let bytes = s.as_bytes();
    let Some(first) = bytes.first().map(u8::to_ascii_uppercase).filter(u8::is_ascii_uppercase) else {
        out.push_str(s);
        return;
    };
    out.push(char::from(first));
    let mut last = CODES[usize::from(first - b'A')];
    for &byte in &bytes[1..] {
        if out.len() == 4 {
            break;
        }
        let upper = byte.to_ascii_uppercase();
        if !upper.is_ascii_uppercase() {
            last = b'0';
            continue;
        }
        let code = CODES[usize::from(upper - b'A')];
        if code == b'7' {
            continue;
        }
        if code != b'0' && code != last {
            out.push(char::from(code));
        }
        last = code;
    }
    while out.len() < 4 {
        out.push('0');
    }
}

/// The text in single quotes, those within escaped.
pub(super) fn quote(s: &str, out: &mut String) {
    out.push('\'');
    out.push_str(&s.replace('\'', "\\'"));
    out.push('\'');
}

/// Edits between two texts; -1 where there are more than the threshold.
pub(super) fn levenshtein(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce_optional(&mut c, 2, &[Want::Text, Want::Text, Want::Int])?;
    let returns = Returns::new(DataType::Int32, any_nullable(&args[..2]));
    Ok(call(c.name, args, returns, |a| {
        let (left, right) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let limit = if a.count() == 3 { Some(a.column::<Int32Array>(2)?) } else { None };
        let (mut row_of_costs, mut letters) = (Vec::new(), Vec::new());
        a.primitive::<Int32Type>(|row| {
            let edits = edits(left.get(row)?, right.get(row)?, &mut letters, &mut row_of_costs);
            Some(match &limit {
                // A null counts as 0.
                Some(limit) if edits > limit.get(row).unwrap_or(0) => -1,
                _ => edits,
            })
        })
    }))
}

fn edits<'s>(mut left: &'s str, mut right: &'s str, letters: &mut Vec<char>, costs: &mut Vec<i32>) -> i32 {
    if left.len() < right.len() {
        swap(&mut left, &mut right);
    }
    letters.clear();
    letters.extend(right.chars());
    costs.clear();
    costs.extend(0..=letters.len() as i32);
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = costs[0];
        costs[0] = i as i32 + 1;
        for (j, b) in letters.iter().enumerate() {
            let cost = (diagonal + i32::from(a != *b)).min(costs[j] + 1).min(costs[j + 1] + 1);
            diagonal = costs[j + 1];
            costs[j + 1] = cost;
        }
    }
    costs[letters.len()]
}

/// A decimal digit of any script.
fn is_digit(ch: char) -> bool {
    static DIGIT: std::sync::LazyLock<regex::Regex> =
        std::sync::LazyLock::new(|| regex::Regex::new(r"^\p{Nd}$").expect("the pattern is a constant"));
    ch.is_ascii_digit() || (!ch.is_ascii() && DIGIT.is_match(ch.encode_utf8(&mut [0; 4])))
}

/// Replaces capitals, small letters, digits and (only if asked to) other characters.
pub(super) fn mask(mut c: Call<'_>) -> Result<Typed> {
    const TEXTS: &[Want] = &[Want::Text; 5];
    super::only_texts(&c)?;
    let mut args = coerce_optional(&mut c, 1, TEXTS)?;
    for default in ["X", "x", "n"].iter().skip(args.len() - 1) {
        args.push(text(*default));
    }
    if args.len() == 4 {
        args.push(super::null_of(DataType::Utf8)?);
    }
    for (arg, name) in args[1..].iter().zip(["upperChar", "lowerChar", "digitChar", "otherChar"]) {
        use datafusion::scalar::ScalarValue;
        if let ScalarValue::Utf8(Some(value)) = super::super::arguments::require_constant(&c, name, arg)? {
            if value.chars().count() != 1 {
                return Err(super::mismatch("INPUT_SIZE_NOT_ONE", format!("length of {name} should be 1")));
            }
        }
    }
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, |a| {
        let s = a.column::<StringArray>(0)?;
        let with = (1..5)
            .map(|i| Ok(a.column::<StringArray>(i)?.get(0).and_then(|t| t.chars().next())))
            .collect::<Result<Vec<Option<char>>>>()?;
        a.strings(|row, out| {
            out.extend(s.get(row)?.chars().map(|ch| {
                let replacement = if ch.is_uppercase() {
                    with[0]
                } else if ch.is_lowercase() {
                    with[1]
                } else if is_digit(ch) {
                    with[2]
                } else {
                    with[3]
                };
                replacement.unwrap_or(ch)
            }));
            Some(())
        })
    }))
}
