//! Functions whose last bit follows fdlibm, as Java's `StrictMath` does. What the `libm` crate computes by fdlibm's methods is taken
//! from there; what it computes otherwise is here.

/// The natural logarithm.
pub(in super::super) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// The logarithm to base 10, from the natural one of the significand.
pub(super) fn log10(x: f64) -> f64 {
    const LOG10_2_HIGH: f64 = 3.010_299_956_636_117_7e-1;
    const LOG10_2_LOW: f64 = 3.694_239_077_158_931e-13;
    if !(x > 0.0 && x.is_finite()) {
        return x.log10();
    }
    // Subnormal numbers are scaled up first.
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * 2_f64.powi(54), -54) } else { (x, 0) };
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as i64 - 1023 + shift;
    let borrow = i64::from(exponent < 0);
    let significand = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF) | (((1023 - borrow) as u64) << 52));
    let y = (exponent + borrow) as f64;
    let z = y * LOG10_2_LOW + std::f64::consts::LOG10_E * libm::log(significand);
    z + y * LOG10_2_HIGH
}

/// The cube root.
pub(super) fn cbrt(x: f64) -> f64 {
    const C: f64 = 19.0 / 35.0;
    const D: f64 = -864.0 / 1225.0;
    const E: f64 = 99.0 / 70.0;
    const F: f64 = 45.0 / 28.0;
    const G: f64 = 5.0 / 14.0;
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let positive = x.abs();
    let high = |v: f64| (v.to_bits() >> 32) as u32;
    let from_high = |h: u32| f64::from_bits(u64::from(h) << 32);
    // A first guess to 5 bits, from a third of the exponent.
    let guess = if positive < f64::MIN_POSITIVE {
        from_high(high(positive * 2_f64.powi(54)) / 3 + 696_219_795)
    } else {
        from_high(high(positive) / 3 + 715_094_163)
    };
    // A rational step to 23 bits, cut to 20 and rounded up, then one step of Newton's.
    let r = guess * guess / positive;
    let s = C + r * guess;
    let t = from_high(high(guess * (G + F / (s + E + D / s))) + 1);
    let r = positive / (t * t);
    let r = (r - t) / (t + t + r);
    (t + t * r).copysign(x)
}

/// The hyperbolic sine.
pub(super) fn sinh(x: f64) -> f64 {
    let half = 0.5_f64.copysign(x);
    let a = x.abs();
    if !x.is_finite() || a < 2_f64.powi(-28) {
        return x;
    }
    if a < 22.0 {
        let t = libm::expm1(a);
        return if a < 1.0 { half * (2.0 * t - t * t / (t + 1.0)) } else { half * (t + t / (t + 1.0)) };
    }
    if a < 709.782_712_893_384 {
        return half * libm::exp(a);
    }
    let w = libm::exp(0.5 * a);
    half * w * w
}

/// The hyperbolic cosine.
pub(super) fn cosh(x: f64) -> f64 {
    let a = x.abs();
    if !x.is_finite() {
        return x * x;
    }
    if a < 0.346_573_590_279_972_65 {
        let t = libm::expm1(a);
        let w = 1.0 + t;
        return if a < 2_f64.powi(-55) { w } else { 1.0 + (t * t) / (w + w) };
    }
    if a < 22.0 {
        let t = libm::exp(a);
        return 0.5 * t + 0.5 / t;
    }
    if a < 709.782_712_893_384 {
        return 0.5 * libm::exp(a);
    }
    let w = libm::exp(0.5 * a);
    0.5 * w * w
}

/// The hyperbolic tangent.
pub(super) fn tanh(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    let z = if a >= 22.0 {
        1.0
    } else if a < 2_f64.powi(-55) {
        return x * (1.0 + x);
    } else if a >= 1.0 {
        1.0 - 2.0 / (libm::expm1(2.0 * a) + 2.0)
    } else {
        let t = libm::expm1(-2.0 * a);
        -t / (t + 2.0)
    };
    z.copysign(x)
}

/// The hypotenuse; infinite if a side is, even beside NaN.
pub(super) fn hypot(x: f64, y: f64) -> f64 {
    libm::hypot(x, y)
}

/// `x` to the power `y`.
pub(super) fn pow(x: f64, y: f64) -> f64 {
    // Java has no number for 1 to an infinite or unknown power.
    if y.is_nan() || (x.abs() == 1.0 && y.is_infinite()) { f64::NAN } else { libm::pow(x, y) }
}
