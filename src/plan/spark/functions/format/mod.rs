//! Values as text by a format, and back: `printf` by the rules of Java's Formatter, `format_number` by those of its DecimalFormat,
//! `to_char` and `to_number` by Spark's own.

mod digits;
mod number;
mod pattern;
mod printf;
mod spec;
mod template;

use super::{FunctionSpec, scalar};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("printf(format, value, …)", "The values in a format of Java's `Formatter`, such as `%s %05d %.2f`", "printf('%05d|%,.2f|%s', 42, 1234.5D, 'a') → 00042|1,234.50|a", printf::printf),
    scalar("format_string(format, value, …)", "As `printf`", "format_string('%s-%d', 'a', 1) → a-1", printf::printf),
    scalar("format_number(number, decimals or pattern)", "With commas and so many decimals, or by a pattern of Java's `DecimalFormat`", "format_number(12332.123456, 4) → 12,332.1235", pattern::format_number),
    scalar("to_number(text, format)", "The DECIMAL that a text in a format such as `$9,999.99S` stands for", "to_number('$1,234.50', '$9,999.99') → 1234.50", |c| number::to_number(c, false)),
    scalar("try_to_number(text, format)", "As `to_number`, null where the text does not match", "try_to_number('12x', '99') → NULL", |c| number::to_number(c, true)),
    scalar("to_char(value, format)", "A number, date, time or binary in a format", "to_char(-12454.8, '99,999.9S') → 12,454.8-", number::to_char),
    scalar("to_varchar(value, format)", "As `to_char`", "to_varchar(12.5, '099.99') → 012.50", number::to_char),
];
