//! Hashes: Spark's own (Murmur3, XXH64 with its seed 42) and the well-known digests.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalYearMonthType, TimestampMicrosecondType,
};
use sha2::Digest;

use super::super::types::has_map;
use super::super::{Call, Typed};
use super::arguments::{Want, any_nullable, arity, coerce, coerce_optional, data_error, mismatch, text};
use super::math::bits::{LOWER, push_hex};
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("hash(value, …)", "Murmur3 hash of the values, an INT", "hash('Spark', 1) → 205329825", |c| row_hash::<Murmur3>(c, DataType::Int32)),
    scalar("xxhash64(value, …)", "xxHash of the values, a BIGINT", "xxhash64('Spark', 1) → -4449867541325528513", |c| row_hash::<Xxh64>(c, DataType::Int64)),
    scalar("md5(bytes)", "MD5 checksum in hexadecimal", "md5('Spark') → 8cde774d6f7333752ed72cacddb05126", |c| digest(c, |b| md5::Md5::digest(b).to_vec())),
    scalar("sha1(bytes)", "SHA-1 checksum in hexadecimal", "sha1('Spark') → 85f5955f4b27a9a4c2aab6ffe5d7189fc298b92c", |c| digest(c, |b| sha1::Sha1::digest(b).to_vec())),
    scalar("sha(bytes)", "As `sha1`", "sha('') → da39a3ee5e6b4b0d3255bfef95601890afd80709", |c| digest(c, |b| sha1::Sha1::digest(b).to_vec())),
    scalar("sha2(bytes, bits)", "SHA-224, -256 (also as 0), -384 or -512 in hexadecimal, null for other `bits`", "sha2('Spark', 256) → 529bc3b07127ecb7e53a4dcf1991d9152c24537d919178022b2c42657f79a26b", sha2_of),
    scalar("hmac(key, bytes[, algorithm])", "Keyed checksum by MD5, SHA-1 or SHA-2 (SHA-256 unless given), a BINARY", "hex(hmac('key', 'Spark', 'MD5')) → 7DB5E83A2906E5D066261C2002BD5A03", hmac),
    scalar("crc32(bytes)", "CRC-32 checksum as a BIGINT", "crc32('Spark') → 1557323817", crc32),
];

/// A hash of values, each with the hash so far as its seed.
trait Hasher: 'static {
    fn int(value: i32, seed: i64) -> i64;
    fn long(value: i64, seed: i64) -> i64;
    fn bytes(value: &[u8], seed: i64) -> i64;
}

struct Murmur3;

impl Murmur3 {
    fn mix_k(k: u32) -> u32 {
        k.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593)
    }

    fn mix_h(h: u32, k: u32) -> u32 {
        (h ^ Self::mix_k(k)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64)
    }

    fn finish(h: u32, length: u32) -> i64 {
        let mut h = h ^ length;
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        i64::from((h ^ (h >> 16)) as i32)
    }
}

impl Hasher for Murmur3 {
    fn int(value: i32, seed: i64) -> i64 {
        Self::finish(Self::mix_h(seed as u32, value as u32), 4)
    }

    fn long(value: i64, seed: i64) -> i64 {
        let h = Self::mix_h(seed as u32, value as u32);
        Self::finish(Self::mix_h(h, (value >> 32) as u32), 8)
    }

    fn bytes(value: &[u8], seed: i64) -> i64 {
        let mut words = value.chunks_exact(4);
        let mut h = seed as u32;
        for word in words.by_ref() {
            h = Self::mix_h(h, u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        // Unlike the published algorithm, each byte that is left counts as a word of its own, with its sign.
        for byte in words.remainder() {
            h = Self::mix_h(h, *byte as i8 as u32);
        }
        Self::finish(h, value.len() as u32)
    }
}

/// Spark's hash of a text's bytes, as its strings have it for themselves.
pub(super) fn murmur3(bytes: &[u8]) -> u32 {
    murmur3_from(bytes, 42)
}

/// Spark's hash of bytes from another seed.
pub(super) fn murmur3_from(bytes: &[u8], seed: i32) -> u32 {
    Murmur3::bytes(bytes, i64::from(seed)) as u32
}

struct Xxh64;

/// The algorithm's primes.
const PRIMES: [u64; 5] =
    [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63, 0x27D4_EB2F_1656_67C5];

impl Xxh64 {
    fn finish(mut h: u64) -> i64 {
        h = (h ^ (h >> 33)).wrapping_mul(PRIMES[1]);
        h = (h ^ (h >> 29)).wrapping_mul(PRIMES[2]);
        (h ^ (h >> 32)) as i64
    }
}

/// Numbers are hashed as their bytes, without the ways that longer ones take.
impl Hasher for Xxh64 {
    fn int(value: i32, seed: i64) -> i64 {
        let h = (seed as u64).wrapping_add(PRIMES[4]).wrapping_add(4) ^ u64::from(value as u32).wrapping_mul(PRIMES[0]);
        Self::finish(h.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]))
    }

    fn long(value: i64, seed: i64) -> i64 {
        let k = (value as u64).wrapping_mul(PRIMES[1]).rotate_left(31).wrapping_mul(PRIMES[0]);
        let h = (seed as u64).wrapping_add(PRIMES[4]).wrapping_add(8) ^ k;
        Self::finish(h.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
    }

    fn bytes(value: &[u8], seed: i64) -> i64 {
        twox_hash::XxHash64::oneshot(seed as u64, value) as i64
    }
}

/// Spark's `xxhash64` of each value; null gives the seed.
pub(super) fn xxhash64(array: &ArrayRef) -> Result<Vec<i64>> {
    let rows: Vec<usize> = (0..array.len()).collect();
    let mut hashes = vec![SEED; array.len()];
    update::<Xxh64>(array, &rows, &mut hashes)?;
    Ok(hashes)
}

const SEED: i64 = 42;

fn row_hash<H: Hasher>(mut c: Call<'_>, data_type: DataType) -> Result<Typed> {
    arity(&c, 1, None)?;
    let args = std::mem::take(&mut c.args);
    if args.iter().any(|a| has_map(&a.data_type)) {
        return Err(mismatch("HASH_MAP_TYPE", format!("`{}` cannot hash maps, whose order of entries means nothing", c.name)));
    }
    let narrow = data_type == DataType::Int32;
    Ok(call(c.name, args, Returns::new(data_type, false), move |a| {
        let mut hashes = vec![SEED; a.rows()];
        for index in 0..a.count() {
            let argument = a.any(index);
            let rows: Vec<usize> = (0..a.rows()).map(|row| argument.row(row)).collect();
            update::<H>(argument.array, &rows, &mut hashes)?;
        }
        Ok(if narrow {
            Arc::new(Int32Array::from_iter_values(hashes.iter().map(|h| *h as i32))) as ArrayRef
        } else {
            Arc::new(arrow::array::Int64Array::from(hashes))
        })
    }))
}

/// Takes `array[rows[i]]` into `hashes[i]`; null leaves it as it is.
fn update<H: Hasher>(array: &ArrayRef, rows: &[usize], hashes: &mut [i64]) -> Result<()> {
    macro_rules! each {
        ($values:expr, $hash:expr) => {{
            let values = $values;
            for (hash, row) in hashes.iter_mut().zip(rows) {
                if array.is_valid(*row) {
                    *hash = $hash(values.value(*row), *hash);
                }
            }
        }};
    }
    match array.data_type() {
        DataType::Null => {}
        DataType::Boolean => each!(array.as_boolean(), |v, h| H::int(i32::from(v), h)),
        DataType::Int8 => each!(array.as_primitive::<Int8Type>(), |v, h| H::int(i32::from(v), h)),
        DataType::Int16 => each!(array.as_primitive::<Int16Type>(), |v, h| H::int(i32::from(v), h)),
        DataType::Int32 => each!(array.as_primitive::<Int32Type>(), H::int),
        DataType::Int64 => each!(array.as_primitive::<Int64Type>(), H::long),
        DataType::Float32 => each!(array.as_primitive::<Float32Type>(), |v: f32, h| H::int(canonical_32(v), h)),
        DataType::Float64 => each!(array.as_primitive::<Float64Type>(), |v: f64, h| H::long(canonical_64(v), h)),
        DataType::Utf8 => each!(array.as_string::<i32>(), |v: &str, h| H::bytes(v.as_bytes(), h)),
        DataType::Binary => each!(array.as_binary::<i32>(), H::bytes),
        DataType::Date32 => each!(array.as_primitive::<Date32Type>(), H::int),
        DataType::Timestamp(..) => each!(array.as_primitive::<TimestampMicrosecondType>(), H::long),
        DataType::Duration(arrow::datatypes::TimeUnit::Second) => {
            each!(array.as_primitive::<DurationSecondType>(), |v: i64, h| H::long(v.wrapping_mul(1_000_000), h));
        }
        DataType::Duration(_) => each!(array.as_primitive::<DurationMicrosecondType>(), H::long),
        // Intervals of units that Arrow has no type for.
        DataType::Decimal64(..) => each!(array.as_primitive::<Decimal64Type>(), H::long),
        DataType::Decimal32(..) => each!(array.as_primitive::<Decimal32Type>(), H::int),
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano) => {
            each!(array.as_primitive::<IntervalMonthDayNanoType>(), |v: IntervalMonthDayNano, h| {
                H::int(v.months, H::int(v.days, H::long(v.nanoseconds / 1000, h)))
            });
        }
        DataType::Interval(_) => each!(array.as_primitive::<IntervalYearMonthType>(), H::int),
        DataType::Decimal128(precision, _) if *precision <= 18 => {
            each!(array.as_primitive::<Decimal128Type>(), |v: i128, h| H::long(v as i64, h));
        }
        DataType::Decimal128(..) => {
            each!(array.as_primitive::<Decimal128Type>(), |v: i128, h| H::bytes(shortest_big_endian(&v.to_be_bytes()), h));
        }
        DataType::List(_) | DataType::Map(..) => items::<H>(array, rows, hashes)?,
        DataType::Struct(_) => {
            let valid: Vec<(usize, usize)> = rows.iter().copied().enumerate().filter(|(_, row)| array.is_valid(*row)).collect();
            let inner_rows: Vec<usize> = valid.iter().map(|(_, row)| *row).collect();
            let mut inner: Vec<i64> = valid.iter().map(|(at, _)| hashes[*at]).collect();
            for column in array.as_struct().columns() {
                update::<H>(column, &inner_rows, &mut inner)?;
            }
            for ((at, _), hash) in valid.iter().zip(inner) {
                hashes[*at] = hash;
            }
        }
        other => return Err(Error::internal(format!("no hash of {other}"))),
    }
    Ok(())
}

/// The items of lists one after another, of maps each key and then its value.
fn items<H: Hasher>(array: &ArrayRef, rows: &[usize], hashes: &mut [i64]) -> Result<()> {
    let (offsets, columns) = match array.data_type() {
        DataType::Map(..) => {
            let maps = array.as_map();
            (maps.value_offsets(), vec![maps.keys(), maps.values()])
        }
        _ => {
            let lists = array.as_list::<i32>();
            (lists.value_offsets(), vec![lists.values()])
        }
    };
    for (hash, row) in hashes.iter_mut().zip(rows) {
        if array.is_valid(*row) {
            for item in (offsets[*row] as usize)..(offsets[*row + 1] as usize) {
                columns.iter().try_for_each(|column| update::<H>(column, &[item], std::slice::from_mut(hash)))?;
            }
        }
    }
    Ok(())
}

/// The bits, with one zero and one NaN.
fn canonical_32(v: f32) -> i32 {
    if v.is_nan() { 0x7FC0_0000 } else { (v + 0.0).to_bits() as i32 }
}

fn canonical_64(v: f64) -> i64 {
    if v.is_nan() { 0x7FF8_0000_0000_0000 } else { (v + 0.0).to_bits() as i64 }
}

/// A big-endian two's complement number without the bytes that only repeat its sign.
fn shortest_big_endian(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [first, second, ..] = bytes {
        let sign_only = (*first == 0 && *second < 0x80) || (*first == 0xFF && *second >= 0x80);
        if !sign_only {
            break;
        }
        bytes = &bytes[1..];
    }
    bytes
}

fn digest(mut c: Call<'_>, of: fn(&[u8]) -> Vec<u8>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Binary])?;
    let returns = Returns::new(DataType::Utf8, args[0].nullable);
    Ok(call(c.name, args, returns, move |a| {
        let bytes = a.column::<BinaryArray>(0)?;
        a.strings(|row, out| bytes.get(row).map(|b| push_hex(LOWER, &of(b), out)))
    }))
}

fn sha2_of(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Binary, Want::Int])?;
    Ok(call("sha2", args, Returns::new(DataType::Utf8, true), |a| {
        let (bytes, bits) = (a.column::<BinaryArray>(0)?, a.column::<Int32Array>(1)?);
        a.strings(|row, out| {
            let (bytes, bits) = (bytes.get(row)?, bits.get(row)?);
            match bits {
                0 | 256 => push_hex(LOWER, &sha2::Sha256::digest(bytes), out),
                224 => push_hex(LOWER, &sha2::Sha224::digest(bytes), out),
                384 => push_hex(LOWER, &sha2::Sha384::digest(bytes), out),
                512 => push_hex(LOWER, &sha2::Sha512::digest(bytes), out),
                _ => return None,
            }
            Some(())
        })
    }))
}

fn crc32(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Binary])?;
    let returns = Returns::new(DataType::Int64, any_nullable(&args));
    Ok(call("crc32", args, returns, |a| {
        let bytes = a.column::<BinaryArray>(0)?;
        a.primitive::<Int64Type>(|row| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes.get(row)?);
            Some(i64::from(crc.sum()))
        })
    }))
}

/// A digest of texts behind one another, and the size of its blocks.
type Keyed = (fn(&[&[u8]]) -> Vec<u8>, usize);

fn chained<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().fold(D::new(), |digest, part| digest.chain_update(part)).finalize().to_vec()
}

fn keyed(algorithm: &str) -> Option<Keyed> {
    Some(match algorithm.to_ascii_uppercase().replace('-', "").as_str() {
        "MD5" => (chained::<md5::Md5>, 64),
        "SHA1" => (chained::<sha1::Sha1>, 64),
        "SHA224" => (chained::<sha2::Sha224>, 64),
        "SHA256" => (chained::<sha2::Sha256>, 64),
        "SHA384" => (chained::<sha2::Sha384>, 128),
        "SHA512" => (chained::<sha2::Sha512>, 128),
        _ => return None,
    })
}

/// `hmac(key, bytes[, algorithm])`.
fn hmac(mut c: Call<'_>) -> Result<Typed> {
    let mut args = coerce_optional(&mut c, 2, &[Want::Binary, Want::Binary, Want::Text])?;
    if args.len() == 2 {
        args.push(text("SHA-256"));
    }
    let returns = Returns::fallible(DataType::Binary, any_nullable(&args));
    Ok(call("hmac", args, returns, |a| {
        let (keys, bytes) = (a.column::<BinaryArray>(0)?, a.column::<BinaryArray>(1)?);
        let algorithms = a.column::<arrow::array::StringArray>(2)?;
        a.binaries(|row, out| {
            let (Some(key), Some(bytes), Some(algorithm)) = (keys.get(row), bytes.get(row), algorithms.get(row)) else {
                return Ok(None);
            };
            let (digest, block) = keyed(algorithm).ok_or_else(|| {
                let message = format!("'{algorithm}' is none of MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512");
                data_error("INVALID_PARAMETER_VALUE.HMAC_ALGORITHM", message)
            })?;
            if key.is_empty() {
                return Err(data_error("INVALID_PARAMETER_VALUE.HMAC_CRYPTO_ERROR", "the key of `hmac` is empty"));
            }
            let mut padded = if key.len() > block { digest(&[key]) } else { key.to_vec() };
            padded.resize(block, 0);
            let with = |sign: u8| padded.iter().map(|byte| byte ^ sign).collect::<Vec<u8>>();
            out.extend(digest(&[&with(0x5C), &digest(&[&with(0x36), bytes])]));
            Ok(Some(()))
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_hashes_as_its_bytes_do() {
        for (value, seed) in [(0, 42), (1, 0), (-1, 42), (i64::MAX, -7), (i64::MIN, 1 << 40), (0x1234_5678_9ABC, i64::MIN)] {
            assert_eq!(Xxh64::long(value, seed), Xxh64::bytes(&value.to_le_bytes(), seed));
            assert_eq!(Xxh64::int(value as i32, seed), Xxh64::bytes(&(value as i32).to_le_bytes(), seed));
        }
    }
}
