//! The language of Graphviz.

use std::fmt::Write as _;

use super::Graph;

pub(super) fn draw(graph: &Graph) -> String {
    let mut dot = String::from("graph mydocker {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    dot.push_str("  outside [shape=ellipse, label=\"outside\"];\n");
    for (place, network) in graph.networks.iter().enumerate() {
        let style = if network.has_way_out { "rounded" } else { "rounded,dashed" };
        let label = label([&network.name, &network.details()]);
        writeln!(dot, "  n{place} [shape=box, style=\"{style}\", label={label}];").ok();
        if network.has_way_out {
            writeln!(dot, "  outside -- n{place};").ok();
        }
    }
    for (place, member) in graph.members.iter().enumerate() {
        let shape = if member.is_container { "box" } else { "component" };
        let label = label(std::iter::once(&member.name).chain(&member.ports));
        writeln!(dot, "  m{place} [shape={shape}, label={label}];").ok();
    }
    for link in &graph.links {
        let label = label(&link.addresses);
        writeln!(dot, "  n{} -- m{} [label={label}];", link.network, link.member).ok();
    }
    dot.push_str("}\n");
    dot
}

/// A quoted label with these lines.
fn label<'a>(lines: impl IntoIterator<Item = &'a String>) -> String {
    let lines: Vec<String> =
        lines.into_iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", lines.join("\\n"))
}
