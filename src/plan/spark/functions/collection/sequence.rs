//! `sequence` of dates and timestamps: from one to another by an interval.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, DurationMicrosecondArray, DurationSecondArray, Int32Array, Int64Array, IntervalYearMonthArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

use super::super::super::cast::time::{DAY_US, Zone, later};
use super::super::super::{Call, Typed};
use super::super::arguments::{any_nullable, array_of, data_error, is_foldable, mismatch};
use super::super::datetime::zone_of;
use super::super::native::{Args, Returns, call, from_arrow};
use super::shape::{LENGTH_MAX, beyond, no_sequence};
use super::{end_of, list_of};
use crate::error::{Error, ErrorKind, Result};

/// How far one value is from the next. A year-month interval has months only.
#[derive(Debug, Clone, Copy)]
struct Step {
    months: i64,
    days: i64,
    us: i64,
}

impl Step {
    fn of_us(us: i64) -> Self {
        Self { months: 0, days: us / DAY_US, us: us % DAY_US }
    }

    fn is_back(self) -> bool {
        self.months < 0 || self.days < 0 || self.us < 0
    }
}

/// `sequence(start, stop[, step])` of dates or timestamps, which both are of type `common`.
pub(super) fn of_times(c: &Call<'_>, args: Vec<Typed>, common: DataType) -> Result<Typed> {
    let steps = |t: &DataType| matches!(t, DataType::Duration(_) | DataType::Interval(IntervalUnit::YearMonth));
    if args.get(2).is_some_and(|step| !steps(&step.data_type)) {
        return Err(mismatch(
            "SEQUENCE_WRONG_INPUT_TYPES",
            "the step of a `sequence` of dates or timestamps must be an interval",
        ));
    }
    let zone = match common {
        DataType::Timestamp(_, Some(_)) => zone_of(c)?,
        _ => Zone::Fixed(0),
    };
    let is_date = common == DataType::Date32;
    let is_folded = args.iter().all(|arg| is_foldable(&arg.expr));
    let returns = Returns::fallible(array_of(common.clone()), any_nullable(&args));
    Ok(call("sequence", args, returns, move |a| {
        let step_at = if a.count() == 3 { Some(steps_of(a)?) } else { None };
        let instant = |index: usize| -> Result<Box<dyn Fn(usize) -> Option<i64> + '_>> {
            Ok(if is_date {
                let days = a.column::<Date32Array>(index)?;
                if days.array().iter().flatten().any(|day| i64::from(day).abs() > i64::MAX / DAY_US) {
                    return Err(Error::new(ErrorKind::Data, "a date of a sequence is beyond what a timestamp holds"));
                }
                Box::new(move |row| days.get(row).map(|days| i64::from(days) * DAY_US))
            } else {
                let times = a.column::<TimestampMicrosecondArray>(index)?;
                Box::new(move |row| times.get(row))
            })
        };
        let (starts, stops) = (instant(0)?, instant(1)?);
        let (mut items, mut offsets, mut valid) = (Vec::new(), vec![0], Vec::new());
        for row in 0..a.rows() {
            let bounds = starts(row).zip(stops(row));
            let step = match &step_at {
                Some(step_at) => step_at(row),
                None => bounds.map(|(start, stop)| Step { months: 0, days: if start <= stop { 1 } else { -1 }, us: 0 }),
            };
            let known = bounds.zip(step);
            valid.push(known.is_some());
            if let Some(((start, stop), step)) = known {
                fill(start, stop, step, (is_date, is_folded), &zone, &mut items)?;
            }
            offsets.push(end_of(items.len())?);
        }
        let items: ArrayRef = if is_date {
            let days = items.into_iter().map(|us| us.div_euclid(DAY_US) as i32).collect::<Vec<_>>();
            arrow::compute::cast(&Int32Array::from(days), &common)
        } else {
            arrow::compute::cast(&Int64Array::from(items), &common)
        }
        .map_err(from_arrow)?;
        list_of(a.returns(), offsets, Arc::clone(&items), Some(valid))
    }))
}

type StepOf<'a> = Box<dyn Fn(usize) -> Option<Step> + 'a>;

fn steps_of<'a>(a: &Args<'a>) -> Result<StepOf<'a>> {
    Ok(match a.any(2).array.data_type() {
        DataType::Duration(TimeUnit::Second) => {
            let steps = a.column::<DurationSecondArray>(2)?;
            Box::new(move |row| steps.get(row).map(|seconds| Step { months: 0, days: seconds / (DAY_US / 1_000_000), us: 0 }))
        }
        DataType::Duration(_) => {
            let steps = a.column::<DurationMicrosecondArray>(2)?;
            Box::new(move |row| steps.get(row).map(Step::of_us))
        }
        _ => {
            let steps = a.column::<IntervalYearMonthArray>(2)?;
            Box::new(move |row| steps.get(row).map(|months| Step { months: months.into(), days: 0, us: 0 }))
        }
    })
}

/// Appends the values of one sequence, in microseconds: of dates or not, and whether Spark computes it when it plans.
fn fill(start: i64, stop: i64, step: Step, (is_date, is_folded): (bool, bool), zone: &Zone, items: &mut Vec<i64>) -> Result<()> {
    if is_date && step.months == 0 && step.days == 0 {
        return Err(data_error("_LEGACY_ERROR_TEMP_3242", "the step of a sequence of dates must be a day or more"));
    }
    let back = step.is_back();
    let regular = step.months == 0 && (if is_date { step.us == 0 } else { step.days == 0 });
    let still = step.months == 0 && step.days == 0 && step.us == 0;
    if still && start == stop {
        items.push(start);
        return Ok(());
    }
    if still || start != stop && back == (start < stop) {
        return Err(no_sequence(is_folded && regular));
    }
    // No step is longer than this, so that there are at least so many: a sequence that is too long is not begun.
    let longest = (31 * step.months + step.days).unsigned_abs() as i128 * i128::from(DAY_US) + i128::from(step.us.unsigned_abs());
    let least = (i128::from(stop) - i128::from(start)).abs() / longest;
    if least > LENGTH_MAX as i128 {
        return Err(beyond("PARAMETER", least));
    }
    end_of(items.len() + least as usize)?;
    for place in 0.. {
        let Some(next) = nth(start, step, place, zone) else { return Ok(()) };
        if if back { next < stop } else { next > stop } {
            return Ok(());
        }
        end_of(items.len() + 1)?;
        items.push(next);
    }
    Ok(())
}

/// `start` and so many steps; `None` beyond what a timestamp can be.
fn nth(start: i64, step: Step, place: i64, zone: &Zone) -> Option<i64> {
    if step.months == 0 && step.days == 0 {
        return start.checked_add(step.us.checked_mul(place)?);
    }
    let at = later(zone.clock(start), step.months.checked_mul(place)?, step.days.checked_mul(place)?)?;
    zone.instant(at)?.checked_add(step.us.checked_mul(place)?)
}
