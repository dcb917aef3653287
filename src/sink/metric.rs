//! Rows as series of a Prometheus gauge, so that an alert fires on a result with no further part.
//!
//! A row sets the series that its labels name. In complete mode the batch's rows are all series there are; otherwise a series stays until a
//! row with null as value takes it away, or nothing has set it for `expire_after`. Series live in this process: a restart begins without
//! any, and sets those that a batch puts out again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use prometheus::{GaugeVec, IntCounter, Opts};

use super::{CommitId, Contains, Guarantee, Sink, ipc};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::plan::OutputMode;
use crate::plan::spark::types::is_numeric;
use crate::plan::spark::types::sql_name;

/// Most series that one sink may show.
pub const SERIES_MAX: usize = 1_000_000;

/// How rows become series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricSettings {
    /// Name of the metric.
    pub name: String,
    /// What it says, in words.
    pub help: Option<String>,
    /// Columns that are labels, by whose values series are told apart.
    pub labels: Vec<String>,
    /// The column of numbers that series show.
    pub value: String,
    /// Series there may be at a time; further ones are refused and counted.
    pub series_max: usize,
    /// After how long a series goes that nothing has set; `None`: never.
    pub expire_after: Option<Duration>,
}

/// The sink that sets a gauge.
#[derive(Debug)]
pub struct Metric {
    settings: MetricSettings,
    mode: OutputMode,
    /// Name of the pipeline and of the query.
    of: [String; 2],
    metrics: Metrics,
    columns: Option<Columns>,
    shown: Option<Shown>,
}

/// Labels that every series has.
const OWN_LABELS: [&str; 2] = ["pipeline", "query"];

/// Where in a row labels and value are, and how they are staged.
#[derive(Debug, Clone)]
struct Columns {
    picked: Vec<usize>,
    staged: SchemaRef,
}

/// The gauge while it is registered.
#[derive(Debug)]
struct Shown {
    gauge: GaugeVec,
    metrics: Metrics,
    series: Arc<Mutex<Series>>,
    refused: IntCounter,
}

/// When each series was set, by its labels.
type Series = HashMap<Vec<String>, Instant>;

impl Metric {
    /// A sink of `query` in `pipeline` whose series are among `metrics`.
    pub fn new(settings: MetricSettings, mode: OutputMode, pipeline: &str, query: &str, metrics: Metrics) -> Self {
        Self { settings, mode, of: [pipeline.to_owned(), query.to_owned()], metrics, columns: None, shown: None }
    }
}

impl MetricSettings {
    /// The first setting that is wrong whatever the rows are, and why.
    pub fn mistake(&self) -> Option<(&'static str, String)> {
        let is_name = |name: &str, also: char| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == also;
            name.chars().all(fits) && name.starts_with(|c: char| !c.is_ascii_digit())
        };
        if !is_name(&self.name, ':') {
            let message = format!("expected letters, digits, _ and :, not beginning with a digit, found {:?}", self.name);
            return Some(("name", message));
        }
        if self.name.starts_with("tidemill_") {
            return Some(("name", "tidemill_ is where our own metrics begin: choose another name".to_owned()));
        }
        for (at, label) in self.labels.iter().enumerate() {
            let why = if !is_name(label, '_') || label.starts_with("__") {
                "is no name that a label can have: give the column another one (AS)"
            } else if OWN_LABELS.contains(&label.as_str()) {
                "is a label that every metric has already: give the column another name (AS)"
            } else if self.labels[..at].contains(label) {
                "is there twice"
            } else {
                continue;
            };
            return Some(("labels", format!("{label:?} {why}")));
        }
        let in_range = (1..=SERIES_MAX).contains(&self.series_max);
        (!in_range).then(|| ("max_series", format!("expected 1 to {SERIES_MAX}, found {}", self.series_max)))
    }

    /// Refuses columns that are no labels or no numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the setting and the column.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        match self.mistake() {
            Some((setting, message)) => Err(Error::config(format!("{setting} of metric {}: {message}", self.name))),
            None => self.columns(schema).map(drop),
        }
    }

    fn columns(&self, schema: &Schema) -> Result<Columns> {
        let find = |setting: &str, name: &str| {
            schema.fields().iter().position(|field| field.name() == name).ok_or_else(|| {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                Error::config(format!(
                    "{setting} of metric {}: there is no column {name}; there are: {}",
                    self.name,
                    names.join(", ")
                ))
            })
        };
        let typed = |setting: &str, name: &str, fits: fn(&DataType) -> bool, wanted: &str| {
            let at = find(setting, name)?;
            let found = schema.field(at).data_type();
            if fits(found) {
                return Ok(at);
            }
            let found = sql_name(found);
            Err(Error::config(format!("{setting} of metric {}: column {name} must be {wanted}, not {found}", self.name)))
        };
        let mut picked = Vec::new();
        for name in &self.labels {
            picked.push(typed("labels", name, is_label, "a text, number, boolean, date or time")?);
        }
        picked.push(typed("value", &self.value, is_numeric, "a number")?);
        let staged = picked.iter().enumerate().map(|(at, column)| {
            let data_type = if at < self.labels.len() { DataType::Utf8 } else { DataType::Float64 };
            schema.field(*column).clone().with_data_type(data_type).with_nullable(true)
        });
        let staged = Arc::new(Schema::new(staged.collect::<Vec<_>>()));
        Ok(Columns { picked, staged })
    }
}

fn is_label(data_type: &DataType) -> bool {
    use DataType::{Boolean, Date32, Timestamp, Utf8};
    matches!(data_type, Utf8 | Boolean | Date32 | Timestamp(..)) || is_numeric(data_type)
}

impl Columns {
    fn stage(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.picked.iter().zip(self.staged.fields());
        let columns = columns.map(|(at, field)| cast(rows.column(*at), field.data_type())).collect::<Result<Vec<_>, _>>();
        columns
            .and_then(|columns| RecordBatch::try_new(self.staged.clone(), columns))
            .attempting(ErrorKind::Internal, || "write the series of a metric".to_owned())
    }
}

#[async_trait]
impl Sink for Metric {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    async fn open(&mut self, schema: &SchemaRef) -> Result<()> {
        self.settings.check(schema)?;
        self.columns = Some(self.settings.columns(schema)?);
        if self.shown.is_none() {
            self.shown = Some(Shown::new(&self.settings, &self.of, &self.metrics)?);
        }
        Ok(())
    }

    fn stage(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        let columns = self.columns.as_ref().ok_or_else(not_open)?;
        let staged = rows.iter().map(|rows| columns.stage(rows)).collect::<Result<Vec<_>>>()?;
        ipc::write(&columns.staged, &staged)
    }

    async fn contains(&mut self, _id: &CommitId) -> Result<Contains> {
        Ok(Contains::No)
    }

    async fn commit(&mut self, id: &CommitId, staged: &Bytes) -> Result<()> {
        let shown = self.shown.as_ref().ok_or_else(not_open)?;
        let refused = shown.set(&ipc::read(staged)?, self.mode == OutputMode::Complete, self.settings.series_max);
        if refused > 0 {
            shown.refused.inc_by(refused);
            let (metric, max_series) = (&self.settings.name, self.settings.series_max);
            tracing::warn!(
                query = self.of[1],
                batch = id.batch_id,
                metric,
                refused,
                max_series,
                "series over the limit are not shown"
            );
        }
        Ok(())
    }
}

impl Shown {
    fn new(settings: &MetricSettings, of: &[String; 2], metrics: &Metrics) -> Result<Self> {
        let [pipeline, query] = of;
        let help = settings.help.clone().unwrap_or_else(|| format!("Column {} of a result.", settings.value));
        let opts = Opts::new(&settings.name, help).const_label("pipeline", pipeline).const_label("query", query);
        let labels: Vec<&str> = settings.labels.iter().map(String::as_str).collect();
        let taken = |cause| {
            let message =
                format!("metric {} cannot be shown: another sink has it, with other labels or help, or the same", settings.name);
            Error::config(message).because(cause)
        };
        let gauge = GaugeVec::new(opts, &labels).map_err(taken)?;
        metrics.registry().register(Box::new(gauge.clone())).map_err(taken)?;
        let series = Arc::<Mutex<Series>>::default();
        let refused = metrics.series_refused(pipeline, query, &settings.name);
        if let Some(limit) = settings.expire_after {
            let (series, gauge) = (Arc::downgrade(&series), gauge.clone());
            metrics.before_each_scrape(move || {
                let Some(series) = series.upgrade() else { return false };
                expire(&mut lock(&series), &gauge, limit, Instant::now());
                true
            });
        }
        Ok(Self { gauge, metrics: metrics.clone(), series, refused })
    }

    /// Sets the series of `rows`, which are all there are if they are `complete`. How many rows had no room.
    fn set(&self, rows: &[RecordBatch], complete: bool, series_max: usize) -> u64 {
        let (now, mut refused) = (Instant::now(), 0);
        let mut series = lock(&self.series);
        let before = if complete { std::mem::take(&mut *series) } else { Series::new() };
        for rows in rows {
            let (value, labels) = rows.columns().split_last().expect("the value is the last of them");
            let labels: Vec<_> = labels.iter().map(|column| column.as_string::<i32>()).collect();
            let values = value.as_primitive::<Float64Type>();
            for row in 0..rows.num_rows() {
                // To Prometheus an empty label is one that is not there.
                let key: Vec<String> = labels
                    .iter()
                    .map(|text| if text.is_null(row) { String::new() } else { text.value(row).to_owned() })
                    .collect();
                if values.is_null(row) {
                    remove(&self.gauge, &key);
                    series.remove(&key);
                } else if series.len() < series_max || series.contains_key(&key) {
                    self.gauge.with_label_values(&key).set(values.value(row));
                    series.insert(key, now);
                } else {
                    refused += 1;
                }
            }
        }
        before.keys().filter(|key| !series.contains_key(*key)).for_each(|key| remove(&self.gauge, key));
        refused
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It was registered, so there is nothing to be said of a failure.
        let _ = self.metrics.registry().unregister(Box::new(self.gauge.clone()));
    }
}

fn expire(series: &mut Series, gauge: &GaugeVec, limit: Duration, now: Instant) {
    series.retain(|key, set| {
        let stays = now.saturating_duration_since(*set) < limit;
        if !stays {
            remove(gauge, key);
        }
        stays
    });
}

fn remove(gauge: &GaugeVec, labels: &[String]) {
    // An error says that there is no such series.
    let _ = gauge.remove_label_values(labels);
}

fn lock(series: &Mutex<Series>) -> MutexGuard<'_, Series> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_open() -> Error {
    Error::internal("a metric was set before it was opened")
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn settings() -> MetricSettings {
        MetricSettings {
            name: "fraud".to_owned(),
            help: Some("Frauds.".to_owned()),
            labels: vec!["user".to_owned()],
            value: "n".to_owned(),
            series_max: 3,
            expire_after: None,
        }
    }

    fn rows(users: &[Option<&str>], counts: &[Option<i64>]) -> RecordBatch {
        let users: ArrayRef = Arc::new(StringArray::from(users.to_vec()));
        let counts: ArrayRef = Arc::new(Int64Array::from(counts.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("n", counts, true), ("user", users, true)]).unwrap()
    }

    struct Fixture {
        sink: Metric,
        metrics: Metrics,
        commits: u64,
    }

    impl Fixture {
        async fn new(settings: MetricSettings, mode: OutputMode) -> Self {
            let metrics = Metrics::new().unwrap();
            let mut sink = Metric::new(settings, mode, "p", "q", metrics.clone());
            sink.open(&rows(&[], &[]).schema()).await.unwrap();
            Self { sink, metrics, commits: 0 }
        }

        async fn put(&mut self, users: &[Option<&str>], counts: &[Option<i64>]) -> Vec<String> {
            let staged = self.sink.stage(&[rows(users, counts)]).unwrap();
            let id = CommitId {
                query_id: "a".repeat(32),
                sink: "metric".into(),
                number: self.commits,
                batch_id: self.commits,
                batch_time_us: 0,
                crc32c: 0,
                is_accepted: false,
            };
            self.commits += 1;
            self.sink.commit(&id, &staged).await.unwrap();
            self.shown()
        }

        fn shown(&self) -> Vec<String> {
            let text = self.metrics.render().unwrap();
            let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("fraud")).map(str::to_owned).collect();
            lines.sort();
            lines.iter().map(|line| line.replace("fraud{pipeline=\"p\",query=\"q\",user=", "")).collect()
        }
    }

    #[tokio::test]
    async fn a_row_sets_its_series_and_null_takes_it_away() {
        let mut fixture = Fixture::new(settings(), OutputMode::Update).await;
        assert_eq!(fixture.put(&[Some("ann"), Some("b\"o\nb")], &[Some(2), Some(3)]).await, ["\"ann\"} 2", "\"b\\\"o\\nb\"} 3"]);
        assert_eq!(fixture.put(&[Some("ann"), None], &[Some(4), Some(1)]).await, ["\"\"} 1", "\"ann\"} 4", "\"b\\\"o\\nb\"} 3"]);
        assert_eq!(fixture.put(&[Some("ann"), None], &[None, None]).await, ["\"b\\\"o\\nb\"} 3"]);
    }

    #[tokio::test]
    async fn in_complete_mode_what_is_gone_disappears() {
        let mut fixture = Fixture::new(settings(), OutputMode::Complete).await;
        fixture.put(&[Some("ann"), Some("bob")], &[Some(2), Some(3)]).await;
        assert_eq!(fixture.put(&[Some("bob"), Some("cleo")], &[Some(4), Some(5)]).await, ["\"bob\"} 4", "\"cleo\"} 5"]);
        assert!(fixture.put(&[], &[]).await.is_empty());
    }

    #[tokio::test]
    async fn series_over_the_limit_are_refused_and_counted() {
        let mut fixture = Fixture::new(settings(), OutputMode::Update).await;
        let users: Vec<_> = ["a", "b", "c", "d", "e"].map(Some).to_vec();
        let counts = [1, 2, 3, 4, 5].map(Some);
        assert_eq!(fixture.put(&users, &counts).await, ["\"a\"} 1", "\"b\"} 2", "\"c\"} 3"]);
        let refused = "tidemill_metric_series_refused_total{metric=\"fraud\",pipeline=\"p\",query=\"q\"} 2";
        assert!(fixture.metrics.render().unwrap().contains(refused));
        assert_eq!(fixture.put(&[Some("b"), Some("d")], &[None, Some(9)]).await, ["\"a\"} 1", "\"c\"} 3", "\"d\"} 9"]);
    }

    #[tokio::test]
    async fn what_nothing_has_set_for_long_goes() {
        let mut fixture = Fixture::new(settings(), OutputMode::Update).await;
        fixture.put(&[Some("ann")], &[Some(2)]).await;
        let set = Instant::now();
        let (limit, shown) = (Duration::from_secs(60), fixture.sink.shown.as_ref().unwrap());
        expire(&mut lock(&shown.series), &shown.gauge, limit, set + Duration::from_secs(59));
        assert_eq!(fixture.shown(), ["\"ann\"} 2"]);
        expire(&mut lock(&shown.series), &shown.gauge, limit, set + Duration::from_secs(61));
        assert!(fixture.shown().is_empty());
    }

    #[tokio::test]
    async fn a_scrape_takes_away_what_has_expired() {
        let expire_after = Some(Duration::from_nanos(1));
        let mut fixture = Fixture::new(MetricSettings { expire_after, ..settings() }, OutputMode::Update).await;
        assert!(fixture.put(&[Some("ann")], &[Some(2)]).await.is_empty());
    }

    #[tokio::test]
    async fn a_name_is_one_sinks_until_it_is_dropped() {
        let first = Fixture::new(settings(), OutputMode::Update).await;
        let again = |metrics: &Metrics| Metric::new(settings(), OutputMode::Update, "p", "q", metrics.clone());
        let schema = rows(&[], &[]).schema();
        let refused = again(&first.metrics).open(&schema).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused:?}");
        let metrics = first.metrics.clone();
        drop(first);
        again(&metrics).open(&schema).await.unwrap();
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_by_name() {
        let refused = |change: fn(&mut MetricSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check(&rows(&[], &[]).schema()).unwrap_err().message().to_owned()
        };
        assert_eq!(refused(|s| s.value = "m".into()), "value of metric fraud: there is no column m; there are: n, user");
        assert_eq!(refused(|s| s.value = "user".into()), "value of metric fraud: column user must be a number, not STRING");
        assert_eq!(
            refused(|s| s.name = "2nd".into()),
            "name of metric 2nd: expected letters, digits, _ and :, not beginning with a digit, found \"2nd\""
        );
        for (label, why) in [
            ("a b", "\"a b\" is no name that a label can have: give the column another one (AS)"),
            ("__x", "\"__x\" is no name that a label can have: give the column another one (AS)"),
            ("query", "\"query\" is a label that every metric has already: give the column another name (AS)"),
        ] {
            let settings = MetricSettings { labels: vec![label.to_owned()], ..settings() };
            assert_eq!(settings.mistake(), Some(("labels", why.to_owned())));
        }
        assert_eq!(refused(|s| s.labels = vec!["x".into()]), "labels of metric fraud: there is no column x; there are: n, user");
    }
}
