//! How far layers have come: bars where somebody looks at a terminal, lines elsewhere. On standard error: standard
//! output has the result.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cli::{human, output};
use crate::engine::{LayerState, Progress, terminal_size};
use crate::names::Digest;

/// How often bars are drawn at most.
const INTERVAL: Duration = Duration::from_millis(100);

/// How wide a bar is, without its brackets.
const BAR: usize = 40;

/// What the words for the transfer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From a registry.
    Pull,
    /// To a registry.
    Push,
}

/// Shows it.
pub(super) struct Shown {
    direction: Direction,
    style: Style,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Bars,
}

#[derive(Default)]
struct State {
    /// In the order in which they were heard of.
    order: Vec<Digest>,
    layers: HashMap<Digest, Layer>,
    /// How many lines are on the terminal that are drawn anew.
    drawn: usize,
    last: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Layer {
    transfer: LayerState,
    since: Instant,
}

impl Shown {
    pub(super) fn new(direction: Direction, quiet: bool) -> Self {
        let style = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bars,
            (false, false) => Style::Lines,
        };
        Self { direction, style, state: Mutex::default() }
    }

    /// Says something beside the bars.
    pub(super) fn say(&self, text: &str) {
        if self.style != Style::Silent {
            output::complain(text);
        }
    }

    /// Draws the last state. Nothing more is drawn over it.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.style == Style::Bars {
            state.draw(self.direction);
            state.drawn = 0;
        }
    }
}

impl Progress for Shown {
    fn layer(&self, layer: &Digest, transfer: LayerState) {
        if self.style == Style::Silent {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let before = state.layers.get(layer).copied();
        if before.is_none() {
            state.order.push(layer.clone());
        }
        // The clock runs from the first byte.
        let moves = |transfer: LayerState| matches!(transfer, LayerState::Moving { .. });
        let since = before.filter(|before| moves(before.transfer)).map_or(now, |before| before.since);
        state.layers.insert(layer.clone(), Layer { transfer, since });
        match self.style {
            Style::Lines => {
                let word = words(self.direction, transfer);
                let old = before.map(|before| words(self.direction, before.transfer));
                if old != Some(word) {
                    output::complain(&format!("{}: {word}", layer.short()));
                }
            }
            Style::Bars if state.last.is_none_or(|last| now >= last + INTERVAL) => {
                state.last = Some(now);
                state.draw(self.direction);
            }
            _ => {}
        }
    }
}

fn words(direction: Direction, transfer: LayerState) -> &'static str {
    match (direction, transfer) {
        (Direction::Pull, LayerState::Waiting) => "Pulling fs layer",
        (Direction::Pull, LayerState::Moving { .. }) => "Downloading",
        (Direction::Pull, LayerState::Done) => "Pull complete",
        (Direction::Pull, LayerState::Exists) => "Already exists",
        (Direction::Push, LayerState::Waiting) => "Preparing",
        (Direction::Push, LayerState::Moving { .. }) => "Pushing",
        (Direction::Push, LayerState::Done) => "Pushed",
        (Direction::Push, LayerState::Exists) => "Layer already exists",
    }
}

impl State {
    /// Draws as many lines as fit: those that are not done come before those that are.
    fn draw(&mut self, direction: Direction) {
        let (rows, columns) = terminal_size(io::stderr()).unwrap_or((24, 80));
        let most = usize::from(rows).saturating_sub(1).max(1);
        let now = Instant::now();
        let mut shown: Vec<&Digest> = self.order.iter().collect();
        if shown.len() > most {
            let is_done = |layer: &&Digest| {
                matches!(
                    self.layers.get(*layer).map(|l| l.transfer),
                    Some(LayerState::Done | LayerState::Exists)
                )
            };
            shown.sort_by_key(is_done);
            shown.truncate(most);
        }
        let mut text = String::new();
        if self.drawn > 0 {
            // Up, to the first of the lines that were drawn.
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for layer in &shown {
            let Some(state) = self.layers.get(*layer) else { continue };
            let line = line(layer, state, direction, now);
            let line: String = line.chars().take(usize::from(columns).saturating_sub(1).max(20)).collect();
            text.push_str(&format!("\r\x1b[2K{line}\n"));
        }
        self.drawn = self.drawn.max(shown.len());
        // Nobody looks any more: nothing to be done.
        io::stderr().lock().write_all(text.as_bytes()).ok();
    }
}

fn line(layer: &Digest, state: &Layer, direction: Direction, now: Instant) -> String {
    let name = layer.short();
    let word = words(direction, state.transfer);
    let LayerState::Moving { done, size } = state.transfer else { return format!("{name}: {word}") };
    if done >= size && direction == Direction::Pull {
        return format!("{name}: Extracting");
    }
    let sizes = format!("{}/{}", human::decimal_size(done), human::decimal_size(size));
    let elapsed = u64::try_from(now.duration_since(state.since).as_millis()).unwrap_or(u64::MAX).max(1);
    let speed = human::decimal_size(done.saturating_mul(1000) / elapsed);
    format!("{name}: {word} [{}] {sizes} {speed}/s", bar(done, size))
}

fn bar(done: u64, size: u64) -> String {
    let width = u64::try_from(BAR).unwrap_or(0);
    let filled = (u128::from(done) * u128::from(width) / u128::from(size.max(1))).min(u128::from(width));
    let filled = usize::try_from(filled).unwrap_or(BAR);
    let arrow = if filled < BAR { ">" } else { "" };
    format!("{}{arrow}{}", "=".repeat(filled), " ".repeat(BAR - filled - arrow.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_whatever_the_numbers_are() {
        for (done, size) in [(0, 0), (0, 10), (5, 10), (10, 10), (20, 10), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(bar(done, size).chars().count(), BAR, "{done} of {size}");
        }
        assert!(bar(5, 10).starts_with("====================>  "));
    }

    #[test]
    fn a_line_says_name_size_and_speed() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let now = Instant::now();
        let layer = |transfer| Layer { transfer, since: now };
        let later = now + Duration::from_secs(2);
        let moving = line(
            &digest,
            &layer(LayerState::Moving { done: 2_000_000, size: 8_000_000 }),
            Direction::Pull,
            later,
        );
        assert!(moving.starts_with("abababababab: Downloading [==========>"), "{moving}");
        assert!(moving.ends_with("] 2MB/8MB 1MB/s"), "{moving}");
        let whole = line(&digest, &layer(LayerState::Moving { done: 8, size: 8 }), Direction::Pull, later);
        assert_eq!(whole, "abababababab: Extracting");
        assert_eq!(
            line(&digest, &layer(LayerState::Exists), Direction::Pull, later),
            "abababababab: Already exists"
        );
    }
}
