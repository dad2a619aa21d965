//! What the tests of this folder share: routes over numbered hosts, and messages as the spool would show them.

use super::{
    Answer, Hop, MessageView, Orders, Progress, Protocol, RecipientView, ReplyTo, Route, Routes, Selector,
    StandingOrder, Tenants, Treatment, Verdict,
};
use crate::dns::{Dane, MailHost, MailHosts};
use crate::env::{Instant, Now, WallTime};
use crate::smtp::client::Stage;
use crate::smtp::{BodyType, Envelope, Notify, Priority, Recipient, Return};
use crate::spool::MessageId;
use crate::sts::Standing;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The wall clock when the monotonic one starts.
pub const EPOCH: WallTime = WallTime::from_micros(1_700_000_000_000_000);

pub fn at(seconds: u64) -> Now {
    let delay = Duration::from_secs(seconds);
    Now { mono: Instant::ZERO + delay, wall: EPOCH + delay }
}

pub fn answer() -> Answer {
    said(450, Stage::Rcpt, "450 4.2.0 later")
}

/// What a host says in this stage; the status stands in the text.
pub fn said(code: u16, stage: Stage, text: &str) -> Answer {
    let status = text.split([' ', '.']).skip(1).map_while(|digits| digits.parse().ok()).collect::<Vec<u16>>();
    let status = match status[..] {
        [class, subject, detail, ..] => (class as u8, subject, detail),
        _ => ((code / 100) as u8, 0, 0),
    };
    Answer::reply(ReplyTo { code, stage }, status, text, "mx.example")
}

/// A host `192.0.2.HOST` of that preference.
pub fn hop(host: u8, preference: u16) -> Hop {
    let ip = IpAddr::from([192, 0, 2, host]);
    Hop {
        protocol: Protocol::Smtp,
        addresses: vec![ip],
        port: 25,
        implicit_tls: false,
        preference,
        name: ip.to_string().into(),
        demand: None,
    }
}

/// Domains `d0.example`, `d1.example` and so on, each with a host of its own.
pub fn routes(count: u8) -> Arc<Routes> {
    let entries = (0..count).map(|n| (format!("d{n}.example").into(), Route::new(vec![hop(n, 10)])));
    Arc::new(Routes::new(entries).unwrap())
}

/// Orders that stand, by these numbers; there is a tenant `acme`, whose domain is `acme.example`.
pub fn orders(routes: &Arc<Routes>, orders: impl IntoIterator<Item = (u64, Selector, Treatment)>) -> Arc<Orders> {
    let order = |(number, selector, treatment): (u64, Selector, Treatment)| StandingOrder {
        number,
        selector: selector.normal(),
        treatment,
        reason: "as said".into(),
        given_at: EPOCH,
        ends_at: None,
    };
    let tenants = Tenants::new([("acme", ["acme.example", ".acme.example"])]);
    Arc::new(Orders::new(Arc::clone(routes), Arc::new(tenants), orders.into_iter().map(order)))
}

/// Mail of the domain.
pub fn domain(name: &str) -> Selector {
    Selector::Domain(name.into())
}

/// Mail from there.
pub fn sender(name: &str) -> Selector {
    Selector::Sender(name.into())
}

/// It goes as mail of this domain does.
pub fn reroute(to: &str) -> Treatment {
    Treatment::Reroute { to: to.into() }
}

/// An answer of the DNS: hosts of these preferences, each with the address `198.51.100.LAST`. The later one has the higher number.
pub fn hosts(number: u64, hosts: &[(u16, &str, u8)]) -> Arc<MailHosts> {
    let host = |(preference, name, last): &(u16, &str, u8)| MailHost {
        name: (*name).into(),
        preference: *preference,
        addresses: vec![IpAddr::from([198, 51, 100, *last])],
        secure: false,
        dane: Dane::Absent,
    };
    let sts = Standing::default();
    Arc::new(MailHosts {
        hosts: hosts.iter().map(host).collect(),
        secure: false,
        implicit: false,
        sts,
        waived: false,
        number,
    })
}

/// A message as the spool's index would hold it.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: MessageId,
    pub received_at: WallTime,
    pub held: bool,
    pub envelope: Envelope,
    pub progress: Vec<Progress>,
}

impl Message {
    pub fn new(number: u64, now: Now, addresses: &[&str]) -> Message {
        let recipients: Vec<Recipient> = (addresses.iter())
            .map(|address| Recipient { address: (*address).into(), notify: None, original: None })
            .collect();
        let progress = vec![Progress { open: true, attempts: 0, next_attempt_at: now.wall }; recipients.len()];
        let envelope = Envelope {
            reverse_path: "sender@example.org".into(),
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            tls_optional: false,
            priority: Priority::NORMAL,
            ret: None,
            envelope_id: None,
        };
        Message { id: MessageId::new(1, number), received_at: now.wall, held: false, envelope, progress }
    }

    pub fn notify(mut self, success: bool, failure: bool, delay: bool) -> Message {
        for recipient in &mut self.envelope.recipients {
            recipient.notify = Some(Notify { success, failure, delay });
        }
        self
    }

    pub fn priority(mut self, number: i8) -> Message {
        self.envelope.priority = Priority::try_from(number).unwrap();
        self
    }

    /// What the spool does with verdicts.
    pub fn apply(&mut self, verdicts: &[(u32, Verdict)]) {
        for (index, verdict) in verdicts {
            let progress = &mut self.progress[*index as usize];
            assert!(progress.open, "recipient {index} of {} was settled twice", self.id);
            match verdict {
                Verdict::Delivered { .. } | Verdict::Bounced { .. } => progress.open = false,
                Verdict::Deferred { attempts, next_attempt_at, .. } => {
                    progress.attempts = *attempts;
                    progress.next_attempt_at = *next_attempt_at;
                }
                Verdict::Busy => {}
            }
        }
    }

    pub fn open_count(&self) -> usize {
        self.progress.iter().filter(|progress| progress.open).count()
    }
}

impl MessageView for Message {
    fn id(&self) -> MessageId {
        self.id
    }
    fn received_at(&self) -> WallTime {
        self.received_at
    }
    fn size(&self) -> u64 {
        1000
    }
    fn held(&self) -> bool {
        self.held
    }
    fn reverse_path(&self) -> &str {
        &self.envelope.reverse_path
    }
    fn body(&self) -> BodyType {
        self.envelope.body
    }
    fn smtputf8(&self) -> bool {
        self.envelope.smtputf8
    }
    fn require_tls(&self) -> bool {
        self.envelope.require_tls
    }
    fn tls_optional(&self) -> bool {
        self.envelope.tls_optional
    }
    fn priority(&self) -> Priority {
        self.envelope.priority
    }
    fn ret(&self) -> Option<Return> {
        self.envelope.ret
    }
    fn envelope_id(&self) -> Option<&str> {
        self.envelope.envelope_id.as_deref()
    }
    fn recipients(&self) -> impl Iterator<Item = RecipientView<'_>> {
        self.envelope.recipients.iter().zip(&self.progress).map(|(recipient, progress)| RecipientView {
            address: &recipient.address,
            notify: recipient.notify,
            original: recipient.original.as_deref(),
            progress: *progress,
        })
    }
}
