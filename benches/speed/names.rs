//! How long a container waits for the address of another one.
//!
//! The floor is a bare echo by UDP in the same namespace, from a thread that does nothing else. Both take turns; what is
//! timed is one question and its answer, over a socket that is there. One that was asked before is answered without reading
//! the name's files again; so there is a second case, in which they have changed since.

use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use mydocker::netns::NetNs;

use crate::command::Outcome;
use crate::report::{FLOOR, Figure};

/// Questions and echoes, each.
const ROUNDS: usize = 4_000;
const SERVER: &str = "127.0.0.11:53";
const ECHO: &str = "127.0.0.1:5300";
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const MOST: usize = 512;

/// The time of a question for the address of `name`, asked in the network namespace of `container`. `files` is the
/// directory of the name.
pub(crate) fn measure(
    group: &str,
    case: &str,
    container: &Path,
    name: &str,
    files: &Path,
) -> Outcome<Vec<Figure>> {
    let files = File::open(files).map_err(|error| format!("the files of {name}: {error}"))?;
    let space = NetNs::open(container).map_err(|error| error.to_string())?;
    let connect = |to: &str| -> std::io::Result<_> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let sockets = || -> std::io::Result<_> {
        let echo = UdpSocket::bind(ECHO)?;
        echo.set_read_timeout(Some(PATIENCE))?;
        Ok((echo, connect(ECHO)?, connect(SERVER)?))
    };
    let (echo, floor, names) = space
        .run(sockets)
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("no sockets in the namespace of a container: {error}"))?;
    let query = question(name);
    let (mut asked, mut changed, mut echoed) = (Vec::new(), Vec::new(), Vec::new());
    let once = || {
        let (took, answer) = ask(&names, &query)?;
        // Number, "an answer", and one record of it.
        let is_right = answer.get(..2) == query.get(..2) && answer.get(6..8) == Some(&[0, 1]);
        if is_right { Ok(took) } else { Err(format!("{name} has no address there")) }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| answer(&echo));
        for _ in 0..ROUNDS {
            asked.push(once()?);
            echoed.push(ask(&floor, &query)?.0);
        }
        for _ in 0..ROUNDS {
            files.set_modified(SystemTime::now()).map_err(|error| error.to_string())?;
            changed.push(once()?);
        }
        // An empty packet ends the echo.
        floor.send(&[]).map_err(|error| error.to_string())?;
        Ok::<(), String>(())
    })?;
    let again = format!("{case}, its files changed");
    let figures = [
        (case.to_owned(), asked),
        (format!("{case}{FLOOR}"), echoed.clone()),
        (format!("{again}{FLOOR}"), echoed),
        (again, changed),
    ];
    Ok(figures.into_iter().flat_map(|(case, times)| summary(group, &case, times)).collect())
}

fn answer(echo: &UdpSocket) {
    let mut buffer = [0; MOST];
    while let Ok((size, client)) = echo.recv_from(&mut buffer) {
        if size == 0 || echo.send_to(&buffer[..size], client).is_err() {
            return;
        }
    }
}

fn ask(socket: &UdpSocket, query: &[u8]) -> Outcome<(Duration, Vec<u8>)> {
    let mut buffer = [0; MOST];
    let start = Instant::now();
    let size = socket.send(query).and_then(|_| socket.recv(&mut buffer));
    let took = start.elapsed();
    let size = size.map_err(|error| format!("no answer: {error}"))?;
    Ok((took, buffer[..size].to_vec()))
}

/// A question for an IPv4 address (RFC 1035, 4.1).
fn question(name: &str) -> Vec<u8> {
    let mut packet = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    packet.push(u8::try_from(name.len()).unwrap());
    packet.extend(name.as_bytes());
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

fn summary(group: &str, case: &str, mut times: Vec<Duration>) -> [Figure; 2] {
    times.sort_unstable();
    let at = |place: usize| times[place].as_nanos() as f64;
    [
        Figure::new(group, case, "median ns", at(times.len() / 2)),
        Figure::new(group, case, "p99 ns", at(times.len() * 99 / 100)),
    ]
}
