//! What of Java's and Scala's libraries Spark's results depend on: random numbers, hash codes of values, and the order in which hash
//! tables give what they hold.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::super::hash::murmur3;
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

/// `hashCode` of each of the values as Spark's rows hold them, of types of which it is known.
pub(super) fn row_hash_codes(column: &ArrayRef) -> Result<Option<Vec<i32>>> {
    Ok(match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            Some((0..texts.len()).map(|row| murmur3(texts.value(row).as_bytes()) as i32).collect())
        }
        DataType::Binary => {
            let bytes = column.as_binary::<i32>();
            Some((0..bytes.len()).map(|row| byte_array(bytes.value(row))).collect())
        }
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Decimal128(..) => Some(hash_codes(column)?),
        _ => None,
    })
}

/// The hash by which Scala's sets hold each of the values, of types of which it is known. Long numbers that fit an INT are these to
/// Scala; doubles come in a cover that has their own hash.
pub(super) fn set_hashes(column: &ArrayRef) -> Result<Option<Vec<i32>>> {
    let scala_long = |value: &i64| i32::try_from(*value).unwrap_or_else(|_| long(*value));
    Ok(match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().values().iter().map(scala_long).collect()),
        DataType::Timestamp(..) => {
            Some(column.as_primitive::<TimestampMicrosecondType>().values().iter().map(scala_long).collect())
        }
        _ => row_hash_codes(column)?,
    })
}

/// The hash of an array of bytes as Spark lays it out: its length, a bit per element, the elements, each part in words.
fn byte_array(bytes: &[u8]) -> i32 {
    let mut words = (bytes.len() as u64).to_le_bytes().to_vec();
    words.resize(8 + 8 * bytes.len().div_ceil(64), 0);
    words.extend_from_slice(bytes);
    words.resize(words.len().next_multiple_of(8), 0);
    murmur3(&words) as i32
}

/// How Scala's hash set gives different values of these hashes that were put into it at once, in this order: numbers of the values.
pub(super) fn order_in_hash_set(hashes: &[i32]) -> impl Iterator<Item = u32> + use<> {
    let wanted = ((hashes.len() + 1) as f64 / 0.75) as usize;
    let mask = wanted.next_power_of_two().max(16) as u32 - 1;
    let mut places: Vec<(u32, i32, u32)> = (0..)
        .zip(hashes)
        .map(|(number, hash)| {
            let spread = *hash ^ (*hash as u32 >> 16) as i32;
            (spread as u32 & mask, spread, number)
        })
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, _, number)| number)
}

/// How Spark's own hash map gives different keys that were put into it in this order: numbers of the keys.
pub(super) fn order_in_open_table(hashes: &[i32]) -> Vec<u32> {
    const NONE: u32 = u32::MAX;
    let put = |slots: &mut [u32], key: u32| {
        let mut place = scattered(hashes[key as usize]) as usize & (slots.len() - 1);
        let mut step = 1;
        while slots[place] != NONE {
            place = (place + step) & (slots.len() - 1);
            step += 1;
        }
        slots[place] = key;
    };
    let mut slots = vec![NONE; 64];
    for key in 0..hashes.len() as u32 {
        put(&mut slots, key);
        if key as usize + 1 > slots.len() * 7 / 10 {
            let mut larger = vec![NONE; slots.len() * 2];
            slots.iter().filter(|key| **key != NONE).for_each(|key| put(&mut larger, *key));
            slots = larger;
        }
    }
    slots.retain(|key| *key != NONE);
    slots
}

/// Murmur3 of a number.
fn scattered(hash: i32) -> u32 {
    let mut h = mix_last(0, hash as u32).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64) ^ 4;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
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
    fn tables_give_what_they_hold_as_scala_and_spark_do() {
        let order: Vec<u32> = order_in_hash_set(&[49, 33, 17, 1, 18, 2]).collect();
        assert_eq!(order, [3, 2, 1, 0, 5, 4]);
        // Twelve values have 32 places, where 17 comes after 2.
        let order: Vec<u32> = order_in_hash_set(&[17, 2, 30, 3, 4, 5, 6, 7, 8, 9, 10, 11]).collect();
        assert_eq!(order, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 2]);
        // Guava's murmur3_32 of these numbers.
        assert_eq!((scattered(0), scattered(1)), (0x2362_f9de, 0xfbf1_402a));
        let mut order = order_in_open_table(&(0..1_000).collect::<Vec<i32>>());
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1_000));
    }

    #[test]
    fn random_numbers_are_those_of_java() {
        let mut random = Random::new(1);
        assert_eq!(random.below_most(), 0x5D8D_6AB9);
    }
}
