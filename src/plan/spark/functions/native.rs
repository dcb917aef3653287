//! Scalar functions of our own: one adapter for all of them.
//!
//! A function's builder settles the types and hands over a *kernel*, a closure from argument columns to a result column. A constant
//! argument is a column of one row, so that kernels neither expand nor special-case it; when every argument is constant the
//! kernel runs over one row.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanArray, BooleanBufferBuilder, Datum, PrimitiveArray,
    StringBuilder, new_empty_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::super::Typed;
use super::super::column_size::fits;
pub(super) use super::super::column_size::{interleaved, repeated, within_column};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::running_batch::{Moment, RunningBatch};

/// From argument columns to the result column.
type Kernel = Arc<dyn Fn(&Args<'_>) -> Result<ArrayRef> + Send + Sync>;

/// What a function gives back.
#[derive(Debug, Clone)]
pub(super) struct Returns {
    /// The result's type.
    pub data_type: DataType,
    /// Whether it can be null.
    pub nullable: bool,
    /// Volatile if some row can make it fail, immutable otherwise.
    pub volatility: Volatility,
    /// Whether rows with the same arguments have results of their own.
    pub per_row: bool,
}

impl Returns {
    /// A result that can be null if `nullable`, and that never fails.
    pub(super) fn new(data_type: DataType, nullable: bool) -> Self {
        Self { data_type, nullable, volatility: Volatility::Immutable, per_row: false }
    }

    /// The same, but some row can make it fail (or it is not the same each time).
    pub(super) fn fallible(data_type: DataType, nullable: bool) -> Self {
        Self { volatility: Volatility::Volatile, ..Self::new(data_type, nullable) }
    }

    /// A random result, another one for each row.
    pub(super) fn random(data_type: DataType, nullable: bool) -> Self {
        Self { per_row: true, ..Self::fallible(data_type, nullable) }
    }

    /// Fallible only where `fallible` holds.
    pub(super) fn fallible_if(fallible: bool, data_type: DataType, nullable: bool) -> Self {
        if fallible { Self::fallible(data_type, nullable) } else { Self::new(data_type, nullable) }
    }
}

/// Calls `kernel` on `args`. Within one query, `name`, the result type and the arguments must determine what the kernel computes.
pub(super) fn call(
    name: &str,
    args: Vec<Typed>,
    returns: Returns,
    kernel: impl Fn(&Args<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Typed {
    let Returns { data_type, nullable, volatility, per_row } = returns;
    let native = Native {
        name: name.to_owned(),
        data_type: data_type.clone(),
        nullable,
        per_row,
        signature: Signature::user_defined(volatility),
        kernel: Arc::new(kernel),
    };
    let args = args.into_iter().map(|a| a.expr).collect();
    Typed {
        expr: Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(native)), args)),
        data_type,
        nullable,
    }
}

struct Native {
    name: String,
    data_type: DataType,
    nullable: bool,
    per_row: bool,
    signature: Signature,
    kernel: Kernel,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").field("name", &self.name).field("data_type", &self.data_type).finish_non_exhaustive()
    }
}

// The kernel is left out: it follows from the name and the types.
impl PartialEq for Native {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.data_type == other.data_type && self.nullable == other.nullable
    }
}

impl Eq for Native {}

impl Hash for Native {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.data_type.hash(state);
    }
}

impl ScalarUDFImpl for Native {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(arrow::datatypes::Field::new(&self.name, self.data_type.clone(), self.nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        // Constant arguments that fail (`1 / 0`) must not fail where there is no row.
        if args.number_rows == 0 {
            return Ok(ColumnarValue::Array(new_empty_array(&self.data_type)));
        }
        let constant = !self.per_row && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let columns = args.args.iter().map(Column::new).collect::<DataFusionResult<Vec<_>>>()?;
        let rows = if constant { 1 } else { args.number_rows };
        let result = (self.kernel)(&Args { columns: &columns, rows, returns: &self.data_type, config: &args.config_options })
            .map_err(DataFusionError::from)?;
        if constant {
            // Whoever writes it out for all rows has no other way than to panic if that is too much.
            fits(&result, args.number_rows, std::iter::repeat_n(0, args.number_rows))?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}

/// One argument's values: as many rows as there are, or one that stands for all.
pub(super) struct Column {
    array: ArrayRef,
    constant: bool,
}

impl Column {
    fn new(value: &ColumnarValue) -> DataFusionResult<Self> {
        Ok(match value {
            ColumnarValue::Array(array) => Self { array: Arc::clone(array), constant: false },
            ColumnarValue::Scalar(scalar) => Self { array: scalar.to_array()?, constant: true },
        })
    }
}

/// The arguments of one invocation.
pub(super) struct Args<'a> {
    columns: &'a [Column],
    rows: usize,
    returns: &'a DataType,
    config: &'a ConfigOptions,
}

impl<'a> Args<'a> {
    /// How many rows the result has.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many arguments there are.
    pub(super) fn count(&self) -> usize {
        self.columns.len()
    }

    /// The declared result type.
    pub(super) fn returns(&self) -> &'a DataType {
        self.returns
    }

    /// The running batch: which run it is, and what it knows. An error while nothing runs.
    pub(super) fn running(&self) -> Result<(u64, Moment)> {
        self.batch()?.run().ok_or_else(no_batch)
    }

    /// A seed of its own in the running batch.
    pub(super) fn next_seed(&self) -> Result<u64> {
        self.batch()?.next_seed().ok_or_else(no_batch)
    }

    fn batch(&self) -> Result<&'a RunningBatch> {
        self.config.extensions.get().ok_or_else(no_batch)
    }

    /// Argument `index` as a typed column.
    pub(super) fn column<A: Array + 'static>(&self, index: usize) -> Result<Reader<'a, A>>
    where
        &'a A: ArrayAccessor,
    {
        let column = &self.columns[index];
        let array = column.array.as_any().downcast_ref::<A>().ok_or_else(|| {
            Error::internal(format!("argument {index} is {}, another type than was settled", column.array.data_type()))
        })?;
        Ok(Reader { array, mask: mask(column.constant) })
    }

    /// Argument `index` of any type.
    pub(super) fn any(&self, index: usize) -> AnyReader<'a> {
        let column = &self.columns[index];
        AnyReader { array: &column.array, mask: mask(column.constant), nulls: column.array.logical_nulls() }
    }

    /// Argument `index` with one row per row of the result.
    pub(super) fn expanded(&self, index: usize) -> Result<ArrayRef> {
        let column = &self.columns[index];
        if !column.constant || self.rows == 1 {
            return Ok(Arc::clone(&column.array));
        }
        repeated(&column.array, &arrow::array::UInt32Array::from_value(0, self.rows))
    }

    /// A column of numbers, dates, …; its type is the declared one.
    pub(super) fn primitive<T: ArrowPrimitiveType>(&self, mut value: impl FnMut(usize) -> Option<T::Native>) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(self.rows);
        let valid = BooleanBuffer::collect_bool(self.rows, |row| {
            let value = value(row);
            values.push(value.unwrap_or_default());
            value.is_some()
        });
        let array = PrimitiveArray::<T>::new(values.into(), Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0));
        Ok(Arc::new(array.with_data_type(self.returns.clone())))
    }

    /// What `value` makes of each value of argument `index`; it is asked for whatever is behind nulls too, and cannot fail.
    pub(super) fn each<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
        &self,
        index: usize,
        value: impl Fn(F::Native) -> T::Native,
    ) -> Result<ArrayRef> {
        let column = self.column::<PrimitiveArray<F>>(index)?;
        let mut values: ArrayRef = Arc::new(column.array().unary::<_, T>(value).with_data_type(self.returns.clone()));
        if column.is_constant() && self.rows != 1 {
            values = repeated(&values, &arrow::array::UInt32Array::from_value(0, self.rows))?;
        }
        Ok(values)
    }

    /// Like [`Args::primitive`] where a row can fail.
    pub(super) fn try_primitive<T: ArrowPrimitiveType>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<ArrayRef> {
        let mut failed = None;
        let array = self.primitive::<T>(|row| {
            if failed.is_some() {
                return None;
            }
            value(row).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        failed.map_or(array, Err)
    }

    /// A column of booleans.
    pub(super) fn booleans(&self, mut value: impl FnMut(usize) -> Option<bool>) -> Result<ArrayRef> {
        let mut valid = BooleanBufferBuilder::new(self.rows);
        let values = BooleanBuffer::collect_bool(self.rows, |row| {
            let value = value(row);
            valid.append(value.is_some());
            value == Some(true)
        });
        Ok(Arc::new(BooleanArray::new(values, Some(NullBuffer::new(valid.finish())).filter(|nulls| nulls.null_count() > 0))))
    }

    /// A column of text whose values are parts of what is there already.
    pub(super) fn slices<'s>(&self, mut slice: impl FnMut(usize) -> Option<&'s str>) -> Result<ArrayRef> {
        self.try_slices(|row| Ok(slice(row)))
    }

    /// Like [`Args::slices`] where a row can fail.
    pub(super) fn try_slices<'s>(&self, mut slice: impl FnMut(usize) -> Result<Option<&'s str>>) -> Result<ArrayRef> {
        let mut result = StringBuilder::with_capacity(self.rows, self.rows * TEXT_BYTES);
        let mut bytes = 0;
        for row in 0..self.rows {
            match slice(row)? {
                Some(slice) => {
                    bytes = within_column(bytes + slice.len())?;
                    result.append_value(slice);
                }
                None => result.append_null(),
            }
        }
        Ok(Arc::new(result.finish()))
    }

    /// A column of text: `write` appends a row's text to the empty buffer and gives `None` for null.
    pub(super) fn strings(&self, mut write: impl FnMut(usize, &mut String) -> Option<()>) -> Result<ArrayRef> {
        self.try_strings(|row, text| Ok(write(row, text)))
    }

    /// Like [`Args::strings`] where a row can fail.
    pub(super) fn try_strings(&self, mut write: impl FnMut(usize, &mut String) -> Result<Option<()>>) -> Result<ArrayRef> {
        let mut result = StringBuilder::with_capacity(self.rows, self.rows * TEXT_BYTES);
        let mut text = String::new();
        let mut bytes = 0;
        for row in 0..self.rows {
            text.clear();
            match write(row, &mut text)? {
                Some(()) => {
                    bytes = within_column(bytes + text.len())?;
                    result.append_value(&text);
                }
                None => result.append_null(),
            }
        }
        Ok(Arc::new(result.finish()))
    }

    /// A column of bytes, written as in [`Args::strings`].
    pub(super) fn binaries(&self, mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<Option<()>>) -> Result<ArrayRef> {
        let mut result = BinaryBuilder::with_capacity(self.rows, 0);
        let mut value = Vec::new();
        let mut bytes = 0;
        for row in 0..self.rows {
            value.clear();
            match write(row, &mut value)? {
                Some(()) => {
                    bytes = within_column(bytes + value.len())?;
                    result.append_value(&value);
                }
                None => result.append_null(),
            }
        }
        Ok(Arc::new(result.finish()))
    }
}

fn no_batch() -> Error {
    Error::internal("no batch is running")
}

/// Room for a text, to begin with.
const TEXT_BYTES: usize = 8;

fn mask(constant: bool) -> usize {
    if constant { 0 } else { usize::MAX }
}

/// An Arrow error inside a kernel.
pub(super) fn from_arrow(error: arrow::error::ArrowError) -> Error {
    crate::error::from_datafusion(error.into(), ErrorKind::Data)
}

/// One argument's values by row.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a, A> {
    array: &'a A,
    mask: usize,
}

impl<'a, A: Array> Reader<'a, A>
where
    &'a A: ArrayAccessor,
{
    /// The value of a row, `None` for null.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<<&'a A as ArrayAccessor>::Item> {
        let row = row & self.mask;
        // Masked rows are within the array: it has one row, or as many as the result.
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    /// The array itself, and which of its rows a row of the result means.
    pub(super) fn array(&self) -> &'a A {
        self.array
    }

    /// The row of [`Reader::array`] that a row of the result means.
    pub(super) fn row(&self, row: usize) -> usize {
        row & self.mask
    }

    /// Whether one value stands for all rows.
    pub(super) fn is_constant(&self) -> bool {
        self.mask == 0
    }
}

/// What was made of the last text: constants, and runs of equal texts, are looked at once.
pub(super) struct Last<'a, T>(Option<(&'a str, T)>);

impl<T> Default for Last<'_, T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a, T> Last<'a, T> {
    /// What `make` makes of `text`, or made of it for the row before.
    pub(super) fn get(&mut self, text: &'a str, make: impl FnOnce(&str) -> Result<T>) -> Result<&T> {
        let made = match self.0.take() {
            Some((last, made)) if std::ptr::eq(last, text) || last == text => made,
            _ => make(text)?,
        };
        Ok(&self.0.insert((text, made)).1)
    }
}

/// One argument of any type.
pub(super) struct AnyReader<'a> {
    /// Its values.
    pub(super) array: &'a ArrayRef,
    mask: usize,
    nulls: Option<arrow::buffer::NullBuffer>,
}

impl Datum for AnyReader<'_> {
    fn get(&self) -> (&dyn Array, bool) {
        (self.array.as_ref(), self.mask == 0)
    }
}

impl AnyReader<'_> {
    /// Whether the row's value is null.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row & self.mask))
    }

    /// The row of `array` that a row of the result means.
    pub(super) fn row(&self, row: usize) -> usize {
        row & self.mask
    }
}
