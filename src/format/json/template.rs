//! The shape that lines repeat, learnt from one of them.
//!
//! A line is a sequence of gaps and values: `{"name": "` Ann `", "amount": ` 1.5 `}`. Lines of the same origin mostly have the
//! same gaps, so that what a key is and where it belongs is found out once. Nested objects dissolve into gaps; an array is one
//! value. A gap that matches also proves that the value in front of it has ended as it must.

use arrow::datatypes::{DataType, Fields, TimeUnit};

use super::keys::{Keys, Role, Shape};
use super::lexer::{Cursor, Token};
use super::simd::GAP_MAX;
use super::text::{self, Discard};
use crate::format::column::{BlockValues, Column};

/// Values of a line at most; longer lines are left to the strict parser.
const SLOTS_MAX: usize = 512;

/// Constant bytes between two values, [`GAP_MAX`] of them at most.
#[derive(Debug, Clone, Copy)]
pub(in crate::format) struct Gap {
    bytes: [u8; GAP_MAX + 1],
    len: usize,
    /// A bit for each byte that there is, of the first and the second 32.
    masks: [u32; 2],
}

impl Gap {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; GAP_MAX + 1];
        bytes[..text.len()].copy_from_slice(text);
        let all = (1_u64 << text.len()) - 1;
        Self { bytes, len: text.len(), masks: [all as u32, (all >> 32) as u32] }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len & GAP_MAX
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// The first 32 bytes and the second, with a bit for each that there is.
    #[inline(always)]
    pub(super) fn halves(&self) -> [(&[u8; 32], u32); 2] {
        let [first, second] = self.bytes.as_chunks().0 else { unreachable!("a gap has two halves") };
        [(first, self.masks[0]), (second, self.masks[1])]
    }
}

/// How the values of a slot are read where they have their plainest form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A STRING. The opening quote belongs to the gap.
    Text,
    /// A DOUBLE; with a minus only if such have been seen.
    Double {
        signed: bool,
    },
    /// An integer of up to this many digits; any such number is of its type.
    Integer {
        digits_max: usize,
        signed: bool,
    },
    Boolean,
    /// A TIMESTAMP in quotes, the opening one belonging to the gap.
    Timestamp,
    /// A TIMESTAMP_NTZ, likewise.
    TimestampNtz,
    /// A DATE, likewise.
    Date,
    /// A value of another type: always by the strict parser.
    Strict,
    /// A value that nobody wants.
    Skip,
    /// No value: the gap was too long, its rest follows.
    Pass,
    /// No value: the line's object has ended.
    End,
}

impl Action {
    /// For values of `data_type`, of which `token` is one; null is one of any type.
    fn of(data_type: &DataType, token: &Token<'_>) -> Self {
        let null = matches!(token, Token::Null);
        let string = null || matches!(token, Token::String(_));
        let number = null || matches!(token, Token::Number(_));
        let boolean = null || matches!(token, Token::True | Token::False);
        match data_type {
            DataType::Utf8 if string => Self::Text,
            DataType::Float64 if number => Self::Double { signed: false },
            DataType::Int8 if number => Self::Integer { digits_max: 2, signed: false },
            DataType::Int16 if number => Self::Integer { digits_max: 4, signed: false },
            DataType::Int32 if number => Self::Integer { digits_max: 9, signed: false },
            DataType::Int64 if number => Self::Integer { digits_max: 15, signed: false },
            DataType::Boolean if boolean => Self::Boolean,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) if string => Self::Timestamp,
            DataType::Timestamp(TimeUnit::Microsecond, None) if string => Self::TimestampNtz,
            DataType::Date32 if string => Self::Date,
            _ => Self::Strict,
        }
    }

    /// Whether the gap has the value's opening quote.
    fn is_quoted(self) -> bool {
        matches!(self, Self::Text | Self::Timestamp | Self::TimestampNtz | Self::Date)
    }
}

/// A gap and the value behind it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) gap: Gap,
    /// Length of the gap without the value's opening quote.
    pub(super) key_len: usize,
    /// Whether the gap is no more than a comma and a key: then both it and its value may be missing.
    pub(super) is_optional: bool,
    pub(super) action: Action,
    /// How deep the value is nested.
    pub(super) depth: usize,
    /// What declared values become, for the rows at hand.
    pub(super) output: Option<Box<Output>>,
}

/// The values of one slot for the rows at hand.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) values: BlockValues,
    pub(super) shape: Shape,
}

/// Where a declared field is found.
#[derive(Debug)]
pub(super) enum Node {
    /// Nowhere: it is null.
    Absent,
    /// In this slot.
    Slot(usize),
    /// Field by field.
    Struct(Vec<Node>),
}

/// The shape of a line.
#[derive(Debug)]
pub(super) struct Template {
    /// In the order of the line; the last is [`Action::End`].
    pub(super) slots: Vec<Slot>,
    /// One per declared field.
    pub(super) nodes: Vec<Node>,
}

impl Template {
    /// The shape of `line`, which the strict parser has accepted; `None` if it has peculiarities that are left to that parser.
    pub(super) fn learn(line: &[u8], (fields, keys, shapes): (&Fields, &Keys, &[Shape]), depth_max: usize) -> Option<Self> {
        let mut learner =
            Learner { line, cursor: Cursor::new(line), gap_start: 0, is_optional: false, slots: Vec::new(), depth_max };
        learner.cursor.skip_blanks();
        let nodes = learner.object(Some((fields, keys, shapes)), 0)?;
        learner.slot(Action::End, 0, None);
        Some(Self { slots: learner.slots, nodes })
    }
}

/// A declared field, if the value at hand belongs to one.
struct Declared<'a> {
    data_type: &'a DataType,
    shape: &'a Shape,
    role: Role,
}

struct Learner<'a> {
    line: &'a [u8],
    cursor: Cursor<'a>,
    /// Where the last value ended.
    gap_start: usize,
    /// Whether no brace has been passed since the last value.
    is_optional: bool,
    slots: Vec<Slot>,
    depth_max: usize,
}

impl Learner<'_> {
    /// Walks through the object at the cursor.
    fn object(&mut self, declared: Option<(&Fields, &Keys, &[Shape])>, depth: usize) -> Option<Vec<Node>> {
        if depth >= self.depth_max || self.cursor.peek() != b'{' || declared.is_some_and(|(_, keys, _)| keys.are_ambiguous()) {
            return None;
        }
        let mut nodes: Vec<Node> = declared.iter().flat_map(|(fields, ..)| fields.iter()).map(|_| Node::Absent).collect();
        self.is_optional = false;
        self.cursor.step();
        self.cursor.skip_blanks();
        if !self.cursor.eat(b"}") {
            loop {
                let place = self.key(declared.map(|(_, keys, _)| keys))?;
                let field = declared.zip(place).map(|((fields, keys, shapes), at)| Declared {
                    data_type: fields[at].data_type(),
                    shape: &shapes[at],
                    role: keys.fields[at].role,
                });
                let node = self.value(field, depth + 1)?;
                if let Some(at) = place
                    && !matches!(std::mem::replace(&mut nodes[at], node), Node::Absent)
                {
                    return None;
                }
                self.cursor.skip_blanks();
                match self.cursor.peek() {
                    b',' => self.cursor.step(),
                    b'}' => break self.cursor.step(),
                    _ => return None,
                }
                self.cursor.skip_blanks();
            }
        }
        self.is_optional = false;
        Some(nodes)
    }

    /// Reads a key and its colon; which field it names.
    fn key(&mut self, keys: Option<&Keys>) -> Option<Option<usize>> {
        if self.cursor.peek() != b'"' {
            return None;
        }
        let name = self.cursor.string().ok().filter(|name| !name.escaped)?;
        self.cursor.skip_blanks();
        if !self.cursor.eat(b":") {
            return None;
        }
        self.cursor.skip_blanks();
        Some(keys.and_then(|keys| keys.find(name.raw)))
    }

    fn value(&mut self, declared: Option<Declared<'_>>, depth: usize) -> Option<Node> {
        let declared = declared.filter(|field| field.role != Role::Skip);
        match (self.cursor.peek(), &declared) {
            (b'{', None) => {
                self.object(None, depth)?;
                Some(Node::Absent)
            }
            (b'{', Some(Declared { data_type: DataType::Struct(fields), shape: Shape::Struct(keys, shapes), .. })) => {
                Some(Node::Struct(self.object(Some((fields, keys, shapes)), depth)?))
            }
            _ => self.leaf(declared, depth),
        }
    }

    /// A value that is read as a whole.
    fn leaf(&mut self, declared: Option<Declared<'_>>, depth: usize) -> Option<Node> {
        let start = self.cursor;
        let token = self.cursor.token().ok()?;
        if start.peek() == b'\'' || self.slots.len() == SLOTS_MAX {
            return None;
        }
        let end = match token {
            Token::Object | Token::Array => {
                text::walk(&mut self.cursor, depth, self.depth_max, &mut Discard).ok()?;
                self.cursor
            }
            _ => self.cursor,
        };
        self.cursor = start;
        match declared {
            Some(Declared { data_type, .. }) => {
                let action = Action::of(data_type, &token);
                let values = BlockValues::new(Column::new(data_type).ok()?);
                let output = Output { values, shape: Shape::of(data_type) };
                self.slot(action, depth, Some(Box::new(output)));
            }
            None => self.slot(Action::Skip, depth, None),
        }
        self.cursor = end;
        self.gap_start = end.at();
        self.is_optional = true;
        Some(Node::Slot(self.slots.len() - 1))
    }

    /// Ends the gap at the cursor.
    fn slot(&mut self, action: Action, depth: usize, output: Option<Box<Output>>) {
        let mut key = &self.line[self.gap_start..self.cursor.at()];
        // A byte is kept for the quote.
        while let Some((piece, rest)) = key.split_at_checked(GAP_MAX).filter(|(_, rest)| !rest.is_empty() || action.is_quoted()) {
            let gap = Gap::new(piece);
            self.slots.push(Slot { gap, key_len: GAP_MAX, is_optional: false, action: Action::Pass, depth, output: None });
            (key, self.is_optional) = (rest, false);
        }
        let mut gap = key.to_vec();
        gap.extend(action.is_quoted().then_some(b'"'));
        self.slots.push(Slot { gap: Gap::new(&gap), key_len: key.len(), is_optional: self.is_optional, action, depth, output });
    }
}
