//! An SMTP client over ordinary sockets that knows what it was told.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything in a test should take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `work` on a thread that lives in a network namespace of `ip netns`.
pub fn in_namespace<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let file = std::fs::File::open(format!("/run/netns/{name}")).expect("the namespace exists");
    std::thread::spawn(move || {
        nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
        work()
    })
}

/// One session.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// A reply: its code and its lines without the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        Client::connect_for(address, PATIENCE)
    }

    /// Connects, says `words` without waiting for the greeting, and gives the first reply.
    pub fn connect_talking(address: SocketAddr, words: &[u8]) -> io::Result<Reply> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client { stream: BufReader::new(stream) };
        client.send(words)?;
        client.reply()
    }

    /// The same; no answer may take longer than `patience`.
    pub fn connect_for(address: SocketAddr, patience: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream: BufReader::new(stream) };
        client.reply()?;
        Ok(client)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// One whole transaction; `Ok(true)` only if the message was acknowledged.
    pub fn deliver(&mut self, sender: &str, recipient: &str, content: &str) -> io::Result<bool> {
        for line in [format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{recipient}>")] {
            if self.command(&line)?.code != 250 {
                return Ok(false);
            }
        }
        if self.command("DATA")?.code != 354 {
            return Ok(false);
        }
        self.send(content.as_bytes())?;
        self.send(b".\r\n")?;
        Ok(self.reply()?.code == 250)
    }
}
