//! The frames between a client and a supervisor.
//!
//! ```text
//!  byte 0    bytes 1..5                 bytes 5..
//! ┌────────┬──────────────────────────┬─────────────────────┐
//! │ kind   │ length, big endian u32   │ that many bytes     │
//! └────────┴──────────────────────────┴─────────────────────┘
//! ```
//!
//! A client speaks [`Request`]s, a supervisor [`Reply`]s. Standard input is sent against credit: no more
//! than [`STDIN_WINDOW`] bytes are on their way at any time, so that a container that does not read cannot
//! keep a signal or a new window size from getting through.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::container::request::signal::Signal;
use crate::sys::WindowSize;

/// The most bytes of one frame's payload. A longer one is not from a mydocker.
pub const PAYLOAD_MAX: usize = 64 << 10;

/// The most bytes of standard input that a client sends ahead of the supervisor's [`Reply::Accepted`].
pub const STDIN_WINDOW: usize = 64 << 10;

/// An order may be larger than a frame: it may hold a command and an environment.
const ORDER_MAX: usize = 8 << 20;

const HEADER: usize = 5;

/// A frame that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A kind this side does not know.
    #[error("unknown frame of kind {0}")]
    Kind(u8),
    /// More bytes than any frame has.
    #[error("a frame of {0} bytes is too long")]
    Length(usize),
    /// The payload is not what its kind says.
    #[error("malformed frame of kind {0}")]
    Payload(u8),
    /// An order that cannot be written or read.
    #[error("malformed order")]
    Job(#[source] serde_json::Error),
    /// The socket failed, or the other side went away.
    #[error("the connection between client and supervisor broke")]
    Io(#[from] io::Error),
}

/// One of a container's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and all output of a container with a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why a supervisor could not start what it was asked to, for its client to report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The exit status for `run` and `exec`: 125, 126 or 127.
    pub code: u8,
    /// What went wrong, with its causes, on one line.
    pub message: String,
    /// A remedy, if there is one.
    pub hint: Option<String>,
}

impl Failure {
    /// Reports to a client that waits for nothing else.
    ///
    /// # Errors
    /// [`ProtocolError::Io`] if it has left.
    pub fn send(self, stream: &UnixStream) -> Result<(), ProtocolError> {
        let mut bytes = Vec::new();
        Reply::Failed(self).encode(&mut bytes);
        let mut stream: &UnixStream = stream;
        Ok(stream.write_all(&bytes)?)
    }
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Send me the output from now on.
    Subscribe,
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// There will be no more of them.
    StdinEof,
    /// The client's terminal has this size now.
    Resize(WindowSize),
    /// Send the container this signal.
    Signal(Signal),
    /// This client leaves, and nothing is to change for the container. The last frame.
    Detach,
}

/// What a supervisor says.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command runs.
    Started,
    /// The command could not be run. The last frame.
    Failed(Failure),
    /// Bytes that the container wrote.
    Output(Stream, Vec<u8>),
    /// So many bytes of standard input have been passed on.
    Accepted(u32),
    /// The container has ended with this status, and everything of it has been taken down. The last frame.
    Exited(u8),
}

/// A type of frame.
pub trait Message: Sized {
    /// The frame's kind.
    fn kind(&self) -> u8;
    /// Appends the frame's payload.
    fn payload(&self, bytes: &mut Vec<u8>);
    /// Reads a payload; `None` if there is no such kind.
    ///
    /// # Errors
    /// [`ProtocolError`] for a payload that does not fit the kind.
    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, ProtocolError>;

    /// Appends the whole frame.
    fn encode(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        self.payload(bytes);
        let length = u32::try_from(bytes.len() - start - HEADER).unwrap_or(u32::MAX);
        bytes[start + 1..start + HEADER].copy_from_slice(&length.to_be_bytes());
    }
}

fn pair(payload: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = payload else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

impl Message for Request {
    fn kind(&self) -> u8 {
        match self {
            Self::Subscribe => 1,
            Self::Stdin(_) => 2,
            Self::StdinEof => 3,
            Self::Resize(_) => 4,
            Self::Signal(_) => 5,
            Self::Detach => 6,
        }
    }

    fn payload(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Subscribe | Self::StdinEof | Self::Detach => {}
            Self::Stdin(data) => bytes.extend_from_slice(data),
            Self::Resize(size) => {
                bytes.extend_from_slice(&size.rows.to_be_bytes());
                bytes.extend_from_slice(&size.columns.to_be_bytes());
            }
            Self::Signal(signal) => bytes.extend_from_slice(&signal.number().to_be_bytes()),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let malformed = || ProtocolError::Payload(kind);
        Ok(Some(match kind {
            1 => Self::Subscribe,
            2 => Self::Stdin(payload.to_vec()),
            3 => Self::StdinEof,
            4 => {
                let (rows, columns) = pair(payload).ok_or_else(malformed)?;
                Self::Resize(WindowSize { rows, columns })
            }
            5 => {
                let number = i32::from_be_bytes(payload.try_into().map_err(|_| malformed())?);
                Self::Signal(Signal::from_number(number).map_err(|_| malformed())?)
            }
            6 => Self::Detach,
            _ => return Ok(None),
        }))
    }
}

impl Message for Reply {
    fn kind(&self) -> u8 {
        match self {
            Self::Started => 16,
            Self::Failed(_) => 17,
            Self::Output(Stream::Stdout, _) => 18,
            Self::Output(Stream::Stderr, _) => 19,
            Self::Accepted(_) => 20,
            Self::Exited(_) => 21,
        }
    }

    fn payload(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Started => {}
            // A failure is plain strings and a number: nothing that could not be written as JSON.
            Self::Failed(failure) => bytes.extend(serde_json::to_vec(failure).unwrap_or_default()),
            Self::Output(_, data) => bytes.extend_from_slice(data),
            Self::Accepted(count) => bytes.extend_from_slice(&count.to_be_bytes()),
            Self::Exited(code) => bytes.push(*code),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let malformed = || ProtocolError::Payload(kind);
        Ok(Some(match kind {
            16 => Self::Started,
            17 => Self::Failed(serde_json::from_slice(payload).map_err(|_| malformed())?),
            18 => Self::Output(Stream::Stdout, payload.to_vec()),
            19 => Self::Output(Stream::Stderr, payload.to_vec()),
            20 => Self::Accepted(u32::from_be_bytes(payload.try_into().map_err(|_| malformed())?)),
            21 => Self::Exited(*payload.first().ok_or_else(malformed)?),
            _ => return Ok(None),
        }))
    }
}

/// Appends an output frame without making a [`Reply`] of it first.
pub fn encode_output(stream: Stream, data: &[u8], bytes: &mut Vec<u8>) {
    let kind = Reply::Output(stream, Vec::new()).kind();
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(data);
}

/// Puts frames together from whatever pieces the socket delivers.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How much of `bytes` has been handed out.
    consumed: usize,
}

impl Decoder {
    /// Appends bytes from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.consumed);
        self.consumed = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is complete.
    ///
    /// # Errors
    /// [`ProtocolError`] for a frame that no mydocker sends; the connection is useless then.
    pub fn next_message<M: Message>(&mut self) -> Result<Option<M>, ProtocolError> {
        let bytes = &self.bytes[self.consumed..];
        let Some((&[kind, a, b, c, d], rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > PAYLOAD_MAX {
            return Err(ProtocolError::Length(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let message = M::decode(kind, payload)?.ok_or(ProtocolError::Kind(kind))?;
        self.consumed += HEADER + length;
        Ok(Some(message))
    }
}

/// The first thing a client says to a supervisor that it has just started.
///
/// It comes in one piece, so that the supervisor knows before it starts anything whether the client wants
/// the output, and how large its terminal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order<T> {
    /// What to do.
    pub job: T,
    /// Whether the client wants the output.
    pub subscribe: bool,
    /// Whether the container's input comes from the client, and ends with it if it is to.
    pub feeds: bool,
    /// Rows and columns of the client's terminal.
    pub size: Option<(u16, u16)>,
}

impl<T: Serialize + DeserializeOwned> Order<T> {
    /// Sends the order.
    ///
    /// # Errors
    /// [`ProtocolError::Job`], [`ProtocolError::Length`] or [`ProtocolError::Io`].
    pub fn send(&self, stream: &UnixStream) -> Result<(), ProtocolError> {
        let text = serde_json::to_vec(self).map_err(ProtocolError::Job)?;
        if text.len() > ORDER_MAX {
            return Err(ProtocolError::Length(text.len()));
        }
        let length = u32::try_from(text.len()).map_err(|_| ProtocolError::Length(text.len()))?;
        let mut stream: &UnixStream = stream;
        stream.write_all(&length.to_be_bytes())?;
        Ok(stream.write_all(&text)?)
    }

    /// Receives an order, and not one byte of what follows it.
    ///
    /// # Errors
    /// [`ProtocolError::Length`], [`ProtocolError::Job`] or [`ProtocolError::Io`].
    pub fn receive(stream: &UnixStream) -> Result<Self, ProtocolError> {
        let mut stream: &UnixStream = stream;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ORDER_MAX {
            return Err(ProtocolError::Length(length));
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text)?;
        serde_json::from_slice(&text).map_err(ProtocolError::Job)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replies() -> Vec<Reply> {
        let failure = Failure { code: 127, message: "no \"x\"\n".into(), hint: Some("h".into()) };
        vec![
            Reply::Started,
            Reply::Failed(failure),
            Reply::Output(Stream::Stdout, vec![0, 1, 255]),
            Reply::Output(Stream::Stderr, Vec::new()),
            Reply::Accepted(70_000),
            Reply::Exited(137),
        ]
    }

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut bytes = Vec::new();
        replies().iter().for_each(|reply| reply.encode(&mut bytes));
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut decoded = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(reply) = decoder.next_message::<Reply>().unwrap() {
                    decoded.push(reply);
                }
            }
            assert_eq!(decoded, replies());
        }
    }

    #[test]
    fn requests_come_back_as_they_were() {
        let requests = [
            Request::Subscribe,
            Request::Stdin(vec![1, 2]),
            Request::StdinEof,
            Request::Resize(WindowSize { rows: 24, columns: 300 }),
            Request::Signal(Signal::TERM),
            Request::Detach,
        ];
        let mut decoder = Decoder::default();
        for request in &requests {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            decoder.push(&bytes);
        }
        for request in requests {
            assert_eq!(decoder.next_message::<Request>().unwrap(), Some(request));
        }
        assert_eq!(decoder.next_message::<Request>().unwrap(), None);
    }

    #[test]
    fn an_output_frame_is_the_reply() {
        let (mut quick, mut reply) = (Vec::new(), Vec::new());
        encode_output(Stream::Stderr, b"abc", &mut quick);
        Reply::Output(Stream::Stderr, b"abc".to_vec()).encode(&mut reply);
        assert_eq!(quick, reply);
    }

    #[test]
    fn an_order_leaves_what_follows_it_in_the_socket() {
        let (client, supervisor) = UnixStream::pair().unwrap();
        let order = Order { job: vec!["a".to_owned()], subscribe: true, feeds: true, size: Some((24, 80)) };
        order.send(&client).unwrap();
        let mut bytes = Vec::new();
        Request::Subscribe.encode(&mut bytes);
        (&client).write_all(&bytes).unwrap();
        assert_eq!(Order::<Vec<String>>::receive(&supervisor).unwrap(), order);
        drop(client);
        let mut rest = Vec::new();
        (&supervisor).read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes);
        assert!(matches!(Order::<()>::receive(&supervisor), Err(ProtocolError::Io(_))));
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_message::<Request>() {}
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_message::<Reply>() {}
        }
    }
}
