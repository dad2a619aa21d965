//! The AF_XDP port over a veth pair, with the kernel's own stack at the other end.
//!
//! The port runs in a process of its own inside the relay's namespace: this binary again, whose "test"
//! [`port_process`] reads commands and prints what arrives. The tests judge what it prints, and send
//! through it. All of this needs root and is skipped, aloud, without.

mod lab;

use lab::{Lab, Namespace, eventually};
use rohrpost::port::af_xdp::{self, PortSettings, Queues};
use rohrpost::port::{Burst, Port};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Tells this binary that it is a port process, and with which settings.
const SETTINGS: &str = "ROHRPOST_TEST_PORT";

const WAIT: Duration = Duration::from_secs(10);
const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9);
const DEVICE: &str = "wire1";

/// Not a test: the process that holds the port. It speaks lines: out `open MODE QUEUES MAC`, `error TEXT`,
/// `frame QUEUE HEX`, `counters TEXT`; in `send QUEUE HEX`, `counters`; the end of input ends it.
#[test]
fn port_process() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings = parse_settings(&settings);
    let (lines, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut device = match af_xdp::open(&settings) {
        Ok(device) => device,
        Err(error) => {
            say(&format!("error {error}"));
            return;
        }
    };
    let mac = to_hex(&device.queues[0].hardware_address());
    say(&format!("open {} / {} / {mac}", device.mode, device.queues.len()));
    loop {
        match commands.try_recv() {
            Ok(line) => obey(&line, &mut device.queues),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        let mut idle = true;
        for queue in &mut device.queues {
            let mut burst = Burst::new();
            queue.receive(&mut burst);
            idle &= burst.is_empty();
            for frame in burst.drain(..) {
                say(&format!("frame {} {}", queue.index(), to_hex(queue.bytes(&frame))));
                queue.release(frame);
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn obey(line: &str, queues: &mut [af_xdp::Queue]) {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["send", index, hex] => {
            let queue = &mut queues[index.parse::<usize>().unwrap()];
            let bytes = from_hex(hex);
            assert!(queue.transmit_ready());
            let mut frame = queue.allocate(bytes.len()).unwrap();
            queue.bytes_mut(&mut frame).copy_from_slice(&bytes);
            queue.transmit(frame);
            queue.flush();
        }
        ["flood", index, hex, count] => {
            let queue = &mut queues[index.parse::<usize>().unwrap()];
            let bytes = from_hex(hex);
            for _ in 0..count.parse::<usize>().unwrap() {
                while !queue.transmit_ready() {
                    queue.flush();
                }
                let mut frame = queue.allocate(bytes.len()).unwrap();
                queue.bytes_mut(&mut frame).copy_from_slice(&bytes);
                queue.transmit(frame);
            }
            while queue.in_transit() > 0 {
                queue.flush();
            }
            say(&format!("counters {:?}", queue.counters()));
        }
        other => panic!("no such command: {other:?}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n@{line}");
    let _ = out.flush();
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn parse_settings(text: &str) -> PortSettings {
    let words: Vec<&str> = text.split(' ').collect();
    let [device, queues, vlan, addresses] = words.as_slice() else { panic!("{text}") };
    let queues = match *queues {
        "auto" => Queues::Auto,
        list => Queues::List(list.split(',').map(|queue| queue.parse().unwrap()).collect()),
    };
    PortSettings {
        device: (*device).to_owned(),
        queues,
        vlan: vlan.parse().unwrap(),
        addresses: addresses.split(',').map(|address| address.parse::<IpAddr>().unwrap()).collect(),
        frames_per_queue: 1024,
    }
}

/// The port process, seen from the test.
struct PortProcess {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl PortProcess {
    fn start(namespace: &Namespace, settings: &str) -> PortProcess {
        let mut command = namespace.command(std::env::current_exe().unwrap());
        command.args(["--exact", "port_process", "--nocapture"]).env(SETTINGS, settings);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix('@') {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        PortProcess { child, input, lines }
    }

    /// The next line within the time that tests wait.
    fn line(&self, what: &str) -> String {
        self.line_until(Instant::now() + WAIT).unwrap_or_else(|| panic!("not within {WAIT:?}: {what}"))
    }

    fn line_until(&self, deadline: Instant) -> Option<String> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// Starts a port that must open; gives it and its first line.
    fn open(namespace: &Namespace, settings: &str) -> (PortProcess, String) {
        let port = PortProcess::start(namespace, settings);
        let line = port.line("the port opens");
        assert!(line.starts_with("open "), "{line}");
        (port, line)
    }

    /// Starts a port that must fail; gives its words.
    fn refused(namespace: &Namespace, settings: &str) -> String {
        let port = PortProcess::start(namespace, settings);
        let line = port.line("the port is refused");
        line.strip_prefix("error ").unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Waits for a frame that `wanted` likes; gives its queue and its bytes.
    fn frame(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> (usize, Vec<u8>) {
        let deadline = Instant::now() + WAIT;
        loop {
            let line = self.line_until(deadline).unwrap_or_else(|| panic!("not within {WAIT:?}: {what}"));
            let words: Vec<&str> = line.split(' ').collect();
            let ["frame", queue, hex] = words.as_slice() else { continue };
            let bytes = from_hex(hex);
            if wanted(&bytes) {
                return (queue.parse().unwrap(), bytes);
            }
        }
    }

    fn send(&mut self, queue: usize, frame: &[u8]) {
        writeln!(self.input, "send {queue} {}", to_hex(frame)).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for PortProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client and a relay with a wire of `queues` queues between them; the kernels hold .1 and .2.
struct Wire {
    client: Namespace,
    relay: Namespace,
    /// Dropped last.
    lab: Lab,
}

impl Wire {
    fn new(name: &str, queues: u32) -> Option<Wire> {
        let lab = Lab::new(name)?;
        let (client, relay) = (lab.namespace("client"), lab.namespace("relay"));
        lab.veth((&client, "wire0"), (&relay, DEVICE), queues);
        client.address("wire0", "10.77.0.1/24");
        client.address("wire0", "fd77::1/64");
        relay.address(DEVICE, "10.77.0.2/24");
        relay.address(DEVICE, "fd77::2/64");
        Some(Wire { client, relay, lab })
    }

    fn settings(queues: &str) -> String {
        format!("{DEVICE} {queues} 0 {OWN_V4},{OWN_V6}")
    }
}

fn is_arp_request_for_us(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 6]) && frame[21] == 1 && frame[38..42] == OWN_V4.octets()
}

fn is_ipv4(frame: &[u8], protocol: u8) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame[23] == protocol && frame[30..34] == OWN_V4.octets()
}

/// The answer to an ARP request (RFC 826).
fn arp_reply(request: &[u8], mac: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply.copy_within(6..12, 0);
    reply[6..12].copy_from_slice(mac);
    reply[21] = 2;
    reply.copy_within(22..32, 32);
    reply[22..28].copy_from_slice(mac);
    reply[28..32].copy_from_slice(&OWN_V4.octets());
    reply
}

/// The answer to an ICMP echo request (RFC 792); 8 becomes 0, and the checksum grows by as much.
fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    reply.copy_within(6..12, 0);
    reply[6..12].copy_from_slice(&request[..6]);
    reply.copy_within(26..30, 30);
    reply[26..30].copy_from_slice(&request[30..34]);
    reply[34] = 0;
    let checksum = u32::from(u16::from_be_bytes([request[36], request[37]])) + 0x0800;
    let folded = (checksum & 0xffff) + (checksum >> 16);
    reply[36..38].copy_from_slice(&(folded as u16).to_be_bytes());
    reply
}

fn mac_of(open_line: &str) -> Vec<u8> {
    from_hex(open_line.rsplit(' ').next().unwrap())
}

#[test]
fn a_ping_is_answered_by_the_port_and_one_to_the_kernel_by_the_kernel() {
    let Some(wire) = Wire::new("ping", 1) else { return };
    let (mut port, line) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    assert!(line.starts_with("open native, copy / 1 / "), "{line}");
    let mac = mac_of(&line);
    let own = OWN_V4.to_string();
    let mut ping = wire.client.command("ping");
    let mut ping = ping.args(["-c", "1", "-W", "10", &own]).stdout(Stdio::null()).spawn().unwrap();
    let (queue, request) = port.frame("an ARP request", is_arp_request_for_us);
    port.send(queue, &arp_reply(&request, &mac));
    let (queue, request) = port.frame("an echo request", |frame| is_ipv4(frame, 1));
    port.send(queue, &echo_reply(&request));
    assert!(ping.wait().unwrap().success());
    assert!(wire.client.succeeds(&["ping", "-c", "1", "-W", "5", "10.77.0.2"]));
    assert!(wire.client.succeeds(&["ping", "-6", "-c", "1", "-W", "5", "fd77::2"]));
}

#[test]
fn a_syn_arrives_and_two_queues_share_the_flows() {
    let Some(wire) = Wire::new("syn", 2) else { return };
    let (port, line) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    assert!(line.contains("/ 2 /"), "{line}");
    let mac: Vec<String> = mac_of(&line).iter().map(|byte| format!("{byte:02x}")).collect();
    let own = OWN_V4.to_string();
    wire.client.run(&["ip", "neigh", "replace", &own, "lladdr", &mac.join(":"), "dev", "wire0"]);
    let script = format!("for i in $(seq 40); do timeout 0.01 bash -c '</dev/tcp/{own}/25' & done; wait");
    let mut connects = wire.client.command("bash");
    let mut connects = connects.args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = [false; 2];
    while seen != [true; 2] {
        let (queue, frame) = port.frame("SYNs on both queues", |frame| is_ipv4(frame, 6));
        assert_eq!(frame[36..38], [0, 25]);
        assert_eq!(frame[47], 2, "a SYN and nothing else");
        seen[queue] = true;
    }
    connects.wait().unwrap();
}

#[test]
fn neighbour_solicitations_for_an_own_address_arrive() {
    let Some(wire) = Wire::new("ndp", 1) else { return };
    let (port, _) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    let own = OWN_V6.to_string();
    let mut ping = wire.client.command("ping");
    let mut ping = ping.args(["-6", "-c", "1", "-W", "1", &own]).stdout(Stdio::null()).spawn().unwrap();
    let (_, frame) = port.frame("a neighbour solicitation", |frame| {
        frame.get(12..14) == Some(&[0x86, 0xdd]) && frame[20] == 58 && frame[54] == 135
    });
    assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0, 0, 9]);
    assert_eq!(frame[62..78], OWN_V6.octets());
    let groups = wire.relay.run(&["ip", "maddress", "show", "dev", DEVICE]);
    assert!(groups.contains("33:33:ff:00:00:09"), "{groups}");
    ping.wait().unwrap();
}

/// An ARP request for our address (RFC 826), from nobody in particular.
fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 77, 0, 8, 0, 0, 0, 0, 0, 0]);
    frame.extend(OWN_V4.octets());
    frame
}

/// The same frame with an 802.1Q tag.
fn tagged(frame: &[u8], vlan: u8) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x81, 0x00, 0x60, vlan]);
    tagged.extend(&frame[12..]);
    tagged
}

#[test]
fn only_frames_with_our_tag_arrive_and_without_it() {
    let Some(wire) = Wire::new("vlan", 1) else { return };
    let (relay, _) = PortProcess::open(&wire.relay, &format!("{DEVICE} auto 7 {OWN_V4}"));
    let (mut client, _) = PortProcess::open(&wire.client, "wire0 auto 0 10.77.0.8");
    let mut other = arp_request();
    other[21] = 9; // So that this one can be told from the next.
    client.send(0, &other);
    client.send(0, &tagged(&other, 8));
    client.send(0, &tagged(&arp_request(), 7));
    let (_, frame) = relay.frame("any frame", |_| true);
    assert_eq!(frame, arp_request());
}

#[test]
fn a_tag_survives_the_wire_from_port_to_port() {
    let Some(wire) = Wire::new("vlans", 1) else { return };
    let (mut relay, _) = PortProcess::open(&wire.relay, &format!("{DEVICE} auto 7 {OWN_V4}"));
    let (mut client, _) = PortProcess::open(&wire.client, "wire0 auto 7 10.77.0.8");
    client.send(0, &arp_request());
    let (queue, frame) = relay.frame("the request", is_arp_request_for_us);
    assert_eq!(frame, arp_request());
    let reply = arp_reply(&frame, &[2, 0, 0, 0, 0, 2]);
    relay.send(queue, &reply);
    let (_, frame) = client.frame("the reply", |_| true);
    assert_eq!(frame, reply);
}

#[test]
fn where_the_driver_cannot_the_kernel_runs_the_program() {
    let Some(wire) = Wire::new("generic", 1) else { return };
    // A veth driver does not run a program while its peer may send frames larger than a page.
    wire.client.run(&["ip", "link", "set", "wire0", "mtu", "9000"]);
    let (mut port, line) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    assert!(line.starts_with("open generic, copy / 1 / "), "{line}");
    let own = OWN_V4.to_string();
    let mut ping = wire.client.command("ping");
    let mut ping = ping.args(["-c", "1", "-W", "10", &own]).stdout(Stdio::null()).spawn().unwrap();
    let (queue, request) = port.frame("an ARP request", is_arp_request_for_us);
    port.send(queue, &arp_reply(&request, &mac_of(&line)));
    let (queue, request) = port.frame("an echo request", |frame| is_ipv4(frame, 1));
    port.send(queue, &echo_reply(&request));
    assert!(ping.wait().unwrap().success());
}

#[test]
fn a_queue_that_another_socket_holds_is_named() {
    let Some(wire) = Wire::new("busy", 1) else { return };
    let (_port, _) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    let refused = PortProcess::refused(&wire.relay, &Wire::settings("auto"));
    let program = refused.split("(id ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    // With its program taken away the first port still holds its queue.
    let links: serde_json::Value = serde_json::from_str(&wire.relay.run(&["bpftool", "-j", "link"])).unwrap();
    let is_ours = |link: &&serde_json::Value| link["prog_id"].as_u64() == program.parse().ok();
    let link = links.as_array().unwrap().iter().find(is_ours).unwrap()["id"].to_string();
    wire.relay.run(&["bpftool", "link", "detach", "id", &link]);
    let refused = PortProcess::refused(&wire.relay, &Wire::settings("auto"));
    assert!(refused.starts_with("queue 0 of wire1 is already bound by another AF_XDP socket"), "{refused}");
}

#[test]
fn missing_capabilities_are_named() {
    let Some(wire) = Wire::new("caps", 1) else { return };
    let mut command = wire.relay.command("setpriv");
    command.args(["--bounding-set", "-net_raw,-bpf,-sys_admin", "--inh-caps", "-all"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "port_process", "--nocapture"]);
    let output = command.env(SETTINGS, Wire::settings("auto")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("@error missing CAP_NET_RAW, CAP_BPF: run as root"), "{text}");
}

#[test]
fn a_memory_lock_limit_that_is_too_low_is_named() {
    let Some(wire) = Wire::new("memlock", 1) else { return };
    let mut command = wire.relay.command("prlimit");
    command.args(["--memlock=65536:65536", "setpriv"]);
    command.args(["--bounding-set", "-ipc_lock,-sys_resource", "--inh-caps", "-all"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "port_process", "--nocapture"]);
    let output = command.env(SETTINGS, Wire::settings("auto")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("@error the frames need 4194304 bytes of locked memory and the limit is 65536"), "{text}");
}

#[test]
fn a_lab_is_gone_after_a_panic() {
    let Some(lab) = Lab::new("panic") else { return };
    let name = lab.namespace("left").name().to_owned();
    let exists = || std::path::Path::new("/run/netns").join(&name).exists();
    assert!(exists());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _lab = lab;
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(result.is_err());
    assert!(!exists());
}

/// Frames that `device` has received, by the kernel's count.
fn received(namespace: &Namespace, device: &str) -> u64 {
    let path = format!("/sys/class/net/{device}/statistics/rx_packets");
    namespace.run(&["cat", &path]).trim().parse().unwrap()
}

#[test]
fn a_flood_many_times_the_ring_arrives_in_full() {
    let Some(wire) = Wire::new("flood", 1) else { return };
    let (mut port, _) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    let before = received(&wire.client, "wire0");
    let mut frame = vec![0xff; 12];
    frame.extend([0x88, 0xb5]); // an EtherType for experiments (IEEE 802)
    frame.resize(1514, 0);
    writeln!(port.input, "flood 0 {} 20000", to_hex(&frame)).unwrap();
    let deadline = Instant::now() + WAIT;
    let counters = loop {
        let line = port.line_until(deadline).expect("the counters come");
        if line.starts_with("counters ") {
            break line;
        }
    };
    assert!(counters.contains("frames_sent: 20000,"), "{counters}");
    assert!(counters.contains("frames_unsent: 0,"), "{counters}");
    eventually("the client's kernel has counted them", WAIT, || received(&wire.client, "wire0") >= before + 20_000);
}

#[test]
fn a_killed_process_leaves_no_program_and_the_next_one_opens() {
    let Some(wire) = Wire::new("kill", 2) else { return };
    let attached = || wire.relay.run(&["ip", "-d", "link", "show", DEVICE]).contains("xdp");
    assert!(!attached());
    for _ in 0..3 {
        let (port, _) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
        assert!(attached());
        port.kill();
        eventually("the program is gone", WAIT, || !attached());
    }
}

#[test]
fn a_second_port_on_the_device_is_refused_and_the_first_goes_on() {
    let Some(wire) = Wire::new("second", 1) else { return };
    let (port, _) = PortProcess::open(&wire.relay, &Wire::settings("auto"));
    let refused = PortProcess::refused(&wire.relay, &Wire::settings("auto"));
    assert!(refused.starts_with("another XDP program (id "), "{refused}");
    assert!(refused.contains(&format!("is attached to {DEVICE}")), "{refused}");
    assert!(!wire.client.succeeds(&["ping", "-c", "1", "-W", "1", &OWN_V4.to_string()]));
    port.frame("an ARP request at the first port", is_arp_request_for_us);
}

#[test]
fn every_conflict_is_refused_with_its_reason() {
    let Some(wire) = Wire::new("refused", 1) else { return };
    let refused = |settings: String| PortProcess::refused(&wire.relay, &settings);
    let text = refused(format!("{DEVICE} auto 0 10.77.0.2"));
    assert!(text.contains("the kernel holds 10.77.0.2 too, on wire1"), "{text}");
    let text = refused(format!("nowhere0 auto 0 {OWN_V4}"));
    assert!(text.contains("there is no interface nowhere0"), "{text}");
    let text = refused(format!("{DEVICE} 0,1 0 {OWN_V4}"));
    assert!(text.contains("has no queue 1: it has 1"), "{text}");
    let text = refused(format!("lo auto 0 {OWN_V4}"));
    assert!(text.contains("carries no Ethernet frames"), "{text}");
    wire.relay.run(&["ip", "link", "set", DEVICE, "mtu", "9000"]);
    let text = refused(Wire::settings("auto"));
    assert!(text.contains("`ip link set wire1 mtu 1500`"), "{text}");
    wire.relay.run(&["ip", "link", "set", DEVICE, "mtu", "1500"]);
    wire.relay.run(&["ip", "link", "set", DEVICE, "down"]);
    let text = refused(Wire::settings("auto"));
    assert!(text.contains("wire1 is down"), "{text}");
    drop(wire.lab);
}
