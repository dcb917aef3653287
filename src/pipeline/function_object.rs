//! Settings of functions that fetch objects.

use super::connections::Connections;
use super::function::{Around, fits};
use super::objects::{CONNECTION, store};
use super::problem::Problems;
use super::settings::Presence::{Optional, Required};
use super::settings::{Kind, Table};
use super::tables::{plain, setting};
use super::values::Values;
use crate::function::object::{ObjectSettings, Objects, function as object_function};
use crate::function::{CallSettings, Function, Signature};

/// A function that fetches objects.
pub(super) static OBJECT: Table = plain(
    "Function `object`",
    "`functions.<name>.object`: an object for each row, from S3 or a folder. It returns its content, as a BINARY or a STRING, or fields: \
     `content`, `size BIGINT` of the whole object, `etag STRING`, `modified TIMESTAMP`.",
    &[
        CONNECTION,
        setting(
            "path",
            Kind::Template,
            Required,
            "The object's key, or the file's path, such as `pictures/{path}`. A piece of it cannot be empty, `.` or `..`.",
        ),
        setting(
            "range",
            Kind::Template,
            Optional,
            "Which bytes: `0-1023`, `1024-` for all from there on, `-512` for the last ones. Default, and where it is null: all.",
        ),
    ],
);

/// What is set under `object`.
pub(super) fn settings(values: &Values, connections: &Connections, problems: &mut Problems) -> Option<(ObjectSettings, Objects)> {
    let store = store(values, connections, problems);
    let range = values.template("range");
    if range.is_none() && values.is_given("range") {
        return None;
    }
    Some((ObjectSettings { path: values.template("path")?, range }, store?))
}

/// The function, or what is wrong with how its settings go together.
pub(super) fn function(
    declaration: &Values,
    signature: Signature,
    (settings, store): &(ObjectSettings, Objects),
    calls: CallSettings,
    around: &Around<'_>,
    problems: &mut Problems,
) -> Option<Function> {
    let (_, values) = declaration.branch.as_ref()?;
    fits(declaration, values, &settings.mistakes(&signature), problems)?;
    let built = object_function(signature, settings, store, calls, around.http.time_zone.clone(), around.process.clone());
    built.map_err(|error| problems.add(&declaration.place, declaration.about("", &error.chain()))).ok()
}
