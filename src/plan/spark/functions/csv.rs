//! CSV in texts.

use arrow::array::{BooleanArray, StringArray};
use arrow::datatypes::DataType;

use super::super::expression::access::field;
use super::super::expression::call::by_name;
use super::super::{Call, Typed};
use super::arguments::{arity, convert, mismatch, text};
use super::json::options;
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("to_csv(struct[, options])", "The fields as a line of CSV", "to_csv(named_struct('a', 1, 'b', 'x,y')) → 1,\"x,y\"", to_csv),
];

/// How a line is written.
#[derive(Debug, Clone)]
struct Style {
    separator: String,
    quote: char,
    null: String,
    empty: String,
    quote_all: bool,
    trim_left: bool,
    trim_right: bool,
}

/// `to_csv(struct[, options])`: the fields as texts, then those as a line.
fn to_csv(mut c: Call<'_>) -> Result<Typed> {
    const KNOWN: &[&str] = &[
        "sep",
        "delimiter",
        "quote",
        "nullvalue",
        "emptyvalue",
        "quoteall",
        "ignoreleadingwhitespace",
        "ignoretrailingwhitespace",
        "timestampformat",
        "timestampntzformat",
        "dateformat",
    ];
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let options = options(&c, given, KNOWN)?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let value = c.args.remove(0);
    if value.data_type == DataType::Null {
        return convert(&c, value, &DataType::Utf8);
    }
    let DataType::Struct(fields) = &value.data_type else {
        return Err(mismatch("UNSUPPORTED_INPUT_TYPE", "`to_csv` takes a STRUCT"));
    };
    let (date, time, local) = (option("dateformat"), option("timestampformat"), option("timestampntzformat"));
    let mut args = vec![by_name("isnull", vec![value.clone()], &c.context)?];
    for described in fields.clone().iter() {
        let part = field(value.clone(), described.name(), c.context.settings)?;
        let pattern = match described.data_type() {
            DataType::Date32 => date.clone(),
            DataType::Timestamp(_, None) => Some(local.clone().unwrap_or_else(|| "yyyy-MM-dd'T'HH:mm:ss.SSS".into())),
            DataType::Timestamp(..) => Some(time.clone().unwrap_or_else(|| "yyyy-MM-dd'T'HH:mm:ss.SSSXXX".into())),
            DataType::Binary => {
                let message = "`to_csv` of a BINARY is not supported; hex and base64 make a text of it";
                return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", message));
            }
            _ => None,
        };
        args.push(match pattern {
            Some(pattern) => by_name("date_format", vec![part, text(pattern)], &c.context)?,
            None => convert(&c, part, &DataType::Utf8)?,
        });
    }
    let style = Style::of(&option);
    let returns = Returns::new(DataType::Utf8, true);
    Ok(call(&format!("to_csv{style:?}"), args, returns, move |a| {
        let missing = a.column::<BooleanArray>(0)?;
        let columns = (1..a.count()).map(|index| a.column::<StringArray>(index)).collect::<Result<Vec<_>>>()?;
        a.strings(|row, out| {
            if missing.get(row) == Some(true) {
                return None;
            }
            for (place, column) in columns.iter().enumerate() {
                if place > 0 {
                    out.push_str(&style.separator);
                }
                match column.get(row) {
                    Some(value) => style.write(value, place == 0, out),
                    None => out.push_str(&style.null),
                }
            }
            // A line without anything on it is no line.
            (!out.is_empty()).then_some(())
        })
    }))
}

impl Style {
    fn of(option: &impl Fn(&str) -> Option<String>) -> Self {
        let is_on = |name: &str, default: bool| option(name).map_or(default, |value| value.eq_ignore_ascii_case("true"));
        let quote = option("quote").unwrap_or_else(|| "\"".into());
        Self {
            separator: option("sep").or_else(|| option("delimiter")).unwrap_or_else(|| ",".into()),
            quote: quote.chars().next().unwrap_or('\0'),
            null: option("nullvalue").unwrap_or_default(),
            empty: option("emptyvalue").unwrap_or_else(|| "\"\"".into()),
            quote_all: is_on("quoteall", false),
            trim_left: is_on("ignoreleadingwhitespace", true),
            trim_right: is_on("ignoretrailingwhitespace", true),
        }
    }

    fn write(&self, value: &str, first: bool, out: &mut String) {
        let space = |c: char| c <= ' ';
        let value = if self.trim_left { value.trim_start_matches(space) } else { value };
        let value = if self.trim_right { value.trim_end_matches(space) } else { value };
        if value.is_empty() {
            return out.push_str(&self.empty);
        }
        let quoted = self.quote_all
            || value.contains(['\n', '\r', self.quote])
            || value.contains(&self.separator)
            || first && value.starts_with('#');
        if !quoted {
            return out.push_str(value);
        }
        out.push(self.quote);
        for char in value.chars() {
            if char == self.quote {
                out.push('\\');
            }
            out.push(char);
        }
        out.push(self.quote);
    }
}
