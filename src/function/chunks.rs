//! Rows as they come → chunks of exactly as many rows as were asked for.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::error::{Attempt, ErrorKind, Result};

/// Cuts batches into chunks: slices of them, copied only where a chunk spans several.
#[derive(Debug)]
pub(super) struct Chunker {
    schema: SchemaRef,
    chunk_size: usize,
    waiting: VecDeque<RecordBatch>,
    /// Rows that are in no chunk yet.
    rows: usize,
}

impl Chunker {
    pub(super) fn new(schema: SchemaRef, chunk_size: usize) -> Self {
        Self { schema, chunk_size, waiting: VecDeque::new(), rows: 0 }
    }

    pub(super) fn push(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rows += rows.num_rows();
            self.waiting.push_back(rows);
        }
    }

    /// The next chunk: whole ones while there are any, and if `last`, then what is left over.
    pub(super) fn next(&mut self, last: bool) -> Result<Option<RecordBatch>> {
        let wanted = if last { self.chunk_size.min(self.rows) } else { self.chunk_size };
        if wanted == 0 || self.rows < wanted {
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut missing = wanted;
        while let Some(front) = self.waiting.pop_front() {
            let taken = missing.min(front.num_rows());
            if taken < front.num_rows() {
                self.waiting.push_front(front.slice(taken, front.num_rows() - taken));
            }
            parts.push(if taken < front.num_rows() { front.slice(0, taken) } else { front });
            missing -= taken;
            if missing == 0 {
                break;
            }
        }
        self.rows -= wanted;
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(Some(only)),
            Some(last) => {
                parts.push(last);
                let attempt = || "join the rows of a chunk".to_owned();
                concat_batches(&self.schema, &parts).attempting(ErrorKind::Internal, attempt).map(Some)
            }
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, RecordBatchOptions};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    /// Chunks of batches of so many rows each, whose values count up.
    fn check(batches: &[i64], chunk_size: usize) -> Vec<Vec<i64>> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let mut chunker = Chunker::new(schema.clone(), chunk_size);
        let (mut chunks, mut next) = (Vec::new(), 0);
        for (at, rows) in batches.iter().enumerate() {
            let numbers = Int64Array::from_iter_values(next..next + rows);
            next += rows;
            chunker.push(RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers)]).unwrap());
            while let Some(chunk) = chunker.next(at + 1 == batches.len()).unwrap() {
                chunks.push(chunk.column(0).as_primitive::<Int64Type>().values().to_vec());
            }
        }
        assert_eq!(chunker.rows, 0);
        chunks
    }

    #[test]
    fn a_stream_of_five_by_two() {
        let wanted = vec![vec![0, 1], vec![2, 3], vec![4]];
        for batches in [&[5][..], &[1, 1, 1, 1, 1], &[3, 2], &[0, 2, 0, 3], &[2, 2, 1], &[5, 0]] {
            assert_eq!(check(batches, 2), wanted, "{batches:?}");
        }
    }

    #[test]
    fn s0_7_a_large_batch_is_cut_into_whole_chunks() {
        for batches in [&[10_000][..], &[8192, 1808], &[99, 9901]] {
            let chunks = check(batches, 100);
            assert_eq!(chunks.len(), 100);
            assert!(chunks.iter().all(|chunk| chunk.len() == 100));
            assert_eq!(chunks.concat(), (0..10_000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_rows_are_no_chunk() {
        assert!(check(&[0], 2).is_empty());
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let schema = Arc::new(Schema::empty());
        let rows = |rows| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap()
        };
        let mut chunker = Chunker::new(schema.clone(), 4);
        chunker.push(rows(3));
        chunker.push(rows(3));
        assert_eq!(chunker.next(true).unwrap().unwrap().num_rows(), 4);
        assert_eq!(chunker.next(true).unwrap().unwrap().num_rows(), 2);
        assert!(chunker.next(true).unwrap().is_none());
    }
}
