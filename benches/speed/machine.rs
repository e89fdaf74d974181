//! What figures are worth nothing without: the machine they were measured on.

use std::fs::read_to_string;

/// One fact a line.
pub(crate) fn describe() -> Vec<String> {
    let read = |path: &str| read_to_string(path).unwrap_or_default().trim().to_owned();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let commit = std::env::var("MYDOCKER_BENCH_COMMIT").unwrap_or_else(|_| "not told".to_owned());
    vec![
        format!("date: {}", chrono::Local::now().format("%Y-%m-%d %H:%M %z")),
        format!("mydocker: {} {commit}", env!("CARGO_PKG_VERSION")),
        format!("kernel: Linux {}", read("/proc/sys/kernel/osrelease")),
        format!("processors: {count} × {}", model.map_or("unknown", |(_, model)| model)),
        format!("memory: {} MiB", memory.unwrap_or_default() / 1024),
        // An idle machine says something near 0 before and during a run of one thread something near 1.
        format!("load before: {}", read("/proc/loadavg").split(' ').next().unwrap_or_default()),
    ]
}

/// Today, as file names begin.
pub(crate) fn today() -> String {
    chrono::Local::now().format("%Y-%m-%d").to_string()
}
