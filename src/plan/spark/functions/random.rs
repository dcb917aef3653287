//! Random values. A seed makes each batch begin the same way; the numbers are not Spark's, which depend on its partitions.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, UInt64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::scalar::ScalarValue;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::{Call, Typed};
use super::arguments::{Want, arity, coerce_one, constant, unexpected_type};
use super::native::{Returns, call, from_arrow};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("rand([seed])", "A random number from 0 to below 1 for each row", "", |c| number(c, |random| random.random::<f64>())),
    scalar("random([seed])", "As `rand`", "", |c| number(c, |random| random.random::<f64>())),
    scalar("randn([seed])", "A random number of the standard normal distribution for each row", "", |c| number(c, normal)),
    scalar("shuffle(array[, seed])", "The elements in random order", "sort_array(shuffle(array(2, 1))) → [1, 2]", shuffle),
];

/// Numbers from a seed, or from the system.
fn generator(seed: Option<i64>) -> StdRng {
    match seed {
        Some(seed) => StdRng::seed_from_u64(seed as u64),
        None => StdRng::seed_from_u64(rand::random()),
    }
}

/// The seed argument; a null is a 0.
fn seed(c: &Call<'_>, index: usize, arg: Option<Typed>) -> Result<Option<i64>> {
    let Some(arg) = arg else { return Ok(None) };
    if !matches!(arg.data_type, DataType::Int32 | DataType::Int64 | DataType::Null) {
        return Err(unexpected_type(c, index, &arg.data_type, &Want::OneOf(&[Want::Int, Want::Long])));
    }
    match constant(&arg)? {
        Some(ScalarValue::Int32(seed)) => Ok(Some(seed.unwrap_or(0).into())),
        Some(ScalarValue::Int64(seed)) => Ok(Some(seed.unwrap_or(0))),
        Some(_) => Ok(Some(0)),
        None => {
            let message = format!("the seed of `{}` must be a constant", c.name);
            Err(Error::spark(ErrorKind::Config, "SEED_EXPRESSION_IS_UNFOLDABLE", message))
        }
    }
}

fn number(mut c: Call<'_>, draw: fn(&mut StdRng) -> f64) -> Result<Typed> {
    arity(&c, 0, 1)?;
    let given = c.args.pop();
    let seed = seed(&c, 0, given)?;
    let name = seed.map_or_else(|| c.name.to_owned(), |seed| format!("{}[{seed}]", c.name));
    Ok(call(&name, Vec::new(), Returns::fallible(DataType::Float64, false), move |a| {
        let mut random = generator(seed);
        a.primitive::<Float64Type>(|_| Some(draw(&mut random)))
    }))
}

/// By the method of Box and Muller.
fn normal(random: &mut StdRng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// `shuffle(array[, seed])`.
fn shuffle(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let seed = seed(&c, 1, given)?;
    let list = c.args.remove(0);
    let list = coerce_one(&c, 0, list, &Want::Array)?;
    let returns = Returns::fallible(list.data_type.clone(), list.nullable);
    let name = seed.map_or_else(|| "shuffle".to_owned(), |seed| format!("shuffle[{seed}]"));
    Ok(call(&name, vec![list], returns, move |a| {
        let array = a.expanded(0)?;
        let lists = array.as_list::<i32>();
        let mut random = generator(seed);
        let mut order: Vec<u64> = (0..lists.values().len() as u64).collect();
        for bounds in lists.offsets().windows(2) {
            let part = &mut order[bounds[0] as usize..bounds[1] as usize];
            for at in (1..part.len()).rev() {
                part.swap(at, random.random_range(0..=at));
            }
        }
        let values = arrow::compute::take(lists.values(), &UInt64Array::from(order), None).map_err(from_arrow)?;
        let DataType::List(field) = lists.data_type() else { return Err(Error::internal("a list is a list")) };
        let lists = ListArray::new(Arc::clone(field), lists.offsets().clone(), values, lists.nulls().cloned());
        Ok(Arc::new(lists))
    }))
}
