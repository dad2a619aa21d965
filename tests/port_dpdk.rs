//! The DPDK port on virtual devices: memif between two processes, af_packet on a veth pair and tap with the kernel's own
//! stack at the other end.
//!
//! DPDK starts once in a process, so that each device is opened in a process of its own: `rohrpost run`, or this binary
//! again, whose "test" [`port_process`] does as its environment says. What needs network namespaces needs root and is
//! skipped, aloud, without.

mod appliance;
mod lab;

use appliance::mail::{PATIENCE, source, through_to_the_sink, through_workers};
use appliance::{APPLIANCE, APPLIANCE_V6, Appliance, MX, MX_V6, Setup, eventually};
use lab::{Lab, Namespace};
use rohrpost::env::{Clock, SystemClock};
use rohrpost::flow::{FlowEvent, Transport};
use rohrpost::port::dpdk::{self, PortSettings};
use rohrpost::port::{Burst, Port};
use rohrpost::tcp;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Tells this binary that it is a port process: what it is to do, and its device.
const ROLE: &str = "ROHRPOST_TEST_ROLE";
const DEVICE: &str = "ROHRPOST_TEST_DEVICE";
/// More of its settings, as numbers: how many queues, and which VLAN.
const QUEUES: &str = "ROHRPOST_TEST_QUEUES";
const VLAN: &str = "ROHRPOST_TEST_VLAN";
const MTU: &str = "ROHRPOST_TEST_MTU";

/// Bytes.
const ETHERNET_HEADER: usize = 14;

const WAIT: Duration = Duration::from_secs(20);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// Frames that the client of a memif sends, and how many of them may be on their way.
const ECHOES: u32 = 20_000;
const WINDOW: u32 = 32;

fn settings(device: &str, address: Ipv4Addr) -> PortSettings {
    let number = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    PortSettings {
        device: device.to_owned(),
        queues: number(QUEUES).unwrap_or(1),
        vlan: number(VLAN).unwrap_or(0),
        addresses: vec![address.into()],
        frames_per_queue: 1024,
        mtu: number(MTU),
        offloads: true,
        hugepages: false,
        memory: 64 << 20,
        arguments: Vec::new(),
    }
}

/// Not a test: the process that holds a device.
#[test]
fn port_process() {
    let (Ok(role), Ok(device)) = (std::env::var(ROLE), std::env::var(DEVICE)) else { return };
    // Whoever waits for a process that hangs sees it fail.
    std::thread::spawn(|| {
        std::thread::sleep(3 * WAIT);
        std::process::abort();
    });
    match role.as_str() {
        "echo" => echo(&device),
        "client" => client(&device),
        "hold" => hold(&device),
        "stream" => stream(&device),
        "twice" => {
            let first = dpdk::open(&settings(&device, SERVER)).expect("the first");
            println!("\n@error {}", dpdk::open(&settings(&device, SERVER)).expect_err("DPDK starts once"));
            drop(first);
            println!("\n@error {}", dpdk::open(&settings(&device, SERVER)).expect_err("DPDK starts once"));
        }
        "open" => match dpdk::open(&settings(&device, SERVER)) {
            Ok(device) => println!("\n@open {}", device.mode),
            Err(error) => println!("\n@error {error}"),
        },
        role => panic!("no such role: {role}"),
    }
}

/// Sends every frame back to where it came from, until the other end is gone.
fn echo(device: &str) {
    let mut device = dpdk::open(&settings(device, SERVER)).expect("the device opens");
    println!("\n@open {}", device.mode);
    assert!(device.attachment.wait_for_link(WAIT).up, "the other end comes");
    let queue = &mut device.queues[0];
    let mut burst = Burst::new();
    while device.attachment.link().up {
        queue.receive(&mut burst);
        if burst.is_empty() {
            std::thread::yield_now();
        }
        for mut frame in burst.drain(..) {
            let bytes = queue.bytes_mut(&mut frame);
            turn_round(bytes);
            queue.transmit(frame);
        }
        queue.flush();
    }
    println!("\n@counters {:?}", queue.counters());
}

/// Is the other end of a wire, until it is ended.
fn hold(device: &str) {
    let mut device = dpdk::open(&settings(device, CLIENT)).expect("the device opens");
    let mut burst = Burst::new();
    loop {
        let queue = &mut device.queues[0];
        queue.receive(&mut burst);
        burst.drain(..).for_each(|frame| queue.release(frame));
        std::thread::yield_now();
    }
}

/// Sends a megabyte to the kernel's stack on the other side of tap0, twice: in segments as long as the link takes, and in
/// shorter ones.
fn stream(device: &str) {
    let mut device = dpdk::open(&settings(device, SERVER)).expect("the device opens");
    println!("\n@open {}", device.mode);
    let ip = |words: &str| {
        let status = Command::new("ip").args(words.split(' ')).status();
        assert!(status.expect("ip").success(), "{words}");
    };
    ip(&format!("address add {CLIENT}/24 dev tap0"));
    let listener = TcpListener::bind((CLIENT, 25)).expect("a port");
    let remote = listener.local_addr().expect("an address");
    let clock = SystemClock::new();
    let settings = tcp::Settings {
        addresses: vec![tcp::OwnAddress { ip: SERVER.into(), prefix: 24, gateway: None }],
        listeners: Vec::new(),
        chosen: None,
        connections_max: 10,
        connections_per_client_max: 10,
        half_open_max: 10,
        receive_buffer: 256 << 10,
        send_buffer: 256 << 10,
        buffer_memory: 1 << 20,
        worker: 0,
        workers: 1,
        queues: 1,
        isn_key: [9; 16],
        seed: 1,
    };
    let mut stack = tcp::Stack::new(device.queues.remove(0), settings, clock.now().mono);
    let content: Vec<u8> = (0..1 << 20).map(|number: u32| (number.wrapping_mul(number) >> 7) as u8).collect();
    for segment_size in [1460, 1400] {
        ip(&format!("route change 10.77.0.0/24 dev tap0 src {CLIENT} advmss {segment_size}"));
        let before = stack.port().counters();
        let received = std::thread::scope(|scope| {
            let peer = scope.spawn(|| {
                let mut received = Vec::new();
                let (mut peer, _) = listener.accept().expect("a connection");
                peer.read_to_end(&mut received).expect("all of it");
                received
            });
            let flow = stack.connect(clock.now().mono, SERVER.into(), remote).expect("it starts");
            let (mut events, mut given) = (Vec::new(), 0);
            while !peer.is_finished() {
                let now = clock.now().mono;
                stack.poll(now, &mut events);
                if given < content.len() && events.contains(&FlowEvent::Connected { flow }) {
                    given += stack.send(flow, &content[given..]);
                    if given == content.len() {
                        stack.close(flow);
                    }
                }
                stack.flush(now);
                std::thread::yield_now();
            }
            peer.join().expect("all has arrived")
        });
        let after = stack.port().counters();
        let (frames, bytes) = (after.frames_sent - before.frames_sent, after.bytes_sent - before.bytes_sent);
        println!("\n@intact {} mean {} unsent {}", received == content, bytes / frames, after.frames_unsent);
    }
}

/// Sends numbered frames, every tenth to an address that nobody has, and waits until all others have come back.
fn client(device: &str) {
    let mut device = dpdk::open(&settings(device, CLIENT)).expect("the device opens");
    assert!(device.attachment.wait_for_link(WAIT).up, "the other end comes");
    let queue = &mut device.queues[0];
    let deadline = Instant::now() + WAIT;
    let mut burst = Burst::new();
    // From the shortest frame to the longest.
    let lengths = (ETHERNET_HEADER + queue.capabilities().mtu - 60 + 1) as u32;
    let (mut sent, mut back, mut foreign) = (0, 0, 0);
    while back < ECHOES {
        assert!(Instant::now() < deadline, "{sent} sent, {back} back, {:?}", queue.counters());
        while sent < ECHOES && sent - back < WINDOW && queue.transmit_ready() {
            let length = 60 + (sent % lengths) as usize;
            let mut frame = queue.allocate(length).expect("transmit_ready says so");
            write(queue.bytes_mut(&mut frame), SERVER, sent);
            queue.transmit(frame);
            sent += 1;
            if sent % 10 == 0
                && queue.transmit_ready()
                && let Some(mut frame) = queue.allocate(60)
            {
                write(queue.bytes_mut(&mut frame), OTHER, 0);
                queue.transmit(frame);
                foreign += 1;
            }
        }
        queue.flush();
        queue.receive(&mut burst);
        if burst.is_empty() {
            std::thread::yield_now();
        }
        for frame in burst.drain(..) {
            let mut expected = vec![0; 60 + (back % lengths) as usize];
            write(&mut expected, SERVER, back);
            turn_round(&mut expected);
            assert_eq!(queue.bytes(&frame), expected, "frame {back} comes back in its turn");
            back += 1;
            queue.release(frame);
        }
    }
    println!("\n@back {back} foreign {foreign}");
}

/// An ICMP packet with a number in it, from the client.
fn write(bytes: &mut [u8], to: Ipv4Addr, number: u32) {
    bytes.fill(number as u8);
    bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[23] = 1;
    bytes[26..30].copy_from_slice(&CLIENT.octets());
    bytes[30..34].copy_from_slice(&to.octets());
    bytes[34..38].copy_from_slice(&number.to_be_bytes());
}

/// The same back to where it came from.
fn turn_round(bytes: &mut [u8]) {
    bytes[..12].rotate_left(6);
    bytes[26..34].rotate_left(4);
}

/// A port process, ended when dropped.
struct PortProcess(Child);

impl PortProcess {
    /// Starts one by `command`, which runs this binary.
    fn start(mut command: Command, role: &str, device: &str) -> PortProcess {
        command.args(["--exact", "port_process", "--nocapture"]).env(ROLE, role).env(DEVICE, device);
        PortProcess(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("this binary"))
    }

    /// What it says until its end, and whether it ended well.
    fn words(mut self) -> (Vec<String>, bool) {
        let output = BufReader::new(self.0.stdout.take().expect("a pipe"));
        let lines = output.lines().map_while(Result::ok);
        let words = lines.filter_map(|line| line.strip_prefix('@').map(str::to_owned)).collect();
        (words, self.0.wait().expect("our own process").success())
    }
}

impl Drop for PortProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn this_binary() -> Command {
    Command::new(std::env::current_exe().expect("this binary"))
}

/// Tries to open a device; gives why it cannot be.
fn refused(command: Command, device: &str) -> String {
    let (words, _) = PortProcess::start(command, "open", device).words();
    words
        .first()
        .and_then(|word| word.strip_prefix("error "))
        .unwrap_or_else(|| panic!("{device}: {words:?}"))
        .to_owned()
}

/// One end of a wire between two processes.
fn memif(directory: &Path, role: &str) -> String {
    format!("net_memif0,role={role},socket={}/memif.sock,socket-abstract=no", directory.display())
}

/// Has a client send to a server that sends back; gives what the server counted.
fn echoes(more: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let start = |process: &str, role: &str| {
        let mut command = this_binary();
        command.envs(more.iter().copied());
        PortProcess::start(command, process, &memif(directory.path(), role))
    };
    let server = start("echo", "server");
    eventually("the server listens", WAIT, || directory.path().join("memif.sock").exists());
    let (words, well) = start("client", "client").words();
    assert!(well, "{words:?}");
    let foreign = words[0].strip_prefix(&format!("back {ECHOES} foreign ")).unwrap_or_else(|| panic!("{words:?}"));
    // It sees the other end go, and ends as it should.
    let (words, well) = server.words();
    assert!(well, "{words:?}");
    assert!(words[0].contains("net_memif"), "{words:?}");
    assert!(words[1].contains(&format!("frames_foreign: {foreign} ")), "{foreign} in {words:?}");
    assert_ne!(foreign, "0");
    words[1].clone()
}

#[test]
fn frames_go_from_process_to_process_over_memif_and_come_back_unaltered() {
    let counters = echoes(&[]);
    for count in [format!("frames_received: {ECHOES},"), "frames_missed: 0,".to_owned(), "frames_unsent: 0,".to_owned()]
    {
        assert!(counters.contains(&count), "{count} in {counters}");
    }
}

#[test]
fn frames_of_nine_thousand_bytes_go_from_process_to_process() {
    assert!(echoes(&[(VLAN, "7"), (MTU, "9000")]).contains(&format!("frames_received: {ECHOES},")));
}

#[test]
fn a_tag_survives_the_wire_from_process_to_process() {
    assert!(echoes(&[(VLAN, "7")]).contains(&format!("frames_received: {ECHOES},")));
}

#[test]
fn every_message_arrives_once_and_unaltered_over_af_packet() {
    through_to_the_sink("dpdk", APPLIANCE, MX, 3_000);
}

#[test]
fn every_message_arrives_once_and_unaltered_over_af_packet_and_ipv6() {
    through_to_the_sink("dpdk", &format!("[{APPLIANCE_V6}]"), &format!("[{MX_V6}]"), 1_000);
}

#[test]
fn two_workers_share_the_queues_of_one_device() {
    let Some(lab) = appliance::Lab::up(1) else { return };
    through_workers(&lab, "dpdk", "0, 1", 1000);
}

/// A host in whose namespace the kernel holds no address but its loopback's.
fn host(lab: &Lab) -> Namespace {
    let host = lab.namespace("host");
    host.run(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
    host
}

/// Starts an appliance on a device of the host.
fn start_on(host: &Namespace, directory: &Path, device: &str) -> Appliance {
    let text = format!(
        "transport = \"dpdk\"\nhostname = \"relay.example.test\"\n\
         [[port]]\ndevice = \"{device}\"\n[dpdk]\nhugepages = false\nmemory = \"64MiB\"\n\
         [[address]]\nip = \"192.0.2.25/24\"\n\
         [[listener]]\naddress = \"192.0.2.25:25\"\nrole = \"relay\"\n[relay]\nnetworks = [\"192.0.2.0/24\"]\n\
         [[route]]\ndomain = \"*\"\nto = [\"smtp://192.0.2.10:2525\"]\n\
         [spool]\ndirectory = \"{directory}/spool\"\nsize_max = \"1GB\"\nfree_min = \"0B\"\n\
         [admin]\nsocket = \"{directory}/admin.sock\"\n[retry]\nfirst = \"1s\"\nmax = \"1s\"\n",
        directory = directory.display(),
    );
    Appliance::start_in(host.name(), directory, &text)
}

#[test]
fn the_kernel_takes_what_has_its_checksums_from_the_driver() {
    let Some(lab) = Lab::new("dpdk-sums") else { return };
    let host = host(&lab);
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut appliance = start_on(&host, directory.path(), "net_tap0,iface=tap0");
    host.run(&["ip", "address", "add", "192.0.2.10/24", "dev", "tap0"]);
    let started = &appliance.events("started")[0]["detail"];
    assert!(started.as_str().expect("words").contains("net_tap, checksums by the NIC"), "{started}");
    let command = |program: &str| {
        let mut command = host.command(program);
        command.env("PATH", appliance::path()).stdin(Stdio::null());
        command
    };
    let mut sink = command("smtp-sink").args(["-u", "postfix", "192.0.2.10:2525", "100"]).spawn().expect("smtp-sink");
    let mail = ["-d", "-s", "5", "-l", "4096", "-m", "500", "-t", "user@example.test", "inet:192.0.2.25:25"];
    let sent = command("smtp-source").args(mail).status().expect("smtp-source");
    assert!(sent.success());
    appliance.wait_until_empty(PATIENCE);
    assert_eq!(appliance.status()["messages"]["delivered"], 500);
    assert!(command("ping").args(["-c", "1", "-W", "5", "192.0.2.25"]).status().expect("ping").success());
    assert!(appliance.stop().success(), "an orderly end");
    let _ = sink.kill();
    let _ = sink.wait();
}

#[test]
fn the_kernel_takes_what_the_driver_has_cut() {
    let Some(lab) = Lab::new("dpdk-cut") else { return };
    let host = host(&lab);
    let binary = std::env::current_exe().expect("this binary");
    let (words, well) = PortProcess::start(host.command(&binary), "stream", "net_tap0,iface=tap0").words();
    assert!(well, "{words:?}");
    assert!(words[0].ends_with("net_tap, checksums by the NIC, segmentation too"), "{words:?}");
    let mean = |word: &str| -> u64 {
        let rest = word.strip_prefix("intact true mean ").unwrap_or_else(|| panic!("{words:?}"));
        rest.strip_suffix(" unsent 0").and_then(|mean| mean.parse().ok()).unwrap_or_else(|| panic!("{words:?}"))
    };
    // This driver cuts no frames that fill the link: those go one by one.
    assert!(mean(&words[1]) <= 1514, "{words:?}");
    assert!(mean(&words[2]) > 3 * 1514, "{words:?}");
}

#[test]
fn the_other_end_of_a_memif_comes_and_goes_and_the_link_says_so() {
    let Some(lab) = Lab::new("dpdk-memif") else { return };
    let host = host(&lab);
    let directory = tempfile::tempdir().expect("a temporary folder");
    let socket = directory.path().join("memif.sock");
    let other_end = || PortProcess::start(this_binary(), "hold", &memif(directory.path(), "client"));
    // The appliance waits for the link before it claims its addresses, and tries no longer than it must.
    let (first, mut appliance) = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            eventually("the appliance listens", WAIT, || socket.exists());
            other_end()
        });
        let appliance = start_on(&host, directory.path(), &memif(directory.path(), "server"));
        (first.join().expect("the other end"), appliance)
    });
    let up = || appliance.status()["link"]["up"] == true;
    assert!(up());
    assert!(!appliance.log_tail().contains("nobody could object"), "{}", appliance.log_tail());
    drop(first);
    eventually("the link is down", WAIT, || !up());
    let health = appliance.status()["health"].clone();
    assert_eq!((&health["ready"], &health["live"]), (&false.into(), &true.into()));
    assert_eq!(health["reasons"][0]["reason"], "link_down");
    let second = other_end();
    eventually("the link is up again", WAIT, up);
    assert_eq!(appliance.status()["health"]["ready"], true);
    assert_eq!(appliance.events("alert")[0]["condition"], "link_down");
    let links: Vec<bool> = appliance.events("link").iter().map(|event| event["up"] == true).collect();
    assert_eq!(links, [false, true]);
    assert!(appliance.stop().success(), "an orderly end");
    drop(second);
}

#[test]
fn the_link_is_reported_when_it_goes_and_when_it_comes() {
    let Some(lab) = appliance::Lab::up(1) else { return };
    let setup = Setup { transport: "dpdk", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let mut appliance = Appliance::start(&lab, &setup);
    assert_eq!(appliance.status()["link"]["up"], true);
    let set = |state: &str| {
        let status = lab.command("relay", "ip").args(["link", "set", "eth0", state]).status();
        assert!(status.expect("ip").success());
    };
    for (state, up) in [("down", false), ("up", true)] {
        set(state);
        eventually("the link is reported", WAIT, || appliance.status()["link"]["up"] == up);
        // The log may be a moment behind what is known.
        let told = || appliance.events("link").last().is_some_and(|event| event["up"] == up);
        eventually("the link's event is logged", WAIT, told);
    }
    let to = format!("inet:{APPLIANCE}:25");
    source(&lab, &["-l", "2048", "-m", "1", "-t", "user@example.test", &to]);
    assert!(appliance.stop().success(), "an orderly end");
}

#[test]
fn an_appliance_that_is_told_to_stop_ends_well_and_starts_again() {
    let Some(lab) = appliance::Lab::up(1) else { return };
    let setup = Setup { transport: "dpdk", to: &format!("smtp://{MX}:25"), cores: "", more: "" };
    let mut appliance = Appliance::start(&lab, &setup);
    let to = format!("inet:{APPLIANCE}:25");
    for _ in 0..2 {
        source(&lab, &["-l", "2048", "-m", "10", "-t", "user@example.test", &to]);
        assert!(appliance.stop().success(), "an orderly end");
        assert_eq!(appliance.events("stopped").len(), 1);
        appliance.restart();
    }
    assert_eq!(appliance.status()["queue"]["messages"], 20, "nobody takes them, and nothing is lost");
}

#[test]
fn what_dpdk_alone_knows_is_said_with_its_advice() {
    let text = refused(this_binary(), "net_nothing0");
    assert!(text.contains("Its reasons: EAL: failed to parse device \"net_nothing0\""), "{text}");
    let text = refused(this_binary(), "net_memif0,role=nobody");
    assert!(text.contains("no driver of DPDK takes net_memif0: look at its name and at its arguments"), "{text}");
    let mut many = this_binary();
    many.env(QUEUES, "200");
    let text = refused(many, "net_null0");
    assert!(text.contains("the frames need"), "memory comes first: {text}");
    let (words, _) = PortProcess::start(this_binary(), "twice", "net_null0").words();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words.iter().all(|word| word.contains("cannot be started twice")), "{words:?}");
}

#[test]
fn every_conflict_is_refused_with_its_reason() {
    let Some(lab) = appliance::Lab::up(1) else { return };
    let binary = std::env::current_exe().expect("this binary");
    let on_relay = || lab.command("relay", &binary.to_string_lossy());
    let packet = "net_af_packet0,iface=eth0";
    // The number of queues is none, be it that of the workers or not.
    for (workers, queues) in [("2", "1"), ("1", "2")] {
        let mut process = on_relay();
        process.env(QUEUES, workers);
        let (words, _) = PortProcess::start(process, "open", &format!("{packet},qpairs={queues}")).words();
        assert!(words[0].starts_with("open DPDK"), "{words:?}");
    }
    let text = refused(on_relay(), "net_af_packet0,iface=nowhere0");
    assert!(text.contains("there is no interface nowhere0"), "{text}");
    let relay = |words: &[&str]| {
        assert!(lab.command("relay", "ip").args(words).status().expect("ip").success(), "{words:?}");
    };
    relay(&["address", "add", "10.77.0.1/24", "dev", "eth0"]);
    let text = refused(on_relay(), packet);
    assert!(text.contains("the kernel holds 10.77.0.1 too, on eth0"), "{text}");
    relay(&["address", "del", "10.77.0.1/24", "dev", "eth0"]);
    let mut unprivileged = lab.command("relay", "setpriv");
    unprivileged.args(["--bounding-set", "-net_raw", "--inh-caps", "-all", &binary.to_string_lossy()]);
    let text = refused(unprivileged, packet);
    assert!(text.contains("missing CAP_NET_RAW for net_af_packet0"), "{text}");
    relay(&["link", "set", "eth0", "down"]);
    let text = refused(on_relay(), packet);
    assert!(text.contains("eth0 is down"), "{text}");
}
