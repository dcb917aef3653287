//! LIKE and ILIKE.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Like};

use super::coercion::implicit_cast;
use super::literal::literal;
use super::native::{Kernel, Operand, call};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::constant::is_null_constant;
use crate::plan::spark::{PlanSettings, Typed};

/// `value LIKE pattern ESCAPE escape`; ILIKE where case does not matter.
pub fn like(value: Typed, pattern: Typed, escape: char, ignore_case: bool, settings: &PlanSettings) -> Result<Typed> {
    let value = match value.data_type {
        DataType::Binary => cast(value, &DataType::Utf8, CastMode::Ansi, settings)?,
        _ => implicit_cast(value, &DataType::Utf8, settings)?,
    };
    let pattern = implicit_cast(pattern, &DataType::Utf8, settings)?;
    if is_null_constant(&value) || is_null_constant(&pattern) {
        return Ok(literal(ScalarValue::Boolean(None)));
    }
    let nullable = value.nullable || pattern.nullable;
    if let Expr::Literal(ScalarValue::Utf8(text), _) = &pattern.expr {
        let Some(text) = text else { return Ok(literal(ScalarValue::Boolean(None))) };
        let parts = parse(text, escape, ErrorKind::Config)?;
        if !ignore_case {
            let plain = Expr::Literal(ScalarValue::Utf8(Some(rendered(&parts))), None);
            let expr = Expr::Like(Like::new(false, Box::new(value.expr), Box::new(plain), None, false));
            return Ok(Typed { expr, data_type: DataType::Boolean, nullable });
        }
    }
    let fallible = !matches!(pattern.expr, Expr::Literal(..));
    let kernel = LikeKernel { escape, ignore_case };
    Ok(call(kernel, vec![value.expr, pattern.expr], DataType::Boolean, nullable, fallible))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Char(char),
    One,
    Many,
}

fn parse(pattern: &str, escape: char, kind: ErrorKind) -> Result<Vec<Part>> {
    let invalid = |condition: &'static str, what: &str| {
        Err(Error::spark(kind, condition, format!("the pattern '{pattern}' is invalid: the escape character {what}")))
    };
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != escape {
            parts.push(match c {
                '_' => Part::One,
                '%' => Part::Many,
                c => Part::Char(c),
            });
            continue;
        }
        match chars.next() {
            Some(c) if c == escape || c == '_' || c == '%' => parts.push(Part::Char(c)),
            Some(c) => return invalid("INVALID_FORMAT.ESC_IN_THE_MIDDLE", &format!("may not stand before '{c}'")),
            None => return invalid("INVALID_FORMAT.ESC_AT_THE_END", "may not be the last one"),
        }
    }
    Ok(parts)
}

/// The pattern as Arrow reads it: the escape character is a backslash.
fn rendered(parts: &[Part]) -> String {
    let mut text = String::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::One => text.push('_'),
            Part::Many => text.push('%'),
            Part::Char(c) => {
                if matches!(c, '_' | '%' | '\\') {
                    text.push('\\');
                }
                text.push(*c);
            }
        }
    }
    text
}

/// Whether `text` matches; a `%` is first taken as nothing, then one character longer each time the rest does not match.
fn matches(text: &str, parts: &[Part]) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if parts.get(at) == Some(&Part::Many) {
            at += 1;
            retry = Some((at, rest.clone()));
            continue;
        }
        let step = match (parts.get(at), rest.next()) {
            (None, None) => return true,
            (Some(Part::One), Some(_)) => true,
            (Some(Part::Char(c)), Some(found)) => *c == found,
            (Some(_), None) => return false,
            _ => false,
        };
        if step {
            at += 1;
            continue;
        }
        match &mut retry {
            None => return false,
            Some((start, from)) => {
                if from.next().is_none() {
                    return false;
                }
                at = *start;
                rest = from.clone();
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LikeKernel {
    escape: char,
    ignore_case: bool,
}

impl Kernel for LikeKernel {
    fn name(&self) -> &str {
        if self.ignore_case { "ilike" } else { "like" }
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let (values, patterns) = (args[0].array.as_string::<i32>(), args[1].array.as_string::<i32>());
        let mut builder = BooleanBuilder::with_capacity(rows);
        let mut parsed: Option<(&str, Vec<Part>)> = None;
        for row in 0..rows {
            let (v, p) = (args[0].index(row), args[1].index(row));
            if values.is_null(v) || patterns.is_null(p) {
                builder.append_null();
                continue;
            }
            let pattern = patterns.value(p);
            let parts = match &parsed {
                Some((text, parts)) if *text == pattern => parts,
                _ => {
                    let parts = if self.ignore_case {
                        parse(&pattern.to_lowercase(), self.escape, ErrorKind::Data)?
                    } else {
                        parse(pattern, self.escape, ErrorKind::Data)?
                    };
                    &parsed.insert((pattern, parts)).1
                }
            };
            let text = values.value(v);
            builder.append_value(if self.ignore_case { matches(&text.to_lowercase(), parts) } else { matches(text, parts) });
        }
        Ok(Arc::new(builder.finish()))
    }
}
