//! Lines over flows that take and lend a few bytes at a time, and that end in every way.

use super::{noise, two};
use crate::env::Instant;
use crate::flow::{ConnectError, FlowEvent, FlowId, Received, Transport, TransportCounters};
use crate::tls::{Line, Tls, TlsError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Two flows with a wire between them: what the one sends, the other receives.
struct Pipe {
    ways: [Vec<u8>; 2],
    closed: [bool; 2],
    room: usize,
    lends: usize,
}

impl Pipe {
    fn new(room: usize, lends: usize) -> Pipe {
        Pipe { ways: Default::default(), closed: [false; 2], room, lends }
    }

    /// Where what this flow receives is.
    fn other(flow: FlowId) -> usize {
        1 - flow.index as usize
    }
}

fn flow(index: u32) -> FlowId {
    FlowId { index, generation: 0 }
}

impl Transport for Pipe {
    fn poll(&mut self, _: Instant, _: &mut Vec<FlowEvent>) {}

    fn connect(&mut self, _: Instant, _: IpAddr, _: SocketAddr) -> Result<FlowId, ConnectError> {
        Err(ConnectError::NoRoute)
    }

    fn received(&mut self, flow: FlowId) -> Received<'_> {
        let way = &self.ways[Pipe::other(flow)];
        let bytes = &way[..way.len().min(self.lends)];
        Received { bytes, more: bytes.len() < way.len(), full: false, finished: self.closed[Pipe::other(flow)] }
    }

    fn consume(&mut self, flow: FlowId, count: usize) {
        self.ways[Pipe::other(flow)].drain(..count);
    }

    fn send(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        assert!(!self.closed[flow.index as usize], "a dead flow");
        let way = &mut self.ways[flow.index as usize];
        let count = bytes.len().min(self.room - way.len());
        way.extend_from_slice(&bytes[..count]);
        count
    }

    fn close(&mut self, flow: FlowId) {
        self.closed[flow.index as usize] = true;
    }

    fn abort(&mut self, _: FlowId) {}

    fn flush(&mut self, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn wait(&mut self, _: Duration, _: &[BorrowedFd<'_>]) {}

    fn stop_listening(&mut self) {}

    fn counters(&self) -> TransportCounters {
        TransportCounters::default()
    }
}

/// Both ends of a line, under TLS or not.
fn lines(tls: bool) -> [Line; 2] {
    let ends: [Option<Tls>; 2] = if tls {
        let [one, other] = two();
        [Some(one.connect()), Some(other.accept())]
    } else {
        [None, None]
    };
    let [one, other] = ends;
    [Line::new(flow(0), one), Line::new(flow(1), other)]
}

/// Takes what came, as a session does that keeps nothing back. Whether it was the end.
fn take(line: &mut Line, pipe: &mut Pipe, got: &mut Vec<u8>) -> Result<bool, TlsError> {
    loop {
        let received = line.received(pipe)?;
        let (count, over) = (received.bytes.len(), received.finished && !received.more);
        got.extend_from_slice(received.bytes);
        line.consume(pipe, count);
        if over || count == 0 {
            return Ok(over);
        }
    }
}

/// Sends a text from the first to the second until all of it has arrived.
fn carry(lines: &mut [Line; 2], pipe: &mut Pipe, text: &[u8]) {
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..1_000_000 {
        sent += lines[0].send(pipe, &text[sent..]);
        assert_eq!(take(&mut lines[0], pipe, &mut Vec::new()), Ok(false));
        assert_eq!(take(&mut lines[1], pipe, &mut got), Ok(false));
        lines[1].send(pipe, &[]);
        if got.len() == text.len() {
            assert!(got == text);
            return;
        }
    }
    panic!("it never arrives: {sent} sent, {} there", got.len());
}

#[test]
fn a_line_needs_no_more_room_than_a_flow_has() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let text = noise(&mut random, 50_000);
        for tls in [false, true] {
            let room = random.random_range(1..3000);
            let mut pipe = Pipe::new(room, random.random_range(1..=room));
            carry(&mut lines(tls), &mut pipe, &text);
        }
    }
}

#[test]
fn the_end_comes_behind_the_last_byte() {
    for tls in [false, true] {
        let (mut lines, mut pipe) = (lines(tls), Pipe::new(100_000, 1000));
        carry(&mut lines, &mut pipe, b"hello");
        let [mut one, mut other] = lines;
        assert_eq!(one.send(&mut pipe, &[7; 20_000]), 20_000);
        one.close(&mut pipe);
        let mut got = Vec::new();
        assert_eq!(take(&mut other, &mut pipe, &mut got), Ok(true));
        assert_eq!(got, [7; 20_000]);
        other.close(&mut pipe);
    }
}

#[test]
fn what_is_cut_off_is_not_taken_for_the_end() {
    // Within a record, and between two of them.
    for count in [0, 20_000, 16_384 + 22, 20_022 + 22] {
        let (mut lines, mut pipe) = (lines(true), Pipe::new(100_000, 100_000));
        carry(&mut lines, &mut pipe, b"hello");
        assert_eq!(lines[0].send(&mut pipe, &[7; 20_000]), 20_000);
        assert!(pipe.ways[0].len() >= count);
        pipe.ways[0].truncate(count);
        pipe.close(flow(0));
        let mut got = Vec::new();
        assert_eq!(take(&mut lines[1], &mut pipe, &mut got), Err(TlsError::Truncated));
        assert!([0, 16_384, 20_000].contains(&got.len()), "{}", got.len());
    }
    let (mut lines, mut pipe) = (lines(true), Pipe::new(100_000, 100_000));
    assert_eq!(lines[0].send(&mut pipe, b"hello"), 0, "nothing is said before the handshake is done");
    pipe.close(flow(0));
    assert_eq!(take(&mut lines[1], &mut pipe, &mut Vec::new()), Err(TlsError::Truncated));
}

#[test]
fn why_a_line_failed_is_told_before_it_is_closed() {
    let [one, _] = two();
    let [_, stranger] = two();
    let mut pipe = Pipe::new(100_000, 100_000);
    let mut line = Line::new(flow(0), Some(one.connect()));
    let mut far = Line::new(flow(1), Some(stranger.accept()));
    line.send(&mut pipe, &[]);
    assert_eq!(take(&mut far, &mut pipe, &mut Vec::new()), Ok(false));
    let error = take(&mut line, &mut pipe, &mut Vec::new());
    assert!(matches!(error, Err(TlsError::WrongCertificate(_))), "{error:?}");
    line.close(&mut pipe);
    let error = take(&mut far, &mut pipe, &mut Vec::new());
    assert!(matches!(error, Err(TlsError::Alert(_))), "{error:?}");
}
