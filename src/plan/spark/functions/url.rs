//! Parts of URLs, read by the grammar of Java's `URI`.

use arrow::array::StringArray;
use arrow::datatypes::DataType;

use super::super::{Call, Typed};
use super::arguments::{Want, arity, convert, data_error, expect_one};
use super::native::{Returns, call};
use super::regex::{Groups, Pattern};
use super::{FunctionSpec, scalar};
use crate::error::{Error, ErrorKind, Result};

/// The functions of this family.
#[rustfmt::skip]
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    scalar("parse_url(url, part[, key])", "HOST, PATH, QUERY (of it the value of `key`), REF, PROTOCOL, FILE, AUTHORITY or USERINFO; an error where it is no URL", "parse_url('http://h.x/p?q=1#f', 'QUERY', 'q') → 1", |c| parse_url(c, false)),
    scalar("try_parse_url(url, part[, key])", "As `parse_url`, null where it is no URL", "try_parse_url('a b', 'HOST') → NULL", |c| parse_url(c, true)),
];

/// A URL in its parts, none of them decoded.
#[derive(Debug, Default)]
struct Url<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    user: Option<&'a str>,
    host: Option<&'a str>,
    /// None in `mailto:` and its like.
    path: Option<&'a str>,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

const PATH: &str = ";/:@&=+$,";
const ANY: &str = ";/?:@&=+$,[]";
const USER: &str = ";:&=+$,";
const REGISTERED: &str = "$,;:@&=+";
/// Letters and digits aside, what may stand anywhere.
const UNRESERVED: &str = "-_.!~*'()";

/// Whether every character is a letter, digit, escape, one of `allowed`, or beyond ASCII.
fn consists_of(text: &str, allowed: &str) -> bool {
    let bytes = text.as_bytes();
    text.char_indices().all(|(at, char)| match char {
        '%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ if char.is_ascii() => char.is_ascii_alphanumeric() || UNRESERVED.contains(char) || allowed.contains(char),
        other => !other.is_control() && !other.is_whitespace(),
    })
}

/// `text` up to the first of `ends`, and from there on.
fn until<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut url = Self::default();
        let mut rest = text;
        let (scheme, behind) = until(text, &['/', '?', '#', ':']);
        if let Some(behind) = behind.strip_prefix(':') {
            let legal = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
            if !legal {
                return None;
            }
            url.scheme = Some(scheme);
            rest = behind;
            if !rest.starts_with('/') {
                let (opaque, behind) = until(rest, &['#']);
                url.fragment = behind.strip_prefix('#');
                let legal = !opaque.is_empty() && consists_of(opaque, ANY) && url.fragment.is_none_or(|f| consists_of(f, ANY));
                return legal.then_some(url);
            }
        }
        if let Some(behind) = rest.strip_prefix("//") {
            let (authority, behind) = until(behind, &['/', '?', '#']);
            if authority.is_empty() {
                // Nothing is an authority only in front of something.
                if behind.is_empty() {
                    return None;
                }
            } else {
                url.authority(authority)?;
            }
            rest = behind;
        }
        let (path, behind) = until(rest, &['?', '#']);
        url.path = Some(path).filter(|path| consists_of(path, PATH));
        url.path?;
        let (query, behind) = until(behind, &['#']);
        url.query = query.strip_prefix('?');
        url.fragment = behind.strip_prefix('#');
        [url.query, url.fragment].into_iter().flatten().all(|part| consists_of(part, ANY)).then_some(url)
    }

    /// A server, or a name of any other kind, which has neither host nor user.
    fn authority(&mut self, text: &'a str) -> Option<()> {
        self.authority = Some(text);
        let (user, server) = match text.split_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, text),
        };
        if let Some(host) = host(server)
            && user.is_none_or(|user| consists_of(user, USER))
        {
            (self.user, self.host) = (user, Some(host));
            return Some(());
        }
        consists_of(text, REGISTERED).then_some(())
    }

    fn part(&self, name: &str) -> Option<&'a str> {
        match name {
            "HOST" => self.host,
            "PATH" => self.path,
            "QUERY" => self.query,
            "REF" => self.fragment,
            "PROTOCOL" => self.scheme,
            "AUTHORITY" => self.authority,
            "USERINFO" => self.user,
            _ => None,
        }
    }
}

/// The host of `host[:port]`, if both are what they should be.
fn host(server: &str) -> Option<&str> {
    let at = match server.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']')?;
            let address = inside[..end].split('%').next()?;
            address.parse::<core::net::Ipv6Addr>().ok()?;
            end + 2
        }
        None => server.find(':').unwrap_or(server.len()),
    };
    let (host, port) = server.split_at(at);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.is_empty() || is_number(port));
    let is_host = host.starts_with('[') || is_ipv4(host) || is_name(host);
    (is_port && is_host).then_some(host)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i32>().is_ok()
}

fn is_ipv4(text: &str) -> bool {
    text.split('.').count() == 4 && text.split('.').all(|part| is_number(part) && part.parse::<u8>().is_ok())
}

/// Labels between dots; the last of several begins with a letter.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    text.split('.').all(is_label) && (last.len() == text.len() || last.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// The value of a key in a query. The key is a regular expression to Spark; most are plain words.
struct Key<'a> {
    written: &'a str,
    pattern: Option<Pattern>,
}

impl<'a> Key<'a> {
    fn new(written: &'a str) -> Result<Self> {
        let plain = written.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let pattern = if plain {
            None
        } else {
            let pattern = Pattern::compile(&format!("(&|^){written}=([^&]*)"), "parse_url");
            Some(pattern.map_err(|e| {
                Error::new(ErrorKind::Data, format!("the key '{written}' is not a regular expression: {}", e.chain()))
            })?)
        };
        Ok(Self { written, pattern })
    }

    fn find<'q>(&self, query: &'q str) -> Result<Option<&'q str>> {
        match &self.pattern {
            None => Ok(query.split('&').find_map(|member| member.strip_prefix(self.written)?.strip_prefix('='))),
            Some(pattern) => {
                let mut groups = Groups::default();
                let found = pattern.captures(query, 0, &mut groups)?;
                Ok(found.and_then(|_| groups.get(2)).map(|(start, end)| &query[start..end]))
            }
        }
    }
}

fn parse_url(mut c: Call<'_>, lenient: bool) -> Result<Typed> {
    arity(&c, 2, 3)?;
    let args = std::mem::take(&mut c.args);
    let args = args
        .into_iter()
        .enumerate()
        .map(|(index, arg)| {
            if arg.data_type == DataType::Null {
                convert(&c, arg, &DataType::Utf8)
            } else {
                expect_one(&c, index, arg, &Want::Text)
            }
        })
        .collect::<Result<Vec<_>>>()?;
    let returns = Returns::fallible_if(!lenient || args.len() == 3, DataType::Utf8, true);
    Ok(call(c.name, args, returns, move |a| {
        let (urls, parts) = (a.column::<StringArray>(0)?, a.column::<StringArray>(1)?);
        let keys = if a.count() == 3 { Some(a.column::<StringArray>(2)?) } else { None };
        let mut known: Option<Key<'_>> = None;
        a.try_strings(|row, out| {
            let (Some(url), Some(part)) = (urls.get(row), parts.get(row)) else { return Ok(None) };
            let key = keys.as_ref().map(|keys| keys.get(row));
            if key.is_some_and(|key| key.is_none() || part != "QUERY") {
                return Ok(None);
            }
            let Some(url) = Url::parse(url) else {
                let why = || data_error("INVALID_URL", format!("'{url}' is not a URL; try_parse_url gives null for it"));
                return if lenient { Ok(None) } else { Err(why()) };
            };
            if part == "FILE" {
                let Some(path) = url.path else { return Ok(None) };
                out.push_str(path);
                if let Some(query) = url.query {
                    out.push('?');
                    out.push_str(query);
                }
                return Ok(Some(()));
            }
            let mut found = url.part(part);
            if let (Some(query), Some(Some(key))) = (found, key) {
                if known.as_ref().is_none_or(|known| known.written != key) {
                    known = Some(Key::new(key)?);
                }
                found = match &known {
                    Some(key) => key.find(query)?,
                    None => None,
                };
            }
            Ok(found.map(|found| out.push_str(found)))
        })
    }))
}
