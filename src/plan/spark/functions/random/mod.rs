//! Random values. With a seed each batch begins the same way, with what Spark draws in the first of its partitions. Without one the
//! seed comes from the batch's own, so that a batch that runs again draws the same.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, ListArray, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, lit};
use datafusion::scalar::ScalarValue;

use super::super::{Call, Typed};
use super::arguments::{
    Want, arity, coerce_one, constant, convert, expect_one, is_integral, is_numeric, literal, mismatch, null_of,
    require_constant, unexpected_type,
};
use super::native::{Args, Returns, call, from_arrow};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

mod generator;

use generator::{Generator, Twister, XorShift};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("rand([seed])", "A random number from 0 to below 1 for each row", "", |c| number(c, XorShift::double)),
    scalar("random([seed])", "As `rand`", "", |c| number(c, XorShift::double)),
    scalar("randn([seed])", "A random number of the standard normal distribution for each row", "", |c| number(c, XorShift::gaussian)),
    scalar("uniform(low, high[, seed])", "A random number between two constants for each row", "uniform(5, 5) → 5", uniform),
    scalar("randstr(length[, seed])", "A random text of letters and digits for each row", "length(randstr(5)) → 5", randstr),
    scalar("uuid([seed])", "A random UUID for each row", "length(uuid()) → 36", uuid),
    scalar("shuffle(array[, seed])", "The elements in random order", "sort_array(shuffle(array(2, 1))) → [1, 2]", shuffle),
];

/// The name of a function in `expr` that gives each row something else.
pub(super) fn random_function(expr: &Expr) -> Option<String> {
    let mut found = None;
    expr.exists(|node| {
        found = random_call(node).map(str::to_owned);
        Ok(found.is_some())
    })
    .ok()?;
    found
}

/// The name of the function if `node` is a call that gives each row something else.
pub(in super::super) fn random_call(node: &Expr) -> Option<&str> {
    let Expr::ScalarFunction(call) = node else { return None };
    // A seed is part of the name.
    let name = call.name().split('[').next()?;
    FUNCTIONS.iter().any(|function| function.name == name).then_some(name)
}

/// Stands among the arguments of a call in whose body the function `name` draws, and draws nothing itself.
pub(super) fn elsewhere(name: &str) -> Expr {
    let nothing = Returns::random(DataType::Boolean, true);
    call(&format!("{name}[elsewhere]"), Vec::new(), nothing, |a| Ok(new_null_array(&DataType::Boolean, a.rows()))).expr
}

/// A place in a query that draws random values: from record batch to record batch it goes on, and with each run of a batch it begins
/// anew.
struct Site<G> {
    seed: Option<i64>,
    /// What it draws from, and in which run.
    drawing: Mutex<Option<(u64, G)>>,
}

impl<G: Generator> Site<G> {
    fn new(seed: Option<i64>) -> Self {
        Self { seed, drawing: Mutex::default() }
    }

    fn draw<T>(&self, a: &Args<'_>, with: impl FnOnce(&mut G) -> Result<T>) -> Result<T> {
        let (run, _) = a.running()?;
        let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        if drawing.as_ref().is_none_or(|(begun, _)| *begun != run) {
            let seed = self.seed.map_or_else(|| a.next_seed().map(|seed| seed as i64), Ok)?;
            *drawing = Some((run, G::new(seed)));
        }
        let (_, generator) = drawing.as_mut().ok_or_else(|| Error::internal("a generator was just made"))?;
        with(generator)
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

fn number(mut c: Call<'_>, draw: fn(&mut XorShift) -> f64) -> Result<Typed> {
    arity(&c, 0, 1)?;
    let given = c.args.pop();
    let seed = seed(&c, 0, given)?;
    let name = seed.map_or_else(|| c.name.to_owned(), |seed| format!("{}[{seed}]", c.name));
    Ok(drawn(&name, seed, draw))
}

/// A number for each row.
fn drawn(name: &str, seed: Option<i64>, draw: fn(&mut XorShift) -> f64) -> Typed {
    let site = Site::new(seed);
    call(name, Vec::new(), Returns::random(DataType::Float64, false), move |a| {
        site.draw(a, |random| a.primitive::<Float64Type>(|_| Some(draw(random))))
    })
}

/// The seed of `uuid` and `shuffle`; with a null it is as if there were none.
fn seed_or_none(c: &Call<'_>, arg: Option<Typed>) -> Result<Option<i64>> {
    match arg.as_ref().map(constant).transpose()?.flatten() {
        Some(ScalarValue::Int32(Some(seed))) => Ok(Some(seed.into())),
        Some(ScalarValue::Int64(Some(seed))) => Ok(Some(seed)),
        Some(ScalarValue::Null) => Ok(None),
        None if arg.is_none() => Ok(None),
        _ => {
            let message = format!("the seed of `{}` must be a constant INT or BIGINT", c.name);
            Err(Error::spark(ErrorKind::Config, "INVALID_PARAMETER_VALUE.LONG", message))
        }
    }
}

/// `shuffle(array[, seed])`.
fn shuffle(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let seed = seed_or_none(&c, given)?;
    let list = c.args.remove(0);
    let list = coerce_one(&c, 0, list, &Want::Array)?;
    let returns = Returns::random(list.data_type.clone(), list.nullable);
    let name = seed.map_or_else(|| "shuffle".to_owned(), |seed| format!("shuffle[{seed}]"));
    let site = Site::<Twister>::new(seed);
    Ok(call(&name, vec![list], returns, move |a| {
        let array = a.expanded(0)?;
        let lists = array.as_list::<i32>();
        let mut order: Vec<u32> = (0..lists.values().len() as u32).collect();
        site.draw(a, |random| {
            for (row, bounds) in lists.offsets().windows(2).enumerate() {
                if lists.is_valid(row) {
                    random.shuffle(&mut order[bounds[0] as usize..bounds[1] as usize], bounds[0] as u32);
                }
            }
            Ok(())
        })?;
        let values = arrow::compute::take(lists.values(), &UInt32Array::from(order), None).map_err(from_arrow)?;
        let DataType::List(field) = lists.data_type() else { return Err(Error::internal("a list is a list")) };
        let lists = ListArray::new(Arc::clone(field), lists.offsets().clone(), values, lists.nulls().cloned());
        Ok(Arc::new(lists))
    }))
}

/// The seed of `uniform` and `randstr`; a null is a 0.
fn strict_seed(c: &Call<'_>, index: usize, arg: Option<Typed>) -> Result<Option<i64>> {
    const WHOLE: Want = Want::OneOf(&[Want::Int, Want::Long]);
    let Some(arg) = arg else { return Ok(None) };
    if arg.data_type == DataType::Null {
        return Ok(Some(0));
    }
    let arg = expect_one(c, index, arg, &WHOLE)?;
    Ok(match require_constant(c, "seed", &arg)? {
        ScalarValue::Int32(seed) => Some(seed.unwrap_or(0).into()),
        ScalarValue::Int64(seed) => Some(seed.unwrap_or(0)),
        _ => Some(0),
    })
}

/// The type of `uniform`: whole numbers give way to others, and the one with more room before the point wins.
fn uniform_type(low: &DataType, high: &DataType) -> DataType {
    use DataType::{Decimal128, Float32, Float64};
    match (low, high) {
        (a, b) if is_integral(a) && is_integral(b) => {
            if a.primitive_width() > b.primitive_width() {
                a
            } else {
                b
            }
        }
        (a, b) if is_integral(b) => a,
        (a, b) if is_integral(a) => b,
        (Float64, _) | (_, Float64) => &Float64,
        (Float32, _) | (_, Float32) => &Float32,
        (Decimal128(p1, s1), Decimal128(p2, s2)) if i16::from(*p1) - i16::from(*s1) > i16::from(*p2) - i16::from(*s2) => low,
        (_, high) => high,
    }
    .clone()
}

/// `uniform(low, high[, seed])`: a DOUBLE between both, cast to their type.
fn uniform(mut c: Call<'_>) -> Result<Typed> {
    arity(&c, 2, 3)?;
    let given = (c.args.len() == 3).then(|| c.args.remove(2));
    let seed = strict_seed(&c, 2, given)?;
    let mut bounds = Vec::with_capacity(2);
    let mut types = Vec::with_capacity(2);
    for (index, arg) in std::mem::take(&mut c.args).into_iter().enumerate() {
        if arg.data_type == DataType::Null {
            continue;
        }
        if !is_numeric(&arg.data_type) {
            return Err(unexpected_type(&c, index, &arg.data_type, &Want::Numeric));
        }
        require_constant(&c, if index == 0 { "min" } else { "max" }, &arg)?;
        types.push(arg.data_type.clone());
        if let ScalarValue::Float64(Some(bound)) = require_constant(&c, "bound", &convert(&c, arg, &DataType::Float64)?)? {
            bounds.push(bound);
        }
    }
    let [low_type, high_type] = types.as_slice() else { return null_of(DataType::Float64) };
    let data_type = uniform_type(low_type, high_type);
    let [low, high] = bounds.as_slice() else { return null_of(data_type) };
    let name = format!("uniform[{data_type}|{low:?}|{high:?}|{seed:?}]");
    let drawn = drawn(&name, seed, XorShift::double);
    let between = Typed { expr: lit(*low) + lit(high - low) * drawn.expr, ..drawn };
    convert(&c, between, &data_type)
}

/// `randstr(length[, seed])`.
fn randstr(mut c: Call<'_>) -> Result<Typed> {
    const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    arity(&c, 1, 2)?;
    let given = (c.args.len() == 2).then(|| c.args.remove(1));
    let seed = strict_seed(&c, 1, given)?;
    let length = c.args.remove(0);
    if length.data_type == DataType::Null {
        return Ok(literal(ScalarValue::from("")));
    }
    let length = coerce_one(&c, 0, length, &Want::Int)?;
    let ScalarValue::Int32(length) = require_constant(&c, "length", &length)? else {
        return Err(Error::internal("the length of `randstr` is an INT"));
    };
    let Ok(length) = usize::try_from(length.unwrap_or(0)) else {
        return Err(mismatch("VALUE_OUT_OF_RANGE", "the `length` of `randstr` must not be negative"));
    };
    let site = Site::<XorShift>::new(seed);
    Ok(call(&format!("randstr[{length}|{seed:?}]"), Vec::new(), Returns::random(DataType::Utf8, false), move |a| {
        super::native::within_column(length.saturating_mul(a.rows()))?;
        site.draw(a, |random| {
            a.strings(|_, out| {
                out.extend((0..length).map(|_| char::from(LETTERS[(random.int() % 62).unsigned_abs() as usize])));
                Some(())
            })
        })
    }))
}

/// A random version-4 UUID per row.
fn uuid(mut c: Call<'_>) -> Result<Typed> {
    use std::fmt::Write;
    arity(&c, 0, 1)?;
    let given = c.args.pop();
    let seed = seed_or_none(&c, given)?;
    let name = seed.map_or_else(|| "uuid".to_owned(), |seed| format!("uuid[{seed}]"));
    let site = Site::<Twister>::new(seed);
    Ok(call(&name, Vec::new(), Returns::random(DataType::Utf8, false), move |a| {
        site.draw(a, |random| {
            a.strings(|_, out| {
                let bits = u128::from(random.long()) << 64 | u128::from(random.long());
                write!(out, "{}", uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().hyphenated()).ok()
            })
        })
    }))
}
