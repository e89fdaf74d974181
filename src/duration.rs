//! Lengths of time as Go's programs, Docker among them, read and write them.

use std::time::Duration;

use chrono::TimeDelta;

/// Go's durations: `1h30m`, `1.5h`, `250ms`, with a sign if need be.
#[must_use]
pub fn parse(text: &str) -> Option<TimeDelta> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(TimeDelta::zero());
    }
    let mut total = TimeDelta::zero();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (value, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let nanoseconds: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return None,
        };
        let (whole, part) = decimal(value)?;
        let whole = TimeDelta::nanoseconds(whole.checked_mul(nanoseconds)?);
        // The part is in billionths of the unit.
        let part = i128::from(part) * i128::from(nanoseconds) / 1_000_000_000;
        total = total.checked_add(&whole)?.checked_add(&TimeDelta::nanoseconds(i64::try_from(part).ok()?))?;
        rest = after;
    }
    Some(total * sign)
}

/// The digits before the point, and those after it as billionths.
#[must_use]
pub fn decimal(text: &str) -> Option<(i64, i64)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + part.len() == 0 || !digits(whole) || !digits(part) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let billionths: String = part.chars().chain("000000000".chars()).take(9).collect();
    Some((whole, billionths.parse().ok()?))
}

/// A length of time as Go writes it: `1m30s`, `1.5s`, `250ms`.
#[must_use]
pub fn text(length: Duration) -> String {
    let nanoseconds = length.as_nanos();
    let (unit, name) = match nanoseconds {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (hours, minutes) = (length.as_secs() / 3600, length.as_secs() / 60 % 60);
    let below = if name == "s" { nanoseconds % 60_000_000_000 } else { nanoseconds };
    let part = format!("{:09}", below % unit * (1_000_000_000 / unit));
    let part = part.trim_end_matches('0');
    let point = if part.is_empty() { "" } else { "." };
    let last = format!("{}{point}{part}{name}", below / unit);
    match (hours, minutes) {
        (0, 0) => last,
        (0, minutes) => format!("{minutes}m{last}"),
        (hours, minutes) => format!("{hours}h{minutes}m{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_they_are_read() {
        for written in ["0s", "1ns", "1.5µs", "250ms", "1.5s", "30s", "1m30s", "1h0m0s", "26h1m0.25s"] {
            let length = parse(written).unwrap().to_std().unwrap();
            assert_eq!(text(length), written);
        }
        for bad in ["", "5", "s", "1x", "1s1", "."] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
