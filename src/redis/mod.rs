//! Redis: how a server is reached, what its errors mean, and its keys as a small store for programs ([`Space`]).
//!
//! SQL functions read through it (`function/redis/`), the sink writes through it (`sink/redis/`). Of a cluster there is nothing here: a
//! batch's operations and its mark must be on one server.

mod connection;
mod durability;
mod failure;
mod keys;
mod space;
mod store;

pub use connection::{RedisConnection, RedisTls};
pub use durability::Durability;
pub(crate) use failure::{failure, refusal, to_error};
pub(crate) use keys::Keys;
pub use space::{Attribute, AttributeKind, Condition, Refused, Space, SpaceSettings};
pub(crate) use store::{Store, Stores};
