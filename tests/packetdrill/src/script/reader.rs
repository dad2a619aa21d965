//! The text of a script as its events.

use super::Failure;
use super::call::Call;
use super::packet::{ACK, CWR, ECE, ECN, FIN, PSH, Packet, RST, SYN, TcpOption, URG};
use std::time::Duration;

/// A script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What `--so_flags` says.
    pub flags: String,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub line: usize,
    pub at: When,
    pub action: Action,
}

/// Since the start of the script, or since the event before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(Duration),
    After(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Call(Call),
    Arrives(Packet),
    Leaves(Packet),
    Unreachable(Unreachable),
}

/// An ICMP error about a segment of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreachable {
    pub code: u8,
    pub mtu: u16,
    pub sequence: u32,
    pub length: u32,
}

impl Script {
    /// Reads a script.
    pub fn read(text: &str) -> Result<Script, Failure> {
        let mut script = Script::default();
        for (place, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default().trim();
            let fail = |reason: String| Failure { line: place + 1, reason };
            if let Some(flags) = line.strip_prefix("--so_flags=") {
                script.flags = flags.into();
            } else if !line.is_empty() {
                let (at, action) = event(line).map_err(fail)?;
                script.events.push(Event { line: place + 1, at, action });
            }
        }
        Ok(script)
    }
}

fn event(line: &str) -> Result<(When, Action), String> {
    let (time, rest) = line.split_once(char::is_whitespace).ok_or("a time and nothing else")?;
    let seconds = |text: &str| text.parse().map(Duration::from_secs_f64).map_err(|_| format!("{time} is no time"));
    let at = match time.strip_prefix('+') {
        Some(time) => When::After(seconds(time)?),
        None => When::At(seconds(time)?),
    };
    let rest = rest.trim();
    let action = if let Some(packet) = rest.strip_prefix('>') {
        Action::Leaves(segment(packet)?)
    } else if let Some(packet) = rest.strip_prefix('<') {
        match packet.trim().strip_prefix("icmp ") {
            Some(error) => Action::Unreachable(unreachable(error)?),
            None => Action::Arrives(segment(packet)?),
        }
    } else {
        Action::Call(Call::read(rest)?)
    };
    Ok((at, action))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number that fits here"))
}

/// `begin:end(length)`.
fn stretch(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text} is not begin:end(length)");
    let (begin, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (end, length) = rest.strip_suffix(')').and_then(|rest| rest.split_once('(')).ok_or_else(wrong)?;
    let (begin, end, length) = (number::<u32>(begin)?, number::<u32>(end)?, number(length)?);
    if end.wrapping_sub(begin) == length { Ok((begin, length)) } else { Err(wrong()) }
}

fn segment(text: &str) -> Result<Packet, String> {
    let (head, options) = match text.split_once('<') {
        Some((head, options)) => (head, options.strip_suffix('>').ok_or("the options have no end")?),
        None => (text, ""),
    };
    let (ecn, head) = match head.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, head)) => (Some(codepoint(name)?), head),
        None => (None, head),
    };
    let mut words = head.split_whitespace();
    let mut packet = Packet { ecn, flags: flags(words.next().unwrap_or_default())?, ..Packet::default() };
    (packet.sequence, packet.length) = stretch(words.next().unwrap_or_default())?;
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} of what?"))?;
        match word {
            "ack" => packet.acknowledgement = number(value)?,
            "win" => packet.window = Some(number(value)?),
            "urg" => packet.urgent = number(value)?,
            _ => return Err(format!("{word} is unknown in a packet")),
        }
    }
    packet.options = match options {
        "..." => None,
        "" => Some(Vec::new()),
        _ => Some(options.split(',').map(option).collect::<Result<_, _>>()?),
    };
    Ok(packet)
}

/// What the ECN field is called.
fn codepoint(text: &str) -> Result<u8, String> {
    let place = ECN.iter().position(|name| *name == text);
    place.map(|place| place as u8).ok_or_else(|| format!("{text} is no value of the ECN field"))
}

fn flags(text: &str) -> Result<u8, String> {
    let flag = |letter: char| match letter {
        'F' => Ok(FIN),
        'S' => Ok(SYN),
        'R' => Ok(RST),
        'P' => Ok(PSH),
        '.' => Ok(ACK),
        'U' => Ok(URG),
        'E' => Ok(ECE),
        'W' => Ok(CWR),
        '-' => Ok(0),
        _ => Err(format!("{letter} is no flag")),
    };
    text.chars().try_fold(0, |flags, letter| Ok(flags | flag(letter)?))
}

fn option(text: &str) -> Result<TcpOption, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words[..] {
        ["nop"] => TcpOption::NoOperation,
        ["sackOK"] => TcpOption::SackPermitted,
        ["mss", size] => TcpOption::SegmentSize(number(size)?),
        ["wscale", scale] => TcpOption::WindowScale(number(scale)?),
        ["TS", "val", value, "ecr", echo] => TcpOption::Timestamps(number(value)?, number(echo)?),
        ["sack", ref blocks @ ..] => {
            let block = |block: &&str| {
                let (begin, end) = block.split_once(':').ok_or_else(|| format!("{block} is not begin:end"))?;
                Ok::<_, String>((number(begin)?, number(end)?))
            };
            TcpOption::Sack(blocks.iter().map(block).collect::<Result<_, _>>()?)
        }
        // A Fast Open cookie (RFC 7413 §4.1.1).
        ["FO", cookie] => {
            let byte = |place: usize| {
                let digits = cookie.get(place..place + 2).unwrap_or("?");
                u8::from_str_radix(digits, 16).map_err(|_| format!("{cookie} is no cookie"))
            };
            TcpOption::Other(34, (0..cookie.len()).step_by(2).map(byte).collect::<Result<_, _>>()?)
        }
        _ => return Err(format!("{text} is no option that is known here")),
    })
}

fn unreachable(text: &str) -> Result<Unreachable, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (code, mtu, quoted) = match words[..] {
        ["unreachable", "host_unreachable", quoted] => (1, 0, quoted),
        ["unreachable", "port_unreachable", quoted] => (3, 0, quoted),
        ["unreachable", "frag_needed", "mtu", mtu, quoted] => (4, number(mtu)?, quoted),
        _ => return Err(format!("{text} is no ICMP error that is known here")),
    };
    let quoted = quoted.strip_prefix('[').and_then(|quoted| quoted.strip_suffix(']')).ok_or("nothing is quoted")?;
    let (sequence, length) = stretch(quoted)?;
    Ok(Unreachable { code, mtu, sequence, length })
}
