//! Calls in a plan: where they are made, for which rows, and how often.

use std::sync::Mutex;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, StructArray, UInt32Array};
use arrow::datatypes::{Fields, Float64Type};
use async_trait::async_trait;

use super::*;
use crate::function::policy::Budget;
use crate::function::{
    Answer, AsyncFunction, CacheSettings, CallError, CallErrorKind, CallSettings, Chunk, Function, OnError, Reply, Returns,
    Signature,
};
use crate::metrics::Metrics;
use crate::plan::event_time::SetAsideKind;

/// Answers what `answer` says and remembers the arguments of each row that it was called for.
struct Recorded {
    answer: fn(&RecordBatch) -> Result<Answer, CallError>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorded")
    }
}

#[async_trait]
impl AsyncFunction for Recorded {
    async fn call(&self, chunk: Chunk) -> Result<Reply, CallError> {
        self.calls.lock().unwrap().extend(text(std::slice::from_ref(&chunk.args)));
        (self.answer)(&chunk.args).map(Reply::from)
    }
}

fn doubled(args: &RecordBatch) -> Result<Answer, CallError> {
    Ok(Answer::Values(Arc::new(args.column(0).as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x * 2.0))))
}

fn risk_fields() -> Fields {
    vec![Field::new("score", DataType::Float64, true), Field::new("band", DataType::Utf8, true)].into()
}

fn risk(args: &RecordBatch) -> Result<Answer, CallError> {
    let score: Float64Array = args.column(1).as_primitive::<Float64Type>().unary(|amount| amount / 10.0);
    let band: StringArray = score.iter().map(|score| score.map(|score| if score > 1.0 { "high" } else { "low" })).collect();
    Ok(Answer::Values(Arc::new(StructArray::new(risk_fields(), vec![Arc::new(score), Arc::new(band)], None))))
}

/// As many rows as the argument says.
fn numbers(args: &RecordBatch) -> Result<Answer, CallError> {
    let counts = args.column(0).as_primitive::<Float64Type>();
    let (mut n, mut of) = (Vec::new(), Vec::new());
    for row in 0..counts.len() {
        for number in 0..counts.value(row) as i64 {
            n.push(number);
            of.push(row as u32);
        }
    }
    let rows = RecordBatch::try_new(numbers_schema(), vec![Arc::new(Int64Array::from(n))]).unwrap();
    Ok(Answer::Rows { rows, of: UInt32Array::from(of) })
}

fn numbers_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn no_jill(args: &RecordBatch) -> Result<Answer, CallError> {
    match args.column(0).as_string::<i32>().value(0) {
        "Jill" => Err(CallError::new(CallErrorKind::Rejected, "not Jill")),
        _ => Ok(Answer::Values(Arc::new(BooleanArray::from(vec![true])))),
    }
}

struct Functions {
    list: Vec<Arc<Function>>,
    calls: BTreeMap<&'static str, Arc<Mutex<Vec<String>>>>,
}

impl Functions {
    fn new(on_error: OnError) -> Self {
        let mut functions = Self { list: Vec::new(), calls: BTreeMap::new() };
        let double = |name: &str| Field::new(name, DataType::Float64, true);
        let name = Field::new("name", DataType::Utf8, true);
        let score = || Returns::Value(DataType::Struct(risk_fields()));
        functions.add("doubled", vec![double("x")], Returns::Value(DataType::Float64), doubled, on_error);
        functions.add("risk", vec![name.clone(), double("amount")], score(), risk, on_error);
        functions.add("numbers", vec![double("count")], Returns::Rows(numbers_schema()), numbers, on_error);
        functions.add("no_jill", vec![name], Returns::Value(DataType::Boolean), no_jill, on_error);
        functions
    }

    fn add(
        &mut self,
        name: &'static str,
        args: Vec<Field>,
        returns: Returns,
        answer: fn(&RecordBatch) -> Result<Answer, CallError>,
        on_error: OnError,
    ) {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        self.calls.insert(name, calls.clone());
        let signature = Signature { name: name.to_owned(), args: args.into(), returns };
        let settings = CallSettings { chunk_size: 1, on_error, ..CallSettings::default() };
        let kind = Arc::new(Recorded { answer, calls });
        self.list.push(Arc::new(Function::new(signature, kind, settings, Arc::new(Budget::new(100))).unwrap()));
    }

    /// For which arguments it was called, sorted.
    fn called(&self, name: &str) -> Vec<String> {
        let mut calls = std::mem::take(&mut *self.calls[name].lock().unwrap());
        calls.sort();
        calls
    }

    async fn plan(&self, sql: &str, mode: OutputMode) -> Result<StreamingPlan> {
        let catalog = Catalog { functions: self.list.clone(), ..catalog() };
        StreamingPlan::new("q", &QueryText::Sql(sql.to_owned()), &catalog, &settings(mode)).await
    }
}

async fn run_calling(plan: &mut StreamingPlan, batch: &[Row]) -> Result<BatchOutput> {
    let runtime = tokio::runtime::Handle::current();
    let calls = QueryCalls::new(("p", "q"), plan.functions(), 100, &Metrics::new().unwrap(), runtime);
    plan.run(BatchInput { calls: Some(calls), ..input(plan, batch, batch) }).await
}

const ROWS: &[Row] = &[r("John", 5.0, 1), r("Jill", 20.0, 0), r("Zed", 30.0, 1)];

/// What `sql` yields for [`ROWS`].
async fn answers(functions: &Functions, sql: &str) -> Vec<String> {
    let mut plan = functions.plan(sql, OutputMode::Append).await.unwrap_or_else(|error| panic!("{sql}: {}", error.chain()));
    let output = run_calling(&mut plan, ROWS).await;
    text(&output.unwrap_or_else(|error| panic!("{sql}: {}", error.chain())).rows)
}

#[tokio::test]
async fn a_call_is_made_once_for_each_row_whatever_is_read_of_its_answer() {
    let functions = Functions::new(OnError::Fail);
    let sql = "SELECT name, risk(name, amount).score AS score, risk(name, amount).band, risk(name, amount) FROM t \
               WHERE risk(name, amount).score > 1";
    assert_eq!(
        answers(&functions, sql).await,
        ["Jill 2.0 high {score: 2.0, band: high}", "Zed 3.0 high {score: 3.0, band: high}"]
    );
    assert_eq!(functions.called("risk"), ["Jill 20.0", "John 5.0", "Zed 30.0"]);
}

#[tokio::test]
async fn a_call_is_made_after_every_condition_that_does_not_need_it() {
    let functions = Functions::new(OnError::Fail);
    for sql in [
        "SELECT name FROM t WHERE doubled(amount) > 20 AND flag = 1",
        "SELECT name FROM (SELECT name, flag, doubled(amount) AS d FROM t) WHERE d > 20 AND flag = 1",
        "SELECT name FROM (SELECT name, doubled(amount) AS d FROM t WHERE flag = 1) WHERE d > 20",
    ] {
        assert_eq!(answers(&functions, sql).await, ["Zed"], "{sql}");
        assert_eq!(functions.called("doubled"), ["30.0", "5.0"], "{sql}");
    }
    // In the order in which they stand, each for the rows that the one before has left.
    let sql = "SELECT name FROM t WHERE risk(name, amount).band = 'high' AND doubled(amount) < 50";
    assert_eq!(answers(&functions, sql).await, ["Jill"]);
    assert_eq!(functions.called("risk").len(), 3);
    assert_eq!(functions.called("doubled"), ["20.0", "30.0"]);
    // What can fail stays behind the call that it stands behind, and an argument behind what guards it.
    let sql = "SELECT name FROM t WHERE doubled(amount) > 20 AND 1 / (amount - 5) > 0";
    assert_eq!(answers(&functions, sql).await, ["Jill", "Zed"]);
    let sql = "SELECT name FROM t WHERE amount <> 5 AND doubled(1 / (amount - 5)) < 0.1";
    assert_eq!(answers(&functions, sql).await, ["Zed"]);
}

#[tokio::test]
async fn calls_nest_and_rows_come_from_the_table_form() {
    let functions = Functions::new(OnError::Fail);
    assert_eq!(answers(&functions, "SELECT doubled(doubled(amount)) FROM t").await, ["20.0", "80.0", "120.0"]);
    assert_eq!(functions.called("doubled"), ["10.0", "20.0", "30.0", "40.0", "5.0", "60.0"]);
    let sql = "SELECT name, k.n FROM t, LATERAL numbers(amount / 10) AS k WHERE k.n < 2 AND flag = 1";
    assert_eq!(answers(&functions, sql).await, ["Zed 0", "Zed 1"]);
    assert_eq!(functions.called("numbers"), ["0.5", "3.0"], "conditions sink below it");
    assert_eq!(answers(&functions, "SELECT k.n FROM t, LATERAL numbers(flag) AS k").await, ["0", "0"], "nothing stands beside");
    let sql = "SELECT name, v FROM t JOIN LATERAL numbers(doubled(flag)) AS k(v)";
    assert_eq!(answers(&functions, sql).await, ["John 0", "John 1", "Zed 0", "Zed 1"]);
    assert_eq!(functions.called("doubled"), ["0.0", "1.0", "1.0"], "an INT is cast");
    let sql = "SELECT transform(array(amount, doubled(amount)), x -> x + flag) FROM t WHERE flag = 1";
    assert_eq!(answers(&functions, sql).await, ["[6.0, 11.0]", "[31.0, 61.0]"], "beside a lambda function");
    // Without an input there is one row.
    assert_eq!(answers(&functions, "SELECT t.name FROM t JOIN (SELECT doubled(2) AS d) x ON t.amount > x.d").await.len(), 3);
}

#[tokio::test]
async fn groups_are_called_for_and_grouped_by() {
    let functions = Functions::new(OnError::Fail);
    let sql = "SELECT flag, doubled(count(*)) AS d FROM t GROUP BY flag";
    let mut plan = functions.plan(sql, OutputMode::Update).await.unwrap();
    let mut seen = text(&run_calling(&mut plan, ROWS).await.unwrap().rows);
    plan.commit();
    seen.sort();
    assert_eq!(seen, ["0 2.0", "1 4.0"]);
    assert_eq!(functions.called("doubled"), ["1.0", "2.0"]);
    assert_eq!(text(&run_calling(&mut plan, &ROWS[..1]).await.unwrap().rows), ["1 6.0"], "only for groups that are put out");
    let sql = "SELECT band, count(*) FROM (SELECT risk(name, amount).band AS band FROM t) GROUP BY band";
    let mut plan = functions.plan(sql, OutputMode::Complete).await.unwrap();
    let mut seen = text(&run_calling(&mut plan, ROWS).await.unwrap().rows);
    seen.sort();
    assert_eq!(seen, ["high 2", "low 1"]);
}

#[tokio::test]
async fn other_places_are_refused_by_name() {
    let functions = Functions::new(OnError::Fail);
    for (sql, place) in [
        ("SELECT t.name FROM t JOIN u ON doubled(t.amount) = 1 AND t.name = u.name", "JOIN"),
        ("SELECT count(*) FROM t GROUP BY doubled(amount)", "GROUP BY"),
        ("SELECT doubled(amount) AS d, count(*) FROM t GROUP BY d", "GROUP BY"),
        ("SELECT sum(doubled(amount)) FROM t", "an aggregate function"),
        ("SELECT CASE WHEN flag = 1 THEN doubled(amount) END FROM t", "CASE"),
        ("SELECT if(flag = 1, doubled(amount), 0D) FROM t", "CASE"),
        ("SELECT coalesce(amount, doubled(amount)) FROM t", "CASE"),
        ("SELECT flag = 1 OR doubled(amount) > 1 FROM t", "CASE"),
        ("SELECT (SELECT max(doubled(1)) FROM u) FROM t", "a subquery"),
        ("SELECT name FROM t WHERE amount IN (SELECT doubled(1))", "a subquery"),
        ("SELECT name FROM t WHERE flag = 1 AND amount NOT IN (SELECT doubled(1) FROM u)", "a subquery"),
        ("SELECT name FROM t WHERE EXISTS (SELECT doubled(1) FROM u WHERE doubled(1) > 1)", "a subquery"),
    ] {
        let error = functions.plan(sql, OutputMode::Update).await.map(drop).unwrap_err();
        assert_eq!(error.condition(), Some("UNSUPPORTED_EXPR_FOR_OPERATOR"), "{sql}: {}", error.chain());
        assert!(error.message().contains(place) && error.message().contains("doubled"), "{sql}: {}", error.chain());
    }
    for (sql, condition, message) in [
        (
            "SELECT risk(name) FROM t",
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            "`risk` takes 2 arguments (name STRING, amount DOUBLE), not 1",
        ),
        ("SELECT doubled(array(1)) FROM t", "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", "x of doubled"),
        ("SELECT numbers(1) FROM t", "UNRESOLVED_ROUTINE", "LATERAL numbers(…)"),
        ("SELECT 1 FROM t, LATERAL doubled(1)", "UNRESOLVABLE_TABLE_VALUED_FUNCTION", "doubled yields a value"),
        ("SELECT doubled(DISTINCT amount) FROM t", "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX", "no aggregate"),
        ("SELECT dubled(amount) FROM t", "UNRESOLVED_ROUTINE", "did you mean doubled"),
        (
            "SELECT transform(array(amount), x -> 1 + doubled(x)) FROM t",
            "UNSUPPORTED_FEATURE.LAMBDA_FUNCTION_WITH_PYTHON_UDF",
            "`doubled` asks the outside world",
        ),
        (
            "SELECT transform(array(amount), doubled(amount)) FROM t",
            "UNSUPPORTED_FEATURE.LAMBDA_FUNCTION_WITH_PYTHON_UDF",
            "`doubled` asks the outside world",
        ),
        ("SELECT doubled(x -> x) FROM t", "INVALID_LAMBDA_FUNCTION_CALL.NON_HIGHER_ORDER_FUNCTION", "doubled"),
    ] {
        let error = functions.plan(sql, OutputMode::Append).await.map(drop).unwrap_err();
        assert_eq!(error.condition(), Some(condition), "{sql}: {}", error.chain());
        assert!(error.message().contains(message), "{sql}: {}", error.chain());
    }
}

#[tokio::test]
async fn what_a_failed_call_does_is_declared() {
    let sql = "SELECT name, no_jill(name) FROM t";
    let functions = Functions::new(OnError::Fail);
    let mut plan = functions.plan(sql, OutputMode::Append).await.unwrap();
    let error = run_calling(&mut plan, ROWS).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.chain().contains("not Jill"), "{}", error.chain());
    for (on_error, expected) in
        [(OnError::ReturnNull, vec!["John true", "Jill NULL", "Zed true"]), (OnError::DropRow, vec!["John true", "Zed true"])]
    {
        let functions = Functions::new(on_error);
        let mut plan = functions.plan(sql, OutputMode::Append).await.unwrap();
        plan.keep_set_aside(true);
        let output = run_calling(&mut plan, ROWS).await.unwrap();
        assert_eq!(text(&output.rows), expected);
        assert_eq!(output.event_time.rows_failed_call, 1);
        let [aside] = output.event_time.set_aside.as_slice() else { panic!("{:?}", output.event_time) };
        assert_eq!((aside.kind, aside.operator.as_str()), (SetAsideKind::FailedCall, "function no_jill"));
        assert_eq!((aside.reason.as_str(), text(std::slice::from_ref(&aside.rows))), ("not Jill", vec!["Jill".to_owned()]));
    }
}

#[tokio::test]
async fn a_failed_row_of_the_table_form_takes_no_other_along() {
    let some = |args: &RecordBatch| match args.column(0).as_primitive::<Float64Type>().value(0) {
        5.0 => Err(CallError::new(CallErrorKind::Rejected, "not five")),
        20.0 => numbers(&RecordBatch::try_from_iter([("count", Arc::new(Float64Array::from(vec![2.0])) as ArrayRef)]).unwrap()),
        _ => numbers(&RecordBatch::try_from_iter([("count", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)]).unwrap()),
    };
    let args = Fields::from(vec![Field::new("amount", DataType::Float64, true)]);
    let signature = Signature { name: "some".to_owned(), args, returns: Returns::Rows(numbers_schema()) };
    // With a cache, rows that are answered and rows that are not come out together.
    let cache = CacheSettings { entries: 10, ttl: Duration::from_secs(60), bytes_max: 1 << 20 };
    let settings = CallSettings { chunk_size: 1, on_error: OnError::DropRow, cache: Some(cache), ..CallSettings::default() };
    let kind = Arc::new(Recorded { answer: some, calls: Arc::default() });
    let function = Arc::new(Function::new(signature, kind, settings, Arc::new(Budget::new(100))).unwrap());
    let functions = Functions { list: vec![function], calls: BTreeMap::new() };
    assert_eq!(answers(&functions, "SELECT name, k.n FROM t, LATERAL some(amount) AS k").await, ["Jill 0", "Jill 1", "Zed 0"]);
}

#[tokio::test]
async fn an_empty_batch_calls_nothing() {
    let functions = Functions::new(OnError::Fail);
    let mut plan = functions.plan("SELECT doubled(amount) AS d FROM t", OutputMode::Append).await.unwrap();
    let output = run_calling(&mut plan, &[]).await.unwrap();
    assert_eq!((text(&output.rows).len(), output.rows[0].schema().field(0).name().as_str()), (0, "d"));
    assert!(functions.called("doubled").is_empty());
}
