//! A line on the terminal while something takes its time. On standard error: standard output has the result.

use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long nothing is said, and how often the line changes then.
const INTERVAL: Duration = Duration::from_secs(1);

/// Goes to the beginning of the line and clears it.
const CLEAR: &str = "\r\u{1b}[K";

/// Does something, and says what it is once it has taken a second, and since when. Where nobody looks at a terminal, nothing
/// is said.
pub(super) fn during<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let is_seen = io::stderr().is_terminal();
    let _waiting = is_seen.then(|| Waiting::begin_on(io::stderr(), what, INTERVAL));
    work()
}

/// Something that is being done.
#[derive(Debug)]
struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

impl Waiting {
    /// Says so until this goes.
    fn begin_on(mut terminal: impl Write + Send + 'static, what: &'static str, interval: Duration) -> Self {
        let (sender, ended) = channel::<()>();
        let show = move || {
            let mut seconds = 0_u64;
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                // Only the line is missing if that fails.
                write!(terminal, "{CLEAR}{what} … {seconds} s").and_then(|()| terminal.flush()).ok();
            }
            if seconds > 0 {
                write!(terminal, "{CLEAR}").and_then(|()| terminal.flush()).ok();
            }
        };
        // Without a thread, nothing is said.
        let thread = std::thread::Builder::new().spawn(show);
        Self(thread.ok().map(|thread| (sender, thread)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_takes_its_time_is_said_and_what_does_not_is_not() {
        let screen = Screen::default();
        drop(Waiting::begin_on(screen.clone(), "Counting", Duration::from_secs(3600)));
        assert_eq!(screen.text(), "");
        let waiting = Waiting::begin_on(screen.clone(), "Counting", Duration::from_millis(1));
        while !screen.text().contains("Counting … 2 s") {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(waiting);
        let text = screen.text();
        assert!(text.starts_with("\r\u{1b}[KCounting … 1 s\r\u{1b}[KCounting … 2 s"), "{text:?}");
        assert!(text.ends_with(CLEAR), "{text:?}");
    }
}
