//! An SMTP server over ordinary sockets that counts what it gets and checks that it is what was sent.

use super::client::in_namespace;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The header by which messages are told apart.
pub const ID_HEADER: &str = "X-Test-Id: ";

/// What has arrived.
#[derive(Debug, Default)]
pub struct Arrived {
    /// How often each id came.
    pub count: HashMap<String, u32>,
    /// Ids of messages that were not as they were sent.
    pub altered: Vec<String>,
    /// What was said with MAIL, in its order.
    pub mail: Vec<String>,
}

/// A receiver; it ends with the test process.
pub struct Receiver {
    pub arrived: Arc<Mutex<Arrived>>,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    namespace: String,
}

impl Receiver {
    /// Listens in a namespace. `expected` gives the content that a message with this id must have.
    pub fn start(namespace: &str, address: SocketAddr, expected: fn(&str) -> String) -> Receiver {
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let listener = in_namespace(namespace, move || TcpListener::bind(address).expect("a free port"))
            .join()
            .expect("the thread that binds");
        let (ours, ended) = (Arc::clone(&arrived), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let arrived = Arc::clone(&ours);
                std::thread::spawn(move || {
                    // A connection that breaks is the test's business, not the receiver's.
                    let _ = serve(stream, &arrived, expected);
                });
            }
        });
        Receiver { arrived, stop, address, namespace: namespace.to_owned() }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let address = self.address;
        // Wakes the listener, so that the namespace is not held by it.
        let _ = in_namespace(&self.namespace, move || TcpStream::connect(address)).join();
    }
}

fn serve(stream: TcpStream, arrived: &Mutex<Arrived>, expected: fn(&str) -> String) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::with_capacity(1 << 16, stream);
    out.write_all(b"220 receiver.example.test ESMTP\r\n")?;
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match &verb[..] {
            b"EHLO" => {
                out.write_all(b"250-receiver.example.test\r\n250-PIPELINING\r\n250-MT-PRIORITY\r\n250 8BITMIME\r\n")?
            }
            b"MAIL" => {
                arrived.lock().expect("the counts").mail.push(String::from_utf8_lossy(line.trim_ascii()).into_owned());
                out.write_all(b"250 2.1.0 fine\r\n")?;
            }
            b"DATA" => {
                out.write_all(b"354 go on\r\n")?;
                let content = content(&mut lines)?;
                take(&content, arrived, expected);
                out.write_all(b"250 2.0.0 taken\r\n")?;
            }
            b"QUIT" => return out.write_all(b"221 bye\r\n"),
            _ => out.write_all(b"250 2.0.0 fine\r\n")?,
        }
    }
}

fn content(lines: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let start = content.len();
        if lines.read_until(b'\n', &mut content)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if &content[start..] == b".\r\n" {
            content.truncate(start);
            return Ok(content);
        }
        if content[start] == b'.' {
            content.remove(start);
        }
    }
}

fn take(content: &[u8], arrived: &Mutex<Arrived>, expected: fn(&str) -> String) {
    let text = String::from_utf8_lossy(content);
    let id = text.lines().find_map(|line| line.strip_prefix(ID_HEADER)).unwrap_or("none").to_owned();
    let unaltered = without_received(&text) == expected(&id);
    let mut arrived = arrived.lock().expect("the counts");
    *arrived.count.entry(id.clone()).or_default() += 1;
    if !unaltered {
        arrived.altered.push(id);
    }
}

/// What stands below the Received header that a relay added.
pub fn without_received(text: &str) -> &str {
    let Some(mut rest) = text.strip_prefix("Received: ") else { return text };
    loop {
        let Some((_, after)) = rest.split_once("\r\n") else { return "" };
        rest = after;
        if !rest.starts_with([' ', '\t']) {
            return rest;
        }
    }
}
