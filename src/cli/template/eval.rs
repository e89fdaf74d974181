//! Nodes to text.

use serde_json::{Map, Value};

use super::functions;
use super::parser::{Base, Command, Node, Pipeline, Term};
use super::{Located, Problem, kind, number};

/// Objects whose members are named by users: a name that is not there is nothing, and no mistake.
const OPEN: [&str; 13] = [
    "Annotations",
    "Attributes",
    "Containers",
    "ExposedPorts",
    "Label",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Subnets",
    "Sysctls",
    "Volumes",
];

/// Fills in `nodes`. For `titles`, functions that change a text leave it as it is.
pub(super) fn render(nodes: &[Node], data: &Value, titles: bool) -> Result<String, Located> {
    let mut state = State { root: data, titles, variables: Vec::new(), text: String::new() };
    state.nodes(nodes, data)?;
    Ok(state.text)
}

/// A value as it is printed.
pub(super) fn display(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        other => plain(other),
    }
}

/// What Go prints of a member without a value, by its type: the JSON has null for each.
fn nothing(pipeline: &Pipeline, value: &Value) -> Option<&'static str> {
    const LISTS: [&str; 12] = [
        "Aliases",
        "CapAdd",
        "CapDrop",
        "DeviceRequests",
        "Entrypoint",
        "ExecIDs",
        "Links",
        "OnBuild",
        "Peers",
        "SecondaryIPAddresses",
        "SecondaryIPv6Addresses",
        "Services",
    ];
    const MAPS: [&str; 6] = ["Annotations", "DriverOpts", "Options", "Sysctls", "Tmpfs", "Volumes"];
    const POINTERS: [&str; 10] = [
        "Descriptor",
        "Health",
        "Healthcheck",
        "IPAMConfig",
        "Init",
        "MemorySwappiness",
        "OomKillDisable",
        "PidsLimit",
        "SizeRw",
        "StopTimeout",
    ];
    let [Command { first, arguments }] = &pipeline.commands[..] else { return None };
    let (true, true, Some((_, name))) = (value.is_null(), arguments.is_empty(), first.fields.last()) else {
        return None;
    };
    let is_of = |names: &[&str]| names.contains(&name.as_str());
    let kinds = [(is_of(&LISTS), "[]"), (is_of(&MAPS), "map[]"), (is_of(&POINTERS), "<nil>")];
    kinds.into_iter().find_map(|(holds, text)| holds.then_some(text))
}

/// A value inside another one, as Go's `%v`.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => number::text(value),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members = sorted(members);
            let members = members.iter().map(|(name, value)| format!("{name}:{}", plain(value)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Go prints and goes through maps in the order of their keys.
fn sorted(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    members
}

/// What counts as true: anything that is not empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// What a list of nodes says about the loop it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct State<'a> {
    root: &'a Value,
    titles: bool,
    /// The newest last.
    variables: Vec<(String, Value)>,
    text: String,
}

impl State<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Located> {
        let known = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Located> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.text.push_str(nothing(pipeline, &value).unwrap_or(&display(&value)));
                } else {
                    self.keep(pipeline, &value)?;
                }
            }
            Node::Choice { with, arms, otherwise } => {
                let known = self.variables.len();
                let flow = self.choice(*with, arms, otherwise, dot);
                self.variables.truncate(known);
                return flow;
            }
            Node::Range { over, body, otherwise } => return self.range(over, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn choice(
        &mut self,
        with: bool,
        arms: &[(Pipeline, Vec<Node>)],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Located> {
        for (condition, body) in arms {
            let value = self.pipeline(condition, dot)?;
            self.keep(condition, &value)?;
            if is_true(&value) {
                return self.nodes(body, if with { &value } else { dot });
            }
        }
        self.nodes(otherwise, dot)
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Located> {
        let value = self.pipeline(over, dot)?;
        let at = over.commands.first().map_or(0, |command| command.first.at);
        let items: Vec<(Value, Value)> = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect()
            }
            Value::Object(members) => sorted(&members)
                .into_iter()
                .map(|(name, value)| (Value::String(name.clone()), value.clone()))
                .collect(),
            other => return Err(Problem::NotIterable(kind(&other)).at(at)),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, item) in items {
            let values = match over.variables.len() {
                0 => Vec::new(),
                1 => vec![item.clone()],
                _ => vec![key, item.clone()],
            };
            for (name, value) in over.variables.iter().zip(values) {
                self.set(name, value, over.declares, at)?;
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// Puts a pipeline's value into its variable, if it has one.
    fn keep(&mut self, pipeline: &Pipeline, value: &Value) -> Result<(), Located> {
        let at = pipeline.commands.first().map_or(0, |command| command.first.at);
        match &pipeline.variables[..] {
            [] => Ok(()),
            [name] => self.set(name, value.clone(), pipeline.declares, at),
            [..] => Err(Problem::Unexpected("second variable".to_owned()).at(at)),
        }
    }

    fn set(&mut self, name: &str, value: Value, declares: bool, at: usize) -> Result<(), Located> {
        if declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => return Err(Problem::NoVariable(name.to_owned()).at(at)),
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Located> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value.take())?);
        }
        Ok(value.unwrap_or_default())
    }

    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, Located> {
        let first = &command.first;
        if let Base::Function(function) = first.base {
            let value = self.call(function, command, dot, piped)?;
            return follow(value, &first.fields, "");
        }
        let value = self.term(first, dot)?;
        let mut arguments = Vec::new();
        for term in &command.arguments {
            arguments.push(self.term(term, dot)?);
        }
        arguments.extend(piped);
        let Some(key) = arguments.pop() else { return Ok(value) };
        let name = first.fields.last().map_or("this", |(_, name)| name.as_str());
        match value {
            // Docker's listings have methods such as .Label, which look a name up.
            Value::Object(mut members) if arguments.is_empty() && !first.fields.is_empty() => {
                Ok(members.remove(&display(&key)).unwrap_or_else(|| "".into()))
            }
            _ if self.titles => Ok(key),
            _ => Err(Problem::NotCallable(name.to_owned()).at(first.at)),
        }
    }

    fn call(
        &mut self,
        function: &'static str,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Located> {
        let mut arguments: Vec<Value> = Vec::new();
        for term in &command.arguments {
            let value = self.term(term, dot)?;
            let decided = match function {
                "and" => !is_true(&value),
                "or" => is_true(&value),
                _ => false,
            };
            if decided {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        if self.titles && functions::changes_text(function) && !arguments.is_empty() {
            return Ok(arguments.swap_remove(0));
        }
        functions::call(function, arguments).map_err(|problem| problem.at(command.first.at))
    }

    fn term(&mut self, term: &Term, dot: &Value) -> Result<Value, Located> {
        let (value, name) = match &term.base {
            Base::Dot => return follow_in(dot, &term.fields, ""),
            Base::Variable(name) if name == "$" => return follow_in(self.root, &term.fields, ""),
            Base::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                // Its name is all that is known of where it comes from.
                Some((_, value)) => return follow_in(value, &term.fields, ""),
                None => return Err(Problem::NoVariable(name.clone()).at(term.at)),
            },
            Base::Literal(value) => (value.clone(), ""),
            Base::Nested(pipeline) => (self.pipeline(pipeline, dot)?, ""),
            Base::Function(function) => {
                let value = functions::call(function, Vec::new()).map_err(|problem| problem.at(term.at))?;
                (value, "")
            }
        };
        follow(value, &term.fields, name)
    }
}

fn follow(value: Value, fields: &[(usize, String)], name: &str) -> Result<Value, Located> {
    if fields.is_empty() { Ok(value) } else { follow_in(&value, fields, name) }
}

/// The member that Go's programs call by this name: abbreviations are written in capitals there, which the JSON spells
/// like words (`.ID` for `Id`, `.CPUShares` for `CpuShares`).
fn go_name<'a>(members: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    let is_spelling_of = |name: &str| {
        name.len() == field.len()
            && name.bytes().zip(field.bytes()).all(|(own, go)| own == go || own.to_ascii_uppercase() == go)
    };
    members.iter().find(|(name, _)| is_spelling_of(name)).map(|(_, value)| value)
}

/// The member that a chain of names leads to. `name` is that of the value itself.
fn follow_in(value: &Value, fields: &[(usize, String)], name: &str) -> Result<Value, Located> {
    let (mut value, mut name) = (value, name);
    for (at, field) in fields {
        let Value::Object(members) = value else {
            return Err(Problem::NotAnObject { field: field.clone(), kind: kind(value) }.at(*at));
        };
        let spelled = || if OPEN.contains(&name) { None } else { go_name(members, field) };
        value = match members.get(field).or_else(spelled) {
            Some(member) => member,
            None if OPEN.contains(&name) => &Value::Null,
            None => {
                let known = sorted(members).into_iter().map(|(name, _)| name.clone()).collect();
                return Err(Problem::NoMember { field: field.clone(), known }.at(*at));
            }
        };
        name = field;
    }
    Ok(value.clone())
}
