//! Settings of HTTP functions.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::function::fits;
use super::problem::Problems;
use super::scalar::Scalar;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Branch, Kind, Setting, Table};
use super::tables::{ANY_DURATION, plain, setting};
use super::text::Text;
use super::values::Values;
use crate::function::http::{
    AddressRules, AnswerSettings, AuthSettings, ConnectionSettings, Grant, HttpSettings, OAuth2Settings, Shared, Statuses, Step,
    function as http_function,
};
use crate::function::policy::Budget;
use crate::function::{CallSettings, Function, Signature};

const ANSWER: &str = "a map from fields to JSON pointers, such as { score: /data/score }, one pointer, text or envelope";
const STEPS: &[&str] = &["retry", "rate_limit", "breaker", "headers", "body", "auth", "logging", "timing"];
/// Attempts to fetch a token, and the first pause between them.
const TOKEN_ATTEMPTS: u32 = 5;
const TOKEN_PAUSE: Duration = Duration::from_secs(1);

/// An HTTP function.
pub(super) static HTTP: Table = plain(
    "Function `http`",
    "`functions.<name>.http`: a request for each row. In `url`, `query`, `headers` and `body` stands `{argument}` for an argument, \
     `{$request_id}` for the name of the call, which is the same when a batch runs again, and `{{` and `}}` for braces.",
    &[
        setting(
            "method",
            Kind::Choice(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            Optional,
            "The method. Default: `POST` with a body, `GET` without.",
        ),
        setting(
            "url",
            Kind::Template,
            Required,
            "Where to. Arguments fill pieces of the path and of the query, percent-encoded; scheme, host and port are fixed.",
        ),
        setting(
            "query",
            Kind::Templates,
            Optional,
            "Further parameters of the query; one that is a null argument alone is left out.",
        ),
        setting("headers", Kind::Templates, Optional, "Headers; one that is a null argument alone is left out."),
        setting(
            "body",
            Kind::Json { places: true },
            Optional,
            "The JSON body. A text that is `{argument}` alone becomes its value as `to_json` writes it, other texts hold it as text.",
        ),
        setting(
            "answer",
            Kind::Tree(ANSWER),
            Optional,
            "Where what is returned is found: JSON pointers (`/data/score`) by field, or one for a single value; `text` for the whole answer \
             as a STRING; `$name`, or `envelope` for all fields, for what is known of the call. Default: fields under their own names, a \
             single value as the whole answer. What is missing is null.",
        ),
        setting(
            "rows",
            Kind::Text,
            Optional,
            "JSON pointer to the array whose items are the rows, with `returns: TABLE (…)`. Default: the whole answer.",
        ),
        setting("success", Kind::Statuses, Optional, "Statuses of an answer. Default: all below 400."),
        setting(
            "retry_on",
            Kind::Statuses,
            Optional,
            "Statuses after which another attempt may help. Default: 429, 500, 502, 503 and 504.",
        ),
        setting("auth", Kind::Table(&AUTH), Optional, "Who we are. Default: `none`."),
        TLS_SETTING,
        ALLOW_ADDRESSES,
        CONNECT_TIMEOUT,
        setting(
            "middleware",
            Kind::Choices(STEPS),
            Optional,
            "What a request goes through, from the outside in. What is not named does not happen, and must not be set. Default: `retry`, \
             `rate_limit`, `breaker`, `headers`, `body`, `auth`, `logging`, `timing`.",
        ),
    ],
);

pub(super) const TLS_SETTING: Setting =
    setting("tls", Kind::Table(&TLS), Optional, "Certificates. Default: the system's, and none of our own.");
pub(super) const ALLOW_ADDRESSES: Setting = setting(
    "allow_addresses",
    Kind::Networks,
    Optional,
    "Networks beside the public internet that may be called (`10.0.0.0/8`, `127.0.0.1`). Default: none.",
);
pub(super) const CONNECT_TIMEOUT: Setting =
    setting("connect_timeout", ANY_DURATION, Optional, "How long a connection may take. Default: as long as the attempt.");

/// Files of certificates, where a server has one and may ask for ours.
pub(super) static CERTIFICATES: [Setting; 3] = [
    setting(
        "ca",
        Kind::Path,
        Optional,
        "File with the certificates (PEM) that the server's must be signed by. Default: the system's.",
    ),
    setting("certificate", Kind::Path, Optional, "File with our own certificate, PEM."),
    setting("key", Kind::Path, Optional, "File with its key, PEM."),
];

static TLS: Table =
    plain("Encryption to an HTTP API", "`functions.<name>.http.tls`, and `tls` of a connection `s3`.", &CERTIFICATES);

static AUTH: Table = Table {
    title: "Identity at an HTTP API",
    doc: "`functions.<name>.http.auth`: one way, or `none`.",
    settings: &[],
    branches: &[
        Branch { key: "none", table: &NONE },
        Branch { key: "basic", table: &BASIC },
        Branch { key: "bearer", table: &BEARER },
        Branch { key: "api_key", table: &API_KEY },
        Branch { key: "oauth2_client_credentials", table: &CLIENT_CREDENTIALS },
        Branch { key: "oauth2_password", table: &PASSWORD_GRANT },
    ],
    branch: "way",
};

const USERNAME: Setting = setting("username", Kind::Value, Required, "The user.");
const PASSWORD: Setting = setting("password", Kind::Value, Required, "The password: better a reference than in the file.");

static NONE: Table = plain("Auth `none`", "Nobody.", &[]);
static BASIC: Table = plain("Auth `basic`", "A user with a password.", &[USERNAME, PASSWORD]);
static BEARER: Table = plain(
    "Auth `bearer`",
    "A token that somebody gave us.",
    &[setting("token", Kind::Value, Required, "The token: better a reference than in the file.")],
);
static API_KEY: Table = plain(
    "Auth `api_key`",
    "A key in a header or in the query. Exactly one of `header` and `query`.",
    &[
        setting("header", Kind::Text, Optional, "Name of the header."),
        setting("query", Kind::Text, Optional, "Name of the parameter."),
        setting("value", Kind::Value, Required, "The key: better a reference than in the file."),
    ],
);

const TOKEN_URL: Setting = setting("token_url", Kind::Value, Required, "Where tokens are fetched.");
const CLIENT_ID: Setting = setting("client_id", Kind::Value, Required, "Name of the client.");
const CLIENT_AUTH: Setting = setting(
    "client_auth",
    Kind::Choice(&["basic", "body"]),
    Default("basic"),
    "Whether name and secret of the client go into the header `Authorization` or into the body.",
);
const SCOPE: Setting = setting("scope", Kind::Text, Optional, "What is asked for, with spaces between.");
const PARAMETERS: Setting =
    setting("parameters", Kind::Properties, Optional, "Further parameters of the request, such as `audience`.");
const REFRESH_MARGIN: Setting = setting(
    "refresh_margin",
    ANY_DURATION,
    Default("60s"),
    "A token is renewed so long before it expires: by 80 % of its life, and not in its first half. One that does not say lives 5 minutes.",
);

static CLIENT_CREDENTIALS: Table = plain(
    "Auth `oauth2_client_credentials`",
    "Tokens by OAuth 2, for the client itself. One is fetched for all who need it; where it is refused (401), it is renewed and the \
     request made again, once.",
    &[
        TOKEN_URL,
        CLIENT_ID,
        setting("client_secret", Kind::Value, Required, "Its secret: better a reference than in the file."),
        CLIENT_AUTH,
        SCOPE,
        PARAMETERS,
        REFRESH_MARGIN,
    ],
);

static PASSWORD_GRANT: Table = plain(
    "Auth `oauth2_password`",
    "Tokens by OAuth 2, for a user whose password we have; otherwise as `oauth2_client_credentials`.",
    &[
        TOKEN_URL,
        CLIENT_ID,
        setting("client_secret", Kind::Value, Optional, "Its secret. Default: a client without one."),
        USERNAME,
        PASSWORD,
        CLIENT_AUTH,
        SCOPE,
        PARAMETERS,
        REFRESH_MARGIN,
    ],
);

/// What is set under `http`.
pub(super) fn settings(values: &Values, problems: &mut Problems) -> Option<HttpSettings> {
    let auth = auth(values, problems);
    let connection = connection(values, problems);
    let answer = answer(values, problems);
    let mut settings = HttpSettings::new(values.template("url")?);
    let templates = |name: &str| values.templates(name).iter().map(|(key, value)| (key.text.clone(), value.clone())).collect();
    settings.method = values.choice("method").map(str::to_owned);
    settings.query = templates("query");
    settings.headers = templates("headers");
    settings.body = values.body("body").cloned();
    settings.answer = answer?;
    settings.rows = values.word("rows");
    settings.auth = auth?;
    settings.connection = connection?;
    let statuses = |name: &str| {
        let ranges = values.scalars(name).iter();
        ranges.filter_map(|scalar| if let Scalar::Statuses(range) = scalar { Some(range.clone()) } else { None }).collect()
    };
    let defaults = Statuses::default();
    settings.statuses = Statuses {
        success: if values.is_given("success") { statuses("success") } else { defaults.success },
        transient: if values.is_given("retry_on") { statuses("retry_on") } else { defaults.transient },
    };
    if values.is_given("middleware") {
        let named = values
            .scalars("middleware")
            .iter()
            .filter_map(|scalar| if let Scalar::Choice(word) = scalar { Some(*word) } else { None });
        settings.middleware = named.filter_map(|word| Step::ALL.into_iter().find(|step| step.name() == word)).collect();
    }
    Some(settings)
}

/// The function, or what is wrong with how its settings go together.
pub(super) fn function(
    declaration: &Values,
    signature: Signature,
    settings: HttpSettings,
    calls: CallSettings,
    shared: &Shared,
    process: Arc<Budget>,
    problems: &mut Problems,
) -> Option<Function> {
    let (_, values) = declaration.branch.as_ref()?;
    let fits = fits(declaration, values, &settings.mistakes(&signature, &calls), problems);
    if settings.keeps_failures(&signature) && calls.cache.is_some() {
        let message = declaration.about("cache", "goes without an envelope only: an answer that is kept is of another call");
        problems.add(declaration.place_of("cache"), message);
    }
    fits?;
    let built = http_function(signature, &settings, calls, shared, process);
    built.map_err(|error| problems.add(values.place_of("tls"), values.about("tls", &error.chain()))).ok()
}

/// The same text, never shown: what is written out in the file is no less a secret.
pub(super) fn hidden(text: &Text) -> Text {
    if text.is_secret() { text.clone() } else { Text::secret(text.expose(), "(secret)") }
}

fn auth(values: &Values, problems: &mut Problems) -> Option<AuthSettings> {
    let Some((key, auth)) = values.map("auth").map(|auth| auth.branch.as_ref()).unwrap_or_default() else {
        return (!values.is_given("auth")).then_some(AuthSettings::None);
    };
    let secret = |name: &str| auth.text(name).as_ref().map(hidden);
    Some(match *key {
        "basic" => AuthSettings::Basic { username: secret("username")?, password: secret("password")? },
        "bearer" => AuthSettings::Bearer { token: secret("token")? },
        "api_key" => match (auth.word("header"), auth.word("query")) {
            (Some(name), None) => AuthSettings::ApiKeyHeader { name, value: secret("value")? },
            (None, Some(name)) => AuthSettings::ApiKeyQuery { name, value: secret("value")? },
            _ => {
                problems.add(&auth.place, auth.about("", "expected one of header and query"));
                return None;
            }
        },
        "oauth2_client_credentials" => AuthSettings::OAuth2(Box::new(oauth2(auth, Grant::ClientCredentials)?)),
        "oauth2_password" => {
            let grant = Grant::Password { username: secret("username")?, password: secret("password")? };
            AuthSettings::OAuth2(Box::new(oauth2(auth, grant)?))
        }
        _ => AuthSettings::None,
    })
}

fn oauth2(values: &Values, grant: Grant) -> Option<OAuth2Settings> {
    let secret = |name: &str| values.text(name).as_ref().map(hidden);
    Some(OAuth2Settings {
        token_url: values.text("token_url")?,
        grant,
        client_id: secret("client_id")?,
        client_secret: secret("client_secret"),
        client_in_body: values.choice("client_auth")? == "body",
        scope: values.word("scope"),
        parameters: values.properties("parameters").iter().map(|(key, value)| (key.text.clone(), hidden(value))).collect(),
        refresh_margin: values.duration("refresh_margin")?,
        attempts: TOKEN_ATTEMPTS,
        pause: TOKEN_PAUSE,
    })
}

/// How connections are made, for whatever speaks HTTP.
pub(super) fn connection(values: &Values, problems: &mut Problems) -> Option<ConnectionSettings> {
    let allow = values.scalars("allow_addresses").iter();
    let allow = allow.filter_map(|scalar| if let Scalar::Network(net) = scalar { Some(*net) } else { None }).collect();
    let mut connection = ConnectionSettings {
        addresses: AddressRules { allow },
        connect_timeout: values.duration("connect_timeout"),
        ca: None,
        identity: None,
    };
    let Some(tls) = values.map("tls") else { return Some(connection) };
    connection.ca = tls.path("ca");
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if tls.is_given(one) && tls.is_missing(other) {
            problems.add(tls.place_of(one), tls.about(one, &format!("goes with {other} only")));
            return None;
        }
    }
    connection.identity = tls.path("certificate").zip(tls.path("key"));
    Some(connection)
}

fn answer(values: &Values, problems: &mut Problems) -> Option<AnswerSettings> {
    let answer = match values.tree("answer") {
        None if values.is_given("answer") => return None,
        None => Some(AnswerSettings::ByName),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("text") => Some(AnswerSettings::Text),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("envelope") => Some(AnswerSettings::Envelope),
        Some(Json::String(pointer)) => Some(AnswerSettings::At(pointer.clone())),
        Some(Json::Object(fields)) => {
            let field = |(name, at): (&String, &Json)| Some((name.clone(), at.as_str()?.to_owned()));
            fields.iter().map(field).collect::<Option<_>>().map(AnswerSettings::Fields)
        }
        Some(_) => None,
    };
    if answer.is_none() {
        problems.add(values.place_of("answer"), values.about("answer", &format!("expected {ANSWER}")));
    }
    answer
}
