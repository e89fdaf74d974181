//! One part makes a stream while another one reads it.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::sync::{Arc, Mutex};

use super::ArchiveError;

/// How the making of a stream failed; set before the stream ends.
type Failure = Arc<Mutex<Option<ArchiveError>>>;

/// The stream for the one who reads. Where the other one failed, it ends with an error and not as if it were
/// whole.
#[derive(Debug)]
pub struct Piped {
    pipe: PipeReader,
    failure: Failure,
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        let failed = || self.failure.lock().is_ok_and(|failure| failure.is_some());
        if count == 0 && !buffer.is_empty() && failed() {
            return Err(io::Error::other("it was not finished"));
        }
        Ok(count)
    }
}

/// Runs `make` on a thread of its own and `take` with what it writes. If both fail, the error is that of the
/// one who failed first.
///
/// # Errors
/// Those of both, and [`ArchiveError::Write`] without a pipe.
pub fn piped<T, E: From<ArchiveError>>(
    make: impl FnOnce(PipeWriter) -> Result<(), ArchiveError> + Send,
    take: impl FnOnce(Piped) -> Result<T, E>,
) -> Result<T, E> {
    let (reader, writer) = io::pipe().map_err(ArchiveError::Write)?;
    let failure = Failure::default();
    let taken = std::thread::scope(|scope| {
        let told = Arc::clone(&failure);
        scope.spawn(move || {
            // The pipe is closed when it returns: only then may there be an end to be seen.
            let end = writer.try_clone();
            let made = match end {
                Ok(end) => make(writer).map_err(|error| (error, Some(end))),
                Err(error) => Err((ArchiveError::Write(error), None)),
            };
            if let Err((error, _end)) = made
                && let Ok(mut failure) = told.lock()
            {
                *failure = Some(error);
            }
        });
        // The stream is dropped by the time the thread is waited for, so that it does not wait for us.
        take(Piped { pipe: reader, failure: Arc::clone(&failure) })
    });
    let failure = failure.lock().ok().and_then(|mut failure| failure.take());
    match (taken, failure) {
        // That nobody reads any more is no failure of the one who writes: the reader has all that it wants, or
        // has failed itself.
        (taken, Some(ArchiveError::Write(_)) | None) => taken,
        (_, Some(failure)) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn who_fails_first_is_believed() {
        let damaged = || ArchiveError::Damaged { what: "x", position: 0 };
        let all = |mut stream: Piped| -> Result<Vec<u8>, ArchiveError> {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
            Ok(bytes)
        };
        let write = |mut pipe: PipeWriter| pipe.write_all(&[1; 200_000]).map_err(ArchiveError::Write);
        assert_eq!(piped(write, all).unwrap().len(), 200_000);
        let cut = piped(
            |mut pipe| {
                pipe.write_all(b"abc").map_err(ArchiveError::Write)?;
                Err(damaged())
            },
            all,
        );
        assert!(matches!(cut, Err(ArchiveError::Damaged { .. })), "{cut:?}");
        // Who has read enough has not failed, and who is not read to the end has not either.
        let enough = |mut stream: Piped| -> Result<u8, ArchiveError> {
            let mut first = [0];
            stream.read_exact(&mut first).map_err(ArchiveError::Read)?;
            Ok(first[0])
        };
        assert_eq!(piped(write, enough).unwrap(), 1);
        let refused: Result<(), _> = piped(write, |_| Err(ArchiveError::NotTar));
        assert!(matches!(refused, Err(ArchiveError::NotTar)), "{refused:?}");
    }
}
