//! INTERVAL literals.

use sqlparser::ast::{DateTimeField, Expr, Ident, Interval, Value, ValueWithSpan};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// What the parser writes for a blank within a value, so that this stays one word.
pub(in crate::plan::spark) const WITHIN_VALUE: char = '\u{2060}';

/// `INTERVAL 1 DAY`, `INTERVAL 2 WEEKS 3 DAYS`, `INTERVAL '1 day'` (all as text without fields), `INTERVAL '1-2' YEAR TO MONTH`.
pub(super) fn parse_interval(parser: &mut Parser) -> Result<Expr, ParserError> {
    let at = parser.next_token().span;
    let mut parts: Vec<String> = Vec::new();
    let mut first = None;
    let of_value = |value, leading_field, last_field| {
        Expr::Interval(Interval {
            value: Box::new(Expr::Value(ValueWithSpan { value, span: at })),
            leading_field,
            leading_precision: None,
            last_field,
            fractional_seconds_precision: None,
        })
    };
    let interval = |text, leading_field, last_field| of_value(Value::SingleQuotedString(text), leading_field, last_field);
    loop {
        let sign = match parser.peek_token_ref().token {
            Token::Minus => "-",
            Token::Plus => "+",
            _ => "",
        };
        let signed = usize::from(!sign.is_empty());
        let value = match &parser.peek_nth_token_ref(signed).token {
            Token::Number(n, false) => n.clone(),
            Token::SingleQuotedString(text) => text.trim().to_owned(),
            _ if !parts.is_empty() => return Ok(interval(parts.join(" "), first, None)),
            _ => {
                let found = parser.peek_token();
                return parser.expected("an interval's value", found);
            }
        };
        // After a unit, a number that no unit follows is not part of the interval any more.
        let Some(unit) = interval_unit(&parser.peek_nth_token_ref(signed + 1).token) else {
            if !parts.is_empty() {
                return Ok(interval(parts.join(" "), first, None));
            }
            for _ in 0..=signed {
                parser.next_token();
            }
            return Ok(interval(format!("{sign}{value}"), None, None));
        };
        let is_number = matches!(parser.peek_nth_token_ref(signed).token, Token::Number(..));
        for _ in 0..signed + 2 {
            parser.next_token();
        }
        if parts.is_empty() && parser.parse_keyword(Keyword::TO) {
            let token = parser.next_token();
            let Some(last) = interval_unit(&token.token) else { return parser.expected("an interval's unit", token) };
            let text = format!("{sign}{value}");
            let value = if is_number { Value::Number(text, false) } else { Value::SingleQuotedString(text) };
            return Ok(of_value(value, Some(custom_field(unit)), Some(custom_field(last))));
        }
        first.get_or_insert_with(|| custom_field(unit));
        parts.push(join_sign(sign, &one_word(&value)));
        parts.push(unit.to_owned());
    }
}

/// `-` before `-1` is `1`: both signs count.
fn join_sign(sign: &str, value: &str) -> String {
    match (sign, value.strip_prefix('-')) {
        ("-", Some(positive)) => positive.to_owned(),
        ("+", _) => value.to_owned(),
        _ => format!("{sign}{value}"),
    }
}

/// The value of a unit as one word: blanks behind its sign mean nothing, others make it no number.
fn one_word(value: &str) -> String {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let sign = &value[..value.len() - digits.len()];
    format!("{sign}{}", digits.trim_start().replace(char::is_whitespace, WITHIN_VALUE.encode_utf8(&mut [0; 4])))
}

fn custom_field(unit: &str) -> DateTimeField {
    DateTimeField::Custom(Ident::new(unit))
}

/// The unit that a word names, in the singular.
fn interval_unit(token: &Token) -> Option<&'static str> {
    const UNITS: [&str; 10] =
        ["year", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond", "nanosecond"];
    let Token::Word(word) = token else { return None };
    if word.quote_style.is_some() {
        return None;
    }
    let name = word.value.to_lowercase();
    UNITS.into_iter().find(|unit| name == *unit || name.strip_suffix('s') == Some(unit))
}
