//! Sessions that touch become one: a pure function of spans.

use super::open::{Lists, Span};

/// A part of a session.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece {
    /// A session that was known before: its place among the known ones.
    Known(usize),
    /// What came in: its place in the batch.
    New(usize),
}

/// What the pieces become.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Pieces of the sessions that changed, one session after another, each by start.
    pub(super) pieces: Vec<Piece>,
    /// Which changed session each piece is of, from 0.
    pub(super) session_of: Vec<usize>,
    /// The changed sessions.
    pub(super) changed: Vec<Changed>,
    /// Known ones that are now part of one that starts earlier: their places, and the numbers of their keys.
    pub(super) absorbed: Vec<(usize, u32)>,
    /// All sessions of the keys, by number of the key and start.
    pub(super) lists: Lists,
}

/// A session that is new or has grown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changed {
    /// The number of its key.
    pub(super) key: u32,
    pub(super) span: Span,
    /// Whether none that was known has its key and start.
    pub(super) is_new: bool,
}

/// Puts together what is `known` of keys, each key's sessions by start, and what came in for them: number of the key, span and
/// place, sorted. One that begins when another ends touches it.
pub(super) fn swept(known: &Lists, new: &[(u32, Span, usize)]) -> Swept {
    let mut sweep = Sweep::default();
    let mut at = 0;
    for key in 0..known.ends.len() as u32 {
        let mut places = known.range(key as usize).peekable();
        loop {
            let place = places.peek().copied();
            let next_new = new.get(at).filter(|(of, ..)| *of == key);
            // Of two that start together the known one came first.
            match (place, next_new) {
                (Some(place), next) if next.is_none_or(|(_, span, _)| known.spans[place].start <= span.start) => {
                    sweep.take(key, known.spans[place], Piece::Known(place));
                    places.next();
                }
                (_, Some((_, span, place))) => {
                    sweep.take(key, *span, Piece::New(*place));
                    at += 1;
                }
                _ => break,
            }
        }
        sweep.close();
    }
    sweep.swept
}

#[derive(Default)]
struct Sweep {
    swept: Swept,
    current: Option<Current>,
}

struct Current {
    key: u32,
    span: Span,
    first: Piece,
    /// Which changed session it is, if it has changed.
    changed: Option<usize>,
}

impl Sweep {
    fn take(&mut self, key: u32, span: Span, piece: Piece) {
        let touching = self.current.as_mut().filter(|current| span.start <= current.span.end);
        let Some(current) = touching else {
            self.close_session();
            let mut current = Current { key, span, first: piece, changed: None };
            if let Piece::New(_) = piece {
                change(&mut self.swept, &mut current);
            }
            self.current = Some(current);
            return;
        };
        current.span.end = current.span.end.max(span.end);
        let session = change(&mut self.swept, current);
        self.swept.pieces.push(piece);
        self.swept.session_of.push(session);
        if let Piece::Known(place) = piece {
            self.swept.absorbed.push((place, key));
        }
    }

    /// No more of a key comes.
    fn close(&mut self) {
        self.close_session();
        self.swept.lists.ends.push(self.swept.lists.spans.len());
    }

    fn close_session(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.swept.lists.spans.push(current.span);
        if let Some(session) = current.changed {
            self.swept.changed[session].span = current.span;
        }
    }
}

/// The number that a session has among those that changed.
fn change(swept: &mut Swept, current: &mut Current) -> usize {
    *current.changed.get_or_insert_with(|| {
        let session = swept.changed.len();
        let is_new = matches!(current.first, Piece::New(_));
        swept.changed.push(Changed { key: current.key, span: current.span, is_new });
        swept.pieces.push(current.first);
        swept.session_of.push(session);
        session
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: i64, end: i64) -> Span {
        Span { start, end }
    }

    fn text(known: &[&[Span]], new: &[(u32, Span, usize)]) -> String {
        let mut lists = Lists::default();
        for spans in known {
            lists.spans.extend_from_slice(spans);
            lists.ends.push(lists.spans.len());
        }
        let swept = swept(&lists, new);
        let all: Vec<String> = (0..known.len())
            .map(|key| swept.lists.spans[swept.lists.range(key)].iter().map(|s| format!("{}-{} ", s.start, s.end)).collect())
            .collect();
        let pieces = swept.pieces.iter().zip(&swept.session_of).map(|(piece, of)| match piece {
            Piece::Known(place) => format!("k{place}>{of} "),
            Piece::New(place) => format!("n{place}>{of} "),
        });
        let new = swept.changed.iter().map(|changed| if changed.is_new { '+' } else { '~' }).collect::<String>();
        let absorbed: Vec<usize> = swept.absorbed.iter().map(|(place, _)| *place).collect();
        format!("{}| {}{new} {absorbed:?}", all.join("/ "), pieces.collect::<String>())
    }

    /// Known sessions by key, what comes in, and what becomes of them.
    type Case<'a> = (&'a [&'a [Span]], &'a [(u32, Span, usize)], &'a str);

    #[test]
    fn sessions_that_touch_become_one() {
        let cases: [Case<'_>; 8] = [
            (&[&[]], &[(0, span(1, 6), 0)], "1-6 | n0>0 + []"),
            (&[&[]], &[(0, span(1, 6), 1), (0, span(6, 11), 0), (0, span(12, 17), 2)], "1-11 12-17 | n1>0 n0>0 n2>1 ++ []"),
            (&[&[span(1, 6)]], &[(0, span(6, 11), 0)], "1-11 | k0>0 n0>0 ~ []"),
            (&[&[span(1, 6)]], &[(0, span(7, 12), 0)], "1-6 7-12 | n0>0 + []"),
            (&[&[span(5, 10)]], &[(0, span(0, 5), 0)], "0-10 | n0>0 k0>0 + [0]"),
            (&[&[span(5, 10)]], &[(0, span(5, 7), 0)], "5-10 | k0>0 n0>0 ~ []"),
            (
                &[&[span(0, 5), span(8, 13), span(30, 35)], &[span(0, 5)]],
                &[(0, span(4, 9), 0)],
                "0-13 30-35 / 0-5 | k0>0 n0>0 k1>0 ~ [1]",
            ),
            // A long gap reaches over later sessions.
            (&[&[span(10, 12), span(20, 22)]], &[(0, span(1, 40), 0)], "1-40 | n0>0 k0>0 k1>0 + [0, 1]"),
        ];
        for (known, new, expected) in cases {
            assert_eq!(text(known, new), expected);
        }
    }
}
