//! What a browser may have been made to send by a page of another site.
//!
//! A browser on this machine sends requests wherever a page of any site tells it to. Such a page can make a name of its own stand for
//! `127.0.0.1` (DNS rebinding), which the `Host` of the request gives away, or send a request without being able to read the answer
//! (CSRF), which its `Origin` gives away; and a request that changes something must carry what a browser does not send to another
//! site without asking it first. There are no cookies, and no other site is ever allowed anything.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header};

/// A header that only a page of our own can send, as another site's would have to ask first.
const OWN_HEADER: &str = "x-tidemill";

/// Why a request may be another site's.
pub(super) fn unmeant(method: &Method, headers: &HeaderMap, has_token: bool) -> Option<&'static str> {
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if let Some(why) = of_another_site(headers, changes, has_token) {
        return Some(why);
    }
    let is_json = text(headers, &header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or("").trim() == "application/json");
    if changes && !is_json && !headers.contains_key(OWN_HEADER) {
        return Some("a request that changes something needs Content-Type: application/json or a header X-Tidemill");
    }
    None
}

/// Why a request may be another site's, by what browsers say about every request.
pub(super) fn of_another_site(headers: &HeaderMap, changes: bool, has_token: bool) -> Option<&'static str> {
    let host = text(headers, &header::HOST);
    // A token is nothing that a browser sends by itself, so behind a proxy any name is good.
    if !has_token && !host.is_some_and(is_loopback) {
        return Some("the request is for another host: use localhost or 127.0.0.1");
    }
    if let Some(origin) = text(headers, &header::ORIGIN) {
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if site.is_none() || site != host {
            return Some("the request comes from another site");
        }
    }
    let from = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    if changes && from.is_some_and(|from| !matches!(from, "same-origin" | "none")) {
        return Some("the request comes from another site");
    }
    None
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether `host` (perhaps with a port) names this machine whatever a name server says.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn requests_that_another_site_may_have_made_are_known_by_their_headers() {
        let check = |method: Method, given: &[(&'static str, &str)]| unmeant(&method, &headers(given), false).is_none();
        for host in ["localhost", "LOCALHOST:4040", "127.0.0.1:4040", "127.9.9.9", "[::1]:4040"] {
            assert!(check(Method::GET, &[("host", host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:4040", "10.0.0.1", "[::2]", ""] {
            assert!(!check(Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!check(Method::GET, &[]));
        let own = ("x-tidemill", "1");
        let host = ("host", "localhost:4040");
        assert!(check(Method::POST, &[host, own]));
        assert!(check(Method::POST, &[host, ("content-type", "application/json; charset=utf-8")]));
        assert!(check(Method::POST, &[host, own, ("origin", "http://localhost:4040"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(Method::POST, &[host]));
        assert!(!check(Method::POST, &[host, ("content-type", "text/plain")]));
        for origin in ["http://evil.example", "null", "http://localhost:4041", "http://localhost", "file://", "localhost:4040"] {
            assert!(!check(Method::POST, &[host, own, ("origin", origin)]), "{origin}");
            assert!(!check(Method::GET, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!check(Method::POST, &[host, own, ("sec-fetch-site", "cross-site")]));
        assert!(!check(Method::POST, &[host, own, ("sec-fetch-site", "same-site")]));
    }
}
