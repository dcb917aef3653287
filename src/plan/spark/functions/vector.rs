//! Vectors: arrays of FLOAT of one length.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Array, ListArray};
use arrow::datatypes::{DataType, Float32Type};
use datafusion::scalar::ScalarValue;

use super::super::{Call, Typed};
use super::arguments::{Want, arity, array_of, data_error, expect_one, literal};
use super::collection::{list_of, ranges};
use super::native::{Args, Reader, Returns, call};
use super::{FunctionSpec, scalar};
use crate::error::Result;

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("vector_inner_product(a, b)", "Sum of the products, place by place; null if an item is", "vector_inner_product(array(1.0F, 2.0F, 3.0F), array(4.0F, 5.0F, 6.0F)) → 32.0", |c| of_two(c, inner_product)),
    scalar("vector_l2_distance(a, b)", "How far apart two points are; null if an item is", "vector_l2_distance(array(1.0F, 2.0F), array(4.0F, 6.0F)) → 5.0", |c| of_two(c, l2_distance)),
    scalar("vector_cosine_similarity(a, b)", "Cosine of the angle between them; null if an item is or a length is 0", "vector_cosine_similarity(array(1.0F, 0.0F), array(1.0F, 0.0F)) → 1.0", |c| of_two(c, cosine_similarity)),
    scalar("vector_norm(vector[, degree])", "Its length: the sum of absolute values for degree `1.0F`, the root of the squares' sum for `2.0F`, the greatest for `float('inf')`", "vector_norm(array(3.0F, 4.0F)) → 5.0", norm),
    scalar("vector_normalize(vector[, degree])", "The vector divided by its `vector_norm`; null if that is 0", "vector_normalize(array(3.0F, 4.0F)) → [0.6, 0.8]", normalize),
];

const VECTOR: Want = Want::ArrayOf(&Want::Float);

/// Spark adds products in groups of so many before it adds them to the sum, which shows in the last digits.
const GROUP: usize = 8;

/// The sum of `term` over `range`.
fn sum(range: Range<usize>, term: impl Fn(usize) -> f64) -> f64 {
    let (mut total, mut place) = (0.0, range.start);
    while place + GROUP <= range.end {
        total += (place + 1..place + GROUP).fold(term(place), |sum, i| sum + term(i));
        place += GROUP;
    }
    (place..range.end).fold(total, |total, i| total + term(i))
}

/// Two vectors of one length.
struct Pair<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Pair<'_> {
    fn sum(&self, term: impl Fn(f64, f64) -> f64) -> f64 {
        sum(0..self.a.len(), |i| term(f64::from(self.a[i]), f64::from(self.b[i])))
    }
}

fn inner_product(pair: &Pair<'_>) -> Option<f32> {
    Some(pair.sum(|a, b| a * b) as f32)
}

fn l2_distance(pair: &Pair<'_>) -> Option<f32> {
    Some(pair.sum(|a, b| (a - b) * (a - b)).sqrt() as f32)
}

fn cosine_similarity(pair: &Pair<'_>) -> Option<f32> {
    let lengths = (pair.sum(|a, _| a * a) * pair.sum(|_, b| b * b)).sqrt();
    if lengths == 0.0 { None } else { Some((pair.sum(|a, b| a * b) / lengths) as f32) }
}

/// Vectors by row.
struct Vectors<'a> {
    lists: Reader<'a, ListArray>,
    items: &'a Float32Array,
}

impl<'a> Vectors<'a> {
    fn of(a: &Args<'a>, index: usize) -> Result<Self> {
        let lists = a.column::<ListArray>(index)?;
        let items = lists.array().values().as_primitive::<Float32Type>();
        Ok(Self { lists, items })
    }

    /// A row's items, and whether one is null.
    fn get(&self, row: usize) -> Option<(&'a [f32], bool)> {
        let range = ranges(&self.lists, row)?;
        let has_null = self.items.nulls().is_some_and(|nulls| nulls.slice(range.start, range.len()).null_count() > 0);
        Some((&self.items.values()[range], has_null))
    }
}

/// `ARRAY<FLOAT>`, `ARRAY<FLOAT>` → FLOAT.
fn of_two(mut c: Call<'_>, f: fn(&Pair<'_>) -> Option<f32>) -> Result<Typed> {
    arity(&c, 2, 2)?;
    let args = std::mem::take(&mut c.args);
    let args = args.into_iter().enumerate().map(|(i, arg)| expect_one(&c, i, arg, &VECTOR)).collect::<Result<Vec<_>>>()?;
    let name = c.name.to_owned();
    Ok(call(c.name, args, Returns::fallible(DataType::Float32, true), move |args| {
        let (a, b) = (Vectors::of(args, 0)?, Vectors::of(args, 1)?);
        args.try_primitive::<Float32Type>(|row| {
            let (Some((a, a_has_null)), Some((b, b_has_null))) = (a.get(row), b.get(row)) else { return Ok(None) };
            if a.len() != b.len() {
                let message = format!("vectors of {name} must have one dimension, but they have {} and {}", a.len(), b.len());
                return Err(data_error("VECTOR_DIMENSION_MISMATCH", message));
            }
            Ok(if a_has_null || b_has_null { None } else { f(&Pair { a, b }) })
        })
    }))
}

/// The vector and its norm's degree, 2 if it is not given.
fn vector_and_degree(c: &mut Call<'_>) -> Result<Vec<Typed>> {
    arity(c, 1, 2)?;
    if c.args.len() == 1 {
        c.args.push(literal(ScalarValue::Float32(Some(2.0))));
    }
    let (degree, vector) = (c.args.remove(1), c.args.remove(0));
    Ok(vec![expect_one(c, 0, vector, &VECTOR)?, expect_one(c, 1, degree, &Want::Float)?])
}

/// The norm of a vector without nulls.
fn norm_of(name: &str, vector: &[f32], degree: f32) -> Result<f64> {
    let item = |i: usize| f64::from(vector[i]);
    if degree == 1.0 {
        Ok(sum(0..vector.len(), |i| item(i).abs()))
    } else if degree == 2.0 {
        Ok(sum(0..vector.len(), |i| item(i) * item(i)).sqrt())
    } else if degree == f32::INFINITY {
        let greater = |most: f32, x: &f32| if x.is_nan() || x.abs() > most { x.abs() } else { most };
        Ok(f64::from(vector.iter().fold(0.0, greater)))
    } else {
        let message = format!("the degree of {name} must be 1.0, 2.0 or infinite, not {degree}");
        Err(data_error("INVALID_VECTOR_NORM_DEGREE", message))
    }
}

fn norm(mut c: Call<'_>) -> Result<Typed> {
    let args = vector_and_degree(&mut c)?;
    Ok(call("vector_norm", args, Returns::fallible(DataType::Float32, true), |args| {
        let (vectors, degrees) = (Vectors::of(args, 0)?, args.column::<Float32Array>(1)?);
        args.try_primitive::<Float32Type>(|row| {
            let (Some((vector, has_null)), Some(degree)) = (vectors.get(row), degrees.get(row)) else { return Ok(None) };
            let norm = norm_of("vector_norm", vector, degree)?;
            Ok((!has_null).then_some(norm as f32))
        })
    }))
}

fn normalize(mut c: Call<'_>) -> Result<Typed> {
    let args = vector_and_degree(&mut c)?;
    Ok(call("vector_normalize", args, Returns::fallible(array_of(DataType::Float32), true), |args| {
        let (vectors, degrees) = (Vectors::of(args, 0)?, args.column::<Float32Array>(1)?);
        let (mut items, mut offsets, mut valid) = (Vec::<f32>::new(), vec![0], Vec::new());
        for row in 0..args.rows() {
            let mut known = false;
            if let (Some((vector, has_null)), Some(degree)) = (vectors.get(row), degrees.get(row)) {
                let norm = norm_of("vector_normalize", vector, degree)?;
                known = !has_null && (norm != 0.0 || vector.is_empty());
                if known {
                    items.extend(vector.iter().map(|x| (f64::from(*x) / norm) as f32));
                }
            }
            valid.push(known);
            offsets.push(super::collection::end_of(items.len())?);
        }
        list_of(args.returns(), offsets, Arc::new(Float32Array::from(items)), Some(valid))
    }))
}
