//! A supervisor's side of the container's standard streams.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{SETTLED, Supervisor, SupervisorError, failed};
use crate::container::life::log::Sink;
use crate::container::life::protocol::{Reply, Stream};
use crate::container::run::stdio::Streams;
use crate::sys::{self, WindowSize};

/// How long the output of a terminal may still be on its way through the kernel after the last process has
/// closed it.
const TERMINAL_DRAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Output {
    pub(super) stream: Stream,
    pub(super) file: Rc<File>,
}

fn set_nonblocking(file: &File) -> Result<(), SupervisorError> {
    let flags = fcntl(file, FcntlArg::F_GETFL).map_err(failed("read the streams' flags"))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(file, FcntlArg::F_SETFL(flags)).map(drop).map_err(failed("set the streams' flags"))
}

impl Supervisor {
    pub(super) fn take_streams(&mut self, streams: Streams) -> Result<(), SupervisorError> {
        let take = |fd: OwnedFd| {
            let file = File::from(fd);
            set_nonblocking(&file).map(|()| Rc::new(file))
        };
        match streams {
            Streams::Pipes { stdin, stdout, stderr } => {
                self.outputs.push(Output { stream: Stream::Stdout, file: take(stdout)? });
                self.outputs.push(Output { stream: Stream::Stderr, file: take(stderr)? });
                self.stdin = stdin.map(take).transpose()?;
            }
            Streams::Terminal(master) => {
                let master = take(master)?;
                self.outputs.push(Output { stream: Stream::Stdout, file: Rc::clone(&master) });
                self.stdin = Some(Rc::clone(&master));
                self.terminal = Some(master);
            }
        }
        Ok(())
    }

    pub(super) fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // Only a terminal that is gone refuses.
            sys::set_window_size(terminal, size).ok();
        }
    }

    /// Passes on what clients have sent for standard input, as far as the container takes it.
    pub(super) fn feed(&mut self) {
        let mut closed = self.stdin.is_none();
        let mut finished = false;
        for client in &mut self.clients {
            let mut taken = 0;
            while let Some(stdin) = self.stdin.as_ref().filter(|_| taken < client.stdin.len() && !closed) {
                match (&**stdin).write(&client.stdin[taken..]) {
                    Ok(size) => taken += size,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => closed = true,
                }
            }
            if closed {
                // Nobody reads it: it is taken and dropped, so that the client does not wait.
                taken = client.stdin.len();
            }
            if taken > 0 {
                client.stdin.drain(..taken);
                client.reply(&Reply::Accepted(u32::try_from(taken).unwrap_or(u32::MAX)));
                client.flush();
            }
            finished |= client.stdin_ended && client.stdin.is_empty() && self.stdin_once;
        }
        if closed || finished {
            self.close_stdin();
        }
    }

    /// Lets the container read the end of its input. A terminal's input does not end.
    pub(super) fn close_stdin(&mut self) {
        if self.terminal.is_none() {
            self.stdin = None;
        }
    }

    /// Takes the terminal away from a process whose client has left and to which none can come back.
    pub(super) fn hang_up(&mut self) {
        if self.terminal.take().is_some() {
            self.stdin = None;
            self.outputs.clear();
        }
    }

    /// Reads once from the container; false if there is nothing to read now.
    pub(super) fn read_output(&mut self, stream: Stream) -> bool {
        let Some(output) = self.outputs.iter().find(|output| output.stream == stream) else { return false };
        let size = match (&*output.file).read(&mut self.buffer) {
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // EIO: nobody has the terminal open any more.
            Err(_) => 0,
        };
        let data = &self.buffer[..size];
        if data.is_empty() {
            self.outputs.retain(|output| output.stream != stream);
            return false;
        }
        if let Some(log) = &mut self.log {
            log.write(stream, data);
        }
        for client in &mut self.clients {
            client.output(stream, data);
            client.flush();
        }
        true
    }

    /// Has the files of the log compressed that are full.
    pub(super) fn compress_log(&mut self) {
        if self.log.as_mut().is_some_and(Sink::compress) {
            self.forgets_at = Some(Instant::now() + SETTLED);
        }
    }

    /// Reads what is left in the streams of a process that has ended.
    pub(super) fn drain(&mut self) {
        let deadline = Instant::now() + TERMINAL_DRAIN;
        while let Some(stream) = self.outputs.first().map(|output| output.stream) {
            while self.read_output(stream) {}
            // A pipe that is empty but open stays so: who else has it is not the command. A terminal's last
            // output may still be on its way.
            if self.terminal.is_none() || !self.wait_for_terminal(deadline) {
                self.outputs.retain(|output| output.stream != stream);
            }
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
    }

    /// Waits for more output of the terminal; false if there will be none.
    fn wait_for_terminal(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(output) = self.outputs.first() else { return false };
        let mut fds = [PollFd::new(output.file.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        !left.is_zero() && poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}
