//! The live page: three files in the binary, which ask for everything they show.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::Service;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const CHARTS: &str = include_str!("charts.js");
const ICON: &str = include_str!("icon.svg");

/// The page and what belongs to it.
pub(super) fn routes() -> Router<Service> {
    let file = |kind: &'static str, text: &'static str| get(move || async move { ([(header::CONTENT_TYPE, kind)], text) });
    Router::new()
        .route("/", file("text/html; charset=utf-8", HTML))
        .route("/page.css", file("text/css; charset=utf-8", STYLE))
        .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/charts.js", file("text/javascript; charset=utf-8", CHARTS))
        .route("/icon.svg", file("image/svg+xml", ICON))
}
