//! What listens for HTTP: `service` of the file, and the source `http`; their tokens and certificates.

use ipnet::IpNet;

use super::problem::Problems;
use super::scalar::Scalar;
use super::settings::Kind;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::Table;
use super::spec::{HttpSource, ServiceSpec, TlsSpec};
use super::tables::{ANY_SIZE, MAX_BYTES_DOC, MAX_ROWS, plain, setting};
use super::text::Text;
use super::values::Values;
use crate::source::http::check_path;

pub(super) static HTTP_SOURCE: Table = plain(
    "Source `http`",
    "Lines that clients POST, answered once they are durable in an ingest log under the checkpoint.",
    &[
        setting("listen", Kind::Address, Required, "Address to listen on, as `host:port`; port 0 takes a free one."),
        setting("path", Kind::Text, Required, "Where requests go, such as `/transactions`; any other path is answered 404."),
        setting(
            "token",
            Kind::Values,
            Optional,
            "What a request must show as `Authorization: Bearer …`, of 22 characters or more: better a reference than in the file; a \
             list while one replaces another. Without it only loopback addresses are listened on.",
        ),
        setting("tls", Kind::Table(&TLS), Optional, "Encryption; an address beyond loopback needs it beside a token."),
        setting(
            "allow_from",
            Kind::Networks,
            Optional,
            "Networks that clients may come from (`10.0.0.0/8`, `192.168.1.7`). Default: any.",
        ),
        setting(
            "max_request",
            Kind::Size { min: 1 << 10, max: 64 << 20 },
            Default("8 MiB"),
            "Bytes of one request at most, unpacked and as it is sent; a larger one is answered 413.",
        ),
        MAX_ROWS,
        setting("max_bytes_per_trigger", ANY_SIZE, Default("64 MiB"), MAX_BYTES_DOC),
    ],
);

pub(super) static SERVICE: Table = plain(
    "Service",
    "`service`: who may look at the process and control it over HTTP (`--http`, `--metrics`).",
    &[
        setting(
            "token",
            Kind::Values,
            Optional,
            "What lets a request do everything, shown as `Authorization: Bearer …`, of 22 characters or more: better a reference than \
             in the file; a list while one replaces another. Without any token only loopback addresses are listened on.",
        ),
        setting("read_token", Kind::Values, Optional, "The same, to see everything and change nothing."),
        setting(
            "metrics_token",
            Kind::Values,
            Optional,
            "The same, to read `/metrics` only. With it `--metrics`, which is never encrypted, asks for a token, too: any of the three.",
        ),
        setting("tls", Kind::Table(&TLS), Optional, "Encryption; beyond loopback `--http` needs it beside a token."),
        setting(
            "i_know_insecure",
            Kind::Bool,
            Default("false"),
            "Lets `--http` and sources `http` listen beyond loopback with a token but without `tls`, although tokens and all rows cross \
             the network in clear. `--i-know-insecure` is the same.",
        ),
        setting("show_rows", Kind::Bool, Default("true"), "Whether the page shows rows of results and malformed lines."),
    ],
);

static TLS: Table = plain(
    "Encryption of what listens",
    "`service.tls`, and `tls` of a source `http`: what `--http` and the source are encrypted with. Changed files are read again \
     within seconds.",
    &[
        setting(
            "certificate",
            Kind::Path,
            Required,
            "File with the certificate, PEM, and behind it those that it was signed by.",
        ),
        setting("key", Kind::Path, Required, "File with its key, PEM."),
        setting(
            "client_ca",
            Kind::Path,
            Optional,
            "File with certificates, PEM: a client must show one that was signed by one of them. Default: none is asked for.",
        ),
    ],
);

/// The source `http`.
pub(super) fn http_source(values: &Values, is_insecure: bool, problems: &mut Problems) -> Option<HttpSource> {
    let (tokens, tls) = (tokens("token", values, problems), tls(values));
    let path = values.word("path")?;
    if let Err(expected) = check_path(&path) {
        problems.add(values.place_of("path"), values.about("path", expected));
    }
    let listen = values.address("listen")?;
    // A name is looked up when the source is opened, which checks again.
    if let Ok(address) = listen.host().parse::<std::net::IpAddr>() {
        let missing = match (tokens.is_empty(), &tls) {
            (true, _) => Some("beyond loopback a token is needed"),
            (false, Some(None)) if !is_insecure => Some(
                "beyond loopback tls is needed, or the token and all rows would cross the network in clear (accept that with \
                 --i-know-insecure)",
            ),
            _ => None,
        };
        if let Some(missing) = missing.filter(|_| !address.to_canonical().is_loopback()) {
            problems.add(values.place_of("listen"), values.about("listen", missing));
        }
    }
    Some(HttpSource {
        listen,
        path,
        tokens,
        tls: tls?,
        is_insecure,
        allow_from: networks("allow_from", values),
        request_bytes_max: usize::try_from(values.count("max_request")?).expect("the declared bound fits"),
    })
}

/// Networks, or one.
pub(super) fn networks(name: &str, values: &Values) -> Vec<IpNet> {
    values.scalars(name).iter().filter_map(|scalar| if let Scalar::Network(net) = scalar { Some(*net) } else { None }).collect()
}

/// `service`.
pub(super) fn service(values: &Values, problems: &mut Problems) -> Option<ServiceSpec> {
    Some(ServiceSpec {
        tokens: tokens("token", values, problems),
        read_tokens: tokens("read_token", values, problems),
        metrics_tokens: tokens("metrics_token", values, problems),
        tls: tls(values)?,
        is_insecure: values.bool("i_know_insecure")?,
        show_rows: values.bool("show_rows")?,
    })
}

/// What a request must show one of.
fn tokens(name: &str, values: &Values, problems: &mut Problems) -> Vec<Text> {
    let tokens =
        values.scalars(name).iter().filter_map(|scalar| if let Scalar::Text(text) = scalar { Some(text.clone()) } else { None });
    // What is written out in the file is no less a secret.
    let hide = |token: Text| if token.is_secret() { token } else { Text::secret(token.expose(), "(secret)") };
    let tokens: Vec<Text> = tokens.map(hide).collect();
    if let Some(message) = tokens.iter().find_map(|token| crate::service::check_token(token.expose()).err()) {
        problems.add(values.place_of(name), values.about(name, message));
    }
    tokens
}

/// What to encrypt with; `None` when something about it is wrong.
fn tls(values: &Values) -> Option<Option<TlsSpec>> {
    let Some(tls) = values.map("tls") else { return Some(None) };
    Some(Some(TlsSpec { certificate: tls.path("certificate")?, key: tls.path("key")?, client_ca: tls.path("client_ca") }))
}
