//! Tokens to nodes.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::lexer::{Action, Kind, Piece, Token};
use super::{Located, Problem, functions};

/// How deep blocks and parentheses may be nested: what calls itself for each must not run out of stack.
const DEEPEST: usize = 64;

/// A part of a template that can be filled in.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `if` and `with`: the first arm whose pipeline is not empty, or else the last part.
    Choice {
        /// Whether the pipeline's value is the dot of the arm.
        with: bool,
        arms: Vec<(Pipeline, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// Commands, each of which gets the value of the one before it, and where the last value goes.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// Whether the variables are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) first: Term,
    pub(super) arguments: Vec<Term>,
}

/// A value, and the members of it that are followed.
#[derive(Debug, Clone)]
pub(super) struct Term {
    pub(super) at: usize,
    pub(super) base: Base,
    /// Each with its place.
    pub(super) fields: Vec<(usize, String)>,
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(&'static str),
    Nested(Box<Pipeline>),
}

/// How a list of nodes came to its end.
enum Ending {
    Text,
    End,
    /// With what follows the word: `if …` or `with …`.
    Else(Action),
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Located> {
    let mut parser = Parser { pieces: pieces.into_iter(), ranges: 0 };
    let mut end = 0;
    let (nodes, ending) = parser.list(0, &mut end)?;
    match ending {
        Ending::Text => Ok(nodes),
        Ending::End => Err(Problem::Stray("end").at(end)),
        Ending::Else(action) => Err(Problem::Stray("else").at(action.at)),
    }
}

struct Parser {
    pieces: IntoIter<Piece>,
    /// In how many loops we are.
    ranges: usize,
}

impl Parser {
    /// The nodes up to `{{end}}`, `{{else}}` or the end of the text. `last` becomes the place of the end.
    fn list(&mut self, depth: usize, last: &mut usize) -> Result<(Vec<Node>, Ending), Located> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            *last = action.at;
            let word = match action.tokens.first().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.clone(),
                None => return Err(Problem::EmptyAction.at(action.at)),
                Some(_) => String::new(),
            };
            match word.as_str() {
                "end" => return nothing_more(action).map(|()| (nodes, Ending::End)),
                "else" => {
                    let tokens = action.tokens.into_iter().skip(1).collect();
                    return Ok((nodes, Ending::Else(Action { at: action.at, tokens })));
                }
                "if" => nodes.push(self.choice(action, false, depth)?),
                "with" => nodes.push(self.choice(action, true, depth)?),
                "range" => nodes.push(self.range(action, depth)?),
                "break" | "continue" => {
                    let (name, node) =
                        if word == "break" { ("break", Node::Break) } else { ("continue", Node::Continue) };
                    if self.ranges == 0 {
                        return Err(Problem::Stray(name).at(action.at));
                    }
                    nothing_more(action)?;
                    nodes.push(node);
                }
                "define" | "template" | "block" => return Err(Problem::Named(word).at(action.at)),
                _ => nodes.push(Node::Print(whole_pipeline(action, 0)?)),
            }
        }
        Ok((nodes, Ending::Text))
    }

    fn choice(&mut self, action: Action, with: bool, depth: usize) -> Result<Node, Located> {
        let name = if with { "with" } else { "if" };
        let start = action.at;
        if depth >= DEEPEST {
            return Err(Problem::TooDeep.at(start));
        }
        let mut arms = Vec::new();
        let mut condition = whole_pipeline(action, 1)?;
        loop {
            let (body, ending) = self.list(depth + 1, &mut 0)?;
            arms.push((condition, body));
            match ending {
                Ending::Text => return Err(Problem::UnclosedBlock(name).at(start)),
                Ending::End => return Ok(Node::Choice { with, arms, otherwise: Vec::new() }),
                Ending::Else(action) if starts_with(&action, name) => condition = whole_pipeline(action, 1)?,
                Ending::Else(action) => {
                    nothing_left(&action)?;
                    let otherwise = self.rest_of_block(name, start, depth)?;
                    return Ok(Node::Choice { with, arms, otherwise });
                }
            }
        }
    }

    fn range(&mut self, action: Action, depth: usize) -> Result<Node, Located> {
        let start = action.at;
        if depth >= DEEPEST {
            return Err(Problem::TooDeep.at(start));
        }
        let over = whole_pipeline(action, 1)?;
        self.ranges += 1;
        let (body, ending) = self.list(depth + 1, &mut 0)?;
        self.ranges -= 1;
        let otherwise = match ending {
            Ending::Text => return Err(Problem::UnclosedBlock("range").at(start)),
            Ending::End => Vec::new(),
            Ending::Else(action) => {
                nothing_left(&action)?;
                self.rest_of_block("range", start, depth)?
            }
        };
        Ok(Node::Range { over, body, otherwise })
    }

    /// What stands between `{{else}}` and `{{end}}`.
    fn rest_of_block(
        &mut self,
        name: &'static str,
        start: usize,
        depth: usize,
    ) -> Result<Vec<Node>, Located> {
        match self.list(depth + 1, &mut 0)? {
            (nodes, Ending::End) => Ok(nodes),
            (_, Ending::Text) => Err(Problem::UnclosedBlock(name).at(start)),
            (_, Ending::Else(action)) => Err(Problem::Stray("else").at(action.at)),
        }
    }
}

fn starts_with(action: &Action, word: &str) -> bool {
    action.tokens.first().is_some_and(|token| token.kind == Kind::Word(word.to_owned()))
}

/// Refuses anything after the first word of an action.
fn nothing_more(action: Action) -> Result<(), Located> {
    let tokens = action.tokens.into_iter().skip(1).collect();
    nothing_left(&Action { at: action.at, tokens })
}

fn nothing_left(action: &Action) -> Result<(), Located> {
    match action.tokens.first() {
        None => Ok(()),
        Some(token) => Err(Problem::Unexpected(token.kind.describe()).at(token.at)),
    }
}

/// The pipeline that an action consists of after its first `skip` words.
fn whole_pipeline(action: Action, skip: usize) -> Result<Pipeline, Located> {
    let mut tokens = Tokens { tokens: action.tokens.into_iter().peekable(), at: action.at };
    for _ in 0..skip {
        tokens.next();
    }
    let pipeline = tokens.pipeline(0)?;
    match tokens.next() {
        None => Ok(pipeline),
        Some(token) => Err(Problem::Unexpected(token.kind.describe()).at(token.at)),
    }
}

struct Tokens {
    tokens: Peekable<IntoIter<Token>>,
    /// Where the last token was.
    at: usize,
}

impl Tokens {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.at = token.at;
        Some(token)
    }

    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, Located> {
        if depth >= DEEPEST {
            return Err(Problem::TooDeep.at(self.at));
        }
        let (variables, declares) = self.variables()?;
        let mut commands = vec![self.command(depth)?];
        while self.peek() == Some(&Kind::Pipe) {
            self.next();
            commands.push(self.command(depth)?);
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$x =` or `$key, $value :=` in front of a pipeline.
    fn variables(&mut self) -> Result<(Vec<String>, bool), Located> {
        let ahead: Vec<Kind> = self.tokens.clone().take(4).map(|token| token.kind).collect();
        let (count, declares) = match &ahead[..] {
            [Kind::Variable(_), Kind::Declare, ..] => (1, true),
            [Kind::Variable(_), Kind::Assign, ..] => (1, false),
            [Kind::Variable(_), Kind::Comma, Kind::Variable(_), Kind::Declare] => (2, true),
            [Kind::Variable(_), Kind::Comma, Kind::Variable(_), Kind::Assign] => (2, false),
            _ => return Ok((Vec::new(), false)),
        };
        let mut variables = Vec::new();
        for _ in 0..count * 2 {
            if let Some(Token { kind: Kind::Variable(name), at, .. }) = self.next() {
                if name == "$" {
                    return Err(Problem::Unexpected("\"$\"".to_owned()).at(at));
                }
                variables.push(name);
            }
        }
        Ok((variables, declares))
    }

    fn command(&mut self, depth: usize) -> Result<Command, Located> {
        let Some(first) = self.term(depth)? else { return Err(self.unexpected()) };
        let mut arguments = Vec::new();
        while let Some(term) = self.term(depth)? {
            arguments.push(term);
        }
        Ok(Command { first, arguments })
    }

    fn unexpected(&mut self) -> Located {
        match self.tokens.peek() {
            Some(token) => Problem::Unexpected(token.kind.describe()).at(token.at),
            None => Problem::Unexpected("end of the action".to_owned()).at(self.at),
        }
    }

    /// A value with its members, or `None` where none stands.
    fn term(&mut self, depth: usize) -> Result<Option<Term>, Located> {
        let Some(token) = self.tokens.peek().cloned() else { return Ok(None) };
        let at = token.at;
        let mut fields = Vec::new();
        let base = match token.kind {
            Kind::Dot => Base::Dot,
            Kind::Field(name) => {
                fields.push((at, name));
                Base::Dot
            }
            Kind::Variable(name) => Base::Variable(name),
            Kind::Literal(value) => Base::Literal(value),
            Kind::Word(name) => match functions::find(&name) {
                Some(function) => Base::Function(function),
                None => return Err(Problem::NoFunction(name).at(at)),
            },
            Kind::Open => {
                self.next();
                let nested = self.pipeline(depth + 1)?;
                if self.peek() != Some(&Kind::Close) {
                    return Err(self.unexpected());
                }
                Base::Nested(Box::new(nested))
            }
            Kind::Close | Kind::Pipe | Kind::Comma | Kind::Declare | Kind::Assign => return Ok(None),
        };
        self.next();
        while let Some(Token { at, kind: Kind::Field(name), spaced: false }) = self.tokens.peek().cloned() {
            self.next();
            fields.push((at, name));
        }
        Ok(Some(Term { at, base, fields }))
    }
}
