//! A daemonless container runtime with Docker's command line and networking of its own: one nftables
//! table, programmed over netlink in single transactions, and links, addresses and routes over rtnetlink.
//! No other program is ever run.
//!
//! ```text
//! main ─► cli ─► (plugin ─►) engine ─┬─► container ─► dns ───────────┐
//!                                    ├─► image, volume, registry ─────┤  container, image ─► archive; engine ─► events
//!                                    └─► network ─► nft ─► netlink ───┴─► store, netns, sysctl ─► sys
//!                                          needs ◄─ whoever asks; names, process, duration ◄─ everyone
//! ```
//!
//! Arrows point downwards only; `tests/architecture.rs` holds the table and checks it.
//!
//! | page | explains |
//! |---|---|
//! | [`nft`] (`src/nft/ruleset.md`) | the firewall table: every set, chain and rule, and why |
//! | [`network`] (`src/network/networks.md`) | what networks do, as users meet it |
//! | [`engine`] (`src/engine/commands.md`) | the path of each command through the modules |
//! | [`plugin`] (`src/plugin/engines.md`) | mydocker under containerd, Kubernetes, nerdctl and Podman |
//! | [`store`] (`src/store/layout.md`, `src/store/locks.md`) | every file: who writes it, under which lock, what a kill leaves |
//! | below (`src/changing.md`) | for the usual changes: every place that has to change |
//! | [`fuzz`] (`src/fuzzing.md`) | parsers of hostile bytes, and what looks for bytes that break them |
//! | below (`src/exposures.md`) | the attacks and failures that tests are named after |
//!
#![doc = include_str!("changing.md")]
#![doc = include_str!("exposures.md")]

// Public is what the program, the tests and the benchmarks use: of all others the compiler tells what nobody calls.
mod archive;
pub mod cli;
mod container;
mod dns;
mod duration;
pub mod engine;
mod events;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod image;
pub mod names;
mod needs;
mod netlink;
pub mod netns;
pub mod network;
pub mod nft;
mod plugin;
pub mod process;
mod registry;
pub mod store;
pub mod sys;
mod sysctl;
mod volume;
