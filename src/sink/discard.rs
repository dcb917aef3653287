//! Counts rows and keeps nothing: for benchmarks, and for queries that matter only by their metrics.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;

use super::{CommitId, Contains, Guarantee, Sink};
use crate::error::Result;

/// The sink that takes everything and keeps nothing.
#[derive(Debug, Default)]
pub struct Discard;

#[async_trait]
impl Sink for Discard {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn open(&mut self, _schema: &SchemaRef) -> Result<()> {
        Ok(())
    }

    fn stage(&mut self, _rows: &[RecordBatch]) -> Result<Bytes> {
        Ok(Bytes::new())
    }

    async fn contains(&mut self, _id: &CommitId) -> Result<Contains> {
        Ok(Contains::No)
    }

    async fn commit(&mut self, _id: &CommitId, _staged: &Bytes) -> Result<()> {
        Ok(())
    }
}
