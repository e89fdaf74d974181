//! A drawing for a browser: the outside at the left, networks in the middle, containers at the right.

use std::fmt::Write as _;

use super::Graph;

/// Sizes in pixels.
const MARGIN: usize = 20;
/// Between two boxes of a column.
const SPACE: usize = 16;
const LINE: usize = 18;
/// From a box's edge to its text.
const PADDING: usize = 10;
/// The width of a character of the monospaced font, and a little more.
const CHARACTER: usize = 8;
/// Between the columns: room for the addresses.
const GAP: usize = 220;
const OUTSIDE: usize = 90;

const STYLE: &str = "\
text { font: 13px monospace; fill: #222 }
.name { font-weight: bold }
.small { font-size: 11px; fill: #555 }
.network { fill: #e8f1fb; stroke: #2f6fad }
.internal { stroke-dasharray: 5 4 }
.member { fill: #fff; stroke: #444 }
.outside { fill: #f3f3f3; stroke: #888 }
path { fill: none; stroke: #888 }
";

/// A box with lines of text, the first of them its name.
struct Card<'a> {
    class: &'a str,
    lines: Vec<&'a str>,
    y: usize,
}

impl Card<'_> {
    fn height(&self) -> usize {
        self.lines.len() * LINE + PADDING
    }

    fn middle(&self) -> usize {
        self.y + self.height() / 2
    }

    fn draw(&self, svg: &mut String, x: usize, width: usize) {
        let Self { class, y, .. } = self;
        let height = self.height();
        writeln!(svg, r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>"#)
            .ok();
        for (number, line) in self.lines.iter().enumerate() {
            let class = if number == 0 { "name" } else { "small" };
            let (x, y) = (x + PADDING, y + (number + 1) * LINE - 2);
            writeln!(svg, r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escaped(line)).ok();
        }
    }
}

/// Boxes below each other, and how wide they are.
struct Column<'a> {
    cards: Vec<Card<'a>>,
    width: usize,
}

impl<'a> Column<'a> {
    fn new(cards: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> Self {
        let (mut y, mut longest, mut placed) = (MARGIN, 0, Vec::new());
        for (class, lines) in cards {
            longest = lines.iter().map(|line| line.chars().count()).fold(longest, usize::max);
            let card = Card { class, lines, y };
            y += card.height() + SPACE;
            placed.push(card);
        }
        Self { cards: placed, width: longest * CHARACTER + 2 * PADDING }
    }

    fn bottom(&self) -> usize {
        self.cards.last().map_or(MARGIN, |card| card.y + card.height())
    }
}

pub(super) fn draw(graph: &Graph) -> String {
    let details: Vec<String> = graph.networks.iter().map(super::Net::details).collect();
    let networks = Column::new(graph.networks.iter().zip(&details).map(|(network, details)| {
        let class = if network.has_way_out { "network" } else { "network internal" };
        (class, vec![network.name.as_str(), details.as_str()])
    }));
    let members = Column::new(graph.members.iter().map(|member| {
        let kind = (!member.is_container).then_some("namespace");
        let rest = kind.into_iter().chain(member.ports.iter().map(String::as_str));
        ("member", std::iter::once(member.name.as_str()).chain(rest).collect())
    }));
    let middle = MARGIN + OUTSIDE + GAP / 2;
    let right = middle + networks.width + GAP;
    let (width, height) = (right + members.width + MARGIN, networks.bottom().max(members.bottom()) + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>\n{STYLE}</style>\n"
    );
    let outside = Card { class: "outside", lines: vec!["outside"], y: MARGIN };
    for (network, card) in graph.networks.iter().zip(&networks.cards) {
        if network.has_way_out {
            connect(&mut svg, (MARGIN + OUTSIDE, outside.middle()), (middle, card.middle()));
        }
    }
    for link in &graph.links {
        let from = (middle + networks.width, networks.cards[link.network].middle());
        let to = (right, members.cards[link.member].middle());
        connect(&mut svg, from, to);
        // Near the member, where no two lines of its networks are at the same height.
        let label = escaped(&link.addresses.join(" "));
        let (x, y) = ((from.0 + 2 * to.0) / 3, (from.1 + 4 * to.1) / 5 - 3);
        writeln!(svg, r#"<text class="small" x="{x}" y="{y}" text-anchor="middle">{label}</text>"#).ok();
    }
    outside.draw(&mut svg, MARGIN, OUTSIDE);
    networks.cards.iter().for_each(|card| card.draw(&mut svg, middle, networks.width));
    members.cards.iter().for_each(|card| card.draw(&mut svg, right, members.width));
    svg.push_str("</svg>\n");
    svg
}

fn connect(svg: &mut String, from: (usize, usize), to: (usize, usize)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let half = usize::midpoint(x1, x2);
    writeln!(svg, r#"<path d="M{x1} {y1} C{half} {y1} {half} {y2} {x2} {y2}"/>"#).ok();
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
