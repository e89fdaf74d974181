//! The figures that `benches/README.md` shows, as one table made from a raw file.

use std::fmt::Write as _;

use crate::raw;
use crate::report::with_unit;

const MEDIAN: &str = "median ns";
const CPU: &str = "median CPU ns";

/// What is shown: what it is called there, the group, the case, the measure.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("publish a port", "rules, one", "publish a port next to 0 ports, 0 networks", MEDIAN),
    ("… next to 1,000", "rules, one", "publish a port next to 1000 ports, 0 networks", MEDIAN),
    ("… next to 10,000", "rules, one", "publish a port next to 10000 ports, 0 networks", MEDIAN),
    ("… and 1,000 networks", "rules, one", "publish a port next to 10000 ports, 1000 networks", MEDIAN),
    ("take a port away", "rules, one", "unpublish a port next to 0 ports, 0 networks", MEDIAN),
    ("… next to 10,000", "rules, one", "unpublish a port next to 10000 ports, 0 networks", MEDIAN),
    ("add a network", "rules, one", "add a network next to 0 ports, 0 networks", MEDIAN),
    ("… next to 100", "rules, one", "add a network next to 0 ports, 100 networks", MEDIAN),
    ("… next to 1,000", "rules, one", "add a network next to 0 ports, 1000 networks", MEDIAN),
    ("10,000 ports in one transaction", "rules, many", "publish 10000 ports at once", MEDIAN),
    ("a range of 10,000 ports", "rules, many", "publish a range of 10000 ports", MEDIAN),
    ("the empty table made anew", "rules, table", "make the empty table anew", MEDIAN),
    (
        "the table with 2,000 ports and 100 networks made anew",
        "rules, table",
        "make the table with 2000 ports and 100 networks anew",
        MEDIAN,
    ),
    ("connect a namespace", "links", "connect, no port", MEDIAN),
    ("… with a port", "links", "connect, a port next to 0", MEDIAN),
    ("… next to 500", "links", "connect, a port next to 500", MEDIAN),
    ("… next to 2,000", "links", "connect, a port next to 2000", MEDIAN),
    ("… with a range of 10,000 ports", "links", "connect, a range of 10000 ports", MEDIAN),
    ("disconnect a namespace with a port", "links", "disconnect, a port next to 0", MEDIAN),
    ("… next to 2,000", "links", "disconnect, a port next to 2000", MEDIAN),
    ("take an address of an empty /24", "allocator, durable", "take, /24 empty, 0 other subnets", MEDIAN),
    ("… next to 100 subnets", "allocator, durable", "take, /24 empty, 100 other subnets", MEDIAN),
    ("… of an empty /8", "allocator, durable", "take, /8 empty, 0 other subnets", MEDIAN),
    ("… the last of a /8", "allocator, durable", "take, /8 one address left, 0 other subnets", MEDIAN),
    (
        "take and give back, eight processes at once",
        "allocator, contended",
        "take and give back, 8 at once",
        MEDIAN,
    ),
    ("TCP connection to a published port", "datapath", "connect to the last of 1 ports", "p50 ns"),
    ("… the slowest of 100", "datapath", "connect to the last of 1 ports", "p99 ns"),
    ("… next to 10,000 ports", "datapath", "connect to the last of 10000 ports", "p50 ns"),
    ("… the slowest of 100", "datapath", "connect to the last of 10000 ports", "p99 ns"),
    ("TCP connections, four clients", "datapath", "connect to the last of 1 ports", "connections/s"),
    ("… next to 10,000 ports", "datapath", "connect to the last of 10000 ports", "connections/s"),
    ("`run --rm IMAGE true`", "process", "run --rm true", MEDIAN),
    ("… processor time", "process", "run --rm true", CPU),
    (
        "… with crun, its overlay and a filter of ten calls",
        "process",
        "crun run true, a filter of ten calls",
        MEDIAN,
    ),
    ("… with runc, likewise", "process", "runc run true, a filter of ten calls", MEDIAN),
    ("`exec CONTAINER true`", "process", "exec true", MEDIAN),
    ("… processor time", "process", "exec true", CPU),
    ("… with crun", "process", "crun exec true, a filter of ten calls", MEDIAN),
    ("… with runc", "process", "runc exec true, a filter of ten calls", MEDIAN),
    ("`run -d -p`, the first ten containers", "containers", "run -d, 1 to 10", MEDIAN),
    ("… the last ten of 1,000", "containers", "run -d, 991 to 1000", MEDIAN),
    ("`ps` without any container", "containers", "ps next to 0 containers", MEDIAN),
    ("… with 1,000", "containers", "ps next to 1000 containers", MEDIAN),
    ("`rm -f` of the only container", "containers", "rm -f next to 0 containers", MEDIAN),
    ("… next to 1,000", "containers", "rm -f next to 1000 containers", MEDIAN),
    ("`run --rm --net none true` next to none", "containers", "run --rm true next to 0 containers", MEDIAN),
    ("… next to 1,000", "containers", "run --rm true next to 1000 containers", MEDIAN),
    (
        "mydocker's memory for each of 1,000 containers",
        "containers",
        "memory of mydocker for each container",
        "KiB",
    ),
    ("… the machine's", "containers", "memory of the machine for each container", "KiB"),
];

/// The table, in Markdown.
pub(crate) fn markdown(text: &str) -> String {
    let measured: Vec<Vec<String>> = raw::lines(text).collect();
    let mut table = raw::facts(text).fold(String::new(), |table, fact| table + "- " + fact + "\n");
    table.push_str("\n| | mydocker | floor | ratio |\n|---|--:|--:|--:|\n");
    for (called, group, case, measure) in ROWS {
        let line = measured.iter().find(|line| [&line[0], &line[1], &line[2]] == [group, case, measure]);
        let Some([_, _, _, value, floor, ratio]) = line.map(Vec::as_slice) else {
            let _ = writeln!(table, "| {called} | not measured | | |");
            continue;
        };
        let shown = |number: &str| number.parse().map_or(String::new(), |value| with_unit(measure, value));
        let ratio = if ratio.is_empty() { String::new() } else { format!("{ratio}×") };
        let _ = writeln!(table, "| {called} | {} | {} | {ratio} |", shown(value), shown(floor));
    }
    table
}
