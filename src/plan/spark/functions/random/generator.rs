//! The generators that Spark draws from, so that a seed gives what it gives in a partition with the number 0.

use super::super::hash::murmur3_from;
use super::super::math::strict;

/// What is random from a seed on.
pub(super) trait Generator {
    /// What comes from `seed`.
    fn new(seed: i64) -> Self;
}

/// Marsaglia's xorshift, and on top of it what Java's `Random` makes of bits: for numbers and texts.
#[derive(Debug, Clone)]
pub(super) struct XorShift {
    state: i64,
    /// Normally distributed numbers come in pairs.
    spare: Option<f64>,
}

/// What the hash of a seed starts from.
const HASH_START: i32 = 0x3C07_4A61;

impl Generator for XorShift {
    fn new(seed: i64) -> Self {
        let bytes = seed.to_be_bytes();
        let low = murmur3_from(&bytes, HASH_START);
        let high = murmur3_from(&bytes, low as i32);
        Self { state: (i64::from(high) << 32) | i64::from(low), spare: None }
    }
}

impl XorShift {
    /// So many bits, at most 32.
    fn bits(&mut self, count: u32) -> u32 {
        let mut next = self.state ^ (self.state << 21);
        next ^= (next as u64 >> 35) as i64;
        next ^= next << 4;
        self.state = next;
        (next as u64 & ((1 << count) - 1)) as u32
    }

    /// Any 32 bits.
    pub(super) fn int(&mut self) -> i32 {
        self.bits(32) as i32
    }

    /// At least 0, below 1.
    pub(super) fn double(&mut self) -> f64 {
        let high = u64::from(self.bits(26)) << 27;
        (high + u64::from(self.bits(27))) as f64 / (1_u64 << 53) as f64
    }

    /// Of the standard normal distribution, by Marsaglia's polar method.
    pub(super) fn gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.double() - 1.0, 2.0 * self.double() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * strict::ln(square) / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }
}

const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// MT19937 of Matsumoto and Nishimura: for UUIDs and the order of elements.
#[derive(Debug, Clone)]
pub(super) struct Twister {
    words: [u32; WORDS],
    at: usize,
}

impl Generator for Twister {
    fn new(seed: i64) -> Self {
        let key = [(seed >> 32) as u32, seed as u32];
        let mut words = [0_u32; WORDS];
        words[0] = 19_650_218;
        for at in 1..WORDS {
            words[at] = spread(words[at - 1], 1_812_433_253).wrapping_add(at as u32);
        }
        let mut at = 1;
        for round in 0..WORDS {
            let part = round % key.len();
            words[at] = (words[at] ^ spread(words[at - 1], 1_664_525)).wrapping_add(key[part]).wrapping_add(part as u32);
            at = following(&mut words, at);
        }
        for _ in 1..WORDS {
            words[at] = (words[at] ^ spread(words[at - 1], 1_566_083_941)).wrapping_sub(at as u32);
            at = following(&mut words, at);
        }
        words[0] = 1 << 31;
        Self { words, at: WORDS }
    }
}

impl Twister {
    fn next(&mut self) -> u32 {
        if self.at == WORDS {
            for at in 0..WORDS {
                let pair = (self.words[at] & (1 << 31)) | (self.words[(at + 1) % WORDS] & !(1 << 31));
                let twisted = (pair >> 1) ^ if pair & 1 == 0 { 0 } else { 0x9908_B0DF };
                self.words[at] = self.words[(at + MIDDLE) % WORDS] ^ twisted;
            }
            self.at = 0;
        }
        let mut word = self.words[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9D2C_5680;
        word ^= (word << 15) & 0xEFC6_0000;
        word ^ (word >> 18)
    }

    /// Any 64 bits.
    pub(super) fn long(&mut self) -> u64 {
        let high = u64::from(self.next()) << 32;
        high | u64::from(self.next())
    }

    /// At least 0, below `bound`, which is at least 1 and at most 2^31 - 1.
    fn below(&mut self, bound: u32) -> u32 {
        if bound.is_power_of_two() {
            return ((u64::from(bound) * u64::from(self.next() >> 1)) >> 31) as u32;
        }
        loop {
            let bits = self.next() >> 1;
            let value = bits % bound;
            // The last, incomplete run of values would favour the small ones.
            if u64::from(bits - value) + u64::from(bound) <= 1 << 31 {
                return value;
            }
        }
    }

    /// Fills `order` with the numbers from `start` on, in random order.
    pub(super) fn shuffle(&mut self, order: &mut [u32], start: u32) {
        for at in 0..order.len() {
            let other = self.below(at as u32 + 1) as usize;
            order[at] = order[other];
            order[other] = start + at as u32;
        }
    }
}

fn spread(word: u32, factor: u32) -> u32 {
    (word ^ (word >> 30)).wrapping_mul(factor)
}

/// The place after `at`; at the end the last word becomes the first, and it goes on from there.
fn following(words: &mut [u32; WORDS], at: usize) -> usize {
    if at + 1 < WORDS {
        return at + 1;
    }
    words[0] = words[WORDS - 1];
    1
}
