//! Next hops: scripts that take mail from the appliance, or do not.

use super::ledger::DeliveryId;
use super::mail::{ORIGIN, number_of_recipient};
use super::peer::{Scene, Script, Wire};
use super::plan::LMTP;
use super::proof::Shown;
use super::setup::may_come_from;
use crate::env::Instant;
use crate::flow::FlowEnd;
use rand::RngExt;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How a next hop behaves, in shares from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Manner {
    /// 421 instead of a greeting.
    pub busy: f64,
    /// 450 to RCPT.
    pub defer_recipient: f64,
    /// 451 to the final dot.
    pub defer_content: f64,
    /// 554 to the final dot.
    pub refuse_content: f64,
    /// A reset in answer to the final dot, the message taken or not.
    pub die_at_dot: f64,
    /// No answer to the final dot for some minutes, the message taken.
    pub stall: f64,
    /// A reset at any command.
    pub die: f64,
    /// 450 for the first five minutes of every recipient.
    pub greylist: bool,
    /// 421 instead of a greeting beside so many other connections; 0: any number is taken.
    pub crowd: u32,
}

/// What all conversations of one next hop share.
#[derive(Debug, Default)]
pub(super) struct Hop {
    pub manner: Manner,
    place: usize,
    /// It knows where mail to it comes from.
    pub knows_pools: bool,
    /// It offers MT-PRIORITY.
    priorities: bool,
    /// It offers REQUIRETLS under TLS.
    pub requiretls: bool,
    /// Conversations.
    open: u32,
    seen: BTreeMap<String, Instant>,
}

impl Hop {
    pub(super) fn new(place: usize, priorities: bool) -> Hop {
        Hop { place, priorities, ..Hop::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Commands,
    Content,
}

/// A next hop's conversation.
pub(super) struct Receiver {
    hop: Rc<RefCell<Hop>>,
    stage: Stage,
    buffer: Vec<u8>,
    sender: Option<String>,
    recipients: Vec<String>,
    content: Vec<u8>,
    /// Taken with 250, and the appliance has not gone on yet.
    unconfirmed: Vec<DeliveryId>,
}

impl Receiver {
    pub(super) fn new(hop: Rc<RefCell<Hop>>) -> Receiver {
        Receiver {
            hop,
            stage: Stage::Commands,
            buffer: Vec::new(),
            sender: None,
            recipients: Vec::new(),
            content: Vec::new(),
            unconfirmed: Vec::new(),
        }
    }

    fn command(&mut self, line: &str, wire: &mut Wire, scene: &mut Scene<'_>) {
        for delivery in self.unconfirmed.drain(..) {
            scene.ledger.confirm(scene.now, delivery);
        }
        let manner = self.hop.borrow().manner;
        if scene.random.random_bool(manner.die) {
            wire.aborting = true;
            return;
        }
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO ") || upper.starts_with("LHLO ") {
            wire.say("250-hop.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-ENHANCEDSTATUSCODES\r\n");
            if self.hop.borrow().requiretls && wire.shown != Shown::Nothing {
                wire.say("250-REQUIRETLS\r\n");
            }
            wire.say(if self.hop.borrow().priorities {
                "250-MT-PRIORITY\r\n250 8BITMIME\r\n"
            } else {
                "250 8BITMIME\r\n"
            });
        } else if let Some(path) = upper.starts_with("MAIL FROM:<").then(|| &line[11..]) {
            self.reset();
            let (sender, parameters) = path.split_once('>').unzip();
            self.sender = sender.map(str::to_owned);
            let Hop { place, knows_pools, .. } = *self.hop.borrow();
            if let (Some(client), Some(sender)) = (wire.client, sender)
                && knows_pools
                && !may_come_from(client, sender, place)
            {
                scene.ledger.violate(scene.now, format_args!("mail from <{sender}> came to hop {place} from {client}"));
            }
            if let (Some(sender), Some(parameters)) = (sender, parameters) {
                let word = parameters.split(' ').find_map(|word| word.strip_prefix("MT-PRIORITY="));
                scene.ledger.ranked(scene.now, sender, word, self.hop.borrow().priorities);
                let required = parameters.split(' ').any(|word| word == "REQUIRETLS");
                scene.ledger.required(scene.now, sender, required, (place, wire.shown));
            }
            wire.say("250 2.1.0 sender\r\n");
        } else if let Some(path) = upper.starts_with("RCPT TO:<").then(|| &line[9..]) {
            let address = path.split_once('>').map_or("", |(address, _)| address).to_owned();
            self.recipient(address, manner, wire, scene);
        } else if upper == "DATA" && self.recipients.is_empty() {
            wire.say("554 5.5.1 no recipients\r\n");
        } else if upper == "DATA" {
            self.stage = Stage::Content;
            wire.say("354 go on\r\n");
        } else if upper == "RSET" || upper == "NOOP" {
            self.reset();
            wire.say("250 2.0.0 fine\r\n");
        } else if upper == "QUIT" {
            wire.say("221 2.0.0 bye\r\n");
            wire.closing = true;
        } else {
            scene.ledger.violate(scene.now, format_args!("illegal command: {line:?}"));
            wire.say("500 5.5.1 what?\r\n");
        }
    }

    fn recipient(&mut self, address: String, manner: Manner, wire: &mut Wire, scene: &mut Scene<'_>) {
        let sender = self.sender.clone().unwrap_or_default();
        scene.ledger.attempted(scene.now, &sender, &address);
        if address.starts_with("no") {
            scene.ledger.refused(&sender, &address);
            wire.say("550 5.1.1 nobody\r\n");
            return;
        }
        let first = *self.hop.borrow_mut().seen.entry(address.clone()).or_insert(scene.now);
        let grey = manner.greylist && scene.now.since(first) < Duration::from_secs(300);
        if grey || scene.random.random_bool(manner.defer_recipient) {
            wire.say("450 4.2.0 later\r\n");
            return;
        }
        self.recipients.push(address);
        wire.say("250 2.1.5 recipient\r\n");
    }

    /// The final dot came.
    fn complete(&mut self, wire: &mut Wire, scene: &mut Scene<'_>) {
        self.stage = Stage::Commands;
        let manner = self.hop.borrow().manner;
        let sender = self.sender.clone().unwrap_or_default();
        let dies = scene.random.random_bool(manner.die_at_dot);
        if dies && scene.random.random_bool(0.5) {
            wire.aborting = true;
            return;
        }
        // Replies for each recipient behind the final dot (RFC 2033).
        let lmtp = self.hop.borrow().place == LMTP;
        let (mut answer, mut count) = ("250 2.0.0 taken\r\n", if lmtp { self.recipients.len() } else { 1 });
        if scene.random.random_bool(manner.defer_content) {
            answer = "451 4.3.0 later\r\n";
        } else if scene.random.random_bool(manner.refuse_content) && !sender.is_empty() {
            answer = "554 5.6.0 never\r\n";
            for recipient in &self.recipients {
                scene.ledger.refused(&sender, recipient);
            }
        } else {
            self.take(&sender, wire.shown, scene);
        }
        if dies {
            wire.aborting = true;
            return;
        }
        if scene.random.random_bool(manner.stall) {
            wire.busy_until = scene.now + Duration::from_secs(scene.random.random_range(1..1200));
        }
        while count > 0 {
            wire.say(answer);
            count -= 1;
        }
        self.reset();
    }

    fn take(&mut self, sender: &str, shown: Shown, scene: &mut Scene<'_>) {
        if sender.is_empty() && self.recipients.iter().all(|recipient| recipient.ends_with(ORIGIN)) {
            return notice(&self.content, scene);
        }
        for recipient in &self.recipients {
            let delivery = scene.ledger.delivered(scene.now, sender, recipient, &self.content);
            scene.ledger.prove(scene.now, recipient, self.hop.borrow().place, shown);
            self.unconfirmed.extend(delivery);
        }
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
        self.content.clear();
    }
}

/// A delivery status notification: which recipients failed for good? (RFC 3464)
fn notice(content: &[u8], scene: &mut Scene<'_>) {
    let text = String::from_utf8_lossy(content);
    let mut recipient = None;
    for line in text.lines() {
        if let Some(address) = line.strip_prefix("Final-Recipient: rfc822;") {
            recipient = Some(address.trim().to_owned());
        } else if line.starts_with("Action: failed")
            && let Some(address) = recipient.take()
        {
            match number_of_recipient(&address) {
                Some(number) => scene.ledger.bounced(scene.now, number, &address),
                None => scene.ledger.violate(scene.now, format_args!("a notice about {address}, who is nobody")),
            }
        }
    }
}

impl Script for Receiver {
    fn begin(&mut self, wire: &mut Wire, scene: &mut Scene<'_>) {
        let mut hop = self.hop.borrow_mut();
        hop.open += 1;
        if scene.random.random_bool(hop.manner.busy) {
            wire.say("421 4.3.2 too busy\r\n");
            wire.closing = true;
        } else if hop.manner.crowd > 0 && hop.open > hop.manner.crowd {
            wire.say("421 4.7.0 too many connections\r\n");
            wire.closing = true;
        } else {
            wire.say("220 hop.test ESMTP\r\n");
        }
    }

    fn receive(&mut self, bytes: &[u8], wire: &mut Wire, scene: &mut Scene<'_>) {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if wire.aborting || wire.closing {
                return;
            }
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            if !line.ends_with(b"\r\n") || line[..line.len() - 2].contains(&b'\r') {
                scene.ledger.violate(scene.now, format_args!("a bare CR or LF was sent to a next hop"));
            }
            match self.stage {
                Stage::Commands => self.command(&String::from_utf8_lossy(&line[..line.len() - 2]), wire, scene),
                Stage::Content if line == b".\r\n" => self.complete(wire, scene),
                Stage::Content => self.content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line)),
            }
        }
        self.buffer = rest.to_vec();
    }

    fn finished(&mut self, wire: &mut Wire, _scene: &mut Scene<'_>) {
        wire.closing = true;
        wire.out.clear();
    }

    fn over(&mut self, _end: Option<FlowEnd>, _scene: &mut Scene<'_>) {
        self.hop.borrow_mut().open -= 1;
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1800)
    }
}
