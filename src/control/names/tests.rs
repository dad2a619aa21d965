//! The adapter with a resolver of the test's own, on loopback.

use super::resolver::Resolvers;
use super::{DnsSettings, NameBoard};
use crate::control::links::{ToWorker, links};
use crate::dns::{Data, Families, Kind, Ourselves, Question, Record, Reply, Rules, Said};
use crate::env::Instant;
use crate::limits::{LOOKUP_ANSWERS_PER_MESSAGE, LOOKUPS_PER_WORKER_MAX, TO_WORKER_MAX};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record as Raw, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// What the test's resolver says; `None`: nothing at all.
fn answer(request: &Message, over_tcp: bool, validates: bool) -> Option<Message> {
    // RFC 6891: as much as passes everywhere in one piece.
    assert_eq!(request.edns.as_ref().map(|edns| edns.max_payload()), Some(1232));
    let query = request.queries[0].clone();
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.metadata.recursion_desired = true;
    response.metadata.recursion_available = true;
    // As unbound: only who asks for it is told.
    response.metadata.authentic_data = validates && request.metadata.authentic_data;
    let asked = query.name().clone();
    response.add_query(query.clone());
    let mut say = |owner: &Name, data: RData| {
        response.add_answer(Raw::from_rdata(owner.clone(), 77, data));
    };
    let soa = || {
        let soa = SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, 55);
        Raw::from_rdata(name("example."), 66, RData::SOA(soa))
    };
    match (asked.to_ascii().to_ascii_lowercase().as_str(), query.query_type()) {
        ("d.example.", RecordType::MX) => say(&asked, RData::MX(MX::new(10, name("MX.Example.")))),
        ("alias.example.", RecordType::A) => {
            say(&asked, RData::CNAME(CNAME(name("mx.example."))));
            say(&name("mx.example."), RData::A(A(Ipv4Addr::new(198, 51, 100, 1))));
        }
        ("large.example.", RecordType::MX) if over_tcp => {
            for host in 0..100 {
                say(&asked, RData::MX(MX::new(host, name(&format!("host-number-{host:03}.large.example.")))));
            }
        }
        ("large.example.", RecordType::MX) => response.metadata.truncation = true,
        ("null.example.", RecordType::MX) => say(&asked, RData::MX(MX::new(0, Name::root()))),
        ("missing.example.", _) => {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_authority(soa());
        }
        ("short.example.", _) => {
            response.metadata.response_code = ResponseCode::NXDomain;
            let mut soa = soa();
            soa.ttl = 44;
            response.add_authority(soa);
        }
        ("sick.example.", _) => response.metadata.response_code = ResponseCode::ServFail,
        ("silent.example.", _) => return None,
        _ => drop(response.add_authority(soa())),
    }
    Some(response)
}

/// A resolver on a port of its own, over UDP and TCP.
async fn resolver(validates: bool) -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = udp.local_addr().expect("an address");
    let tcp = TcpListener::bind(address).await.expect("the same port");
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((size, from)) = udp.recv_from(&mut bytes).await {
            let request = Message::from_vec(&bytes[..size]).expect("a request");
            if let Some(response) = answer(&request, false, validates) {
                udp.send_to(&response.to_vec().expect("bytes"), from).await.expect("sent");
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            tokio::spawn(async move {
                while let Ok(size) = stream.read_u16().await {
                    let mut bytes = vec![0; usize::from(size)];
                    stream.read_exact(&mut bytes).await.expect("a request");
                    let request = Message::from_vec(&bytes).expect("a request");
                    let response = answer(&request, true, validates).expect("an answer").to_vec().expect("bytes");
                    stream.write_u16(response.len() as u16).await.expect("sent");
                    stream.write_all(&response).await.expect("sent");
                }
            });
        }
    });
    address
}

/// A resolver that says this to whatever it is asked, and how often it was.
async fn resolver_that_says(code: ResponseCode) -> (SocketAddr, Arc<AtomicU64>) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = udp.local_addr().expect("an address");
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((size, from)) = udp.recv_from(&mut bytes).await {
            count.fetch_add(1, Ordering::Relaxed);
            let request = Message::from_vec(&bytes[..size]).expect("a request");
            let mut response = Message::response(request.metadata.id, request.metadata.op_code);
            response.metadata.response_code = code;
            response.add_query(request.queries[0].clone());
            udp.send_to(&response.to_vec().expect("bytes"), from).await.expect("sent");
        }
    });
    (address, asked)
}

fn rules() -> Rules {
    Rules { families: Families { v4: true, v6: true }, ourselves: Ourselves::default(), dane: false, sts: false }
}

fn resolvers(addresses: &[SocketAddr], trust_ad: bool, timeout: Duration) -> Resolvers {
    let (rules, resolvers, roots, directory) = (rules(), addresses.into(), None, None);
    Resolvers::new(&DnsSettings { rules, resolvers, trust_ad, timeout, roots, directory })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Long enough that no busy machine is taken for a silent resolver.
const PATIENCE: Duration = Duration::from_secs(20);

fn ttl(reply: &Reply) -> u64 {
    reply.ttl.as_secs()
}

#[test]
fn every_kind_of_answer_is_understood() {
    block_on(async {
        let resolvers = resolvers(&[resolver(true).await], false, PATIENCE);
        let reply = resolvers.ask(&Question::new("d.example", Kind::Mx)).await;
        let mx = Record { name: "d.example".into(), data: Data::Mx { preference: 10, host: "mx.example".into() } };
        assert_eq!((&reply.said, reply.secure, ttl(&reply)), (&Said::Records(vec![mx]), false, 77));

        let reply = resolvers.ask(&Question::new("alias.example", Kind::A)).await;
        let Said::Records(records) = &reply.said else { panic!("{reply:?}") };
        assert_eq!(records[0].data, Data::Alias("mx.example".into()));
        assert_eq!(records[1].data, Data::Address([198, 51, 100, 1].into()));

        let reply = resolvers.ask(&Question::new("null.example", Kind::Mx)).await;
        let Said::Records(records) = &reply.said else { panic!("{reply:?}") };
        assert_eq!(records[0].data, Data::Mx { preference: 0, host: "".into() });

        let reply = resolvers.ask(&Question::new("d.example", Kind::Aaaa)).await;
        assert_eq!((&reply.said, ttl(&reply)), (&Said::Nothing, 55));
        let reply = resolvers.ask(&Question::new("missing.example", Kind::A)).await;
        assert_eq!((&reply.said, ttl(&reply)), (&Said::NoName, 55));
        // RFC 2308 §5: what the SOA says, and no longer than it holds itself.
        let reply = resolvers.ask(&Question::new("short.example", Kind::A)).await;
        assert_eq!((&reply.said, ttl(&reply)), (&Said::NoName, 44));
        let reply = resolvers.ask(&Question::new("sick.example", Kind::A)).await;
        assert!(matches!(reply.said, Said::Failed(_)), "{reply:?}");
    });
}

#[test]
fn an_answer_that_is_cut_short_is_fetched_over_tcp() {
    block_on(async {
        let resolvers = resolvers(&[resolver(true).await], false, PATIENCE);
        let reply = resolvers.ask(&Question::new("large.example", Kind::Mx)).await;
        let Said::Records(records) = &reply.said else { panic!("{reply:?}") };
        assert_eq!(records.len(), 100);
    });
}

#[test]
fn only_what_a_trusted_resolver_vouches_for_is_secure() {
    block_on(async {
        let (validates, does_not) = (resolver(true).await, resolver(false).await);
        for (address, trust_ad, secure) in [(validates, true, true), (validates, false, false), (does_not, true, false)]
        {
            let reply = resolvers(&[address], trust_ad, PATIENCE).ask(&Question::new("d.example", Kind::Mx)).await;
            assert_eq!(reply.secure, secure);
        }
    });
}

#[test]
fn a_resolver_that_is_silent_is_followed_by_the_next() {
    block_on(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let silent = silent.local_addr().map(|address| (silent, address)).expect("an address");
        let resolvers = resolvers(&[silent.1, resolver(false).await], false, Duration::from_secs(1));
        let reply = resolvers.ask(&Question::new("d.example", Kind::Mx)).await;
        assert!(matches!(reply.said, Said::Records(_)), "{reply:?}");
        let reply = resolvers.ask(&Question::new("silent.example", Kind::Mx)).await;
        assert!(matches!(reply.said, Said::Failed(_)), "{reply:?}");
    });
}

#[test]
fn a_resolver_that_fails_or_refuses_is_followed_by_the_next() {
    block_on(async {
        for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp, ResponseCode::FormErr] {
            let (bad, asked) = resolver_that_says(code).await;
            let resolvers = resolvers(&[bad, resolver(false).await], false, PATIENCE);
            let reply = resolvers.ask(&Question::new("d.example", Kind::Mx)).await;
            assert!(matches!(reply.said, Said::Records(_)), "{code}: {reply:?}");
            let count = asked.load(Ordering::Relaxed);
            assert!(count > 0);
            // From now on the one that knows is asked first, and what it denies is denied.
            let reply = resolvers.ask(&Question::new("missing.example", Kind::Mx)).await;
            assert_eq!((reply.said, asked.load(Ordering::Relaxed)), (Said::NoName, count), "{code}");
            // With nobody who knows it is no denial.
            let reply = resolvers.ask(&Question::new("sick.example", Kind::Mx)).await;
            assert!(matches!(reply.said, Said::Failed(_)), "{code}: {reply:?}");
        }
    });
}

#[test]
fn answers_wait_for_room_in_a_workers_channel() {
    let (links, ends, _from) = links(1, 16).expect("channels");
    let mut board = NameBoard::new(rules(), links.clone());
    for token in 0..TO_WORKER_MAX as u64 {
        let question = crate::control::Question::Status;
        assert!(links[0].to.try_send(ToWorker::Request { token, question }).is_ok());
    }
    for number in 0..LOOKUPS_PER_WORKER_MAX {
        board.ask(Instant::ZERO, 0, &format!("d{number}.example"));
    }
    while let Some(question) = board.question() {
        board.tell(Instant::ZERO, &question, Reply::failed("no"));
    }
    assert!(!board.send());
    board.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    assert_eq!(ends[0].requests.try_iter().count(), TO_WORKER_MAX);
    assert!(board.send());
    let mut answers = 0;
    for message in ends[0].requests.try_iter() {
        let ToWorker::Domains(domains) = message else { panic!("only answers are left") };
        assert!(domains.len() <= LOOKUP_ANSWERS_PER_MESSAGE);
        answers += domains.len();
    }
    assert_eq!(answers, LOOKUPS_PER_WORKER_MAX);
}
