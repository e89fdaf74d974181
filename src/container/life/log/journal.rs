//! A supervisor's side of the journal of systemd: one datagram for each line, by the journal's own protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! What the journal does not take at once is lost: it never holds up the container.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::LogError;
use crate::container::life::protocol::Stream;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The most bytes of a line in one entry: a longer line becomes several, of which all but the last say that they are
/// parts (`CONTAINER_PARTIAL_MESSAGE`).
const ENTRY_MAX: usize = 16 << 10;

/// Sends what a container prints to the journal, line by line.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    /// What every entry has.
    fields: Vec<u8>,
    /// The unfinished lines of standard output and standard error.
    partial: [Vec<u8>; 2],
}

impl Journal {
    /// Opens the journal for a container. `fields` are what each of its entries has, besides the message; somebody
    /// `must_listen` where a user is told if nobody does.
    ///
    /// # Errors
    /// [`LogError`]: nobody listens there.
    pub fn open(fields: &[(&str, &str)], must_listen: bool) -> Result<Self, LogError> {
        let error = |source| LogError { action: "reach", path: PathBuf::from(SOCKET), source };
        if must_listen {
            UnixDatagram::unbound().and_then(|socket| socket.connect(SOCKET)).map_err(error)?;
        }
        // Each entry is sent by the path: the journal may be restarted.
        let socket = UnixDatagram::unbound().map_err(error)?;
        socket.set_nonblocking(true).map_err(error)?;
        let mut all = Vec::new();
        fields.iter().for_each(|(name, value)| push_field(&mut all, name, value.as_bytes()));
        Ok(Self { socket, fields: all, partial: [Vec::new(), Vec::new()] })
    }

    /// Takes what the container wrote to `stream` and sends the lines that are complete.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let index = usize::from(stream == Stream::Stderr);
        let mut rest = data;
        while !rest.is_empty() {
            let room = ENTRY_MAX - self.partial[index].len();
            let piece = &rest[..rest.len().min(room)];
            let end = piece.iter().position(|&byte| byte == b'\n');
            let (piece, after) = rest.split_at(end.map_or(piece.len(), |at| at + 1));
            rest = after;
            self.partial[index].extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if end.is_some() || self.partial[index].len() == ENTRY_MAX {
                self.send(stream, end.is_none());
            }
        }
    }

    /// Sends what is left of unfinished lines: there will be no more.
    pub fn finish(&mut self) {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if !self.partial[index].is_empty() {
                self.send(stream, false);
            }
        }
    }

    fn send(&mut self, stream: Stream, is_part: bool) {
        let index = usize::from(stream == Stream::Stderr);
        let mut entry = self.fields.clone();
        push_field(&mut entry, "PRIORITY", if stream == Stream::Stderr { b"3" } else { b"6" });
        if is_part {
            push_field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        push_field(&mut entry, "MESSAGE", &self.partial[index]);
        // It is full, or is being started again.
        self.socket.send_to(&entry, SOCKET).ok();
        self.partial[index] = Vec::new();
    }
}

/// Appends a field. Its value may be anything: its length stands before it.
fn push_field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// The name of a label or a variable as the journal takes names: capital letters, digits and `_`, which is not the first.
#[must_use]
pub fn field_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let text: String = name.chars().map(plain).collect();
    text.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_journals() {
        for (name, field) in [("team", "TEAM"), ("com.example-a", "COM_EXAMPLE_A"), ("_1x", "X"), ("ä", "")]
        {
            assert_eq!(field_name(name), field, "{name}");
        }
    }
}
