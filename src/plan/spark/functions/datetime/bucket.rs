//! `time_bucket`: where the bucket begins that a time lies in.

use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::scalar::ScalarValue;

use super::super::super::cast::interval::values;
use super::super::super::cast::time::{Clock, DAY_US, Zone, date_from_days, later};
use super::super::super::types::interval::IntervalRange;
use super::super::super::{Call, Typed};
use super::super::arguments::{Want, arity, data_error, mismatch, null_of, require_constant, timestamp, unexpected_type};
use super::super::native::{Returns, call};
use super::{beyond, zone_of_type};
use crate::error::{ErrorKind, Result};

/// Buckets of one size, one of which begins at the origin.
#[derive(Debug, Clone, Copy)]
struct Buckets {
    /// Months, or microseconds.
    size: i64,
    months: bool,
    /// In UTC.
    origin: i64,
    zone: Zone,
}

impl Buckets {
    /// The beginning of the bucket of an instant. Buckets of days and months follow the clock, shorter ones do not.
    fn start(&self, us: i64) -> Option<i64> {
        if !self.months && self.size < DAY_US {
            let behind = us.checked_sub(self.origin)?.div_euclid(self.size);
            return self.origin.checked_add(behind.checked_mul(self.size)?);
        }
        let (clock, origin) = (self.zone.clock(us), self.zone.clock(self.origin));
        if !self.months {
            let (local, origin) = (clock.local()?, origin.local()?);
            let behind = local.checked_sub(origin)?.div_euclid(self.size);
            return self.zone.to_instant(origin.checked_add(behind.checked_mul(self.size)?)?);
        }
        let month = |clock: Clock| {
            let (year, month, _) = date_from_days(clock.day);
            year * 12 + month
        };
        let begin = |place: i64| later(origin, place.checked_mul(self.size)?, 0);
        let place = (month(clock) - month(origin)).div_euclid(self.size);
        let found = begin(place)?;
        self.zone.instant(if found > clock { begin(place - 1)? } else { found })
    }
}

/// `time_bucket(size, time[, origin])`.
pub(super) fn time_bucket(mut c: Call<'_>) -> Result<Typed> {
    const INTERVAL: Want = Want::OneOf(&[Want::DayTime, Want::YearMonth]);
    arity(&c, 2, 3)?;
    let origin = (c.args.len() == 3).then(|| c.args.remove(2));
    let (time, size) = (c.args.remove(1), c.args.remove(0));
    let Some(range) = IntervalRange::of(&size.data_type) else {
        return match size.data_type {
            DataType::Null => null_of(if time.data_type == DataType::Null { timestamp() } else { time.data_type }),
            other => Err(unexpected_type(&c, 0, &other, &INTERVAL)),
        };
    };
    if time.data_type == DataType::Null {
        return null_of(timestamp());
    }
    if !Want::AnyTimestamp.accepts(&time.data_type) {
        return Err(unexpected_type(&c, 1, &time.data_type, &Want::AnyTimestamp));
    }
    let zone = zone_of_type(&c, &time.data_type)?;
    let constant = require_constant(&c, "bucketSize", &size)?;
    let origin = match origin {
        None => zone.to_instant(0),
        Some(origin) if origin.data_type == time.data_type || origin.data_type == DataType::Null => {
            match require_constant(&c, "origin", &origin)? {
                ScalarValue::TimestampMicrosecond(origin, _) => origin,
                _ => None,
            }
        }
        Some(origin) => {
            require_constant(&c, "origin", &origin)?;
            return Err(unexpected_type(&c, 2, &origin.data_type, &Want::AnyTimestamp));
        }
    };
    let ours = |e| crate::error::from_datafusion(e, ErrorKind::Internal);
    let size = values(constant.to_array().map_err(ours)?.as_ref())?;
    let (Some(size), Some(origin)) = (size.iter().next().flatten(), origin) else { return null_of(time.data_type) };
    if size <= 0 {
        return Err(mismatch("VALUE_OUT_OF_RANGE", format!("the size of `{}` must be positive", c.name)));
    }
    let buckets = Buckets { size, months: range.is_months(), origin, zone };
    let returns = Returns::fallible(time.data_type.clone(), time.nullable);
    let name = format!("time_bucket of {size} {} from {origin}", if buckets.months { "months" } else { "us" });
    Ok(call(&name, vec![time], returns, move |a| {
        let time = a.column::<TimestampMicrosecondArray>(0)?;
        a.try_primitive::<TimestampMicrosecondType>(|row| {
            let Some(us) = time.get(row) else { return Ok(None) };
            buckets.start(us).map(Some).ok_or_else(|| match buckets.months {
                true => beyond(),
                false => data_error("ARITHMETIC_OVERFLOW", "the beginning of the bucket is beyond what a timestamp holds"),
            })
        })
    }))
}
