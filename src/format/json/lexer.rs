//! The tokens of one line of JSON, by the rules of Spark's JSON reader: strict, except that strings may stand in single quotes and
//! `NaN`, `Infinity`, `+INF` and their like are numbers.

use super::Reason;

/// A place in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    dialect: Dialect,
}

/// Spark reads JSON in two ways.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dialect {
    /// As its JSON source and `from_json` do.
    Reader,
    /// As functions that look for something in a text do: control characters may stand in strings, numbers have digits.
    Search,
}

/// A token; of an object or an array only that it begins here, with the cursor still in front.
#[derive(Debug)]
pub(super) enum Token<'a> {
    String(Text<'a>),
    Number(Number<'a>),
    True,
    False,
    Null,
    Object,
    Array,
}

/// A string between its quotes, escapes checked but not yet resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) raw: &'a [u8],
    pub(super) escaped: bool,
}

/// A number, its digits gathered on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    pub(super) raw: &'a [u8],
    pub(super) form: Form,
    negative: bool,
    /// The digits without point and sign, if `exact`.
    mantissa: u64,
    /// Whether `mantissa` has all digits.
    exact: bool,
    /// The value is `mantissa` × 10^`scale`, if `exact`.
    scale: i32,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// Digits only.
    Integer,
    /// With a point or an exponent.
    Decimal,
    /// `NaN` and the infinities.
    Special(f64),
}

/// Digits beyond which a number is refused, as Spark's reader does.
const DIGITS_MAX: usize = 1000;

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

impl Number<'_> {
    /// The value as an integer of 64 bits; `None` for any other number, also for `1.0`.
    #[inline]
    pub(super) fn integer(&self) -> Option<i64> {
        if self.form != Form::Integer || !self.exact {
            return None;
        }
        match (self.negative, i64::try_from(self.mantissa)) {
            (false, Ok(value)) => Some(value),
            (true, Ok(value)) => Some(-value),
            (true, Err(_)) if self.mantissa == i64::MIN.unsigned_abs() => Some(i64::MIN),
            _ => None,
        }
    }

    /// The nearest DOUBLE; `-0` without a point is 0.0.
    #[inline]
    pub(super) fn double(&self) -> f64 {
        let power = self.scale.unsigned_abs() as usize;
        // Both are exact as doubles, so that their quotient or product is rounded once: correctly.
        if self.exact && self.mantissa <= 1 << 53 && power < POWERS_OF_TEN.len() {
            let mantissa = self.mantissa as f64;
            let value = if self.scale < 0 { mantissa / POWERS_OF_TEN[power] } else { mantissa * POWERS_OF_TEN[power] };
            return if self.negative && (self.mantissa != 0 || self.form == Form::Decimal) { -value } else { value };
        }
        match self.form {
            Form::Special(value) => value,
            _ => fast_float2::parse(self.raw).unwrap_or(f64::NAN),
        }
    }

    /// The nearest FLOAT, rounded once.
    pub(super) fn float(&self) -> f32 {
        match self.form {
            Form::Special(value) => value as f32,
            Form::Integer if self.raw == b"-0" => 0.0,
            _ => fast_float2::parse(self.raw).unwrap_or(f32::NAN),
        }
    }
}

/// Text to be compared in one step if it is short.
#[derive(Debug)]
pub(super) struct Pattern {
    text: Box<[u8]>,
    /// The text as a word and a mask of its bytes, if it has up to 16.
    short: Option<(u128, u128)>,
}

impl Pattern {
    pub(super) fn new(text: &[u8]) -> Self {
        let short = (text.len() <= 16).then(|| {
            let mut bytes = [0; 16];
            bytes[..text.len()].copy_from_slice(text);
            let mask = if text.len() == 16 { u128::MAX } else { (1 << (text.len() * 8)) - 1 };
            (u128::from_le_bytes(bytes), mask)
        });
        Self { text: text.into(), short }
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, dialect: Dialect::Reader }
    }

    /// A cursor by the rules of the functions that look for something in a text: control characters may stand in strings, and
    /// `NaN` and the infinities are no numbers.
    pub(super) fn searching(text: &'a [u8]) -> Self {
        Self { text, at: 0, dialect: Dialect::Search }
    }

    /// Bytes in front of this place.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The byte here; 0, which begins no token, at the end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Whether the line ends here.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Steps over the byte here.
    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Steps over white space.
    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Steps over `expected` if it stands here.
    #[inline]
    pub(super) fn eat(&mut self, expected: &[u8]) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(expected));
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Steps over `expected` if it stands here.
    #[inline]
    pub(super) fn eat_pattern(&mut self, expected: &Pattern) -> bool {
        if let Some((word, mask)) = expected.short
            && let Some(sixteen) = self.text.get(self.at..self.at + 16)
        {
            let found = u128::from_le_bytes(sixteen.try_into().expect("sixteen bytes")) & mask == word;
            if found {
                self.at += expected.text.len();
            }
            return found;
        }
        self.eat(&expected.text)
    }

    /// The token here.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Token<'a>, Reason> {
        match self.peek() {
            b'"' | b'\'' => self.string().map(Token::String),
            b'0'..=b'9' | b'-' | b'+' | b'N' | b'I' => self.number().map(Token::Number),
            b'{' => Ok(Token::Object),
            b'[' => Ok(Token::Array),
            b't' if self.eat(b"true") => Ok(Token::True),
            b'f' if self.eat(b"false") => Ok(Token::False),
            b'n' if self.eat(b"null") => Ok(Token::Null),
            _ => Err(Reason::NotJson),
        }
    }

    /// The string that begins here with a quote of either kind.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Reason> {
        let quote = self.peek();
        if quote != b'"' && quote != b'\'' {
            return Err(Reason::NotJson);
        }
        let start = self.at + 1;
        let mut escaped = false;
        let mut at = start;
        loop {
            at = self.find_stop(at, quote);
            match self.text.get(at) {
                Some(byte) if *byte == quote => {
                    self.at = at + 1;
                    return Ok(Text { raw: &self.text[start..at], escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    at += self.escape_len(at + 1)?;
                }
                Some(byte) if *byte < 0x20 && self.dialect == Dialect::Search => at += 1,
                _ => return Err(Reason::NotJson),
            }
        }
    }

    /// The next quote, backslash or control character from `at` on, eight bytes at a time.
    #[inline]
    fn find_stop(&self, mut at: usize, quote: u8) -> usize {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let quotes = ONES * u64::from(quote);
        // A borrow can only flag bytes above the first true one, which is the one that is used.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
        while let Some(eight) = self.text.get(at..at + 8) {
            let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
            let controls = word.wrapping_sub(ONES * 0x20) & !word;
            let stops = (zeros(word ^ quotes) | zeros(word ^ (ONES * u64::from(b'\\'))) | controls) & HIGHS;
            if stops != 0 {
                return at + (stops.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        while self.text.get(at).is_some_and(|b| *b != quote && *b != b'\\' && *b >= 0x20) {
            at += 1;
        }
        at
    }

    /// Length of the escape whose letter stands at `at`, backslash included.
    fn escape_len(&self, at: usize) -> Result<usize, Reason> {
        match self.text.get(at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'\'') => Ok(2),
            Some(b'u') => match self.text.get(at + 1..at + 5) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(6),
                _ => Err(Reason::NotJson),
            },
            _ => Err(Reason::NotJson),
        }
    }

    /// The number that begins here.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number<'a>, Reason> {
        let start = self.at;
        let negative = self.peek() == b'-';
        if negative {
            self.at += 1;
        }
        if !self.peek().is_ascii_digit() {
            return self.special(start, negative);
        }
        let mut mantissa = 0;
        let whole = self.digits(&mut mantissa);
        if whole > 1 && self.text[self.at - whole] == b'0' {
            return Err(Reason::NotJson);
        }
        let mut digits = whole;
        let (mut form, mut scale) = (Form::Integer, 0);
        if self.peek() == b'.' {
            self.at += 1;
            let fraction = self.digits(&mut mantissa);
            if fraction == 0 {
                return Err(Reason::NotJson);
            }
            digits += fraction;
            (form, scale) = (Form::Decimal, -(fraction as i32));
        }
        let mut exact = digits <= 19;
        if matches!(self.peek(), b'e' | b'E') {
            let exponent = self.exponent()?;
            form = Form::Decimal;
            exact &= exponent.is_some();
            scale = scale.saturating_add(exponent.unwrap_or(0));
        }
        if digits > DIGITS_MAX {
            return Err(Reason::NumberTooLong);
        }
        Ok(Number { raw: &self.text[start..self.at], form, negative, mantissa, exact, scale })
    }

    /// Steps over digits and adds them to `mantissa` (which holds up to 19); how many they were.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) -> usize {
        let start = self.at;
        while let Some(digit) = self.text.get(self.at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        self.at - start
    }

    /// Steps over an exponent; `None` if it is beyond any number's.
    fn exponent(&mut self) -> Result<Option<i32>, Reason> {
        self.at += 1;
        let negative = self.peek() == b'-';
        if matches!(self.peek(), b'+' | b'-') {
            self.at += 1;
        }
        let start = self.at;
        let mut value = 0;
        if self.digits(&mut value) == 0 {
            return Err(Reason::NotJson);
        }
        if self.at - start > 9 {
            return Ok(None);
        }
        let value = value as i32;
        Ok(Some(if negative { -value } else { value }))
    }

    /// `NaN`, `Infinity`, `-Infinity`, `-INF`, `+Infinity`, `+INF`; the minus sign has been read.
    #[cold]
    fn special(&mut self, start: usize, negative: bool) -> Result<Number<'a>, Reason> {
        if self.dialect == Dialect::Search {
            return Err(Reason::NotJson);
        }
        let signed = negative || self.eat(b"+");
        let value = if !signed && self.eat(b"NaN") {
            f64::NAN
        } else if self.eat(b"Infinity") || signed && self.eat(b"INF") {
            if negative { f64::NEG_INFINITY } else { f64::INFINITY }
        } else {
            return Err(Reason::NotJson);
        };
        let raw = &self.text[start..self.at];
        Ok(Number { raw, form: Form::Special(value), negative, mantissa: 0, exact: false, scale: 0 })
    }
}
