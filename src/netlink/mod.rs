//! Links, addresses and routes over rtnetlink, and the questions about sockets that publishing has to ask.
//!
//! Requests that belong together are built first and sent in one system call ([`Batch`]); the kernel carries
//! them out in order while it is in that call. Which policy makes them necessary is not known here.

mod behind;
mod conntrack;
mod ctnetlink;
mod flow_text;
mod flows;
mod frames;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod link;
mod listing;
mod neighbour;
mod route;
mod sock_diag;

pub use conntrack::{Conntrack, HostPorts};
pub use ctnetlink::Direction;
pub use flows::{Flow, FlowEvent, FlowSocket, FlowState};
pub(crate) use frames::{Frame, GENMSG, HEADER, frames};
pub use link::{BridgeSpec, Link, MacAddress, VethSpec};
pub use route::{ADD_DEFAULT_ROUTE, Batch, RequestError, RouteSocket};
pub use sock_diag::{Listener, find_listeners};
