//! The sockets, and one turn of whoever watches them.

use std::cmp::Reverse;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::decide::{Directory, Verdict, decide};
use super::flight::{Flights, Reply};
use super::servers::Servers;
use super::stream::{Client, Sources};

/// How many questions are answered before somebody else has a turn.
const PER_TURN: usize = 16;
/// How many clients may ask by TCP at once; with one more, the one that was silent longest is closed, of whoever has most.
const CLIENTS: usize = 8;
/// How long no further client is accepted when there is no descriptor for one.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets on which questions come. Both are opened in the namespace that they are for.
#[derive(Debug)]
pub struct Sockets {
    /// For questions by UDP.
    pub udp: UdpSocket,
    /// For questions by TCP.
    pub tcp: TcpListener,
}

impl Sockets {
    /// Opens both at an address of the calling thread's namespace; with port 0, at ports that are free.
    ///
    /// # Errors
    /// The address is not there, or the port is taken.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(address)?;
        let tcp = TcpListener::bind(address)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp })
    }
}

/// One of the descriptors that are to be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Questions by UDP.
    Udp,
    /// Clients that connect.
    Listener,
    /// An answer to the question of this number.
    Flight(u64),
    /// The client of this number, or the server that was asked for it.
    Client(u64),
}

/// Answers the questions that come to a pair of sockets.
#[derive(Debug)]
pub struct Server {
    sockets: Sockets,
    directory: Box<dyn Directory>,
    servers: Servers,
    flights: Flights,
    clients: Vec<Client>,
    serial: u64,
    turn: usize,
    accepts_from: Option<Instant>,
}

impl Server {
    /// Answers what `directory` knows, and passes everything else on to `servers`.
    #[must_use]
    pub fn new(sockets: Sockets, directory: Box<dyn Directory>, servers: Servers) -> Self {
        let (flights, clients) = (Flights::default(), Vec::new());
        Self { sockets, directory, servers, flights, clients, serial: 0, turn: 0, accepts_from: None }
    }

    /// Every descriptor that is to be watched, and for what.
    pub fn watched(&self) -> impl Iterator<Item = (Watched, BorrowedFd<'_>, PollFlags)> {
        let udp = (Watched::Udp, self.sockets.udp.as_fd(), PollFlags::POLLIN);
        let listener = (Watched::Listener, self.sockets.tcp.as_fd(), PollFlags::POLLIN);
        let accepts = self.accepts_from.is_none_or(|from| from <= Instant::now());
        let flights = self.flights.sockets();
        let flights =
            flights.map(|(serial, socket)| (Watched::Flight(serial), socket.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().map(|client| {
            let (fd, flags) = client.watched();
            (Watched::Client(client.serial), fd, flags)
        });
        std::iter::once(udp).chain(accepts.then_some(listener)).chain(flights).chain(clients)
    }

    /// When [`expire`](Self::expire) is to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().map(Client::next_deadline);
        clients.chain(self.flights.deadline()).chain(self.accepts_from).min()
    }

    /// Deals with what has happened to one of the descriptors. `buffer` is only used meanwhile: an answer that does not
    /// fit into it is one that the client has to ask for by TCP.
    pub fn serve(&mut self, watched: Watched, buffer: &mut [u8]) {
        match watched {
            Watched::Udp => self.take_questions(buffer),
            Watched::Listener => self.accept(),
            Watched::Flight(serial) => {
                let reply = self.flights.receive(serial, &self.servers, buffer);
                self.tell(reply);
            }
            Watched::Client(serial) => {
                self.with_clients(|client, sources| {
                    if client.serial == serial {
                        client.turn(sources);
                    }
                });
            }
        }
    }

    /// Goes on with what has waited too long.
    pub fn expire(&mut self) {
        let now = Instant::now();
        if self.accepts_from.is_some_and(|from| from <= now) {
            self.accepts_from = None;
        }
        let replies = self.flights.expire(now, &self.servers);
        self.tell(replies);
        if self.clients.iter().any(|client| client.next_deadline() <= now) {
            self.with_clients(|client, sources| client.expire(now, sources));
        }
    }

    fn tell(&self, replies: impl IntoIterator<Item = Reply>) {
        for Reply { client, bytes } in replies {
            // A client that cannot be told asks again.
            self.sockets.udp.send_to(&bytes, client).ok();
        }
    }

    fn with_clients(&mut self, each: impl Fn(&mut Client, &Sources<'_>)) {
        self.turn = self.turn.wrapping_add(1);
        let sources = Sources { directory: &*self.directory, servers: &self.servers, turn: self.turn };
        self.clients.iter_mut().for_each(|client| each(client, &sources));
        self.clients.retain(|client| !client.is_gone());
    }

    fn take_questions(&mut self, buffer: &mut [u8]) {
        for _ in 0..PER_TURN {
            let (size, client) = match self.sockets.udp.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if !self.directory.serves(client.ip()) {
                continue;
            }
            let packet = &buffer[..size];
            self.turn = self.turn.wrapping_add(1);
            match decide(packet, &*self.directory, client.ip(), None, self.turn) {
                Verdict::Nothing => {}
                Verdict::Answer(bytes) => self.tell([Reply { client, bytes }]),
                Verdict::Forward(_) => {
                    let sources =
                        Sources { directory: &*self.directory, servers: &self.servers, turn: self.turn };
                    let (whom, unreached) = sources.outside(client.ip());
                    let client = (client, self.directory.asker(client));
                    let replies = self.flights.begin(packet, client, (&whom, unreached), &self.servers);
                    self.tell(replies);
                }
            }
        }
    }

    fn accept(&mut self) {
        match self.sockets.tcp.accept() {
            Ok((stream, client)) => {
                if !self.directory.serves(client.ip()) {
                    return;
                }
                self.serial += 1;
                self.clients.extend(Client::new(self.serial, stream, client));
                if self.clients.len() > CLIENTS {
                    let askers: Vec<SocketAddr> =
                        self.clients.iter().map(|client| self.directory.asker(client.peer)).collect();
                    let held = |place: usize| askers.iter().filter(|asker| **asker == askers[place]).count();
                    let crowding = (0..askers.len())
                        .max_by_key(|&place| (held(place), Reverse(self.clients[place].deadline)));
                    crowding.map(|place| self.clients.remove(place));
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                ) => {}
            Err(_) => self.accepts_from = Some(Instant::now() + PAUSE),
        }
    }
}
