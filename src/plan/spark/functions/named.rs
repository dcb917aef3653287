//! Arguments that are given by their parameters' names: `mask(s, otherChar => '*')`.

use arrow::datatypes::DataType;

use super::super::Typed;
use super::arguments::{null_of, text};
use crate::error::{Error, ErrorKind, Result};

/// Functions that take arguments by name, and their parameters.
const PARAMETERS: [(&str, &[&str]); 2] = [
    ("mask", &["str", "upperchar", "lowerchar", "digitchar", "otherchar"]),
    ("count_min_sketch", &["column", "epsilon", "confidence", "seed"]),
];

/// What a parameter has that is not given; `None` where it must be.
fn default_of(parameter: &str) -> Result<Option<Typed>> {
    Ok(Some(match parameter {
        "upperchar" => text("X"),
        "lowerchar" => text("x"),
        "digitchar" => text("n"),
        "otherchar" => null_of(DataType::Utf8)?,
        _ => return Ok(None),
    }))
}

/// Puts the arguments that are given by name behind those that are not; what is left out between them has its default.
///
/// # Errors
///
/// Spark's, where the function takes none by name, knows no such parameter, has it already, or needs another one.
pub(in super::super) fn place_named(function: &str, args: &mut Vec<Typed>, named: Vec<(&str, Typed)>) -> Result<()> {
    if named.is_empty() {
        return Ok(());
    }
    let refused = |condition: &'static str, what: &str, name: &str| {
        Error::spark(ErrorKind::Config, condition, format!("`{function}` {what} `{name}`"))
    };
    let Some((_, parameters)) = PARAMETERS.iter().find(|(known, _)| *known == function) else {
        return Err(refused("NAMED_PARAMETERS_NOT_SUPPORTED", "takes no arguments by name, such as", named[0].0));
    };
    let positional = args.len();
    let mut slots: Vec<Option<Typed>> = std::mem::take(args).into_iter().map(Some).collect();
    for (name, value) in named {
        let place = parameters.iter().position(|known| name.eq_ignore_ascii_case(known));
        let place = place.ok_or_else(|| refused("UNRECOGNIZED_PARAMETER_NAME", "has no parameter", name))?;
        slots.resize_with(slots.len().max(place + 1), || None);
        if slots[place].replace(value).is_some() {
            return Err(match place < positional {
                true => {
                    refused("DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT.BOTH_POSITIONAL_AND_NAMED", "has by its place already", name)
                }
                false => {
                    refused("DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT.DOUBLE_NAMED_ARGUMENT_REFERENCE", "is given twice", name)
                }
            });
        }
    }
    slots.resize_with(slots.len().max(parameters.len()), || None);
    for (place, slot) in slots.into_iter().enumerate() {
        let value = match slot {
            Some(value) => value,
            None => default_of(parameters[place])?
                .ok_or_else(|| refused("REQUIRED_PARAMETER_NOT_FOUND", "needs its parameter", parameters[place]))?,
        };
        args.push(value);
    }
    Ok(())
}
