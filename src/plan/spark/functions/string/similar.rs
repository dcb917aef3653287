//! How alike two texts are.

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Float64Type};

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, any_nullable, coerce};
use super::super::native::{Returns, call};
use crate::error::Result;

/// Longest common beginning that counts.
const PREFIX_MAX: usize = 4;

/// `jaro_winkler_similarity(a, b)`.
pub(super) fn jaro_winkler(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Text, Want::Text])?;
    let returns = Returns::new(DataType::Float64, any_nullable(&args));
    Ok(call("jaro_winkler_similarity", args, returns, |a| {
        let (left, right) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        a.primitive::<Float64Type>(|row| {
            let (left, right) = (left.get(row)?, right.get(row)?);
            one.clear();
            one.extend(left.encode_utf16());
            other.clear();
            other.extend(right.encode_utf16());
            Some(similarity(&one, &other))
        })
    }))
}

/// By Jaro, with a bonus for a common beginning where that says 0.7 or more.
fn similarity(left: &[u16], right: &[u16]) -> f64 {
    if left == right {
        return 1.0;
    }
    let (long, short) = if left.len() > right.len() { (left, right) } else { (right, left) };
    let reach = (long.len() / 2).saturating_sub(1);
    let mut taken = vec![false; long.len()];
    let mut matched = Vec::new();
    for (place, unit) in short.iter().enumerate() {
        let window = place.saturating_sub(reach)..(place + reach + 1).min(long.len());
        if let Some(found) = window.into_iter().find(|at| !taken[*at] && long[*at] == *unit) {
            taken[found] = true;
            matched.push(*unit);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let in_order = long.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(unit, _)| unit);
    let swapped = in_order.zip(&matched).filter(|(a, b)| a != b).count();
    let prefix = left.iter().zip(right).take(PREFIX_MAX).take_while(|(a, b)| a == b).count();
    let matches = matched.len() as f64;
    let jaro = (matches / left.len() as f64 + matches / right.len() as f64 + (matches - swapped as f64 / 2.0) / matches) / 3.0;
    if jaro < 0.7 { jaro } else { jaro + 0.1 * prefix as f64 * (1.0 - jaro) }
}
