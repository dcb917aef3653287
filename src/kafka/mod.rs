//! What sources and sinks of Kafka share: how a cluster is reached, and librdkafka.

mod connection;

use tidemill_librdkafka::{Code, Failure};

pub use connection::{KafkaConnection, KafkaSasl, KafkaTls, Role, check_property};

/// Whether trying again would end in the same way.
pub(crate) fn is_hopeless(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::RD_KAFKA_RESP_ERR__AUTHENTICATION
            | Code::RD_KAFKA_RESP_ERR__SSL
            | Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
            | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
            | Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
    )
}
