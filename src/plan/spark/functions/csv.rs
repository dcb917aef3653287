//! CSV in texts.

use arrow::array::{BooleanArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

use super::super::expression::access::field;
use super::super::expression::call::by_name;
use super::super::expression::once::once;
use super::super::types::{parse_ddl_argument, sql_name};
use super::super::{Call, Typed};
use super::arguments::{arity, convert, mismatch, require_constant, text, timestamp};
use super::json::{only_text, options, read_times, schema_text};
use super::native::{Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};
use crate::format::csv::{CsvOptions, ValueOptions, decode_values, split_line};
use crate::format::json::CORRUPT_RECORD;
use crate::format::nullable;
use crate::format::times::{ReadTime, Times};
use crate::plan::spark::cast::time::Zone;
use crate::plan::spark::cast::to_text_with;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("from_csv(text, schema[, options])", "A struct read from a line of CSV; null fields where it does not fit", "from_csv('1, 0.8', 'a INT, b DOUBLE') → {1, 0.8}", from_csv),
    scalar("schema_of_csv(text[, options])", "The schema, for `from_csv`, of a constant line", "schema_of_csv('1,abc') → STRUCT<_c0: INT, _c1: STRING>", schema_of_csv),
    scalar("to_csv(struct[, options])", "The fields as a line of CSV", "to_csv(named_struct('a', 1, 'b', 'x,y')) → 1,\"x,y\"", to_csv),
];

/// Options that change nothing for a single line.
const IGNORED: [&str; 4] = ["header", "inferschema", "multiline", "samplingratio"];

/// A sign among the options: one ASCII character, or none at all (which stands for itself as byte 0).
fn sign(name: &str, given: Option<String>, usual: u8) -> Result<u8> {
    let Some(text) = given else { return Ok(usual) };
    match text.as_bytes() {
        [] if name != "sep" => Ok(0),
        [] => Err(Error::new(ErrorKind::Config, "could not read CSV by an empty separator")),
        b"\\t" => Ok(b'\t'),
        [one] if one.is_ascii() => Ok(*one),
        _ if name == "sep" => Err(Error::spark(
            ErrorKind::Config,
            "UNSUPPORTED_FEATURE",
            format!("the separator '{text}' of CSV is more than one ASCII character"),
        )),
        _ => Err(Error::spark(
            ErrorKind::Config,
            "OPTION_VALUE_EXCEEDS_ONE_CHARACTER",
            format!("the option `{name}` of CSV must be one character"),
        )),
    }
}

/// The signs that the options give.
fn signs(option: &dyn Fn(&str) -> Option<String>) -> Result<CsvOptions> {
    let usual = CsvOptions::default();
    Ok(CsvOptions {
        header: false,
        separator: sign("sep", option("sep").or_else(|| option("delimiter")), usual.separator)?,
        quote: sign("quote", option("quote"), usual.quote)?,
        escape: sign("escape", option("escape"), usual.escape)?,
        null_value: option("nullvalue").unwrap_or_default(),
    })
}

/// Whether a type has an interval in it, which no reader has.
fn has_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(_))
}

/// `from_csv(text, schema[, options])`.
fn from_csv(mut c: Call<'_>) -> Result<Typed> {
    const KNOWN: [&str; 14] = [
        "sep",
        "delimiter",
        "quote",
        "escape",
        "nullvalue",
        "mode",
        "columnnameofcorruptrecord",
        "timezone",
        "dateformat",
        "timestampformat",
        "timestampntzformat",
        "ignoreleadingwhitespace",
        "ignoretrailingwhitespace",
        "enforceschema",
    ];
    arity(&c, 2, 3)?;
    let given = (c.args.len() == 3).then(|| c.args.remove(2));
    let options = options(&c, given, &[&KNOWN[..], &IGNORED[..]].concat())?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let schema = c.args.remove(1);
    let ddl = schema_text(&c, &schema)?;
    let DataType::Struct(fields) = parse_ddl_argument(&ddl)? else {
        return Err(Error::spark(
            ErrorKind::Config,
            "INVALID_SCHEMA.NON_STRUCT_TYPE",
            format!("`from_csv` gives a STRUCT, not {ddl}"),
        ));
    };
    if let Some(field) = fields.iter().find(|field| has_interval(field.data_type())) {
        let message =
            format!("`from_csv` of an interval such as `{}` is not supported; CAST makes one of a STRING", field.name());
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE", message));
    }
    if let Some(field) = fields.iter().find(|field| field.data_type().is_nested() || *field.data_type() == DataType::Null) {
        let message = format!("`from_csv` cannot read the field `{}`, which is no single value", field.name());
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_DATATYPE", message));
    }
    let data_type = nullable(&DataType::Struct(fields.clone()));
    let fail = match option("mode").unwrap_or_default().to_uppercase().as_str() {
        "FAILFAST" => true,
        "DROPMALFORMED" => {
            let message = "`from_csv` has the parse modes PERMISSIVE and FAILFAST, not DROPMALFORMED";
            return Err(Error::spark(ErrorKind::Config, "PARSE_MODE_UNSUPPORTED", message));
        }
        _ => false,
    };
    let zone = option("timezone").unwrap_or_else(|| c.context.settings.time_zone.to_string());
    let is_on = |name: &str| option(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let reading = ValueOptions {
        csv: signs(&option)?,
        times: read_times(&zone, &option)?.map_or_else(Times::default, |times| (*times).clone()),
        time_zone: zone,
        fail,
        corrupt_column: option("columnnameofcorruptrecord").unwrap_or_else(|| CORRUPT_RECORD.to_owned()),
        trim: (is_on("ignoreleadingwhitespace"), is_on("ignoretrailingwhitespace")),
    };
    let value = c.args.remove(0);
    let value = only_text(&c, value)?;
    let returns = Returns::fallible_if(fail, data_type, value.nullable);
    Ok(call(&format!("from_csv[{ddl}|{options:?}]"), vec![value], returns, move |a| {
        let texts = a.expanded(0)?;
        let texts = texts.as_any().downcast_ref::<StringArray>().ok_or_else(|| Error::internal("the argument is text"))?;
        decode_values(texts, &fields, &reading)
    }))
}

/// `schema_of_csv(text[, options])`: of a constant, so it is a constant.
fn schema_of_csv(mut c: Call<'_>) -> Result<Typed> {
    const KNOWN: [&str; 10] = [
        "sep",
        "delimiter",
        "quote",
        "escape",
        "nullvalue",
        "dateformat",
        "timestampformat",
        "timestampntzformat",
        "preferdate",
        "prefersdate",
    ];
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let options = options(&c, given, &[&KNOWN[..], &IGNORED[..]].concat())?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let line = c.args.remove(0);
    let line = match line.data_type {
        DataType::Null => return Err(mismatch("UNEXPECTED_NULL", "the CSV of `schema_of_csv` must not be null")),
        _ => only_text(&c, line)?,
    };
    let line = match require_constant(&c, "csv", &line)? {
        ScalarValue::Utf8(Some(line)) if line.is_empty() => {
            return Err(Error::spark(ErrorKind::Data, "INTERNAL_ERROR", "an empty text has no schema"));
        }
        ScalarValue::Utf8(Some(line)) => line,
        _ => return Err(mismatch("UNEXPECTED_NULL", "the CSV of `schema_of_csv` must not be null")),
    };
    let csv = signs(&option)?;
    let prefer_date = !option("preferdate").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    let times = read_times(&c.context.settings.time_zone, &option)?;
    let times = times.as_deref();
    let fields = split_line(&line, &csv).into_iter().enumerate().map(|(index, value)| {
        let data_type = if value == csv.null_value { DataType::Utf8 } else { value_type(&value, prefer_date, times) };
        format!("_c{index}: {}", sql_name(&data_type))
    });
    Ok(text(format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))))
}

/// The narrowest type that a value of CSV has.
fn value_type(value: &str, prefer_date: bool, times: Option<&Times<ReadTime>>) -> DataType {
    if value.parse::<i32>().is_ok() {
        return DataType::Int32;
    }
    if value.parse::<i64>().is_ok() {
        return DataType::Int64;
    }
    let whole = value.strip_suffix('.').unwrap_or(value);
    let digits = whole.trim_start_matches(['+', '-']).trim_start_matches('0');
    if !digits.is_empty() && digits.len() <= 38 && whole.len() - digits.len() <= 1 && digits.bytes().all(|b| b.is_ascii_digit()) {
        return DataType::Decimal128(digits.len() as u8, 0);
    }
    if crate::format::csv::is_double(value) {
        return DataType::Float64;
    }
    let written = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-' && crate::plan::spark::cast::time::parse_date(bytes).is_some()
    };
    let is_date = match times.and_then(|times| times.date.as_ref()) {
        Some(read) => read(value).is_some(),
        None => written(value),
    };
    if prefer_date && is_date {
        return DataType::Date32;
    }
    let is_timestamp = match times.and_then(|times| times.timestamp.as_ref()) {
        Some(read) => read(value).is_some(),
        None => crate::plan::spark::cast::time::parse_timestamp(value.as_bytes()).is_some(),
    };
    match value {
        _ if is_timestamp => timestamp(),
        _ if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => DataType::Boolean,
        _ => DataType::Utf8,
    }
}

/// How a line is written.
#[derive(Debug, Clone)]
struct Style {
    separator: String,
    quote: char,
    escape: char,
    escape_quotes: bool,
    null: String,
    empty: String,
    quote_all: bool,
    trim_left: bool,
    trim_right: bool,
}

/// The options of `to_csv`.
const OF_WRITING: &[&str] = &[
    "sep",
    "delimiter",
    "quote",
    "nullvalue",
    "emptyvalue",
    "quoteall",
    "escape",
    "escapequotes",
    "ignoreleadingwhitespace",
    "ignoretrailingwhitespace",
    "timestampformat",
    "timestampntzformat",
    "dateformat",
];

/// `to_csv(struct[, options])`: the fields as texts, then those as a line.
fn to_csv(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let options = options(&c, given, OF_WRITING)?;
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let value = c.args.remove(0);
    if value.data_type == DataType::Null {
        return convert(&c, value, &DataType::Utf8);
    }
    once(value, |value| csv_line(&c, &value, &option))
}

/// The texts of the fields of `value` and what makes a line of them.
fn csv_line(c: &Call<'_>, value: &Typed, option: &dyn Fn(&str) -> Option<String>) -> Result<Typed> {
    let DataType::Struct(fields) = &value.data_type else {
        return Err(mismatch("UNSUPPORTED_INPUT_TYPE", "`to_csv` takes a STRUCT"));
    };
    let (date, time, local) = (option("dateformat"), option("timestampformat"), option("timestampntzformat"));
    let mut args = vec![by_name("isnull", vec![value.clone()], &c.context)?];
    for described in fields {
        let part = field(value.clone(), described.name(), c.context.settings)?;
        let pattern = match described.data_type() {
            DataType::Date32 => date.clone(),
            DataType::Timestamp(_, None) => Some(local.clone().unwrap_or_else(|| "yyyy-MM-dd'T'HH:mm:ss.SSS".into())),
            DataType::Timestamp(..) => Some(time.clone().unwrap_or_else(|| "yyyy-MM-dd'T'HH:mm:ss.SSSXXX".into())),
            DataType::Binary => {
                args.push(listed(by_name("hex", vec![part], &c.context)?));
                continue;
            }
            other if other.is_nested() => {
                args.push(nested_text(part, option("nullvalue").unwrap_or_default(), c)?);
                continue;
            }
            _ => None,
        };
        args.push(match pattern {
            Some(pattern) => by_name("date_format", vec![part, text(pattern)], &c.context)?,
            None => convert(c, part, &DataType::Utf8)?,
        });
    }
    let style = Style::of(option);
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
                    None if style.quote_all => style.push_quoted(&style.null, out),
                    None => out.push_str(&style.null),
                }
            }
            // A line without anything on it is no line.
            (!out.is_empty()).then_some(())
        })
    }))
}

impl Style {
    fn of(option: &dyn Fn(&str) -> Option<String>) -> Self {
        let is_on = |name: &str, default: bool| option(name).map_or(default, |value| value.eq_ignore_ascii_case("true"));
        let quote = option("quote").unwrap_or_else(|| "\"".into());
        Self {
            separator: option("sep").or_else(|| option("delimiter")).unwrap_or_else(|| ",".into()),
            quote: quote.chars().next().unwrap_or('\0'),
            escape: option("escape").and_then(|text| text.chars().next()).unwrap_or('\\'),
            escape_quotes: is_on("escapequotes", true),
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
            || value.contains(['\n', '\r'])
            || self.escape_quotes && value.contains(self.quote)
            || value.contains(&self.separator)
            || first && value.starts_with('#');
        if !quoted {
            return out.push_str(value);
        }
        self.push_quoted(value, out);
    }

    fn push_quoted(&self, value: &str, out: &mut String) {
        out.push(self.quote);
        for char in value.chars() {
            if char == self.quote || char == self.escape {
                out.push(self.escape);
            }
            out.push(char);
        }
        out.push(self.quote);
    }
}

/// An array, a map or a struct as a cast to STRING has it, but for the nulls in it.
fn nested_text(value: Typed, null: String, c: &Call<'_>) -> Result<Typed> {
    let zone = &c.context.settings.time_zone;
    let zone = Zone::parse(zone).ok_or_else(|| Error::internal(format!("the zone {zone} was settled")))?;
    let returns = Returns::new(DataType::Utf8, value.nullable);
    Ok(call(&format!("nested_text{null:?}"), vec![value], returns, move |a| to_text_with(&a.expanded(0)?, zone, &null)))
}

/// Hexadecimal digits as a list of bytes: `[61 62]`.
fn listed(digits: Typed) -> Typed {
    let returns = Returns::new(DataType::Utf8, digits.nullable);
    call("listed_bytes", vec![digits], returns, |a| {
        let digits = a.column::<StringArray>(0)?;
        a.strings(|row, out| {
            out.push('[');
            for (index, digit) in digits.get(row)?.chars().enumerate() {
                if index > 0 && index % 2 == 0 {
                    out.push(' ');
                }
                out.push(digit);
            }
            out.push(']');
            Some(())
        })
    })
}
