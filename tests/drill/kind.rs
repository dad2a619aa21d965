//! What happens to a pair in a round.

use crate::appliance::pair::{Pair, both_ways, host, link, spool};
use crate::disk;
use rohrpost::mirror::register::Node;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a killed box stays off.
const OFF: Duration = Duration::from_secs(3);
/// How long a wire stays cut.
const CUT: Duration = Duration::from_secs(5);
/// How long a disk is full, while what is accepted stays queued: time enough to need new segments.
const FULL: Duration = Duration::from_secs(20);
/// How long etcd is away.
const ETCD_AWAY: Duration = Duration::from_secs(10);
/// Between a move and the move back.
const MOVED: Duration = Duration::from_secs(2);

/// One kind of round. The *active* box is the one that works for the identity whose clients are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KillActive,
    KillStandby,
    PauseShort,
    PauseLong,
    CutPartner,
    CutToStandby,
    CutToActive,
    CutEtcd,
    CutClients,
    CutFromClients,
    CutToClients,
    Isolate,
    Unplug,
    FillDisk,
    Restart,
    Replace,
    KillBoth,
    EtcdDown,
    Move,
}

impl Kind {
    /// In the order in which they come.
    pub const ALL: [Kind; 19] = [
        Kind::KillActive,
        Kind::KillStandby,
        Kind::PauseShort,
        Kind::PauseLong,
        Kind::CutPartner,
        Kind::CutToStandby,
        Kind::CutToActive,
        Kind::CutEtcd,
        Kind::CutClients,
        Kind::CutFromClients,
        Kind::CutToClients,
        Kind::Isolate,
        Kind::Unplug,
        Kind::FillDisk,
        Kind::Restart,
        Kind::Replace,
        Kind::KillBoth,
        Kind::EtcdDown,
        Kind::Move,
    ];

    /// As the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::KillActive => "kill-active",
            Kind::KillStandby => "kill-standby",
            Kind::PauseShort => "pause-1s",
            Kind::PauseLong => "pause-10s",
            Kind::CutPartner => "cut-partner",
            Kind::CutToStandby => "cut-to-standby",
            Kind::CutToActive => "cut-to-active",
            Kind::CutEtcd => "cut-etcd",
            Kind::CutClients => "cut-clients",
            Kind::CutFromClients => "cut-from-clients",
            Kind::CutToClients => "cut-to-clients",
            Kind::Isolate => "isolate",
            Kind::Unplug => "unplug",
            Kind::FillDisk => "fill-disk",
            Kind::Restart => "restart",
            Kind::Replace => "replace",
            Kind::KillBoth => "kill-both",
            Kind::EtcdDown => "etcd-down",
            Kind::Move => "move",
        }
    }

    /// Nothing breaks between a box and the receiver in it, and so nothing may come twice.
    pub const fn is_without_fault(self) -> bool {
        matches!(self, Kind::EtcdDown | Kind::Move | Kind::Restart) || self.is_unseen()
    }

    /// Both boxes are off for a while.
    pub const fn spares_no_box(self) -> bool {
        matches!(self, Kind::KillBoth)
    }

    /// The boxes cannot know of it: the partner, etcd and the receiver are reached, and clients that send nothing may have nothing
    /// to send. So nobody may take over by itself.
    pub const fn is_unseen(self) -> bool {
        matches!(self, Kind::CutClients | Kind::CutFromClients | Kind::CutToClients)
    }

    /// Clients wait at least for as long as it lasts, since there is no box that could, or would know to, take over.
    pub const fn has_no_way_round(self) -> bool {
        self.spares_no_box() || self.is_unseen()
    }

    /// Lets it happen, and ends it. Gives the moment from which on all was as it should be.
    pub fn happen(self, pair: &mut Pair, active: Node, identity: Node) -> Instant {
        let standby = active.partner();
        match self {
            Kind::KillActive => off(pair, &[active], OFF),
            Kind::KillStandby => off(pair, &[standby], OFF),
            Kind::KillBoth => off(pair, &[active, standby], OFF),
            Kind::PauseShort => pause(pair, active, Duration::from_secs(1)),
            Kind::PauseLong => pause(pair, active, Duration::from_secs(10)),
            Kind::CutPartner => cut(pair, &both_ways(link(active), link(standby)), CUT),
            Kind::CutToStandby => cut(pair, &[(link(active), link(standby))], CUT),
            Kind::CutToActive => cut(pair, &[(link(standby), link(active))], CUT),
            Kind::CutEtcd => cut(pair, &both_ways(host(active), "etcd"), CUT),
            Kind::CutClients => cut(pair, &both_ways("client", host(active)), CUT),
            Kind::CutFromClients => cut(pair, &[("client", host(active))], CUT),
            Kind::CutToClients => cut(pair, &[(host(active), "client")], CUT),
            Kind::Isolate => {
                let ways = [both_ways(link(active), link(standby)), both_ways(host(active), "etcd")].concat();
                cut(pair, &ways, CUT)
            }
            Kind::Unplug => {
                pair.lab.plug(active, false);
                sleep(CUT);
                pair.lab.plug(active, true);
                Instant::now()
            }
            Kind::FillDisk => {
                let full = disk::fill(&spool(&pair.lab, active));
                let ways = [both_ways(host(active), "mx"), both_ways(host(standby), "mx")].concat();
                cut(pair, &ways, FULL);
                drop(full);
                Instant::now()
            }
            Kind::Restart => {
                let ended = pair.of_mut(active).stop();
                if !ended.success() {
                    eprintln!("drill: box {active} did not end in order: {ended}");
                }
                start(pair, &[active])
            }
            Kind::Replace => {
                pair.of_mut(active).kill();
                pair.wipe(active);
                sleep(OFF);
                start(pair, &[active])
            }
            Kind::EtcdDown => {
                pair.lab.kill_etcd();
                sleep(ETCD_AWAY);
                pair.lab.start_etcd();
                Instant::now()
            }
            Kind::Move => {
                for from in [active, standby] {
                    if let Err(said) = pair.of(from).try_rohrpost(&["pair", "move", host(identity)]) {
                        eprintln!("drill: box {from} did not move identity {identity}: {said}");
                    }
                    sleep(MOVED);
                }
                Instant::now()
            }
        }
    }
}

fn off(pair: &mut Pair, nodes: &[Node], time: Duration) -> Instant {
    nodes.iter().for_each(|node| pair.of_mut(*node).strike());
    for node in nodes {
        pair.of_mut(*node).wait();
    }
    sleep(time);
    start(pair, nodes)
}

fn start(pair: &mut Pair, nodes: &[Node]) -> Instant {
    let begun = Instant::now();
    nodes.iter().for_each(|node| pair.of_mut(*node).begin_again());
    begun
}

fn pause(pair: &Pair, node: Node, time: Duration) -> Instant {
    pair.of(node).signal("STOP");
    sleep(time);
    pair.of(node).signal("CONT");
    Instant::now()
}

fn cut(pair: &Pair, ways: &[(&str, &str)], time: Duration) -> Instant {
    let cut = pair.lab.cut(ways);
    sleep(time);
    drop(cut);
    Instant::now()
}
