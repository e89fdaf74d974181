//! The bare kernel: what it has to do at least, with messages that were made before.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use mydocker::netns::NetNs;

use super::ours::Library;
use super::{Outcome, Tool};
use crate::OTHERS;
use crate::floor_link::{ADDRESS, FloorLink};
use crate::hideout::{Host, Place, named};
use crate::stage::port;

/// One connection on a host where the library made the network and publishes the other ports.
pub(super) struct Floor {
    library: Library,
    link: Option<FloorLink>,
}

impl Floor {
    pub(super) fn new(place: &Place) -> Outcome<Self> {
        Ok(Self { library: Library::new(place, "floor")?, link: None })
    }
}

fn name(container: &str) -> String {
    format!("bare-{container}")
}

impl Tool for Floor {
    fn host(&self) -> &Host {
        self.library.host()
    }

    fn prepare(&mut self, container: &str) -> Outcome<()> {
        if container == OTHERS { self.library.prepare(container) } else { named::add(&name(container)) }
    }

    fn attach(&mut self, container: &str, ports: &[u16]) -> Outcome<Duration> {
        if container == OTHERS {
            return self.library.attach(container, ports);
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let elements: Vec<_> = ports.iter().map(|number| port(any, *number, ADDRESS.into())).collect();
        let netns = NetNs::open(&named::path(&name(container))).map_err(|error| error.to_string())?;
        let link = self.link.insert(FloorLink::new(&self.library.host().space, &netns, &elements));
        let start = Instant::now();
        link.connect();
        Ok(start.elapsed())
    }

    fn detach(&mut self, container: &str) -> Outcome<Duration> {
        if container == OTHERS {
            return self.library.detach(container);
        }
        let link = self.link.take().ok_or("never attached")?;
        let start = Instant::now();
        link.disconnect();
        let took = start.elapsed();
        link.delete();
        link.check();
        Ok(took)
    }

    fn clear(&mut self, container: &str) -> Outcome<()> {
        if container == OTHERS { self.library.clear(container) } else { named::delete(&name(container)) }
    }
}
