//! Whether an answer is what the function was declared to answer. Nothing is padded, cut or cast to fit.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Schema};

use super::{Answer, CallError, CallErrorKind, Reply, Returns};

/// Checks what was answered for a chunk of `rows` rows.
pub(super) fn check(returns: &Returns, rows: usize, bytes_max: usize, reply: &Reply) -> Result<(), CallError> {
    let answer = &reply.answer;
    let wrong = match (returns, answer) {
        (Returns::Value(declared), Answer::Values(values)) => wrong_values(declared, rows, values.as_ref()),
        (Returns::Rows(declared), Answer::Rows { rows: answered, of }) => wrong_rows(declared, rows, answered, of),
        (Returns::Value(_), Answer::Rows { .. }) => Some("it answered rows where a value for each row was declared".to_owned()),
        (Returns::Rows(_), Answer::Values(_)) => Some("it answered values where rows were declared".to_owned()),
    };
    let wrong = wrong.or_else(|| wrong_failures(rows, reply)).or_else(|| {
        let bytes = bytes(answer);
        (bytes > bytes_max).then(|| format!("its answer of {bytes} bytes is larger than answer_bytes_max {bytes_max}"))
    });
    match wrong {
        Some(wrong) => Err(CallError::new(CallErrorKind::BadAnswer, wrong)),
        None => Ok(()),
    }
}

/// The answer for `rows` rows whose call failed.
pub(super) fn nothing(returns: &Returns, rows: usize) -> Answer {
    match returns {
        Returns::Value(data_type) => Answer::Values(new_null_array(data_type, rows)),
        Returns::Rows(schema) => {
            Answer::Rows { rows: RecordBatch::new_empty(schema.clone()), of: UInt32Array::from(Vec::<u32>::new()) }
        }
    }
}

fn wrong_values(declared: &DataType, rows: usize, values: &dyn Array) -> Option<String> {
    if values.len() != rows {
        return Some(format!("it answered {} for {}", counted(values.len(), "value"), counted(rows, "row")));
    }
    let answered = values.data_type();
    (answered != declared).then(|| format!("it answered values of type {answered} where {declared} was declared"))
}

fn wrong_rows(declared: &Arc<Schema>, rows: usize, answered: &RecordBatch, of: &UInt32Array) -> Option<String> {
    let types = |schema: &Schema| schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>();
    let schema = answered.schema_ref();
    if !Arc::ptr_eq(schema, declared) && types(schema) != types(declared) {
        let told = |schema: &Schema| types(schema).iter().map(|(name, t)| format!("{name} {t}")).collect::<Vec<_>>().join(", ");
        return Some(format!("it answered rows of ({}) where ({}) was declared", told(schema), told(declared)));
    }
    if of.len() != answered.num_rows() {
        let (told, answered) = (counted(of.len(), "row"), counted(answered.num_rows(), "row"));
        return Some(format!("it said of {told} what they are for and answered {answered}"));
    }
    if of.null_count() == of.len() {
        return None;
    }
    if of.null_count() > 0 {
        return Some("some of its rows say which row they are for, and others do not".to_owned());
    }
    if !of.values().is_sorted() {
        return Some("its rows are not in the order of the rows they are for".to_owned());
    }
    let last = of.values().last().map_or(0, |last| *last as usize);
    (!of.is_empty() && last >= rows).then(|| format!("it answered for row {} of {}", last + 1, counted(rows, "row")))
}

/// A row that failed has no answer: were it given, nobody would look at it.
fn wrong_failures(rows: usize, reply: &Reply) -> Option<String> {
    let failed = || reply.failed.iter().map(|(row, _)| *row);
    let (last, rising) = (failed().next_back()?, failed().is_sorted_by(|a, b| a < b));
    if last >= rows || !rising {
        return Some(format!("the rows that it says failed are not in their order, or not among {}", counted(rows, "row")));
    }
    let answered = match &reply.answer {
        Answer::Values(values) => {
            let nulls = values.logical_nulls();
            failed().find(|row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)))
        }
        Answer::Rows { of, .. } if of.null_count() > 0 => failed().next(),
        Answer::Rows { of, .. } => {
            failed().find(|row| of.values().binary_search(&u32::try_from(*row).unwrap_or(u32::MAX)).is_ok())
        }
    };
    answered.map(|row| format!("it answered for row {}, of which it said that it failed", row + 1))
}

/// `1 row`, `2 rows`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn bytes(answer: &Answer) -> usize {
    let of = |array: &dyn Array| array.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    match answer {
        Answer::Values(values) => of(values.as_ref()),
        Answer::Rows { rows, .. } => rows.columns().iter().fold(0, |sum: usize, column| sum.saturating_add(of(column.as_ref()))),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn refused(returns: Returns, rows: usize, answer: Answer) -> String {
        match check(&returns, rows, 1000, &answer.into()) {
            Ok(()) => "fine".to_owned(),
            Err(error) => {
                assert_eq!(error.kind, CallErrorKind::BadAnswer);
                error.message
            }
        }
    }

    fn numbers(numbers: &[i32]) -> ArrayRef {
        Arc::new(Int32Array::from(numbers.to_vec()))
    }

    #[test]
    fn s0_11_another_number_of_values_is_refused_naming_both() {
        let check = |answered: &[i32], rows| refused(Returns::Value(DataType::Int32), rows, Answer::Values(numbers(answered)));
        assert_eq!(check(&[1, 2], 2), "fine");
        assert_eq!(check(&[1], 2), "it answered 1 value for 2 rows");
        assert_eq!(check(&[1, 2, 3], 1), "it answered 3 values for 1 row");
        assert_eq!(check(&[], 1), "it answered 0 values for 1 row");
    }

    #[test]
    fn another_type_is_refused_naming_both() {
        assert_eq!(
            refused(Returns::Value(DataType::Utf8), 1, Answer::Values(numbers(&[1]))),
            "it answered values of type Int32 where Utf8 was declared"
        );
    }

    #[test]
    fn another_form_is_refused() {
        let rows = Answer::Rows { rows: RecordBatch::new_empty(Arc::new(Schema::empty())), of: Vec::<u32>::new().into() };
        let message = refused(Returns::Value(DataType::Utf8), 1, rows);
        assert_eq!(message, "it answered rows where a value for each row was declared");
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(2000)]));
        let message = refused(Returns::Value(DataType::Utf8), 1, Answer::Values(text.clone()));
        assert_eq!(message, "its answer of 2008 bytes is larger than answer_bytes_max 1000");
        let slice = Answer::Values(Arc::new(StringArray::from(vec!["x".repeat(2000), "y".to_owned()]).slice(1, 1)));
        assert_eq!(refused(Returns::Value(DataType::Utf8), 1, slice), "fine");
    }

    #[test]
    fn rows_are_for_rows_that_were_asked_in_their_order() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]));
        let check = |of: &[u32], answered: &[i32]| {
            let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers(answered), true)]).unwrap();
            refused(Returns::Rows(schema.clone()), 2, Answer::Rows { rows, of: of.to_vec().into() })
        };
        assert_eq!(check(&[0, 0, 1], &[1, 2, 3]), "fine");
        assert_eq!(check(&[], &[]), "fine");
        assert_eq!(check(&[1, 1], &[1, 2]), "fine");
        let whole = |of: Vec<Option<u32>>| {
            let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers(&[1, 2]), true)]).unwrap();
            refused(Returns::Rows(schema.clone()), 2, Answer::Rows { rows, of: of.into() })
        };
        assert_eq!(whole(vec![None, None]), "fine");
        assert_eq!(whole(vec![Some(0), None]), "some of its rows say which row they are for, and others do not");
        assert_eq!(check(&[1, 0], &[1, 2]), "its rows are not in the order of the rows they are for");
        assert_eq!(check(&[2], &[1]), "it answered for row 3 of 2 rows");
        assert_eq!(check(&[0], &[1, 2]), "it said of 1 row what they are for and answered 2 rows");
        let other = RecordBatch::try_from_iter([("m", numbers(&[1]))]).unwrap();
        let message = refused(Returns::Rows(schema.clone()), 2, Answer::Rows { rows: other, of: vec![0].into() });
        assert_eq!(message, "it answered rows of (m Int32) where (n Int32) was declared");
    }

    #[test]
    fn a_row_that_failed_has_no_answer() {
        let refused = |rows: &[usize], answer: Answer| {
            let returns = match &answer {
                Answer::Values(_) => Returns::Value(DataType::Int32),
                Answer::Rows { rows, .. } => Returns::Rows(rows.schema()),
            };
            let failed = rows.iter().map(|row| (*row, CallError::new(CallErrorKind::Rejected, "no"))).collect();
            check(&returns, 3, 1000, &Reply { answer, failed }).map_err(|error| error.message)
        };
        let values = || Answer::Values(Arc::new(Int32Array::from(vec![Some(1), None, None])));
        assert_eq!(refused(&[1, 2], values()), Ok(()));
        assert_eq!(refused(&[0, 1], values()), Err("it answered for row 1, of which it said that it failed".to_owned()));
        for rows in [&[3][..], &[2, 1], &[1, 1]] {
            let message = "the rows that it says failed are not in their order, or not among 3 rows";
            assert_eq!(refused(rows, values()), Err(message.to_owned()));
        }
        let rows = || Answer::Rows {
            rows: RecordBatch::try_from_iter_with_nullable([("n", numbers(&[1, 2]), true)]).unwrap(),
            of: vec![0, 0].into(),
        };
        assert_eq!(refused(&[1], rows()), Ok(()));
        assert_eq!(refused(&[0], rows()), Err("it answered for row 1, of which it said that it failed".to_owned()));
    }

    #[test]
    fn where_a_call_failed_there_is_null_or_no_row() {
        let Answer::Values(nulls) = nothing(&Returns::Value(DataType::Utf8), 3) else { panic!() };
        assert_eq!((nulls.len(), nulls.null_count()), (3, 3));
        let Answer::Rows { rows, of } = nothing(&Returns::Rows(Arc::new(Schema::empty())), 3) else { panic!() };
        assert_eq!((rows.num_rows(), of.len()), (0, 0));
    }
}
