//! Settings of connections to object stores, and how they become what functions take.

use super::connections::{Connection, Connections, named};
use super::function::fits;
use super::function_http::{ALLOW_ADDRESSES, CONNECT_TIMEOUT, TLS_SETTING, connection, hidden};
use super::problem::Problems;
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Kind, Setting, Table};
use super::tables::{plain, setting};
use super::values::Values;
use crate::function::object::{Objects, S3Settings};

/// The setting that names a connection.
pub(super) const CONNECTION: Setting =
    setting("connection", Kind::Name, Required, "The entry of `connections` (`s3` or `folder`) that says where the objects are.");

/// A bucket, and how it is reached.
pub(super) static S3_CONNECTION: Table = plain(
    "Connection `s3`",
    "A bucket of a store that speaks the protocol of S3.",
    &[
        setting("bucket", Kind::Text, Required, "The bucket."),
        setting("endpoint", Kind::Value, Optional, "Where the store is, without the bucket: `https://host:9000`. Default: AWS."),
        setting("region", Kind::Text, Default("us-east-1"), "Its region."),
        setting(
            "access_key_id",
            Kind::Value,
            Optional,
            "Id of the key that requests are signed with. Default: they are not signed, for buckets that everybody may read.",
        ),
        setting("secret_access_key", Kind::Value, Optional, "Its secret: better a reference than in the file."),
        setting("session_token", Kind::Value, Optional, "What goes along with a key that is good for a while."),
        setting(
            "path_style",
            Kind::Bool,
            Optional,
            "Whether the bucket stands in the path of URLs; else in front of the host. Default: with `endpoint`, `true`.",
        ),
        setting("allow_http", Kind::Bool, Default("false"), "Whether `endpoint` may begin with `http://`: without encryption."),
        TLS_SETTING,
        ALLOW_ADDRESSES,
        CONNECT_TIMEOUT,
    ],
);

/// Files of this machine.
pub(super) static FOLDER_CONNECTION: Table = plain(
    "Connection `folder`",
    "The files below a folder of this machine, as objects. Links in it are not followed.",
    &[setting("path", Kind::Path, Required, "The folder.")],
);

/// A bucket of the file, set up for all functions that name it.
pub(super) fn s3(values: &Values, problems: &mut Problems) -> Option<Objects> {
    let secret = |name: &str| values.text(name).as_ref().map(hidden);
    for (one, other) in
        [("access_key_id", "secret_access_key"), ("secret_access_key", "access_key_id"), ("session_token", "access_key_id")]
    {
        if values.is_given(one) && values.is_missing(other) {
            problems.add(values.place_of(one), values.about(one, &format!("goes with {other} only")));
            return None;
        }
    }
    let is_given = |name: &str| values.is_given(name);
    let settings = S3Settings {
        bucket: values.word("bucket")?,
        endpoint: values.text("endpoint"),
        region: values.word("region")?,
        key: secret("access_key_id").zip(secret("secret_access_key")),
        session_token: secret("session_token"),
        path_style: if is_given("path_style") { values.bool("path_style")? } else { is_given("endpoint") },
        allow_http: values.bool("allow_http")?,
        connection: connection(values, problems)?,
    };
    fits(values, values, &settings.mistakes(), problems)?;
    Objects::s3(&settings).map_err(|error| problems.add(values.place_of("tls"), values.about("tls", &error.chain()))).ok()
}

/// A folder of the file.
pub(super) fn folder(values: &Values) -> Option<Objects> {
    Some(Objects::folder(values.path("path")?))
}

/// The store that a function names.
pub(super) fn store(values: &Values, connections: &Connections, problems: &mut Problems) -> Option<Objects> {
    let pick = |connection| if let Connection::Objects(objects) = connection { Some(objects) } else { None };
    named(values, connections, "s3 or folder", pick, problems)
}
