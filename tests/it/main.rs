//! End-to-end tests against the running kernel, in network namespaces of their own.

#[cfg(test)]
mod ruleset;
