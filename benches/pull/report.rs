//! Samples, and what is made of them: a file with all of them, and a table.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::{floor, raw, tools};

/// What one took for one image.
struct Row {
    image: String,
    who: String,
    outcome: Result<Vec<Duration>, String>,
}

pub(crate) struct Results {
    facts: Vec<String>,
    rows: Vec<Row>,
}

impl Results {
    pub(crate) fn new(facts: Vec<String>) -> Self {
        facts.iter().for_each(|fact| println!("{fact}"));
        Self { facts, rows: Vec::new() }
    }

    pub(crate) fn fact(&mut self, fact: &str) {
        println!("{fact}");
        self.facts.push(fact.to_owned());
    }

    fn row(&mut self, image: &str, who: &str) -> &mut Row {
        let known = self.rows.iter().position(|row| row.image == image && row.who == who);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row { image: image.to_owned(), who: who.to_owned(), outcome: Ok(Vec::new()) });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    pub(crate) fn sample(&mut self, image: &str, who: &str, took: Duration) {
        if let Ok(times) = &mut self.row(image, who).outcome {
            times.push(took);
        }
    }

    /// Whoever fails once has no result.
    pub(crate) fn missing(&mut self, image: &str, who: &str, reason: &str) {
        println!("missing: {image}: {who}: {reason}");
        self.row(image, who).outcome = Err(reason.to_owned());
    }

    fn text(&self) -> String {
        let mut text = self.facts.iter().fold(String::new(), |text, fact| text + "# " + fact + "\n");
        text.push_str("image,who,median ms,least ms,most ms,missing\n");
        for row in &self.rows {
            let (name, who) = (raw::quoted(&row.image), raw::quoted(&row.who));
            let _ = match &row.outcome {
                Ok(times) => {
                    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
                    times.sort_by(f64::total_cmp);
                    let [median, least, most] = [times.len() / 2, 0, times.len().saturating_sub(1)]
                        .map(|at| times.get(at).copied().unwrap_or_default());
                    writeln!(text, "{name},{who},{median:.1},{least:.1},{most:.1},")
                }
                Err(reason) => writeln!(text, "{name},{who},,,,{}", raw::quoted(reason)),
            };
        }
        text
    }

    /// What there is so far.
    pub(crate) fn save(&self) {
        if let Some(path) = raw::path("pull", "csv") {
            fs::write(path, self.text()).unwrap();
        }
    }

    pub(crate) fn report(&self) {
        self.save();
        print!("{}", table(&self.text()));
    }
}

/// The table, in Markdown: each next to the largest of the floors.
pub(crate) fn table(text: &str) -> String {
    let lines: Vec<Vec<String>> = raw::lines(text).collect();
    let mut table = raw::facts(text).fold(String::new(), |table, fact| table + "- " + fact + "\n");
    let _ = writeln!(
        table,
        "\n| | fetch | unpack the largest | write, sync | mydocker | to the floor | podman | containerd |\n|---|--:|--:|--:|--:|--:|--:|--:|"
    );
    let mut images: Vec<&str> = lines.iter().map(|line| line[0].as_str()).collect();
    images.dedup();
    for image in images {
        let median = |who: &str| -> Option<f64> {
            lines.iter().find(|line| line[0] == image && line[1] == who)?.get(2)?.parse().ok()
        };
        let floors = [floor::FETCH, floor::UNPACK, floor::WRITE].map(median);
        let floor = floors.iter().flatten().copied().fold(0.0, f64::max);
        let ours = median(tools::MYDOCKER);
        let shown = |time: Option<f64>| time.map_or("missing".to_owned(), |time| format!("{time:.0} ms"));
        let factor = |time: Option<f64>, of: Option<f64>| match (time, of) {
            (Some(time), Some(of)) if of > 0.0 => format!("{:.2}×", time / of),
            _ => String::new(),
        };
        let peer = |who: &str| format!("{} {}", shown(median(who)), factor(median(who), ours));
        let _ = writeln!(
            table,
            "| {image} | {} | {} | {} | {} | {} | {} | {} |",
            shown(floors[0]),
            shown(floors[1]),
            shown(floors[2]),
            shown(ours),
            factor(ours, Some(floor)),
            peer(tools::PODMAN),
            peer(tools::CONTAINERD)
        );
    }
    table
}
