//! The resolvers, over the network: hickory's client, over UDP with EDNS, and over TCP where an answer was cut short.
//!
//! Hickory has a cache and follows aliases as well; neither is used, as it does not say there what was secure.

use super::DnsSettings;
use crate::dns::{Data, Kind, Question, Record, Reply, Said};
use crate::limits::REPORT_RECORD_SIZE_MAX;
use crate::tls::Tlsa;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Edns, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// What the answer to one question over UDP may take, bytes: what goes through everywhere in one piece (RFC 9715).
const UDP_PAYLOAD_MAX: u16 = 1232;

/// The resolvers in their order.
pub(in crate::control) struct Resolvers {
    /// Each is a pool of one: hickory would take a refusal of one for the answer of all.
    servers: Vec<(SocketAddr, NameServerPool<TokioRuntimeProvider>)>,
    /// The one that answered last, which is asked first.
    first: AtomicUsize,
    trust_ad: bool,
    timeout: Duration,
}

impl Resolvers {
    pub fn new(settings: &DnsSettings) -> Resolvers {
        let server = |address: &SocketAddr| {
            let mut options = ResolverOpts::default();
            options.timeout = settings.timeout;
            options.edns_payload_len = UDP_PAYLOAD_MAX;
            options.max_active_requests = crate::limits::LOOKUPS_MAX;
            let tls = TlsConfig::new().expect("nothing of it is built");
            let context = Arc::new(PoolContext::new(options, tls));
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            let config = NameServerConfig::new(address.ip(), true, connections.into());
            (*address, NameServerPool::from_config([config], context, TokioRuntimeProvider::default()))
        };
        Resolvers {
            servers: settings.resolvers.iter().map(server).collect(),
            first: AtomicUsize::new(0),
            trust_ad: settings.trust_ad,
            timeout: settings.timeout,
        }
    }

    /// Asks one after the other, until one knows. There is always a reply.
    pub async fn ask(&self, question: &Question) -> Reply {
        let Some(request) = self.request(question) else { return Reply::failed("it is no name of the DNS") };
        let count = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut failure = "there is no resolver".to_owned();
        for place in (0..count).map(|step| (first + step) % count) {
            let (address, server) = &self.servers[place];
            let answered = timeout(self.timeout, server.send(request.clone()).first_answer()).await;
            match answered.unwrap_or(Err(NetError::Timeout)).and_then(|response| self.read(&response)).or_else(negative)
            {
                Ok(reply) => {
                    self.first.store(place, Ordering::Relaxed);
                    return reply;
                }
                Err(error) => failure = format!("resolver {}: {error}", address.ip()),
            }
        }
        Reply::failed(failure)
    }

    fn request(&self, question: &Question) -> Option<DnsRequest> {
        let mut name = Name::from_ascii(&question.name).ok()?;
        name.set_fqdn(true);
        let kind = match question.kind {
            Kind::Mx => RecordType::MX,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Cname => RecordType::CNAME,
            Kind::Tlsa => RecordType::TLSA,
            Kind::Txt => RecordType::TXT,
            Kind::Policy => return None,
        };
        let mut message = Message::query();
        message.add_query(Query::query(name, kind));
        message.metadata.recursion_desired = true;
        // That the AD bit is wanted is said by setting it (RFC 6840 §5.7); the signatures themselves are of no use here.
        message.metadata.authentic_data = self.trust_ad;
        message.edns.get_or_insert_with(Edns::new).set_max_payload(UDP_PAYLOAD_MAX);
        Some(DnsRequest::new(message, DnsRequestOptions::default()))
    }

    fn read(&self, response: &DnsResponse) -> Result<Reply, NetError> {
        let secure = self.trust_ad && response.metadata.authentic_data;
        let records: Vec<Record> = response.answers.iter().filter_map(record).collect();
        let seconds = response.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let said = match response.metadata.response_code {
            ResponseCode::NoError if records.is_empty() => Said::Nothing,
            ResponseCode::NoError => Said::Records(records),
            ResponseCode::NXDomain => Said::NoName,
            code => return Err(NetError::from(DnsError::ResponseCode(code))),
        };
        Ok(Reply { said, secure, ttl: Duration::from_secs(u64::from(seconds)) })
    }
}

/// What hickory takes for an error, and is an answer. How secure it is gets lost there.
fn negative(error: NetError) -> Result<Reply, NetError> {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = &error else { return Err(error) };
    let said = match none.response_code {
        ResponseCode::NoError => Said::Nothing,
        ResponseCode::NXDomain => Said::NoName,
        _ => return Err(error),
    };
    let ttl = Duration::from_secs(u64::from(none.negative_ttl.unwrap_or(0)));
    Ok(Reply { said, secure: false, ttl })
}

fn record(record: &hickory_resolver::proto::rr::Record) -> Option<Record> {
    let data = match &record.data {
        RData::CNAME(target) => Data::Alias(text(target)),
        RData::MX(mx) => Data::Mx { preference: mx.preference, host: text(&mx.exchange) },
        RData::A(address) => Data::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => Data::Address(IpAddr::V6(address.0)),
        RData::TLSA(tlsa) => Data::Tlsa(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.as_slice().into(),
        }),
        RData::TXT(text) => {
            Data::Text(Some(text.txt_data.concat()).filter(|text| text.len() <= REPORT_RECORD_SIZE_MAX)?.into())
        }
        _ => return None,
    };
    Some(Record { name: text(&record.name), data })
}

/// In lower case, without the dot at its end.
fn text(name: &Name) -> Box<str> {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    text.trim_end_matches('.').into()
}
