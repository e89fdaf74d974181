//! Words of an instruction, in which quotes and backslashes keep blanks together and variables are named as in a shell.

use std::iter::Peekable;
use std::str::Chars;

const OPEN_QUOTE: &str = "a quote is not closed";
const OPEN_BRACE: &str = "a brace is not closed";
const BACKSLASH: &str = "it ends with a backslash";

/// How deep variables may stand in for each other.
const DEPTH_MAX: usize = 32;

/// A word whose variables are still to be put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `$NAME`, `${NAME}` or `${NAME:-WORD}`.
    Variable {
        name: String,
        otherwise: Option<Otherwise>,
    },
}

/// What stands after the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Otherwise {
    /// Whether an empty value is as good as none.
    or_empty: bool,
    kind: Kind,
    word: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `-`: the word in place of no value.
    Default,
    /// `+`: the word in place of a value.
    Instead,
    /// `?`: no value is an error.
    Required,
}

impl Word {
    /// A word that is the whole text, blanks included.
    pub(super) fn quoted(text: &str) -> Result<Self, &'static str> {
        let mut parser = Parser { letters: text.chars().peekable(), depth: 0 };
        parser.word(|_| false)
    }

    /// A text in which quotes mean nothing.
    pub(super) fn unquoted(text: &str) -> Result<Self, &'static str> {
        let mut parser = Parser { letters: text.chars().peekable(), depth: 0 };
        let mut word = Self::default();
        while let Some(letter) = parser.letters.next() {
            match letter {
                '$' => parser.variable(&mut word)?,
                letter => word.push(letter),
            }
        }
        Ok(word)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(text) if text.is_empty()))
    }

    pub(super) fn has_variables(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Variable { .. }))
    }

    /// What stands before and after the first equals sign outside of variables.
    pub(super) fn split_at_equals(self) -> Option<(Self, Self)> {
        let mut pieces = self.0.into_iter();
        let mut name = Self::default();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => {
                    let Some((before, after)) = text.split_once('=') else {
                        name.0.push(Piece::Text(text));
                        continue;
                    };
                    name.0.push(Piece::Text(before.to_owned()));
                    let mut value = Self(vec![Piece::Text(after.to_owned())]);
                    value.0.extend(pieces);
                    return Some((name, value));
                }
                variable @ Piece::Variable { .. } => name.0.push(variable),
            }
        }
        None
    }

    /// The word with the variables put in. One without a value is empty.
    pub(super) fn expand(&self, value: &dyn Fn(&str) -> Option<String>) -> Result<String, &'static str> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Variable { name, otherwise: None } => text.push_str(&value(name).unwrap_or_default()),
                Piece::Variable { name, otherwise: Some(otherwise) } => {
                    let value_of_name = value(name);
                    let set = value_of_name.filter(|value| !otherwise.or_empty || !value.is_empty());
                    match (otherwise.kind, set) {
                        (Kind::Default | Kind::Required, Some(value)) => text.push_str(&value),
                        (Kind::Default, None) | (Kind::Instead, Some(_)) => {
                            text.push_str(&otherwise.word.expand(value)?);
                        }
                        (Kind::Instead, None) => {}
                        (Kind::Required, None) => return Err("a variable is not set"),
                    }
                }
            }
        }
        Ok(text)
    }

    fn push(&mut self, letter: char) {
        match self.0.last_mut() {
            Some(Piece::Text(text)) => text.push(letter),
            _ => self.0.push(Piece::Text(letter.into())),
        }
    }
}

/// The words of a text, with blanks between them.
pub(super) fn words(text: &str) -> Result<Vec<Word>, &'static str> {
    let mut parser = Parser { letters: text.chars().peekable(), depth: 0 };
    let mut words = Vec::new();
    loop {
        while parser.letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        if parser.letters.peek().is_none() {
            return Ok(words);
        }
        words.push(parser.word(char::is_whitespace)?);
    }
}

struct Parser<'a> {
    letters: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    /// A word up to a letter outside of quotes that ends it, which is left, or to the end.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<Word, &'static str> {
        let mut word = Word::default();
        while let Some(letter) = self.letters.next_if(|letter| !ends(*letter)) {
            match letter {
                '\'' => loop {
                    match self.letters.next().ok_or(OPEN_QUOTE)? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                },
                '"' => self.double_quoted(&mut word)?,
                '\\' => word.push(self.letters.next().ok_or(BACKSLASH)?),
                '$' => self.variable(&mut word)?,
                letter => word.push(letter),
            }
        }
        Ok(word)
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), &'static str> {
        loop {
            match self.letters.next().ok_or(OPEN_QUOTE)? {
                '"' => return Ok(()),
                '\\' => {
                    let escaped = self.letters.next().ok_or(OPEN_QUOTE)?;
                    // Here, only these are special.
                    if !matches!(escaped, '"' | '\\' | '$') {
                        word.push('\\');
                    }
                    word.push(escaped);
                }
                '$' => self.variable(word)?,
                letter => word.push(letter),
            }
        }
    }

    /// What follows a dollar sign. It stands for itself before what is no name.
    fn variable(&mut self, word: &mut Word) -> Result<(), &'static str> {
        if self.letters.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                word.push('$');
            } else {
                word.0.push(Piece::Variable { name, otherwise: None });
            }
            return Ok(());
        }
        let name = self.name();
        if name.is_empty() {
            return Err("a brace after a dollar sign is not followed by a name");
        }
        let or_empty = self.letters.next_if_eq(&':').is_some();
        let kind = match self.letters.next().ok_or(OPEN_BRACE)? {
            '}' if !or_empty => {
                word.0.push(Piece::Variable { name, otherwise: None });
                return Ok(());
            }
            '-' => Kind::Default,
            '+' => Kind::Instead,
            '?' => Kind::Required,
            _ => return Err("of what may stand after the name of a variable, only - + ? are known"),
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("variables are nested too deep");
        }
        let alternative = self.word(|letter| letter == '}')?;
        self.depth -= 1;
        self.letters.next().ok_or(OPEN_BRACE)?;
        let otherwise = Some(Otherwise { or_empty, kind, word: alternative });
        word.0.push(Piece::Variable { name, otherwise });
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(letter) = self.letters.next_if(|letter| {
            letter.is_ascii_alphabetic() || *letter == '_' || letter.is_ascii_digit() && !name.is_empty()
        }) {
            name.push(letter);
        }
        name
    }
}
