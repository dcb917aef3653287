//! Spark's DDL for types and schemas: `a INT, n STRUCT<p: INT, q: STRING> NOT NULL COMMENT 'x', l ARRAY<INT>`.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::json::parse_json;
use super::{DECIMAL_PRECISION_MAX, array_of, interval::IntervalRange, map_of, timestamp, timestamp_ntz};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::suggest::nearest;

/// Every simple type name and alias, for suggestions.
const NAMES: &[&str] = &[
    "boolean",
    "tinyint",
    "byte",
    "smallint",
    "short",
    "int",
    "integer",
    "bigint",
    "long",
    "float",
    "real",
    "double",
    "date",
    "timestamp",
    "timestamp_ltz",
    "timestamp_ntz",
    "string",
    "char",
    "character",
    "varchar",
    "binary",
    "decimal",
    "dec",
    "numeric",
    "void",
    "interval",
    "array",
    "map",
    "struct",
];

/// Deepest nesting of types that is read; Spark's own parser gives up in the same region.
const DEPTH_MAX: usize = 128;

/// A type: `BIGINT`, `DECIMAL(10,2)`, `ARRAY<STRUCT<a: INT>>`, `INTERVAL DAY TO SECOND`. Fails with `PARSE_SYNTAX_ERROR` or
/// `UNSUPPORTED_DATATYPE`.
pub fn parse_type(text: &str) -> Result<DataType> {
    let mut reader = Reader::new(text)?;
    let data_type = reader.data_type(0)?;
    reader.end()?;
    Ok(data_type)
}

/// A schema: columns with types, comma-separated. Fails as [`parse_type`] does.
pub fn parse_schema(ddl: &str) -> Result<Schema> {
    let mut reader = Reader::new(ddl)?;
    if reader.peek().is_none() {
        return Ok(Schema::empty());
    }
    let fields = reader.fields(0)?;
    reader.end()?;
    Ok(Schema::new(fields))
}

/// The schema that `from_json` and `from_csv` are given: as [`parse_ddl`], but columns have no colon behind their names and texts no
/// length (`UNSUPPORTED_CHAR_OR_VARCHAR_AS_STRING`); or in JSON.
pub fn parse_ddl_argument(text: &str) -> Result<DataType> {
    if let Some(data_type) = parse_json(text)? {
        return Ok(data_type);
    }
    let mut reader = Reader::new(text)?;
    let is_type = matches!(reader.tokens.get(1), None | Some((Token::Mark('<' | '('), _)));
    // What is no schema is read as a type, of which only the first word could be right.
    let found = parse_ddl(text).map_err(|error| if is_type { error } else { syntax(error.message().to_owned()) })?;
    if matches!(reader.tokens.get(1), Some((Token::Mark(':'), _))) {
        reader.next = 1;
        return Err(reader.unexpected("a type"));
    }
    if reader.any_with_length() {
        return Err(with_length());
    }
    Ok(found)
}

pub(super) fn with_length() -> Error {
    config("UNSUPPORTED_CHAR_OR_VARCHAR_AS_STRING", "texts of values that are read have no length: write STRING".to_owned())
}

/// What a function gives: a schema (its type is a struct) or any type.
pub fn parse_ddl(text: &str) -> Result<DataType> {
    match parse_schema(text) {
        Ok(schema) => Ok(DataType::Struct(schema.fields)),
        Err(as_schema) => parse_type(text).map_err(|as_type| match Reader::new(text) {
            // What is wrong depends on which of the two was meant.
            Ok(reader) if matches!(reader.tokens.get(1), None | Some((Token::Mark('<' | '('), _))) => as_type,
            _ => as_schema,
        }),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Text(String),
    Mark(char),
}

struct Reader {
    tokens: Vec<(Token, usize)>,
    next: usize,
    end: usize,
}

impl Reader {
    fn new(text: &str) -> Result<Self> {
        let chars: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let start = at;
            let c = chars[at];
            let token = match c {
                c if c.is_whitespace() => {
                    at += 1;
                    continue;
                }
                '<' | '>' | '(' | ')' | ',' | ':' => {
                    at += 1;
                    Token::Mark(c)
                }
                '`' | '\'' | '"' => {
                    let (text, end) = quoted(&chars, at)?;
                    at = end;
                    if c == '`' { Token::Quoted(text) } else { Token::Text(text) }
                }
                c if c.is_alphanumeric() || c == '_' => {
                    while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                        at += 1;
                    }
                    Token::Word(chars[start..at].iter().collect())
                }
                c => return Err(syntax(format!("unexpected `{c}` in type or schema at column {}", start + 1))),
            };
            tokens.push((token, start + 1));
        }
        Ok(Self { tokens, next: 0, end: chars.len() + 1 })
    }

    /// Whether a type such as VARCHAR(10) is there.
    fn any_with_length(&self) -> bool {
        self.tokens.windows(2).any(|pair| {
            let named = |name: &&str| matches!(&pair[0].0, Token::Word(word) if word.eq_ignore_ascii_case(name));
            ["char", "character", "varchar"].iter().any(named) && pair[1].0 == Token::Mark('(')
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, column)| *column)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).map(|(token, _)| token.clone());
        self.next += 1;
        token
    }

    fn accept(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.next += usize::from(found);
        found
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        if self.accept(mark) { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.peek() {
            None => "the end of the text".to_owned(),
            Some(Token::Word(w)) => format!("`{w}`"),
            Some(Token::Quoted(w)) => format!("`{w}`"),
            Some(Token::Text(t)) => format!("'{t}'"),
            Some(Token::Mark(c)) => format!("`{c}`"),
        };
        syntax(format!("expected {wanted} in type or schema at column {}, found {found}", self.column()))
    }

    fn end(&self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("`,` or the end of the text")) }
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<Field>> {
        let mut fields = vec![self.field(depth)?];
        while self.accept(',') {
            fields.push(self.field(depth)?);
        }
        Ok(fields)
    }

    fn field(&mut self, depth: usize) -> Result<Field> {
        let name = match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => name.clone(),
            _ => return Err(self.unexpected("a column name")),
        };
        self.next += 1;
        self.accept(':');
        let data_type = self.data_type(depth)?;
        let mut nullable = true;
        if self.accept_word("not") {
            if !self.accept_word("null") {
                return Err(self.unexpected("NULL"));
            }
            nullable = false;
        }
        let field = Field::new(name, data_type, nullable);
        if !self.accept_word("comment") {
            return Ok(field);
        }
        match self.take() {
            Some(Token::Text(comment)) => Ok(field.with_metadata(HashMap::from([("comment".to_owned(), comment)]))),
            _ => {
                self.next -= 1;
                Err(self.unexpected("the comment's text in quotes"))
            }
        }
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        if depth > DEPTH_MAX {
            return Err(syntax(format!("types are nested more than {DEPTH_MAX} deep at column {}", self.column())));
        }
        let column = self.column();
        let Some(Token::Word(word)) = self.peek() else { return Err(self.unexpected("a type")) };
        let word = word.to_lowercase();
        self.next += 1;
        self.check_parameters(&word, column)?;
        Ok(match word.as_str() {
            "boolean" => DataType::Boolean,
            "tinyint" | "byte" => DataType::Int8,
            "smallint" | "short" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" => DataType::Float64,
            "date" => DataType::Date32,
            "timestamp" | "timestamp_ltz" => timestamp(),
            "timestamp_ntz" => timestamp_ntz(),
            "string" => DataType::Utf8,
            // A length is checked only when a table is written, which no stream does.
            "char" | "character" | "varchar" => {
                if self.peek() != Some(&Token::Mark('(')) {
                    return Err(config("DATATYPE_MISSING_SIZE", format!("the type {word} at column {column} needs a length")));
                }
                self.arguments(1)?;
                DataType::Utf8
            }
            "binary" => DataType::Binary,
            "void" => DataType::Null,
            "decimal" | "dec" | "numeric" => self.decimal()?,
            "interval" => self.interval()?,
            "array" => {
                self.open("ARRAY", column)?;
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                array_of(item)
            }
            "map" => {
                self.open("MAP", column)?;
                let key = self.data_type(depth + 1)?;
                self.expect(',')?;
                let value = self.data_type(depth + 1)?;
                self.expect('>')?;
                map_of(key, value)
            }
            "struct" => {
                self.open("STRUCT", column)?;
                let fields = if self.peek() == Some(&Token::Mark('>')) { Vec::new() } else { self.fields(depth + 1)? };
                self.expect('>')?;
                DataType::Struct(Fields::from(fields))
            }
            "time" => {
                return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_TIME_TYPE", "the data type TIME is not supported"));
            }
            unknown => return Err(unsupported(unknown, column)),
        })
    }

    /// Numbers in brackets behind the name of a type that has none.
    fn check_parameters(&self, name: &str, column: usize) -> Result<()> {
        if self.peek() != Some(&Token::Mark('('))
            || matches!(name, "char" | "character" | "varchar" | "decimal" | "dec" | "numeric" | "interval" | "time")
        {
            return Ok(());
        }
        Err(match name {
            "timestamp" | "timestamp_ntz" | "timestamp_ltz" => {
                config("INVALID_TIMESTAMP_PRECISION", format!("the type {name} at column {column} takes no precision"))
            }
            _ => config("UNSUPPORTED_DATATYPE", format!("the type {name} at column {column} takes no parameters")),
        })
    }

    /// The `<` behind the name of a nested type.
    fn open(&mut self, name: &str, column: usize) -> Result<()> {
        if self.accept('<') {
            return Ok(());
        }
        let condition = match name {
            "ARRAY" => "INCOMPLETE_TYPE_DEFINITION.ARRAY",
            "MAP" => "INCOMPLETE_TYPE_DEFINITION.MAP",
            _ => "INCOMPLETE_TYPE_DEFINITION.STRUCT",
        };
        Err(config(condition, format!("the type {name} at column {column} does not say of what it is")))
    }

    fn decimal(&mut self) -> Result<DataType> {
        let column = self.column();
        let arguments = if self.peek() == Some(&Token::Mark('(')) { self.arguments(2)? } else { vec![10, 0] };
        let (precision, scale) = (arguments[0], arguments.get(1).copied().unwrap_or(0));
        if precision > u64::from(DECIMAL_PRECISION_MAX) {
            return Err(Error::spark(
                ErrorKind::Config,
                "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
                format!("decimal precision {precision} at column {column} exceeds {DECIMAL_PRECISION_MAX}"),
            ));
        }
        if scale > precision {
            return Err(Error::spark(
                ErrorKind::Config,
                "DECIMAL_SCALE_EXCEEDS_PRECISION",
                format!("decimal scale {scale} at column {column} is greater than the precision {precision}"),
            ));
        }
        if precision == 0 {
            return Err(config(
                "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
                format!("a decimal without digits, as at column {column}, holds no value"),
            ));
        }
        Ok(DataType::Decimal128(precision as u8, scale as i8))
    }

    fn interval(&mut self) -> Result<DataType> {
        const DAY_TIME: [&str; 4] = ["day", "hour", "minute", "second"];
        let range = |first: usize, last: usize| IntervalRange { first: first as u8, last: last as u8 }.data_type();
        for (start, unit) in ["year", "month"].iter().enumerate() {
            if self.accept_word(unit) {
                let to_month = start == 0 && self.accept_word("to");
                if to_month && !self.accept_word("month") {
                    return Err(self.unexpected("MONTH"));
                }
                let months = start == 0 && to_month || start == 1;
                return Ok(range(start, usize::from(months)));
            }
        }
        for (start, unit) in DAY_TIME.iter().enumerate() {
            if self.accept_word(unit) {
                if !self.accept_word("to") {
                    return Ok(range(start + 2, start + 2));
                }
                let Some(end) = (start + 1..DAY_TIME.len()).find(|end| self.accept_word(DAY_TIME[*end])) else {
                    return Err(self.unexpected("a smaller unit"));
                };
                return Ok(range(start + 2, end + 2));
            }
        }
        Ok(super::calendar_interval())
    }

    /// One to `max` numbers in brackets.
    fn arguments(&mut self, max: usize) -> Result<Vec<u64>> {
        self.expect('(')?;
        let mut numbers = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Word(word)) if word.len() <= 9 && word.bytes().all(|b| b.is_ascii_digit()) => {
                    numbers.push(word.parse().unwrap_or(u64::MAX));
                    self.next += 1;
                }
                _ => return Err(self.unexpected("a number")),
            }
            if !self.accept(',') {
                break;
            }
        }
        self.expect(')')?;
        if numbers.len() <= max {
            Ok(numbers)
        } else {
            Err(config("UNSUPPORTED_DATATYPE", format!("a type with {} parameters", numbers.len())))
        }
    }
}

/// The text between quotes that open at `at`, and where it ends; a doubled quote stands for one.
fn quoted(chars: &[char], at: usize) -> Result<(String, usize)> {
    let quote = chars[at];
    let mut text = String::new();
    let mut i = at + 1;
    while i < chars.len() {
        if chars[i] == quote {
            if chars.get(i + 1) != Some(&quote) {
                return Ok((text, i + 1));
            }
            i += 1;
        } else if chars[i] == '\\' && quote != '`' && i + 1 < chars.len() {
            i += 1;
        }
        text.push(chars[i]);
        i += 1;
    }
    Err(syntax(format!("the quote at column {} is never closed", at + 1)))
}

fn config(condition: &'static str, message: String) -> Error {
    Error::spark(ErrorKind::Config, condition, message)
}

fn syntax(message: String) -> Error {
    Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", message)
}

fn unsupported(name: &str, column: usize) -> Error {
    let mut message = format!("unknown data type \"{name}\" at column {column}");
    if let Some(known) = nearest(name, NAMES.iter().copied(), 1).first() {
        message.push_str(&format!(", did you mean {known}?"));
    }
    Error::spark(ErrorKind::Config, "UNSUPPORTED_DATATYPE", message)
}
