//! The inner loops: one slot of a template for all rows of a block.
//!
//! A row's next value can only be found once the one before has ended, which would make a loop over one row's values a chain of
//! waiting. Many rows side by side are independent of each other, and the processor works on several at a time.

use super::simd::{Digits, Job, Rows, Simd, WINDOW, Window, piece};
use super::template::Gap;
use crate::format::column::{BLOCK_ROWS, bits, span};
use crate::format::datetime::{Zone, days, parse_date, parse_timestamp, parse_timestamp_ntz};

/// Powers of ten that are exact as a DOUBLE.
const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads one slot of `rows`.
pub(super) struct Walk<'a, K> {
    pub(super) text: &'a [u8],
    pub(super) gap: &'a Gap,
    pub(super) rows: u64,
    /// Where each row is read on; moved behind the value.
    pub(super) places: &'a mut Rows<u32>,
    pub(super) kernel: K,
}

/// Where a value begins.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    text: &'a [u8],
    /// Where the window begins in the text.
    place: usize,
    /// Where the value begins in the window.
    offset: usize,
}

impl Here<'_> {
    /// Where the value begins in the text.
    #[inline(always)]
    fn at(self) -> usize {
        self.place + self.offset
    }
}

/// Reads a value of one type in its plainest form.
pub(super) trait Kernel {
    /// Where the value of `row` ends in the text; `None` if it has another form.
    fn value<S: Simd>(&mut self, simd: S, here: Here<'_>, window: &Window, row: usize) -> Option<usize>;

    /// Finishes what `value` left to be done for all rows together.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, _: S) {}
}

impl<K: Kernel> Job for Walk<'_, K> {
    /// The rows that have another gap or value; they stay where they are.
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        if self.gap.len() <= 32 { self.walk::<S, true>(simd) } else { self.walk::<S, false>(simd) }
    }
}

impl<K: Kernel> Walk<'_, K> {
    #[inline(always)]
    fn walk<S: Simd, const SHORT: bool>(mut self, simd: S) -> u64 {
        // A copy, which nothing that is written below can change.
        let gap = *self.gap;
        let mut missed = 0;
        for row in bits(self.rows) {
            let here = Here { text: self.text, place: self.places[row] as usize, offset: gap.len() };
            let window: Option<&Window> = self.text.get(here.place..here.place + WINDOW).and_then(|bytes| bytes.try_into().ok());
            let end = match window {
                Some(window) if simd.has_gap::<SHORT>(window, &gap) => self.kernel.value(simd, here, window, row),
                _ => None,
            };
            match end {
                Some(end) => self.places[row] = end as u32,
                None => missed |= 1 << row,
            }
        }
        self.kernel.finish(simd);
        missed
    }
}

/// STRING: its place in the text.
pub(super) struct Text<'a>(pub(super) &'a mut Rows<u64>);

impl Kernel for Text<'_> {
    #[inline(always)]
    fn value<S: Simd>(&mut self, simd: S, here: Here<'_>, _: &Window, row: usize) -> Option<usize> {
        let end = simd.string_end(here.text, here.at())?;
        self.0[row] = span(here.at(), end);
        Some(end + 1)
    }
}

/// Numbers that have been found and not yet computed: what waits for many instructions in a row is done for all rows together.
#[derive(Debug)]
pub(super) struct Numbers {
    digits: Rows<Digits>,
    /// Digits behind the point, and in the highest bit whether there is a minus.
    marks: Rows<u8>,
}

impl Numbers {
    /// None yet.
    pub(super) const NONE: Self = Self { digits: [[0; 16]; BLOCK_ROWS], marks: [0; BLOCK_ROWS] };
    const MINUS: u8 = 0x80;
}

/// DOUBLE: its bits.
pub(super) struct Double<'a, const SIGNED: bool> {
    pub(super) values: &'a mut Rows<u64>,
    pub(super) numbers: &'a mut Numbers,
}

impl<const SIGNED: bool> Kernel for Double<'_, SIGNED> {
    #[inline(always)]
    fn value<S: Simd>(&mut self, simd: S, here: Here<'_>, window: &Window, row: usize) -> Option<usize> {
        let number = simd.number::<SIGNED>(window, here.offset, &mut self.numbers.digits[row])?;
        self.numbers.marks[row] = number.fraction | u8::from(number.negative) << 7;
        // `-0` is not negative, unlike `-0.0`.
        let minus_zero = number.negative & number.zero & (number.fraction == 0);
        (!minus_zero).then_some(here.at() + number.len)
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S) {
        /// The bits of 2^52: with an integer below that in its lower bits, a DOUBLE is by this much larger than the integer.
        const OFFSET: u64 = 0x4330_0000_0000_0000;
        simd.integers(&self.numbers.digits, self.values);
        for (value, mark) in self.values.iter_mut().zip(&self.numbers.marks) {
            let integer = f64::from_bits(*value | OFFSET) - f64::from_bits(OFFSET);
            // Both are exact, so that the quotient is rounded once: correctly.
            let quotient = integer / POWERS_OF_TEN[usize::from(mark & 15)];
            *value = quotient.to_bits() | u64::from(mark & Numbers::MINUS) << 56;
        }
    }
}

/// An integer of so few digits that any such number is of its type.
pub(super) struct Integer<'a, const SIGNED: bool> {
    pub(super) values: &'a mut Rows<u64>,
    pub(super) digits_max: usize,
    pub(super) numbers: &'a mut Numbers,
}

impl<const SIGNED: bool> Kernel for Integer<'_, SIGNED> {
    #[inline(always)]
    fn value<S: Simd>(&mut self, simd: S, here: Here<'_>, window: &Window, row: usize) -> Option<usize> {
        let number = simd.number::<SIGNED>(window, here.offset, &mut self.numbers.digits[row])?;
        self.numbers.marks[row] = u8::from(number.negative) << 7;
        (number.fraction == 0 && number.whole <= self.digits_max).then_some(here.at() + number.len)
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S) {
        simd.integers(&self.numbers.digits, self.values);
        for (value, mark) in self.values.iter_mut().zip(&self.numbers.marks) {
            *value = if mark & Numbers::MINUS == 0 { *value } else { value.wrapping_neg() };
        }
    }
}

/// BOOLEAN: 0 or 1.
pub(super) struct Boolean<'a>(pub(super) &'a mut Rows<u64>);

impl Kernel for Boolean<'_> {
    #[inline(always)]
    fn value<S: Simd>(&mut self, _: S, here: Here<'_>, window: &Window, row: usize) -> Option<usize> {
        let rest = &window[here.offset..];
        let truth = rest.starts_with(b"true");
        self.0[row] = u64::from(truth);
        (truth || rest.starts_with(b"false")).then_some(here.at() + if truth { 4 } else { 5 })
    }
}

/// Which of the types of time.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeKind {
    /// An instant; text without a zone is in this one.
    Timestamp(Zone),
    TimestampNtz,
    Date,
}

/// A time in quotes: microseconds, or days.
pub(super) struct Time<'a> {
    pub(super) values: &'a mut Rows<u64>,
    pub(super) kind: TimeKind,
    pub(super) minute: Minute,
}

/// A minute that was read, as text and as microseconds since 1970: rows mostly come in the order of their times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minute {
    text: [u8; Minute::LEN],
    start_us: i64,
}

impl Minute {
    /// None yet: no time begins with this text.
    pub(super) const NONE: Self = Self { text: [0; Self::LEN], start_us: 0 };
    /// `YYYY-MM-DDThh:mm:`.
    const LEN: usize = 17;
}

impl Kernel for Time<'_> {
    #[inline(always)]
    fn value<S: Simd>(&mut self, simd: S, here: Here<'_>, window: &Window, row: usize) -> Option<usize> {
        if let TimeKind::Timestamp(_) = self.kind
            && let Some((us, len)) = utc(simd, window, here.offset, &mut self.minute)
        {
            self.values[row] = us as u64;
            return Some(here.at() + len);
        }
        self.other(simd, here, row)
    }
}

impl Time<'_> {
    /// Reads any other form.
    #[inline(never)]
    fn other<S: Simd>(&mut self, simd: S, here: Here<'_>, row: usize) -> Option<usize> {
        let end = simd.string_end(here.text, here.at())?;
        let content = &here.text[here.at()..end];
        let value = match self.kind {
            TimeKind::Timestamp(zone) => parse_timestamp(content, &zone)?,
            TimeKind::TimestampNtz => parse_timestamp_ntz(content)?,
            TimeKind::Date => parse_date(content)?.into(),
        };
        self.values[row] = value as u64;
        Some(end + 1)
    }
}

/// `YYYY-MM-DDThh:mm:ss[.fff[fff]]Z` in microseconds since 1970, and how many bytes it takes with the quote behind it.
#[inline(always)]
fn utc<S: Simd>(simd: S, window: &Window, offset: usize, last: &mut Minute) -> Option<(i64, usize)> {
    let text: &[u8; 32] = piece(window, offset);
    if text[..Minute::LEN] != last.text {
        let start_us = minute_start(simd, window, offset)?;
        *last = Minute { text: *text.first_chunk()?, start_us };
    }
    let seconds: &[u8; 8] = text[Minute::LEN..].first_chunk()?;
    let (us, len) = match milliseconds(seconds) {
        Some(ms) => (ms * 1000, Minute::LEN + 8),
        None => fraction(&text[Minute::LEN..])?,
    };
    Some((last.start_us.checked_add(us)?, len))
}

/// When the minute of a `YYYY-MM-DDThh:mm:ss` starts.
#[inline(always)]
fn minute_start<S: Simd>(simd: S, window: &Window, offset: usize) -> Option<i64> {
    let [century, year, month, day, hour, minute, _] = simd.date_time(window, offset)?.map(i64::from);
    let days = days(century * 100 + year, month, day)?;
    (hour < 24 && minute < 60).then_some((days * 86_400 + hour * 3600 + minute * 60) * 1_000_000)
}

/// `ss.fffZ"` in milliseconds.
#[inline(always)]
fn milliseconds(text: &[u8; 8]) -> Option<i64> {
    // Digits become their values and the other letters zero, if they are what they must be.
    let word = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*b"00.000Z\"");
    // What this adds reaches the highest bit of a byte that is more than 9, or more than 0.
    let beyond = (word & LOWS) + u64::from_le_bytes([0x76, 0x76, 0x7f, 0x76, 0x76, 0x76, 0x7f, 0x7f]);
    if (beyond | word) & !LOWS != 0 {
        return None;
    }
    let [ten, one, _, hundreds, tens, ones, ..] = word.to_le_bytes().map(i64::from);
    (ten < 6).then_some((ten * 10 + one) * 1000 + hundreds * 100 + tens * 10 + ones)
}

/// The lower seven bits of each of eight bytes.
const LOWS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// `ssZ"`, `ss.fffZ"` or `ss.ffffffZ"` in microseconds, and its length.
#[inline(always)]
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    let digits = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0, |value, letter| {
            let digit = letter.wrapping_sub(b'0');
            (digit <= 9).then_some(value * 10 + i64::from(digit))
        })
    };
    let seconds = digits(0, 2).filter(|seconds| *seconds < 60)?;
    let (us, len) = match text {
        [_, _, b'Z', b'"', ..] => (0, 4),
        [_, _, b'.', _, _, _, b'Z', b'"', ..] => (digits(3, 6)? * 1000, 8),
        [_, _, b'.', _, _, _, _, _, _, b'Z', b'"', ..] => (digits(3, 9)?, 11),
        _ => return None,
    };
    Some((seconds * 1_000_000 + us, len))
}

/// A value of any type that nobody wants.
pub(super) struct Skip;

impl Kernel for Skip {
    #[inline(always)]
    fn value<S: Simd>(&mut self, simd: S, here: Here<'_>, window: &Window, _: usize) -> Option<usize> {
        let (at, rest) = (here.at(), &window[here.offset..]);
        match rest[0] {
            b'"' => simd.string_end(here.text, at + 1).map(|end| end + 1),
            b'0'..=b'9' | b'-' => simd.number::<true>(window, here.offset, &mut [0; 16]).map(|number| at + number.len),
            b't' if rest.starts_with(b"true") => Some(at + 4),
            b'n' if rest.starts_with(b"null") => Some(at + 4),
            b'f' if rest.starts_with(b"false") => Some(at + 5),
            _ => None,
        }
    }
}

/// A gap that is longer than what is compared at once: no value, the rest of the gap follows.
pub(super) struct Pass;

impl Kernel for Pass {
    #[inline(always)]
    fn value<S: Simd>(&mut self, _: S, here: Here<'_>, _: &Window, _: usize) -> Option<usize> {
        Some(here.at())
    }
}

/// The end of the line's object, after which nothing counts.
///
/// Places only ever move on, so that here it shows that nothing was read that belongs to the next line.
pub(super) struct End<'a>(pub(super) &'a Rows<u32>);

impl Kernel for End<'_> {
    #[inline(always)]
    fn value<S: Simd>(&mut self, _: S, here: Here<'_>, _: &Window, row: usize) -> Option<usize> {
        (here.at() <= self.0[row] as usize).then_some(here.at())
    }
}
