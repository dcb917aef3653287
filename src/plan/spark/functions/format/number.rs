//! `to_number` and `to_char`: Spark's own number formats, and what `to_char` does with other values.

use arrow::array::{Decimal128Array, StringArray};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::scalar::ScalarValue;

use super::super::super::expression::call::by_name;
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, coerce_one, constant, data_error, null_of, require_constant, text};
use super::super::native::{Returns, call};
use super::digits::Digits;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::types::DECIMAL_PRECISION_MAX;

/// A format, taken apart: what stands in front of the digits, the digits, what stands behind them.
#[derive(Debug, Clone)]
struct NumberFormat {
    tokens: Vec<Token>,
    precision: usize,
    scale: usize,
    written: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Digits with commas between, in order.
    Groups(Vec<Group>),
    Point,
    Dollar,
    /// `S`
    Sign,
    /// `MI`
    Minus,
    /// `PR`, which is one in front and one behind.
    Open,
    Close,
    Unknown,
}

/// A piece of [`Token::Groups`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Group {
    /// So many digits, all of which must be there if the group began with a 0.
    Digits {
        count: usize,
        exactly: bool,
    },
    Comma,
}

fn invalid(sub_condition: &str, format: &str) -> Error {
    let message = format!("the format '{format}' is not a number format");
    Error::spark(ErrorKind::Config, format!("INVALID_FORMAT.{sub_condition}"), message)
}

impl NumberFormat {
    fn parse(written: &str) -> Result<Self> {
        let upper: Vec<char> = written.to_uppercase().chars().collect();
        let mut tokens = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let (mut at, mut behind_point, mut wrapped) = (0, false, 0);
        while let Some(char) = upper.get(at).copied() {
            let next = upper.get(at + 1).copied();
            at += 1;
            let token = match (char, next) {
                ('0' | '9', _) => {
                    let more = upper[at..].iter().take_while(|char| matches!(char, '0' | '9')).count();
                    at += more;
                    groups.push(Group::Digits { count: more + 1, exactly: char == '0' && !behind_point });
                    continue;
                }
                (',' | 'G', _) => {
                    groups.push(Group::Comma);
                    continue;
                }
                ('.' | 'D', _) => {
                    behind_point = true;
                    Token::Point
                }
                ('$', _) => Token::Dollar,
                ('S', _) => Token::Sign,
                ('M', Some('I')) => Token::Minus,
                ('P', Some('R')) => Token::Close,
                _ => Token::Unknown,
            };
            if matches!(token, Token::Minus | Token::Close) {
                at += 1;
            }
            wrapped += usize::from(token == Token::Close);
            if !groups.is_empty() {
                tokens.push(Token::Groups(std::mem::take(&mut groups)));
            }
            tokens.push(token);
        }
        if !groups.is_empty() {
            tokens.push(Token::Groups(groups));
        }
        tokens.splice(0..0, std::iter::repeat_n(Token::Open, wrapped));
        let scale = tokens.iter().skip_while(|token| **token != Token::Point).map(Token::digits).sum();
        let precision = tokens.iter().map(Token::digits).sum();
        let format = Self { tokens, precision, scale, written: written.to_owned() };
        format.check()?;
        Ok(format)
    }

    fn check(&self) -> Result<()> {
        let tokens = &self.tokens;
        let wrong = |sub_condition| Err(invalid(sub_condition, &self.written));
        let place = |wanted: &Token| tokens.iter().position(|token| token == wanted);
        let Some(first_digits) = tokens.iter().position(|token| matches!(token, Token::Groups(_))) else {
            return wrong(if tokens.is_empty() { "EMPTY" } else { "WRONG_NUM_DIGIT" });
        };
        let (dollar, point) = (place(&Token::Dollar), place(&Token::Point));
        if dollar.is_some_and(|dollar| first_digits < dollar) {
            return wrong("CUR_MUST_BEFORE_DIGIT");
        }
        if let (Some(dollar), Some(point)) = (dollar, point)
            && point < dollar
        {
            return wrong("CUR_MUST_BEFORE_DEC");
        }
        for (index, token) in tokens.iter().enumerate() {
            let Token::Groups(groups) = token else { continue };
            let comma = |group: Option<&Group>| group == Some(&Group::Comma);
            let behind_point = point.is_some_and(|point| index > point);
            let twice = groups.windows(2).any(|pair| comma(pair.first()) && comma(pair.last()));
            if !behind_point && (twice || comma(groups.first()) || comma(groups.last())) {
                return wrong("CONT_THOUSANDS_SEPS");
            }
        }
        if let Some(point) = point
            && tokens[point..].iter().any(|token| matches!(token, Token::Groups(groups) if groups.contains(&Group::Comma)))
        {
            return wrong("THOUSANDS_SEPS_MUST_BEFORE_DEC");
        }
        for once in [Token::Point, Token::Sign, Token::Minus, Token::Dollar, Token::Close] {
            if tokens.iter().filter(|token| **token == once).count() > 1 {
                return wrong("WRONG_NUM_TOKEN");
            }
        }
        if self.in_order() { Ok(()) } else { wrong("UNEXPECTED_TOKEN") }
    }

    /// Whether the tokens stand in the only order there is: `[MI|S] [$] digits [.] digits [$] [PR|MI|S]`.
    fn in_order(&self) -> bool {
        let mut rest = self.tokens.as_slice();
        let mut skip = |allowed: &dyn Fn(&Token) -> bool| {
            if let [first, tail @ ..] = rest
                && allowed(first)
            {
                rest = tail;
            }
        };
        skip(&|token| *token == Token::Open);
        skip(&|token| matches!(token, Token::Minus | Token::Sign));
        skip(&|token| *token == Token::Dollar);
        skip(&|token| matches!(token, Token::Groups(_)));
        skip(&|token| *token == Token::Point);
        skip(&|token| matches!(token, Token::Groups(_)));
        skip(&|token| *token == Token::Dollar);
        skip(&|token| matches!(token, Token::Minus | Token::Sign | Token::Close));
        rest.is_empty()
    }

    /// The number that `input` stands for, with this format's scale.
    fn read(&self, input: &str) -> Option<i128> {
        let mut rest = input;
        let (mut digits, mut decimals) = (String::new(), 0);
        let (mut behind_point, mut opened, mut closed, mut negative) = (false, false, false, false);
        for token in &self.tokens {
            match token {
                Token::Groups(groups) => {
                    let before = digits.len();
                    rest = read_groups(groups, rest, &mut digits)?;
                    decimals += if behind_point { digits.len() - before } else { 0 };
                }
                Token::Point => behind_point |= eat(&mut rest, '.'),
                // A missing dollar is an error only where there is something else.
                Token::Dollar if !eat(&mut rest, '$') && !rest.is_empty() => return None,
                Token::Dollar | Token::Unknown => {}
                Token::Sign => {
                    if !eat(&mut rest, '+') {
                        negative ^= eat(&mut rest, '-');
                    }
                }
                Token::Minus => negative ^= eat(&mut rest, '-'),
                Token::Open => opened |= eat(&mut rest, '<'),
                Token::Close => {
                    if eat(&mut rest, '>') {
                        if !opened {
                            return None;
                        }
                        closed = true;
                        negative = !negative;
                    }
                }
            }
        }
        if !rest.is_empty() || opened != closed || digits.is_empty() {
            return None;
        }
        digits.extend(std::iter::repeat_n('0', self.scale.saturating_sub(decimals)));
        let value: i128 = digits.parse().ok()?;
        Some(if negative { -value } else { value })
    }

    /// Appends a number by this format; `#` in place of digits if it has more of them.
    fn write(&self, value: i128, scale: i8, out: &mut String) {
        let number = Digits::of_decimal(value, scale);
        let wholes = self.precision - self.scale;
        let (mut whole, mut fraction) =
            (number.exponent.max(0) as usize, (number.digits.len() as i32 - number.exponent).max(0) as usize);
        if number.is_zero() {
            (whole, fraction) = (0, 0);
        }
        let overflow = whole > wholes || fraction > self.scale;
        // The digits by their place, a space where there is none.
        let digit = |power: i32| match power {
            _ if overflow => '#',
            power if power >= whole as i32 => ' ',
            power => char::from(number.at(power)),
        };
        let (mut power, mut behind_point) = (wholes as i32 - 1, false);
        let mut result: Vec<char> = Vec::new();
        for token in &self.tokens {
            match token {
                Token::Groups(groups) => {
                    for group in groups {
                        match group {
                            Group::Comma if result.last().is_some_and(char::is_ascii_digit) => result.push(','),
                            Group::Comma => push_space(&mut result),
                            Group::Digits { count, exactly } => {
                                for _ in 0..*count {
                                    match digit(power) {
                                        ' ' if *exactly => result.push('0'),
                                        ' ' if !behind_point => push_space(&mut result),
                                        digit => result.push(digit),
                                    }
                                    power -= 1;
                                }
                            }
                        }
                    }
                }
                Token::Point => {
                    if let Some(last) = result.last_mut().filter(|last| **last == ' ') {
                        *last = '0';
                    }
                    result.push('.');
                    (behind_point, power) = (true, -1);
                }
                Token::Dollar => result.push('$'),
                Token::Sign => {
                    strip_point(&mut result);
                    push_sign(&mut result, if value < 0 { '-' } else { '+' });
                }
                Token::Minus if value < 0 => {
                    strip_point(&mut result);
                    push_sign(&mut result, '-');
                }
                Token::Minus => result.push(' '),
                Token::Open if value < 0 => result.push('<'),
                Token::Close => {
                    strip_point(&mut result);
                    if value < 0 {
                        push_sign(&mut result, '>');
                    } else {
                        result.extend([' ', ' ']);
                    }
                }
                Token::Open | Token::Unknown => {}
            }
        }
        finish(result, out);
    }
}

impl Token {
    fn digits(&self) -> usize {
        let Self::Groups(groups) = self else { return 0 };
        groups.iter().map(|group| if let Group::Digits { count, .. } = group { *count } else { 0 }).sum()
    }
}

fn eat(rest: &mut &str, wanted: char) -> bool {
    let tail = rest.strip_prefix(wanted);
    *rest = tail.unwrap_or(rest);
    tail.is_some()
}

/// Reads digits, commas and space, as many between commas as the groups say; gives what follows.
fn read_groups<'a>(groups: &[Group], text: &'a str, digits: &mut String) -> Option<&'a str> {
    let mut sizes = vec![0];
    let mut end = text.len();
    for (at, char) in text.char_indices() {
        match char {
            ',' => sizes.push(0),
            _ if char.is_whitespace() => {}
            _ => match digit_of(char) {
                Some(digit) => {
                    digits.push(digit);
                    *sizes.last_mut()? += 1;
                }
                None => {
                    end = at;
                    break;
                }
            },
        }
    }
    let wanted = groups.iter().rev().filter_map(|group| match group {
        Group::Digits { count, exactly } => Some((*count, *exactly)),
        Group::Comma => None,
    });
    let mut found = sizes.into_iter().rev();
    for (count, exactly) in wanted {
        let size = found.next().unwrap_or(0);
        if size > count || exactly && size != count {
            return None;
        }
    }
    found.next().is_none().then(|| &text[end..])
}

/// A decimal digit of any of the scripts that numbers are mostly written in, as an ASCII digit.
fn digit_of(char: char) -> Option<char> {
    const ZEROS: [u32; 8] = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0x17E0, 0xFF10];
    let code = u32::from(char);
    let zero = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

/// A space, in front of a sign or bracket that would otherwise stand before it.
fn push_space(result: &mut Vec<char>) {
    let at = result.iter().rposition(|char| !matches!(char, '+' | '-' | '<')).map_or(0, |place| place + 1);
    result.insert(at, ' ');
}

/// A sign behind the last digit, spaces after it.
fn push_sign(result: &mut Vec<char>, sign: char) {
    let at = result.iter().rposition(|char| *char != ' ').map_or(0, |place| place + 1);
    result.insert(at, sign);
}

/// A number of which nothing is left is 0.
fn finish(mut result: Vec<char>, out: &mut String) {
    strip_point(&mut result);
    match result.as_slice() {
        [] | ['+' | '-'] => out.push('0'),
        written => out.extend(written),
    }
}

/// A point with nothing behind it becomes a space.
fn strip_point(result: &mut [char]) {
    if let Some(point) = result.iter().position(|char| *char == '.')
        && result.get(point + 1).is_none_or(|next| *next == ' ')
    {
        result[point] = ' ';
    }
}

/// The format argument, a constant; `None` if it is null.
fn format_of(c: &Call<'_>, arg: Typed) -> Result<Option<NumberFormat>> {
    let arg = coerce_one(c, 1, arg, &Want::Text)?;
    match require_constant(c, "format", &arg)? {
        ScalarValue::Utf8(Some(format)) => NumberFormat::parse(&format).map(Some),
        _ => Ok(None),
    }
}

fn two(c: &mut Call<'_>) -> Result<(Typed, Typed)> {
    arity(c, 2, 2)?;
    match (c.args.pop(), c.args.pop()) {
        (Some(second), Some(first)) => Ok((first, second)),
        _ => Err(Error::internal("there are two arguments")),
    }
}

/// `to_number(text, format)`.
pub(super) fn to_number(mut c: Call<'_>, lenient: bool) -> Result<Typed> {
    let (value, format) = two(&mut c)?;
    let value = coerce_one(&c, 0, value, &Want::Text)?;
    let Some(format) = format_of(&c, format)? else { return null_of(DataType::Decimal128(10, 0)) };
    if format.precision > usize::from(DECIMAL_PRECISION_MAX) {
        let message = format!("decimals have at most {DECIMAL_PRECISION_MAX} digits, the format {} has more", format.written);
        return Err(Error::spark(ErrorKind::Config, "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION", message));
    }
    let data_type = DataType::Decimal128(format.precision as u8, format.scale as i8);
    let name = format!("{}[{}]", c.name, format.written);
    let returns = Returns::fallible_if(!lenient, data_type, lenient || value.nullable);
    Ok(call(&name, vec![value], returns, move |a| {
        let texts = a.column::<StringArray>(0)?;
        a.try_primitive::<Decimal128Type>(|row| {
            let Some(input) = texts.get(row) else { return Ok(None) };
            match format.read(input) {
                None if !lenient => {
                    let message = format!("the input '{input}' does not match the format '{}'", format.written);
                    Err(data_error("INVALID_FORMAT.MISMATCH_INPUT", message))
                }
                read => Ok(read),
            }
        })
    }))
}

/// `to_char(value, format)`.
pub(super) fn to_char(mut c: Call<'_>) -> Result<Typed> {
    let (value, format) = two(&mut c)?;
    match &value.data_type {
        DataType::Date32 | DataType::Timestamp(..) => by_name("date_format", vec![value, format], &c.context),
        DataType::Binary => binary(&c, value, format),
        _ => {
            let value = coerce_one(&c, 0, value, &Want::Decimal)?;
            let Some(format) = format_of(&c, format)? else { return null_of(DataType::Utf8) };
            let returns = Returns::new(DataType::Utf8, value.nullable);
            let name = format!("to_char[{}]", format.written);
            Ok(call(&name, vec![value], returns, move |a| {
                let numbers = a.column::<Decimal128Array>(0)?;
                let scale = numbers.array().scale();
                a.strings(|row, out| {
                    format.write(numbers.get(row)?, scale, out);
                    Some(())
                })
            }))
        }
    }
}

/// The format of a binary names an encoding.
fn binary(c: &Call<'_>, value: Typed, format: Typed) -> Result<Typed> {
    let Some(ScalarValue::Utf8(Some(format))) = constant(&format)? else {
        let message = "the format of a binary must be a constant";
        return Err(Error::spark(ErrorKind::Config, "NON_FOLDABLE_ARGUMENT", message));
    };
    match format.to_lowercase().as_str() {
        "base64" => by_name("base64", vec![value], &c.context),
        "hex" => by_name("hex", vec![value], &c.context),
        "utf-8" => by_name("decode", vec![value, text("UTF-8")], &c.context),
        other => {
            let message = format!("the format of a binary is 'base64', 'hex' or 'utf-8', not '{other}'");
            Err(Error::spark(ErrorKind::Config, "INVALID_PARAMETER_VALUE.BINARY_FORMAT", message))
        }
    }
}
