//! Names in DNS: a server that knows some names itself and forwards every other question as it came.
//!
//! It is no process of its own and has no threads: the caller polls its descriptors with its own, and calls it when one is
//! ready. It knows nothing of containers: a [`Directory`] maps names to addresses.
//!
//! ```text
//! client ──► Sockets ──► decide ──┬─► Directory: the answer, at once            (message)
//!                                 └─► Servers:   bytes through, both ways       (flight by UDP, stream by TCP)
//! ```
//!
//! Everything that comes may be hostile. What is kept is bounded: 64 questions on their way, 8 clients by TCP with
//! some KiB each. A turn answers 16 questions at most, so that others who share the loop are not kept waiting.

mod decide;
mod flight;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod message;
mod server;
mod servers;
mod stream;

use std::net::Ipv4Addr;

pub use decide::{Directory, Pointer};
pub use server::{Server, Sockets, Watched};
pub use servers::Servers;

/// The port of name servers.
pub const PORT: u16 = 53;
/// Where a container finds its own server, on its loopback: the address that Docker has for it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
