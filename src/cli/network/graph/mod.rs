//! `mydocker network graph`: networks, who is in them, and what is published, as a picture.

mod dot;
mod mermaid;
mod svg;
mod text;

use std::process::ExitCode;

use crate::cli::output::{self, print};
use crate::cli::{CommandError, Context};
use crate::engine::{Endpoint, Mode, Network, NetworkInspection, compact_ports};

/// Show networks, their containers and published ports as a picture
///
/// Formats: text for a terminal; dot for Graphviz; mermaid for Markdown pages; svg for a browser, drawn by mydocker itself.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mydocker network graph\n  mydocker network graph --format svg front back >networks.svg"
)]
pub(in crate::cli) struct Args {
    /// How it is drawn
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Form,
    /// The networks; all if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    #[default]
    Text,
    Dot,
    Mermaid,
    Svg,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let engine = context.engine()?;
    let mut names = args.names.clone();
    if names.is_empty() {
        names = engine.networks()?.iter().map(|network| network.name.to_string()).collect();
    }
    let mut inspections = Vec::new();
    for name in &names {
        let inspection = engine.inspect_network(name)?;
        if !inspections.iter().any(|other: &NetworkInspection| other.network.name == inspection.network.name)
        {
            inspections.push(inspection);
        }
    }
    let graph = Graph::of(&inspections);
    print(&match args.format {
        Form::Text => text::draw(&graph),
        Form::Dot => dot::draw(&graph),
        Form::Mermaid => mermaid::draw(&graph),
        Form::Svg => svg::draw(&graph),
    });
    Ok(ExitCode::SUCCESS)
}

/// What is drawn.
#[derive(Debug, Default)]
struct Graph {
    networks: Vec<Net>,
    members: Vec<Member>,
    links: Vec<Link>,
}

/// A network.
#[derive(Debug)]
struct Net {
    name: String,
    /// Its subnets.
    subnets: Vec<String>,
    /// What does not hold for every network.
    traits: Vec<&'static str>,
    /// Whether its containers reach the outside.
    has_way_out: bool,
}

/// A container, or a namespace that is no container's.
#[derive(Debug)]
struct Member {
    name: String,
    is_container: bool,
    /// Its published ports.
    ports: Vec<String>,
}

/// A member is in a network.
#[derive(Debug)]
struct Link {
    network: usize,
    member: usize,
    /// The member's addresses there.
    addresses: Vec<String>,
    /// The published ports that lead there.
    ports: Vec<String>,
}

impl Graph {
    fn of(inspections: &[NetworkInspection]) -> Self {
        let mut graph = Self::default();
        let mut ids = Vec::new();
        for (place, inspection) in inspections.iter().enumerate() {
            graph.networks.push(Net::of(&inspection.network));
            let mut endpoints: Vec<&Endpoint> = inspection.endpoints.iter().collect();
            endpoints.sort_by_key(|endpoint| endpoint.owner.name());
            for endpoint in endpoints {
                let id = endpoint.owner.id();
                let member = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                    ids.push(id);
                    graph.members.push(Member {
                        // The path of a namespace is whatever somebody called it.
                        name: output::escaped(&endpoint.owner.name()).into_owned(),
                        is_container: endpoint.owner.namespace().is_none(),
                        ports: Vec::new(),
                    });
                    ids.len() - 1
                });
                let link = Link {
                    network: place,
                    member,
                    addresses: endpoint.addresses.iter().map(|it| it.address().to_string()).collect(),
                    ports: compact_ports(&endpoint.ports).iter().map(ToString::to_string).collect(),
                };
                graph.members[member].ports.extend(link.ports.iter().cloned());
                graph.links.push(link);
            }
        }
        graph
    }

    fn links_of(&self, network: usize) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.network == network)
    }
}

impl Net {
    fn of(network: &Network) -> Self {
        let is_routed = network.mode == Mode::Routed;
        let traits = [
            (network.internal, "internal"),
            (network.isolated, "isolated"),
            (network.apart, "containers apart"),
            (is_routed, "routed"),
            (!is_routed && !network.internal && !network.masquerade, "no masquerading"),
        ];
        Self {
            name: network.name.to_string(),
            subnets: network.blocks().map(|block| block.subnet.to_string()).collect(),
            traits: traits.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect(),
            has_way_out: !network.internal,
        }
    }

    /// Its subnets and what is special about it, on one line.
    fn details(&self) -> String {
        let subnets = self.subnets.join(", ");
        if self.traits.is_empty() { subnets } else { format!("{subnets} ({})", self.traits.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let net = |name: &str, subnet: &str, traits: &[&'static str]| Net {
            name: name.to_owned(),
            subnets: vec![subnet.to_owned()],
            traits: traits.to_vec(),
            has_way_out: !traits.contains(&"internal"),
        };
        let member = |name: &str, ports: &[&str]| Member {
            name: name.to_owned(),
            is_container: !name.starts_with('/'),
            ports: ports.iter().map(|&port| port.to_owned()).collect(),
        };
        let link = |network, member, address: &str, ports: &[&str]| Link {
            network,
            member,
            addresses: vec![address.to_owned()],
            ports: ports.iter().map(|&port| port.to_owned()).collect(),
        };
        const PORT: &str = "0.0.0.0:8080->80/tcp";
        Graph {
            networks: vec![
                net("front", "10.77.0.0/24", &[]),
                net("back", "10.78.0.0/24", &["internal"]),
                net("empty", "10.79.0.0/24", &[]),
            ],
            members: vec![member("web", &[PORT]), member("/run/netns/\"<&x", &[]), member("db", &[])],
            links: vec![
                link(0, 0, "10.77.0.2", &[PORT]),
                link(0, 1, "10.77.0.3", &[]),
                link(1, 0, "10.78.0.2", &[]),
                link(1, 2, "10.78.0.3", &[]),
            ],
        }
    }

    #[test]
    fn text_is_a_tree_of_networks() {
        let expected = "\
front  10.77.0.0/24
├─ web              10.77.0.2  0.0.0.0:8080->80/tcp
└─ /run/netns/\"<&x  10.77.0.3  namespace
back  10.78.0.0/24 (internal)
├─ web  10.78.0.2
└─ db   10.78.0.3
empty  10.79.0.0/24
└─ nothing is connected
";
        assert_eq!(text::draw(&graph()), expected);
        assert_eq!(text::draw(&Graph::default()), "");
    }

    #[test]
    fn dot_quotes_what_it_is_given() {
        let drawn = dot::draw(&graph());
        assert!(drawn.starts_with("graph mydocker {\n") && drawn.ends_with("}\n"), "{drawn}");
        assert!(
            drawn.contains(
                "n1 [shape=box, style=\"rounded,dashed\", label=\"back\\n10.78.0.0/24 (internal)\"];"
            )
        );
        assert!(drawn.contains("m1 [shape=component, label=\"/run/netns/\\\"<&x\"];"), "{drawn}");
        assert!(drawn.contains("n1 -- m2 [label=\"10.78.0.3\"];"), "{drawn}");
        assert!(drawn.contains("outside -- n0;") && !drawn.contains("outside -- n1;"), "{drawn}");
    }

    #[test]
    fn mermaid_quotes_what_it_is_given() {
        let drawn = mermaid::draw(&graph());
        assert!(drawn.starts_with("flowchart LR\n"), "{drawn}");
        assert!(drawn.contains("  m1[[\"/run/netns/#quot;#lt;#amp;x\"]]\n"), "{drawn}");
        assert!(drawn.contains("  m0[\"web<br>0.0.0.0:8080-#gt;80/tcp\"]\n"), "{drawn}");
        assert!(drawn.contains("  n1 ---|\"10.78.0.3\"| m2\n"), "{drawn}");
        assert!(drawn.contains("  outside --- n0\n") && !drawn.contains("outside --- n1"), "{drawn}");
    }

    #[test]
    fn svg_is_whole_and_escapes_what_it_is_given() {
        let drawn = svg::draw(&graph());
        assert!(drawn.starts_with("<svg xmlns=") && drawn.ends_with("</svg>\n"), "{drawn}");
        assert!(drawn.contains("/run/netns/&quot;&lt;&amp;x") && !drawn.contains("<&x"), "{drawn}");
        for (open, close) in [("<text", "</text>"), ("<svg", "</svg>"), ("<style", "</style>")] {
            assert_eq!(drawn.matches(open).count(), drawn.matches(close).count(), "{open}");
        }
        // Three networks, three members, four lines between them, and two to the outside.
        assert_eq!(drawn.matches("class=\"network").count(), 3, "{drawn}");
        assert_eq!(drawn.matches("class=\"member\"").count(), 3, "{drawn}");
        assert_eq!(drawn.matches("<path").count(), 4 + 2, "{drawn}");
        assert!(svg::draw(&Graph::default()).ends_with("</svg>\n"));
    }
}
