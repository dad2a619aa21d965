//! The adapter around the board: what its tasks take is done beside the control thread's loop, and comes back as an answer.

use super::memory::{self, MemoryError};
use super::{ArbiterKind, IdentityStatus, Kept, PairBoard, PairStatus, PairTask, Store, StoreError};
use crate::config;
use crate::control::links::{PairReport, WorkerLink};
use crate::control::orders::OrderBoard;
use crate::control::protocol::{Answer, PairCommand};
use crate::env::Instant;
use crate::event::Event;
use crate::limits::{KEEPER_RETRY_DELAY, REGISTER_RETRY_DELAY};
use crate::mirror::arbiter::{self, Outcome};
use crate::mirror::identity_of_log;
use crate::mirror::register::{Memory, Node};
use crate::port::Link;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What the control thread of a box with a partner is told besides.
pub struct PairSettings {
    /// Which of the two boxes it is.
    pub node: Node,
    /// For both arbiters.
    pub arbiter: arbiter::Settings,
    /// Of each identity the memory, and whether its logs opened without damage.
    pub copies: [(Memory, bool); 2],
    /// Where the registers are.
    pub registers: Registers,
    /// Where the memories are.
    pub directory: PathBuf,
    /// Logs that the keeper could not read, with the reason.
    pub failures: mpsc::UnboundedReceiver<(u16, String)>,
}

/// Where the registers are.
pub enum Registers {
    /// In etcd.
    Etcd(Arc<Store>),
    /// On this box, and on the other one.
    Manual(Box<Kept>),
}

impl Registers {
    /// As the configuration says; asks nobody.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(pair: &config::Pair, directory: &Path) -> Result<Registers, StoreError> {
        match pair.arbiter {
            config::Arbiter::Etcd => Store::open(pair).map(Arc::new).map(Registers::Etcd),
            config::Arbiter::Manual => Ok(Registers::Manual(Box::new(Kept::open(directory)?))),
        }
    }
}

/// How often a worker's full channel is asked again for room.
const SEND_RETRY: Duration = Duration::from_millis(2);

/// Changes of registers that wait to be told: each identity has one, and more say the same.
const NEWS_MAX: usize = 2;

/// The board, and what is done for it.
pub(in crate::control) struct Desk {
    board: PairBoard,
    node: Node,
    registers: Ways,
    directory: Arc<Path>,
    /// Held while a memory is written: that of a copy that begins may find one of the copy before still under way.
    writing: Arc<Mutex<()>>,
    links: Vec<WorkerLink>,
    errands: JoinSet<News>,
    failures: mpsc::UnboundedReceiver<(u16, String)>,
    stirred: mpsc::Receiver<Node>,
    unsent: bool,
    events: Vec<Event>,
}

/// The ways to the registers.
enum Ways {
    Etcd(Arc<Store>),
    /// What is kept here goes along with a task, and comes back with its answer: one at a time.
    Manual {
        kept: Option<Box<Kept>>,
        waiting: VecDeque<(Node, PairTask)>,
        error: Option<String>,
    },
}

/// Something that the board has to be told.
pub(in crate::control) enum News {
    Answer(Node, arbiter::Event),
    Kept(Box<Kept>, Node, PairTask, Result<Option<arbiter::Event>, MemoryError>),
    Persisted(Node, Result<(), MemoryError>),
    Renewed(Node, Result<Memory, MemoryError>),
    LogFailed(u16, String),
}

impl Desk {
    /// Within the control thread's runtime.
    pub fn new(settings: PairSettings, links: Vec<WorkerLink>, now: Instant) -> Desk {
        let PairSettings { node, arbiter, copies, registers, directory, failures } = settings;
        let (stir, stirred) = mpsc::channel(NEWS_MAX);
        let mut standings = None;
        let registers = match registers {
            Registers::Etcd(store) => {
                let watched = Arc::clone(&store);
                tokio::spawn(async move { watched.watch(stir).await });
                Ways::Etcd(store)
            }
            Registers::Manual(kept) => {
                standings = Some(Node::BOTH.map(|identity| kept.standing(identity)));
                Ways::Manual { kept: Some(kept), waiting: VecDeque::new(), error: None }
            }
        };
        Desk {
            board: PairBoard::new(node, links.len(), arbiter, copies, standings, now),
            node,
            registers,
            directory: directory.into(),
            writing: Arc::default(),
            links,
            errands: JoinSet::new(),
            failures,
            stirred,
            unsent: false,
            events: Vec::new(),
        }
    }

    /// Waits until there is something to tell the board. May be dropped at any time.
    pub async fn news(&mut self) -> News {
        loop {
            tokio::select! {
                Some(done) = self.errands.join_next() => match done {
                    Ok(news) => return news,
                    // A task that panicked has no answer, and the machine waits for one: as after any bug, the process ends.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Some((log, error)) = self.failures.recv() => return News::LogFailed(log, error),
                Some(identity) = self.stirred.recv() => return News::Answer(identity, arbiter::Event::Stirred),
                else => std::future::pending().await,
            }
        }
    }

    /// Tells the board.
    pub fn tell(&mut self, news: News, now: Instant) {
        match news {
            News::Answer(identity, event) => self.board.tell(identity, event, now),
            News::Kept(kept, identity, task, answer) => self.take_back(kept, identity, task, answer, now),
            News::Persisted(identity, Ok(())) => self.board.tell(identity, arbiter::Event::Persisted, now),
            News::Renewed(identity, Ok(memory)) => self.board.renew(identity, memory, now),
            News::Renewed(identity, Err(error)) => {
                self.events.push(Event::Warning { text: format!("the memory of identity {identity}: {error}") });
                self.renew(identity, KEEPER_RETRY_DELAY);
            }
            News::Persisted(identity, Err(error)) => {
                self.events.push(Event::Warning { text: format!("the memory of identity {identity}: {error}") });
                self.board.tell(identity, arbiter::Event::StorageFailed, now);
            }
            News::LogFailed(log, error) => {
                self.events.push(Event::StorageFailed { log, error });
                self.board.tell(identity_of_log(log), arbiter::Event::StorageFailed, now);
            }
        }
    }

    /// What is kept here has come back from a task.
    fn take_back(
        &mut self,
        back: Box<Kept>,
        identity: Node,
        task: PairTask,
        answer: Result<Option<arbiter::Event>, MemoryError>,
        now: Instant,
    ) {
        let Ways::Manual { kept, waiting, error } = &mut self.registers else { return };
        let standing = back.standing(identity);
        *kept = Some(back);
        *error = answer.as_ref().err().map(ToString::to_string);
        let event = match answer {
            Ok(event) => {
                self.board.keep(identity, standing);
                event
            }
            // The arbiter asks again; of what was heard nobody else reminds us.
            Err(_) if matches!(task, PairTask::Propose { .. }) => Some(arbiter::Event::Proposed(Outcome::Unknown)),
            Err(_) => {
                waiting.push_front((identity, task));
                None
            }
        };
        if let Some(event) = event {
            self.board.tell(identity, event, now);
        }
    }

    /// Has the next task done that asks what is kept here, if none is under way.
    fn ask_kept(&mut self) {
        let Ways::Manual { kept: place, waiting, .. } = &mut self.registers else { return };
        let Some(mut kept) = place.take() else { return };
        let Some((identity, task)) = waiting.pop_front() else {
            *place = Some(kept);
            return;
        };
        let me = self.node;
        self.errands.spawn(async move {
            let asked = tokio::task::spawn_blocking(move || {
                let answer = kept.ask(me, identity, task);
                News::Kept(kept, identity, task, answer)
            });
            let news = asked.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            if matches!(news, News::Kept(.., Err(_))) {
                tokio::time::sleep(REGISTER_RETRY_DELAY).await;
            }
            news
        });
    }

    /// The link of the port that the addresses are on, where the port knows it.
    pub fn port(&mut self, link: Option<Link>, now: Instant) {
        if let Some(Link { up, .. }) = link {
            self.board.port(up, now);
        }
    }

    /// A worker's part has changed.
    pub fn report(&mut self, report: PairReport, now: Instant) {
        self.board.report(report, now);
    }

    /// An operator asks.
    pub fn command(&mut self, command: PairCommand, now: Instant) -> Answer {
        if let Some((identity, command)) = command.for_arbiter()
            && let Err(refusal) = self.board.command(identity, command, now)
        {
            return Answer::Error { text: format!("identity {identity}: {refusal}") };
        }
        Answer::Pair { pair: Box::new(self.status()) }
    }

    /// Gives every identity that works here to the partner, where that can be done.
    pub fn leave(&mut self, now: Instant) {
        for identity in Node::BOTH {
            // Refused where there is nothing to give, or nobody to take it.
            let _ = self.board.command(identity, arbiter::Command::Move, now);
        }
    }

    /// Whether an identity is still on its way to the partner.
    pub fn is_leaving(&self) -> bool {
        Node::BOTH.iter().any(|identity| self.board.arbiter(*identity).is_moving())
    }

    /// Goes on: has tasks done, sends the workers what waits for them. What belongs into the log comes back.
    pub fn turn(&mut self, now: Instant) -> Vec<Event> {
        self.board.expire(now);
        while let Some((identity, task)) = self.board.task() {
            let directory = Arc::clone(&self.directory);
            match task {
                PairTask::Read | PairTask::Propose { .. } | PairTask::Hear(_) | PairTask::Settle(_) => {
                    match &mut self.registers {
                        Ways::Etcd(store) => {
                            let store = Arc::clone(store);
                            self.errands.spawn(async move { News::Answer(identity, store.ask(identity, task).await) });
                        }
                        Ways::Manual { waiting, .. } => wait(waiting, identity, task),
                    }
                }
                PairTask::Persist(memory) => {
                    let writing = Arc::clone(&self.writing);
                    self.errands.spawn_blocking(move || {
                        let _alone = writing.lock();
                        News::Persisted(identity, memory::persist(&directory, identity, memory))
                    });
                }
                PairTask::Renew => self.renew(identity, Duration::ZERO),
            }
        }
        self.ask_kept();
        self.unsent = !self.board.send(&self.links);
        let mut events = std::mem::take(&mut self.events);
        events.extend(std::iter::from_fn(|| self.board.event()));
        events
    }

    /// Gives a copy another name, after a pause.
    fn renew(&mut self, identity: Node, after: Duration) {
        let before = self.board.arbiter(identity).memory();
        let (writing, directory) = (Arc::clone(&self.writing), Arc::clone(&self.directory));
        self.errands.spawn(async move {
            tokio::time::sleep(after).await;
            let write = move || {
                let _alone = writing.lock();
                renew(&directory, identity, before)
            };
            match tokio::task::spawn_blocking(write).await {
                Ok(renewed) => News::Renewed(identity, renewed),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        });
    }

    /// Has the partner told of our standing orders, if it has others. Before [`Desk::turn`].
    pub fn exchange_orders(&mut self, orders: &OrderBoard, now: Instant) {
        self.board.exchange_orders(orders, &self.links, now);
    }

    /// When [`Desk::turn`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let retry = if self.unsent { now + SEND_RETRY } else { Instant::FAR };
        self.board.next_deadline().min(retry)
    }

    /// How the pair stands.
    pub fn status(&self) -> PairStatus {
        let identities = Node::BOTH.map(|identity| IdentityStatus::of(identity, &self.board));
        let (arbiter, store_error) = match &self.registers {
            Ways::Etcd(store) => (ArbiterKind::Etcd, store.error()),
            Ways::Manual { error, .. } => (ArbiterKind::Manual, error.clone()),
        };
        let orders_are_same = self.board.orders_are_same();
        PairStatus { node: self.node, arbiter, store_error, orders_are_same, identities }
    }
}

/// Lines a task up. Of what the partner says that it keeps only the last waits, however often it says something else.
fn wait(waiting: &mut VecDeque<(Node, PairTask)>, identity: Node, task: PairTask) {
    let heard = |(who, before): &&mut (Node, PairTask)| *who == identity && matches!(before, PairTask::Hear(_));
    match waiting.iter_mut().find(heard) {
        Some(place) if matches!(task, PairTask::Hear(_)) => place.1 = task,
        _ => waiting.push_back((identity, task)),
    }
}

/// A copy begins anew: what was seen and left stays so.
fn renew(directory: &Path, identity: Node, before: Memory) -> Result<Memory, MemoryError> {
    let memory = Memory { incarnation: memory::draw_incarnation()?, ..before };
    memory::persist(directory, identity, memory)?;
    Ok(memory)
}
