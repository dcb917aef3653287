//! The digits that Java 17 writes a floating-point number by, where they are not the fewest.
//!
//! Java takes digits one by one until what is left lies within half a unit in the last place. Where that half is not the whole
//! truth, at powers of two, and at limits that it leaves out, it writes more digits than are needed; whole numbers below 2^63 it cuts at a
//! guess of how many digits count. Every other number has the same digits as by the shortest way.

/// Digits of a finite number that is not 0, and the exponent of the first one.
pub(super) struct JavaDigits {
    /// `0` to `9`, zeros at the end included.
    pub(super) digits: Vec<u8>,
    /// The number is d.ddd × 10^this.
    pub(super) exponent: i32,
}

/// A number in binary: `fraction` × 2^(`exponent` - 52), its highest bit (52) set, of which `precision` bits count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binary {
    pub(super) fraction: u64,
    pub(super) exponent: i32,
    pub(super) precision: i32,
}

impl Binary {
    pub(super) fn of_double(value: f64) -> Self {
        let bits = value.to_bits();
        Self::of(bits & ((1 << 52) - 1), (bits >> 52 & 0x7FF) as i32, 52, 1023)
    }

    pub(super) fn of_float(value: f32) -> Self {
        let bits = value.to_bits();
        Self::of(u64::from(bits & ((1 << 23) - 1)), (bits >> 23 & 0xFF) as i32, 23, 127)
    }

    fn of(mantissa: u64, biased: i32, width: i32, bias: i32) -> Self {
        if biased == 0 {
            let used = 64 - mantissa.leading_zeros() as i32;
            let shift = width + 1 - used;
            return Self { fraction: mantissa << (shift + 52 - width), exponent: 1 - shift - bias, precision: used };
        }
        Self { fraction: (mantissa | 1 << width) << (52 - width), exponent: biased - bias, precision: width + 1 }
    }

    /// Bits up to the last that is set.
    fn bits(self) -> i32 {
        53 - self.fraction.trailing_zeros() as i32
    }

    /// Whether Java may write it otherwise than by the fewest digits.
    pub(super) fn is_special(self) -> bool {
        self.exponent >= self.precision || self.bits() == 1 && self.exponent < -20 || self.precision < 24
    }

    /// Java's digits.
    pub(super) fn digits(self) -> JavaDigits {
        let bits = self.bits();
        let behind_point = (bits - self.exponent - 1).max(0);
        if behind_point == 0 && self.exponent <= 62 { self.whole() } else { self.divided(bits, behind_point) }
    }

    /// A whole number, without the last digits that do not count.
    fn whole(self) -> JavaDigits {
        let beyond = if self.exponent > self.precision { self.exponent - self.precision - 1 } else { 0 };
        let mut value =
            if self.exponent >= 52 { self.fraction << (self.exponent - 52) } else { self.fraction >> (52 - self.exponent) };
        // As many decimal digits as these bits have at least.
        let dropped = if beyond > 1 { (f64::from(beyond) * std::f64::consts::LOG10_2) as u32 } else { 0 };
        if dropped > 0 {
            let unit = 10_u64.pow(dropped);
            let rest = value % unit;
            value = value / unit + u64::from(rest >= unit / 2);
        }
        let digits = value.to_string().into_bytes();
        let exponent = digits.len() as i32 - 1 + dropped as i32;
        JavaDigits { digits, exponent }
    }

    /// Digit by digit.
    fn divided(self, bits: i32, behind_point: i32) -> JavaDigits {
        let mantissa = f64::from_bits(1023 << 52 | self.fraction & ((1 << 52) - 1));
        let estimate = (mantissa - 1.5) * 0.289_529_654 + 0.176_091_259 + f64::from(self.exponent) * std::f64::consts::LOG10_2;
        let mut exponent = estimate.floor() as i32;
        let fives = (-exponent).max(0);
        let divisor_fives = exponent.max(0);
        let mut twos = fives + behind_point + self.exponent;
        let mut divisor_twos = divisor_fives + behind_point;
        let mut half_twos = twos - self.precision;
        twos -= bits - 1;
        let common = twos.min(divisor_twos);
        (twos, divisor_twos, half_twos) = (twos - common, divisor_twos - common, half_twos - common);
        if bits == 1 {
            half_twos -= 1;
        }
        if half_twos < 0 {
            (twos, divisor_twos, half_twos) = (twos - half_twos, divisor_twos - half_twos, 0);
        }
        // Small numbers are compared in another way than large ones.
        let small = bits + twos + bits_of_fives(fives) < 64 && divisor_twos + 1 + bits_of_fives(divisor_fives + 1) < 64;
        let mut rest = Natural::new(self.fraction >> self.fraction.trailing_zeros()).scaled(fives, twos);
        let divisor = Natural::new(1).scaled(divisor_fives, divisor_twos);
        let mut half = Natural::new(1).scaled(fives, half_twos);
        let ten_divisors = divisor.clone().times(10);
        let mut digits = Vec::new();
        let (mut low, mut high);
        loop {
            let digit = rest.divide(&divisor);
            rest = rest.times(10);
            half = half.times(10);
            low = rest.compare(&half).is_lt();
            let reach = rest.clone().plus(&half).compare(&ten_divisors);
            high = if small { reach.is_gt() } else { reach.is_ge() };
            if digits.is_empty() && digit == 0 && !high && exponent >= estimate.floor() as i32 {
                exponent -= 1;
            } else {
                digits.push(b'0' + digit);
            }
            // With an exponent there are at least two digits.
            let first = digits.len() <= 1;
            if first && !(-3..8).contains(&exponent) {
                (low, high) = (false, false);
            }
            if low || high {
                break;
            }
        }
        let up = match (low, high) {
            (_, false) => false,
            (false, true) => true,
            (true, true) => match rest.times(2).compare(&ten_divisors) {
                std::cmp::Ordering::Equal => digits.last().is_some_and(|digit| digit % 2 == 1),
                order => order.is_gt(),
            },
        };
        if up && round_up(&mut digits) {
            exponent += 1;
        }
        JavaDigits { digits, exponent }
    }
}

/// Adds one in the last place; whether there is a further digit now, the first one.
fn round_up(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return false;
        }
        *digit = b'0';
    }
    if let Some(first) = digits.first_mut() {
        *first = b'1';
    }
    true
}

/// How many bits 5^n has, as Java knows or guesses it.
fn bits_of_fives(n: i32) -> i32 {
    match n {
        0 => 0,
        1..=26 => 64 - 5_u64.pow(n as u32).leading_zeros() as i32,
        _ => n * 3,
    }
}

/// A natural number of any size, the lowest 32 bits first.
#[derive(Clone)]
struct Natural(Vec<u32>);

impl Natural {
    fn new(value: u64) -> Self {
        Self(vec![value as u32, (value >> 32) as u32])
    }

    fn times(mut self, factor: u32) -> Self {
        let mut carry = 0;
        for part in &mut self.0 {
            carry += u64::from(*part) * u64::from(factor);
            *part = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
        self
    }

    /// Times 5^`fives` × 2^`twos`.
    fn scaled(mut self, fives: i32, twos: i32) -> Self {
        for _ in 0..fives / 13 {
            self = self.times(1_220_703_125);
        }
        self = self.times(5_u32.pow((fives % 13) as u32));
        for _ in 0..twos / 31 {
            self = self.times(1 << 31);
        }
        self.times(1 << (twos % 31))
    }

    fn plus(mut self, other: &Self) -> Self {
        let mut carry = 0;
        for place in 0..self.0.len().max(other.0.len()) {
            if place == self.0.len() {
                self.0.push(0);
            }
            carry += u64::from(self.0[place]) + u64::from(other.0.get(place).copied().unwrap_or(0));
            self.0[place] = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
        self
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let part = |number: &Self, place: usize| number.0.get(place).copied().unwrap_or(0);
        let places = (0..self.0.len().max(other.0.len())).rev();
        places
            .map(|place| part(self, place).cmp(&part(other, place)))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }

    /// The quotient, which is below ten; leaves the rest.
    fn divide(&mut self, divisor: &Self) -> u8 {
        let mut quotient = 0;
        while self.compare(divisor).is_ge() {
            let mut borrow = 0;
            for place in 0..self.0.len() {
                let part = i64::from(self.0[place]) - i64::from(divisor.0.get(place).copied().unwrap_or(0)) + borrow;
                self.0[place] = part as u32;
                borrow = part >> 32;
            }
            quotient += 1;
        }
        quotient
    }
}
