//! A server that takes every message and throws it away.
//!
//! In: clients' bytes. Out: replies, and counts. It says yes to everything that has the shape of SMTP, looks for the end of
//! content and at nothing else, and keeps nothing: what it costs is what any server must cost, so that it can stand behind a
//! relay, or beside one as the ceiling, without being measured itself. It is no server for strangers: a bare LF ends a line.

use super::party::Party;
use crate::env::Instant;
use crate::flow::{FlowEvent, FlowId, Transport};
use crate::limits::COMMAND_LINE_SIZE_MAX;
use crate::tls::{self, Line};
use memchr::memmem;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Replies that a client has not read yet, bytes; beyond that it is not listened to.
const REPLIES_SIZE_MAX: usize = 64 * 1024;

/// What ends content, of which the first two bytes may be the end of the command before it.
const END: &[u8; 5] = b"\r\n.\r\n";

/// What was taken in. Written by one worker, read by whoever shows progress.
#[derive(Debug, Default)]
pub struct SinkCounters {
    /// Messages.
    pub messages: AtomicU64,
    /// Bytes of content, all dots included.
    pub bytes: AtomicU64,
    /// Recipients.
    pub recipients: AtomicU64,
    /// Connections.
    pub sessions: AtomicU64,
    /// Of those, open now.
    pub open: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkCounts {
    /// Messages.
    pub messages: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Recipients.
    pub recipients: u64,
    /// Connections.
    pub sessions: u64,
    /// Of those, open now.
    pub open: u64,
}

impl SinkCounters {
    /// Adds what is counted now to `counts`.
    pub fn add_to(&self, counts: &mut SinkCounts) {
        let add = |to: &mut u64, from: &AtomicU64| *to += from.load(Ordering::Relaxed);
        add(&mut counts.messages, &self.messages);
        add(&mut counts.bytes, &self.bytes);
        add(&mut counts.recipients, &self.recipients);
        add(&mut counts.sessions, &self.sessions);
        add(&mut counts.open, &self.open);
    }
}

/// Messages that are still to come before all workers end.
#[derive(Debug)]
pub struct Quota(AtomicU64);

impl Quota {
    /// So many.
    pub fn new(messages: u64) -> Quota {
        Quota(AtomicU64::new(messages))
    }

    fn take(&self, count: u64) {
        let rest = |left: u64| Some(left.saturating_sub(count));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
    }

    fn is_met(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// One worker's conversations.
#[derive(Debug)]
pub struct Sink {
    hostname: Arc<str>,
    counters: Arc<SinkCounters>,
    /// It ends when this is met.
    quota: Option<Arc<Quota>>,
    /// What connections are under from their first byte, if they are.
    tls: Option<Arc<tls::Server>>,
    /// By the flow's place.
    clients: Vec<Option<Client>>,
    stopped: bool,
}

impl Sink {
    /// A sink that greets as `hostname`, under TLS if there is a way to it.
    pub fn new(hostname: Arc<str>, counters: Arc<SinkCounters>, tls: Option<Arc<tls::Server>>) -> Sink {
        Sink { hostname, counters, quota: None, tls, clients: Vec::new(), stopped: false }
    }

    /// One that ends when all who have this quota have taken so many messages.
    pub fn until(mut self, quota: Option<Arc<Quota>>) -> Sink {
        self.quota = quota;
        self
    }

    fn accept<T: Transport>(&mut self, transport: &mut T, flow: FlowId) {
        let layer = match self.tls.as_ref().map(|tls| tls.accept()).transpose() {
            Ok(layer) => layer,
            Err(_) => return transport.abort(flow),
        };
        let mut conversation = Conversation::default();
        conversation.out.extend_from_slice(b"220 ");
        conversation.out.extend_from_slice(self.hostname.as_bytes());
        conversation.out.extend_from_slice(b" ESMTP\r\n");
        let place = flow.index as usize;
        if self.clients.len() <= place {
            self.clients.resize_with(place + 1, || None);
        }
        self.clients[place] = Some(Client { line: Line::new(flow, layer), conversation });
        self.counters.sessions.fetch_add(1, Ordering::Relaxed);
        self.counters.open.fetch_add(1, Ordering::Relaxed);
        self.serve(transport, flow);
    }

    fn serve<T: Transport>(&mut self, transport: &mut T, flow: FlowId) {
        let Some(place) = self.clients.get_mut(flow.index as usize) else { return };
        let Some(Client { line, conversation }) = place.as_mut().filter(|client| client.line.flow() == flow) else {
            return;
        };
        let before = self.counters.messages.load(Ordering::Relaxed);
        let finished = loop {
            conversation.write(line, transport);
            // Whoever does not read is not read.
            if conversation.out.len() >= REPLIES_SIZE_MAX || conversation.ending {
                break false;
            }
            match line.received(transport) {
                Ok(received) if received.bytes.is_empty() => {
                    let finished = received.finished;
                    // A handshake that is done now lets the greeting go.
                    conversation.write(line, transport);
                    break finished;
                }
                Ok(received) => {
                    let count = received.bytes.len();
                    conversation.receive(received.bytes, &self.hostname, &self.counters);
                    line.consume(transport, count);
                }
                // What tells the client why is on its way.
                Err(_) => break true,
            }
        };
        if let Some(quota) = &self.quota {
            quota.take(self.counters.messages.load(Ordering::Relaxed) - before);
        }
        let over = finished || (conversation.ending && conversation.out.is_empty());
        if let Some(client) = place.take_if(|_| over) {
            client.line.close(transport);
            self.counters.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn forget(&mut self, flow: FlowId) {
        let Some(place) = self.clients.get_mut(flow.index as usize) else { return };
        if place.take_if(|client| client.line.flow() == flow).is_some() {
            self.counters.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Party for Sink {
    fn act<T: Transport>(&mut self, transport: &mut T, events: &mut Vec<FlowEvent>, _now: Instant) {
        for event in events.drain(..) {
            match event {
                FlowEvent::Accepted { flow, .. } => self.accept(transport, flow),
                FlowEvent::Readable { flow } | FlowEvent::Writable { flow } => self.serve(transport, flow),
                FlowEvent::Ended { flow, .. } => self.forget(flow),
                FlowEvent::Connected { .. } => {}
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn stop(&mut self, _now: Instant) {
        self.stopped = true;
    }

    fn is_over(&self) -> bool {
        self.stopped || self.quota.as_ref().is_some_and(|quota| quota.is_met())
    }
}

/// A connection, and what is said on it.
#[derive(Debug)]
struct Client {
    line: Line,
    conversation: Conversation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Command,
    /// Within content; so many bytes of [`END`] have just been seen.
    Data { matched: usize },
    /// So many bytes of a chunk are to come.
    Chunk { left: u64, last: bool },
}

#[derive(Debug, Default)]
struct Conversation {
    stage: Stage,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    out: Vec<u8>,
    /// QUIT was said.
    ending: bool,
}

impl Conversation {
    fn write<T: Transport>(&mut self, line: &mut Line, transport: &mut T) {
        if !self.out.is_empty() || line.has_output() {
            let sent = line.send(transport, &self.out);
            self.out.drain(..sent);
        }
    }

    /// Takes in all of `input`.
    fn receive(&mut self, mut input: &[u8], hostname: &str, counters: &SinkCounters) {
        while !input.is_empty() && !self.ending {
            let taken = match self.stage {
                Stage::Command => self.take_line(input, hostname, counters),
                Stage::Data { matched } => {
                    let (taken, matched) = find_end(input, matched);
                    counters.bytes.fetch_add(taken as u64, Ordering::Relaxed);
                    self.stage = Stage::Data { matched };
                    if matched == END.len() {
                        self.taken(counters);
                    }
                    taken
                }
                Stage::Chunk { left, last } => {
                    let taken = left.min(input.len() as u64);
                    counters.bytes.fetch_add(taken, Ordering::Relaxed);
                    self.stage = Stage::Chunk { left: left - taken, last };
                    if left == taken {
                        self.chunk_taken(last, counters);
                    }
                    taken as usize
                }
            };
            input = &input[taken..];
        }
    }

    fn taken(&mut self, counters: &SinkCounters) {
        counters.messages.fetch_add(1, Ordering::Relaxed);
        self.out.extend_from_slice(b"250 2.0.0 thrown away\r\n");
        self.stage = Stage::Command;
    }

    fn chunk_taken(&mut self, last: bool, counters: &SinkCounters) {
        if last {
            self.taken(counters);
        } else {
            self.out.extend_from_slice(b"250 2.0.0 chunk\r\n");
            self.stage = Stage::Command;
        }
    }

    fn take_line(&mut self, input: &[u8], hostname: &str, counters: &SinkCounters) -> usize {
        let Some(end) = memchr::memchr(b'\n', input) else {
            // What is too long for a command is none, and its beginning says as much as all of it.
            let room = COMMAND_LINE_SIZE_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&input[..input.len().min(room)]);
            return input.len();
        };
        if self.line.is_empty() {
            self.obey(&input[..end], hostname, counters);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&input[..end]);
            self.obey(&line, hostname, counters);
        }
        end + 1
    }

    fn obey(&mut self, line: &[u8], hostname: &str, counters: &SinkCounters) {
        let verb = line.get(..4).unwrap_or(line).to_ascii_uppercase();
        let reply: &[u8] = match &verb[..] {
            b"EHLO" | b"LHLO" => {
                self.out.extend_from_slice(b"250-");
                self.out.extend_from_slice(hostname.as_bytes());
                b"\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n\
                  250-CHUNKING\r\n250 BINARYMIME\r\n"
            }
            b"RCPT" => {
                counters.recipients.fetch_add(1, Ordering::Relaxed);
                b"250 2.1.5 recipient\r\n"
            }
            b"MAIL" => b"250 2.1.0 sender\r\n",
            b"DATA" => {
                // The end of the command is the first line's end before the content.
                self.stage = Stage::Data { matched: 2 };
                b"354 go on\r\n"
            }
            b"BDAT" => return self.bdat(line, counters),
            b"QUIT" => {
                self.ending = true;
                b"221 2.0.0 bye\r\n"
            }
            b"HELO" | b"RSET" | b"NOOP" | b"VRFY" => b"250 2.0.0 fine\r\n",
            _ => b"500 5.5.1 what?\r\n",
        };
        self.out.extend_from_slice(reply);
    }

    fn bdat(&mut self, line: &[u8], counters: &SinkCounters) {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace().skip(1);
        let Some(left) = words.next().and_then(|size| size.parse().ok()) else {
            return self.out.extend_from_slice(b"501 5.5.4 how many bytes?\r\n");
        };
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        self.stage = Stage::Chunk { left, last };
        if left == 0 {
            self.chunk_taken(last, counters);
        }
    }
}

/// Looks for [`END`], of which `matched` bytes came before `input`: how many bytes of `input` belong to the content, and how
/// much of [`END`] has been seen behind them.
fn find_end(input: &[u8], mut matched: usize) -> (usize, usize) {
    let mut place = 0;
    while matched > 0 && place < input.len() {
        if input[place] == END[matched] {
            matched += 1;
            place += 1;
            if matched == END.len() {
                return (place, matched);
            }
        } else if input[place] == b'\r' {
            // Of all beginnings of END only its first byte can end with this one.
            matched = 1;
            place += 1;
        } else {
            matched = 0;
        }
    }
    let rest = &input[place..];
    if rest.is_empty() {
        return (input.len(), matched);
    }
    if let Some(found) = memmem::find(rest, END) {
        return (place + found + END.len(), END.len());
    }
    let seen = (1..END.len()).rev().find(|seen| rest.ends_with(&END[..*seen])).unwrap_or(0);
    (input.len(), seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn talk(pieces: &[&[u8]]) -> (String, SinkCounts) {
        let counters = SinkCounters::default();
        let mut conversation = Conversation::default();
        for piece in pieces {
            conversation.receive(piece, "sink.test", &counters);
        }
        let mut counts = SinkCounts::default();
        counters.add_to(&mut counts);
        (String::from_utf8(conversation.out).unwrap(), counts)
    }

    const DIALOGUE: &[u8] = b"ehlo me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n\
        Subject: x\r\n\r\n..\r\n.x\r\n\r\r\n.\n.\r\r\n.\r\n\
        MAIL FROM:<>\r\nRCPT TO:<c@d>\r\nBDAT 6\r\n\r\n.\r\n!BDAT 3 last\r\nabcDATA\r\n.\r\nQUIT\r\nNOOP\r\n";

    #[test]
    fn a_dialogue_is_understood_in_whatever_pieces_it_comes() {
        let (whole, counts) = talk(&[DIALOGUE]);
        assert_eq!(counts.messages, 3, "{whole}");
        assert_eq!(counts.recipients, 3);
        assert!(
            whole.ends_with("250 2.0.0 thrown away\r\n221 2.0.0 bye\r\n"),
            "nothing is answered behind QUIT: {whole}"
        );
        let bytes: Vec<&[u8]> = DIALOGUE.chunks(1).collect();
        assert_eq!(talk(&bytes), (whole.clone(), counts));
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let (mut pieces, mut rest) = (Vec::new(), DIALOGUE);
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.random_range(1..=rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            assert_eq!(talk(&pieces), (whole.clone(), counts), "{pieces:?}");
        }
    }

    #[test]
    fn the_end_is_found_wherever_the_content_is_cut() {
        let mut random = StdRng::seed_from_u64(2);
        for _ in 0..20_000 {
            let content: Vec<u8> = (0..12).map(|_| b"\r\n.x"[random.random_range(0..4)]).collect();
            let content = [b"\r\n", &content[..]].concat();
            let wanted = memmem::find(&content, END).map(|found| found + END.len());
            let (mut place, mut matched) = (2, 2);
            while place < content.len() && matched < END.len() {
                let length = random.random_range(1..=content.len() - place);
                let (taken, seen) = find_end(&content[place..place + length], matched);
                (place, matched) = (place + taken, seen);
            }
            assert_eq!((matched == END.len()).then_some(place), wanted, "{:?}", String::from_utf8_lossy(&content));
        }
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let counters = SinkCounters::default();
        let mut conversation = Conversation::default();
        for _ in 0..1000 {
            conversation.receive(&[b'x'; 1000], "sink.test", &counters);
        }
        assert!(conversation.line.len() <= COMMAND_LINE_SIZE_MAX);
    }
}
