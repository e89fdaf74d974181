//! A tree for a terminal.

use std::fmt::Write as _;

use super::{Graph, Link};

pub(super) fn draw(graph: &Graph) -> String {
    let mut text = String::new();
    for (place, network) in graph.networks.iter().enumerate() {
        writeln!(text, "{}  {}", network.name, network.details()).ok();
        let links: Vec<&Link> = graph.links_of(place).collect();
        if links.is_empty() {
            text.push_str("└─ nothing is connected\n");
        }
        let name = |link: &Link| &graph.members[link.member].name;
        let addresses = |link: &Link| link.addresses.join(", ");
        let width = |of: &dyn Fn(&Link) -> usize| links.iter().map(|link| of(link)).max().unwrap_or_default();
        let first = width(&|link| name(link).chars().count());
        let second = width(&|link| addresses(link).len());
        for (number, link) in links.iter().enumerate() {
            let branch = if number + 1 == links.len() { "└─" } else { "├─" };
            let kind = (!graph.members[link.member].is_container).then(|| "namespace".to_owned());
            let rest: Vec<String> = kind.into_iter().chain(link.ports.iter().cloned()).collect();
            let (name, addresses, rest) = (name(link), addresses(link), rest.join(", "));
            let line = format!("{branch} {name:first$}  {addresses:second$}  {rest}");
            writeln!(text, "{}", line.trim_end()).ok();
        }
    }
    text
}
