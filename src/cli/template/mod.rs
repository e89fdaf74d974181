//! Go's templates as `docker --format` knows them, over JSON values.
//!
//! ```text
//! text ─► lexer ─► tokens ─► parser ─► nodes ─► eval ─► text
//!                                                └─ functions, printf
//! ```
//!
//! What a template may hold: fields and chains of them, `index`, `range`, `if`, `with`, variables, pipes,
//! comments, trimmed actions, the functions of text/template and those that Docker adds. Named templates
//! (`define`, `template`, `block`) are refused: nobody can define any on a command line of one template.

mod eval;
mod functions;
mod lexer;
mod number;
mod parser;
mod printf;

use serde_json::Value;

use crate::cli::output;
use parser::Node;

/// Why a template cannot be read or filled in. The text is complete and names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position} of the template: {problem}")]
pub(super) struct TemplateError {
    /// Which character of the template, counted from one.
    position: usize,
    /// What is wrong there.
    problem: Problem,
}

/// What can be wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("the action is never closed by }}}}")]
    UnclosedAction,
    #[error("the comment is never closed by */")]
    UnclosedComment,
    #[error("a comment must fill its action")]
    CommentAndMore,
    #[error("the string is never closed")]
    UnclosedString,
    #[error("\"{0}\" is not a number")]
    Number(String),
    #[error("\\{0} means nothing in a string")]
    Escape(String),
    #[error("'{0}' is not one character")]
    Character(String),
    #[error("unexpected {0}")]
    Unexpected(String),
    #[error("the action is empty")]
    EmptyAction,
    #[error("{{{{{0}}}}} is never closed by {{{{end}}}}")]
    UnclosedBlock(&'static str),
    #[error("{{{{{0}}}}} belongs to no block")]
    Stray(&'static str),
    #[error("{{{{{0}}}}} is not known here")]
    Named(String),
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("there is no function {0}")]
    NoFunction(String),
    #[error("there is no variable {0}")]
    NoVariable(String),
    #[error("there is no member {field} (there are: {})", .known.join(", "))]
    NoMember { field: String, known: Vec<String> },
    #[error("cannot look for {field} in {kind}")]
    NotAnObject { field: String, kind: &'static str },
    #[error("{0} takes no arguments")]
    NotCallable(String),
    #[error("cannot go through {0}")]
    NotIterable(&'static str),
    #[error("{function} takes {expected}, not {given} arguments")]
    ArgumentCount { function: &'static str, expected: &'static str, given: usize },
    #[error("{function} cannot be used with {kind}")]
    ArgumentKind { function: &'static str, kind: &'static str },
    #[error("{0} is outside the list or text")]
    OutOfRange(String),
    #[error("{left} cannot be compared with {right}")]
    Comparison { left: &'static str, right: &'static str },
}

impl Problem {
    fn at(self, offset: usize) -> Located {
        Located { offset, problem: self }
    }
}

/// A problem with its place as a byte offset, on its way to becoming a [`TemplateError`].
#[derive(Debug)]
struct Located {
    offset: usize,
    problem: Problem,
}

/// A template that was read without fault.
#[derive(Debug, Clone)]
pub(super) struct Template {
    source: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::read(text, false)
    }

    /// Reads a template in whose text outside the actions `\t` and `\n` stand for tab and line feed, as in
    /// Docker's listings: shells do not write them.
    pub(super) fn parse_with_escapes(text: &str) -> Result<Self, TemplateError> {
        Self::read(text, true)
    }

    fn read(text: &str, escapes: bool) -> Result<Self, TemplateError> {
        let nodes = lexer::pieces(text, escapes).and_then(parser::parse);
        let nodes = nodes.map_err(|located| locate(text, located))?;
        Ok(Self { source: text.to_owned(), nodes })
    }

    /// Fills the template in.
    pub(super) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, &output::for_reader(data), false)
            .map_err(|located| locate(&self.source, located))
    }

    /// Fills the template in with the titles of its columns: functions that change a text leave titles as
    /// they are.
    pub(super) fn render_titles(&self, titles: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, titles, true).map_err(|located| locate(&self.source, located))
    }
}

fn locate(text: &str, Located { offset, problem }: Located) -> TemplateError {
    let position = text.char_indices().take_while(|(at, _)| *at < offset).count() + 1;
    TemplateError { position, problem }
}

/// What a value is called in messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
