//! A pair of boxes, with etcd beside them or an operator instead, and a receiver behind them.

use super::load::message;
use super::receiver::Receiver;
use super::{Appliance, Lab, MX, eventually};
use rohrpost::control::{Answer, Client, IdentityStatus, PairCommand, PairStatus, Request};
use rohrpost::mirror::register::{Mode, Node};
use rohrpost::tls::OwnKey;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Both of them.
pub const NODES: [Node; 2] = [Node::A, Node::B];

/// How long the two may take for what they do by themselves.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the drill's boxes are told beside what every pair is: a fault must not make mail wait for a minute, and clients that
/// hang after one must not keep others out.
const MORE: &str = "[limits]\nconnections_per_client = 100000\nconnections = 100000\n\
                    [retry]\nfirst = \"1s\"\nmax = \"2s\"\n\
                    [delivery]\nhost_backoff = \"1s\"\nhost_backoff_max = \"1s\"\n";

/// How the boxes reach an etcd that serves whoever asks.
const ETCD: &str = "etcd = [\"http://192.0.2.40:2379\"]\n";

/// Where the links go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Over a cable of their own.
    OwnPort,
    /// Over the wire of all mail.
    OnePort,
}

/// The two boxes.
pub struct Pair {
    pub boxes: [Appliance; 2],
    pub links: Links,
    pub receiver: Receiver,
    // Dropped last: the others run in it.
    pub lab: Lab,
}

impl Pair {
    /// A pair that has just been switched on: neither identity exists yet. `None`, aloud, where there cannot be one.
    pub fn up(links: Links) -> Option<Pair> {
        Pair::up_on(links, |_| {})
    }

    /// The same on spools whose folders, which are there and empty, something was done with before.
    pub fn up_on(links: Links, prepare: impl Fn(&Path)) -> Option<Pair> {
        Pair::up_with(links, prepare, |_, text| text)
    }

    /// A pair of which box b has two workers, and box a one.
    pub fn up_uneven() -> Option<Pair> {
        let uneven = |node, text: String| {
            let cores = if node == Node::A { "[workers]" } else { "[workers]\ncores = [0, 1]" };
            text.replace("[workers]", cores).replace("[pair]", "[pair]\nlogs = 2")
        };
        Pair::up_with(Links::OwnPort, |_| {}, uneven)
    }

    /// A pair that takes no box for dead because the machine under both is busy: where it matters which of the two works.
    pub fn up_patient() -> Option<Pair> {
        Pair::up_patient_with(|text| text)
    }

    /// The same, that lets sessions go on for no longer than this when an identity is moved.
    pub fn up_hasty(limit: Duration) -> Option<Pair> {
        let limit = format!("[limits]\nshutdown_timeout = \"{}ms\"", limit.as_millis());
        Pair::up_patient_with(|text| text.replace("[limits]", &limit))
    }

    fn up_patient_with(change: impl Fn(String) -> String) -> Option<Pair> {
        Pair::up_with(Links::OwnPort, |_| {}, |_, text| change(text.replace("[pair]", "[pair]\nsilence = \"2s\"")))
    }

    fn up_with(links: Links, prepare: impl Fn(&Path), change: impl Fn(Node, String) -> String) -> Option<Pair> {
        let lab = Lab::up_pair()?;
        lab.start_etcd();
        Some(Pair::start(lab, links, prepare, change))
    }

    /// A pair with the manual arbiter: there is no etcd.
    pub fn up_by_hand() -> Option<Pair> {
        let by_hand = |_, text: String| text.replace(ETCD, "arbiter = \"manual\"\n");
        Some(Pair::start(Lab::up_pair()?, Links::OwnPort, |_| {}, by_hand))
    }

    /// A pair whose etcd serves only whom it knows. Before its boxes start, something may be done with the lab: their folders have
    /// what they show etcd.
    pub fn up_guarded(prepare: impl Fn(&Lab)) -> Option<Pair> {
        let lab = Lab::up_pair()?;
        let guard = lab.start_guarded_etcd();
        let known = NODES.map(|node| guard.admit(&lab, node));
        prepare(&lab);
        let change = |node, text: String| text.replace(ETCD, &known[node as usize]);
        Some(Pair::start(lab, Links::OwnPort, |_| {}, change))
    }

    fn start(lab: Lab, links: Links, prepare: impl Fn(&Path), change: impl Fn(Node, String) -> String) -> Pair {
        for node in NODES {
            fingerprint(&lab, node);
        }
        let mx = format!("{MX}:25").parse().expect("an address");
        let receiver = Receiver::start(&lab.namespace("mx"), mx, message);
        let start = |node: Node| {
            std::fs::create_dir_all(spool(&lab, node)).expect("a folder");
            prepare(&spool(&lab, node));
            let text = change(node, configuration(&lab, node, links));
            Appliance::start_in(&lab.namespace(host(node)), &folder(&lab, node), &text)
        };
        Pair { boxes: NODES.map(start), links, receiver, lab }
    }

    /// Brings both identities into being, and waits until both are mirrored.
    pub fn create(&self) {
        for node in NODES {
            self.of(node).rohrpost(&["pair", "create"]);
        }
        self.wait_until_mirrored();
    }

    /// The file of one of the boxes.
    pub fn configuration(&self, node: Node) -> String {
        configuration(&self.lab, node, self.links)
    }

    /// One of the boxes.
    pub fn of(&self, node: Node) -> &Appliance {
        &self.boxes[node as usize]
    }

    /// The same, to be killed and started.
    pub fn of_mut(&mut self, node: Node) -> &mut Appliance {
        &mut self.boxes[node as usize]
    }

    /// How a box sees the pair, if it can be asked.
    pub fn status(&self, node: Node) -> Option<PairStatus> {
        let mut client = Client::connect(&socket(&self.lab, node)).ok()?;
        let mut status = None;
        let asked = client.ask(&Request::Pair(PairCommand::Status), |answer| {
            if let Answer::Pair { pair } = answer {
                status = Some(*pair);
            }
            Ok(())
        });
        asked.ok().and(status)
    }

    /// How a box sees one identity.
    pub fn identity(&self, node: Node, identity: Node) -> Option<IdentityStatus> {
        self.status(node).map(|status| status.identities[identity as usize].clone())
    }

    /// The box that works for an identity, as it says itself.
    pub fn owner(&self, identity: Node) -> Option<Node> {
        NODES.into_iter().find(|node| self.identity(*node, identity).is_some_and(|status| status.works))
    }

    /// Whether both copies of both identities count.
    pub fn is_mirrored(&self) -> bool {
        let Some(views) = NODES.map(|node| self.status(node)).into_iter().collect::<Option<Vec<_>>>() else {
            return false;
        };
        NODES.iter().all(|identity| {
            let [one, other] = [&views[0], &views[1]].map(|view| &view.identities[*identity as usize]);
            one.works != other.works && [one, other].iter().all(|view| view.mode == Some(Mode::Mirrored))
        })
    }

    /// Waits for that.
    pub fn wait_until_mirrored(&self) {
        eventually("both identities are mirrored", PATIENCE, || self.is_mirrored());
    }

    /// Waits until neither box has anything to deliver.
    pub fn wait_until_empty(&self) {
        for node in NODES {
            self.of(node).wait_until_empty(PATIENCE);
        }
    }

    /// Takes all that a box has on its disk.
    pub fn wipe(&self, node: Node) {
        for entry in std::fs::read_dir(spool(&self.lab, node)).expect("its spool").flatten() {
            if entry.file_name() != "lost+found" {
                let path = entry.path();
                if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                    .expect("our own file");
            }
        }
    }
}

/// The host of a box.
pub fn host(node: Node) -> &'static str {
    match node {
        Node::A => "a",
        Node::B => "b",
    }
}

/// A box's end of the cable that the links have for themselves, for [`Lab::cut`].
pub fn link(node: Node) -> &'static str {
    match node {
        Node::A => "a-link",
        Node::B => "b-link",
    }
}

/// Where clients of an identity send to.
pub fn server(identity: Node) -> SocketAddr {
    match identity {
        Node::A => "192.0.2.25:25",
        Node::B => "192.0.2.26:25",
    }
    .parse()
    .expect("an address")
}

/// Where a box has its files.
pub fn folder(lab: &Lab, node: Node) -> PathBuf {
    lab.directory.path().join(host(node))
}

/// Where a box has its logs.
pub fn spool(lab: &Lab, node: Node) -> PathBuf {
    folder(lab, node).join("spool")
}

fn socket(lab: &Lab, node: Node) -> PathBuf {
    folder(lab, node).join("admin.sock")
}

/// The fingerprint of a box's certificate, which is made the first time that somebody asks.
fn fingerprint(lab: &Lab, node: Node) -> String {
    let folder = folder(lab, node);
    let note = folder.join("pair.fingerprint");
    if let Ok(known) = std::fs::read_to_string(&note) {
        return known;
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    let made = OwnKey::make(&folder.join("pair.crt"), &folder.join("pair.key")).expect("a key").to_string();
    std::fs::write(note, &made).expect("a note");
    made
}

fn configuration(lab: &Lab, node: Node, links: Links) -> String {
    let (network, port, device) = match links {
        Links::OwnPort => ("10.9.9.", "[[port]]\ndevice = \"link0\"\nframes = 2048\n", "device = \"link0\"\n"),
        Links::OnePort => ("192.0.2.12", "", ""),
    };
    let (own, other) = match node {
        Node::A => (1, 2),
        Node::B => (2, 1),
    };
    format!(
        "transport = \"af_xdp\"\nhostname = \"relay.example.test\"\n\
         [workers]\npoll = \"sleep\"\n\
         [[port]]\ndevice = \"eth0\"\nframes = 2048\n{port}\
         [[address]]\nip = \"192.0.2.25/24\"\nidentity = \"a\"\n\
         [[address]]\nip = \"192.0.2.26/24\"\nidentity = \"b\"\n\
         [[listener]]\naddress = \"192.0.2.25:25\"\nrole = \"relay\"\n\
         [[listener]]\naddress = \"192.0.2.26:25\"\nrole = \"relay\"\n\
         [relay]\nnetworks = [\"192.0.2.0/24\"]\n\
         [[route]]\ndomain = \"*\"\nto = [\"smtp://{MX}:25\"]\n\
         [spool]\ndirectory = \"{spool}\"\nsize_max = \"128MiB\"\nsegment_size = \"4MiB\"\nfree_min = \"0B\"\n\
         [pair]\nnode = \"{node}\"\naddress = \"{network}{own}/24\"\npartner = \"{network}{other}\"\n{device}\
         {ETCD}\
         certificate = \"{folder}/pair.crt\"\nkey = \"{folder}/pair.key\"\npartner_fingerprint = \"{known}\"\n\
         [admin]\nsocket = \"{socket}\"\n{MORE}",
        folder = folder(lab, node).display(),
        known = fingerprint(lab, node.partner()),
        spool = spool(lab, node).display(),
        socket = socket(lab, node).display(),
    )
}

impl Lab {
    /// Mends what was left cut.
    pub fn mend(&self) {
        drop(Cut { lab: self });
    }

    /// Draws the cable of a box's port, not of the one that the links have for themselves; or plugs it in again.
    pub fn plug(&self, node: Node, up: bool) {
        let mut command = self.command("wire", "ip");
        let status = command.args(["link", "set", "dev", host(node), if up { "up" } else { "down" }]).status();
        assert!(status.expect("ip").success(), "the cable of box {node}");
    }

    /// Cuts the wire: no frame goes from the first host of each of these to the second one, until it is mended.
    pub fn cut<'a>(&'a self, ways: &[(&str, &str)]) -> Cut<'a> {
        let rules: String =
            ways.iter().map(|(from, to)| format!("iifname \"{from}\" oifname \"{to}\" drop\n")).collect();
        let cut = Cut { lab: self };
        cut.nft(&format!(
            "table bridge cut {{\nchain forward {{\ntype filter hook forward priority 0\n{rules}}}\n}}\n"
        ));
        cut
    }
}

/// A cut wire; dropped, it is mended.
pub struct Cut<'a> {
    lab: &'a Lab,
}

impl Cut<'_> {
    /// Leaves it cut until [`Lab::mend`].
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// Tells the wire's own filter. Its hosts are the names of the bridges' ports, and whatever they send goes through it:
    /// ARP and broadcasts, too.
    fn nft(&self, rules: &str) {
        let mut command = self.lab.command("wire", "nft");
        let output = command.arg(rules).output().expect("nft");
        assert!(output.status.success(), "nft {rules}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.nft("delete table bridge cut");
    }
}

/// Both ways between two hosts.
pub fn both_ways<'a>(one: &'a str, other: &'a str) -> [(&'a str, &'a str); 2] {
    [(one, other), (other, one)]
}
