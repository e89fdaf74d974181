//! Go's formats: `%-10s`, `%05.2f`, `%q`, … Wrong ones are printed as Go prints them, `%!d(string=x)`: a
//! mistake in a format shows, and stops nothing.

use std::iter::Peekable;
use std::slice::Iter;
use std::str::Chars;

use serde_json::Value;

use super::eval::display;
use super::number;

/// The widest that a value is printed; a number that has no end is nobody's wish.
const WIDEST: usize = 10_000;

/// Fills in a format.
pub(super) fn format(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = rest.next_if(|c| matches!(c, '-' | '+' | '0' | ' ' | '#')) {
            spec.flag(flag);
        }
        let width = size(&mut rest, &mut arguments);
        spec.left |= width < 0;
        spec.width = bounded(width);
        if rest.next_if_eq(&'.').is_some() {
            spec.precision = Some(bounded(size(&mut rest, &mut arguments)));
        }
        match rest.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => text.push_str(&spec.pad(&spec.value(verb, value), value)),
                None => text.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let left: Vec<String> =
        arguments.map(|value| format!("{}={}", type_name(value), display(value))).collect();
    if !left.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    text
}

/// A width or precision: digits, or `*` for the next argument.
fn size(rest: &mut Peekable<Chars<'_>>, arguments: &mut Iter<'_, Value>) -> i128 {
    if rest.next_if_eq(&'*').is_some() {
        return arguments.next().and_then(number::integer).unwrap_or(0);
    }
    let mut digits = String::new();
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i128::MAX) }
}

fn bounded(size: i128) -> usize {
    usize::try_from(size.unsigned_abs()).map_or(WIDEST, |size| size.min(WIDEST))
}

/// What stands between `%` and the verb.
#[derive(Debug, Default, Clone, Copy)]
struct Spec {
    left: bool,
    plus: bool,
    zero: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn flag(&mut self, flag: char) {
        match flag {
            '-' => self.left = true,
            '+' => self.plus = true,
            '0' => self.zero = true,
            ' ' => self.space = true,
            _ => self.alternate = true,
        }
    }

    /// The value without its padding.
    fn value(self, verb: char, value: &Value) -> String {
        let known = match (verb, value) {
            ('v' | 's', Value::String(text)) => Some(self.cut(text)),
            ('v', Value::Number(_)) => number::integer(value)
                .map(|integer| self.sign(integer < 0, &integer.unsigned_abs().to_string())),
            ('q', Value::String(text)) => Some(format!("{:?}", self.cut(text))),
            ('x' | 'X', Value::String(text)) => {
                let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                Some(if verb == 'X' { digits.to_uppercase() } else { digits })
            }
            ('t', Value::Bool(value)) => Some(value.to_string()),
            ('T', _) => Some(type_name(value).to_owned()),
            ('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'q' | 'U', Value::Number(_)) => self.integer(verb, value),
            ('e' | 'f' | 'F' | 'g' | 'E' | 'G', Value::Number(number)) => {
                number.as_f64().map(|value| self.float(verb, value))
            }
            ('s' | 'd' | 'q', Value::Array(items)) => {
                let items: Vec<String> = items.iter().map(|item| self.value(verb, item)).collect();
                Some(format!("[{}]", items.join(" ")))
            }
            _ => None,
        };
        match known {
            Some(text) => text,
            None if verb == 'v' => display(value),
            None => format!("%!{verb}({}={})", type_name(value), display(value)),
        }
    }

    fn cut(self, text: &str) -> String {
        self.precision.map_or_else(|| text.to_owned(), |precision| text.chars().take(precision).collect())
    }

    fn integer(self, verb: char, value: &Value) -> Option<String> {
        let integer = number::integer(value)?;
        let size = integer.unsigned_abs();
        let character = || u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        let (prefix, digits) = match verb {
            'd' => ("", size.to_string()),
            'b' => ("0b", format!("{size:b}")),
            'o' => ("0", format!("{size:o}")),
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'c' => return Some(character().to_string()),
            'q' => return Some(format!("{:?}", character())),
            _ => return Some(format!("U+{size:04X}")),
        };
        let digits = format!("{digits:0>width$}", width = self.precision.unwrap_or(1));
        let digits = if self.alternate { format!("{prefix}{digits}") } else { digits };
        Some(self.sign(integer < 0, &digits))
    }

    fn float(self, verb: char, value: f64) -> String {
        let size = value.abs();
        let precision = self.precision.unwrap_or(6);
        let text = match verb {
            'f' | 'F' => format!("{size:.precision$}"),
            'e' | 'E' => number::exponent(&format!("{size:.precision$e}")),
            _ => match self.precision {
                Some(precision) => significant(size, precision.max(1)),
                None => number::general(size),
            },
        };
        let text = if verb.is_ascii_uppercase() { text.to_uppercase() } else { text };
        self.sign(value.is_sign_negative(), &text)
    }

    fn sign(self, negative: bool, digits: &str) -> String {
        let sign = match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        format!("{sign}{digits}")
    }

    fn pad(self, text: &str, value: &Value) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            return format!("{text}{}", " ".repeat(missing));
        }
        if self.zero && value.is_number() {
            let sign = usize::from(text.starts_with(['-', '+', ' ']));
            return format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..]);
        }
        format!("{}{text}", " ".repeat(missing))
    }
}

/// `%.3g`: so many digits that mean something, without zeros at the end.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.precision$e}", precision = digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    match exponent.parse::<i32>() {
        Ok(power) if power >= -4 && usize::try_from(power).map_or(true, |power| power < digits) => {
            let decimals = i32::try_from(digits).unwrap_or(i32::MAX).saturating_sub(power + 1);
            trimmed(&format!("{value:.decimals$}", decimals = usize::try_from(decimals).unwrap_or(0)))
        }
        _ => number::exponent(&format!("{}e{exponent}", trimmed(mantissa))),
    }
}

/// What Go calls it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
