//! mydocker from the outside: its command line, the files it leaves, the kernel objects it makes, and real
//! packets through them.
//!
//! Every test makes a [`host::Host`]: throw-away network namespaces and a mount namespace of its own, with
//! its own state directories. Nothing here touches the machine's own namespaces or an address outside the
//! test's, so the tests run in parallel, and beside whatever containers, bridges, tables and namespaces the machine
//! has. They need root and say so; none is skipped, but what `sweep` looks for at random.
//! `MYDOCKER_BRIDGE_NETFILTER=0` (or `1`) switches br_netfilter off (or on) wherever a test does not choose itself.
//!
//! ```text
//! outside 203.0.113.7 ── 198.51.100.1 ─┐
//! neighbour              198.51.100.20 ┼─ one Ethernet segment ── 198.51.100.10 host ─┬─ mydocker's bridges
//!                                      │   (a bridge in `lan`)                        └─ 192.0.2.1 ── 192.0.2.2 side
//! ```
//!
//! In IPv6, 2001:db8:113::7 is `outside`, 2001:db8:51::/64 the segment, and 2001:db8:2::/64 the second link.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests run programs and write plain files; the rule is about the product"
)]

#[cfg(test)]
mod archives;
#[cfg(test)]
mod at_once;
#[cfg(test)]
mod attach;
#[cfg(test)]
mod background;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod check;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cni;
#[cfg(test)]
mod cni_state;
#[cfg(test)]
mod confinement;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod copy_mounts;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod device_program;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod distribution;
#[cfg(test)]
mod docker_habits;
#[cfg(test)]
mod dry_run;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod events;
#[cfg(test)]
mod exec_attack;
#[cfg(test)]
mod exec_edges;
#[cfg(test)]
mod execve;
#[cfg(test)]
mod failing_steps;
#[cfg(test)]
mod files;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod flow_ends;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod heal;
#[cfg(test)]
mod health;
#[cfg(test)]
mod host;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod image_archives;
#[cfg(test)]
mod image_store;
#[cfg(test)]
mod images;
#[cfg(test)]
mod insider;
#[cfg(test)]
mod inspect;
#[cfg(test)]
mod interruption;
#[cfg(test)]
mod ipam;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod leftovers;
#[cfg(test)]
mod life;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod listings;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod many;
#[cfg(test)]
mod members;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod name_files;
#[cfg(test)]
mod names;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod netavark;
#[cfg(test)]
mod netns;
#[cfg(test)]
mod network;
#[cfg(test)]
mod network_options;
#[cfg(test)]
mod nft_text;
#[cfg(test)]
mod options;
#[cfg(test)]
mod other_engines;
#[cfg(test)]
mod outcome;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod parallel;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod podman_names;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod ports6;
#[cfg(test)]
mod privileges;
#[cfg(test)]
mod process_state;
#[cfg(test)]
mod program;
#[cfg(test)]
mod pull;
#[cfg(test)]
mod pull_sweep;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod ruleset;
#[cfg(test)]
mod run;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod service;
#[cfg(test)]
mod session;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod small_habits;
#[cfg(test)]
mod space;
#[cfg(test)]
mod sparse;
#[cfg(test)]
mod state_files;
#[cfg(test)]
mod states;
#[cfg(test)]
mod stats;
#[cfg(test)]
mod stuck;
#[cfg(test)]
mod swap_attack;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tracer;
#[cfg(test)]
mod transfers;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod users;
#[cfg(test)]
mod volumes;
#[cfg(test)]
mod wire;
