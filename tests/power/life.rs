//! A worker's life with the shipped log on a file system whose device remembers everything, until the power fails.

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rohrpost::env::disk::{Engine, RealDisk};
use rohrpost::env::{Instant, Now, WallTime, wait_readable};
use rohrpost::smtp::{Envelope, Recipient};
use rohrpost::spool::{
    Draft, Log, LogEvent, MessageId, Outcome, Piece, RecipientState, Recovery, Refusal, Settings, Status,
};

use super::device::Device;
use super::history::{Change, History, Queue, Shape, shape};

/// Messages whose content is being received at a time.
const DRAFTS: usize = 4;

/// Breaths after which something that must happen will not happen any more; each waits for the disk for a while.
const BREATHS_MAX: u32 = 10_000;

/// How a life's log works. The smallest log there may be goes round soon; in a larger one batches are larger.
pub fn settings(small: bool) -> Settings {
    let (segment_size, batch_size_max) = if small { (128 << 10, 64 << 10) } else { (256 << 10, 128 << 10) };
    Settings {
        log: 3,
        segment_size,
        segments_max: 8,
        batch_size_max,
        batches_in_flight_max: 4,
        message_size_max: 50_000_000,
        drafts_max: 1000,
        memory_max: 1 << 30,
        free_bytes_min: 0,
        epoch: 1,
    }
}

/// Where a life is lived, and how.
#[derive(Clone)]
pub struct Ground {
    /// Where the file system of the device is mounted.
    pub mounted: PathBuf,
    pub engine: Engine,
    pub settings: Settings,
}

/// The content of the message with this id: sizes of all kinds, most of them small.
fn content_for(id: MessageId) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(id.number());
    let size_max = match random.random_range(0..100) {
        0..40 => 600,
        40..80 => 5000,
        80..97 => 20_000,
        _ => 90_000,
    };
    let mut content = vec![0; random.random_range(0..size_max)];
    random.fill_bytes(&mut content);
    content
}

fn recipients_for(id: MessageId) -> usize {
    1 + usize::try_from(id.number() % 3).expect("small")
}

fn envelope(recipients: usize) -> Envelope {
    let recipient = |place| Recipient { address: format!("r{place}@example.org").into(), notify: None, original: None };
    Envelope {
        reverse_path: "sender@example.net".into(),
        recipients: (0..recipients).map(recipient).collect(),
        ..Envelope::default()
    }
}

fn beginning() -> Now {
    Now { mono: Instant::from_nanos(1), wall: WallTime::from_micros(1_700_000_000_000_000) }
}

/// Only what was not durable may be missing: a torn tail is cut, and nothing is damaged.
fn open(ground: &Ground) -> Result<(Log<RealDisk>, Queue, Recovery), String> {
    let disk = RealDisk::open_with(&ground.mounted.join("log-03"), ground.engine).map_err(|error| error.to_string())?;
    let (log, recovery) = Log::open(disk, ground.settings.clone(), beginning()).map_err(|error| error.to_string())?;
    if recovery.damages.count > 0 || recovery.damaged > 0 {
        return Err(format!("damage: {recovery:?}"));
    }
    let found = log.messages().map(|message| (message.id(), shape(message))).collect();
    Ok((log, found, recovery))
}

/// A log on a device, with a clock of its own.
pub struct Life {
    // In this order: the log lets go of its files before they are unmounted.
    log: Log<RealDisk>,
    device: Device,
    ground: Ground,
    history: History,
    now: Now,
    drafts: Vec<(Draft, usize)>,
    random: StdRng,
}

impl Life {
    /// Opens the log on a device as it is found, and looks whether the queue is what the life before promised until
    /// `moment`, and that nothing is called damaged.
    pub fn begin(device: Device, ground: Ground, before: &History, moment: u64, seed: u64) -> Result<Life, String> {
        let (log, found, recovery) = open(&ground)?;
        before.check(moment, &found).map_err(|loss| format!("{loss}; {recovery:?}"))?;
        let history = History::begin(found);
        let random = StdRng::seed_from_u64(seed);
        Ok(Life { log, device, ground, history, now: beginning(), drafts: Vec::new(), random })
    }

    /// The process ends and another opens the log on the same device: a crash without a power loss.
    pub fn crash(self) -> Result<Life, String> {
        let Life { log, device, ground, mut history, now, random, .. } = self;
        drop(log);
        let (log, found, recovery) = open(&ground)?;
        let moment = device.moment();
        let count =
            history.check(moment, &found).map_err(|loss| format!("without a power loss: {loss}; {recovery:?}"))?;
        history.resume(moment, count);
        Ok(Life { log, device, ground, history, now, drafts: Vec::new(), random })
    }

    /// Some calls; between them the disk does what it has time for.
    pub fn go_on(&mut self, steps: u32) {
        let patience = self.random.random_range(0.02..0.4);
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..60 => self.receive(),
                60..97 => self.deliver(),
                97 => drop(self.drafts.pop().map(|(draft, _)| self.log.abort(draft))),
                // Long enough for a closing batch.
                _ => self.now.mono = self.now.mono + Duration::from_millis(200),
            }
            if self.random.random_bool(patience) {
                self.wait();
            }
            self.breathe();
        }
    }

    /// Ends the log in order, as an operator does before the power is cut.
    pub fn shut_down(&mut self) {
        self.log.shutdown(self.now);
        self.breathe_until(|life| life.log.idle());
    }

    /// Figures of the log.
    pub fn status(&self) -> Status {
        self.log.status()
    }

    /// Ends as a power loss ends it, and gives what is left: what was promised, and the device.
    pub fn lose_power(self) -> (History, Device) {
        (self.history, self.device)
    }

    fn wait(&self) {
        let wakeup: Vec<_> = self.log.wakeup().into_iter().collect();
        wait_readable(&wakeup, Duration::from_millis(2));
    }

    fn breathe(&mut self) {
        self.now.mono = self.now.mono + Duration::from_millis(1);
        self.now.wall = self.now.wall + Duration::from_millis(1);
        let mut events = Vec::new();
        self.log.poll(self.now, &mut events);
        // What the log says now was durable before now.
        let moment = self.device.moment();
        for event in events {
            match event {
                LogEvent::Durable { draft } => self.history.acknowledge(draft.id, moment),
                // It waited for space for too long: its record was never written.
                LogEvent::Failed { draft } => self.history.refuse(draft.id),
                LogEvent::Closed { .. } | LogEvent::Damaged { .. } | LogEvent::Broken { .. } => panic!("{event:?}"),
                _ => {}
            }
        }
        if self.log.idle() {
            self.history.settle_all(moment);
        }
    }

    fn breathe_until(&mut self, mut done: impl FnMut(&mut Life) -> bool) {
        for _ in 0..BREATHS_MAX {
            if done(self) {
                return;
            }
            self.wait();
            self.breathe();
        }
        panic!("it never came: {:?}", self.log.status().state);
    }

    /// Takes a piece of a message, perhaps a new one, perhaps its last.
    fn receive(&mut self) {
        if self.drafts.len() < DRAFTS
            && let Ok(draft) = self.log.begin()
        {
            self.drafts.push((draft, 0));
        }
        if self.drafts.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.drafts.len());
        let (draft, given) = &mut self.drafts[place];
        let content = content_for(draft.id);
        let piece = self.random.random_range(1..=40_000).min(content.len() - *given);
        *given += self.log.content(*draft, &content[*given..*given + piece]);
        if *given == content.len() {
            let (draft, _) = self.drafts.swap_remove(place);
            self.finish(draft);
        }
    }

    fn finish(&mut self, draft: Draft) {
        let told_at = self.device.moment();
        self.log.finish(draft, envelope(recipients_for(draft.id)), self.now);
        let recipients = vec![RecipientState::default(); recipients_for(draft.id)];
        let shape = Shape { received_at: self.now.wall, held: false, recipients };
        self.history.tell(Change { id: draft.id, shape: Some(shape), told_at, accepts: true });
    }

    /// An outcome, a hold or a delete for any queued message; some are left alone until space is short.
    fn deliver(&mut self) {
        let (full, count) = (self.log.accepts(None).is_err(), self.log.count());
        if count == 0 || (count < 20 && !full && self.random.random_bool(0.5)) {
            return;
        }
        let place = self.random.random_range(0..count);
        let Some(message) = self.log.messages().nth(place) else { return };
        let (id, recipients, held) = (message.id(), message.recipients_count(), message.held());
        if id.number() % 8 == 0 && !full {
            return;
        }
        let recipients = u32::try_from(recipients).expect("small");
        let recipient = self.random.random_range(0..recipients);
        match self.random.random_range(0..10) {
            0..5 => {
                let delivered = || Outcome::Delivered { reply: "250 2.0.0 taken".into() };
                (0..recipients).for_each(|recipient| self.change(id, |log| log.settle(id, recipient, delivered())));
            }
            5 => self.change(id, |log| log.settle(id, recipient, Outcome::Bounced { reply: "550 no".into() })),
            6 => self.change(id, |log| log.hold(id, !held)),
            7 => self.change(id, |log| log.delete(id)),
            _ => {
                let (attempts, next_attempt_at) = (self.random.random_range(1..9), self.now.wall);
                let outcome = Outcome::Deferred { attempts, next_attempt_at, reply: "451 later".into() };
                self.change(id, |log| log.settle(id, recipient, outcome));
            }
        }
    }

    fn change(&mut self, id: MessageId, call: impl FnOnce(&mut Log<RealDisk>)) {
        let told_at = self.device.moment();
        call(&mut self.log);
        let shape = self.log.message(id).map(shape);
        self.history.tell(Change { id, shape, told_at, accepts: false });
    }

    fn content_of(&mut self, id: MessageId) -> Option<Vec<u8>> {
        let mut reader = self.log.reader(id)?;
        let mut content = Vec::new();
        let whole = loop {
            let count = match self.log.read(&mut reader) {
                Piece::Ready(bytes) => {
                    content.extend_from_slice(bytes);
                    bytes.len()
                }
                Piece::Pending => {
                    self.wait();
                    self.breathe();
                    0
                }
                Piece::End => break true,
                Piece::Damaged | Piece::Failed => break false,
            };
            reader.consume(count);
        };
        self.log.close_reader(reader);
        whole.then_some(content)
    }

    /// Reads everything that is queued, byte for byte.
    pub fn read_all(&mut self) -> Result<(), String> {
        let queued: Vec<MessageId> = self.log.messages().map(|message| message.id()).collect();
        for id in queued {
            let sound = self.content_of(id).is_some_and(|content| content == content_for(id));
            let message = self.log.message(id);
            if !sound || message.is_none_or(|message| *message.to_message().envelope != envelope(recipients_for(id))) {
                return Err(format!("{id} was altered"));
            }
        }
        Ok(())
    }

    /// Accepts once more: at once, or when it was full and is emptied.
    pub fn accept_again(&mut self) -> Result<(), String> {
        let drafts = std::mem::take(&mut self.drafts);
        drafts.into_iter().for_each(|(draft, _)| self.log.abort(draft));
        if self.log.accepts(None).is_err() {
            let queued: Vec<MessageId> = self.log.messages().map(|message| message.id()).collect();
            queued.into_iter().for_each(|id| self.change(id, |log| log.delete(id)));
            self.breathe_until(|life| life.log.accepts(None).is_ok());
        }
        let draft = self.log.begin().map_err(|refusal: Refusal| refusal.to_string())?;
        let (content, mut given) = (content_for(draft.id), 0);
        self.breathe_until(|life| {
            given += life.log.content(draft, &content[given..]);
            given == content.len()
        });
        self.finish(draft);
        self.breathe_until(|life| life.history.is_settled());
        if self.content_of(draft.id).is_some_and(|found| found == content) {
            Ok(())
        } else {
            Err("what was accepted is lost".to_owned())
        }
    }
}
