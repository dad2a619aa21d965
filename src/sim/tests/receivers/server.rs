//! The receivers' host: a TCP stack, and a server on it that behaves unless its script says otherwise.

use super::script::Act;
use crate::env::Instant;
use crate::flow::{FlowEnd, FlowEvent, FlowId, Transport};
use crate::port::sim::SimPort;
use crate::sim::secure;
use crate::tcp::Stack;
use crate::tls::Tls;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// The certificate that the appliance trusts.
pub(super) const CERTIFICATE: u8 = 50;

/// What is said by who has the right credentials.
const GOOD_AUTH: &str = "AUTH PLAIN AHVzZXIAc2VjcmV0";

/// Plaintext and ciphertext on their way at most, bytes: what is endless is made as it is taken.
const WIRE_MAX: usize = 64 * 1024;

/// Bytes at a time, and the pause between.
pub(super) type Pace = (usize, Duration);

/// One connection, open or over.
#[derive(Debug)]
pub(super) struct Conversation {
    script: VecDeque<Act>,
    tls: Option<Box<Tls>>,
    inbox: Vec<u8>,
    out: VecDeque<u8>,
    wire: VecDeque<u8>,
    pace: Pace,
    /// Before then nothing goes out.
    next_at: Instant,
    waits_until: Option<Instant>,
    deaf: bool,
    greeted: bool,
    in_content: bool,
    /// Recipients that were accepted in this transaction.
    accepted: usize,
    offers: Vec<String>,
    /// Verbs, "." for the end of content, and how the other side ended it.
    pub heard: Vec<String>,
    /// The recipients, each with the number of its transaction.
    pub recipients: Vec<(String, usize)>,
    transactions: usize,
    /// Consents to the end of content.
    pub consents: usize,
}

/// What becomes of a connection by the will of the receiver.
enum End {
    Close,
    Reset,
}

/// The host.
pub(in crate::sim::tests) struct Server {
    stack: Stack<SimPort>,
    address: IpAddr,
    lmtp: bool,
    pace: Pace,
    offers: Vec<String>,
    scripts: VecDeque<VecDeque<Act>>,
    /// In the order in which they came.
    pub(super) conversations: Vec<Conversation>,
    open: BTreeMap<FlowId, usize>,
    events: Vec<FlowEvent>,
}

impl Server {
    pub(super) fn new(stack: Stack<SimPort>, address: IpAddr, receiver: &super::Receiver, pace: Pace) -> Server {
        Server {
            stack,
            address,
            lmtp: receiver.lmtp,
            pace,
            offers: receiver.offers.clone(),
            scripts: receiver.scripts.iter().cloned().collect(),
            conversations: Vec::new(),
            open: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// When it must be looked at.
    pub(in crate::sim::tests) fn next(&self, now: Instant) -> Instant {
        if self.stack.port().waiting() {
            return now;
        }
        let open = self.open.values().map(|place| self.conversations[*place].deadline());
        open.chain(self.stack.next_deadline()).min().unwrap_or(Instant::FAR)
    }

    pub(in crate::sim::tests) fn step(&mut self, now: Instant) {
        if self.next(now) > now {
            return;
        }
        self.stack.poll(now, &mut self.events);
        for event in std::mem::take(&mut self.events) {
            match event {
                FlowEvent::Accepted { flow, .. } => {
                    self.open.insert(flow, self.conversations.len());
                    let script = self.scripts.pop_front().unwrap_or_default();
                    self.conversations.push(Conversation::new(script, self.offers.clone(), self.pace));
                }
                FlowEvent::Ended { flow, end } => {
                    if let Some(place) = self.open.remove(&flow) {
                        let how = if end == FlowEnd::Reset { "reset" } else { "gone" };
                        self.conversations[place].finish(how);
                    }
                }
                FlowEvent::Readable { .. } | FlowEvent::Writable { .. } | FlowEvent::Connected { .. } => {}
            }
        }
        for (flow, place) in self.open.clone() {
            self.serve(now, flow, place);
        }
        self.stack.flush(now);
    }

    fn serve(&mut self, now: Instant, flow: FlowId, place: usize) {
        let conversation = &mut self.conversations[place];
        loop {
            let finished = conversation.read(&mut self.stack, flow);
            let end = conversation.run(now, self.lmtp, self.address);
            let sent = conversation.write(now, &mut self.stack, flow);
            match end {
                Some(End::Close) => self.stack.close(flow),
                Some(End::Reset) => {
                    // What was said before goes out before.
                    self.stack.flush(now);
                    self.stack.abort(flow);
                }
                None if finished => {
                    conversation.finish("closed");
                    self.stack.close(flow);
                }
                // What has gone out may be what the script waited for.
                None if sent && conversation.is_drained() => continue,
                None => return,
            }
            self.open.remove(&flow);
            return;
        }
    }
}

impl Conversation {
    fn new(script: VecDeque<Act>, offers: Vec<String>, pace: Pace) -> Conversation {
        Conversation {
            script,
            tls: None,
            inbox: Vec::new(),
            out: VecDeque::new(),
            wire: VecDeque::new(),
            pace,
            next_at: Instant::ZERO,
            waits_until: None,
            deaf: false,
            greeted: false,
            in_content: false,
            accepted: 0,
            offers,
            heard: Vec::new(),
            recipients: Vec::new(),
            transactions: 0,
            consents: 0,
        }
    }

    fn deadline(&self) -> Instant {
        let sends_at = if self.wire.is_empty() || self.pace.1.is_zero() { Instant::FAR } else { self.next_at };
        self.waits_until.unwrap_or(Instant::FAR).min(sends_at)
    }

    fn is_drained(&self) -> bool {
        self.out.is_empty() && self.wire.is_empty()
    }

    /// The other side has ended it.
    fn finish(&mut self, how: &str) {
        while self.unit().is_some() {}
        // Who is first after QUIT does not matter.
        if self.heard.last().is_none_or(|last| last != "QUIT") {
            self.heard.push(how.to_owned());
        }
    }

    /// Takes in what came. Whether the other side sends no more.
    fn read(&mut self, stack: &mut Stack<SimPort>, flow: FlowId) -> bool {
        while !self.deaf {
            let received = stack.received(flow);
            let (count, finished) = (received.bytes.len(), received.finished && !received.more);
            match &mut self.tls {
                None => self.inbox.extend_from_slice(received.bytes),
                Some(tls) => decrypt(tls, received.bytes, &mut self.inbox, &mut self.wire),
            }
            stack.consume(flow, count);
            if count == 0 {
                return finished;
            }
        }
        false
    }

    /// Sends what there is room for, at its pace. Whether anything went.
    fn write(&mut self, now: Instant, stack: &mut Stack<SimPort>, flow: FlowId) -> bool {
        let mut sent = false;
        loop {
            self.fill();
            if self.wire.is_empty() || now < self.next_at {
                return sent;
            }
            let front = self.wire.as_slices().0;
            let count = stack.send(flow, &front[..front.len().min(self.pace.0)]);
            if count == 0 {
                return sent;
            }
            sent = true;
            self.wire.drain(..count);
            if !self.pace.1.is_zero() {
                self.next_at = now + self.pace.1;
            }
        }
    }

    /// Moves what is to be said to the wire.
    fn fill(&mut self) {
        let Some(tls) = &mut self.tls else { return self.wire.append(&mut self.out) };
        loop {
            encrypt(tls, &mut self.wire);
            let count = if self.wire.len() < WIRE_MAX { tls.send(self.out.as_slices().0) } else { 0 };
            self.out.drain(..count);
            if count == 0 {
                return;
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        let is_of_content = self.heard.last().is_some_and(|heard| heard == "." || heard == "BDAT");
        if is_of_content {
            self.consents += bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line[0] == b'2').count();
        }
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        self.in_content |=
            lines.any(|line| line.starts_with(b"354")) && self.heard.last().is_some_and(|heard| heard == "DATA");
        self.out.extend(bytes);
    }

    /// Goes on with the script as far as it can, and behaves where it says so and behind its end.
    fn run(&mut self, now: Instant, lmtp: bool, address: IpAddr) -> Option<End> {
        loop {
            let behaves = matches!(self.script.front(), None | Some(Act::Until(_) | Act::Content(_)));
            if behaves && !self.greeted {
                self.greeted = true;
                self.say(b"220 receiver\r\n");
            }
            match self.script.front().cloned() {
                Some(Act::Content(count)) if self.in_content => {
                    if self.inbox.len() < count {
                        return None;
                    }
                }
                Some(Act::Until(sought)) => {
                    let verb = self.unit()?;
                    if verb != sought {
                        self.answer(&verb, lmtp);
                        continue;
                    }
                }
                None | Some(Act::Content(_)) => {
                    let verb = self.unit()?;
                    self.answer(&verb, lmtp);
                    continue;
                }
                Some(Act::Wait(duration)) => {
                    if !self.is_drained() || *self.waits_until.get_or_insert(now + duration) > now {
                        return None;
                    }
                    self.waits_until = None;
                }
                Some(Act::Close | Act::Reset | Act::Tls(_)) if !self.is_drained() => return None,
                Some(Act::Close) => return Some(End::Close),
                Some(Act::Reset) => return Some(End::Reset),
                Some(Act::Tls(number)) => match &self.tls {
                    None => {
                        let server = secure::server_named(number, &address.to_string());
                        let tls = self.tls.insert(Box::new(server.accept().expect("a good configuration")));
                        let early = std::mem::take(&mut self.inbox);
                        decrypt(tls, &early, &mut self.inbox, &mut self.wire);
                        continue;
                    }
                    Some(tls) if tls.is_handshaking() => return None,
                    Some(_) => {}
                },
                Some(Act::Say(bytes)) => {
                    self.greeted = true;
                    self.say(&bytes);
                }
                Some(Act::Raw(bytes)) => {
                    self.greeted = true;
                    self.fill();
                    self.wire.extend(bytes);
                }
                Some(Act::CloseNotify) => {
                    self.fill();
                    self.tls.iter_mut().for_each(|tls| tls.close());
                }
                Some(Act::Trickle(bytes, pause)) => self.pace = (bytes, pause),
                Some(Act::Deaf) => self.deaf = true,
                Some(Act::Listen) => self.deaf = false,
                Some(Act::Offer(offers)) => self.offers = offers,
            }
            self.script.pop_front();
        }
    }

    /// The next command, by its verb, or the end of content.
    fn unit(&mut self) -> Option<String> {
        if self.in_content {
            let end = match self.inbox.starts_with(b".\r\n") {
                true => 0,
                false => memchr::memmem::find(&self.inbox, b"\r\n.\r\n")? + 2,
            };
            self.inbox.drain(..end + 3);
            self.in_content = false;
            self.heard.push(".".to_owned());
            return Some(".".to_owned());
        }
        let end = memchr::memmem::find(&self.inbox, b"\r\n")?;
        let line = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
        let mut verb = line.split([' ', ':']).next().unwrap_or_default().to_owned();
        let mut size = end + 2;
        match verb.as_str() {
            "BDAT" => {
                size += line.split(' ').nth(1).and_then(|size| size.parse::<usize>().ok()).expect("a size");
                if self.inbox.len() < size {
                    return None;
                }
            }
            "AUTH" if line == GOOD_AUTH => verb = GOOD_AUTH.to_owned(),
            "MAIL" => (self.transactions, self.accepted) = (self.transactions + 1, 0),
            "RCPT" => {
                let address = line.split(['<', '@']).nth(1).unwrap_or_default();
                self.recipients.push((address.to_owned(), self.transactions));
            }
            _ => {}
        }
        self.inbox.drain(..size);
        self.heard.push(line.split([' ', ':']).next().unwrap_or_default().to_owned());
        Some(verb)
    }

    /// Behaves.
    fn answer(&mut self, verb: &str, lmtp: bool) {
        match verb {
            "EHLO" | "LHLO" => {
                let lines = std::iter::once("receiver").chain(self.offers.iter().map(String::as_str));
                let is_secure = self.tls.is_some();
                let lines: Vec<&str> = lines.filter(|line| !is_secure || *line != "STARTTLS").collect();
                let (last, others) = lines.split_last().expect("there is one");
                let text = others.iter().map(|line| format!("250-{line}\r\n")).collect::<String>();
                self.say(format!("{text}250 {last}\r\n").as_bytes());
            }
            "MAIL" => self.say(b"250 2.1.0 sender\r\n"),
            "RCPT" => {
                self.accepted += 1;
                self.say(b"250 2.1.5 recipient\r\n");
            }
            "DATA" if self.accepted == 0 => self.say(b"503 5.5.1 nobody\r\n"),
            "DATA" => self.say(b"354 go on\r\n"),
            "." => self.say(&b"250 2.0.0 taken\r\n".repeat(if lmtp { self.accepted } else { 1 })),
            "BDAT" => self.say(b"250 2.0.0 taken\r\n"),
            "QUIT" => {
                self.say(b"221 2.0.0 bye\r\n");
                self.script = [Act::CloseNotify, Act::Close].into();
            }
            "STARTTLS" => {
                self.say(b"220 2.0.0 go on\r\n");
                self.script.push_front(Act::Tls(CERTIFICATE));
            }
            GOOD_AUTH => self.say(b"235 2.7.0 welcome\r\n"),
            "AUTH" => self.say(b"535 5.7.8 who?\r\n"),
            "RSET" | "HELO" => self.say(b"250 2.0.0 fine\r\n"),
            _ => self.say(b"500 5.5.1 what?\r\n"),
        }
    }
}

/// What is wrong with what came is the script's affair: nothing more is heard then.
fn decrypt(tls: &mut Tls, bytes: &[u8], heard: &mut Vec<u8>, wire: &mut VecDeque<u8>) {
    let mut rest = bytes;
    loop {
        encrypt(tls, wire);
        let Ok(taken) = tls.receive(rest) else { return };
        rest = &rest[taken..];
        let plain = tls.received().bytes.len();
        heard.extend_from_slice(tls.received().bytes);
        tls.consume(plain);
        if taken + plain == 0 {
            return;
        }
    }
}

/// Takes what there is for the wire.
fn encrypt(tls: &mut Tls, wire: &mut VecDeque<u8>) {
    tls.output(|bytes| {
        wire.extend(bytes);
        bytes.len()
    });
}
