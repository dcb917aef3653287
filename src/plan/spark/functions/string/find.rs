//! Where a part of a text stands.

use arrow::array::{Int32Array, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use memchr::memmem::Finder;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, coerce_optional, data_error, literal};
use super::super::native::{Last, Returns, call};
use super::{count_chars, offset_of};
use crate::error::Result;

/// `instr(text, part[, from[, occurrence]])`.
pub(super) fn instr(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Text, Want::Text, Want::Int, Want::Int])?;
    if args.len() == 2 {
        let returns = Returns::new(DataType::Int32, any_nullable(&args));
        return Ok(call("instr", args, returns, |a| {
            let (s, part) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
            let mut finders = Last::default();
            a.primitive::<Int32Type>(|row| {
                let (s, part) = (s.get(row)?, part.get(row)?);
                let finder = finders.get(part, |part| Ok(Finder::new(part).into_owned())).ok()?;
                Some(finder.find(s.as_bytes()).map_or(0, |at| count_chars(&s[..at]) + 1))
            })
        }));
    }
    if args.len() == 3 {
        args.push(literal(1_i32.into()));
    }
    let returns = Returns::fallible(DataType::Int32, any_nullable(&args));
    Ok(call("instr", args, returns, |a| {
        let (s, part) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let (from, occurrence) = (a.column::<Int32Array>(2)?, a.column::<Int32Array>(3)?);
        a.try_primitive::<Int32Type>(|row| {
            let (Some(s), Some(part), Some(from), Some(occurrence)) =
                (s.get(row), part.get(row), from.get(row), occurrence.get(row))
            else {
                return Ok(None);
            };
            if occurrence <= 0 {
                let message = format!("the occurrence of `instr` must be positive, but is {occurrence}");
                return Err(data_error("INVALID_PARAMETER_VALUE.OCCURRENCE", message));
            }
            Ok(Some(nth_position(s, part, from, occurrence)))
        })
    }))
}

/// Where the n-th `part` at or behind `from` begins, or at or before it if that is negative and counts from the end.
fn nth_position(s: &str, part: &str, from: i32, occurrence: i32) -> i32 {
    if part.is_empty() {
        return 1;
    }
    let step = part.chars().next().map_or(1, char::len_utf8);
    let back = usize::try_from(-i64::from(from)).ok().filter(|back| *back > 0);
    let mut at = match back {
        None if from == 0 => return 0,
        None => offset_of(s, from as usize - 1),
        Some(back) => match (count_chars(s) as usize).checked_sub(back) {
            Some(start) => offset_of(s, start) + part.len(),
            None => return 0,
        },
    };
    for left in (0..occurrence).rev() {
        let found = match back {
            None => s.get(at..).and_then(|rest| rest.find(part)).map(|found| at + found),
            // The text up to the end of a match that begins at the place; it may end within a character.
            Some(_) => s.as_bytes().get(..at.min(s.len())).and_then(|head| memchr::memmem::rfind(head, part.as_bytes())),
        };
        let Some(found) = found else { return 0 };
        if left == 0 {
            return count_chars(&s[..found]) + 1;
        }
        at = match back {
            None => found + step,
            Some(_) => found + part.len() - 1,
        };
    }
    0
}
