//! What of Java's library Spark's results depend on: its random numbers, and hash codes of values.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use crate::error::{Error, Result};

/// Java's generator of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

impl Random {
    /// The numbers that come from `seed`.
    pub(super) fn new(seed: i64) -> Self {
        Self((seed as u64 ^ MULTIPLIER) & MASK)
    }

    fn bits(&mut self, count: u32) -> u64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        self.0 >> (48 - count)
    }

    /// At least 0, below 1.
    pub(super) fn double(&mut self) -> f64 {
        ((self.bits(26) << 27) + self.bits(27)) as f64 / (1_u64 << 53) as f64
    }

    /// At least 0, below 2^31 - 1.
    pub(super) fn below_most(&mut self) -> i64 {
        loop {
            let bits = self.bits(31) as i64;
            if bits != i64::from(i32::MAX) {
                return bits;
            }
        }
    }
}

/// `hashCode` of each of the values as Spark holds them for itself; of nulls, none in particular.
pub(super) fn hash_codes(column: &ArrayRef) -> Result<Vec<i32>> {
    macro_rules! of {
        ($t:ty, $hash:expr) => {
            column.as_primitive::<$t>().values().iter().map(|v| $hash(*v)).collect()
        };
    }
    Ok(match column.data_type() {
        DataType::Null => vec![0; column.len()],
        DataType::Boolean => column.as_boolean().values().iter().map(|v| if v { 1231 } else { 1237 }).collect(),
        DataType::Int8 => of!(Int8Type, i32::from),
        DataType::Int16 => of!(Int16Type, i32::from),
        DataType::Int32 => of!(Int32Type, i32::from),
        DataType::Date32 => of!(Date32Type, i32::from),
        DataType::Int64 => of!(Int64Type, long),
        DataType::Timestamp(..) => of!(TimestampMicrosecondType, long),
        DataType::Float32 => of!(Float32Type, float),
        DataType::Float64 => of!(Float64Type, double),
        DataType::Decimal128(_, scale) => of!(Decimal128Type, |v| decimal(v, i32::from(*scale))),
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            (0..texts.len()).map(|row| text(texts.value(row))).collect()
        }
        other => return Err(Error::internal(format!("{other} has no hash code"))),
    })
}

fn long(value: i64) -> i32 {
    (value ^ (value as u64 >> 32) as i64) as i32
}

fn float(value: f32) -> i32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() as i32 }
}

fn double(value: f64) -> i32 {
    long(if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() as i64 })
}

fn text(value: &str) -> i32 {
    value.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Scala's: a whole one as the number that it is, else as the double that shows it, if one does.
fn decimal(unscaled: i128, scale: i32) -> i32 {
    let (mut digits, mut scale) = (unscaled, scale);
    while scale > 0 && digits % 10 == 0 {
        (digits, scale) = (digits / 10, scale - 1);
    }
    if scale <= 0 {
        return whole(digits);
    }
    let nearest = digits as f64 / 10_f64.powi(scale);
    if digits.unsigned_abs() < 1_u128 << 53 {
        let narrow = nearest as f32;
        return if f64::from(narrow) == nearest { float(narrow) } else { double(nearest) };
    }
    mix_last(whole(digits) as u32, scale as u32) as i32
}

fn whole(value: i128) -> i32 {
    if let Ok(value) = i64::try_from(value) {
        return i32::try_from(value).unwrap_or_else(|_| long(value));
    }
    let magnitude = value.unsigned_abs();
    let words = (0..4).rev().map(|word| (magnitude >> (32 * word)) as u32).skip_while(|word| *word == 0);
    let hash = words.fold(0_u32, |hash, word| hash.wrapping_mul(31).wrapping_add(word)) as i32;
    if value < 0 { hash.wrapping_neg() } else { hash }
}

fn mix_last(hash: u32, data: u32) -> u32 {
    hash ^ data.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_are_those_of_java() {
        assert_eq!(text("Spark \u{1F600}"), {
            let units: Vec<u16> = "Spark \u{1F600}".encode_utf16().collect();
            units.iter().fold(0_i32, |h, u| h.wrapping_mul(31).wrapping_add(i32::from(*u)))
        });
        assert_eq!(
            (text("hello"), long(-1), long(1 << 40), double(1.5), float(1.5)),
            (99_162_322, 0, 256, 1_073_217_536, 1_069_547_520)
        );
        assert_eq!((decimal(1500, 2), decimal(150, 2), decimal(-5, 2)), (15, float(1.5), double(-0.05)));
        assert_eq!(whole(1 << 64), 961);
    }

    #[test]
    fn random_numbers_are_those_of_java() {
        let mut random = Random::new(1);
        assert_eq!(random.below_most(), 0x5D8D_6AB9);
    }
}
