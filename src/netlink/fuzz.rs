//! What has to hold for whatever a netlink socket hands over: see [`crate::fuzz`].

use netlink_packet_core::{DefaultNla, Emitable as _, NLM_F_CREATE};

use super::ctnetlink::{
    CTA_PROTOINFO, CTA_PROTOINFO_STATE, CTA_PROTOINFO_TCP, CTA_STATUS, CTA_TIMEOUT, CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY, IPCTNL_MSG_CT_NEW, VERSION, request,
};
use super::flows::events;
use super::frames::{HEADER, frames};

/// A datagram of the connection tracking.
pub fn flows(bytes: &[u8]) -> bool {
    let count =
        frames(bytes).inspect(|frame| assert!(frame.attributes().len() <= frame.payload().len())).count();
    assert!(count <= bytes.len() / HEADER, "more messages than there is room for");
    let events = events(bytes);
    for (event, flow) in &events {
        assert!(
            !event.to_string().is_empty() && flow.state.is_none_or(|state| !state.to_string().is_empty())
        );
    }
    !events.is_empty()
}

fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

fn nested(kind: u16, parts: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; parts.buffer_len()];
    parts.emit(&mut value);
    DefaultNla::new(kind, value)
}

/// A connection that is new.
pub fn datagrams() -> Vec<Vec<u8>> {
    let tuple = |kind: u16, from: [u8; 4], to: [u8; 4], ports: [u8; 4]| {
        let addresses = nested(1, &[attribute(1, &from), attribute(2, &to)]);
        let protocol = nested(2, &[attribute(1, &[6]), attribute(2, &ports[..2]), attribute(3, &ports[2..])]);
        nested(kind, &[addresses, protocol])
    };
    let state = nested(CTA_PROTOINFO_TCP, &[attribute(CTA_PROTOINFO_STATE, &[3])]);
    let attributes = vec![
        tuple(CTA_TUPLE_ORIG, [203, 0, 113, 7], [198, 51, 100, 10], [0x9c, 0x40, 0x1f, 0x90]),
        tuple(CTA_TUPLE_REPLY, [172, 18, 0, 2], [203, 0, 113, 7], [0, 80, 0x9c, 0x40]),
        attribute(CTA_STATUS, &[0, 0, 1, 0x8e]),
        attribute(CTA_TIMEOUT, &[0, 0, 0, 120]),
        nested(CTA_PROTOINFO, &[state]),
    ];
    let one = request(true, VERSION, IPCTNL_MSG_CT_NEW, attributes, NLM_F_CREATE);
    vec![one.clone(), [one.clone(), one].concat()]
}
