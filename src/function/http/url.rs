//! The URL of a call. What an argument holds can fill a piece of the path or of the query, and never change where a call goes.

use std::net::IpAddr;

use arrow::datatypes::Fields;
use reqwest::Url;

use crate::function::arguments::{Arguments, Filling};
use crate::function::template::Template;
use crate::function::{CallError, CallErrorKind};

/// A URL with places for arguments.
#[derive(Debug)]
pub(super) struct UrlTemplate {
    url: Filling,
    /// Further parameters of the query; one that is nothing but a null is left out.
    query: Vec<(String, Filling)>,
    /// Scheme, host and port.
    origin: String,
    /// The host, if it is an address and no name.
    pub(super) address: Option<IpAddr>,
    /// What messages show: places and references as they were written, without the query.
    pub(super) shown: String,
}

/// A URL to be called.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    /// Without secrets and without the query.
    pub(super) shown: String,
}

impl UrlTemplate {
    pub(super) fn new(template: Template, query: Vec<(String, Template)>, args: &Fields) -> Result<Self, String> {
        let shown = without_query(&template.to_string()).to_owned();
        let start = template.start();
        let authority = start.split_once("://").map(|(_, rest)| rest);
        let fixed = authority.is_some_and(|rest| rest.contains(['/', '?']));
        if template.args().next().is_some() && !fixed {
            return Err("expected scheme, host and port in front of the first {argument}: arguments fill the path and the query"
                .to_owned());
        }
        let url = Filling::new(template, args)?;
        let example: String = url.parts().map(|part| part.map_or("x".to_owned(), |text| text.expose().to_owned())).collect();
        let checked = check(&example)?;
        let query = query.into_iter().map(|(name, value)| Ok((encoded(&name), Filling::new(value, args)?)));
        let query = query.collect::<Result<_, String>>()?;
        Ok(Self { url, query, origin: checked.origin().ascii_serialization(), address: address(&checked), shown })
    }

    /// The URL of a call.
    pub(super) fn fill(&self, args: &Arguments) -> Result<Target, CallError> {
        let (mut text, mut shown) = (String::new(), String::new());
        let mut in_path = true;
        for part in self.url.parts() {
            match part {
                Ok(piece) => {
                    in_path &= !piece.expose().contains('?');
                    text.push_str(piece.expose());
                    shown.push_str(piece.shown());
                }
                Err(place) => {
                    let value = args.text(place)?.ok_or_else(|| args.is_null(place, "the URL"))?;
                    if value.is_empty() && in_path {
                        return Err(args.unfit(place, "is empty, which would be another path of the URL"));
                    }
                    text.push_str(&encoded(&value));
                    shown.push_str(&encoded(&value));
                }
            }
        }
        for (name, value) in &self.query {
            let Some(value) = value.fill(args, "the query of the URL")? else { continue };
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(&format!("{name}={}", encoded(&value)));
        }
        let rejected = |message: String| CallError { attempts: 0, ..CallError::new(CallErrorKind::Rejected, message) };
        no_dots(&text).map_err(rejected)?;
        match Url::parse(&text) {
            Ok(url) if url.origin().ascii_serialization() == self.origin => {
                Ok(Target { url, shown: without_query(&shown).to_owned() })
            }
            _ => Err(rejected("the arguments do not make a URL of the same server".to_owned())),
        }
    }
}

/// Checks a URL as it was set up.
pub(in crate::function) fn check(text: &str) -> Result<Url, String> {
    let expected = "expected a URL such as https://host/path";
    let (scheme, rest) = text.split_once("://").ok_or(expected)?;
    if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err("expected a URL that begins with https:// or http://".to_owned());
    }
    if rest.starts_with(['/', '?']) || text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(expected.to_owned());
    }
    if text.contains('#') {
        return Err("expected a URL without a fragment (write %23 for a # in it)".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected a URL without user and password: set auth instead".to_owned());
    }
    no_dots(text)?;
    Ok(url)
}

/// The host of `url`, if it is an address and no name: then nobody resolves it.
pub(in crate::function) fn address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// A path with `.` or `..` in it names another one than it seems to.
fn no_dots(text: &str) -> Result<(), String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    match without_query(rest).split('/').any(dots) {
        true => Err("expected a URL without . and .. in its path".to_owned()),
        false => Ok(()),
    }
}

pub(super) fn without_query(text: &str) -> &str {
    text.split('?').next().unwrap_or(text)
}

/// `text` with everything but letters, digits and `-._~` as `%XX`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
