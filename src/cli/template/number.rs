//! Numbers as Go writes and prints them.

use serde_json::{Number, Value};

/// A number literal: decimal, hexadecimal, octal, binary, or with a fraction.
pub(super) fn parse(word: &str) -> Option<Value> {
    let (negative, digits) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let plain = digits.replace('_', "");
    if let Some(value) = unsigned(&plain) {
        let value = if negative { -value } else { value };
        let number = i64::try_from(value).map(Number::from);
        return number.or_else(|_| u64::try_from(value).map(Number::from)).ok().map(Value::Number);
    }
    // Only what looks like a number: the parser of floats also takes "inf" and "nan".
    let simple = plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let value: f64 = plain.parse().ok().filter(|_| simple)?;
    Number::from_f64(if negative { -value } else { value }).map(Value::Number)
}

/// An integer literal without a sign.
fn unsigned(digits: &str) -> Option<i128> {
    for (prefixes, radix) in [(["0x", "0X"], 16), (["0o", "0O"], 8), (["0b", "0B"], 2)] {
        for prefix in prefixes {
            if let Some(digits) = digits.strip_prefix(prefix) {
                return i128::from_str_radix(digits, radix).ok();
            }
        }
    }
    digits.parse().ok()
}

/// A number in the shortest form that reads back as the same, like Go's `%v`.
pub(super) fn text(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if !number.is_i64() && !number.is_u64() => general(value),
        _ => number.to_string(),
    }
}

/// Go's `%v` of a floating-point number: exponents below -4 and from 21 on are written as such.
pub(super) fn general(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&size) {
        value.to_string()
    } else {
        exponent(&format!("{value:e}"))
    }
}

/// Rust's `1e5` as C's and Go's `1e+05`.
pub(super) fn exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// An integer, from one or from a number without a fraction.
pub(super) fn integer(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}
