//! An open-loop client: sessions begin at a rate whatever the server does, and it is known of each message what became of it.
//!
//! A message is sent in a session of its own, from connecting to the last 250. What was certainly not taken (no connection,
//! a 4xx, a session that broke before the final dot was under way) is tried again, for ever; what broke off behind the dot is
//! not, since a copy that arrives then would be of the client's making.

use super::client::in_namespace;
use super::load::message;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The pause before a message whose connection could not be made, or broke, is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The same for a message that was refused. Who is told to come again later does not do so at once: thousands of connections
/// a second would try something else than the server.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is not, or not wholly, with the server.
    Underway,
    /// Its final dot is under way since then, and the answer is waited for.
    Waits(Instant),
    /// The session ended after the final dot and before the answer: nobody will tell.
    InDoubt,
    /// 250.
    Acknowledged(Instant),
}

/// What a stream has come to.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Ids of messages that were answered with 250.
    pub acknowledged: HashSet<String>,
    /// Messages that were begun.
    pub begun: usize,
    /// Messages whose session ended between the dot and the answer.
    pub in_doubt: usize,
    /// Messages that were still waiting for the answer to the dot at the end, and since when: their server is gone, and
    /// nothing told them.
    pub hanging: Vec<(String, Instant)>,
    /// Messages that were not with the server at the end.
    pub unfinished: usize,
    /// Times that a message was refused with a 4xx or 5xx.
    pub refused: u64,
    /// Times that a connection could not be made, or broke before the dot.
    pub broken: u64,
    /// When each 250 came, in order; the last one is the moment when sending ended.
    pub moments: Vec<Instant>,
}

impl Sums {
    /// The longest interval between two 250s of which the second one came after `begin`: when it began, and how long it was.
    pub fn gap_from(&self, begin: Instant) -> (Instant, Duration) {
        let pairs = self.moments.windows(2).filter(|pair| pair[1] > begin);
        let gaps = pairs.map(|pair| (pair[0], pair[1] - pair[0]));
        gaps.max_by_key(|(_, length)| *length).unwrap_or((begin, Duration::ZERO))
    }

    /// The longest interval between two 250s that both came before `end`.
    pub fn gap_until(&self, end: Instant) -> Duration {
        let pairs = self.moments.windows(2).filter(|pair| pair[1] <= end);
        pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    give_up: AtomicBool,
    fates: Mutex<Vec<Fate>>,
    ended: Mutex<Option<Instant>>,
    refused: AtomicU64,
    broken: AtomicU64,
}

impl Shared {
    fn set(&self, number: usize, fate: Fate) {
        self.fates.lock().expect("the fates")[number] = fate;
    }
}

/// Clients that send until they are stopped.
pub struct Stream {
    shared: Arc<Shared>,
    name: String,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    /// Begins `per_second` sessions a second with `server`, from a network namespace. The id of a message, which is its
    /// recipient's local part too, is `name` and a number.
    pub fn start(namespace: &str, name: &str, server: SocketAddr, per_second: u32) -> Stream {
        allow_many_descriptors();
        let shared = Arc::new(Shared::default());
        let (ours, prefix) = (Arc::clone(&shared), name.to_owned());
        let thread = in_namespace(namespace, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&ours, &prefix, server, Duration::from_secs(1) / per_second));
        });
        Stream { shared, name: name.to_owned(), thread: Some(thread) }
    }

    /// Messages that were answered with 250 so far.
    pub fn acknowledged(&self) -> usize {
        let fates = self.shared.fates.lock().expect("the fates");
        fates.iter().filter(|fate| matches!(fate, Fate::Acknowledged(_))).count()
    }

    /// Messages that were begun so far.
    pub fn begun(&self) -> usize {
        self.shared.fates.lock().expect("the fates").len()
    }

    fn moments(&self) -> Vec<Instant> {
        let fates = self.shared.fates.lock().expect("the fates");
        let moment = |fate: &Fate| if let Fate::Acknowledged(at) = fate { Some(*at) } else { None };
        let mut moments: Vec<Instant> = fates.iter().filter_map(moment).collect();
        moments.sort();
        moments
    }

    /// Begins no more, waits at most so long for what is under way, and says what came of all.
    pub fn finish(mut self, patience: Duration) -> Sums {
        self.shared.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + patience;
        let thread = self.thread.take().expect("a stream ends once");
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.shared.give_up.store(true, Ordering::Relaxed);
        thread.join().expect("the clients");
        let mut moments = self.moments();
        let ended = self.shared.ended.lock().expect("the end").expect("it was stopped");
        moments.retain(|moment| *moment < ended);
        moments.push(ended);
        let fates = self.shared.fates.lock().expect("the fates");
        let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count();
        let acknowledged = fates.iter().enumerate().filter(|(_, fate)| matches!(fate, Fate::Acknowledged(_)));
        let hanging = fates.iter().enumerate().filter_map(|(number, fate)| match fate {
            Fate::Waits(since) => Some((id(&self.name, number), *since)),
            _ => None,
        });
        Sums {
            acknowledged: acknowledged.map(|(number, _)| id(&self.name, number)).collect(),
            begun: fates.len(),
            in_doubt: count(Fate::InDoubt),
            hanging: hanging.collect(),
            unfinished: count(Fate::Underway),
            refused: self.shared.refused.load(Ordering::Relaxed),
            broken: self.shared.broken.load(Ordering::Relaxed),
            moments,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.give_up.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sessions that hang in an outage hold a descriptor each.
fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn id(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

async fn run(shared: &Arc<Shared>, name: &str, server: SocketAddr, pause: Duration) {
    let mut sessions = JoinSet::new();
    // A tick that comes late is made up for: the rate does not depend on the server.
    let mut ticks = tokio::time::interval(pause);
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = {
            let mut fates = shared.fates.lock().expect("the fates");
            fates.push(Fate::Underway);
            fates.len() - 1
        };
        sessions.spawn(deliver(Arc::clone(shared), number, id(name, number), server));
        while sessions.try_join_next().is_some() {}
    }
    *shared.ended.lock().expect("the end") = Some(Instant::now());
    while !sessions.is_empty() && !shared.give_up.load(Ordering::Relaxed) {
        let _ = tokio::time::timeout(Duration::from_millis(20), sessions.join_next()).await;
    }
    sessions.abort_all();
    while sessions.join_next().await.is_some() {}
}

/// One message, until it is known or cannot be known what became of it.
async fn deliver(shared: Arc<Shared>, number: usize, id: String, server: SocketAddr) {
    loop {
        let pause = match session(&shared, number, &id, server).await {
            Ok(true) => return shared.set(number, Fate::Acknowledged(Instant::now())),
            Ok(false) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                REFUSED_PAUSE
            }
            Err(_) if matches!(shared.fates.lock().expect("the fates")[number], Fate::Waits(_)) => {
                return shared.set(number, Fate::InDoubt);
            }
            Err(_) => {
                shared.broken.fetch_add(1, Ordering::Relaxed);
                RETRY_PAUSE
            }
        };
        shared.set(number, Fate::Underway);
        tokio::time::sleep(pause).await;
    }
}

/// One session; whether its message was taken.
async fn session(shared: &Shared, number: usize, id: &str, server: SocketAddr) -> io::Result<bool> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    if reply(&mut stream).await? != 220 {
        return Ok(false);
    }
    for (line, code) in [
        ("EHLO client.example.test\r\n".to_owned(), 250),
        ("MAIL FROM:<sender@example.test>\r\n".to_owned(), 250),
        (format!("RCPT TO:<{id}@example.test>\r\n"), 250),
        ("DATA\r\n".to_owned(), 354),
    ] {
        stream.get_mut().write_all(line.as_bytes()).await?;
        if reply(&mut stream).await? != code {
            return Ok(false);
        }
    }
    shared.set(number, Fate::Waits(Instant::now()));
    stream.get_mut().write_all(format!("{}.\r\n", message(id)).as_bytes()).await?;
    let taken = reply(&mut stream).await? == 250;
    // How the session ends is no matter any more.
    let _ = stream.get_mut().write_all(b"QUIT\r\n").await;
    Ok(taken)
}

async fn reply(stream: &mut BufReader<TcpStream>) -> io::Result<u16> {
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
}
