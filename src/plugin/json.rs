//! JSON as other engines write it: the names of members in any case, and `null` for what there is none of.

use std::str::FromStr;

use serde_json::{Map, Value};

/// A value that is not what it has to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unexpected {
    /// It means nothing.
    #[error("{path} is {found} and not {expected}")]
    Other { path: String, found: String, expected: String },
    /// It has a meaning that is not possible.
    #[error("{path} is {found}: {why}")]
    Impossible { path: String, found: String, why: String },
    /// There is none.
    #[error("{path} is missing: it has to be {expected}")]
    Missing { path: String, expected: String },
}

impl Unexpected {
    fn new(path: &str, found: &Value, expected: &str) -> Self {
        Self::Other { path: path.to_owned(), found: short(found), expected: expected.to_owned() }
    }
}

fn short(found: &Value) -> String {
    let found = found.to_string();
    if found.chars().count() > 64 { found.chars().take(64).chain("…".chars()).collect() } else { found }
}

/// An object, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    members: &'a Map<String, Value>,
    path: String,
}

impl<'a> Object<'a> {
    /// The object that a value is.
    pub(super) fn of(value: &'a Value, path: &str) -> Result<Self, Unexpected> {
        match value {
            Value::Object(members) => Ok(Self { members, path: path.to_owned() }),
            other => Err(Unexpected::new(path, other, "an object")),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn any_member(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).or_else(|| {
            let mut members = self.members.iter();
            members.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    /// Whether there is a member of this name, be it `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.any_member(name).is_some()
    }

    /// A member that is not `null`.
    pub(super) fn member(&self, name: &str) -> Option<&'a Value> {
        self.any_member(name).filter(|value| !value.is_null())
    }

    /// All members, each with its name.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A member that is an object.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Unexpected> {
        self.member(name).map(|value| Self::of(value, &self.path(name))).transpose()
    }

    /// A member that is a list; empty where there is none.
    pub(super) fn list(&self, name: &str) -> Result<&'a [Value], Unexpected> {
        match self.member(name) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(Unexpected::new(&self.path(name), other, "a list")),
        }
    }

    /// A member that is a list of objects.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, Unexpected> {
        let values = self.list(name)?.iter().enumerate();
        values.map(|(at, value)| Self::of(value, &format!("{}[{at}]", self.path(name)))).collect()
    }

    /// A member that is a text; an empty one is as good as none.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Unexpected> {
        match self.member(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => Err(Unexpected::new(&self.path(name), other, "a text")),
        }
    }

    /// A member that is a list of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, Unexpected> {
        let text = |value: &'a Value| {
            value.as_str().ok_or_else(|| Unexpected::new(&self.path(name), value, "a list of texts"))
        };
        self.list(name)?.iter().map(text).collect()
    }

    /// A member that is true or false; false where there is none.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Unexpected> {
        Ok(self.choice(name)?.unwrap_or_default())
    }

    /// A member that is true or false, if there is one.
    pub(super) fn choice(&self, name: &str) -> Result<Option<bool>, Unexpected> {
        match self.member(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(Unexpected::new(&self.path(name), other, "true or false")),
        }
    }

    /// A member that is a number of this type.
    pub(super) fn number<N: TryFrom<u64>>(&self, name: &str) -> Result<Option<N>, Unexpected> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| number.try_into().ok());
        let wrong = || Unexpected::new(&self.path(name), value, "a number that is allowed here");
        number.map(Some).ok_or_else(wrong)
    }

    /// A member that is a text with a meaning of its own.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Unexpected> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(self.unexpected(name, expected)),
        }
    }

    /// The same, where there has to be one.
    pub(super) fn required<T: FromStr>(&self, name: &str, expected: &str) -> Result<T, Unexpected> {
        self.parsed(name, expected)?.ok_or_else(|| self.unexpected(name, expected))
    }

    /// The error for a member that means nothing.
    pub(super) fn unexpected(&self, name: &str, expected: &str) -> Unexpected {
        let path = self.path(name);
        match self.member(name) {
            Some(value) => Unexpected::new(&path, value, expected),
            None => Unexpected::Missing { path, expected: expected.to_owned() },
        }
    }

    /// The error for a member whose meaning is not possible.
    pub(super) fn impossible(&self, name: &str, why: &str) -> Unexpected {
        let found = short(self.any_member(name).unwrap_or(&Value::Null));
        Unexpected::Impossible { path: self.path(name), found, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_found_in_any_case_and_null_is_none() {
        let value = json!({ "HostPort": 8080, "list": null, "Name": "", "On": true, "on": false, "deep": { "A": [1] } });
        let object = Object::of(&value, "").unwrap();
        assert_eq!(object.number::<u16>("hostPort").unwrap(), Some(8080));
        assert!(object.has("List") && object.list("list").unwrap().is_empty());
        assert_eq!((object.text("name").unwrap(), object.has("none")), (None, false));
        // The exact name counts first.
        assert!(!object.flag("on").unwrap() && object.flag("On").unwrap());
        let deep = object.object("DEEP").unwrap().unwrap();
        assert_eq!(deep.texts("a").unwrap_err().to_string(), "DEEP.a is 1 and not a list of texts");
        let error = object.number::<u8>("hostport").unwrap_err().to_string();
        assert_eq!(error, "hostport is 8080 and not a number that is allowed here");
    }

    #[test]
    fn an_error_is_short_whatever_was_found() {
        let value = json!({ "text": vec!["x".repeat(100); 100] });
        let error = Object::of(&value, "top").unwrap().text("text").unwrap_err().to_string();
        assert!(error.starts_with("top.text is [") && error.len() < 120, "{error}");
    }
}
