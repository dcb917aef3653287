//! Parts of values: fields of structs, elements of arrays, values of maps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, make_comparator};
use arrow::buffer::NullBuffer;
use arrow::compute::{SortOptions, cast as arrow_cast, nullif, take};
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::arithmetic::{null_beside, unexpected_type};
use super::coercion::{can_cast_implicitly, integer_rank, wider_type};
use super::extract;
use super::literal::text;
use super::native::{Kernel, Operand, call};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::spark::cast::{CastMode, cast};
use crate::plan::spark::functions::array_with;
use crate::plan::spark::types::interval::is_interval;
use crate::plan::spark::types::{array_of, map_fields, map_of, sql_name};
use crate::plan::spark::{PlanSettings, Typed};

/// `value.name`: a struct's field, that field of each element of an array of structs, or a map's value. `FIELD_NOT_FOUND`,
/// `AMBIGUOUS_REFERENCE_TO_FIELDS` or `INVALID_EXTRACT_BASE_FIELD_TYPE` otherwise.
pub fn field(value: Typed, name: &str, settings: &PlanSettings) -> Result<Typed> {
    match &value.data_type {
        DataType::Struct(fields) => {
            let index = find(fields, name)?;
            let found = &fields[index];
            let (data_type, nullable) = (found.data_type().clone(), value.nullable || found.is_nullable());
            if let Some(made) = extract::field(&value, index) {
                return Ok(made);
            }
            Ok(call(FieldKernel { index }, vec![value.expr], data_type, nullable, false))
        }
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => {
                let index = find(fields, name)?;
                let field_type = fields[index].data_type().clone();
                let data_type = array_of(field_type.clone());
                if let Some(structs) = extract::structs(&value) {
                    let fields = structs.into_iter().map(|each| field(each, name, settings)).collect::<Result<Vec<_>>>()?;
                    return Ok(array_with(fields, field_type));
                }
                let nullable = value.nullable;
                Ok(call(FieldOfEachKernel { index }, vec![value.expr], data_type, nullable, false))
            }
            _ => Err(unexpected_type("[ ]", &DataType::Utf8)),
        },
        DataType::Map(..) => element(value, text(name), settings),
        other => Err(Error::spark(
            ErrorKind::Config,
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            format!("cannot extract `{name}` from a value of type \"{}\", which is no struct, array or map", sql_name(other)),
        )),
    }
}

fn find(fields: &Fields, name: &str) -> Result<usize> {
    let wanted = name.to_lowercase();
    let mut found = fields.iter().enumerate().filter(|(_, f)| f.name().to_lowercase() == wanted);
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => Err(Error::spark(
            ErrorKind::Config,
            "AMBIGUOUS_REFERENCE_TO_FIELDS",
            format!("the struct has more than one field `{name}`"),
        )),
        (None, _) => {
            let names: Vec<String> = fields.iter().map(|f| format!("`{}`", f.name())).collect();
            Err(Error::spark(
                ErrorKind::Config,
                "FIELD_NOT_FOUND",
                format!("there is no struct field `{name}` in {}", names.join(", ")),
            ))
        }
    }
}

/// `value[index]`: an array's element by position from 0 (`INVALID_ARRAY_INDEX` at run time), a map's value by key (null where it is
/// not), a struct's field by name.
pub fn element(value: Typed, index: Typed, settings: &PlanSettings) -> Result<Typed> {
    match value.data_type.clone() {
        DataType::List(item) => {
            if integer_rank(&index.data_type).is_none() && index.data_type != DataType::Null {
                if let (DataType::Struct(_), Expr::Literal(ScalarValue::Utf8(Some(name)), _)) = (item.data_type(), &index.expr) {
                    return field(value, &name.clone(), settings);
                }
                return Err(unexpected_type("[ ]", &index.data_type));
            }
            if let Some(made) = extract::item(&value, &index) {
                return Ok(made);
            }
            let index = cast(index, &DataType::Int64, CastMode::Ansi, settings)?;
            if let Some(null) = null_beside(&value, &index, item.data_type()) {
                return Ok(null);
            }
            Ok(call(ElementKernel, vec![value.expr, index.expr], item.data_type().clone(), true, true))
        }
        DataType::Map(entries, _) => {
            let (key, held) = map_fields(&entries).ok_or_else(|| Error::internal("a map without key and value"))?;
            let (key, held) = (key.data_type().clone(), held.data_type().clone());
            let to_text = key == DataType::Utf8 && can_cast_implicitly(&index.data_type, &key);
            let other_units = is_interval(&key) && is_interval(&index.data_type) && key != index.data_type;
            let common = match (to_text, other_units) {
                (true, _) => Some(key),
                (false, true) => None,
                (false, false) => wider_type(&key, &index.data_type),
            };
            let Some(common) = common else { return Err(unexpected_type("[ ]", &index.data_type)) };
            let map = cast(value, &map_of(common.clone(), held.clone()), CastMode::Ansi, settings)?;
            let index = cast(index, &common, CastMode::Ansi, settings)?;
            if let Some(null) = null_beside(&map, &index, &held) {
                return Ok(null);
            }
            if let Some(made) = extract::lookup(&map, &index, settings)? {
                return Ok(made);
            }
            Ok(call(LookupKernel, vec![map.expr, index.expr], held, true, false))
        }
        DataType::Struct(_) => match &index.expr {
            Expr::Literal(ScalarValue::Utf8(Some(name)), _) => {
                let name = name.clone();
                field(value, &name, settings)
            }
            other => Err(Error::spark(
                ErrorKind::Config,
                "INVALID_EXTRACT_FIELD_TYPE",
                format!("a field's name should be a string, not `{other}`"),
            )),
        },
        DataType::Null => Ok(value),
        other => Err(Error::spark(
            ErrorKind::Config,
            "INVALID_EXTRACT_BASE_FIELD_TYPE",
            format!("cannot extract from a value of type \"{}\", which is no struct, array or map", sql_name(&other)),
        )),
    }
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("could not take a nested value apart").because(error)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FieldKernel {
    index: usize,
}

impl Kernel for FieldKernel {
    fn name(&self) -> &str {
        "struct_field"
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        child(args[0].array.as_struct(), self.index)
    }
}

/// A struct's column, null where the struct is.
fn child(parent: &arrow::array::StructArray, index: usize) -> Result<ArrayRef> {
    let column = parent.column(index);
    match parent.nulls().filter(|n| n.null_count() > 0) {
        None => Ok(column.clone()),
        Some(nulls) => nullif(column, &arrow::array::BooleanArray::new(!nulls.inner(), None)).map_err(broken),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FieldOfEachKernel {
    index: usize,
}

impl Kernel for FieldOfEachKernel {
    fn name(&self) -> &str {
        "struct_field_of_each"
    }

    fn run(&self, args: &[Operand], _rows: usize) -> Result<ArrayRef> {
        let list = args[0].array.as_list::<i32>();
        let values = child(list.values().as_struct(), self.index)?;
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned()).map_err(broken)?))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ElementKernel;

impl Kernel for ElementKernel {
    fn name(&self) -> &str {
        "array_element"
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let (list, indexes) = (args[0].array.as_list::<i32>(), args[1].array.as_primitive::<Int64Type>());
        let offsets = list.value_offsets();
        let mut picked: Vec<Option<u32>> = Vec::with_capacity(rows);
        for row in 0..rows {
            let (l, i) = (args[0].index(row), args[1].index(row));
            if list.is_null(l) || indexes.is_null(i) {
                picked.push(None);
                continue;
            }
            let (index, length) = (indexes.value(i), i64::from(offsets[l + 1] - offsets[l]));
            if !(0..length).contains(&index) {
                return Err(Error::spark(
                    ErrorKind::Data,
                    "INVALID_ARRAY_INDEX",
                    format!("the index {index} is out of bounds, the array has {length} elements; `get()` gives NULL instead"),
                ));
            }
            picked.push(Some((i64::from(offsets[l]) + index) as u32));
        }
        take(list.values(), &UInt32Array::from(picked), None).map_err(broken)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LookupKernel;

impl Kernel for LookupKernel {
    fn name(&self) -> &str {
        "map_value"
    }

    fn run(&self, args: &[Operand], rows: usize) -> Result<ArrayRef> {
        let map = args[0].array.as_map();
        let keys = super::comparison::normalize(map.keys())?;
        let wanted = super::comparison::normalize(&args[1].array)?;
        if wanted.data_type() == &DataType::Null || keys.is_empty() {
            return Ok(arrow::array::new_null_array(map.value_type(), rows));
        }
        let wanted = if wanted.data_type() == keys.data_type() {
            wanted
        } else {
            arrow_cast(&wanted, keys.data_type()).map_err(broken)?
        };
        let equal = make_comparator(keys.as_ref(), wanted.as_ref(), SortOptions::default()).map_err(broken)?;
        let offsets = map.value_offsets();
        let nulls: Option<&NullBuffer> = map.nulls();
        let picked: UInt32Array = (0..rows)
            .map(|row| {
                let (m, w) = (args[0].index(row), args[1].index(row));
                if nulls.is_some_and(|n| n.is_null(m)) || wanted.is_null(w) {
                    return None;
                }
                (offsets[m]..offsets[m + 1]).find(|k| equal(*k as usize, w).is_eq()).map(|k| k as u32)
            })
            .collect();
        take(map.values(), &picked, None).map_err(broken)
    }
}
