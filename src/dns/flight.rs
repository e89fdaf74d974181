//! Questions that were passed on by UDP and are not answered yet. Each has a socket of its own: its port and its number
//! are chosen at random, so that nobody who does not see the question can forge the answer.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::message::{Code, Question, code_of, truncated};
use super::servers::Servers;

/// How many questions may be on their way; with one more, one is given up.
const MOST: usize = 64;
/// How many of them one client may have; with one more, that one is answered with an error. Others find room.
const MOST_OF_ONE: usize = 48;
/// How many bytes these questions may have altogether.
const MOST_BYTES: usize = 16 << 10;
/// How long one try may take. Clients wait for five seconds in all.
pub(super) const TRY: Duration = Duration::from_millis(1500);
/// How often a question is asked: of other servers, or of the same one if there is only one. A packet may get lost.
const TRIES: usize = 3;

/// An answer for a client.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) client: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// One question on its way.
#[derive(Debug)]
struct Flight {
    serial: u64,
    socket: UdpSocket,
    server: SocketAddr,
    /// The number it was sent with.
    id: [u8; 2],
    client: SocketAddr,
    /// Who counts as one client with others.
    asker: SocketAddr,
    query: Vec<u8>,
    /// Whom to ask next.
    next: VecDeque<SocketAddr>,
    deadline: Instant,
}

/// All questions on their way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: VecDeque<Flight>,
    serial: u64,
}

/// A failure that is told to the client: nobody has answered.
fn failure(query: &[u8], code: Code) -> Option<Vec<u8>> {
    Question::parse(query).ok().map(|question| question.answer(code, &[], question.udp_limit()))
}

/// Whom to ask, one after the other: each server, and again from the first one.
fn tries(servers: &[SocketAddr]) -> VecDeque<SocketAddr> {
    servers
        .iter()
        .copied()
        .cycle()
        .take(if servers.is_empty() { 0 } else { TRIES.max(servers.len()) })
        .collect()
}

impl Flights {
    /// Passes a question on. Returns what clients are told at once: that it could not be, or that an older one was
    /// given up. `client` is also told as whom it counts; `whom` are the servers to ask, and the code for a question that
    /// none of them could be asked.
    pub(super) fn begin(
        &mut self,
        query: &[u8],
        (client, asker): (SocketAddr, SocketAddr),
        (whom, unreached): (&[SocketAddr], Code),
        servers: &Servers,
    ) -> Vec<Reply> {
        let mut replies = Vec::new();
        if self.of(asker) >= MOST_OF_ONE {
            return failure(query, Code::ServFail).map(|bytes| Reply { client, bytes }).into_iter().collect();
        }
        let mut next = tries(whom);
        match send(query, &mut next, servers) {
            None => replies.extend(failure(query, unreached).map(|bytes| Reply { client, bytes })),
            Some((socket, server, id)) => {
                self.serial += 1;
                let (serial, query, deadline) = (self.serial, query.to_vec(), Instant::now() + TRY);
                self.flights.push_back(Flight {
                    serial,
                    socket,
                    server,
                    id,
                    client,
                    asker,
                    query,
                    next,
                    deadline,
                });
            }
        }
        while self.flights.len() > MOST || self.bytes() > MOST_BYTES {
            let Some(oldest) = self.oldest_of_busiest_client().and_then(|place| self.flights.remove(place))
            else {
                break;
            };
            let told = failure(&oldest.query, Code::ServFail);
            replies.extend(told.map(|bytes| Reply { client: oldest.client, bytes }));
        }
        replies
    }

    /// The oldest question of the client that has most of them on their way: one that asks without end gives its own
    /// up, not those of others.
    fn oldest_of_busiest_client(&self) -> Option<usize> {
        // Of equal ones it takes the last that it sees.
        (0..self.flights.len()).rev().max_by_key(|&place| self.of(self.flights[place].asker))
    }

    /// How many questions of a client are on their way.
    fn of(&self, asker: SocketAddr) -> usize {
        self.flights.iter().filter(|flight| flight.asker == asker).count()
    }

    fn bytes(&self) -> usize {
        self.flights.iter().map(|flight| flight.query.len()).sum()
    }

    /// What to watch for answers, each with its number.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (u64, &UdpSocket)> {
        self.flights.iter().map(|flight| (flight.serial, &flight.socket))
    }

    /// When the first of them has to be tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flights.iter().map(|flight| flight.deadline).min()
    }

    /// Reads the answer to a question, and returns it if it is the one for its client.
    pub(super) fn receive(&mut self, serial: u64, servers: &Servers, buffer: &mut [u8]) -> Option<Reply> {
        let place = self.flights.iter().position(|flight| flight.serial == serial)?;
        let flight = &mut self.flights[place];
        let size = match flight.socket.recv(buffer) {
            Ok(size) => size,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return None;
            }
            // Nobody listens there, or no route leads there any more.
            Err(_) => return self.ask_another(place, servers, None),
        };
        let reply = &mut buffer[..size];
        let question = Question::parse(&flight.query).ok()?;
        if reply.get(..2) != Some(&flight.id) || !question.is_answered_by(reply) {
            return None;
        }
        let is_cut = size == buffer.len();
        let mut bytes = if is_cut { truncated(&question) } else { buffer[..size].to_vec() };
        bytes[..2].copy_from_slice(&flight.query[..2]);
        if [Code::ServFail as u8, Code::Refused as u8].contains(&code_of(&bytes)) {
            return self.ask_another(place, servers, Some(bytes));
        }
        let client = flight.client;
        self.flights.remove(place);
        Some(Reply { client, bytes })
    }

    /// Gives a server up that cannot answer. If there is no other one, the client gets what it has said.
    fn ask_another(&mut self, place: usize, servers: &Servers, said: Option<Vec<u8>>) -> Option<Reply> {
        let flight = &mut self.flights[place];
        let failed = flight.server;
        flight.next.retain(|server| *server != failed);
        self.again(place, servers, said)
    }

    fn again(&mut self, place: usize, servers: &Servers, said: Option<Vec<u8>>) -> Option<Reply> {
        let flight = &mut self.flights[place];
        if let Some((socket, server, id)) = send(&flight.query, &mut flight.next, servers) {
            (flight.socket, flight.server, flight.id) = (socket, server, id);
            flight.deadline = Instant::now() + TRY;
            return None;
        }
        let flight = self.flights.remove(place)?;
        let bytes = said.or_else(|| failure(&flight.query, Code::ServFail))?;
        Some(Reply { client: flight.client, bytes })
    }

    /// Tries those again that have waited long enough.
    pub(super) fn expire(&mut self, now: Instant, servers: &Servers) -> Vec<Reply> {
        let mut replies = Vec::new();
        let mut place = 0;
        while place < self.flights.len() {
            if self.flights[place].deadline > now {
                place += 1;
                continue;
            }
            let before = self.flights.len();
            replies.extend(self.again(place, servers, None));
            if self.flights.len() == before {
                place += 1;
            }
        }
        replies
    }
}

/// Sends a question to the first of these servers that it can be sent to.
fn send(
    query: &[u8],
    next: &mut VecDeque<SocketAddr>,
    servers: &Servers,
) -> Option<(UdpSocket, SocketAddr, [u8; 2])> {
    while let Some(server) = next.pop_front() {
        let mut id = [0; 2];
        if getrandom::fill(&mut id).is_err() {
            return None;
        }
        let mut packet = query.to_vec();
        packet[..2].copy_from_slice(&id);
        let sent = servers.connect_udp(server).and_then(|socket| {
            socket.send(&packet)?;
            Ok(socket)
        });
        match sent {
            Ok(socket) => return Some((socket, server, id)),
            Err(error) => tracing::debug!(%server, %error, "cannot ask the name server"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::message::kind;
    use super::super::message::tests::question;
    use super::*;

    #[test]
    fn one_server_is_asked_again_and_several_in_turn() {
        let server = |n: u8| SocketAddr::from(([10, 0, 0, n], 53));
        let asked = |count: u8| -> Vec<SocketAddr> {
            tries(&(0..count).map(server).collect::<Vec<_>>()).into_iter().collect()
        };
        assert_eq!(asked(0), []);
        assert_eq!(asked(1), [server(0), server(0), server(0)]);
        assert_eq!(asked(2), [server(0), server(1), server(0)]);
        assert_eq!(asked(3), [server(0), server(1), server(2)]);
    }

    #[test]
    fn who_asks_without_end_gives_up_its_own_questions() {
        let mut flights = Flights::default();
        let client = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut ask = |serial: u64, port: u16| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let (server, client, deadline) = (client(53), client(port), Instant::now());
            let (query, next) = (vec![0; 12], VecDeque::new());
            flights.flights.push_back(Flight {
                serial,
                socket,
                server,
                id: [0; 2],
                client,
                asker: client,
                query,
                next,
                deadline,
            });
            flights.oldest_of_busiest_client().map(|place| flights.flights[place].serial)
        };
        assert_eq!(ask(1, 1000), Some(1));
        // As many of each: the oldest of all.
        assert_eq!(ask(2, 2000), Some(1));
        assert_eq!(ask(3, 2000), Some(2));
        assert_eq!(ask(4, 3000), Some(2));
        assert_eq!(ask(5, 1000), Some(1));
        // And there is an end to what one may have.
        for serial in 6..200 {
            ask(serial, 2000);
        }
        let (servers, before) = (Servers::OfHost { list: "/none".into() }, flights.flights.len());
        let query = question("name", kind::A, None);
        let told =
            flights.begin(&query, (client(2001), client(2000)), (&[client(53)], Code::ServFail), &servers);
        assert_eq!((told.len(), told[0].client, flights.flights.len()), (1, client(2001), before));
    }
}
