//! Clients: scripts that send mail to the appliance, well-behaved or not, and watch what it answers.

use super::ledger::Standing;
use super::mail::Mail;
use super::peer::{Scene, Script, Wire};
use super::proof::Shown;
use crate::flow::FlowEnd;
use crate::smtp::content::FALSE_ENDS;
use rand::RngExt;
use std::collections::VecDeque;
use std::time::Duration;

/// How a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One command at a time.
    Lockstep,
    /// MAIL, RCPT and DATA in one go (RFC 2920).
    Pipelined,
    /// BDAT, in two pieces (RFC 3030), pipelined.
    Chunked,
    /// An end of data that is none ([`FALSE_ENDS`]), and a second message behind it.
    Smuggling(usize),
    /// No SMTP at all.
    Babbling,
}

/// What makes no sense, and the codes that may answer it: outside of a transaction, and inside of one.
const NONSENSE: [(&[u8], &[u16], &[u16]); 18] = [
    (b"NOOP", &[250], &[250]),
    (b"RSET x", &[501], &[501]),
    (b"VRFY postmaster", &[252], &[252]),
    (b"HELP", &[214], &[214]),
    (b"XYZZY", &[500], &[500]),
    (b"STARTTLS", &[502, 503], &[502, 503]),
    (b"AUTH PLAIN AGEAYg==", &[502], &[502]),
    (b"EXPN list", &[502], &[502]),
    (b"EHLO", &[501], &[501]),
    (b"\0\x01\xff", &[500], &[500]),
    (b"NOOP\nNOOP", &[500], &[500]),
    (b"MAIL FROM:<a b>", &[501], &[503]),
    (b"MAIL FROM:<a@b.test> SIZE=99999999999999999999", &[501, 552], &[503]),
    (b"RCPT TO:<>", &[503], &[501]),
    (b"RCPT TO:<u@d0.test> NOTIFY=NEVER,SUCCESS", &[503], &[501]),
    (b"DATA now", &[501, 503], &[501]),
    (b"BDAT x LAST", &[501, 503], &[501]),
    (&[b'x'; 5000], &[500], &[500]),
];

/// What comes behind nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Mail,
    /// RCPT for this recipient, or DATA behind the last.
    Recipient(usize),
}

/// What the next reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Greeting,
    Hello,
    Nonsense(usize, Step),
    Mail,
    Recipient(usize),
    Data,
    Chunk,
    End,
    Reset,
    Quit,
}

impl Expect {
    /// Whether a server may say that here (RFC 5321 §4.3.2, RFC 3030, and 421 at any time).
    fn allows(self, code: u16) -> bool {
        let codes: &[u16] = match self {
            Expect::Greeting => &[220, 554],
            Expect::Hello => &[250],
            Expect::Nonsense(place, Step::Mail) => NONSENSE[place].1,
            Expect::Nonsense(place, Step::Recipient(_)) => NONSENSE[place].2,
            Expect::Mail => &[250, 451, 452, 552],
            Expect::Recipient(_) => &[250, 450, 451, 452, 503, 550],
            Expect::Data => &[354, 451, 452, 503, 554],
            Expect::Chunk | Expect::End => &[250, 451, 452, 503, 550, 552, 554],
            Expect::Reset => &[250],
            Expect::Quit => &[221],
        };
        code == 421 || codes.contains(&code)
    }
}

/// A client's conversation.
pub(super) struct Client {
    style: Style,
    mails: VecDeque<Mail>,
    current: Option<Mail>,
    /// The final dot, or the last chunk, is in `Wire::out` or beyond.
    ended: bool,
    accepted: usize,
    expects: VecDeque<Expect>,
    line: Vec<u8>,
    pace: Option<(usize, Duration)>,
    abort_after: Option<usize>,
    /// Before this share of its commands it says something that makes no sense; only one that waits for each answer does.
    nonsense: f64,
    /// It goes away as soon as it has sent the end of its content.
    rude: bool,
    quitting: bool,
}

impl Client {
    pub(super) fn new(style: Style, mails: VecDeque<Mail>) -> Client {
        Client {
            style,
            mails,
            current: None,
            ended: false,
            accepted: 0,
            expects: VecDeque::new(),
            line: Vec::new(),
            pace: None,
            abort_after: None,
            nonsense: 0.0,
            rude: false,
            quitting: false,
        }
    }

    /// Sends so many bytes at a time, with this pause between.
    pub(super) fn slow(mut self, bytes: usize, pause: Duration) -> Client {
        self.pace = Some((bytes, pause));
        self
    }

    /// Resets the connection after so many bytes.
    pub(super) fn aborting(mut self, after: usize) -> Client {
        self.abort_after = Some(after);
        self
    }

    /// Does not wait for the last answer.
    pub(super) fn rude(mut self) -> Client {
        self.rude = true;
        self
    }

    /// Says something that makes no sense before this share of its commands, one at a time.
    pub(super) fn confused(mut self, share: f64) -> Client {
        self.style = Style::Lockstep;
        self.nonsense = share;
        self
    }

    /// Whether it says what makes no sense.
    pub(super) fn is_confused(&self) -> bool {
        self.nonsense > 0.0
    }

    /// Says something that makes no sense before it takes `step`, or not. Whether it did.
    fn babble(&mut self, step: Step, wire: &mut Wire, scene: &mut Scene<'_>) -> bool {
        if self.nonsense == 0.0 || !scene.random.random_bool(self.nonsense) {
            return false;
        }
        let place = scene.random.random_range(0..NONSENSE.len());
        wire.out.extend(NONSENSE[place].0);
        wire.say("\r\n");
        self.expects.push_back(Expect::Nonsense(place, step));
        true
    }

    /// Begins the next message, or says goodbye.
    fn next(&mut self, wire: &mut Wire, scene: &mut Scene<'_>) {
        if self.babble(Step::Mail, wire, scene) {
            return;
        }
        let Some(mut mail) = self.mails.pop_front() else {
            self.quitting = true;
            wire.say("QUIT\r\n");
            self.expects.push_back(Expect::Quit);
            return;
        };
        mail.requiretls &= wire.shown != Shown::Nothing;
        scene.ledger.begin(scene.now, &mail);
        (self.ended, self.accepted) = (false, 0);
        let priority = mail.priority.map_or(String::new(), |priority| format!(" MT-PRIORITY={priority}"));
        let requiretls = if mail.requiretls { " REQUIRETLS" } else { "" };
        wire.say(&format!("MAIL FROM:<{}> SIZE={}{priority}{requiretls}\r\n", mail.sender, mail.content.len()));
        self.expects.push_back(Expect::Mail);
        if self.style != Style::Lockstep {
            for (place, recipient) in mail.recipients.iter().enumerate() {
                wire.say(&format!("RCPT TO:<{recipient}>\r\n"));
                self.expects.push_back(Expect::Recipient(place));
            }
            if self.style == Style::Chunked {
                let middle = mail.content.len() / 2;
                wire.say(&format!("BDAT {middle}\r\n"));
                wire.out.extend(&mail.content[..middle]);
                wire.say(&format!("BDAT {} LAST\r\n", mail.content.len() - middle));
                wire.out.extend(&mail.content[middle..]);
                self.expects.extend([Expect::Chunk, Expect::End]);
                self.ended = true;
            } else {
                wire.say("DATA\r\n");
                self.expects.push_back(Expect::Data);
            }
        }
        self.current = Some(mail);
    }

    fn answer(&mut self, code: u16, wire: &mut Wire, scene: &mut Scene<'_>) {
        let Some(expected) = self.expects.pop_front() else {
            if code != 421 {
                scene.ledger.violate(scene.now, format_args!("illegal reply: {code} to nothing"));
            }
            wire.closing = true;
            return;
        };
        if !expected.allows(code) {
            scene.ledger.violate(scene.now, format_args!("illegal reply: {code} to {expected:?} of {:?}", self.style));
        }
        if code == 421 || code == 554 && expected == Expect::Greeting {
            // Nothing more will be taken; what was not acknowledged was not.
            self.conclude(if expected == Expect::End { Standing::Refused } else { self.lost() }, scene);
            self.mails.clear();
            wire.closing = true;
            return;
        }
        match expected {
            Expect::Greeting => {
                wire.say("EHLO client.test\r\n");
                self.expects.push_back(Expect::Hello);
            }
            Expect::Hello | Expect::Nonsense(_, Step::Mail) => self.next(wire, scene),
            Expect::Nonsense(_, Step::Recipient(place)) => self.lockstep(place, wire, scene),
            Expect::Mail if code != 250 => self.transaction_refused(wire, scene),
            Expect::Mail => self.lockstep(0, wire, scene),
            Expect::Recipient(place) => {
                self.accepted += usize::from(code == 250);
                if let Some(mail) = &self.current {
                    scene.ledger.recipient_answered(mail.number, place, code == 250);
                }
                self.lockstep(place + 1, wire, scene);
            }
            Expect::Data if code == 354 => self.content(wire),
            Expect::Data => self.transaction_refused(wire, scene),
            Expect::Chunk => {}
            Expect::End if code == 250 => {
                self.conclude(Standing::Acknowledged, scene);
                self.next(wire, scene);
            }
            Expect::End => self.transaction_refused(wire, scene),
            Expect::Reset => self.next(wire, scene),
            Expect::Quit => wire.closing = true,
        }
    }

    /// The next RCPT or DATA of a client that sends one command at a time.
    fn lockstep(&mut self, place: usize, wire: &mut Wire, scene: &mut Scene<'_>) {
        if self.style != Style::Lockstep || self.babble(Step::Recipient(place), wire, scene) {
            return;
        }
        let Some(mail) = &self.current else { return };
        match mail.recipients.get(place) {
            Some(recipient) => {
                wire.say(&format!("RCPT TO:<{recipient}>\r\n"));
                self.expects.push_back(Expect::Recipient(place));
            }
            None => {
                wire.say("DATA\r\n");
                self.expects.push_back(Expect::Data);
            }
        }
    }

    fn content(&mut self, wire: &mut Wire) {
        let Some(mail) = &self.current else { return };
        if self.accepted > 0 {
            wire.out.extend(mail.stuffed());
            if let Style::Smuggling(variant) = self.style {
                wire.out.extend(FALSE_ENDS[variant % FALSE_ENDS.len()]);
                wire.say("MAIL FROM:<evil@evil.test>\r\nRCPT TO:<u0@d0.test>\r\nDATA\r\nX-Number: 4000000000\r\n\r\nevil\r\n");
            }
        }
        wire.say(".\r\n");
        self.ended = true;
        self.expects.push_back(Expect::End);
        if self.rude {
            self.mails.clear();
            wire.closing = true;
        }
    }

    /// The message is refused; what was pipelined behind the refused command is answered as well.
    fn transaction_refused(&mut self, wire: &mut Wire, scene: &mut Scene<'_>) {
        if self.expects.is_empty() {
            self.conclude(Standing::Refused, scene);
            wire.say("RSET\r\n");
            self.expects.push_back(Expect::Reset);
        }
    }

    /// What a message is whose session ends here.
    fn lost(&self) -> Standing {
        if self.ended { Standing::Unknown } else { Standing::Refused }
    }

    fn conclude(&mut self, standing: Standing, scene: &mut Scene<'_>) {
        if let Some(mail) = self.current.take() {
            if let (Style::Smuggling(variant), Standing::Acknowledged) = (self.style, standing) {
                let number = mail.number;
                scene.ledger.violate(scene.now, format_args!("smuggled: message {number} with end of data {variant}"));
            }
            scene.ledger.conclude(scene.now, mail.number, standing);
        }
    }
}

impl Script for Client {
    fn begin(&mut self, wire: &mut Wire, scene: &mut Scene<'_>) {
        wire.pace = self.pace;
        wire.abort_after = self.abort_after;
        self.expects.push_back(Expect::Greeting);
        if self.style == Style::Babbling {
            for _ in 0..scene.random.random_range(1..40) {
                let length = scene.random.random_range(0..300);
                wire.out.extend((0..length).map(|_| scene.random.random::<u8>()));
                wire.say("\r\n");
            }
        }
    }

    fn receive(&mut self, bytes: &[u8], wire: &mut Wire, scene: &mut Scene<'_>) {
        for byte in bytes {
            self.line.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let code = reply_code(&line);
            let Some((code, last)) = code else {
                let text = String::from_utf8_lossy(&line).into_owned();
                scene.ledger.violate(scene.now, format_args!("illegal reply: {text:?}"));
                wire.aborting = true;
                return;
            };
            if last && !wire.closing && self.style != Style::Babbling {
                self.answer(code, wire, scene);
            }
        }
    }

    fn finished(&mut self, wire: &mut Wire, _scene: &mut Scene<'_>) {
        wire.closing = true;
        wire.out.clear();
    }

    fn over(&mut self, _end: Option<FlowEnd>, scene: &mut Scene<'_>) {
        self.conclude(self.lost(), scene);
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(600)
    }
}

/// The code of a reply line, and whether it is the last one.
fn reply_code(line: &[u8]) -> Option<(u16, bool)> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let (code, rest) = text.split_at_checked(3)?;
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match rest.bytes().next() {
        None | Some(b' ') => Some((code, true)),
        Some(b'-') => Some((code, false)),
        _ => None,
    }
}
