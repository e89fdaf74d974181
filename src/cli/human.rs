//! Spans of time and sizes in the words that Docker uses.

use chrono::TimeDelta;

/// A span of time in words.
pub(super) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (s, 0, _) => format!("{s} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, m, 0) => format!("{m} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, h) if h < 48 => format!("{h} hours"),
        (_, _, h) if h < 24 * 14 => format!("{} days", h / 24),
        (_, _, h) if h < 24 * 60 => format!("{} weeks", h / (24 * 7)),
        (_, _, h) if h < 24 * 730 => format!("{} months", h / (24 * 30)),
        (_, _, h) => format!("{} years", h / (24 * 365)),
    }
}

/// Bytes in powers of 1000 with three digits: `1.5kB`. For what is transferred or lies on a disk.
pub(super) fn decimal_size(bytes: u64) -> String {
    size(bytes, 1000.0, 3, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Bytes in powers of 1024 with four digits: `1.5MiB`. For memory.
pub(super) fn binary_size(bytes: u64) -> String {
    size(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

#[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
fn size(bytes: u64, base: f64, digits: usize, units: &[&str]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    loop {
        // As many digits as wanted, before and after the point together.
        let whole = if value < 10.0 {
            1
        } else if value < 100.0 {
            2
        } else {
            3
        };
        let text = format!("{value:.precision$}", precision = digits.saturating_sub(whole));
        let rounded: f64 = text.parse().unwrap_or(value);
        // What rounds up to the next unit is written in it.
        if rounded >= base && unit + 1 < units.len() {
            value /= base;
            unit += 1;
            continue;
        }
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return format!("{text}{}", units[unit]);
    }
}

/// A text of at most `limit` characters; a longer one ends with an ellipsis.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_dockers() {
        let say = |seconds| span(TimeDelta::seconds(seconds));
        let expected = [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86_400, "3 days"),
            (21 * 86_400, "3 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ];
        for (seconds, words) in expected {
            assert_eq!(say(seconds), words);
        }
    }

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1000B"),
            (1023, "1.02kB", "1023B"),
            (1024, "1.02kB", "1KiB"),
            (1_500_000, "1.5MB", "1.431MiB"),
            (999_999, "1MB", "976.6KiB"),
            (123_456_789, "123MB", "117.7MiB"),
            (8 << 30, "8.59GB", "8GiB"),
            (u64::MAX, "18.4EB", "16EiB"),
        ] {
            assert_eq!((decimal_size(bytes).as_str(), binary_size(bytes).as_str()), (decimal, binary));
        }
    }

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!((shorten("abc", 3).as_str(), shorten("abcd", 3).as_str()), ("abc", "ab…"));
    }
}
