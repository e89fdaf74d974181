//! The functions: those of Go's text/template that make sense for JSON, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::{display, is_true};
use super::{Problem, kind, number, printf};
use crate::cli::listing::without_empty;

/// All of them.
const FUNCTIONS: [&str; 25] = [
    "and", "eq", "ge", "gt", "html", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or",
    "pad", "print", "printf", "println", "slice", "split", "title", "trim", "truncate", "upper",
];

/// The most spaces that `pad` adds on either side.
const WIDEST: usize = 10_000;

/// The function of this name.
pub(super) fn find(name: &str) -> Option<&'static str> {
    FUNCTIONS.into_iter().find(|known| *known == name)
}

/// Whether a column keeps its title when the function is applied to its values.
pub(super) fn changes_text(function: &str) -> bool {
    matches!(function, "json" | "split" | "join" | "title" | "lower" | "upper" | "trim" | "html" | "index")
}

/// Calls a function.
pub(super) fn call(function: &'static str, arguments: Vec<Value>) -> Result<Value, Problem> {
    let texts = || arguments.iter().map(display).collect::<Vec<_>>();
    match function {
        "and" | "or" => last(function, arguments),
        "not" => Ok(Value::Bool(!is_true(one(function, &arguments)?))),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(function, &arguments),
        "len" => length(one(function, &arguments)?),
        "index" => index(&arguments),
        "slice" => slice(&arguments),
        "json" => Ok(without_empty(one(function, &arguments)?).to_string().into()),
        "html" => Ok(escape_html(&texts().concat()).into()),
        "print" => Ok(print(&arguments).into()),
        "println" => Ok(format!("{}\n", texts().join(" ")).into()),
        "printf" => match arguments.split_first() {
            Some((Value::String(format), rest)) => Ok(printf::format(format, rest).into()),
            Some((other, _)) => Err(Problem::ArgumentKind { function, kind: kind(other) }),
            None => Err(count(function, "a format and values", 0)),
        },
        "join" => join(&arguments),
        "split" => match &arguments[..] {
            [Value::String(whole), Value::String(separator)] if separator.is_empty() => {
                Ok(whole.chars().map(String::from).collect())
            }
            [Value::String(whole), Value::String(separator)] => Ok(whole.split(separator.as_str()).collect()),
            other => Err(wrong(function, "a text and a separator", other, 2)),
        },
        "lower" => Ok(text(function, &arguments)?.to_lowercase().into()),
        "upper" => Ok(text(function, &arguments)?.to_uppercase().into()),
        "title" => Ok(title(text(function, &arguments)?).into()),
        "trim" => Ok(text(function, &arguments)?.trim().into()),
        "truncate" => match &arguments[..] {
            [Value::String(whole), limit] => match size(limit) {
                Some(limit) => Ok(whole.chars().take(limit).collect::<String>().into()),
                None => Err(Problem::OutOfRange(display(limit))),
            },
            other => Err(wrong(function, "a text and a length", other, 2)),
        },
        "pad" => match &arguments[..] {
            [Value::String(text), before, after] => pad(text, before, after),
            other => Err(wrong(function, "a text, spaces before and spaces after", other, 3)),
        },
        other => Err(Problem::NoFunction(other.to_owned())),
    }
}

fn count(function: &'static str, expected: &'static str, given: usize) -> Problem {
    Problem::ArgumentCount { function, expected, given }
}

/// Arguments of which there are not `wanted`, or the first of which is of the wrong kind.
fn wrong(function: &'static str, expected: &'static str, arguments: &[Value], wanted: usize) -> Problem {
    let odd = arguments.iter().find(|argument| !argument.is_string() && !argument.is_number());
    match odd.or(arguments.first()) {
        Some(odd) if arguments.len() == wanted => Problem::ArgumentKind { function, kind: kind(odd) },
        _ => count(function, expected, arguments.len()),
    }
}

fn one<'a>(function: &'static str, arguments: &'a [Value]) -> Result<&'a Value, Problem> {
    match arguments {
        [value] => Ok(value),
        other => Err(count(function, "one argument", other.len())),
    }
}

fn text<'a>(function: &'static str, arguments: &'a [Value]) -> Result<&'a str, Problem> {
    match one(function, arguments)? {
        Value::String(text) => Ok(text),
        other => Err(Problem::ArgumentKind { function, kind: kind(other) }),
    }
}

fn last(function: &'static str, mut arguments: Vec<Value>) -> Result<Value, Problem> {
    // Only arguments that decide nothing are left, except for the one that came through a pipe.
    arguments.pop().ok_or_else(|| count(function, "one or more arguments", 0))
}

fn size(value: &Value) -> Option<usize> {
    number::integer(value).and_then(|size| usize::try_from(size).ok())
}

fn compare(function: &'static str, arguments: &[Value]) -> Result<Value, Problem> {
    let result = match (function, arguments) {
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut any = false;
            for other in others {
                any |= order(first, other)? == Some(Ordering::Equal);
            }
            any
        }
        ("ne", [first, other]) => order(first, other)? != Some(Ordering::Equal),
        ("lt" | "le" | "gt" | "ge", [first, other]) => {
            let ordered = !matches!(first, Value::Bool(_) | Value::Null);
            let order = order(first, other)?.filter(|_| ordered);
            let Some(order) = order else {
                return Err(Problem::Comparison { left: kind(first), right: kind(other) });
            };
            match function {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
        }
        (_, other) => return Err(count(function, "two arguments", other.len())),
    };
    Ok(Value::Bool(result))
}

/// How two values compare; `None` for values that are merely different.
fn order(left: &Value, right: &Value) -> Result<Option<Ordering>, Problem> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (Value::Number(a), Value::Number(b)) => match (number::integer(left), number::integer(right)) {
            (Some(left), Some(right)) => Ok(Some(left.cmp(&right))),
            _ => Ok(a.as_f64().partial_cmp(&b.as_f64())),
        },
        (Value::Null, Value::Null) => Ok(Some(Ordering::Equal)),
        (Value::Null, _) | (_, Value::Null) => Ok(None),
        _ => Err(Problem::Comparison { left: kind(left), right: kind(right) }),
    }
}

fn length(value: &Value) -> Result<Value, Problem> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(members) => Ok(members.len().into()),
        other => Err(Problem::ArgumentKind { function: "len", kind: kind(other) }),
    }
}

/// `index x 1 "a"` is `x[1]["a"]`. A name that is not there is an empty text among texts, otherwise nothing.
fn index(arguments: &[Value]) -> Result<Value, Problem> {
    let Some((first, keys)) = arguments.split_first() else {
        return Err(count("index", "a list or object and where to look", 0));
    };
    let mut value = first.clone();
    for key in keys {
        value = match (&mut value, key) {
            (Value::Array(items), Value::Number(_)) => size(key)
                .filter(|&place| place < items.len())
                .map(|place| items.swap_remove(place))
                .ok_or_else(|| Problem::OutOfRange(display(key)))?,
            (Value::String(text), Value::Number(_)) => size(key)
                .and_then(|place| text.as_bytes().get(place))
                .map(|&byte| byte.into())
                .ok_or_else(|| Problem::OutOfRange(display(key)))?,
            (Value::Object(members), Value::String(name)) => match members.remove(name) {
                Some(member) => member,
                None if members.values().all(Value::is_string) => "".into(),
                None => Value::Null,
            },
            (Value::Array(_) | Value::Object(_), other) => {
                return Err(Problem::ArgumentKind { function: "index", kind: kind(other) });
            }
            (other, _) => return Err(Problem::ArgumentKind { function: "index", kind: kind(other) }),
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Result<Value, Problem> {
    let [whole, bounds @ ..] = arguments else { return Err(count("slice", "a list or text", 0)) };
    if bounds.len() > 2 {
        return Err(count("slice", "a list or text, a start and an end", arguments.len()));
    }
    let bound = |position: usize, default: usize| match bounds.get(position) {
        Some(bound) => size(bound).ok_or_else(|| Problem::OutOfRange(display(bound))),
        None => Ok(default),
    };
    let outside = |start: usize, end: usize| Problem::OutOfRange(format!("{start} to {end}"));
    match whole {
        Value::Array(items) => {
            let (start, end) = (bound(0, 0)?, bound(1, items.len())?);
            items.get(start..end).map(|items| items.to_vec().into()).ok_or_else(|| outside(start, end))
        }
        Value::String(text) => {
            let (start, end) = (bound(0, 0)?, bound(1, text.len())?);
            text.get(start..end).map(Value::from).ok_or_else(|| outside(start, end))
        }
        other => Err(Problem::ArgumentKind { function: "slice", kind: kind(other) }),
    }
}

fn join(arguments: &[Value]) -> Result<Value, Problem> {
    match arguments {
        [Value::Array(items), Value::String(separator)] => {
            Ok(items.iter().map(display).collect::<Vec<_>>().join(separator).into())
        }
        [Value::Null, Value::String(_)] => Ok("".into()),
        [other, _] => Err(Problem::ArgumentKind { function: "join", kind: kind(other) }),
        other => Err(count("join", "a list and a separator", other.len())),
    }
}

/// Go's `print`: a space between two values of which neither is a text.
fn print(arguments: &[Value]) -> String {
    let mut all = String::new();
    let mut before = None;
    for value in arguments {
        let is_text = value.is_string();
        if before == Some(false) && !is_text {
            all.push(' ');
        }
        all.push_str(&display(value));
        before = Some(is_text);
    }
    all
}

fn pad(text: &str, before: &Value, after: &Value) -> Result<Value, Problem> {
    let spaces = |value: &Value| {
        let size = size(value).filter(|&size| size <= WIDEST);
        size.map(|size| " ".repeat(size)).ok_or_else(|| Problem::OutOfRange(display(value)))
    };
    let (before, after) = (spaces(before)?, spaces(after)?);
    // Nothing stays nothing, so that empty columns stay empty.
    Ok(if text.is_empty() { "".into() } else { format!("{before}{text}{after}").into() })
}

/// Every word with a capital.
fn title(text: &str) -> String {
    let mut start = true;
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        if start {
            result.extend(letter.to_uppercase());
        } else {
            result.push(letter);
        }
        start = !(letter.is_alphanumeric() || matches!(letter, '_' | '\''));
    }
    result
}

fn escape_html(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&#34;"),
            '\'' => result.push_str("&#39;"),
            other => result.push(other),
        }
    }
    result
}
