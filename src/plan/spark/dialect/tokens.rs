//! Spark's lexical rules, yielding the tokens that sqlparser's parser reads.
//!
//! sqlparser's own tokenizer does not know Spark's numeric suffixes (`1.5BD`), raw strings, string escapes, `>>>`, or that an
//! identifier may start with a digit.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::TYPED_LITERALS;
use crate::error::{Error, ErrorKind, Result};

/// Longest chain of operators or nesting of brackets in one expression: deeper trees would need unbounded stack.
const CHAIN_MAX: usize = 2_000;

/// Words that are syntax even before `(`; any other word there names a function.
const SYNTAX_BEFORE_PAREN: &[Keyword] = &[
    Keyword::ALL,
    Keyword::AND,
    Keyword::ANY,
    Keyword::AS,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CASE,
    Keyword::CROSS,
    Keyword::CUBE,
    Keyword::DISTINCT,
    Keyword::DIV,
    Keyword::ELSE,
    Keyword::ESCAPE,
    Keyword::EXCEPT,
    Keyword::EXISTS,
    Keyword::EXTRACT,
    Keyword::FILTER,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::GROUPING,
    Keyword::HAVING,
    Keyword::ILIKE,
    Keyword::IN,
    Keyword::INTERSECT,
    Keyword::INTERVAL,
    Keyword::IS,
    Keyword::JOIN,
    Keyword::LATERAL,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::MINUS,
    Keyword::NOT,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::OVER,
    Keyword::PARTITION,
    Keyword::REGEXP,
    Keyword::RLIKE,
    Keyword::ROLLUP,
    Keyword::SELECT,
    Keyword::SETS,
    Keyword::SOME,
    Keyword::STRUCT,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::THEN,
    Keyword::TRIM,
    Keyword::UNION,
    Keyword::USING,
    Keyword::VALUES,
    Keyword::VIEW,
    Keyword::WHEN,
    Keyword::WHERE,
    Keyword::WITH,
    Keyword::WITHIN,
    Keyword::WINDOW,
    Keyword::OVERLAY,
    Keyword::POSITION,
    Keyword::TABLESAMPLE,
    Keyword::PIVOT,
    Keyword::UNPIVOT,
];

/// Words that sqlparser gives a meaning of their own in expressions where Spark has plain names.
const PLAIN_NAMES: &[Keyword] = &[
    Keyword::ARRAY,
    Keyword::DATE,
    Keyword::TIMESTAMP,
    Keyword::TIMESTAMP_NTZ,
    Keyword::MAP,
    Keyword::STRUCT,
    Keyword::TIME,
    Keyword::DATETIME,
    Keyword::MATCH,
    Keyword::PRIOR,
    Keyword::NEXT,
    Keyword::POSITION,
    Keyword::SUBSTRING,
    Keyword::SUBSTR,
    Keyword::TRIM,
    Keyword::OVERLAY,
    Keyword::CEIL,
    Keyword::FLOOR,
    Keyword::CONVERT,
    Keyword::TRY_CONVERT,
    Keyword::LAMBDA,
    Keyword::CONNECT_BY_ROOT,
    Keyword::USER,
    Keyword::CURRENT_CATALOG,
    Keyword::SESSION_USER,
    Keyword::LOCALTIME,
    Keyword::XOR,
    Keyword::OVERLAPS,
    Keyword::OPERATOR,
    Keyword::SIMILAR,
    Keyword::MEMBER,
    Keyword::COLLATE,
    Keyword::AT,
    Keyword::NOTNULL,
    Keyword::XML,
    Keyword::JSON,
    Keyword::UUID,
    Keyword::BINARY,
    Keyword::STRING,
    Keyword::DOUBLE,
    Keyword::FLOAT,
    Keyword::REAL,
    Keyword::DECIMAL,
    Keyword::NUMERIC,
    Keyword::DEC,
    Keyword::INT,
    Keyword::INTEGER,
    Keyword::BIGINT,
    Keyword::SMALLINT,
    Keyword::TINYINT,
    Keyword::BOOLEAN,
    Keyword::CHAR,
    Keyword::VARCHAR,
    Keyword::TEXT,
    Keyword::BIT,
];

/// The tokens of `sql` with their positions. Fails with `PARSE_SYNTAX_ERROR`.
pub(super) fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let mut reader = Reader { chars: sql.chars().collect(), at: 0, line: 1, column: 1 };
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    while reader.skip_blank()? {
        let start = reader.location();
        let token = reader.token()?;
        let span = Span::new(start, reader.location());
        // Literals that follow one another are one string, but not behind a type.
        let typed = matches!(tokens.len().checked_sub(2).map(|at| &tokens[at].token), Some(Token::Word(word))
            if TYPED_LITERALS.iter().any(|name| word.value.eq_ignore_ascii_case(name)));
        if let (Token::SingleQuotedString(next), Some(TokenWithSpan { token: Token::SingleQuotedString(text), .. }), false) =
            (&token, tokens.last_mut(), typed)
        {
            text.push_str(next);
            continue;
        }
        tokens.push(TokenWithSpan::new(token, span));
    }
    for i in 0..tokens.len() {
        let next = tokens.get(i + 1).map(|t| &t.token);
        let (call, literal) = (next == Some(&Token::LParen), matches!(next, Some(Token::SingleQuotedString(_))));
        // EXISTS is a function too: over an array, with a lambda function.
        let subquery = matches!(tokens.get(i + 2).map(|t| &t.token), Some(Token::Word(w)) if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM))
            || matches!(tokens.get(i + 2).map(|t| &t.token), Some(Token::LParen));
        let extracted = i >= 2
            && tokens[i - 1].token == Token::LParen
            && matches!(&tokens[i - 2].token, Token::Word(w) if w.keyword == Keyword::EXTRACT);
        let compared = i > 0
            && matches!(
                tokens[i - 1].token,
                Token::Eq | Token::DoubleEq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq | Token::Spaceship
            );
        if let Token::Word(word) = &mut tokens[i].token {
            // The field of EXTRACT stays as it is written.
            let plain = if extracted {
                true
            } else if call && word.keyword == Keyword::EXISTS {
                !subquery
            } else if compared && matches!(word.keyword, Keyword::ANY | Keyword::SOME) {
                // What is compared is what the aggregate function gives.
                true
            } else if call {
                !SYNTAX_BEFORE_PAREN.contains(&word.keyword)
            } else {
                !literal && PLAIN_NAMES.contains(&word.keyword)
            };
            if plain {
                word.keyword = Keyword::NoKeyword;
            }
        }
    }
    check_chains(&tokens)?;
    Ok(with_named_rows(tokens))
}

/// What stands before `(a AS x, b AS y)` for the parser, which does not know by itself what is coming. No one can write it.
pub(super) const NAMED_ROW: &str = "NAMED ROW";

/// The tokens with [`NAMED_ROW`] before each row with names.
fn with_named_rows(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const BEFORE: [Keyword; 14] = [
        Keyword::SELECT,
        Keyword::DISTINCT,
        Keyword::ALL,
        Keyword::WHERE,
        Keyword::HAVING,
        Keyword::AND,
        Keyword::OR,
        Keyword::NOT,
        Keyword::WHEN,
        Keyword::THEN,
        Keyword::ELSE,
        Keyword::ON,
        Keyword::BY,
        Keyword::BETWEEN,
    ];
    let may_begin = |at: usize| match at.checked_sub(1).map(|before| &tokens[before].token) {
        None | Some(Token::RParen | Token::RBracket | Token::Number(..) | Token::SingleQuotedString(_)) => at == 0,
        Some(Token::Word(word)) => BEFORE.contains(&word.keyword),
        Some(_) => true,
    };
    // The open brackets: where, whether a row may stand in it, whether it has a name, whether a comma.
    let mut open: Vec<(usize, bool, bool, bool)> = Vec::new();
    let mut rows = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen => open.push((at, may_begin(at), false, false)),
            Token::RParen => rows.extend(open.pop().filter(|(_, row, named, listed)| *row && *named && *listed)),
            Token::Comma => open.iter_mut().last().into_iter().for_each(|innermost| innermost.3 = true),
            Token::Word(word) => {
                if let Some(innermost) = open.last_mut() {
                    innermost.2 |= word.keyword == Keyword::AS;
                    // A query in brackets is none.
                    innermost.1 &= !matches!(word.keyword, Keyword::SELECT | Keyword::FROM | Keyword::VALUES | Keyword::JOIN);
                }
            }
            _ => {}
        }
    }
    if rows.is_empty() {
        return tokens;
    }
    let starts: std::collections::HashSet<usize> = rows.into_iter().map(|(at, ..)| at).collect();
    let mut named = Vec::with_capacity(tokens.len() + starts.len());
    for (at, token) in tokens.into_iter().enumerate() {
        if starts.contains(&at) {
            named.push(TokenWithSpan::new(Token::make_word(NAMED_ROW, None), token.span));
        }
        named.push(token);
    }
    named
}

/// Refuses expressions whose tree would be too deep for recursion, before the tree exists.
fn check_chains(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut chains = vec![0_usize];
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => chains.push(0),
            Token::RParen | Token::RBracket if chains.len() > 1 => {
                chains.pop();
            }
            Token::Comma => chains.iter_mut().last().into_iter().for_each(|n| *n = 0),
            Token::Word(word) if !matches!(word.keyword, Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::DIV) => {
                if matches!(word.keyword, Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::WHEN | Keyword::THEN) {
                    chains.iter_mut().last().into_iter().for_each(|n| *n = 0);
                }
            }
            Token::Number(..) | Token::SingleQuotedString(_) | Token::SemiColon => {}
            _ => chains.iter_mut().last().into_iter().for_each(|n| *n += 1),
        }
        if chains.len() > CHAIN_MAX || chains.last().is_some_and(|n| *n > CHAIN_MAX) {
            return Err(syntax(
                &format!("an expression of more than {CHAIN_MAX} operators in one chain is not supported"),
                token.span.start,
            ));
        }
    }
    Ok(())
}

pub(super) fn syntax(message: &str, at: Location) -> Error {
    Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", format!("{message} (line {}, column {})", at.line, at.column))
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: u64,
    column: u64,
}

impl Reader {
    fn location(&self) -> Location {
        Location::new(self.line, self.column)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            match self.chars.get(self.at) {
                Some('\n') => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
            self.at += 1;
        }
    }

    /// Skips white space and comments; false at the end.
    fn skip_blank(&mut self) -> Result<bool> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Ok(false),
                (Some(c), _) if c.is_whitespace() => self.advance(1),
                (Some('-'), Some('-')) => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.advance(1);
                    }
                }
                (Some('/'), Some('*')) => self.skip_comment()?,
                _ => return Ok(true),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<()> {
        let start = self.location();
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.advance(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.advance(2);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.advance(1),
                (None, _) => {
                    let message = format!("a comment is never closed (line {}, column {})", start.line, start.column);
                    return Err(Error::spark(ErrorKind::Config, "UNCLOSED_BRACKETED_COMMENT", message));
                }
            }
        }
    }

    fn token(&mut self) -> Result<Token> {
        let c = self.chars[self.at];
        let next = self.peek(1);
        if matches!(c, 'r' | 'R') && matches!(next, Some('\'' | '"')) {
            self.advance(1);
            return self.string(true);
        }
        if matches!(c, '\'' | '"') {
            return self.string(false);
        }
        if c == '`' {
            return self.quoted_name();
        }
        if c.is_ascii_digit() || (c == '.' && next.is_some_and(|n| n.is_ascii_digit()) && !self.follows_name()) {
            return self.number();
        }
        if c.is_alphabetic() || c == '_' {
            return Ok(self.word());
        }
        self.operator()
    }

    /// Whether what stands right before is a name or a bracket, so that `.1` selects from it rather than being a number.
    fn follows_name(&self) -> bool {
        self.at > 0 && matches!(self.chars[self.at - 1], c if c.is_alphanumeric() || matches!(c, '_' | '`' | ')' | ']'))
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.advance(1);
        }
        let text: String = self.chars[start..self.at].iter().collect();
        match Token::make_word(&text, None) {
            Token::Word(Word { keyword: Keyword::REGEXP, .. }) => Token::make_keyword("REGEXP"),
            word => word,
        }
    }

    fn quoted_name(&mut self) -> Result<Token> {
        let start = self.location();
        let mut text = String::new();
        self.advance(1);
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('`'), Some('`')) => {
                    text.push('`');
                    self.advance(2);
                }
                (Some('`'), _) => {
                    self.advance(1);
                    return Ok(Token::Word(Word { value: text, quote_style: Some('`'), keyword: Keyword::NoKeyword }));
                }
                (Some(c), _) => {
                    text.push(c);
                    self.advance(1);
                }
                (None, _) => return Err(syntax("a back-tick is never closed", start)),
            }
        }
    }

    /// A number with its suffix; the suffix `L` becomes the token's flag, others stay in the text.
    fn number(&mut self) -> Result<Token> {
        let start = self.at;
        let location = self.location();
        let digits = |reader: &mut Self| {
            while reader.peek(0).is_some_and(|c| c.is_ascii_digit()) {
                reader.advance(1);
            }
        };
        digits(self);
        if self.peek(0) == Some('.')
            && !self.peek(1).is_some_and(|c| c.is_alphabetic() && !matches!(c, 'e' | 'E' | 'd' | 'D' | 'f' | 'F' | 'b' | 'B'))
        {
            self.advance(1);
            digits(self);
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                self.advance(1 + sign);
                digits(self);
            }
        }
        let suffix_start = self.at;
        while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.advance(1);
        }
        let suffix: String = self.chars[suffix_start..self.at].iter().map(|c| c.to_ascii_uppercase()).collect();
        let text: String = self.chars[start..suffix_start].iter().collect();
        let whole = text.bytes().all(|b| b.is_ascii_digit());
        match suffix.as_str() {
            "" => Ok(Token::Number(text, false)),
            "L" if whole => Ok(Token::Number(text, true)),
            "Y" | "S" if whole => Ok(Token::Number(text + &suffix, false)),
            "D" | "F" | "BD" => Ok(Token::Number(text + &suffix, false)),
            // A name may start with a digit.
            _ if text.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                let name: String = self.chars[start..self.at].iter().collect();
                Ok(Token::make_word(&name, None))
            }
            // `1.5X` is the field `5X` of 1.
            _ => match text.split_once('.') {
                Some((whole, _)) if !whole.is_empty() => {
                    let whole = whole.to_owned();
                    (self.at, self.column) = (start + whole.len(), location.column + whole.len() as u64);
                    Ok(Token::Number(whole, false))
                }
                _ => Err(syntax(&format!("`{text}{suffix}` is not a number"), location)),
            },
        }
    }

    fn string(&mut self, raw: bool) -> Result<Token> {
        let start = self.location();
        let quote = self.chars[self.at];
        let mut text = String::new();
        self.advance(1);
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(c), Some(n)) if c == quote && n == quote && !raw => {
                    text.push(quote);
                    self.advance(2);
                }
                (Some(c), _) if c == quote => {
                    self.advance(1);
                    return Ok(Token::SingleQuotedString(text));
                }
                (Some('\\'), Some(_)) if !raw => self.escape(&mut text),
                (Some(c), _) => {
                    text.push(c);
                    self.advance(1);
                }
                (None, _) => return Err(syntax("a string is never closed", start)),
            }
        }
    }

    /// One escape sequence of a string literal; stands at its backslash.
    fn escape(&mut self, text: &mut String) {
        let coded = |reader: &Self, skip: usize, count: usize, radix: u32| -> Option<char> {
            let mut value = 0;
            for i in 0..count {
                value = value * radix + reader.peek(skip + i)?.to_digit(radix)?;
            }
            char::from_u32(value)
        };
        let Some(c) = self.peek(1) else { return self.advance(1) };
        let coded = match c {
            'u' => coded(self, 2, 4, 16).map(|c| (c, 6)).or_else(|| self.surrogates().map(|c| (c, 12))),
            'U' => coded(self, 2, 8, 16).map(|c| (c, 10)),
            '0' | '1' => coded(self, 1, 3, 8).map(|c| (c, 4)),
            _ => None,
        };
        if let Some((c, length)) = coded {
            text.push(c);
            return self.advance(length);
        }
        match c {
            '0' => text.push('\0'),
            'b' => text.push('\u{8}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'Z' => text.push('\u{1a}'),
            // Kept for LIKE, which gives them their meaning.
            '%' | '_' => text.extend(['\\', c]),
            other => text.push(other),
        }
        self.advance(2);
    }

    /// The character of two escapes `\u` that are a surrogate pair.
    fn surrogates(&self) -> Option<char> {
        let unit = |from: usize| (0..4).try_fold(0_u32, |unit, i| Some(unit * 16 + self.peek(from + i)?.to_digit(16)?));
        let (high, low) = (unit(2)?, unit(8)?);
        let is_pair = self.peek(6) == Some('\\')
            && self.peek(7) == Some('u')
            && (0xD800..0xDC00).contains(&high)
            && (0xDC00..0xE000).contains(&low);
        is_pair.then(|| char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))).flatten()
    }

    fn operator(&mut self) -> Result<Token> {
        let three: String = self.chars[self.at..].iter().take(3).collect();
        let two: String = three.chars().take(2).collect();
        let found = match three.as_str() {
            "<=>" => Some((Token::Spaceship, 3)),
            ">>>" => Some((Token::CustomBinaryOperator(">>>".into()), 3)),
            _ => match two.as_str() {
                "==" => Some((Token::DoubleEq, 2)),
                "!=" | "<>" => Some((Token::Neq, 2)),
                "<=" | "!>" => Some((Token::LtEq, 2)),
                ">=" | "!<" => Some((Token::GtEq, 2)),
                "||" => Some((Token::StringConcat, 2)),
                "::" => Some((Token::DoubleColon, 2)),
                "->" => Some((Token::Arrow, 2)),
                "=>" => Some((Token::RArrow, 2)),
                "<<" => Some((Token::ShiftLeft, 2)),
                ">>" => Some((Token::CustomBinaryOperator(">>".into()), 2)),
                "|>" => Some((Token::VerticalBarRightAngleBracket, 2)),
                _ => None,
            },
        };
        let (token, length) = match found {
            Some(found) => found,
            None => (self.mark()?, 1),
        };
        self.advance(length);
        Ok(token)
    }

    fn mark(&self) -> Result<Token> {
        let c = self.chars[self.at];
        Ok(match c {
            '(' => Token::LParen,
            ')' => Token::RParen,
            '[' => Token::LBracket,
            ']' => Token::RBracket,
            '{' => Token::LBrace,
            '}' => Token::RBrace,
            ',' => Token::Comma,
            '.' => Token::Period,
            ';' => Token::SemiColon,
            ':' => Token::Colon,
            '=' => Token::Eq,
            '<' => Token::Lt,
            '>' => Token::Gt,
            '+' => Token::Plus,
            '-' => Token::Minus,
            '*' => Token::Mul,
            '/' => Token::Div,
            '%' => Token::Mod,
            '&' => Token::Ampersand,
            '|' => Token::Pipe,
            '^' => Token::Caret,
            '~' => Token::Tilde,
            '!' => Token::ExclamationMark,
            '?' => Token::Placeholder("?".into()),
            other => return Err(syntax(&format!("unexpected character `{other}`"), self.location())),
        })
    }
}
