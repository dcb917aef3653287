//! The stream itself: card transactions as JSON lines, the same for the same options.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::options::{Amounts, Options};

/// First names; the first four with the surnames' first five appear in the examples of the guide.
const NAMES: [&str; 8] = ["John", "Jill", "Alice", "Andy", "Mary", "Peter", "Laura", "Carl"];
/// Surnames.
const SURNAMES: [&str; 8] = ["Jones", "Millers", "Darby", "Smith", "Johnson", "Baker", "Fisher", "Webb"];
/// Users that names and surnames alone can tell apart; above that a line has a `user` field too.
pub const NAMED_USERS_MAX: u32 = 64;

/// An endless stream of transactions.
#[derive(Debug, Clone)]
pub struct Transactions {
    random: SmallRng,
    users: u32,
    flag_rate: f64,
    amounts: Amounts,
    event_time_ms: Option<i64>,
    event_step_ms: i64,
    late_by_ms: i64,
    lines: u64,
    late: Spread,
    malformed: Spread,
}

/// What is known of a line beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Name and surname; of a malformed line those that it would have had.
    pub user: [&'static str; 2],
    /// Its event time in milliseconds since 1970, if it has one.
    pub event_time_ms: Option<i64>,
    /// Whether that lies back.
    pub is_late: bool,
    /// Whether it is no JSON.
    pub is_malformed: bool,
}

/// A share of lines, as far apart from each other as they can be.
#[derive(Debug, Clone)]
struct Spread {
    share: f64,
    taken: u64,
}

impl Spread {
    fn of(share: f64) -> Self {
        Self { share, taken: 0 }
    }

    /// Whether one more belongs to it once there are so many lines.
    fn is_due(&self, lines: u64) -> bool {
        ((lines as f64 * self.share).round() as u64) > self.taken
    }
}

impl Transactions {
    /// The stream that `options` describes, from its first line.
    pub fn new(options: &Options) -> Self {
        Self {
            random: SmallRng::seed_from_u64(options.seed),
            users: options.users.max(1),
            flag_rate: options.flag_rate,
            amounts: options.amounts,
            event_time_ms: options.event_time.then_some(options.event_start_ms),
            event_step_ms: options.event_step_ms,
            late_by_ms: options.late_by_ms,
            lines: 0,
            late: Spread::of(options.late),
            malformed: Spread::of(options.malformed),
        }
    }

    /// Appends the next line, with its line end, to `out`.
    pub fn write_next(&mut self, out: &mut Vec<u8>) {
        self.write_next_value(out);
        out.push(b'\n');
    }

    /// Appends the next line, without a line end, to `out`.
    pub fn write_next_value(&mut self, out: &mut Vec<u8>) -> Line {
        self.lines += 1;
        let is_malformed = self.malformed.is_due(self.lines);
        // One that is malformed has no time, so the next one is late instead.
        let is_late = self.event_time_ms.is_some() && !is_malformed && self.late.is_due(self.lines);
        self.malformed.taken += u64::from(is_malformed);
        self.late.taken += u64::from(is_late);
        let begin = out.len();
        let mut line = self.write_transaction(is_late, out);
        if is_malformed {
            line.is_malformed = true;
            match self.malformed.taken % 2 {
                0 => out[begin] = b'?',
                _ => out.truncate(begin + (out.len() - begin) / 2),
            }
        }
        line
    }

    fn write_transaction(&mut self, is_late: bool, out: &mut Vec<u8>) -> Line {
        let user = self.random.random_range(0..self.users);
        let amount_cents = self.random.random_range(0..100_000u32);
        let delta_cents = self.random.random_range(0..1_000u32);
        let flag = self.random.random_bool(self.flag_rate);
        let named = user % NAMED_USERS_MAX;
        let [name, surname] = [NAMES[(named % 8) as usize], SURNAMES[(named / 8) as usize]];
        out.extend_from_slice(b"{\"name\": \"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\", \"surname\": \"");
        out.extend_from_slice(surname.as_bytes());
        out.extend_from_slice(b"\", \"amount\": ");
        self.write_cents(amount_cents, out);
        out.extend_from_slice(b", \"delta_t\": ");
        self.write_cents(delta_cents, out);
        out.extend_from_slice(if flag { b", \"flag\": 1" } else { b", \"flag\": 0" });
        if self.users > NAMED_USERS_MAX {
            out.extend_from_slice(b", \"user\": \"u");
            write_digits(u64::from(user), 7, out);
            out.push(b'"');
        }
        let event_time_ms = self.event_time_ms.map(|at_ms| if is_late { at_ms - self.late_by_ms } else { at_ms });
        if let Some(at_ms) = event_time_ms {
            out.extend_from_slice(b", \"ts\": \"");
            write_instant(at_ms, out);
            out.push(b'"');
            self.event_time_ms = self.event_time_ms.map(|at_ms| at_ms + self.event_step_ms);
        }
        out.push(b'}');
        Line { user: [name, surname], event_time_ms, is_late, is_malformed: false }
    }

    fn write_cents(&self, cents: u32, out: &mut Vec<u8>) {
        let quote: &[u8] = if self.amounts == Amounts::String { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        write_digits(u64::from(cents / 100), 1, out);
        out.push(b'.');
        let (tenths, hundredths) = (cents / 10 % 10, cents % 10);
        out.push(b'0' + tenths as u8);
        if hundredths != 0 {
            out.push(b'0' + hundredths as u8);
        }
        out.extend_from_slice(quote);
    }
}

/// `value` in decimal with at least `width` digits.
fn write_digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while value > 0 || digits.len() - first < width {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[first..]);
}

/// `2026-01-01T00:00:00.000Z`, by the proleptic Gregorian calendar.
fn write_instant(at_ms: i64, out: &mut Vec<u8>) {
    let (days, in_day_ms) = (at_ms.div_euclid(86_400_000), at_ms.rem_euclid(86_400_000) as u64);
    // Days since 0000-03-01, in eras of 400 years, so that leap days fall at the end of a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    for (value, width, end) in [(year as u64, 4, b'-'), (month as u64, 2, b'-'), (day as u64, 2, b'T')] {
        write_digits(value, width, out);
        out.push(end);
    }
    let fields = [(in_day_ms / 3_600_000, 2, b':'), (in_day_ms / 60_000 % 60, 2, b':'), (in_day_ms / 1000 % 60, 2, b'.')];
    for (value, width, end) in fields {
        write_digits(value, width, out);
        out.push(end);
    }
    write_digits(in_day_ms % 1000, 3, out);
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(options: &Options, count: usize) -> String {
        let mut stream = Transactions::new(options);
        let mut out = Vec::new();
        (0..count).for_each(|_| stream.write_next(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_lines_and_another_seed_others() {
        let options = Options { seed: 7, ..Options::default() };
        assert_eq!(lines(&options, 100), lines(&options, 100));
        assert_ne!(lines(&options, 100), lines(&Options { seed: 8, ..options }, 100));
    }

    #[test]
    fn a_line_has_the_fields_of_the_lecture_in_order() {
        let text = lines(&Options::default(), 1);
        let keys = ["{\"name\": \"", "\", \"surname\": \"", "\", \"amount\": ", ", \"delta_t\": ", ", \"flag\": "];
        let mut from = 0;
        for key in keys {
            from += text[from..].find(key).unwrap_or_else(|| panic!("{key} missing in {text}")) + key.len();
        }
        assert!(text.ends_with("}\n"));
        assert!(!text.contains("user") && !text.contains("ts"));
    }

    #[test]
    fn amounts_may_be_strings() {
        let text = lines(&Options { amounts: Amounts::String, ..Options::default() }, 1);
        assert!(text.contains("\"amount\": \""), "{text}");
    }

    #[test]
    fn many_users_get_a_field_of_their_own() {
        let text = lines(&Options { users: 1_000_000, ..Options::default() }, 50);
        assert!(text.lines().all(|line| line.contains("\"user\": \"u0")), "{text}");
    }

    #[test]
    fn the_flag_rate_is_kept() {
        let text = lines(&Options { flag_rate: 0.2, ..Options::default() }, 20_000);
        let flagged = text.lines().filter(|line| line.contains("\"flag\": 1")).count();
        assert!((3_700..4_300).contains(&flagged), "{flagged} of 20000");
    }

    #[test]
    fn late_and_malformed_lines_are_as_many_as_was_asked_for_and_leave_the_others_alone() {
        let plain = Options { event_time: true, seed: 5, ..Options::default() };
        let options = Options { late: 0.013, malformed: 0.01, ..plain.clone() };
        let (mut all_good, mut stream) = (Transactions::new(&plain), Transactions::new(&options));
        let (mut late, mut malformed) = (0, 0);
        for _ in 0..10_000 {
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let (good, line) = (all_good.write_next_value(&mut expected), stream.write_next_value(&mut found));
            assert_eq!(good.user, line.user);
            assert!(!found.contains(&b'\n'));
            assert_ne!((line.is_late, line.is_malformed), (true, true));
            let back_ms = good.event_time_ms.unwrap() - line.event_time_ms.unwrap();
            assert_eq!(back_ms, if line.is_late { 3_600_000 } else { 0 });
            assert_eq!(expected == found, !line.is_late && !line.is_malformed);
            // Cut before its brace, or without the opening one.
            assert_eq!(line.is_malformed, !found.starts_with(b"{") || !found.ends_with(b"}"));
            late += u64::from(line.is_late);
            malformed += u64::from(line.is_malformed);
        }
        assert_eq!((late, malformed), (130, 100));
    }

    #[test]
    fn every_line_may_be_late_or_malformed_and_without_times_none_is_late() {
        let count = |options: &Options| {
            let mut stream = Transactions::new(options);
            let lines: Vec<Line> = (0..10).map(|_| stream.write_next_value(&mut Vec::new())).collect();
            let of = |is: fn(&Line) -> bool| lines.iter().filter(|line| is(line)).count();
            (of(|line| line.is_late), of(|line| line.is_malformed))
        };
        let all = Options { late: 1.0, event_time: true, event_start_ms: 0, ..Options::default() };
        assert_eq!(count(&all), (10, 0));
        assert_eq!(count(&Options { malformed: 0.5, ..all.clone() }), (5, 5));
        assert_eq!(count(&Options { malformed: 1.0, ..all.clone() }), (0, 10));
        assert_eq!(count(&Options { event_time: false, ..all }), (0, 0));
    }

    #[test]
    fn instants_follow_the_calendar() {
        let text = |at_ms| {
            let mut out = Vec::new();
            write_instant(at_ms, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_709_208_000_123), "2024-02-29T12:00:00.123Z");
        assert_eq!(text(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(text(1_767_225_600_000), "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn numbers_have_one_or_two_decimals() {
        let stream = Transactions::new(&Options::default());
        let text = |cents| {
            let mut out = Vec::new();
            stream.write_cents(cents, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            (text(24_990), text(62), text(500), text(99_999)),
            ("249.9".into(), "0.62".into(), "5.0".into(), "999.99".into())
        );
    }
}
