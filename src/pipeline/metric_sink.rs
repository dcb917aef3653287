//! Settings of the metric sink.

use std::time::Duration;

use super::problem::{Place, Problems};
use super::settings::Presence::{Default, Optional, Required};
use super::settings::{Kind, Table};
use super::tables::{plain, setting};
use super::values::Values;
use crate::sink::metric::{MetricSettings, SERIES_MAX};

/// A metric sink.
pub(super) static METRIC_SINK: Table = plain(
    "Sink `metric`",
    "Rows as series of a Prometheus gauge among the process's own metrics. In complete mode the rows of a batch are all series there are; \
     otherwise a row sets its series, and takes it away if its value is null.",
    &[
        setting("name", Kind::Text, Required, "Name of the metric: letters, digits, `_` and `:`. `tidemill_` is for our own."),
        setting("help", Kind::Text, Optional, "What it says. Default: the name of the column."),
        setting(
            "labels",
            Kind::Columns,
            Optional,
            "Columns that are labels; series are told apart by their values. `pipeline` and `query` are there in any case.",
        ),
        setting("value", Kind::Column, Required, "The column of numbers that the series show."),
        setting(
            "max_series",
            Kind::Count { min: 1, max: SERIES_MAX as u64 },
            Default("1000"),
            "Series there may be at a time; further ones are refused, counted and logged.",
        ),
        setting(
            "expire_after",
            Kind::Duration { min: Duration::from_secs(1) },
            Optional,
            "After so long a series goes that no row has set. Default: never.",
        ),
    ],
);

/// The sink, or what is wrong with how its settings go together.
pub(super) fn metric_sink(
    sink: &Values,
    values: &Values,
    format: Option<&Place>,
    problems: &mut Problems,
) -> Option<MetricSettings> {
    if let Some(place) = format {
        problems.add(place, sink.about("format", "metric writes numbers and takes no format"));
    }
    let settings = MetricSettings {
        name: values.word("name")?,
        help: if values.is_given("help") { values.word("help") } else { None },
        labels: values.words("labels"),
        value: values.word("value")?,
        series_max: usize::try_from(values.count("max_series")?).expect("the declared bound fits"),
        expire_after: if values.is_given("expire_after") { values.duration("expire_after") } else { None },
    };
    let mistake = settings.mistake();
    if let Some((setting, message)) = &mistake {
        problems.add(values.place_of(setting), values.about(setting, message));
    }
    mistake.is_none().then_some(settings)
}
