//! A simulated box: the appliance as it is put together in production, on a simulated network card, disk and clock.

mod orders;
mod pair;

pub(super) use pair::{Linger, Question};

use super::clock::{BoxClock, ProcessClock};
use super::fault;
use super::ledger::Ledger;
use super::signing::{self, Signer};
use crate::appliance::settings::{self, Traffic};
use crate::appliance::shares::{self, ShareError};
use crate::appliance::{Appliance, Station};
use crate::config::Certificate;
use crate::control::{
    self, About, Answer, FromWorker, FromWorkers, NameBoard, PairBoard, Request, Switchboard, WorkerLink,
};
use crate::dkim::{self, Crew};
use crate::dns;
use crate::env::disk::SimDisk;
use crate::env::{Clock, Instant, Wakeup};
use crate::event::Event;
use crate::limits::Gauge;
use crate::mirror::link::VERSION;
use crate::mirror::register::{Incarnation, Memory, Node as Identity};
use crate::mirror::standing::Standing;
use crate::mirror::{LOGS_PER_IDENTITY, arbiter, identity_of_log};
use crate::port::lane::{self, Lane};
use crate::port::sim::{HostId, Link, Network, SimPort, Steering};
#[cfg(test)]
use crate::smtp::client::Credentials;
use crate::spool::{self, Log, MessageId, Recovery};
use crate::tcp::{Stack, Stacks};
use crate::tls::{Client, Pinned, Server};
use crate::worker::{Exchange, PairEquipment, Worker, worker_of_log};
use pair::Pair;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// What a breath in which something was done takes.
const BREATH_DURATION: Duration = Duration::from_micros(5);

/// Messages of workers that wait for the control thread; the world takes them after every step.
const MESSAGES_MAX: usize = 4096;

/// The address of the first box; the last byte of the second one's is another.
pub(super) const HARDWARE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The switch between the ports that carry the links of a pair alone.
const LINKS_SWITCH: u8 = 1;

/// How a process ends that does not want to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The process is killed: what it had handed over is written whole or not at all.
    Kill,
    /// The box loses power: what was under way is torn.
    PowerLoss,
}

/// Its disks and memories.
type Snapshot = (BTreeMap<u16, SimDisk>, [Option<Memory>; 2]);

/// The box, running or not.
pub(super) struct Node {
    appliance: Appliance,
    pub clock: BoxClock,
    pub disks: BTreeMap<u16, SimDisk>,
    disk_latency: RangeInclusive<u64>,
    link: Link,
    port_up: bool,
    shortage: f64,
    steering: Steering,
    running: Option<Running>,
    /// The process is stopped until then, and does not know.
    paused_until: Instant,
    /// The first table that held more than it may.
    pub exceeded: Option<Gauge>,
    /// The most that each table held, if somebody asks.
    pub peaks: Option<BTreeMap<&'static str, u64>>,
    /// The worker whose thread gets no time.
    pub asleep: Option<usize>,
    /// Queues of its card; as many as it has workers, where none are said.
    pub queues: Option<u16>,
    /// Changes what a log is told, where no configuration can.
    pub adjust: fn(&mut spool::Settings),
    pub hardware_address: [u8; 6],
    /// What its links are encrypted with.
    pub tls: Option<Arc<Pinned>>,
    /// What it speaks TLS with next hops with, if it does.
    pub client_tls: Option<fn() -> Client>,
    /// What it signs mail with, if it does.
    signer: Option<Signer>,
    /// What it must not forget of the two identities of its pair; lost with its disks.
    pub memories: [Option<Memory>; 2],
    /// The version of the mirror protocol that its release speaks.
    pub protocol: u8,
    /// Its disks and memories as they were some time ago.
    snapshot: Option<Snapshot>,
    /// What it keeps of their registers, where there is no store.
    pub standings: Option<[Standing; 2]>,
    /// What it keeps of standing orders; not lost with its disks, as operators give them again.
    orders: Arc<Mutex<Vec<u8>>>,
    /// How often it was started: what an earlier process asked is no answer to a later one.
    pub life: u64,
}

type SimWorker = Worker<Stacks<Lane<SimPort>>, SimDisk, ProcessClock>;

struct Running {
    clock: ProcessClock,
    workers: Vec<Option<SimWorker>>,
    switchboard: Switchboard,
    from: FromWorkers,
    /// Its places in the network: that of mail, and that of the links if they have a port of their own.
    hosts: Vec<HostId>,
    due: Instant,
    pair: Option<Pair>,
    names: NameBoard,
    /// What workers have asked about, and the control thread has not heard yet.
    asked: Vec<(u16, Box<str>)>,
    /// The crew's end of the rings, and the ways to the workers, if it signs.
    crew: Option<(Crew, Vec<WorkerLink>)>,
}

/// Why a process does not start.
#[derive(Debug)]
pub(super) struct Refused {
    pub why: String,
    /// What it asks its operator to make of `size_max`, bytes.
    pub size_max: Option<u64>,
}

impl From<String> for Refused {
    fn from(why: String) -> Refused {
        Refused { why, size_max: None }
    }
}

impl From<ShareError> for Refused {
    fn from(error: ShareError) -> Refused {
        let size_max = if let ShareError::NoRoom { wanted, .. } = error { Some(wanted) } else { None };
        Refused { why: error.to_string(), size_max }
    }
}

impl Node {
    pub(super) fn new(
        appliance: Appliance,
        clock: BoxClock,
        disk_latency: RangeInclusive<u64>,
        steering: Steering,
    ) -> Node {
        let (disks, link) = (BTreeMap::new(), Link::default());
        Node {
            appliance,
            clock,
            disks,
            disk_latency,
            link,
            port_up: true,
            shortage: 0.0,
            steering,
            running: None,
            paused_until: Instant::ZERO,
            exceeded: None,
            peaks: None,
            asleep: None,
            queues: None,
            adjust: |_| {},
            hardware_address: HARDWARE_ADDRESS,
            tls: None,
            client_tls: None,
            signer: None,
            memories: [None; 2],
            protocol: VERSION,
            snapshot: None,
            standings: None,
            orders: Arc::default(),
            life: 0,
        }
    }

    /// Offers TLS to clients from the next start on.
    pub(super) fn offer_tls(&mut self, server: Server) {
        let config = Arc::make_mut(&mut self.appliance.config);
        // Never read: the server is made already.
        config.certificates.push(Certificate { chain: "own.pem".into(), key: "own.key".into() });
        self.appliance.tls = Some(Arc::new(server));
    }

    /// What its routes' credentials are from the next start on.
    #[cfg(test)]
    pub(super) fn give_credentials(&mut self, text: &str) {
        let credentials = Credentials::parse(text.as_bytes()).expect("good ones");
        self.appliance.credentials = Arc::new([Arc::new(credentials)]);
    }

    /// Signs all mail from the next start on.
    pub(super) fn sign(&mut self, signer: Signer) {
        Arc::make_mut(&mut self.appliance.config).dkim.push(signing::section());
        self.signer = Some(signer);
    }

    /// Does what a refused start asks for.
    pub(super) fn set_size_max(&mut self, size_max: u64) {
        Arc::make_mut(&mut self.appliance.config).spool.size_max.0 = size_max;
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it has been told to stop and has not stopped yet.
    pub(super) fn is_stopping(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.switchboard.stopping())
    }

    /// Its place in the network, while it runs.
    pub(super) fn host(&self) -> Option<HostId> {
        self.running.as_ref().map(|running| running.hosts[0])
    }

    /// The place in the network of its links, while it runs.
    pub(super) fn links_host(&self) -> Option<HostId> {
        self.running.as_ref().and_then(|running| running.hosts.last().copied())
    }

    /// Starts the process, with `workers` workers; every log that there is finds one.
    pub(super) fn start(
        &mut self,
        network: &Network,
        workers: u16,
        random: &mut StdRng,
        ledger: &mut Ledger,
    ) -> Result<(), Refused> {
        assert!(self.running.is_none(), "one process a box");
        if self.appliance.config.pair.is_some() {
            return self.start_pair(network, workers, random, ledger);
        }
        let clock = self.clock.process();
        self.make_disks(0..workers, random);
        let mut logs: BTreeMap<u16, Log<SimDisk>> = BTreeMap::new();
        // Those that there are already come first, as they leave the rest to the new ones.
        // Where nothing is there is no log of a former worker.
        let there = self.disks.iter().filter(|(number, disk)| **number < workers || disk.size() > 0);
        let mut disks: Vec<(&u16, &SimDisk)> = there.collect();
        disks.sort_by_key(|(_, disk)| disk.size() == 0);
        let mut share = None;
        for (number, disk) in disks {
            if disk.size() == 0 && share.is_none() {
                let existing = logs.iter_mut().map(|(number, log)| (*number, log));
                let left = shares::share_out(&self.appliance.config, workers, existing);
                share = Some(left?);
            }
            // A blocking open lets its own operations complete.
            disk.advance(Instant::FAR);
            let mut settings = settings::spool(&self.appliance.config, *number, workers);
            settings.segments_max = share.unwrap_or(settings.segments_max);
            (self.adjust)(&mut settings);
            let opened = Log::open(disk.clone(), settings, clock.now());
            disk.advance(self.clock.now());
            let (log, recovery) = opened.map_err(|error| error.to_string())?;
            self.note_recovery(ledger, *number, &recovery);
            for damage in &recovery.damages.list {
                ledger.damage(self.clock.now(), format_args!("log {number}: {damage}"));
            }
            for id in log.damaged() {
                ledger.damage(self.clock.now(), format_args!("log {number}: {id} is damaged"));
            }
            logs.insert(*number, log);
        }
        if share.is_none() {
            let existing = logs.iter_mut().map(|(number, log)| (*number, log));
            shares::share_out(&self.appliance.config, workers, existing)?;
        }
        self.launch(network, workers, random, logs, None)
    }

    /// Has a disk for each of these logs.
    fn make_disks(&mut self, numbers: impl Iterator<Item = u16>, random: &mut StdRng) {
        for number in numbers {
            let latency = self.disk_latency.clone();
            self.disks.entry(number).or_insert_with(|| {
                let disk = SimDisk::new(random.random());
                disk.set_latency(latency);
                disk
            });
        }
    }

    fn note_recovery(&self, ledger: &mut Ledger, number: u16, recovery: &Recovery) {
        let Recovery { messages, batches, cut, .. } = recovery;
        let what = format_args!("log {number}: {messages} messages in {batches} batches, cut {cut:?}");
        ledger.trace.note(self.clock.now(), what);
    }

    /// Starts the process of a box with a partner: all its logs follow, until the arbiter orders otherwise.
    fn start_pair(
        &mut self,
        network: &Network,
        workers: u16,
        random: &mut StdRng,
        ledger: &mut Ledger,
    ) -> Result<(), Refused> {
        let clock = self.clock.process();
        let pair = self.appliance.config.pair.as_ref().expect("a pair");
        let logs_max = pair.logs_of_identity(workers);
        self.make_disks((0..logs_max).chain(LOGS_PER_IDENTITY..LOGS_PER_IDENTITY + logs_max), random);
        let mut fit = [true; 2];
        let mut logs = BTreeMap::new();
        for (number, disk) in &self.disks {
            disk.advance(Instant::FAR);
            let mut settings = settings::replica(&self.appliance.config, *number, logs_max);
            (self.adjust)(&mut settings);
            let opened = Log::open_replica(disk.clone(), settings, clock.now());
            disk.advance(self.clock.now());
            let (log, recovery) = opened.map_err(|error| error.to_string())?;
            self.note_recovery(ledger, *number, &recovery);
            for damage in &recovery.damages.list {
                ledger.trace.note(self.clock.now(), format_args!("log {number}: {damage}"));
            }
            fit[identity_of_log(*number) as usize] &= recovery.is_fit();
            logs.insert(*number, log);
        }
        let copies = [0, 1].map(|place| {
            let memory = self.memories[place].get_or_insert_with(|| {
                Memory::new(Incarnation::new(random.random_range(1..u64::MAX)).expect("not zero"))
            });
            (*memory, fit[place])
        });
        self.launch(network, workers, random, logs, Some(copies))
    }

    fn launch(
        &mut self,
        network: &Network,
        workers: u16,
        random: &mut StdRng,
        logs: BTreeMap<u16, Log<SimDisk>>,
        copies: Option<[(Memory, bool); 2]>,
    ) -> Result<(), Refused> {
        let clock = self.clock.process();
        let mut of_workers: Vec<Vec<(u16, Log<SimDisk>)>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, log) in logs {
            of_workers[usize::from(worker_of_log(number, workers))].push((number, log));
        }
        let (links, ends, from) = control::links(workers, MESSAGES_MAX).map_err(|error| error.to_string())?;
        let wakeups: Result<Vec<_>, _> = (0..workers).map(|_| Wakeup::new()).collect();
        let wakeups = wakeups.map_err(|error| error.to_string())?;
        let queues = self.queues.unwrap_or(workers);
        let (mut hosts, mut shares) = (Vec::new(), Vec::new());
        for (_, traffic) in settings::ports(&self.appliance.config) {
            let mut hardware_address = self.hardware_address;
            hardware_address[4] = hosts.len() as u8;
            let link = if traffic == Traffic::Links { self.link } else { self.mail_link() };
            let ports = network.attach_queues(hardware_address, link, usize::from(queues), self.steering);
            let host = ports[0].host();
            if traffic == Traffic::Links {
                network.plug_into(host, LINKS_SWITCH);
            }
            network.set_shortage(host, self.shortage);
            hosts.push(host);
            let lanes = lane::share_out(ports, usize::from(workers)).map_err(|error| error.to_string())?;
            shares.push((traffic, lanes.into_iter()));
        }
        let board = self.order_board(clock.now())?;
        self.appliance.orders = Arc::new(board.compile());
        let mut signing = Vec::new();
        let mut crew = None;
        if let Some(signer) = &mut self.signer {
            let now = self.clock.now();
            self.appliance.keyring = Some(Arc::new(signing::keyring(signer.is_valid(now))));
            signer.started(now);
            let (ends, of_crew) = dkim::connect(&wakeups);
            (signing, crew) = (ends, Some((of_crew, links.clone())));
        }
        let mut signing = signing.into_iter();
        let isn_key = random.random();
        let (keeper, errands) = crossbeam::channel::unbounded();
        let (mut kept, mut all) = (Vec::new(), Vec::new());
        let parts = ends.into_iter().zip(of_workers).zip(Exchange::connect(&wakeups)).zip(wakeups.iter().cloned());
        for (((end, logs), exchange), exchange_wakeup) in parts {
            let stacks = shares.iter_mut().flat_map(|(traffic, lanes)| lanes.next().map(|lane| (*traffic, lane)));
            let stacks = stacks.map(|(traffic, lane)| {
                let (config, seed) = (&self.appliance.config, random.random());
                let tcp = settings::tcp(config, traffic, end.worker, (workers, queues), isn_key, seed);
                Stack::new(lane, tcp, clock.mono())
            });
            let transport = Stacks::new(stacks.collect());
            let pair = self.appliance.config.pair.as_ref().map(|pair| {
                let (back, from_keeper) = crossbeam::channel::unbounded();
                kept.push(back);
                let equipment =
                    settings::pair(&self.appliance.config, pair, self.tls.clone(), keeper.clone(), from_keeper);
                PairEquipment { protocol: self.protocol, ..equipment }
            });
            let station = Station {
                tls: self.client_tls.map(|make| make()),
                clock: clock.clone(),
                transport,
                logs,
                exchange,
                exchange_wakeup,
                control: end,
                seed: random.random(),
                signing: signing.next(),
                pair,
            };
            all.push(Some(Worker::new(self.appliance.equip(station))));
        }
        let about = About {
            release: String::new(),
            hostname: self.appliance.config.hostname.clone(),
            transport: "simulated".to_owned(),
            transport_detail: String::new(),
            link: None,
            started_at: self.clock.wall(),
        };
        self.life += 1;
        let pair = self.appliance.config.pair.as_ref().zip(copies).map(|(pair, copies)| {
            let settings = settings::arbiter(&self.appliance.config, pair);
            let me = settings::node(pair);
            let mut board = PairBoard::new(me, usize::from(workers), settings, copies, self.standings, clock.mono());
            board.port(self.port_up, clock.mono());
            Pair::new(me, board, errands, kept, links.clone())
        });
        let rules = settings::dns(&self.appliance.config, Vec::new(), &[], None).rules;
        let names = NameBoard::new(rules, links.clone());
        let switchboard = Switchboard::new(about, links);
        let switchboard = switchboard.with_orders(board, clock.now());
        let (due, asked) = (self.clock.now(), Vec::new());
        self.running = Some(Running { clock, workers: all, switchboard, from, hosts, due, pair, names, asked, crew });
        Ok(())
    }

    /// Whether one of its logs has come round and is about to write over a segment.
    pub(super) fn is_reusing(&self) -> bool {
        self.is_running() && self.disks.values().any(SimDisk::is_reusing)
    }

    /// Stops the process without its knowing.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = until;
    }

    /// Sets its cables to the switches.
    pub(super) fn set_link(&mut self, network: &Network, link: Link) {
        self.link = link;
        self.running.iter().flat_map(|running| &running.hosts).for_each(|host| network.set_link(*host, link));
        self.plug(network, self.port_up);
    }

    /// Whether the cable of the port that the addresses are on is plugged in.
    pub(super) fn plug(&mut self, network: &Network, up: bool) {
        self.port_up = up;
        let link = self.mail_link();
        if let Some(running) = &mut self.running {
            network.set_link(running.hosts[0], link);
            if let Some(pair) = &mut running.pair {
                pair.board.port(up, running.clock.mono());
                running.due = self.clock.now();
            }
        }
    }

    fn mail_link(&self) -> Link {
        if self.port_up { self.link } else { Link { loss: 1.0, ..self.link } }
    }

    /// In this share of breaths its network cards have no free buffer.
    pub(super) fn set_shortage(&mut self, network: &Network, share: f64) {
        self.shortage = share;
        self.running.iter().flat_map(|running| &running.hosts).for_each(|host| network.set_shortage(*host, share));
    }

    /// When it must be looked at.
    pub(super) fn next(&self) -> Instant {
        let now = self.clock.now();
        let Some(running) = &self.running else { return Instant::FAR };
        let awake = running.workers.iter().enumerate().filter(|(place, _)| Some(*place) != self.asleep);
        let waiting = (awake.filter_map(|(_, worker)| worker.as_ref()))
            .flat_map(|worker| worker.transport().each())
            .any(|stack| stack.port().queues().iter().any(SimPort::waiting));
        // What a worker that has stopped left under way interests nobody.
        let workers = running.workers.len() as u16;
        let polled = |number: &u16| {
            let place = usize::from(worker_of_log(*number, workers));
            running.workers[place].is_some() && self.asleep != Some(place)
        };
        let disks = self.disks.iter().filter(|(number, _)| polled(number));
        let disks = disks.filter_map(|(_, disk)| disk.next_completion()).min().unwrap_or(Instant::FAR);
        let pair = running.pair.as_ref().map_or(Instant::FAR, |pair| running.clock.world(pair.next()));
        let order = running.switchboard.order_ends_at().map_or(Instant::FAR, |at| running.clock.world(at));
        let signer = self.signer.as_ref().map_or(Instant::FAR, |signer| signer.next(now));
        let due = if waiting { now } else { running.due.min(disks).min(pair).min(signer).min(order).max(now) };
        due.max(self.paused_until)
    }

    /// One breath of each worker.
    pub(super) fn step(&mut self) {
        let now = self.clock.now();
        if now < self.paused_until {
            return;
        }
        for disk in self.disks.values() {
            disk.advance(now);
        }
        let Some(running) = &mut self.running else { return };
        let mut busy = false;
        if let (Some(signer), Some((crew, links))) = (&mut self.signer, &running.crew) {
            busy |= signer.step(now, crew, links);
        }
        running.due = Instant::FAR;
        for (number, place) in running.workers.iter_mut().enumerate() {
            let Some(worker) = place.as_mut().filter(|_| self.asleep != Some(number)) else { continue };
            busy |= worker.breath();
            running.due = running.due.min(running.clock.world(worker.next_deadline()));
            let queues = worker.transport().each().iter().flat_map(|stack| stack.port().queues());
            let idle: usize = queues.map(SimPort::frames_out).sum();
            assert_eq!(idle, 0, "between two breaths no frame is out of its pool");
            let mut see = |gauge: Gauge| {
                if !gauge.holds() {
                    self.exceeded.get_or_insert(gauge);
                }
                if let Some(peaks) = &mut self.peaks {
                    let peak = peaks.entry(gauge.name).or_default();
                    *peak = gauge.count.max(*peak);
                }
            };
            worker.gauge(&mut see);
            worker.transport().gauge(&mut see);
            if worker.stopped()
                && let Some(worker) = place.take()
            {
                worker.finish();
            }
        }
        let awake = running.workers.iter().enumerate().filter(|(number, _)| self.asleep != Some(*number));
        busy |= awake.filter_map(|(_, worker)| worker.as_ref()).any(Worker::has_letters);
        if let (Some(signer), Some((crew, links))) = (&mut self.signer, &running.crew) {
            busy |= signer.step(now, crew, links);
        }
        if busy {
            running.due = now + BREATH_DURATION;
        }
    }

    /// Whether one of its logs has this message.
    pub(super) fn holds(&self, id: MessageId) -> bool {
        let mut workers = self.running.iter().flat_map(|running| running.workers.iter().flatten());
        workers.any(|worker| worker.holds(id))
    }

    /// How its logs are, for the story of a failure.
    pub(super) fn describe(&self) -> String {
        let workers = self.running.iter().flat_map(|running| running.workers.iter());
        workers.map(|worker| worker.as_ref().map_or("stopped; ".to_owned(), |worker| worker.describe())).collect()
    }

    /// What the process has told since the last time, and whether it has ended.
    pub(super) fn events(&mut self, random: &mut StdRng) -> (Vec<Event>, bool) {
        let Some(running) = &mut self.running else { return (Vec::new(), false) };
        let now = running.clock.now();
        let (mut events, mut told) = (Vec::new(), Vec::new());
        while let Ok(message) = running.from.receiver.try_recv() {
            match (message, &mut running.pair) {
                (FromWorker::Pair(report), Some(pair)) => pair.hear(report, now.mono),
                (FromWorker::PartnerTold(bytes), _) => told.push(bytes),
                (FromWorker::Domain { worker, domain }, _) => running.asked.push((worker, domain)),
                (message, _) => events.extend(running.switchboard.take(message, now, 0)),
            }
        }
        if !told.is_empty() {
            running.switchboard.hear_orders(&told, now);
        }
        running.switchboard.expire(now, 0);
        let news = running.switchboard.news();
        if !news.is_empty() {
            running.due = self.clock.now();
        }
        events.extend(news);
        if let Some(pair) = &mut running.pair {
            let kept = (&mut self.memories, &mut self.standings);
            pair.exchange_orders(running.switchboard.orders(), now.mono);
            pair.step(now, (self.life, self.clock.now()), &self.disks, kept, random);
            while let Some(event) = pair.board.event() {
                events.push(event);
            }
        }
        let ended = running.workers.iter().all(Option::is_none);
        if ended {
            self.end(Death::Kill, random);
        }
        (events, ended)
    }

    /// The process is gone, and with it all that the disks have not told it yet.
    fn end(&mut self, death: Death, random: &mut StdRng) {
        if let (Some(pair), Some(standings)) =
            (self.running.take().and_then(|running| running.pair), &mut self.standings)
        {
            pair.asking.break_off(pair.me, standings, random);
        }
        for disk in self.disks.values_mut() {
            *disk = match death {
                Death::Kill => disk.kill(random.random()),
                Death::PowerLoss => disk.crash(random.random()),
            };
        }
    }

    /// What the destination of a domain is called here.
    pub(super) fn destination_of(&self, domain: &str) -> String {
        self.appliance.routes.describe(domain)
    }

    /// An operator asks.
    pub(super) fn ask(&mut self, request: Request) -> Option<oneshot::Receiver<Vec<Answer>>> {
        let running = self.running.as_mut()?;
        let (sender, receiver) = oneshot::channel();
        running.switchboard.ask(request, sender, running.clock.now(), 0);
        running.due = self.clock.now();
        Some(receiver)
    }

    /// What workers have asked about since the last time.
    pub(super) fn domains_asked(&mut self) -> Vec<(u16, Box<str>)> {
        self.running.as_mut().map(|running| std::mem::take(&mut running.asked)).unwrap_or_default()
    }

    /// The control thread hears that a worker asks about a domain.
    pub(super) fn ask_about(&mut self, worker: u16, domain: &str) {
        if let Some(running) = &mut self.running {
            running.names.ask(running.clock.mono(), worker, domain);
        }
    }

    /// A resolver's reply, unless it was asked by a process that is gone.
    pub(super) fn tell_name(&mut self, life: u64, question: &dns::Question, reply: dns::Reply) {
        if life == self.life
            && let Some(running) = &mut self.running
        {
            running.names.tell(running.clock.mono(), question, reply);
        }
    }

    /// The next question for a resolver; what is known meanwhile goes to the workers.
    pub(super) fn name_question(&mut self) -> Option<dns::Question> {
        let running = self.running.as_mut()?;
        if running.names.has_answers() {
            running.names.send();
            running.due = self.clock.now();
        }
        let (names, exceeded) = (&running.names, &mut self.exceeded);
        names.gauge(&mut |gauge| {
            if !gauge.holds() {
                exceeded.get_or_insert(gauge);
            }
        });
        running.names.question()
    }

    /// What the arbiters ask of the store.
    pub(super) fn questions(&mut self) -> Vec<Question> {
        let pair = self.running.as_mut().and_then(|running| running.pair.as_mut());
        pair.map(Pair::questions).unwrap_or_default()
    }

    /// The store's answer, unless it was asked by a process that is gone.
    pub(super) fn answer(&mut self, life: u64, identity: Identity, event: arbiter::Event) {
        if life == self.life
            && let Some(running) = &mut self.running
            && let Some(pair) = &mut running.pair
        {
            pair.answer(identity, event, running.clock.mono());
            running.due = self.clock.now();
        }
    }

    /// An operator's command about an identity; whether it was taken.
    pub(super) fn command(&mut self, identity: Identity, command: arbiter::Command) -> bool {
        let Some(running) = &mut self.running else { return false };
        let now = running.clock.mono();
        let taken = running.pair.as_mut().is_some_and(|pair| pair.board.command(identity, command, now).is_ok());
        if taken {
            running.due = self.clock.now();
        }
        taken
    }

    /// What this box does for an identity, while it runs.
    pub(super) fn stage(&self, identity: Identity) -> Option<arbiter::Stage> {
        let pair = self.running.as_ref()?.pair.as_ref()?;
        Some(pair.board.arbiter(identity).stage())
    }

    /// From now on it waits for a stage to linger at, or for none.
    pub(super) fn set_linger(&mut self, linger: Option<Linger>) {
        if let Some(pair) = self.running.as_mut().and_then(|running| running.pair.as_mut()) {
            pair.set_linger(linger);
        }
    }

    /// For which identity it lingers, once it is to meet something.
    pub(super) fn lingers(&self) -> Option<Identity> {
        let running = self.running.as_ref()?;
        running.pair.as_ref()?.lingers(running.clock.mono())
    }

    /// Its arbiter is told this, whoever may have found it out.
    pub(super) fn tell(&mut self, identity: Identity, event: arbiter::Event) {
        self.answer(self.life, identity, event);
    }

    /// What its arbiters have met since the last time.
    pub(super) fn met(&mut self) -> BTreeSet<(arbiter::Stage, arbiter::Cause)> {
        let pair = self.running.as_mut().and_then(|running| running.pair.as_mut());
        pair.map(|pair| pair.board.met()).unwrap_or_default()
    }

    /// Its disks take so long from now on, nanoseconds.
    pub(super) fn set_latency(&mut self, latency: RangeInclusive<u64>) {
        self.disks.values().for_each(|disk| disk.set_latency(latency.clone()));
        self.disk_latency = latency;
    }

    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Copies its disks as they are, as a backup of a box does that runs.
    pub(super) fn take_snapshot(&mut self, random: &mut StdRng) {
        let disks = self.disks.iter().map(|(number, disk)| (*number, disk.crash(random.random())));
        self.snapshot = Some((disks.collect(), self.memories));
    }

    /// A box that is off is given other disks: what the snapshot has, or empty ones.
    pub(super) fn exchange_disks(&mut self, exchange: fault::Exchange) {
        assert!(self.running.is_none(), "it is off");
        let snapshot = if exchange == fault::Exchange::Stale { self.snapshot.take() } else { None };
        (self.disks, self.memories) = snapshot.unwrap_or_default();
        let now = self.clock.now();
        self.disks.values().for_each(|disk| disk.advance(now));
    }

    /// What needs an operator, while it runs.
    pub(super) fn trouble(&self, identity: Identity) -> Option<arbiter::Trouble> {
        let pair = self.running.as_ref()?.pair.as_ref()?;
        pair.board.arbiter(identity).trouble()
    }

    /// SIGTERM.
    pub(super) fn stop(&mut self, finish_within: Duration) {
        if let Some(running) = &mut self.running {
            running.switchboard.stop(finish_within);
            running.due = self.clock.now();
        }
    }

    /// Ends the process in the middle of a breath: after some of what it does there has left it. Says what it told last.
    pub(super) fn die(&mut self, network: &Network, death: Death, random: &mut StdRng) -> Vec<Event> {
        let Some(running) = &self.running else { return Vec::new() };
        // The disk comes first in a breath, the frames leave at its end.
        if random.random_bool(0.5) {
            running.hosts.iter().for_each(|host| network.send_no_more_than(*host, 0));
            let operations = random.random_range(0..4);
            self.disks.values().for_each(|disk| disk.take_no_more_than(operations));
        } else {
            for host in &running.hosts {
                network.send_no_more_than(*host, random.random_range(0..8));
            }
        }
        self.paused_until = Instant::ZERO;
        self.step();
        let (events, ended) = self.events(random);
        if !ended {
            self.end(death, random);
        }
        events
    }
}
