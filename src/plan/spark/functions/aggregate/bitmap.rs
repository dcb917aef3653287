//! Bitmaps of 32,768 bits, as Spark counts different numbers with: made of positions, or of other bitmaps.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array};
use arrow::datatypes::DataType;

use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, coerce, data_error, expect_one};
use super::super::native::within_column;
use super::expression;
use super::fold::{Fold, GroupRows, typed, udaf};
use crate::error::Result;

const BYTES: usize = 4096;

/// `bitmap_construct_agg(position)`.
pub(super) fn construct(mut c: Call<'_>) -> Result<Typed> {
    let args = coerce(&mut c, &[Want::Long])?;
    expression(&mut c, udaf("bitmap_construct_agg", Construct, DataType::Binary, false), args, DataType::Binary, false)
}

/// `bitmap_or_agg(bitmap)` and `bitmap_and_agg(bitmap)`.
pub(super) fn combined(mut c: Call<'_>, with: With) -> Result<Typed> {
    arity(&c, 1, 1)?;
    let arg = c.args.remove(0);
    let args = vec![expect_one(&c, 0, arg, &Want::Binary)?];
    let name = if with == With::Or { "bitmap_or_agg" } else { "bitmap_and_agg" };
    expression(&mut c, udaf(name, Combine { with }, DataType::Binary, false), args, DataType::Binary, false)
}

/// How bitmaps are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    Or,
    And,
}

#[derive(Debug)]
struct Combine {
    with: With,
}

/// A group's bitmap, made when the first value comes.
type Bitmap = Option<Box<[u8]>>;

impl Combine {
    /// What the bitmap of no rows is made of.
    fn empty(&self) -> u8 {
        if self.with == With::Or { 0 } else { u8::MAX }
    }

    fn held<'c>(&self, cell: &'c mut Bitmap, grown: &mut usize) -> &'c mut [u8] {
        cell.get_or_insert_with(|| {
            *grown += BYTES;
            vec![self.empty(); BYTES].into()
        })
    }
}

impl Fold for Combine {
    type Cell = Bitmap;

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let bitmaps = typed::<BinaryArray>(&values[0])?;
        let mut grown = 0;
        rows.each(bitmaps, |row, group| {
            let held = self.held(&mut cells[group], &mut grown);
            // A short bitmap lacks bits that are not set.
            let others = bitmaps.value(row).iter().copied().chain(std::iter::repeat(0));
            for (held, other) in held.iter_mut().zip(others) {
                *held = if self.with == With::Or { *held | other } else { *held & other };
            }
        });
        Ok(grown)
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        self.update(cells, rows, states)
    }

    /// Null for a bitmap that no row has come for.
    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        within_column(cells.iter().flatten().count() * BYTES)?;
        Ok(vec![Arc::new(BinaryArray::from_iter(cells.iter().map(Option::as_deref)))])
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        within_column(cells.len() * BYTES)?;
        let empty = [self.empty(); BYTES];
        Ok(Arc::new(BinaryArray::from_iter_values(cells.iter().map(|cell| cell.as_deref().unwrap_or(&empty)))))
    }
}

#[derive(Debug)]
struct Construct;

const OR: Combine = Combine { with: With::Or };

impl Fold for Construct {
    type Cell = Bitmap;

    fn state_types(&self) -> Vec<DataType> {
        OR.state_types()
    }

    fn update(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, values: &[ArrayRef]) -> Result<usize> {
        let positions = typed::<Int64Array>(&values[0])?;
        let (mut grown, mut beyond) = (0, None);
        rows.each(positions, |row, group| match usize::try_from(positions.value(row)) {
            Ok(position) if position < 8 * BYTES => {
                OR.held(&mut cells[group], &mut grown)[position / 8] |= 1 << (position % 8);
            }
            _ => beyond = Some(positions.value(row)),
        });
        match beyond {
            Some(position) => {
                Err(data_error("INVALID_BITMAP_POSITION", format!("a bitmap has positions 0 to 32767, not {position}")))
            }
            None => Ok(grown),
        }
    }

    fn merge(&self, cells: &mut [Self::Cell], rows: &GroupRows<'_>, states: &[ArrayRef]) -> Result<usize> {
        OR.merge(cells, rows, states)
    }

    fn state(&self, cells: &[Self::Cell]) -> Result<Vec<ArrayRef>> {
        OR.state(cells)
    }

    fn finish(&self, cells: &[Self::Cell]) -> Result<ArrayRef> {
        OR.finish(cells)
    }
}
