//! The plot: a bar for each, job by job, on a logarithmic scale.

use std::fmt::Write as _;
use std::time::Duration;

use crate::results::{Row, milliseconds};

const LINE: usize = 18;
/// Where the bars begin, and how long the longest is.
const LEFT: f64 = 190.0;
const WIDTH: f64 = 480.0;
/// The length that even the shortest bar has.
const LEAST: f64 = 8.0;

/// A picture of scalable vector graphics.
pub(crate) fn draw(rows: &[&Row]) -> String {
    let median = |row: &Row| row.summary().map(|(median, ..)| median);
    let medians = || rows.iter().filter_map(|row| median(row)).map(|time| time.as_secs_f64().max(1e-9));
    let (least, most) = (medians().fold(f64::MAX, f64::min), medians().fold(1e-9, f64::max));
    let length = |time: Duration| {
        let share = (time.as_secs_f64().max(1e-9) / least).ln() / (most / least).ln().max(1e-9);
        LEAST + share * (WIDTH - LEAST)
    };
    let (mut body, mut y, mut job) = (String::new(), LINE, "");
    for row in rows {
        if row.job != job {
            job = &row.job;
            y += LINE + LINE / 2;
            let _ = writeln!(body, "<text x=\"8\" y=\"{y}\" font-weight=\"bold\">{}</text>", escaped(job));
        }
        y += LINE;
        let colour = if row.tool.starts_with("mydocker") { "#2f7d32" } else { "#9aa5b1" };
        let _ = writeln!(body, "<text x=\"8\" y=\"{y}\">{}</text>", escaped(&row.tool));
        let (length, text) =
            median(row).map_or((0.0, "missing".to_owned()), |time| (length(time), milliseconds(time)));
        let _ = writeln!(
            body,
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.0}\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{y}\">{text}</text>",
            y - 11,
            LEFT + length + 6.0
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"800\" height=\"{}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"{LINE}\">Medians; each bar's length is the logarithm of its time.</text>\n{body}</svg>\n",
        y + LINE
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
