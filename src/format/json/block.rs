//! Decoding a block of lines by the template that they are expected to share.
//!
//! What is taken here means exactly what the strict parser would make of it: a value is read only in the plainest form of its type,
//! any other by the strict parser in place, and a line that does not fit goes to that parser as a whole.

use std::ops::Range;

use arrow::datatypes::Fields;

use super::kernel::{Boolean, Double, End, Integer, Kernel, Minute, Numbers, Pass, Skip, Text, Time, TimeKind, Walk};
use super::keys::{Keys, Role, Shape};
use super::lexer::Cursor;
use super::simd::{Level, Rows, WINDOW};
use super::template::{Action, Gap, Node, Output, Slot, Template};
use super::text::{self, Discard};
use super::value::Parser;
use crate::format::column::{Column, Data, bits, first};
use crate::format::filter::{Literal, Test, order};

/// Bytes of a block at most. Columns have offsets of 32 bits: with blocks this short, not even values that grow on their way into a
/// column can make one overflow within a batch.
const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Keys in a row that may be missing before a line counts as one of another shape.
const MISSING_MAX: usize = 5;
/// Blocks in a row that may fail before speculation pauses.
const FAILURES_MAX: u32 = 4;
/// Blocks that the first pause lasts, and the longest one.
const PAUSE_BLOCKS: Range<u32> = 64..4096;

/// Bytes behind a line that the inner loops may look at (without effect); lines nearer to the end of the text are left to the strict
/// parser.
const MARGIN: usize = WINDOW;

/// Guesses that lines look like those before them.
pub(super) struct Speculation {
    level: Level,
    fields: Fields,
    template: Option<Template>,
    numbers: Box<Numbers>,
    /// The lines of the block that were to be guessed.
    tried: u64,
    /// Blocks in a row of which most lines had another shape.
    failures: u32,
    /// Blocks that are left to the strict parser before the next guess.
    pause: u32,
    /// How many it will be the next time.
    next_pause: u32,
}

/// The text that the places of a block's values refer to.
pub(super) fn block_text<'a>(text: &'a [u8], lines: &[Range<usize>]) -> &'a [u8] {
    match (lines.first(), lines.last()) {
        (Some(first), Some(last)) => &text[first.start..text.len().min(last.end + MARGIN)],
        _ => &[],
    }
}

impl Speculation {
    pub(super) fn new(fields: &Fields, level: Level) -> Self {
        let next_pause = PAUSE_BLOCKS.start;
        Self {
            level,
            fields: fields.clone(),
            template: None,
            numbers: Box::new(Numbers::NONE),
            tried: 0,
            failures: 0,
            pause: 0,
            next_pause,
        }
    }

    /// Reads the values of up to 64 lines; which lines fit. Their values are held until the next call.
    pub(super) fn read(&mut self, text: &[u8], lines: &[Range<usize>], parser: &mut Parser) -> u64 {
        self.tried = 0;
        let base = lines.first().map_or(0, |first| first.start);
        let text = block_text(text, lines);
        if self.pause > 0 || text.len() > BLOCK_BYTES_MAX {
            return 0;
        }
        let (mut places, mut ends) = ([0; 64], [0; 64]);
        for (row, line) in lines.iter().enumerate() {
            (places[row], ends[row]) = ((line.start - base) as u32, (line.end - base) as u32);
        }
        let fitting = ends[..lines.len()].iter().take_while(|end| **end as usize + MARGIN <= text.len()).count();
        self.tried = first(fitting);
        let Some(Template { slots, .. }) = &mut self.template else { return 0 };
        let mut rows = self.tried;
        for at in 0..slots.len() {
            let (slot, later) = slots[at..].split_first_mut().expect("a slot at each place");
            let missed = walk(slot, self.level, text, rows, (&mut places, &ends), (&mut self.numbers, parser));
            for row in bits(missed) {
                let place = places[row] as usize;
                match text.get(place..ends[row] as usize).and_then(|rest| unusual(slot, later, rest, row, parser)) {
                    Some(len) => places[row] += len as u32,
                    None => rows &= !(1 << row),
                }
            }
        }
        rows
    }

    /// Which of the lines that fit may fulfil `test` in the declared field `at`. Where that is not easily told, all may.
    pub(super) fn wanted(&self, at: usize, test: &Test, rows: u64, text: &[u8]) -> u64 {
        let Some(template) = &self.template else { return rows };
        match template.nodes[at] {
            Node::Absent => 0,
            Node::Struct(_) => rows,
            Node::Slot(slot) => match &template.slots[slot].output {
                Some(output) => holds(output, test, rows & output.values.valid, text),
                None => rows,
            },
        }
    }

    /// Appends the values of `rows`, which must fit, to the columns that are kept.
    pub(super) fn append(&self, columns: &mut [Column], keys: &Keys, rows: u64, text: &[u8]) {
        let Some(template) = &self.template else { return };
        for ((column, role), node) in columns.iter_mut().zip(keys.roles()).zip(&template.nodes) {
            if role == Role::Keep {
                append(node, &template.slots, column, rows, text);
            }
        }
    }

    /// Draws conclusions from a block of which the lines in `good` fitted; `other` is a line that did not and that is right.
    pub(super) fn learn(&mut self, good: u64, other: Option<&[u8]>, (keys, shapes): (&Keys, &[Shape]), depth_max: usize) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let failed = (self.tried & !good).count_ones();
        if self.template.is_some() && failed * 2 <= self.tried.count_ones() {
            if self.tried != 0 {
                (self.failures, self.next_pause) = (0, PAUSE_BLOCKS.start);
            }
            return;
        }
        let Some(line) = other else { return };
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            (self.failures, self.pause) = (0, self.next_pause);
            self.next_pause = (self.next_pause * 2).min(PAUSE_BLOCKS.end);
            return;
        }
        self.template = Template::learn(line, (&self.fields, keys, shapes), depth_max);
    }
}

/// Reads the plain values of one slot; which rows have something else there.
fn walk(
    slot: &mut Slot,
    level: Level,
    text: &[u8],
    rows: u64,
    (places, ends): (&mut Rows<u32>, &Rows<u32>),
    (numbers, parser): (&mut Numbers, &Parser),
) -> u64 {
    /// Runs one kind of inner loop.
    struct Run<'a> {
        level: Level,
        text: &'a [u8],
        gap: &'a Gap,
        rows: u64,
        places: &'a mut Rows<u32>,
    }
    impl Run<'_> {
        fn with<K: Kernel>(self, kernel: K) -> u64 {
            let Self { level, text, gap, rows, places } = self;
            level.run(Walk { text, gap, rows, places, kernel })
        }
    }
    let run = Run { level, text, gap: &slot.gap, rows, places };
    let Some(output) = &mut slot.output else {
        return match slot.action {
            Action::Pass => run.with(Pass),
            Action::End => run.with(End(ends)),
            _ => run.with(Skip),
        };
    };
    output.values.clear();
    let values = &mut output.values.values;
    match slot.action {
        Action::Text => run.with(Text(values)),
        Action::Double { signed: false } => run.with(Double::<false> { values, numbers }),
        Action::Double { signed: true } => run.with(Double::<true> { values, numbers }),
        Action::Integer { digits_max, signed: false } => run.with(Integer::<false> { values, digits_max, numbers }),
        Action::Integer { digits_max, signed: true } => run.with(Integer::<true> { values, digits_max, numbers }),
        Action::Boolean => run.with(Boolean(values)),
        Action::Timestamp => run.with(Time { values, kind: TimeKind::Timestamp(parser.zone), minute: Minute::NONE }),
        Action::TimestampNtz => run.with(Time { values, kind: TimeKind::TimestampNtz, minute: Minute::NONE }),
        Action::Date => run.with(Time { values, kind: TimeKind::Date, minute: Minute::NONE }),
        Action::Strict | Action::Skip | Action::Pass | Action::End => rows,
    }
}

/// What else than a plain value can stand at a slot of a line that fits: how much of `rest` it is.
fn unusual(slot: &mut Slot, later: &[Slot], rest: &[u8], row: usize, parser: &mut Parser) -> Option<usize> {
    let key = &slot.gap.bytes()[..slot.key_len];
    if matches!(slot.action, Action::Pass | Action::End) {
        return None;
    }
    if let Some(value) = rest.strip_prefix(key) {
        return Some(key.len() + strict_value(slot, value, row, parser)?);
    }
    // A key may be missing. Whatever is passed over must be no more than a comma and a key, or braces would be missing too.
    let mut may_be_missing = slot.is_optional;
    for next in later.iter().take(MISSING_MAX).take_while(|next| std::mem::replace(&mut may_be_missing, next.is_optional)) {
        if rest.starts_with(&next.gap.bytes()[..next.key_len]) {
            slot.output.iter_mut().for_each(|output| output.values.set_null(row));
            return Some(0);
        }
    }
    None
}

/// Reads a value as the strict parser does; its length, if it is right.
fn strict_value(slot: &mut Slot, text: &[u8], row: usize, parser: &mut Parser) -> Option<usize> {
    let mut cursor = Cursor::new(text);
    let Some(Output { values, shape }) = slot.output.as_deref_mut() else {
        text::walk(&mut cursor, slot.depth, parser.depth_max, &mut Discard).ok()?;
        return Some(cursor.at());
    };
    if text.starts_with(b"null") {
        values.set_null(row);
        return Some(4);
    }
    if let (Action::Double { signed } | Action::Integer { signed, .. }, Some(b'-')) = (&mut slot.action, text.first()) {
        *signed = true;
    }
    let before = values.others.len();
    parser.wrong = None;
    let right = parser.value(&mut cursor, shape, &mut values.others, slot.depth);
    if right != Ok(true) || parser.wrong.take().is_some() {
        values.others.truncate(before);
        return None;
    }
    values.set_other(row);
    Some(cursor.at())
}

fn append(node: &Node, slots: &[Slot], column: &mut Column, rows: u64, text: &[u8]) {
    match node {
        Node::Absent => column.push_nulls(rows.count_ones() as usize),
        Node::Slot(at) => match &slots[*at].output {
            Some(output) => output.values.append_to(column, rows, text),
            None => unreachable!("a slot of a declared field has an output"),
        },
        Node::Struct(nodes) => {
            if let Data::Struct(columns, _) = &mut column.data {
                columns.iter_mut().zip(nodes).for_each(|(column, node)| append(node, slots, column, rows, text));
            }
            column.pushed_block(rows, u64::MAX);
        }
    }
}

/// Which of `rows`, none of them null, fulfil the test.
fn holds(output: &Output, test: &Test, rows: u64, text: &[u8]) -> u64 {
    let Test::Compare(comparison, literal) = test else { return rows };
    let values = &output.values;
    let pick = |holds: &dyn Fn(usize) -> bool| bits(rows).filter(|row| holds(*row)).fold(0, |all, row| all | 1 << row);
    match (literal, &values.others.data) {
        (Literal::Boolean(right), Data::Boolean(_)) => pick(&|row| comparison.holds((values.values[row] != 0).cmp(right))),
        (Literal::Integer(right), Data::Int8(_)) => pick(&|row| comparison.holds(i64::from(values.values[row] as i8).cmp(right))),
        (Literal::Integer(right), _) => pick(&|row| comparison.holds((values.values[row] as i64).cmp(right))),
        (Literal::Double(right), Data::Float64(_)) => {
            pick(&|row| comparison.holds(order(f64::from_bits(values.values[row]), *right)))
        }
        (Literal::String(right), Data::String(_)) => {
            pick(&|row| comparison.holds(values.string(row, text).cmp(right.as_bytes())))
        }
        _ => rows,
    }
}
