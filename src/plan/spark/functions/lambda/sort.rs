//! `array_sort` with a comparator: many sorts side by side, each asking for one comparison at a time.
//!
//! Short stretches are sorted as Java sorts arrays of fewer than 32 elements, so that a comparator that contradicts itself gives what
//! it gives in Spark; longer arrays are such stretches, merged pairwise. All results are stable.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type};

use super::super::arguments::data_error;
use super::super::native::{from_arrow, repeated};
use super::elements::{Elements, Input, fits};
use crate::error::{Error, ErrorKind, Result};

/// Elements that are sorted by insertion: what Java does not merge.
const STRETCH: usize = 31;

/// A sort that wants to know how two elements compare.
trait Sorting {
    /// The two elements, or nothing if it is done.
    fn wants(&self, items: &[u32]) -> Option<(u32, u32)>;
    /// How they compare: negative, zero or positive.
    fn hears(&mut self, items: &mut [u32], order: i32);
    /// Its row.
    fn row(&self) -> u32;
}

/// `array_sort(list, (x, y) -> …)`.
pub(super) fn array_sort(input: &Input<'_>) -> Result<ArrayRef> {
    let elements = Elements::of(&input.values[0], input.rows)?;
    let values = input.values[0].0.as_list::<i32>().values();
    let DataType::List(field) = input.returns else { return Err(Error::internal("the result is not an array")) };
    let offsets = elements.offsets()?;
    let mut items = Vec::with_capacity(offsets.last().map_or(0, |end| *end as usize));
    for (row, length) in elements.lengths.iter().enumerate() {
        items.extend((0..*length).map(|position| elements.index(row, position)));
    }
    if !matches!(field.data_type(), DataType::Null) {
        let spans: Vec<(u32, usize, usize)> = offsets
            .windows(2)
            .enumerate()
            .map(|(row, pair)| (row as u32, pair[0] as usize, pair[1] as usize))
            .filter(|(_, from, to)| to - from > 1)
            .collect();
        let mut stretches = Vec::new();
        for (row, from, to) in &spans {
            let starts = (*from..*to).step_by(STRETCH);
            stretches.extend(starts.map(|start| Insertion::new(*row, start, (start + STRETCH).min(*to))));
        }
        sort_all(input, values, &mut items, stretches)?;
        let mut width = STRETCH;
        while spans.iter().any(|(_, from, to)| to - from > width) {
            let mut merges = Vec::new();
            for (row, from, to) in &spans {
                let starts = (*from..*to).step_by(2 * width).filter(|start| start + width < *to);
                merges.extend(
                    starts.map(|start| Merge::new(*row, &items[start..start + width], start, (start + 2 * width).min(*to))),
                );
            }
            sort_all(input, values, &mut items, merges)?;
            width *= 2;
        }
    }
    let sorted = repeated(values, &UInt32Array::from(items))?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, sorted, elements.nulls).map_err(from_arrow)?))
}

/// Runs sorts until all are done: one comparison of each at a time.
fn sort_all<S: Sorting>(input: &Input<'_>, values: &ArrayRef, items: &mut [u32], mut sorts: Vec<S>) -> Result<()> {
    let body = &input.bodies[0];
    loop {
        sorts.retain(|sort| sort.wants(items).is_some());
        if sorts.is_empty() {
            return Ok(());
        }
        let mut from = 0;
        while from < sorts.len() {
            let (mut rows, mut left, mut right, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
            for sort in &sorts[from..] {
                let weight = body.weight(sort.row() as usize);
                if !fits(rows.len(), bytes, weight) {
                    break;
                }
                bytes += weight;
                if let Some((one, other)) = sort.wants(items) {
                    rows.push(sort.row());
                    left.push(one);
                    right.push(other);
                }
            }
            let count = rows.len();
            let (left, right) = (UInt32Array::from(left), UInt32Array::from(right));
            let captured = body.of_rows(&UInt32Array::from(rows))?;
            let orders = body.run(count, &captured, |variable| {
                take(values, if variable == 0 { &left } else { &right }, None).map_err(from_arrow)
            })?;
            let orders: &Int32Array = orders.as_primitive::<Int32Type>();
            if let Some(at) = (0..orders.len()).find(|at| orders.is_null(*at)) {
                let message =
                    "the comparator of `array_sort` has yielded null; it must yield a negative number, 0 or a positive one";
                // Spark fails to name a null in its message.
                return Err(match values.is_null(left.value(at) as usize) {
                    true => Error::new(ErrorKind::Data, message),
                    false => data_error("COMPARATOR_RETURNS_NULL", message),
                });
            }
            for (sort, order) in sorts[from..from + count].iter_mut().zip(orders.values()) {
                sort.hears(items, *order);
            }
            from += count;
        }
    }
}

/// Binary insertion, after the run that the stretch begins with.
struct Insertion {
    row: u32,
    from: usize,
    to: usize,
    step: Step,
}

enum Step {
    /// The run goes up to here; it falls if that is known already.
    Run { end: usize, falls: Option<bool> },
    /// Which place in `low..high` the element at `pivot` gets.
    Insert { pivot: usize, low: usize, high: usize },
}

impl Insertion {
    fn new(row: u32, from: usize, to: usize) -> Self {
        Self { row, from, to, step: Step::Run { end: from + 1, falls: None } }
    }

    fn insert(&mut self, pivot: usize) {
        self.step = Step::Insert { pivot, low: self.from, high: pivot };
    }
}

impl Sorting for Insertion {
    fn wants(&self, items: &[u32]) -> Option<(u32, u32)> {
        match self.step {
            Step::Run { end, .. } => (end < self.to).then(|| (items[end], items[end - 1])),
            Step::Insert { pivot, low, high } => (pivot < self.to).then(|| (items[pivot], items[(low + high) / 2])),
        }
    }

    fn hears(&mut self, items: &mut [u32], order: i32) {
        match self.step {
            Step::Run { end, falls } => {
                let falling = order < 0;
                let goes_on = falls.is_none_or(|falls| falls == falling);
                let end = if goes_on { end + 1 } else { end };
                let falls = falls.unwrap_or(falling);
                self.step = Step::Run { end, falls: Some(falls) };
                if !goes_on || end == self.to {
                    if falls {
                        items[self.from..end].reverse();
                    }
                    self.insert(end);
                }
            }
            Step::Insert { pivot, mut low, mut high } => {
                let middle = (low + high) / 2;
                if order < 0 {
                    high = middle
                } else {
                    low = middle + 1
                }
                self.step = Step::Insert { pivot, low, high };
                if low == high {
                    items[low..=pivot].rotate_right(1);
                    self.insert(pivot + 1);
                }
            }
        }
    }

    fn row(&self) -> u32 {
        self.row
    }
}

/// Two sorted stretches, one right after the other, become one.
struct Merge {
    row: u32,
    /// A copy of the first stretch.
    left: Vec<u32>,
    /// How much of it is placed.
    placed: usize,
    /// The next place.
    out: usize,
    /// What is left of the second stretch.
    next: usize,
    to: usize,
}

impl Merge {
    fn new(row: u32, left: &[u32], from: usize, to: usize) -> Self {
        Self { row, left: left.to_vec(), placed: 0, out: from, next: from + left.len(), to }
    }
}

impl Sorting for Merge {
    fn wants(&self, items: &[u32]) -> Option<(u32, u32)> {
        (self.placed < self.left.len() && self.next < self.to).then(|| (items[self.next], self.left[self.placed]))
    }

    fn hears(&mut self, items: &mut [u32], order: i32) {
        if order < 0 {
            items[self.out] = items[self.next];
            self.next += 1;
        } else {
            items[self.out] = self.left[self.placed];
            self.placed += 1;
        }
        self.out += 1;
        if self.next == self.to {
            let rest = &self.left[self.placed..];
            items[self.out..self.out + rest.len()].copy_from_slice(rest);
            self.placed = self.left.len();
        }
    }

    fn row(&self) -> u32 {
        self.row
    }
}
