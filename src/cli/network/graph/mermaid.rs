//! The language of Mermaid, which forges draw in Markdown pages.

use std::fmt::Write as _;

use super::Graph;

pub(super) fn draw(graph: &Graph) -> String {
    let mut chart = String::from("flowchart LR\n  outside((outside))\n");
    for (place, network) in graph.networks.iter().enumerate() {
        let label = label([&network.name, &network.details()]);
        writeln!(chart, "  n{place}({label})").ok();
        if network.has_way_out {
            writeln!(chart, "  outside --- n{place}").ok();
        } else {
            writeln!(chart, "  style n{place} stroke-dasharray: 5 5").ok();
        }
    }
    for (place, member) in graph.members.iter().enumerate() {
        let label = label(std::iter::once(&member.name).chain(&member.ports));
        let (open, close) = if member.is_container { ("[", "]") } else { ("[[", "]]") };
        writeln!(chart, "  m{place}{open}{label}{close}").ok();
    }
    for link in &graph.links {
        writeln!(chart, "  n{} ---|{}| m{}", link.network, label(&link.addresses), link.member).ok();
    }
    chart
}

/// A quoted label with these lines. `#name;` is how Mermaid writes a character that would mean something.
fn label<'a>(lines: impl IntoIterator<Item = &'a String>) -> String {
    let escaped = |line: &String| {
        line.replace('#', "#35;")
            .replace('&', "#amp;")
            .replace('"', "#quot;")
            .replace('<', "#lt;")
            .replace('>', "#gt;")
    };
    let lines: Vec<String> = lines.into_iter().map(escaped).collect();
    format!("\"{}\"", lines.join("<br>"))
}
