//! TLS outside of the appliance: a layer below scripts, which know nothing of it, and cryptography that replays.
//!
//! In: bytes of the wire, what scripts say. Out: what scripts hear, bytes of the wire. A client's layer hears the greeting, says EHLO
//! and STARTTLS and shakes hands before its script hears a word; a next hop's offers STARTTLS and lets its script hear what comes
//! behind it, under TLS or not. Some break off in the handshake, and some end without saying so.
//!
//! What is random in a handshake comes from a generator that begins anew with each world, the time is the world's, keys and
//! certificates are always the same ones, and the exchange of keys is none: whoever has seen both halves knows the secret. So a run
//! replays byte for byte. Ed25519 signs the same in the same way each time.

use super::client::Style;
use super::proof::Shown;
use super::setup::hop_address;
use crate::tls::{Client, Server, Tls, Verification};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{Error, NamedGroup};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

thread_local! {
    /// A world has a thread to itself.
    static RANDOM: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(0));
    static SECONDS: Cell<u64> = const { Cell::new(0) };
}

/// A world begins.
pub(super) fn begin(seed: u64) {
    RANDOM.with_borrow_mut(|random| *random = StdRng::seed_from_u64(seed));
    set_time(Duration::ZERO);
}

/// The time that handshakes and tickets see, since the world's beginning.
pub(super) fn set_time(since: Duration) {
    /// 2026-01-01T00:00:00Z.
    const EPOCH_SECONDS: u64 = 1_767_225_600;
    SECONDS.set(EPOCH_SECONDS + since.as_secs());
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        RANDOM.with_borrow_mut(|random| random.fill_bytes(bytes));
        Ok(())
    }
}

#[derive(Debug)]
struct WorldTime;

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(SECONDS.get())))
    }
}

/// An exchange of keys by name and form only.
#[derive(Debug)]
struct OpenExchange;

struct Half([u8; 32]);

impl SupportedKxGroup for OpenExchange {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut half = [0; 32];
        RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut half));
        Ok(Box::new(Half(half)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Half {
    fn complete(self: Box<Self>, other: &[u8]) -> Result<SharedSecret, Error> {
        let mut halves = [self.0.as_slice(), other];
        halves.sort_unstable();
        Ok(SharedSecret::from(digest(&SHA256, &halves.concat()).as_ref()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![&OpenExchange],
        secure_random: &Seeded,
        ..rustls::crypto::ring::default_provider()
    })
}

/// The end that is connected to, of a box or a next hop of this number.
pub(super) fn server(number: u8) -> Server {
    // The boxes of a pair take each other's tickets.
    server_with(certificate(number, "relay.test"), 7)
}

/// The same with a certificate for another name or address, and tickets of its own.
#[cfg(test)]
pub(super) fn server_named(number: u8, name: &str) -> Server {
    server_with(certificate(number, name), number)
}

fn server_with((certificate, key): Certified, secret: u8) -> Server {
    let provider = provider();
    let certified = CertifiedKey::from_der(vec![certificate], key, &provider).expect("a pair");
    Server::with(provider, Arc::new(WorldTime), &[&TLS13], vec![certified], vec![secret; 32]).expect("a configuration")
}

type Certified = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A certificate of its own signature, and its key.
fn certificate(number: u8, name: &str) -> Certified {
    let (der, key) = key(number);
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    (certificate, PrivateKeyDer::Pkcs8(der))
}

/// PKCS #8 of an Ed25519 key (RFC 8410 §7) that everybody knows.
fn key(number: u8) -> (PrivatePkcs8KeyDer<'static>, KeyPair) {
    let mut der = hex(b"302e020100300506032b657004220420");
    der.extend([number; 32]);
    let der = PrivatePkcs8KeyDer::from(der);
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).expect("a key");
    (der, key)
}

/// What a TLSA record of the form 3 1 1 says of the key of this number (RFC 6698 §2.1).
pub(super) fn digest_of_key(number: u8) -> Box<[u8]> {
    digest(&SHA256, &key(number).1.subject_public_key_info()).as_ref().into()
}

/// The key of the authority that appliances trust.
const AUTHORITY: u8 = 100;

fn authority() -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(Vec::new()).expect("no name is needed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, key(AUTHORITY).1)
}

/// A certificate that is trusted, for these names, and its key.
fn trusted(number: u8, names: Vec<String>) -> Certified {
    let (der, key) = key(number);
    let (issuer, issuer_key) = authority();
    let params = CertificateParams::new(names).expect("names");
    let issuer = Issuer::from_params(&issuer, issuer_key);
    let certificate = params.signed_by(&key, &issuer).expect("a certificate").der().clone();
    (certificate, PrivateKeyDer::Pkcs8(der))
}

/// The end of a next hop that shows this, if it shows anything.
fn server_of_hop(place: usize, shown: Shown) -> Option<Server> {
    let number = shown.key(place)?;
    let name = format!("hop{place}.test");
    let certified = match shown {
        Shown::OtherKey => certificate(number, &name),
        Shown::OtherName => trusted(number, vec!["elsewhere.test".to_owned()]),
        _ => trusted(number, vec![name, hop_address(place).ip().to_string()]),
    };
    // Nobody resumes with one what was begun with another: who shows something else has the secret of nobody.
    Some(server_with(certified, 10 * shown as u8 + place as u8))
}

fn hex(text: &[u8; 32]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
    text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// What connects, and trusts the authority.
pub(super) fn client() -> Client {
    let (params, key) = authority();
    client_with(params.self_signed(&key).expect("a certificate").der().clone())
}

/// The same, and it trusts the certificate of this number and name.
#[cfg(test)]
pub(super) fn client_that_trusts(number: u8, name: &str) -> Client {
    client_with(certificate(number, name).0)
}

fn client_with(root: CertificateDer<'static>) -> Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).expect("a good certificate");
    Client::with(provider(), Arc::new(WorldTime), Some(Arc::new(roots))).expect("a configuration")
}

/// Who speaks TLS, and how it ends. It draws by itself, so that a world without it is the one that it always was.
pub(super) struct Secure {
    random: StdRng,
    client: Rc<RefCell<Client>>,
    /// What next hops have shown so far.
    servers: BTreeMap<(usize, Shown), Option<Arc<Server>>>,
    /// Handshakes that were meant to go well, and others.
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Secure {
    /// For the world of a seed.
    pub(super) fn new(seed: u64) -> Secure {
        Secure {
            random: StdRng::seed_from_u64(seed ^ 0x5ec0_7e1a),
            client: Rc::new(RefCell::new(client())),
            servers: BTreeMap::new(),
            good: 0,
            bad: 0,
        }
    }

    fn fate(&mut self, polite: bool) -> Fate {
        let fate = match self.random.random_range(0..20) {
            0 if !polite => Fate::BreaksOff,
            1 if !polite => Fate::Babbles,
            2..6 => Fate::EndsSilently,
            _ => Fate::Good,
        };
        let count = if matches!(fate, Fate::BreaksOff | Fate::Babbles) { &mut self.bad } else { &mut self.good };
        *count += 1;
        fate
    }

    /// What is below a client. One that says all of its commands by chance must not begin a handshake by chance.
    pub(super) fn of_client(&mut self, style: Style, confused: bool, polite: bool) -> Layer {
        let wanted = confused || self.random.random_bool(0.5);
        if style == Style::Babbling || !wanted {
            return Layer::clear();
        }
        Layer::asking(Rc::clone(&self.client), self.fate(polite))
    }

    /// What is below a next hop that shows this.
    pub(super) fn of_hop(&mut self, place: usize, shown: Shown, polite: bool) -> Layer {
        let server = self.servers.entry((place, shown)).or_insert_with(|| server_of_hop(place, shown).map(Arc::new));
        let Some(server) = server.clone() else { return Layer::clear() };
        Layer { shown, ..Layer::offering(server, self.fate(polite)) }
    }
}

/// What becomes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    /// It breaks off where the handshake should be.
    BreaksOff,
    /// Something else than a handshake comes.
    Babbles,
    /// The connection ends without the end of TLS.
    EndsSilently,
}

/// How far a client's layer is.
enum Asking {
    Greeting,
    Hello { greeting: Vec<u8> },
    StartTls { greeting: Vec<u8> },
}

enum Stage {
    Clear,
    /// A client that wants TLS, and has heard so much of a line.
    Asking {
        asking: Asking,
        line: Vec<u8>,
    },
    /// A next hop that offers it.
    Offering {
        server: Arc<Server>,
        line: Vec<u8>,
    },
    Tls {
        tls: Box<Tls>,
        first: Vec<u8>,
    },
}

/// What is between a script and its connection.
pub(super) struct Layer {
    stage: Stage,
    fate: Fate,
    client: Option<Rc<RefCell<Client>>>,
    /// What the end that is connected to shows.
    shown: Shown,
    /// Bytes for the wire.
    raw: Vec<u8>,
}

/// A connection that cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Layer {
    pub(super) fn clear() -> Layer {
        Layer { stage: Stage::Clear, fate: Fate::Good, client: None, shown: Shown::Nothing, raw: Vec::new() }
    }

    /// That of a client.
    pub(super) fn asking(client: Rc<RefCell<Client>>, fate: Fate) -> Layer {
        let stage = Stage::Asking { asking: Asking::Greeting, line: Vec::new() };
        Layer { stage, client: Some(client), fate, shown: Shown::Good, ..Layer::clear() }
    }

    /// That of a next hop.
    pub(super) fn offering(server: Arc<Server>, fate: Fate) -> Layer {
        Layer { stage: Stage::Offering { server, line: Vec::new() }, fate, ..Layer::clear() }
    }

    /// Whether it is none: what a script says goes as it is.
    pub(super) fn is_clear(&self) -> bool {
        matches!(self.stage, Stage::Clear) && self.raw.is_empty()
    }

    /// What the end that is connected to has shown: nothing, before there is TLS.
    pub(super) fn shown(&self) -> Shown {
        let is_secure = matches!(&self.stage, Stage::Tls { tls, .. } if !tls.is_handshaking());
        if is_secure { self.shown } else { Shown::Nothing }
    }

    /// Whether something is on its way to the wire.
    pub(super) fn has_output(&self) -> bool {
        !self.raw.is_empty()
    }

    /// Gives what is for the wire to `take`, which says how much it took. Whether that was all.
    pub(super) fn give(&mut self, take: impl FnOnce(&[u8]) -> usize) -> bool {
        if !self.raw.is_empty() {
            let count = take(&self.raw);
            self.raw.drain(..count);
        }
        self.raw.is_empty()
    }

    /// Takes what came, and gives what the script is to hear.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
        match &mut self.stage {
            Stage::Clear => return Ok(bytes.to_vec()),
            Stage::Tls { .. } => return self.decrypt(bytes),
            Stage::Asking { .. } | Stage::Offering { .. } => {}
        }
        for (place, byte) in bytes.iter().enumerate() {
            let (Stage::Asking { line, .. } | Stage::Offering { line, .. }) = &mut self.stage else {
                return self.receive(&bytes[place..]);
            };
            line.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            let line = std::mem::take(line);
            if let Some(mut heard) = self.line(line)? {
                // From here on the script is spoken to itself.
                heard.extend(self.receive(&bytes[place + 1..])?);
                return Ok(heard);
            }
        }
        Ok(Vec::new())
    }

    /// One line before there is TLS. What the script is to hear, if it is its turn.
    fn line(&mut self, line: Vec<u8>) -> Result<Option<Vec<u8>>, Broken> {
        if let Stage::Offering { server, .. } = &self.stage {
            let upper = line.to_ascii_uppercase();
            if upper.starts_with(b"EHLO ") {
                self.raw.extend(
                    b"250-hop.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-ENHANCEDSTATUSCODES\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
                );
                return Ok(None);
            }
            if upper != b"STARTTLS\r\n" {
                self.stage = Stage::Clear;
                return Ok(Some(line));
            }
            let tls = Box::new(server.accept().expect("a good configuration"));
            self.raw.extend(b"220 go on\r\n");
            self.stage = Stage::Tls { tls, first: Vec::new() };
            return self.begin().map(|()| None);
        }
        // A reply has ended with a line that has a space behind its code.
        let whole = line.get(3) != Some(&b'-');
        let code = line.get(..3).map(<[u8]>::to_vec).unwrap_or_default();
        let Stage::Asking { asking, .. } = &mut self.stage else { return Ok(None) };
        let next = match (std::mem::replace(asking, Asking::Greeting), &code[..]) {
            (asking, b"220" | b"250") if !whole => asking,
            (Asking::Greeting, b"220") => {
                self.raw.extend(b"EHLO client.test\r\n");
                Asking::Hello { greeting: line }
            }
            (Asking::Hello { greeting }, b"250") => {
                self.raw.extend(b"STARTTLS\r\n");
                Asking::StartTls { greeting }
            }
            (Asking::StartTls { greeting }, b"220") => {
                let client = self.client.as_ref().expect("it asks");
                let tls = client.borrow_mut().connect("relay.test", &Verification::Nothing);
                let tls = tls.expect("a good configuration");
                self.stage = Stage::Tls { tls: Box::new(tls), first: greeting };
                return self.begin().map(|()| None);
            }
            // 421, 554: in place of a greeting it means the same to the script.
            _ => {
                self.stage = Stage::Clear;
                return Ok(Some(line));
            }
        };
        *asking = next;
        Ok(None)
    }

    /// The handshake begins, or what is in its place.
    fn begin(&mut self) -> Result<(), Broken> {
        match self.fate {
            Fate::BreaksOff => Err(Broken),
            Fate::Babbles => {
                self.raw.extend(b"250 this is no handshake\r\n");
                Ok(())
            }
            Fate::Good | Fate::EndsSilently => {
                self.flush();
                Ok(())
            }
        }
    }

    fn flush(&mut self) {
        if let Stage::Tls { tls, .. } = &mut self.stage {
            tls.output(|bytes| {
                self.raw.extend(bytes);
                bytes.len()
            });
        }
    }

    fn decrypt(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
        if self.fate == Fate::Babbles {
            return Ok(Vec::new());
        }
        let (mut rest, mut heard) = (bytes, Vec::new());
        loop {
            self.flush();
            let Stage::Tls { tls, first } = &mut self.stage else { return Err(Broken) };
            let taken = tls.receive(rest).map_err(|_| Broken)?;
            rest = &rest[taken..];
            if !tls.is_handshaking() {
                heard.append(first);
            }
            let plain = tls.received().bytes.len();
            heard.extend_from_slice(tls.received().bytes);
            tls.consume(plain);
            if taken + plain == 0 {
                self.flush();
                return Ok(heard);
            }
        }
    }

    /// Takes as much of what the script says as there is room for.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        let count = match &mut self.stage {
            // A client's script says nothing before it was greeted; a next hop's greets.
            Stage::Clear | Stage::Offering { .. } => {
                self.raw.extend(bytes);
                bytes.len()
            }
            Stage::Asking { .. } => 0,
            // One that babbles is waited for in vain.
            Stage::Tls { .. } if self.fate == Fate::Babbles => 0,
            Stage::Tls { tls, .. } => tls.send(bytes),
        };
        self.flush();
        count
    }

    /// The script says no more.
    pub(super) fn close(&mut self) {
        if let Stage::Tls { tls, .. } = &mut self.stage
            && self.fate != Fate::EndsSilently
        {
            tls.close();
        }
        self.flush();
    }

    /// Whether the other side has said that it ends.
    pub(super) fn has_ended(&self) -> bool {
        matches!(&self.stage, Stage::Tls { tls, .. } if tls.has_ended())
    }
}
