//! Netlink datagrams as the kernel sends them, cut into messages without trusting them.

use std::io;

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::Socket;

/// The length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// The length of `struct nfgenmsg`, which stands before the attributes of netfilter's messages.
pub(crate) const GENMSG: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Larger than any datagram that the kernel sends (`NLMSG_GOODSIZE`, and the 32 KiB that one may grow to for a reader
/// with this much room).
const DATAGRAM: usize = 64 * 1024;

/// One message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// The whole message.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// What follows the header.
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// What follows the header of nfnetlink.
    pub(crate) fn attributes(&self) -> &'a [u8] {
        self.payload().get(GENMSG..).unwrap_or_default()
    }
}

/// The messages in `bytes`, up to the first that is cut off.
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let frame = Frame {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            seq: buffer.sequence_number(),
            bytes: &bytes[..length],
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(frame)
    })
}

/// Waits for one datagram.
pub(super) fn datagram(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        match socket.recv(&mut datagram, 0) {
            Ok(_) => return Ok(datagram),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the answers to a request until the kernel says that it is done, or why it refused.
pub(super) fn answers(socket: &Socket, mut each: impl FnMut(Frame<'_>)) -> io::Result<()> {
    loop {
        for frame in frames(&datagram(socket)?) {
            match frame.kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = frame.payload().first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return match code {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                    };
                }
                _ => each(frame),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_cut_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut count = 0;
            for frame in frames(&bytes) {
                prop_assert!(frame.attributes().len() <= frame.payload().len());
                count += 1;
            }
            prop_assert!(count <= bytes.len() / HEADER);
        }
    }
}
