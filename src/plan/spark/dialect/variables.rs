//! Variables of Spark's session in the text of a query.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::error::{Error, ErrorKind, Result};

/// `text` with nothing in place of `${name}`: Spark puts variables of its session there, wherever it stands, and here are none.
pub(super) fn replaced(text: &str) -> Result<Cow<'_, str>> {
    static VARIABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\{(?:(?-u:(\w+?)):)?(\S+?)\}").ok());
    let Some(variable) = VARIABLE.as_ref().filter(|_| text.contains("${")) else { return Ok(Cow::Borrowed(text)) };
    if let Some(found) = variable.captures_iter(text).find(|found| found.get(1).is_none() && found[2].starts_with("spark.")) {
        return Err(Error::spark(
            ErrorKind::Config,
            "UNSUPPORTED_FEATURE",
            format!("the setting of Spark {} is not supported", &found[0]),
        ));
    }
    Ok(variable.replace_all(text, |found: &regex::Captures<'_>| match found.get(1).map(|prefix| prefix.as_str()) {
        None | Some("spark" | "sparkconf" | "hivevar" | "hiveconf") => String::new(),
        Some(_) => found[0].to_owned(),
    }))
}
