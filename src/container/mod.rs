//! Containers without their networks: from a request to a running process and its record, its root file
//! system, its output and its end.
//!
//! Four floors, each of which uses only those below it:
//!
//! ```text
//! life      its record, its supervisor, the log, and those who are connected to it
//! run       its processes: made, joined, confined, limited
//! tree      its files: the root file system, mount points, the files made for it
//! request   what is asked for: values that were parsed and checked
//! ```
//!
//! Each running container has one small process, its supervisor, which made it, reads its output, writes the
//! log, serves clients and records how it ended. Clients talk to it over a socket ([`life::protocol`]).

pub mod life;
pub mod request;
pub mod run;
pub mod tree;
