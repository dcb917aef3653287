//! Random queries, with what a model must know of them.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;

use super::join::{Join, JoinKind};
use super::stream::{Event, MINUTE_US};
use crate::plan::OutputMode;
use crate::watermark::WatermarkPolicy;

/// A query, and what is true of it.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub sql: String,
    pub mode: OutputMode,
    /// How far each source's watermark stays behind.
    pub delays_ms: Vec<i64>,
    pub policy: WatermarkPolicy,
    pub filter: Filter,
    /// Rows of each source that repeat another one are taken out first.
    pub deduplication: Option<Dedup>,
    pub late: Late,
    pub result: ResultRows,
    /// Rows of a source that have no key move its watermark: no join leaves them out below it.
    pub sees_null_keys: [bool; 2],
    /// A batch is run for a watermark that has moved.
    pub runs_on_watermark: bool,
    /// Each row that reaches the operator comes from one row of a source.
    pub counts_late: bool,
    /// The state of the aggregation can be told from its result.
    pub counts_state: bool,
}

/// Which rows the query takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filter {
    All,
    /// Judged before the watermark.
    ValueBelow(i64),
    /// On the result, but judged before the watermark as well: it is on a group's key.
    KeyIs(i64),
    /// On the event time, and so judged behind the watermark.
    Since(i64),
}

impl Filter {
    pub(super) fn passes(self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::ValueBelow(value) => event.value < value,
            Self::KeyIs(key) => event.key == Some(key),
            Self::Since(us) => event.us.is_some_and(|at| at >= us),
        }
    }

    /// Whether rows that it leaves out move the watermark.
    pub(super) fn is_behind_watermark(self) -> bool {
        matches!(self, Self::Since(_))
    }
}

/// How rows are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dedup {
    pub by: &'static [&'static str],
    pub within_watermark: bool,
}

impl Dedup {
    fn draw(rng: &mut StdRng) -> Self {
        const BY: [&[&str]; 5] = [&["k"], &["k", "v"], &["ts", "k"], &["ts", "k", "v"], &["ts"]];
        Self { by: BY[rng.random_range(0..BY.len())], within_watermark: rng.random_bool(0.5) }
    }
}

/// When a row comes too late.
#[derive(Debug, Clone, Copy)]
pub(super) enum Late {
    Never,
    /// Its time is not after the watermark.
    ByTime,
    /// The window has ended by the watermark; each of its windows by itself.
    ByWindow(Windows),
    /// The session that it would be alone has ended by the watermark.
    BySession(Gap),
    /// Its time is not after the watermark; a join looks only at rows that can have a partner, or come out without one.
    InJoin(Join),
}

/// How long a session goes on after a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gap {
    Minutes(i64),
    /// As many minutes as the row's value modulo 13; without any there is no session.
    ByValue,
}

impl Gap {
    pub(super) fn us(self, event: &Event) -> i64 {
        match self {
            Self::Minutes(minutes) => minutes * MINUTE_US,
            Self::ByValue => event.value % 13 * MINUTE_US,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minutes(minutes) => write!(f, "'{minutes} minutes'"),
            Self::ByValue => write!(f, "concat(v % 13, ' minutes')"),
        }
    }
}

/// Windows over event time, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub size_us: i64,
    pub slide_us: i64,
    pub start_us: i64,
}

impl Windows {
    /// The ends of the windows that `us` is in.
    pub(super) fn ends(self, us: i64) -> impl Iterator<Item = i64> {
        let newest = us - (us - self.start_us).rem_euclid(self.slide_us);
        let starts = (0..).map(move |back| newest - back * self.slide_us);
        starts.map(move |start| start + self.size_us).take_while(move |end| *end > us)
    }
}

/// What the rows of the result are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultRows {
    /// Each stands for itself.
    Rows,
    /// Groups that never end, with so many key columns.
    Groups(usize),
    /// Groups with so many key columns, of which the first says when the group ends, in microseconds.
    Ending(usize),
}

const MINUTES: [i64; 3] = [10, 10, 20];

/// A question of each kind that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Groups by windows or by event time itself.
    Groups,
    /// Repeated rows taken out, alone or below windows.
    Deduplication,
    /// Rows that follow each other within a gap.
    Sessions,
    /// Two streams joined.
    Joins,
    /// Windows over windows, over two sources, beside a table; queries without event time or without state.
    Chains,
}

impl Question {
    pub(super) fn draw(rng: &mut StdRng, kind: Kind) -> Self {
        match kind {
            Kind::Groups if rng.random_bool(0.25) => Self::by_time(rng),
            Kind::Groups => Self::windows(rng, None, Over::Source),
            Kind::Deduplication => Self::deduplicated(rng),
            Kind::Sessions => Self::sessions(rng),
            Kind::Joins => Self::join(rng),
            Kind::Chains => match rng.random_range(0..10) {
                0..4 => Self::windows_over_windows(rng),
                4..6 => Self::windows(rng, None, Over::TwoSources),
                6 | 7 => Self::windows(rng, None, Over::Table),
                8 => Self::without_event_time(rng),
                _ => Self::stateless(rng),
            },
        }
    }

    fn new(rng: &mut StdRng, sources: usize) -> Self {
        let delays = [0, 0, 1, 300_000, 300_000, 1_800_000];
        Self {
            sql: String::new(),
            mode: OutputMode::Append,
            delays_ms: (0..sources).map(|_| delays[rng.random_range(0..delays.len())]).collect(),
            policy: if rng.random_bool(0.5) { WatermarkPolicy::Min } else { WatermarkPolicy::Max },
            filter: Filter::All,
            deduplication: None,
            late: Late::Never,
            result: ResultRows::Rows,
            sees_null_keys: [true; 2],
            runs_on_watermark: true,
            counts_late: true,
            counts_state: false,
        }
    }

    fn windows(rng: &mut StdRng, deduplication: Option<Dedup>, over: Over) -> Self {
        let mut question = Self::new(rng, if over == Over::TwoSources { 2 } else { 1 });
        question.deduplication = deduplication;
        question.counts_late = over != Over::Table;
        question.counts_state = true;
        question.mode = any_mode(rng);
        let windows = Windows::draw(rng);
        if deduplication.is_none() && question.mode != OutputMode::Complete {
            question.late = Late::ByWindow(windows);
        }
        question.runs_on_watermark = question.mode != OutputMode::Complete || deduplication.is_some();
        let mut keys = vec!["unix_micros(window.end) AS ends", "unix_micros(window.start) AS starts"];
        let mut by = vec![windows.to_string()];
        if rng.random_bool(0.7) {
            keys.push("k");
            by.push("k".to_owned());
        }
        if over == Over::Table {
            keys.push("city");
            by.push("city".to_owned());
        }
        question.result = ResultRows::Ending(keys.len());
        let from = match over {
            Over::Source => "e".to_owned(),
            Over::TwoSources => "(SELECT ts, k, v FROM e UNION ALL SELECT ts, k, v FROM f)".to_owned(),
            Over::Table => {
                let is_left = rng.random_bool(0.5);
                question.sees_null_keys[0] = is_left;
                let join = if is_left { "LEFT JOIN" } else { "JOIN" };
                format!("(SELECT e.ts, e.k, e.v, u.city FROM e {join} u ON e.k = u.id)")
            }
        };
        let filter = Filter::draw(rng, by.iter().any(|key| key == "k") && deduplication.is_none());
        let functions = functions(rng, over == Over::Source);
        let having = if question.mode == OutputMode::Append && rng.random_bool(0.15) { " HAVING count(*) > 1" } else { "" };
        question.counts_state &= having.is_empty();
        let inner = format!(
            "SELECT {}, {functions} FROM {}{} GROUP BY {}{having}",
            keys.join(", "),
            from,
            filter.condition(),
            by.join(", ")
        );
        question.sql = filter.above(inner);
        question.filter = filter;
        question
    }

    fn by_time(rng: &mut StdRng) -> Self {
        let mut question = Self::new(rng, 1);
        question.mode = any_mode(rng);
        question.counts_state = true;
        question.runs_on_watermark = question.mode != OutputMode::Complete;
        if question.mode != OutputMode::Complete {
            question.late = Late::ByTime;
        }
        let with_key = rng.random_bool(0.6);
        question.result = ResultRows::Ending(1 + usize::from(with_key));
        let filter = Filter::draw(rng, with_key);
        let key = if with_key { ", k" } else { "" };
        let inner = if rng.random_bool(0.4) {
            format!("SELECT unix_micros(ts) AS ends{key} FROM (SELECT DISTINCT ts{key} FROM e{})", filter.condition())
        } else {
            let functions = functions(rng, true);
            format!("SELECT unix_micros(ts) AS ends{key}, {functions} FROM e{} GROUP BY ts{key}", filter.condition())
        };
        question.sql = filter.above(inner);
        question.filter = filter;
        question
    }

    fn sessions(rng: &mut StdRng) -> Self {
        let sources = if rng.random_bool(0.2) { 2 } else { 1 };
        let mut question = Self::new(rng, sources);
        question.deduplication = rng.random_bool(0.2).then(|| Dedup::draw(rng));
        let gap = if rng.random_bool(0.3) { Gap::ByValue } else { Gap::Minutes([1, 5, 12][rng.random_range(0..3)]) };
        question.late = Late::BySession(gap);
        question.mode = if rng.random_bool(0.12) { OutputMode::Complete } else { OutputMode::Append };
        question.runs_on_watermark = question.mode != OutputMode::Complete || question.deduplication.is_some();
        question.result = ResultRows::Ending(3);
        let filter = Filter::draw(rng, question.deduplication.is_none());
        let from = match sources {
            1 => "e",
            _ => "(SELECT ts, k, v FROM e UNION ALL SELECT ts, k, v FROM f)",
        };
        question.sql = filter.above(format!(
            "SELECT unix_micros(session_window.end) AS ends, unix_micros(session_window.start) AS starts, k, count(*) AS n, sum(v) AS s, \
             min(v) AS a, max(v) AS b FROM {from}{} GROUP BY session_window(ts, {gap}), k",
            filter.condition()
        ));
        question.filter = filter;
        question
    }

    fn join(rng: &mut StdRng) -> Self {
        let mut question = Self::new(rng, 2);
        let join = Join::draw(rng);
        question.late = Late::InJoin(join);
        question.sees_null_keys = [join.is_outer(0), join.is_outer(1)];
        if matches!(join.kind, JoinKind::Inner | JoinKind::Semi) && rng.random_bool(0.3) {
            question.mode = OutputMode::Update;
        }
        let filter = Filter::draw(rng, false);
        let of = |source: &str| format!("(SELECT * FROM {source}{}) {source}", filter.condition());
        question.sql = format!("SELECT {} FROM {} {} {} ON {join}", join.columns(), of("e"), join.kind.sql(), of("f"));
        question.filter = filter;
        question
    }

    fn deduplicated(rng: &mut StdRng) -> Self {
        let deduplication = Some(Dedup::draw(rng));
        if rng.random_bool(0.4) {
            return Self::windows(rng, deduplication, Over::Source);
        }
        let sources = if rng.random_bool(0.2) { 2 } else { 1 };
        let mut question = Self::new(rng, sources);
        question.deduplication = deduplication;
        question.mode = if rng.random_bool(0.7) { OutputMode::Append } else { OutputMode::Update };
        question.sql = match question.delays_ms.len() {
            1 => "SELECT unix_micros(ts), k, v FROM e".to_owned(),
            _ => "SELECT unix_micros(ts), k, v FROM e UNION ALL SELECT unix_micros(ts), k, v FROM f".to_owned(),
        };
        if question.delays_ms.len() == 1 {
            let filter = Filter::draw(rng, false);
            question.sql += &filter.condition();
            question.filter = filter;
        }
        question
    }

    fn windows_over_windows(rng: &mut StdRng) -> Self {
        let mut question = Self::new(rng, 1);
        let size = MINUTES[rng.random_range(0..MINUTES.len())];
        let inner = Windows::of_minutes(size, size, [0, 3][rng.random_range(0..2)]);
        let outer = Windows::draw(rng);
        question.late = Late::ByWindow(inner);
        let key = if rng.random_bool(0.6) { ", k" } else { "" };
        question.result = ResultRows::Ending(2 + usize::from(!key.is_empty()));
        let over = if rng.random_bool(0.5) { "w" } else { "window_time(w)" };
        let filter = Filter::draw(rng, false);
        question.filter = filter;
        question.sql = format!(
            "SELECT unix_micros(window.end) AS ends, unix_micros(window.start) AS starts{key}, sum(n) AS n, count(*) AS c, max(s) AS s FROM \
             (SELECT window AS w{key}, count(*) AS n, sum(v) AS s FROM e{} GROUP BY {inner}{key}) GROUP BY {}{key}",
            filter.condition(),
            outer.over(over)
        );
        question
    }

    fn without_event_time(rng: &mut StdRng) -> Self {
        let mut question = Self::new(rng, 1);
        question.mode = if rng.random_bool(0.5) { OutputMode::Update } else { OutputMode::Complete };
        question.runs_on_watermark = question.mode == OutputMode::Update;
        question.result = ResultRows::Groups(1);
        let filter = Filter::draw(rng, true);
        let functions = functions(rng, true);
        question.sql = filter.above(format!("SELECT k, {functions} FROM e{} GROUP BY k", filter.condition()));
        question.filter = filter;
        question
    }

    fn stateless(rng: &mut StdRng) -> Self {
        let mut question = Self::new(rng, 1);
        question.runs_on_watermark = false;
        let filter = Filter::draw(rng, false);
        question.sql = format!("SELECT unix_micros(ts), k, v FROM e{}", filter.condition());
        question.filter = filter;
        question
    }
}

/// What windows stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Source,
    TwoSources,
    Table,
}

fn any_mode(rng: &mut StdRng) -> OutputMode {
    match rng.random_range(0..10) {
        0..6 => OutputMode::Append,
        6..9 => OutputMode::Update,
        _ => OutputMode::Complete,
    }
}

/// Aggregates; those behind the first two depend on the order of rows.
fn functions(rng: &mut StdRng, is_ordered: bool) -> &'static str {
    const FUNCTIONS: [&str; 4] = [
        "count(*) AS n, sum(v) AS s",
        "count(v) AS n, min(v) AS a, max(v) AS b, avg(v) AS m",
        "count(*) AS n, first_value(v) AS f, last_value(v) AS l",
        "collect_list(v) AS c",
    ];
    FUNCTIONS[rng.random_range(0..if is_ordered { FUNCTIONS.len() } else { 2 })]
}

impl Filter {
    fn draw(rng: &mut StdRng, has_key: bool) -> Self {
        match rng.random_range(0..12) {
            0 | 1 => Self::ValueBelow(60),
            2 if has_key => Self::KeyIs(1),
            3 => Self::Since([0, 3 * MINUTE_US, 1_767_225_600_000_000 + 7 * MINUTE_US][rng.random_range(0..3)]),
            _ => Self::All,
        }
    }

    /// Where it stands over the source.
    fn condition(self) -> String {
        match self {
            Self::All | Self::KeyIs(_) => String::new(),
            Self::ValueBelow(value) => format!(" WHERE v < {value}"),
            Self::Since(us) => format!(" WHERE ts >= timestamp_micros({us})"),
        }
    }

    /// Where it stands over the result.
    fn above(self, sql: String) -> String {
        match self {
            Self::KeyIs(key) => format!("SELECT * FROM ({sql}) WHERE k = {key}"),
            _ => sql,
        }
    }
}

impl Windows {
    fn of_minutes(size: i64, slide: i64, start: i64) -> Self {
        Self { size_us: size * MINUTE_US, slide_us: slide * MINUTE_US, start_us: start * MINUTE_US }
    }

    fn draw(rng: &mut StdRng) -> Self {
        let size = MINUTES[rng.random_range(0..MINUTES.len())];
        // Slides that do not divide the size among them.
        let slide = if rng.random_bool(0.5) { size } else { [4, 5, 7][rng.random_range(0..3)] };
        let start = if rng.random_bool(0.3) { [1, 3, -2][rng.random_range(0..3)] } else { 0 };
        Self::of_minutes(size, slide, start)
    }

    pub(super) fn is_tumbling(self) -> bool {
        self.size_us == self.slide_us
    }

    fn over(self, time: &str) -> String {
        let [size, slide, start] = [self.size_us, self.slide_us, self.start_us].map(|us| format!("'{} minutes'", us / MINUTE_US));
        match (self.is_tumbling(), self.start_us) {
            (true, 0) => format!("window({time}, {size})"),
            (false, 0) => format!("window({time}, {size}, {slide})"),
            _ => format!("window({time}, {size}, {slide}, {start})"),
        }
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.over("ts"))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.sql)?;
        write!(f, "mode {:?}, watermarks {:?} ms behind, policy {:?}", self.mode, self.delays_ms, self.policy)?;
        match self.deduplication {
            Some(Dedup { by, within_watermark: true }) => writeln!(f, ", deduplicated by {by:?} within the watermark"),
            Some(Dedup { by, .. }) => writeln!(f, ", deduplicated by {by:?}"),
            None => writeln!(f),
        }
    }
}
