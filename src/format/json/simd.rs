//! The few primitives that decoding at memory speed rests on, for AVX2 and for any processor.
//!
//! Every read is bounds-checked: one that would pass the end of the text finds nothing, so the caller never needs padding behind
//! its bytes. `unsafe` is here alone, and only to call instructions that were found to exist when the program started.
//!
//! Work is handed over in large pieces ([`Job`]): inside one, everything is compiled for the instructions at hand and inlined;
//! to ask for them at each step would cost more than the step.

// The one place in the crate: see above.
#![allow(unsafe_code)]

use super::template::Gap;
use crate::format::column::BLOCK_ROWS;

/// A way to run [`Job`]s on this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) enum Level {
    /// The processor has AVX2 and its companions.
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    /// Any processor.
    Portable,
}

impl Level {
    /// The best that this processor can do.
    pub(in crate::format) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = x86::Avx2::detect() {
            return Self::Avx2(avx2);
        }
        Self::Portable
    }

    /// Runs `job` with the instructions of this level.
    #[inline]
    pub(in crate::format) fn run<J: Job>(self, job: J) -> J::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Avx2` exists only where the processor was asked and has these instructions.
            Self::Avx2(avx2) => unsafe { x86::run(avx2, job) },
            Self::Portable => job.run(Portable),
        }
    }
}

/// A piece of work large enough to be dispatched on its own.
pub(in crate::format) trait Job {
    /// What it finds out.
    type Output;
    /// Does the work; must be `#[inline(always)]`, as must whatever it calls in its inner loop.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Something for each row of a block.
pub(in crate::format) type Rows<T> = [T; BLOCK_ROWS];

/// Bytes that follow a place, as many as a gap and the beginning of a value need.
pub(in crate::format) type Window = [u8; WINDOW];

/// See [`Window`].
pub(in crate::format) const WINDOW: usize = 96;

/// Bytes of a gap at most, so that 32 bytes behind it are in the window too.
pub(in crate::format) const GAP_MAX: usize = 63;

/// The digits of a number, right-aligned, with zeros in front: values, not letters.
pub(in crate::format) type Digits = [u8; 16];

/// A number in its plainest form: an optional minus, up to 15 digits without a leading zero, perhaps a point among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) struct PlainNumber {
    /// Digits before the point, 1 to 15.
    pub(in crate::format) whole: usize,
    /// Digits behind the point, 0 to 13; 0 means that there is no point.
    pub(in crate::format) fraction: u8,
    pub(in crate::format) negative: bool,
    /// Whether the first digit is 0, which is then the only one before the point.
    pub(in crate::format) zero: bool,
    /// Its length; whatever follows has not been looked at.
    pub(in crate::format) len: usize,
}

/// What the processor can do at a place of a text. An offset into a window is at most [`GAP_MAX`].
pub(in crate::format) trait Simd: Copy {
    /// Whether the window begins with `gap`, which has up to 32 bytes if it is `SHORT`.
    fn has_gap<const SHORT: bool>(self, window: &Window, gap: &Gap) -> bool;
    /// Where the string that begins at `at` has its closing quote; `None` if a backslash or control character comes first, or the
    /// text ends too soon.
    fn string_end(self, text: &[u8], at: usize) -> Option<usize>;
    /// The plain number at `offset`, if there is one; its digits are written to `digits`. A minus is no part of it unless `SIGNED`.
    fn number<const SIGNED: bool>(self, window: &Window, offset: usize, digits: &mut Digits) -> Option<PlainNumber>;
    /// The integers that are written with these digits.
    fn integers(self, digits: &Rows<Digits>, integers: &mut Rows<u64>);
    /// The pairs of digits of a `YYYY-MM-DDThh:mm:ss` at `offset`: century, year, month, day, hour, minute, second.
    fn date_time(self, window: &Window, offset: usize) -> Option<[u8; 7]>;
    /// Writes to `found` where in `text` line feeds are; how many, and whether all of `text` is ASCII. `text` has less than 4 GiB,
    /// and `found` room for as many places, and two more.
    fn line_feeds(self, text: &[u8], found: &mut [u32]) -> (usize, bool);
}

/// The `LEN` bytes at `offset`.
#[inline(always)]
pub(super) fn piece<const LEN: usize>(window: &Window, offset: usize) -> &[u8; LEN] {
    const { assert!(GAP_MAX.is_power_of_two() || (GAP_MAX + 1).is_power_of_two()) };
    // The mask changes nothing; it shows the compiler that no check is needed.
    window[offset & GAP_MAX..].first_chunk().expect("a window has 32 bytes behind any gap")
}

/// Nothing but the language.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    #[inline(always)]
    fn has_gap<const SHORT: bool>(self, window: &Window, gap: &Gap) -> bool {
        window.starts_with(gap.bytes())
    }

    #[inline(always)]
    fn string_end(self, text: &[u8], at: usize) -> Option<usize> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = ONES << 7;
        // A borrow can only flag bytes above the first true one, which is the one that is used.
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let mut at = at;
        while let Some(eight) = text.get(at..at + 8) {
            let word = u64::from_le_bytes(eight.try_into().ok()?);
            let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
            let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
            let stops = (quotes | backslashes | below(word, 0x20)) & HIGHS;
            if stops != 0 {
                let end = at + (stops.trailing_zeros() / 8) as usize;
                return (text[end] == b'"').then_some(end);
            }
            at += 8;
        }
        None
    }

    #[inline(always)]
    fn number<const SIGNED: bool>(self, window: &Window, offset: usize, digits: &mut Digits) -> Option<PlainNumber> {
        let bytes: &[u8; 17] = piece(window, offset);
        let negative = SIGNED && bytes[0] == b'-';
        let bytes: &[u8; 16] = bytes[usize::from(negative)..].first_chunk()?;
        let count = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let whole = count(0);
        let point = bytes.get(whole) == Some(&b'.');
        let fraction = if point { count(whole + 1) } else { 0 };
        let len = whole + usize::from(point) + fraction;
        let zero = bytes[0] == b'0';
        if whole == 0 || len > 15 || point && fraction == 0 || zero && whole > 1 {
            return None;
        }
        *digits = [0; 16];
        let (front, back) = digits[16 - whole - fraction..].split_at_mut(whole);
        front.iter_mut().zip(bytes).for_each(|(digit, byte)| *digit = byte - b'0');
        back.iter_mut().zip(&bytes[len - fraction..]).for_each(|(digit, byte)| *digit = byte - b'0');
        Some(PlainNumber { whole, fraction: fraction as u8, negative, zero, len: len + usize::from(negative) })
    }

    #[inline(always)]
    fn integers(self, digits: &Rows<Digits>, integers: &mut Rows<u64>) {
        for (integer, digits) in integers.iter_mut().zip(digits) {
            *integer = digits.iter().fold(0, |integer, digit| integer * 10 + u64::from(*digit));
        }
    }

    #[inline(always)]
    fn date_time(self, window: &Window, offset: usize) -> Option<[u8; 7]> {
        let bytes: &[u8; 19] = piece(window, offset);
        let separated = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')].iter().all(|(at, byte)| bytes[*at] == *byte);
        let mut pairs = [0; 7];
        for (pair, at) in pairs.iter_mut().zip([0, 2, 5, 8, 11, 14, 17]) {
            let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
            if tens > 9 || ones > 9 {
                return None;
            }
            *pair = tens * 10 + ones;
        }
        separated.then_some(pairs)
    }

    #[inline(always)]
    fn line_feeds(self, text: &[u8], found: &mut [u32]) -> (usize, bool) {
        let places = found.iter_mut().zip(memchr::memchr_iter(b'\n', text));
        (places.map(|(place, at)| *place = at as u32).count(), text.is_ascii())
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! AVX2.

    use std::arch::x86_64::*;

    use super::{Digits, Gap, Job, PlainNumber, Portable, Rows, Simd, Window, piece};

    /// Proof that the processor has AVX2, BMI1, BMI2, LZCNT and POPCNT.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::format) struct Avx2(());

    impl Avx2 {
        pub(super) fn detect() -> Option<Self> {
            let found = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            found.then_some(Self(()))
        }

        /// A register of the bytes.
        #[inline(always)]
        fn load(self, bytes: &[u8; 32]) -> __m256i {
            // SAFETY: `bytes` has 32 bytes, the load needs no alignment, and `self` proves that the instruction exists.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        }

        /// A bit per byte of the value, set where it is `byte`.
        #[inline(always)]
        fn equal(self, value: __m256i, byte: u8) -> u32 {
            // SAFETY: arithmetic on registers; `self` proves that the instructions exist.
            unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(value, _mm256_set1_epi8(byte as i8))) as u32 }
        }

        /// Whether the bytes are the same wherever `mask` has a bit.
        #[inline(always)]
        fn same(self, left: &[u8; 32], right: &[u8; 32], mask: u32) -> bool {
            let (left, right) = (self.load(left), self.load(right));
            // SAFETY: arithmetic on registers; `self` proves that the instructions exist.
            let same = unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(left, right)) } as u32;
            same & mask == mask
        }
    }

    /// Runs `job` compiled for AVX2.
    ///
    /// # Safety
    /// The processor must have the instructions that are named here, which an [`Avx2`] proves.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) unsafe fn run<J: Job>(avx2: Avx2, job: J) -> J::Output {
        job.run(avx2)
    }

    /// What to do with a window of 16 bytes that has a number.
    #[derive(Clone, Copy)]
    struct Number {
        /// Moves its digits to the window's right end, leaving out the point, with zeros in front.
        order: [u8; 16],
        /// Length of the number, 0 if it is not plain.
        len: u8,
        /// Digits behind the point.
        fraction: u8,
    }

    /// By the end of the whole digits (0..=16), times 17, plus the end of all of the number (0..=16).
    static NUMBERS: [Number; 17 * 17] = {
        let mut table = [Number { order: [0x80; 16], len: 0, fraction: 0 }; 17 * 17];
        let mut whole = 1;
        while whole <= 15 {
            let mut end = whole;
            while end <= 15 {
                let entry = &mut table[whole * 17 + end];
                let fraction = if whole == end { 0 } else { end - whole - 1 };
                let mut nth = 0;
                while nth < whole + fraction {
                    entry.order[16 - whole - fraction + nth] = (if nth < whole { nth } else { nth + 1 }) as u8;
                    nth += 1;
                }
                // A point without digits behind it is not plain.
                entry.len = if end == whole + 1 { 0 } else { end as u8 };
                entry.fraction = fraction as u8;
                end += 1;
            }
            whole += 1;
        }
        table
    };

    impl Simd for Avx2 {
        #[inline(always)]
        fn has_gap<const SHORT: bool>(self, window: &Window, gap: &Gap) -> bool {
            let [(first, first_mask), (second, second_mask)] = gap.halves();
            self.same(piece(window, 0), first, first_mask) && (SHORT || self.same(piece(window, 32), second, second_mask))
        }

        #[inline(always)]
        fn string_end(self, text: &[u8], at: usize) -> Option<usize> {
            let mut at = at;
            loop {
                let here = self.load(text.get(at..)?.first_chunk()?);
                // SAFETY: arithmetic on registers; `self` proves that the instructions exist.
                let controls = unsafe {
                    let last = _mm256_set1_epi8(0x1f);
                    _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(here, last), last)) as u32
                };
                let quotes = self.equal(here, b'"');
                let others = controls | self.equal(here, b'\\');
                if quotes | others != 0 {
                    let first = quotes.trailing_zeros();
                    return (first < others.trailing_zeros()).then_some(at + first as usize);
                }
                at += 32;
            }
        }

        #[inline(always)]
        fn number<const SIGNED: bool>(self, window: &Window, offset: usize, digits: &mut Digits) -> Option<PlainNumber> {
            // One byte for a minus and 16 behind it.
            let bytes: &[u8; 17] = piece(window, offset);
            let negative = SIGNED && bytes[0] == b'-';
            let bytes: &[u8; 16] = bytes[usize::from(negative)..].first_chunk()?;
            // SAFETY: `bytes` and `digits` have 16 bytes and each entry of the table too, loads and stores need no alignment, and
            // `self` proves that the instructions exist.
            let (whole, entry) = unsafe {
                let text = _mm_loadu_si128(bytes.as_ptr().cast());
                let values = _mm_sub_epi8(text, _mm_set1_epi8(b'0' as i8));
                let are_digits = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
                // Above bit 15 all are set: the number ends there at the latest.
                let others = !(_mm_movemask_epi8(are_digits) as u32);
                let points = _mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(b'.' as i8))) as u32;
                // The lowest bit of `others` does not count if it is a point.
                let first = others & others.wrapping_neg();
                let (whole, end) = (others.trailing_zeros() as usize, (others ^ (first & points)).trailing_zeros() as usize);
                let entry = NUMBERS.get(whole * 17 + end)?;
                let aligned = _mm_shuffle_epi8(values, _mm_loadu_si128(entry.order.as_ptr().cast()));
                _mm_storeu_si128(digits.as_mut_ptr().cast(), aligned);
                (whole, entry)
            };
            let zero = bytes[0] == b'0';
            let number = PlainNumber {
                whole,
                fraction: entry.fraction,
                negative,
                zero,
                len: usize::from(negative) + usize::from(entry.len),
            };
            (entry.len != 0 && !(zero & (whole > 1))).then_some(number)
        }

        #[inline(always)]
        fn integers(self, digits: &Rows<Digits>, integers: &mut Rows<u64>) {
            for (four, digits) in integers.as_chunks_mut::<4>().0.iter_mut().zip(digits.as_flattened().as_chunks::<64>().0) {
                let [front, back] = digits.as_chunks::<32>().0 else { return };
                let (front, back) = (self.load(front), self.load(back));
                // SAFETY: `four` has 32 bytes, the store needs no alignment, and `self` proves that the instructions exist.
                unsafe {
                    // Neighbours are joined: digits to pairs, pairs to fours, fours to eights, eights to the whole.
                    let fours = |digits| {
                        _mm256_madd_epi16(_mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a)), _mm256_set1_epi32(0x0001_0064))
                    };
                    let packed = _mm256_packus_epi32(fours(front), fours(back));
                    let eights = _mm256_madd_epi16(packed, _mm256_set1_epi32(0x0001_2710));
                    let high = _mm256_mul_epu32(eights, _mm256_set1_epi64x(100_000_000));
                    let whole = _mm256_add_epi64(high, _mm256_srli_epi64::<32>(eights));
                    // Packing has brought the first and third number to the front.
                    _mm256_storeu_si256(four.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(whole));
                }
            }
        }

        #[inline(always)]
        fn date_time(self, window: &Window, offset: usize) -> Option<[u8; 7]> {
            const DIGITS: u32 = 0b110_1101_1011_0110_1111;
            const SEPARATORS: u32 = 0b001_0010_0100_1001_0000;
            let bytes: &[u8; 32] = piece(window, offset);
            let (here, pattern) = (self.load(bytes), self.load(b"    -  -  T  :  :               "));
            // SAFETY: arithmetic on registers; `self` proves that the instructions exist.
            let (digits, separators, pairs) = unsafe {
                let values = _mm256_sub_epi8(here, _mm256_set1_epi8(b'0' as i8));
                let are_digits = _mm256_cmpeq_epi8(_mm256_min_epu8(values, _mm256_set1_epi8(9)), values);
                let order = _mm_setr_epi8(0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, -1, -1, -1, -1);
                let front = _mm_shuffle_epi8(_mm256_castsi256_si128(values), order);
                let pairs = _mm_maddubs_epi16(front, _mm_set1_epi16(0x010a));
                (
                    _mm256_movemask_epi8(are_digits) as u32,
                    _mm256_movemask_epi8(_mm256_cmpeq_epi8(here, pattern)) as u32,
                    (_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs)) as u64).to_le_bytes(),
                )
            };
            if digits & DIGITS != DIGITS || separators & SEPARATORS != SEPARATORS {
                return None;
            }
            let [century, year, month, day, hour, minute, ..] = pairs;
            let second = (bytes[17] - b'0') * 10 + (bytes[18] - b'0');
            Some([century, year, month, day, hour, minute, second])
        }

        #[inline(always)]
        fn line_feeds(self, text: &[u8], found: &mut [u32]) -> (usize, bool) {
            let (mut above, mut base, mut count) = (0, 0, 0);
            for both in text.as_chunks::<64>().0 {
                let [low, high] = both.as_chunks::<32>().0 else { break };
                let (low, high) = (self.load(low), self.load(high));
                // SAFETY: arithmetic on registers; `self` proves that the instruction exists.
                above |= unsafe { _mm256_movemask_epi8(_mm256_or_si256(low, high)) };
                let mut feeds = u64::from(self.equal(low, b'\n')) | u64::from(self.equal(high, b'\n')) << 32;
                // Two are written whether there are any or not: how many there are cannot be foretold, and to guess wrong costs
                // more. What is too much is overwritten.
                let next = count + feeds.count_ones() as usize;
                for place in &mut found[count..count + 2] {
                    *place = base as u32 + feeds.trailing_zeros();
                    feeds &= feeds.wrapping_sub(1);
                }
                count += 2;
                while feeds != 0 {
                    found[count] = base as u32 + feeds.trailing_zeros();
                    feeds &= feeds - 1;
                    count += 1;
                }
                count = next;
                base += 64;
            }
            let (rest, ascii) = Portable.line_feeds(&text[base..], &mut found[count..]);
            found[count..count + rest].iter_mut().for_each(|place| *place += base as u32);
            (count + rest, above == 0 && ascii)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use bytes::Bytes;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::format::{DecodeRequest, FormatOptions, LineLimits, OnMalformed, decoder};
    use crate::source::{LineChunk, LineEnd};

    /// All that is found at one place of a text.
    struct Probe<'a> {
        text: &'a [u8],
        at: usize,
        gap: &'a Gap,
    }

    type Found = (bool, Option<usize>, [Option<(PlainNumber, u64)>; 2], Option<[u8; 7]>, (Vec<u32>, bool));

    impl Job for Probe<'_> {
        type Output = Found;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Found {
            let window: &Window = self.text[self.at..self.at + WINDOW].try_into().expect("a window");
            let number = |digits: Digits, number: Option<PlainNumber>| {
                let mut integers = [7; BLOCK_ROWS];
                simd.integers(&[digits; BLOCK_ROWS], &mut integers);
                number.map(|number| (number, integers[63]))
            };
            let (mut signed, mut unsigned) = ([0; 16], [0; 16]);
            let signed_number = simd.number::<true>(window, self.gap.len(), &mut signed);
            let unsigned_number = simd.number::<false>(window, self.gap.len(), &mut unsigned);
            let mut feeds = vec![0; self.text.len() + 2];
            let (count, ascii) = simd.line_feeds(&self.text[self.at..], &mut feeds);
            feeds.truncate(count);
            (
                simd.has_gap::<false>(window, self.gap) && (self.gap.len() > 32 || simd.has_gap::<true>(window, self.gap)),
                simd.string_end(self.text, self.at),
                [number(signed, signed_number), number(unsigned, unsigned_number)],
                simd.date_time(window, self.gap.len()),
                (feeds, ascii),
            )
        }
    }

    #[test]
    fn every_level_finds_the_same() {
        let pieces = [
            "0",
            "1",
            "9",
            "12",
            "00",
            "-",
            "-5",
            "1.5",
            ".",
            "..",
            "123456",
            "1234567890",
            "\"",
            "\\",
            "\n",
            "\u{1}",
            "\u{1f}",
            " ",
            "a",
            "é",
            "2026-01-01T00:00:00Z",
            "1969-12-31T23:59:59",
            "e5",
            ":",
            "/",
            "}",
            "                    ",
        ];
        for seed in 0..3000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut text = String::new();
            while text.len() < 200 {
                text.push_str(pieces.choose(&mut rng).expect("a piece"));
            }
            let (text, at) = (text.as_bytes(), rng.random_range(0..80));
            let (from, len) = (if rng.random() { at } else { 0 }, rng.random_range(0..=GAP_MAX));
            let gap = Gap::new(&text[from..from + len]);
            let portable = Level::Portable.run(Probe { text, at, gap: &gap });
            assert_eq!(portable.0, text[at..].starts_with(gap.bytes()));
            // A text that ends early ends sooner for those that read it in large pieces.
            let mut best = Level::detect().run(Probe { text, at, gap: &gap });
            best.1 = best.1.or(portable.1.filter(|end| end + 32 > text.len()));
            assert_eq!(best, portable, "{:?} at {at} behind {len}", String::from_utf8_lossy(text));
        }
    }

    /// Text in front of memory that must not be touched.
    struct Guarded {
        start: *mut libc::c_void,
        len: usize,
    }

    // SAFETY: the memory is this value's own, and nothing writes to it once the value is made.
    unsafe impl Send for Guarded {}

    impl Guarded {
        const PAGE: usize = 1 << 16;

        fn new(text: &[u8]) -> Self {
            assert!(text.len() <= Self::PAGE);
            // SAFETY: a new mapping of two pages, of which the second is closed and the first is written within its bounds.
            let start = unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let start = libc::mmap(std::ptr::null_mut(), 2 * Self::PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
                assert_ne!(start, libc::MAP_FAILED);
                assert_eq!(libc::mprotect(start.byte_add(Self::PAGE), Self::PAGE, libc::PROT_NONE), 0);
                std::ptr::copy_nonoverlapping(text.as_ptr(), start.byte_add(Self::PAGE - text.len()).cast(), text.len());
                start
            };
            Self { start, len: text.len() }
        }
    }

    impl AsRef<[u8]> for Guarded {
        fn as_ref(&self) -> &[u8] {
            // SAFETY: these bytes are mapped, written and stay so as long as the value lives.
            unsafe { std::slice::from_raw_parts(self.start.byte_add(Self::PAGE - self.len).cast(), self.len) }
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            // SAFETY: the mapping that `new` made, which nobody can refer to any more.
            unsafe { libc::munmap(self.start, 2 * Self::PAGE) };
        }
    }

    #[test]
    fn nothing_behind_a_chunk_is_read() {
        let request = DecodeRequest {
            schema: Arc::new(Schema::new(vec![
                Field::new("s", DataType::Utf8, true),
                Field::new("d", DataType::Float64, true),
                Field::new("absent", DataType::Utf8, true),
                Field::new("i", DataType::Int64, true),
            ])),
            projection: vec![0, 1, 2, 3],
            metadata: Vec::new(),
            filter: Vec::new(),
            on_malformed: OnMalformed::Permissive,
            keep_malformed: crate::format::KeepMalformed::None,
            source: "s".into(),
            time_zone: "UTC".into(),
            limits: LineLimits::default(),
        };
        let mut usual = decoder(&FormatOptions::Json, request.clone()).expect("a decoder");
        let mut guarded = decoder(&FormatOptions::Json, request).expect("a decoder");
        let line = |nth: usize| format!("{{\"s\":\"{}\",\"d\":{nth}.25,\"i\":{nth}}}", "x".repeat(nth % 90));
        let lines: String = (0..200).map(|nth| line(nth) + "\n").collect();
        for cut in 0..=lines.len().min(400) {
            let text = &lines.as_bytes()[cut % 7 * 40..lines.len() - cut];
            let chunk = |bytes| LineChunk {
                bytes,
                origin: "o".into(),
                position: 9,
                received_at_us: None,
                records: None,
                end: LineEnd::Clean,
            };
            usual.push(&chunk(Bytes::copy_from_slice(text))).expect("decodes");
            guarded.push(&chunk(Bytes::from_owner(Guarded::new(text)))).expect("decodes");
            let (usual, guarded) = (usual.finish().expect("decodes"), guarded.finish().expect("decodes"));
            assert_eq!(usual.rows, guarded.rows);
        }
    }
}
