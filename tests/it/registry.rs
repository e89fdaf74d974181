//! A registry for tests, the distribution's own, and a proxy in front of it that does what it is told.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::archives::file;
use crate::host::Host;
use crate::program::{Output, Program, Running, eventually};

/// A running registry.
pub(crate) struct Registry {
    pub(crate) address: String,
    _server: Running,
}

impl Registry {
    /// Starts one on this port of the host's loopback.
    pub(crate) fn new(host: &Host, port: u16) -> Self {
        Self::with(host, &format!("127.0.0.1:{port}"), "", "")
    }

    /// Starts one at an address, with more settings: at the top, and below `http`.
    pub(crate) fn with(host: &Host, address: &str, more: &str, http: &str) -> Self {
        let port = address.rsplit(':').next().expect("a port");
        let storage = host.scratch(&format!("registry-{port}"));
        let settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{more}\
             http:\n  addr: {address}\n{http}",
            storage.display()
        );
        let settings = file(host, &format!("registry-{port}.yml"), settings.as_bytes());
        let mut server = Program::new(&["docker-registry", "serve", &settings])
            .environment("OTEL_TRACES_EXPORTER", "none")
            .start_in(&host.space);
        eventually("the registry", || {
            assert!(server.is_running(), "the registry has ended");
            host.space.run(|| TcpStream::connect(address)).ok()
        });
        Self { address: address.to_owned(), _server: server }
    }

    /// The name of an image there.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

/// Runs skopeo, which trusts everybody.
#[track_caller]
pub(crate) fn skopeo(host: &Host, arguments: &[&str]) -> String {
    host.space.ok(&[&["skopeo", "--insecure-policy"], arguments].concat())
}

/// Runs mydocker with a home directory of the test's own.
pub(crate) fn command(host: &Host, arguments: &[&str]) -> Program {
    let home = host.root.parent().expect("the host's directory").join("home");
    std::fs::create_dir_all(&home).expect("a home directory");
    host.program(&[&[env!("CARGO_BIN_EXE_mydocker")], arguments].concat())
        .environment("HOME", home.to_str().expect("a plain path"))
}

#[track_caller]
pub(crate) fn mydocker(host: &Host, arguments: &[&str]) -> Output {
    command(host, arguments).run_in(&host.space)
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/")
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// After how many bytes of the body the connection is closed.
    pub(crate) cut: Option<usize>,
    /// How long each 64 KiB of the body take.
    pub(crate) slow: Duration,
}

impl Answer {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let answer =
            Self { status, headers: headers.collect(), body: Vec::new(), cut: None, slow: Duration::ZERO };
        answer.with_body(body)
    }

    /// The same answer with another body, of whose length nothing is hidden.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Self {
        self.set("content-length", &body.len().to_string());
        self.body = body.to_vec();
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Decides on an answer: by the request, how often the same was asked before, and what the registry answers.
type Behave = dyn Fn(&Asked, usize, Answer) -> Answer + Send + Sync;

/// Decides after how many bytes of a request's body both connections are closed: by the request, and how often the
/// same was asked before. With none, the registry learns nothing of the request.
type Cut = dyn Fn(&Asked, usize) -> Option<u64> + Send + Sync;

/// A proxy in front of a registry.
pub(crate) struct Proxy {
    pub(crate) address: String,
    log: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Proxy {
    pub(crate) fn new(
        host: &Host,
        port: u16,
        upstream: &Registry,
        behave: impl Fn(&Asked, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::cutting(host, port, upstream, |_, _| None, behave)
    }

    /// One that does not take in all requests.
    pub(crate) fn cutting(
        host: &Host,
        port: u16,
        upstream: &Registry,
        cut: impl Fn(&Asked, usize) -> Option<u64> + Send + Sync + 'static,
        behave: impl Fn(&Asked, usize, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (log, stop) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let address = format!("127.0.0.1:{port}");
        let (seen, stopped, upstream) = (Arc::clone(&log), Arc::clone(&stop), upstream.address.clone());
        let (behave, cut): (Arc<Behave>, Arc<Cut>) = (Arc::new(behave), Arc::new(cut));
        // A thread is in the namespaces of the one that starts it.
        let thread = host.space.run(|| {
            let listener = TcpListener::bind(&address).expect("listen");
            listener.set_nonblocking(true).expect("a listener that does not block");
            std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let Ok((client, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    let (seen, upstream) = (Arc::clone(&seen), upstream.clone());
                    let (behave, cut) = (Arc::clone(&behave), Arc::clone(&cut));
                    std::thread::spawn(move || serve(client, &upstream, &seen, &*cut, &*behave));
                }
            })
        });
        Self { address, log, stop, thread: Some(thread) }
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.log.lock().expect("the log"))
    }
}

/// Reads the head of a message: its first line, and its headers.
fn head(reader: &mut impl std::io::BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut line = || {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            return Some((first, headers));
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}

fn serve(
    client: TcpStream,
    upstream: &str,
    seen: &Mutex<Vec<Asked>>,
    cut: &Cut,
    behave: &Behave,
) -> Option<()> {
    client.set_nonblocking(false).ok()?;
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (first, headers) = head(&mut reader)?;
    let mut words = first.split(' ');
    let asked = Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), headers };
    let before = {
        let mut seen = seen.lock().ok()?;
        let same = |other: &&Asked| other.method == asked.method && other.path == asked.path;
        let before = seen.iter().filter(same).count();
        seen.push(asked.clone());
        before
    };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let cut = cut(&asked, before);
    let mut body = Vec::new();
    reader.take(cut.unwrap_or(length)).read_to_end(&mut body).ok()?;
    if cut == Some(0) {
        return None;
    }
    if cut.is_some() {
        // The registry sees the connection end, as its client does.
        return send(&asked, &body, upstream).map(drop);
    }
    let answer = behave(&asked, before, forward(&asked, &body, upstream)?);
    write(client, &asked, answer)
}

fn send(asked: &Asked, body: &[u8], upstream: &str) -> Option<TcpStream> {
    let mut server = TcpStream::connect(upstream).ok()?;
    // Without chunks, and closed afterwards.
    let mut request = format!("{} {} HTTP/1.0\r\n", asked.method, asked.path);
    for (name, value) in &asked.headers {
        if !name.eq_ignore_ascii_case("connection") {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    server.write_all(format!("{request}\r\n").as_bytes()).ok()?;
    server.write_all(body).ok()?;
    Some(server)
}

fn forward(asked: &Asked, body: &[u8], upstream: &str) -> Option<Answer> {
    let mut reader = BufReader::new(send(asked, body, upstream)?);
    let (first, headers) = head(&mut reader)?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body).ok()?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, headers, body, cut: None, slow: Duration::ZERO })
}

fn write(mut client: TcpStream, asked: &Asked, answer: Answer) -> Option<()> {
    let mut text = format!("HTTP/1.1 {} x\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !name.eq_ignore_ascii_case("connection") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    client.write_all(format!("{text}Connection: close\r\n\r\n").as_bytes()).ok()?;
    if asked.method != "HEAD" {
        let body = &answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())];
        for part in body.chunks(64 * 1024) {
            client.write_all(part).ok()?;
            std::thread::sleep(answer.slow);
        }
    }
    Some(())
}

/// A proxy as companies have them: it makes tunnels, and asks in the place of its clients.
pub(crate) struct WebProxy {
    log: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for WebProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl WebProxy {
    /// Starts one on this port of the host's loopback. It knows only these hosts, each with where it is.
    pub(crate) fn new(host: &Host, port: u16, hosts: &[(&str, &str)]) -> Self {
        let (log, stop) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (Arc::clone(&log), Arc::clone(&stop));
        let hosts: Vec<(String, String)> =
            hosts.iter().map(|(name, place)| ((*name).to_owned(), (*place).to_owned())).collect();
        let thread = host.space.run(|| {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
            listener.set_nonblocking(true).expect("a listener that does not block");
            std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let Ok((client, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    let (seen, hosts) = (Arc::clone(&seen), hosts.clone());
                    std::thread::spawn(move || lead(client, &hosts, &seen));
                }
            })
        });
        Self { log, stop, thread: Some(thread) }
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.log.lock().expect("the log"))
    }
}

/// One connection of a client to a [`WebProxy`], which may carry several requests.
fn lead(client: TcpStream, hosts: &[(String, String)], seen: &Mutex<Vec<Asked>>) -> Option<()> {
    client.set_nonblocking(false).ok()?;
    let place = |name: &str| hosts.iter().find(|(host, _)| host == name).map(|(_, place)| place.as_str());
    let mut reader = BufReader::new(client.try_clone().ok()?);
    loop {
        let (first, headers) = head(&mut reader)?;
        let mut words = first.split(' ');
        let mut asked = Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), headers };
        seen.lock().ok()?.push(asked.clone());
        let (mut answer, client) = (client.try_clone().ok()?, client.try_clone().ok()?);
        if asked.method == "CONNECT" {
            let Some(server) = place(&asked.path).and_then(|place| TcpStream::connect(place).ok()) else {
                return answer.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").ok();
            };
            answer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
            return splice(client, server);
        }
        let address = asked.path.strip_prefix("http://")?.to_owned();
        let (name, path) = address.split_once('/')?;
        asked.path = format!("/{path}");
        asked.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("proxy-"));
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        (&mut reader).take(length).read_to_end(&mut body).ok()?;
        let mut found = forward(&asked, &body, place(name)?)?;
        if asked.method != "HEAD" {
            found.set("content-length", &found.body.len().to_string());
        }
        let mut text = format!("HTTP/1.1 {} x\r\n", found.status);
        for (name, value) in found.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection"))
        {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        answer.write_all(format!("{text}\r\n").as_bytes()).ok()?;
        answer.write_all(&found.body).ok()?;
    }
}

/// Carries bytes both ways until both sides have ended.
fn splice(client: TcpStream, server: TcpStream) -> Option<()> {
    let (mut from, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let back = std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(std::net::Shutdown::Write).ok();
    });
    std::io::copy(&mut &client, &mut &server).ok();
    server.shutdown(std::net::Shutdown::Write).ok();
    back.join().ok()
}

/// A password file for the registry.
pub(crate) fn htpasswd(host: &Host, user: &str, password: &str) -> String {
    let text = host.space.ok(&["htpasswd", "-Bbn", user, password]);
    file(host, "htpasswd", format!("{text}\n").as_bytes())
}

/// An authority's certificate, and a certificate of it with its key for an address.
pub(crate) fn certificates(host: &Host, address: &str) -> [String; 3] {
    let place = host.scratch("tls");
    let path = |name: &str| place.join(name).to_str().expect("a plain path").to_owned();
    let [ca, ca_key, request, certificate, key, extension] =
        ["ca.crt", "ca.key", "x.csr", "x.crt", "x.key", "x.ext"].map(path);
    std::fs::write(&extension, format!("subjectAltName=IP:{address}\n")).expect("the extension");
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |arguments: &[&str]| host.space.ok(&[&["openssl"], arguments].concat());
    openssl(
        &[
            &["req", "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", &ca_key, "-out", &ca],
            &new_key[..],
        ]
        .concat(),
    );
    openssl(&[&["req", "-subj", "/CN=registry", "-keyout", &key, "-out", &request], &new_key[..]].concat());
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-extfile",
        &extension,
        "-out",
        &certificate,
    ]);
    assert!(Path::new(&certificate).exists());
    [ca, certificate, key]
}
