//! Text and actions apart, and actions as tokens.

use super::{Located, Problem, number};

/// A part of a template.
#[derive(Debug)]
pub(super) enum Piece {
    /// What is printed as it stands.
    Text(String),
    /// What stands between `{{` and `}}`.
    Action(Action),
}

/// The tokens of one action.
#[derive(Debug)]
pub(super) struct Action {
    /// Where it starts, in bytes.
    pub(super) at: usize,
    pub(super) tokens: Vec<Token>,
}

/// A token with its place.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// Whether white space stands before it: `.a .b` are two arguments, `.a.b` is one.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// `.` alone.
    Dot,
    /// `.Name`.
    Field(String),
    /// `$` or `$name`, with the dollar sign.
    Variable(String),
    /// A keyword or a function.
    Word(String),
    /// A literal.
    Literal(serde_json::Value),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

impl Kind {
    /// As it is told of.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Dot => "\".\"".to_owned(),
            Self::Field(name) => format!("\".{name}\""),
            Self::Variable(name) | Self::Word(name) => format!("\"{name}\""),
            Self::Literal(value) => value.to_string(),
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::Pipe => "\"|\"".to_owned(),
            Self::Comma => "\",\"".to_owned(),
            Self::Declare => "\":=\"".to_owned(),
            Self::Assign => "\"=\"".to_owned(),
        }
    }
}

/// Takes a template apart. With `escapes`, `\t` and `\n` in its text are a tab and a line feed.
pub(super) fn pieces(text: &str, escapes: bool) -> Result<Vec<Piece>, Located> {
    let mut pieces = Vec::new();
    let mut position = 0;
    let mut trim_next = false;
    while position < text.len() {
        let start = text[position..].find("{{").map(|at| position + at);
        let mut plain = &text[position..start.unwrap_or(text.len())];
        if trim_next {
            plain = plain.trim_start();
        }
        let Some(start) = start else {
            push_text(&mut pieces, plain, escapes);
            break;
        };
        let mut inside = start + 2;
        let after = &text[inside..];
        // "{{-3}}" is the number -3; only a dash before white space trims.
        if after.starts_with('-') && after[1..].starts_with(char::is_whitespace) {
            plain = plain.trim_end();
            inside += 1;
        }
        push_text(&mut pieces, plain, escapes);
        let mut lexer = Lexer { text, position: inside, spaced: true };
        let (tokens, trim) = lexer.action(start)?;
        trim_next = trim;
        position = lexer.position;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(Action { at: start, tokens }));
        }
    }
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, escapes: bool) {
    if !text.is_empty() {
        let text = if escapes { text.replace("\\t", "\t").replace("\\n", "\n") } else { text.to_owned() };
        pieces.push(Piece::Text(text));
    }
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
    spaced: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        let skipped = rest.len() - rest.trim_start().len();
        self.position += skipped;
        self.spaced |= skipped > 0;
    }

    /// Reads to the end of an action: its tokens, `None` for a comment, and whether it trims what follows.
    fn action(&mut self, start: usize) -> Result<(Option<Vec<Token>>, bool), Located> {
        self.skip_space();
        if self.rest().starts_with("/*") {
            return self.comment(start).map(|trim| (None, trim));
        }
        let mut tokens = Vec::new();
        loop {
            self.skip_space();
            if let Some(trim) = self.end() {
                return Ok((Some(tokens), trim));
            }
            let at = self.position;
            let Some(first) = self.rest().chars().next() else {
                return Err(Problem::UnclosedAction.at(start));
            };
            let spaced = std::mem::take(&mut self.spaced);
            let kind = self.token(first)?;
            tokens.push(Token { at, kind, spaced });
        }
    }

    /// Passes over `}}` or ` -}}`, if it stands here, and tells whether it trims.
    fn end(&mut self) -> Option<bool> {
        let (length, trim) = match self.rest() {
            rest if rest.starts_with("}}") => (2, false),
            rest if rest.starts_with("-}}") && self.spaced => (3, true),
            _ => return None,
        };
        self.position += length;
        Some(trim)
    }

    fn comment(&mut self, start: usize) -> Result<bool, Located> {
        let Some(length) = self.rest().find("*/") else {
            return Err(Problem::UnclosedComment.at(start));
        };
        self.position += length + 2;
        self.spaced = false;
        self.skip_space();
        self.end().ok_or_else(|| Problem::CommentAndMore.at(self.position))
    }

    fn token(&mut self, first: char) -> Result<Kind, Located> {
        let at = self.position;
        let single = match first {
            '(' => Some(Kind::Open),
            ')' => Some(Kind::Close),
            '|' => Some(Kind::Pipe),
            ',' => Some(Kind::Comma),
            '=' => Some(Kind::Assign),
            _ => None,
        };
        if let Some(kind) = single {
            self.position += 1;
            return Ok(kind);
        }
        match first {
            ':' if self.rest().starts_with(":=") => {
                self.position += 2;
                Ok(Kind::Declare)
            }
            '"' => self.quoted(at),
            '`' => self.raw(at),
            '\'' => self.character(at),
            '$' => {
                self.position += 1;
                Ok(Kind::Variable(format!("${}", self.name())))
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.position += 1;
                let name = self.name();
                Ok(if name.is_empty() { Kind::Dot } else { Kind::Field(name) })
            }
            '0'..='9' | '.' | '-' | '+' => self.number(at),
            _ if is_name(first) => Ok(match self.name().as_str() {
                "true" => Kind::Literal(true.into()),
                "false" => Kind::Literal(false.into()),
                "nil" => Kind::Literal(serde_json::Value::Null),
                word => Kind::Word(word.to_owned()),
            }),
            other => Err(Problem::Unexpected(format!("{other:?}")).at(at)),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let name = rest[..length].to_owned();
        self.position += length;
        name
    }

    fn number(&mut self, at: usize) -> Result<Kind, Located> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['-', '+']));
        let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        let mut length = sign + rest[sign..].find(|c: char| !belongs(c)).unwrap_or(rest.len() - sign);
        // The sign of an exponent, as in 1e-9.
        if rest[..length].ends_with(['e', 'E']) && rest[length..].starts_with(['-', '+']) {
            let after = &rest[length + 1..];
            length += 1 + after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        }
        let word = rest[..length].to_owned();
        self.position += length;
        match number::parse(&word) {
            Some(number) => Ok(Kind::Literal(number)),
            None => Err(Problem::Number(word).at(at)),
        }
    }

    fn raw(&mut self, at: usize) -> Result<Kind, Located> {
        let rest = &self.rest()[1..];
        let Some(length) = rest.find('`') else { return Err(Problem::UnclosedString.at(at)) };
        let text = rest[..length].to_owned();
        self.position += length + 2;
        Ok(Kind::Literal(text.into()))
    }

    fn quoted(&mut self, at: usize) -> Result<Kind, Located> {
        self.position += 1;
        let mut text = String::new();
        loop {
            match self.rest().chars().next() {
                Some('"') => {
                    self.position += 1;
                    return Ok(Kind::Literal(text.into()));
                }
                Some('\\') => text.push(self.escape()?),
                // Go's strings in double quotes end on their line.
                None | Some('\n') => return Err(Problem::UnclosedString.at(at)),
                Some(other) => {
                    text.push(other);
                    self.position += other.len_utf8();
                }
            }
        }
    }

    /// A character in single quotes is its number, as in Go.
    fn character(&mut self, at: usize) -> Result<Kind, Located> {
        self.position += 1;
        let value = match self.rest().chars().next() {
            None => return Err(Problem::UnclosedString.at(at)),
            Some('\\') => self.escape()?,
            Some(other) => {
                self.position += other.len_utf8();
                other
            }
        };
        if value != '\'' && self.rest().starts_with('\'') {
            self.position += 1;
            return Ok(Kind::Literal(u32::from(value).into()));
        }
        Err(Problem::Character(self.text[at + 1..self.position].to_owned()).at(at))
    }

    /// An escaped character of a string (Go specification, rune literals).
    fn escape(&mut self) -> Result<char, Located> {
        let at = self.position;
        let after = &self.rest()[1..];
        let letter = after.chars().next();
        let (digits, radix) = match letter {
            Some('x') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some('0'..='7') => (3, 8),
            _ => (0, 0),
        };
        if digits > 0 {
            let skip = usize::from(radix == 16);
            let found = after.get(skip..skip + digits);
            let value = found
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u32::from_str_radix(digits, radix).ok())
                .and_then(char::from_u32);

            let word = after.chars().take(skip + digits).collect();
            self.position += 1 + skip + digits;
            return value.ok_or(Problem::Escape(word).at(at));
        }
        let value = match letter {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(same @ ('\\' | '"' | '\'')) => same,
            other => return Err(Problem::Escape(other.into_iter().collect()).at(at)),
        };
        self.position += 2;
        Ok(value)
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
