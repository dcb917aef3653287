//! Values computed one by one, failures looked at afterwards.
//!
//! All are computed, what lies under a null too: that is cheaper than to look first, and lets the compiler take several at a time.
//! Which ones failed is asked for again only if one did.

use arrow::array::{Array, ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};

/// What was computed.
pub struct Computed<O: ArrowPrimitiveType> {
    values: Vec<O::Native>,
    nulls: Option<NullBuffer>,
    failed: Vec<usize>,
}

impl<O: ArrowPrimitiveType> Computed<O> {
    /// `f` of everything that `inputs` gives each time; rows that are null in `nulls` stay so.
    pub fn of<I: Iterator>(inputs: impl Fn() -> I, nulls: Option<NullBuffer>, f: impl Fn(I::Item) -> Option<O::Native>) -> Self {
        let mut any_failed = false;
        let one = |input| {
            let value = f(input);
            any_failed |= value.is_none();
            value.unwrap_or_default()
        };
        let values = inputs().map(one).collect();
        let mut failed = Vec::new();
        if any_failed {
            let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            failed.extend(inputs().enumerate().filter(|(row, _)| is_valid(*row)).filter_map(|(row, input)| match f(input) {
                Some(_) => None,
                None => Some(row),
            }));
        }
        Self { values, nulls, failed }
    }

    /// The first row that is not null and failed.
    pub fn first_failed(&self) -> Option<usize> {
        self.failed.first().copied()
    }

    /// The values, null where it failed.
    pub fn or_null(self) -> PrimitiveArray<O> {
        let Self { values, nulls, failed } = self;
        let nulls = if failed.is_empty() {
            nulls
        } else {
            let mut valid = vec![true; values.len()];
            failed.iter().for_each(|row| valid[*row] = false);
            NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(BooleanBuffer::from(valid))))
        };
        PrimitiveArray::new(values.into(), nulls)
    }
}

/// `f` of each value, and `fail` of the first that has none.
pub fn try_map<A: ArrowPrimitiveType, O: ArrowPrimitiveType, E>(
    array: &PrimitiveArray<A>,
    f: impl Fn(A::Native) -> Option<O::Native>,
    fail: impl Fn(A::Native) -> E,
) -> Result<PrimitiveArray<O>, E> {
    let computed = map(array, f);
    match computed.first_failed() {
        Some(row) => Err(fail(array.values()[row])),
        None => Ok(computed.or_null()),
    }
}

/// `f` of each value.
pub fn map<A: ArrowPrimitiveType, O: ArrowPrimitiveType>(
    array: &PrimitiveArray<A>,
    f: impl Fn(A::Native) -> Option<O::Native>,
) -> Computed<O> {
    Computed::of(|| array.values().iter().copied(), array.nulls().cloned(), f)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn half(v: i32) -> Option<i32> {
        (v % 2 == 0).then_some(v / 2)
    }

    #[test]
    fn what_fails_under_a_null_is_no_failure() {
        let nulls = NullBuffer::from(vec![true, false, true]);
        let array = Int32Array::new(vec![4, 7, -2].into(), Some(nulls));
        let halves: PrimitiveArray<Int32Type> = try_map(&array, half, |v| v).unwrap();
        assert_eq!(halves, Int32Array::from(vec![Some(2), None, Some(-1)]));
    }

    #[test]
    fn the_first_failure_is_told_or_all_are_null() {
        let array = Int32Array::from(vec![None, Some(4), Some(7), Some(9)]);
        assert_eq!(try_map::<_, Int32Type, _>(&array, half, |v| v), Err(7));
        let halves = map::<_, Int32Type>(&array, half).or_null();
        assert_eq!(halves, Int32Array::from(vec![None, Some(2), None, None]));
    }
}
