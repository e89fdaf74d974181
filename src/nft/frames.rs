//! Messages of nf_tables as bytes: cutting them into attributes without trusting them, and writing a batch with an
//! index of what each of its messages was.

use netlink_packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

pub(super) use crate::netlink::{Frame, GENMSG, HEADER, frames};

/// `NFNL_SUBSYS_NFTABLES`: the resource of a batch, and the upper byte of message types.
const SUBSYSTEM: u16 = 10;

/// The attributes in `bytes`, each with its number, up to the first that is cut off.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let length = usize::from(attribute.length());
        (attribute.kind(), attribute.into_inner().get(4..length).unwrap_or_default())
    })
}

/// The first attribute with that number.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(number, _)| *number == kind).map(|(_, value)| value)
}

/// A number as nf_tables sends it.
pub(super) fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Appends one attribute.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    nest(bytes, kind, |bytes| bytes.extend_from_slice(value));
}

/// Appends one attribute whose value is what `content` appends. It must stay below 64 KiB.
pub(super) fn nest(bytes: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    content(bytes);
    let length = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends one message of nf_tables whose attributes are what `content` appends.
pub(super) fn push_with<T>(
    bytes: &mut Vec<u8>,
    operation: u8,
    flags: u16,
    seq: u32,
    content: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let start = bytes.len();
    bytes.resize(start + HEADER + GENMSG, 0);
    NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0).emit(&mut bytes[start + HEADER..]);
    let result = content(bytes);
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    let mut header = NetlinkBuffer::new(&mut bytes[start..]);
    header.set_length(length);
    header.set_message_type(SUBSYSTEM << 8 | u16::from(operation));
    header.set_flags(NLM_F_REQUEST | flags);
    header.set_sequence_number(seq);
    result
}

/// Appends one message.
pub(super) fn push(bytes: &mut Vec<u8>, message: NfTablesMessage, flags: u16, seq: u32) {
    push_of(bytes, NetfilterProtoFamily::Inet, message, flags, seq);
}

/// Appends one message about objects of that family; `Unspec` asks for those of every family.
pub(super) fn push_of(
    bytes: &mut Vec<u8>,
    family: NetfilterProtoFamily,
    message: NfTablesMessage,
    flags: u16,
    seq: u32,
) {
    push_inner(bytes, family, 0, message, flags, seq);
}

fn push_inner(
    bytes: &mut Vec<u8>,
    family: NetfilterProtoFamily,
    resource: u16,
    inner: impl Into<NetfilterMessageInner>,
    flags: u16,
    seq: u32,
) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = seq;
    let inner = NetfilterMessage::new(NetfilterHeader::new(family, 0, resource), inner);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(inner));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
}

/// The attribute of a batch's beginning with the generation it is meant for (`<linux/netfilter/nfnetlink.h>`).
const NFNL_BATCH_GENID: u16 = 1;

/// A batch being written. Every message has its place in `steps`, where it says what it does, as its sequence number.
#[derive(Debug)]
pub(super) struct Writer<W> {
    bytes: Vec<u8>,
    steps: Vec<W>,
}

impl<W> Writer<W> {
    /// Begins a batch. `what` is blamed for refusals of the batch as a whole. With a `generation`, the kernel
    /// carries the batch out only if the rule set is still that one.
    pub(super) fn begin(capacity: usize, what: W, generation: Option<u32>) -> Self {
        let mut writer = Self { bytes: Vec::with_capacity(capacity), steps: Vec::with_capacity(4) };
        writer.step(what);
        push_inner(
            &mut writer.bytes,
            NetfilterProtoFamily::Unspec,
            SUBSYSTEM,
            ControlMessage::BatchBegin,
            0,
            0,
        );
        if let Some(generation) = generation {
            put(&mut writer.bytes, NFNL_BATCH_GENID, &generation.to_be_bytes());
            let length = u32::try_from(writer.bytes.len()).unwrap_or(u32::MAX);
            NetlinkBuffer::new(&mut writer.bytes).set_length(length);
        }
        writer
    }

    /// A batch whose messages are all taken from another one, its beginning first.
    pub(super) const fn of_taken() -> Self {
        Self { bytes: Vec::new(), steps: Vec::new() }
    }

    fn step(&mut self, what: W) -> u32 {
        let seq = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(what);
        seq
    }

    /// Adds a message.
    pub(super) fn message(&mut self, what: W, message: NfTablesMessage, flags: u16) {
        let seq = self.step(what);
        push(&mut self.bytes, message, flags, seq);
    }

    /// Adds a message whose attributes are what `content` appends.
    pub(super) fn message_with<T>(
        &mut self,
        operation: u8,
        flags: u16,
        content: impl FnOnce(&mut Vec<u8>) -> T,
        what: impl FnOnce(&T) -> W,
    ) -> T {
        let seq = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let result = push_with(&mut self.bytes, operation, flags, seq, content);
        self.steps.push(what(&result));
        result
    }

    /// Adds a message that is written already, with a new number and without its request for an acknowledgement:
    /// acknowledgements come even for a batch that is rolled back, and enough of them overflow the socket.
    pub(super) fn splice(&mut self, what: W, frame: Frame<'_>, flags: u16) {
        let seq = self.step(what);
        let start = self.bytes.len();
        self.bytes.extend(frame.bytes);
        let mut header = NetlinkBuffer::new(&mut self.bytes[start..]);
        header.set_sequence_number(seq);
        header.set_flags(frame.flags & !NLM_F_ACK | flags);
    }

    /// Ends the batch.
    pub(super) fn end(mut self) -> (Vec<u8>, Vec<W>) {
        let seq = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        push_inner(
            &mut self.bytes,
            NetfilterProtoFamily::Unspec,
            SUBSYSTEM,
            ControlMessage::BatchEnd,
            0,
            seq,
        );
        (self.bytes, self.steps)
    }
}

/// The messages of a rustables batch, without the two that frame it.
pub(super) fn rustables_frames(batch: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    const BATCH_BEGIN: u16 = 16;
    const BATCH_END: u16 = 17;
    frames(batch).filter(|frame| !matches!(frame.kind, BATCH_BEGIN | BATCH_END))
}

#[cfg(test)]
mod tests {
    use netlink_packet_netfilter::nftables::{TableAttribute, TableMessage};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_framed_and_numbered() {
        let mut writer = Writer::begin(0, "begin", None);
        let table = TableMessage { attributes: vec![TableAttribute::Name("t".to_owned())] };
        writer.message("table", NfTablesMessage::NewTable(table), 0x400);
        let mut theirs = rustables::Batch::new();
        let table = rustables::Table::new(rustables::ProtocolFamily::Inet).with_name("u");
        theirs.add(&table, rustables::MsgType::Add);
        let theirs = theirs.finalize();
        for frame in rustables_frames(&theirs) {
            writer.splice("theirs", frame, 0x200);
        }
        let (bytes, steps) = writer.end();
        let seen: Vec<_> = frames(&bytes).map(|frame| (frame.kind, frame.flags, frame.seq)).collect();
        // REQUEST 1, CREATE 0x400, EXCL 0x200; no ACK (4) anywhere.
        assert_eq!(seen, [(16, 1, 0), (0xa00, 0x401, 1), (0xa00, 0x601, 2), (17, 1, 3)]);
        assert_eq!(steps, ["begin", "table", "theirs"]);
        assert_eq!(&bytes[16..20], [0, 0, 0, 10], "family, version, resource id of nf_tables");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_cut_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for frame in frames(&bytes) {
                let _ = attributes(frame.attributes()).count();
            }
            let _ = attributes(&bytes).count();
        }
    }
}
