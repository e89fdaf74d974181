//! Points in time as users write them: `--since 10m`, `--until 2026-01-02T03:04`, `--since 1767323045.5`.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};

use crate::duration::{self, decimal};

/// A point in time as an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) DateTime<Utc>);

/// Why something is no point in time. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time as 2026-01-02T03:04:05Z, seconds since 1970, or how long ago as 10m or 1h30m")]
pub(super) struct TimeError;

impl std::str::FromStr for Moment {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text, Utc::now()).map(Moment).ok_or(TimeError)
    }
}

fn parse(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if text != "0"
        && let Some(ago) = duration::parse(text)
    {
        return now.checked_sub_signed(ago);
    }
    unix(text).or_else(|| calendar(text))
}

fn unix(text: &str) -> Option<DateTime<Utc>> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (seconds, nanoseconds) = decimal(digits)?;
    let since = TimeDelta::try_seconds(seconds)?.checked_add(&TimeDelta::nanoseconds(nanoseconds))?;
    DateTime::UNIX_EPOCH.checked_add_signed(since * sign)
}

/// RFC 3339, of which the zone and the smaller parts may be left out. Without a zone it is the caller's own.
fn calendar(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    for (format, zoned) in [
        ("%Y-%m-%dT%H:%M:%S%.f", false),
        ("%Y-%m-%dT%H:%M", false),
        ("%Y-%m-%dT%H:%M:%S%.fZ", true),
        ("%Y-%m-%dT%H:%MZ", true),
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return if zoned { Some(time.and_utc()) } else { local(time) };
        }
    }
    for format in ["%Y-%m-%dT%H:%M%:z", "%Y-%m-%dT%H:%M:%S%.f%:z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.to_utc());
        }
    }
    let hour = |text: &str| {
        let (date, hour) = text.split_once('T').unwrap_or((text, "0"));
        let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        date.and_hms_opt(hour.parse().ok()?, 0, 0)
    };
    match text.strip_suffix('Z') {
        Some(text) => hour(text).map(|time| time.and_utc()),
        None => hour(text).and_then(local),
    }
}

fn local(time: NaiveDateTime) -> Option<DateTime<Utc>> {
    // Where clocks are set back an hour happens twice; where they are set forward one does not happen.
    Local.from_local_datetime(&time).earliest().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_understood_as_docker_does() {
        let now = utc("2026-06-15T12:00:00Z");
        for (text, expected) in [
            ("10m", "2026-06-15T11:50:00Z"),
            ("1h30m", "2026-06-15T10:30:00Z"),
            ("1.5h", "2026-06-15T10:30:00Z"),
            ("-1s", "2026-06-15T12:00:01Z"),
            ("250ms", "2026-06-15T11:59:59.75Z"),
            ("0s", "2026-06-15T12:00:00Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1767323045", "2026-01-02T03:04:05Z"),
            ("1767323045.25", "2026-01-02T03:04:05.25Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.5+02:00", "2026-01-02T01:04:05.5Z"),
            ("2026-01-02T03:04Z", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03:04+01:00", "2026-01-02T02:04:00Z"),
            ("2026-01-02T03Z", "2026-01-02T03:00:00Z"),
            ("2026-01-02Z", "2026-01-02T00:00:00Z"),
        ] {
            assert_eq!(parse(text, now), Some(utc(expected)), "{text}");
        }
        for (text, expected) in [
            ("2026-01-02T03:04:05.25", "2026-01-02 03:04:05.25"),
            ("2026-01-02T03:04:05", "2026-01-02 03:04:05"),
            ("2026-01-02T03:04", "2026-01-02 03:04:00"),
            ("2026-01-02T03", "2026-01-02 03:00:00"),
            ("2026-01-02", "2026-01-02 00:00:00"),
        ] {
            let naive = NaiveDateTime::parse_from_str(expected, "%Y-%m-%d %H:%M:%S%.f").unwrap();
            assert_eq!(parse(text, now), local(naive), "{text}");
        }
        for bad in [
            "",
            "x",
            "10",
            "10x",
            "m",
            "1h30",
            "yesterday",
            "2026-13-01",
            "2026-01-02T25",
            "-",
            ".",
            "1.2.3s",
        ] {
            // A bare number is a time, not a span.
            assert_eq!(parse(bad, now).is_none(), bad != "10", "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_time_makes_us_panic(text in "(\\PC|[-+.:TZ0-9hmsnu]){0,30}") {
            parse(&text, utc("2026-06-15T12:00:00Z"));
        }
    }
}
