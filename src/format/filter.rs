//! Which rows a query wants at all, judged as they are decoded.
//!
//! The rules are SQL's, with Spark's order of floating-point numbers: NaN equals itself and is greater than any other number, and
//! -0.0 equals 0.0. A comparison with null is not true, so the row goes.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::DecodeRequest;
use crate::error::{Error, Result};

/// What a row must fulfil to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Index into [`DecodeRequest::schema`]; the column need not be among the projected ones.
    pub column: usize,
    /// What its value must be.
    pub test: Test,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Anything but null; for a column of any type.
    NotNull,
    /// Not null, and on this side of a constant, which must be of the column's type: see [`Literal::fits`].
    Compare(Comparison, Literal),
}

/// How a value is compared, the value on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A constant that is not null.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// For a BOOLEAN column; false is less than true.
    Boolean(bool),
    /// For a TINYINT, SMALLINT, INT or BIGINT column; for a DATE in days, for a TIMESTAMP or TIMESTAMP_NTZ in microseconds since
    /// 1970.
    Integer(i64),
    /// For a DOUBLE column, or for a FLOAT, whose values are widened.
    Double(f64),
    /// For a STRING column, compared by its bytes.
    String(Arc<str>),
}

impl Comparison {
    /// Whether values that stand in this order fulfil the comparison.
    #[inline]
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Literal {
    /// Whether a column of `data_type` can be compared with it.
    pub fn fits(&self, data_type: &DataType) -> bool {
        match self {
            Self::Boolean(_) => data_type == &DataType::Boolean,
            Self::Integer(_) => matches!(
                data_type,
                DataType::Int8
                    | DataType::Int16
                    | DataType::Int32
                    | DataType::Int64
                    | DataType::Date32
                    | DataType::Timestamp(TimeUnit::Microsecond, _)
            ),
            Self::Double(_) => matches!(data_type, DataType::Float32 | DataType::Float64),
            Self::String(_) => data_type == &DataType::Utf8,
        }
    }
}

/// Spark's order of DOUBLEs.
#[inline]
pub(super) fn order(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

impl DecodeRequest {
    /// The columns that must be built: the projected ones, then those that only the filter looks at.
    pub(super) fn built(&self) -> Vec<usize> {
        let mut built = self.projection.clone();
        for condition in &self.filter {
            if !built.contains(&condition.column) {
                built.push(condition.column);
            }
        }
        built
    }

    /// A column that is not there, or a condition on one of another type, is an error of whoever made the request.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(at) = self.projection.iter().find(|at| **at >= self.schema.fields().len()) {
            return Err(Error::internal(format!("there is no column {at} in the schema of {}", self.source)));
        }
        for condition in &self.filter {
            let field = self.schema.fields().get(condition.column);
            let right = field.is_some_and(|field| match &condition.test {
                Test::NotNull => true,
                Test::Compare(_, literal) => literal.fits(field.data_type()),
            });
            if !right {
                return Err(Error::internal(format!("{condition:?} does not fit the schema of {}", self.source)));
            }
        }
        Ok(())
    }
}

impl Test {
    /// Which values of a column fulfil the test.
    pub(super) fn holds(&self, column: &ArrayRef) -> BooleanBuffer {
        let passed = match self {
            Self::NotNull => BooleanBuffer::new_set(column.len()),
            Self::Compare(comparison, literal) => compare(column, *comparison, literal),
        };
        match column.nulls() {
            Some(nulls) => &passed & nulls.inner(),
            None => passed,
        }
    }
}

/// The comparison for each value, whatever it is for nulls.
fn compare(column: &ArrayRef, comparison: Comparison, literal: &Literal) -> BooleanBuffer {
    match (literal, column.data_type()) {
        (Literal::Boolean(right), _) => {
            let values = column.as_boolean();
            BooleanBuffer::collect_bool(values.len(), |at| comparison.holds(values.value(at).cmp(right)))
        }
        (Literal::Integer(right), DataType::Int8) => numbers::<Int8Type>(column, |v| comparison.holds(i64::from(v).cmp(right))),
        (Literal::Integer(right), DataType::Int16) => numbers::<Int16Type>(column, |v| comparison.holds(i64::from(v).cmp(right))),
        (Literal::Integer(right), DataType::Int32) => numbers::<Int32Type>(column, |v| comparison.holds(i64::from(v).cmp(right))),
        (Literal::Integer(right), DataType::Date32) => {
            numbers::<Date32Type>(column, |v| comparison.holds(i64::from(v).cmp(right)))
        }
        (Literal::Integer(right), DataType::Int64) => numbers::<Int64Type>(column, |v| comparison.holds(v.cmp(right))),
        (Literal::Integer(right), _) => numbers::<TimestampMicrosecondType>(column, |v| comparison.holds(v.cmp(right))),
        (Literal::Double(right), DataType::Float32) => {
            numbers::<Float32Type>(column, |v| comparison.holds(order(v.into(), *right)))
        }
        (Literal::Double(right), _) => numbers::<Float64Type>(column, |v| comparison.holds(order(v, *right))),
        (Literal::String(right), _) => {
            let values = column.as_string::<i32>();
            BooleanBuffer::collect_bool(values.len(), |at| comparison.holds(values.value(at).cmp(right)))
        }
    }
}

fn numbers<T: ArrowPrimitiveType>(column: &ArrayRef, holds: impl Fn(T::Native) -> bool) -> BooleanBuffer {
    let values = column.as_primitive::<T>().values();
    BooleanBuffer::collect_bool(values.len(), |at| holds(values[at]))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use bytes::Bytes;

    use super::*;
    use crate::error::ErrorKind;
    use crate::format::{Decoded, FormatOptions, LineLimits, MetadataColumn, OnMalformed, csv::CsvOptions, decoder};
    use crate::plan::spark::types::parse_schema;
    use crate::source::{LineChunk, LineEnd};

    const COLUMNS: &str = "f BOOLEAN, i8 TINYINT, i16 SMALLINT, i INT, l BIGINT, x FLOAT, d DOUBLE, s STRING, dt DATE, t TIMESTAMP, \
                           nt TIMESTAMP_NTZ";
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};

    /// Asks for no column but the position.
    fn request(columns: &str, filter: &[(&str, Test)]) -> DecodeRequest {
        let schema = parse_schema(columns).expect("a schema");
        let conditions =
            filter.iter().map(|(name, test)| Condition { column: schema.index_of(name).expect("a column"), test: test.clone() });
        DecodeRequest {
            filter: conditions.collect(),
            schema: Arc::new(schema),
            projection: Vec::new(),
            metadata: vec![MetadataColumn::Position],
            on_malformed: OnMalformed::Permissive,
            keep_malformed: crate::format::KeepMalformed::All,
            source: "s".into(),
            time_zone: "UTC".into(),
            limits: LineLimits::default(),
        }
    }

    fn decode(format: &FormatOptions, request: DecodeRequest, text: &str) -> Decoded {
        let mut decoder = decoder(format, request).expect("a decoder");
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let chunk =
            LineChunk { bytes, origin: "o".into(), position: 0, received_at_us: None, records: None, end: LineEnd::Clean };
        decoder.push(&chunk).expect("decodes");
        decoder.finish().expect("decodes")
    }

    /// The lines that are kept, by their number.
    fn kept(decoded: &Decoded, text: &str) -> Vec<usize> {
        let column = decoded.rows[0].num_columns() - 1;
        let positions = decoded.rows.iter().flat_map(|batch| batch.column(column).as_primitive::<Int64Type>().values().to_vec());
        positions.map(|at| text[..at as usize].matches('\n').count()).collect()
    }

    fn compare(comparison: Comparison, literal: Literal) -> Test {
        Test::Compare(comparison, literal)
    }

    #[track_caller]
    fn check(name: &str, test: Test, values: &[&str], expected: &[usize]) {
        let lines: String = values.iter().map(|value| format!("{{\"{name}\":{value}}}\n")).collect();
        let decoded = decode(&FormatOptions::Json, request(COLUMNS, &[(name, test.clone())]), &lines);
        assert_eq!(kept(&decoded, &lines), expected, "{name} {test:?} of {values:?}");
        assert_eq!(decoded.lines_read, values.len() as u64);
        assert_eq!(decoded.rows_filtered, (values.len() - expected.len()) as u64);
    }

    #[test]
    fn a_row_is_kept_if_the_comparison_is_true() {
        let integer = Literal::Integer;
        for name in ["i8", "i16", "i", "l"] {
            let values = ["-1", "null", "7", "8", "\"x\""];
            check(name, compare(Equal, integer(7)), &values, &[2]);
            check(name, compare(NotEqual, integer(7)), &values, &[0, 3]);
            check(name, compare(Less, integer(7)), &values, &[0]);
            check(name, compare(LessOrEqual, integer(7)), &values, &[0, 2]);
            check(name, compare(Greater, integer(7)), &values, &[3]);
            check(name, compare(GreaterOrEqual, integer(7)), &values, &[2, 3]);
            check(name, compare(Less, integer(1 << 40)), &values, &[0, 2, 3]);
            check(name, Test::NotNull, &values, &[0, 2, 3]);
        }
        check("f", compare(Equal, Literal::Boolean(true)), &["true", "false", "null"], &[0]);
        check("f", compare(Less, Literal::Boolean(true)), &["true", "false", "null"], &[1]);
        let text = |text: &str| Literal::String(text.into());
        check("s", compare(Equal, text("a\"")), &["\"a\\\"\"", "\"a\"", "null", "\"\""], &[0]);
        check("s", compare(Greater, text("Z")), &["\"a\"", "\"A\"", "\"é\"", "\"\""], &[0, 2]);
        check("dt", compare(GreaterOrEqual, integer(1)), &["\"1970-01-01\"", "\"1970-01-02\"", "null"], &[1]);
        for name in ["t", "nt"] {
            let values = ["\"1970-01-01T00:00:01\"", "\"1970-01-01T00:00:00.5\""];
            check(name, compare(Less, integer(1_000_000)), &values, &[1]);
        }
    }

    #[test]
    fn floating_point_numbers_stand_in_sparks_order() {
        let values = ["NaN", "-0.0", "0.0", "Infinity", "1.5", "null"];
        for name in ["d", "x"] {
            check(name, compare(Equal, Literal::Double(f64::NAN)), &values, &[0]);
            check(name, compare(Less, Literal::Double(f64::NAN)), &values, &[1, 2, 3, 4]);
            check(name, compare(Greater, Literal::Double(f64::INFINITY)), &values, &[0]);
            check(name, compare(Equal, Literal::Double(0.0)), &values, &[1, 2]);
            check(name, compare(Less, Literal::Double(-0.0)), &values, &[]);
            check(name, compare(NotEqual, Literal::Double(1.5)), &values, &[0, 1, 2, 3]);
        }
    }

    #[test]
    fn all_conditions_must_hold_and_every_line_is_judged() {
        let filter = [("i", compare(Greater, Literal::Integer(1))), ("s", Test::NotNull)];
        let text = "{\"i\":2,\"s\":\"a\"}\n{\"i\":1,\"s\":\"b\"}\n{\"i\":3}\n{\"i\":9,\"s\":\"c\",\"l\":true}\n{\"i\":\n";
        let mut one = request(COLUMNS, &filter);
        one.projection = vec![4, 7];
        let decoded = decode(&FormatOptions::Json, one.clone(), text);
        assert_eq!(kept(&decoded, text), [0, 3]);
        assert_eq!(decoded.rows[0].column(1).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), Some("c")]);
        assert!(decoded.rows[0].column(0).is_null(1));
        assert_eq!((decoded.lines_read, decoded.lines_malformed, decoded.rows_filtered), (5, 2, 3));
        one.on_malformed = OnMalformed::Drop;
        let decoded = decode(&FormatOptions::Json, one, text);
        assert_eq!(kept(&decoded, text), [0]);
        assert_eq!((decoded.lines_read, decoded.lines_dropped, decoded.rows_filtered), (5, 2, 2));
    }

    #[test]
    fn other_formats_filter_too() {
        let csv = FormatOptions::Csv(CsvOptions::default());
        let filter = [("b", compare(Equal, Literal::String("y".into())))];
        assert_eq!(kept(&decode(&csv, request("a INT, b STRING", &filter), "1,x\n2,y\n3,\n"), "1,x\n2,y\n3,\n"), [1]);
        let filter = [("value", compare(NotEqual, Literal::String("y".into())))];
        assert_eq!(kept(&decode(&FormatOptions::Text, request("value STRING", &filter), "x\ny\n\n"), "x\ny\n\n"), [0, 2]);
    }

    #[test]
    fn where_no_row_is_wanted_the_schema_is_still_there() {
        let text = "{\"i\":1}\n".repeat(20_000);
        let decoded = decode(&FormatOptions::Json, request(COLUMNS, &[("i", compare(Equal, Literal::Integer(2)))]), &text);
        assert_eq!((decoded.rows.len(), decoded.rows[0].num_rows(), decoded.rows[0].num_columns()), (1, 0, 1));
        assert_eq!((decoded.lines_read, decoded.rows_filtered), (20_000, 20_000));
    }

    #[test]
    fn a_filter_that_does_not_fit_the_schema_is_refused() {
        for (name, literal) in [("i", Literal::Double(1.0)), ("s", Literal::Integer(1)), ("d", Literal::Integer(1))] {
            let refused = decoder(&FormatOptions::Json, request(COLUMNS, &[(name, compare(Equal, literal))]));
            assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Internal));
        }
        let mut beyond = request(COLUMNS, &[]);
        beyond.filter = vec![Condition { column: 11, test: Test::NotNull }];
        assert!(decoder(&FormatOptions::Json, beyond).is_err());
    }
}
