//! Spark's syntax: text → sqlparser's syntax tree.
//!
//! The tokens are our own (`tokens`); the grammar is sqlparser's, with Spark's casts, typed literals, intervals and precedences put
//! in through its hooks. In the tree, `X'1F'`, `DATE'…'` and their like are [`Expr::TypedString`], the type of a cast is a
//! `DataType::Custom` whose name is the type's text, both strings `'x'` and `"x"` are single-quoted strings with their escapes
//! resolved, and a number's text still ends in its suffix (`1.5BD`; `L` is the number's flag).

mod interval;
mod tokens;
mod variables;

use sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, Ident, Statement, TypedString, UnaryOperator,
    Value, ValueWithSpan,
};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};

use crate::error::{Error, ErrorKind, Result};

pub(super) use interval::WITHIN_VALUE;

/// How deep brackets and subqueries may nest.
const NESTING_MAX: usize = 150;

/// How strongly predicates bind.
const PREDICATE: u8 = 17;

/// Types that may stand before a string literal.
pub(super) const TYPED_LITERALS: [&str; 6] = ["DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "X", "TIME"];

/// One statement; a semicolon may follow. Fails with `PARSE_SYNTAX_ERROR` and the place.
pub fn parse(sql: &str) -> Result<Statement> {
    parse_with(sql, |parser| {
        let statement = parser.parse_statement()?;
        while parser.consume_token(&Token::SemiColon) {}
        Ok(statement)
    })
}

/// One expression, as in `SELECT <expression>`. Fails with `PARSE_SYNTAX_ERROR` and the place.
pub fn parse_expression(text: &str) -> Result<Expr> {
    parse_with(text, |parser| parser.parse_expr())
}

fn parse_with<T>(text: &str, read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>) -> Result<T> {
    let tokens = tokens::tokenize(&variables::replaced(text)?)?;
    let mut parser = Parser::new(&SparkDialect).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens);
    let parsed = read(&mut parser).map_err(syntax_error)?;
    let rest = parser.peek_token();
    match rest.token {
        Token::EOF => Ok(parsed),
        unexpected => Err(tokens::syntax(&format!("unexpected `{unexpected}`"), rest.span.start)),
    }
}

fn syntax_error(error: ParserError) -> Error {
    let message = match error {
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        ParserError::RecursionLimitExceeded => {
            format!("brackets or subqueries are nested too deep (more than about {})", NESTING_MAX / 2)
        }
    };
    // sqlparser ends its messages in " at Line: 1, Column: 8".
    let message = match message.rsplit_once(" at Line: ") {
        Some((text, place)) => {
            let mut place = place.split(", Column: ");
            match (place.next().and_then(|l| l.trim().parse().ok()), place.next().and_then(|c| c.trim().parse().ok())) {
                (Some(line), Some(column)) if line > 0 => return tokens::syntax(&lower_first(text), Location::new(line, column)),
                _ => lower_first(text),
            }
        }
        None => lower_first(&message),
    };
    Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", message)
}

fn lower_first(text: &str) -> String {
    let text = text.trim_start_matches("Expected: ");
    let text = text.strip_prefix("Expected ").unwrap_or(text);
    let prefix = if text.contains(", found: ") { "expected " } else { "" };
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if prefix.is_empty() => first.to_lowercase().chain(chars).collect(),
        _ => format!("{prefix}{text}"),
    }
}

#[derive(Debug)]
struct SparkDialect;

impl Dialect for SparkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_select_item_multi_column_alias(&self) -> bool {
        true
    }

    fn supports_in_empty_list(&self) -> bool {
        true
    }

    fn supports_cte_without_as(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    /// As sqlparser has it, but that predicates (BETWEEN, IN, LIKE, IS …) are above AND alone: their operands may be comparisons.
    fn prec_value(&self, prec: Precedence) -> u8 {
        match prec {
            Precedence::Period => 100,
            Precedence::DoubleColon => 50,
            Precedence::AtTz => 41,
            Precedence::MulDivModOp => 40,
            Precedence::PlusMinus => 30,
            Precedence::Xor | Precedence::Ampersand => 24,
            Precedence::Caret => 23,
            Precedence::Pipe | Precedence::Colon | Precedence::PgOther => 22,
            Precedence::Eq => 20,
            Precedence::Between | Precedence::Like | Precedence::Is => PREDICATE,
            Precedence::UnaryNot => 15,
            Precedence::And => 10,
            Precedence::Or => 5,
        }
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let token = parser.peek_token_ref();
        if token.token == Token::LBrace {
            // sqlparser has ODBC's `{fn …}` and `{d …}`.
            let found = parser.peek_token();
            return Some(parser.expected("an expression", found));
        }
        let Token::Word(word) = &token.token else { return None };
        if word.quote_style.is_some() {
            return None;
        }
        let (upper, at) = (word.value.to_uppercase(), token.span);
        match (upper.as_str(), &parser.peek_nth_token_ref(1).token) {
            ("CAST" | "TRY_CAST", Token::LParen) => Some(parse_cast(parser, upper == "TRY_CAST")),
            ("INTERVAL", Token::SingleQuotedString(_) | Token::Number(..) | Token::Minus | Token::Plus) => {
                parser.maybe_parse(interval::parse_interval).transpose()
            }
            // Any name may be the type that a literal has; that there is no such type is found later.
            (_, Token::SingleQuotedString(_)) if !matches!(upper.as_str(), "INTERVAL" | "CASE" | "NOT") => {
                parser.next_token();
                Some(parser.parse_literal_string().map(|text| {
                    let data_type = custom_type(upper);
                    let value = ValueWithSpan { value: Value::SingleQuotedString(text), span: at };
                    Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false })
                }))
            }
            ("POSITION", Token::LParen) => Some(parse_position(parser)),
            ("OVERLAY", Token::LParen) => Some(parse_overlay(parser)),
            ("TRIM", Token::LParen) if parser.peek_nth_token_ref(2).token == Token::RParen => {
                parser.next_token();
                Some(parser.parse_function(ast::ObjectName::from(vec![Ident::new("trim")])))
            }
            ("TRIM", Token::LParen) => parse_trim_side(parser).transpose(),
            ("STRUCT", Token::LParen) if parser.peek_nth_token_ref(2).token == Token::RParen || has_star_argument(parser) => {
                Some(parse_struct_of_stars(parser))
            }
            ("STRUCT", Token::LParen) => Some(parse_named_list(parser).map(|values| Expr::Struct { values, fields: Vec::new() })),
            (tokens::NAMED_ROW, Token::LParen) => Some(parse_named_list(parser).map(Expr::Tuple)),
            ("NOT", _) => {
                parser.next_token();
                Some(parser.parse_subexpr(self.prec_value(Precedence::UnaryNot)).map(|e| unary(UnaryOperator::Not, e)))
            }
            _ => None,
        }
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        let binary = |parser: &mut Parser, op: BinaryOperator| {
            parser.next_token();
            Some(parser.parse_subexpr(precedence).map(|right| Expr::BinaryOp {
                left: Box::new(left.clone()),
                op,
                right: Box::new(right),
            }))
        };
        match &parser.peek_token_ref().token {
            Token::Word(w) if w.keyword == Keyword::DIV => binary(parser, BinaryOperator::MyIntegerDivide),
            Token::ShiftLeft => binary(parser, BinaryOperator::PGBitwiseShiftLeft),
            Token::CustomBinaryOperator(op) if op == ">>" => binary(parser, BinaryOperator::PGBitwiseShiftRight),
            Token::CustomBinaryOperator(op) if op == ">>>" => binary(parser, BinaryOperator::Custom(">>>".into())),
            Token::LBracket => Some(parse_step(parser, left, |parser| {
                let index = parser.parse_expr()?;
                parser.expect_token(&Token::RBracket)?;
                Ok(ast::AccessExpr::Subscript(ast::Subscript::Index { index }))
            })),
            Token::Word(_) if is_collation(parser) => {
                parser.advance_token();
                let expr = Box::new(left.clone());
                Some(parser.parse_object_name(false).map(|collation| Expr::Collate { expr, collation }))
            }
            Token::Word(_) => parse_predicate(parser, left),
            Token::DoubleColon => Some(parse_double_colon(parser, left)),
            _ => None,
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        Some(Ok(match &parser.peek_token_ref().token {
            Token::StringConcat => 30,
            Token::ShiftLeft => 27,
            Token::CustomBinaryOperator(op) if op == ">>" || op == ">>>" => 27,
            Token::Ampersand => 24,
            Token::Caret => 23,
            Token::Pipe => 22,
            Token::Word(_) if is_collation(parser) => self.prec_value(Precedence::DoubleColon),
            // A prefix operator here, or no operator at all.
            Token::ExclamationMark | Token::Tilde | Token::Arrow | Token::Colon => 0,
            _ => return None,
        }))
    }
}

/// Whether `COLLATE name` comes next; alone the word is an alias.
fn is_collation(parser: &Parser) -> bool {
    let (word, name) = (&parser.peek_token_ref().token, &parser.peek_nth_token_ref(1).token);
    matches!(word, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("collate"))
        && matches!(name, Token::Word(name) if name.quote_style.is_some() || name.keyword == Keyword::NoKeyword)
}

/// `left::type`, with the fields of a struct behind it.
fn parse_double_colon(parser: &mut Parser, left: &Expr) -> Result<Expr, ParserError> {
    parser.next_token();
    let data_type = parse_type_text(parser)?;
    // A predicate is no operand, unless it stands in brackets.
    if matches!(left, Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_)) {
        let found = parser.peek_token();
        return parser.expected("brackets around what is cast", found);
    }
    let expr = Box::new(left.clone());
    let mut value = Expr::Cast { kind: CastKind::DoubleColon, expr, data_type, array: false, format: None };
    while parser.peek_token_ref().token == Token::Period {
        value = parse_step(parser, &value, |parser| Ok(ast::AccessExpr::Dot(Expr::Identifier(parser.parse_identifier()?))))?;
    }
    Ok(value)
}

/// `left[…]` or `left.name` where sqlparser expects neither, such as behind the type of `::`.
fn parse_step(
    parser: &mut Parser,
    left: &Expr,
    read: impl FnOnce(&mut Parser) -> Result<ast::AccessExpr, ParserError>,
) -> Result<Expr, ParserError> {
    parser.next_token();
    let step = read(parser)?;
    Ok(match left {
        Expr::CompoundFieldAccess { root, access_chain } => {
            let access_chain = access_chain.iter().cloned().chain([step]).collect();
            Expr::CompoundFieldAccess { root: root.clone(), access_chain }
        }
        root => Expr::CompoundFieldAccess { root: Box::new(root.clone()), access_chain: vec![step] },
    })
}

/// `left [NOT] RLIKE pattern`, of which sqlparser reads NULL otherwise, `left IS [NOT] DISTINCT FROM right`, whose right side does not
/// go on behind AND, and `left [NOT] LIKE ANY ()`, which means nothing.
fn parse_predicate(parser: &mut Parser, left: &Expr) -> Option<Result<Expr, ParserError>> {
    let word = |parser: &Parser, ahead: usize| match &parser.peek_nth_token_ref(ahead).token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let negated = word(parser, 0) == Keyword::NOT;
    let at = usize::from(negated);
    let expr = Box::new(left.clone());
    let is_not = usize::from(word(parser, 1) == Keyword::NOT);
    match word(parser, at) {
        Keyword::IS if word(parser, 1 + is_not) == Keyword::DISTINCT && word(parser, 2 + is_not) == Keyword::FROM => {
            (0..3 + is_not).for_each(|_| parser.advance_token());
            Some(parser.parse_subexpr(PREDICATE).map(Box::new).map(|right| match is_not {
                0 => Expr::IsDistinctFrom(expr, right),
                _ => Expr::IsNotDistinctFrom(expr, right),
            }))
        }
        Keyword::RLIKE | Keyword::REGEXP => {
            (0..=at).for_each(|_| parser.advance_token());
            let pattern = parser.parse_subexpr(PREDICATE);
            Some(pattern.map(|pattern| Expr::RLike { negated, expr, pattern: Box::new(pattern), regexp: false }))
        }
        operator @ (Keyword::LIKE | Keyword::ILIKE)
            if word(parser, at + 1) == Keyword::ANY
                && parser.peek_nth_token_ref(at + 2).token == Token::LParen
                && parser.peek_nth_token_ref(at + 3).token == Token::RParen =>
        {
            (0..at + 4).for_each(|_| parser.advance_token());
            let pattern = Box::new(Expr::Tuple(Vec::new()));
            Some(Ok(match operator {
                Keyword::LIKE => Expr::Like { negated, any: true, expr, pattern, escape_char: None },
                _ => Expr::ILike { negated, any: true, expr, pattern, escape_char: None },
            }))
        }
        _ => None,
    }
}

/// Whether the call that comes next has `*` or `t.*` among its arguments, which sqlparser's struct literals do not know.
fn has_star_argument(parser: &Parser) -> bool {
    let mut depth = 0_usize;
    for ahead in 1.. {
        let star_may_follow = match &parser.peek_nth_token_ref(ahead).token {
            Token::LParen => {
                depth += 1;
                depth == 1
            }
            Token::RParen if depth == 1 => return false,
            Token::RParen => {
                depth -= 1;
                false
            }
            Token::EOF => return false,
            Token::Comma | Token::Period => depth == 1,
            _ => false,
        };
        if star_may_follow && parser.peek_nth_token_ref(ahead + 1).token == Token::Mul {
            return true;
        }
    }
    false
}

/// `struct(t.*, a AS x, b y, *)` and `struct()`.
fn parse_struct_of_stars(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let item = |parser: &mut Parser| {
        Ok(match parser.parse_function_args()? {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(parse_name_behind(parser, expr)?))
            }
            star => star,
        })
    };
    let args = parser.parse_comma_separated0(item, Token::RParen)?;
    parser.expect_token(&Token::RParen)?;
    Ok(plain_call("struct", args))
}

/// The call `name(args)`, without anything else that a call may have.
pub(in crate::plan::spark) fn plain_call(name: &str, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(ast::Function {
        name: ast::ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The name that an expression may have behind it, with `AS` or without.
fn parse_name_behind(parser: &mut Parser, expr: Expr) -> Result<Expr, ParserError> {
    let is_named = parser.parse_keyword(Keyword::AS) || matches!(parser.peek_token_ref().token, Token::Word(_));
    if !is_named {
        return Ok(expr);
    }
    Ok(Expr::Named { expr: Box::new(expr), name: parser.parse_identifier()? })
}

/// `(a AS x, b y, c, …)` behind the word that comes next.
fn parse_named_list(parser: &mut Parser) -> Result<Vec<Expr>, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    if parser.consume_token(&Token::RParen) {
        return Ok(Vec::new());
    }
    let values = parser.parse_comma_separated(|parser| {
        let expr = parser.parse_expr()?;
        parse_name_behind(parser, expr)
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(values)
}

fn unary(op: UnaryOperator, expr: Expr) -> Expr {
    Expr::UnaryOp { op, expr: Box::new(expr) }
}

/// A type by its text; [`crate::plan::spark::types::parse_type`] reads it.
fn custom_type(text: String) -> DataType {
    DataType::Custom(ast::ObjectName::from(vec![Ident::new(text)]), Vec::new())
}

/// The text of a type, up to where it cannot go on.
fn parse_type_text(parser: &mut Parser) -> Result<DataType, ParserError> {
    let first = parser.next_token();
    let Token::Word(word) = &first.token else { return parser.expected("a data type", first) };
    let mut text = word.value.clone();
    if word.value.eq_ignore_ascii_case("interval") {
        while let Token::Word(unit) = &parser.peek_token_ref().token {
            if !["TO", "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"].contains(&unit.value.to_uppercase().as_str()) {
                break;
            }
            text.push(' ');
            text.push_str(&unit.value);
            parser.next_token();
        }
    }
    if !matches!(parser.peek_token_ref().token, Token::LParen | Token::Lt | Token::Neq) {
        return Ok(custom_type(text));
    }
    let mut depth = 0_i32;
    loop {
        let token = parser.next_token();
        match &token.token {
            Token::LParen | Token::Lt => depth += 1,
            Token::RParen | Token::Gt => depth -= 1,
            Token::CustomBinaryOperator(op) if op == ">>" => depth -= 2,
            Token::CustomBinaryOperator(op) if op == ">>>" => depth -= 3,
            Token::Neq | Token::Word(_) | Token::Number(..) | Token::Comma | Token::Colon | Token::SingleQuotedString(_) => {}
            _ => return parser.expected("a data type", token),
        }
        text.push(' ');
        match &token.token {
            Token::Word(word) if word.quote_style.is_some() => text.push_str(&format!("`{}`", word.value.replace('`', "``"))),
            Token::CustomBinaryOperator(op) => text.push_str(op),
            other => text.push_str(&other.to_string()),
        }
        if depth <= 0 {
            return Ok(custom_type(text));
        }
    }
}

fn parse_cast(parser: &mut Parser, is_try: bool) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_keyword(Keyword::AS)?;
    let data_type = parse_type_text(parser)?;
    parser.expect_token(&Token::RParen)?;
    let kind = if is_try { CastKind::TryCast } else { CastKind::Cast };
    Ok(Expr::Cast { kind, expr, data_type, array: false, format: None })
}

/// `TRIM(LEADING FROM text)`: a side without characters; sqlparser's grammar does the other forms.
fn parse_trim_side(parser: &mut Parser) -> Result<Option<Expr>, ParserError> {
    let side = match &parser.peek_nth_token_ref(2).token {
        Token::Word(w) if w.keyword == Keyword::LEADING => ast::TrimWhereField::Leading,
        Token::Word(w) if w.keyword == Keyword::TRAILING => ast::TrimWhereField::Trailing,
        Token::Word(w) if w.keyword == Keyword::BOTH => ast::TrimWhereField::Both,
        _ => return Ok(None),
    };
    if !matches!(&parser.peek_nth_token_ref(3).token, Token::Word(w) if w.keyword == Keyword::FROM) {
        return Ok(None);
    }
    for _ in 0..4 {
        parser.next_token();
    }
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_token(&Token::RParen)?;
    Ok(Some(Expr::Trim { expr, trim_where: Some(side), trim_what: None, trim_characters: None }))
}

/// `POSITION(a IN b)`, or the function of that name.
fn parse_position(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.next_token();
    let special = parser.maybe_parse(|parser| {
        parser.expect_token(&Token::LParen)?;
        let expr = Box::new(parser.parse_subexpr(20)?);
        parser.expect_keyword(Keyword::IN)?;
        let r#in = Box::new(parser.parse_expr()?);
        parser.expect_token(&Token::RParen)?;
        Ok(Expr::Position { expr, r#in })
    })?;
    match special {
        Some(position) => Ok(position),
        None => parser.parse_function(ast::ObjectName::from(vec![Ident::new("position")])),
    }
}

/// `OVERLAY(a PLACING b FROM i [FOR n])`, or the function of that name.
fn parse_overlay(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.next_token();
    let special = parser.maybe_parse(|parser| {
        parser.expect_token(&Token::LParen)?;
        let expr = Box::new(parser.parse_expr()?);
        parser.expect_keyword(Keyword::PLACING)?;
        let overlay_what = Box::new(parser.parse_expr()?);
        parser.expect_keyword(Keyword::FROM)?;
        let overlay_from = Box::new(parser.parse_expr()?);
        let overlay_for = if parser.parse_keyword(Keyword::FOR) { Some(Box::new(parser.parse_expr()?)) } else { None };
        parser.expect_token(&Token::RParen)?;
        Ok(Expr::Overlay { expr, overlay_what, overlay_from, overlay_for })
    })?;
    match special {
        Some(overlay) => Ok(overlay),
        None => parser.parse_function(ast::ObjectName::from(vec![Ident::new("overlay")])),
    }
}

#[cfg(test)]
mod tests;
