//! The transport of an appliance, opened as the configuration says, for as many workers as there will be.
//!
//! In: the configuration. Out: a queue or sockets for each worker, own addresses claimed; and what keeps the device going.
//! Nothing falls back from one transport to another.

use crate::appliance::settings::{self, Traffic};
use crate::config::{Config, Transport};
use crate::env::{Clock, SystemClock};
use crate::event::Event;
use crate::kernel::{self, Sockets};
#[cfg(feature = "dpdk")]
use crate::limits::LINK_PATIENCE;
use crate::port::lane::{self, Lane};
use crate::port::{Burst, Link, Port, af_xdp, dpdk};
use crate::tcp::claim;
use std::net::IpAddr;
use std::time::Duration;

/// The longest sleep while addresses are claimed.
const CLAIM_SLEEP_MAX: Duration = Duration::from_millis(50);

/// Why a transport does not open. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    #[error("name the one device that carries all own addresses")]
    Ports,
    #[error("{0}")]
    AfXdp(#[from] af_xdp::OpenError),
    #[error("{0}")]
    Dpdk(#[from] dpdk::OpenError),
    #[error("cannot share the queues among the workers: {0}")]
    Lanes(std::io::Error),
    #[error("{address} is in use already by {owner}; give the appliance an address of its own")]
    Conflict { address: IpAddr, owner: String },
    #[error("{0}")]
    Listen(#[from] kernel::OpenError),
}

/// What all workers have of one device: a lane each.
pub(super) struct Shared<P> {
    pub traffic: Traffic,
    pub lanes: Vec<Lane<P>>,
}

/// What the workers work with: shares of one device, or of several, of which that of mail comes first.
pub(super) enum Lanes {
    AfXdp(Vec<Shared<af_xdp::Queue>>),
    #[cfg(feature = "dpdk")]
    Dpdk(Vec<Shared<dpdk::Queue>>),
    Kernel(Vec<Sockets>),
}

impl Lanes {
    /// How many workers there can be.
    pub fn count(&self) -> usize {
        match self {
            Lanes::AfXdp(ports) => ports.first().map_or(0, |port| port.lanes.len()),
            #[cfg(feature = "dpdk")]
            Lanes::Dpdk(ports) => ports.first().map_or(0, |port| port.lanes.len()),
            Lanes::Kernel(sockets) => sockets.len(),
        }
    }
}

/// What keeps the devices going: frames come for as long as this is there.
#[derive(Debug)]
pub(super) enum Attachment {
    AfXdp {
        /// That of the port that the own addresses are on.
        mail: af_xdp::Attachment,
        _links: Option<af_xdp::Attachment>,
    },
    #[cfg(feature = "dpdk")]
    Dpdk(dpdk::Attachment),
    Kernel,
}

impl Attachment {
    /// The link of the device that the own addresses are on, where the port knows it.
    pub fn link(&self) -> Option<Link> {
        match self {
            #[cfg(feature = "dpdk")]
            Attachment::Dpdk(attachment) => Some(attachment.link()),
            Attachment::AfXdp { mail, .. } => Some(mail.link()),
            Attachment::Kernel => None,
        }
    }
}

/// An open transport.
pub(super) struct Opened {
    pub lanes: Lanes,
    pub attachment: Attachment,
    /// What it stands on, in words.
    pub detail: String,
    /// As it was at the opening, where the port knows it.
    pub link: Option<Link>,
    /// What an operator should know besides.
    pub warnings: Vec<String>,
}

/// Opens the transport of `config` and claims its addresses.
pub(super) fn open(config: &Config, clock: &SystemClock) -> Result<Opened, TransportError> {
    match config.transport {
        Transport::Kernel => open_kernel(config),
        Transport::AfXdp => open_af_xdp(config, clock),
        Transport::Dpdk => open_dpdk(config, clock),
    }
}

fn open_kernel(config: &Config) -> Result<Opened, TransportError> {
    let workers = config.workers.count();
    let mut all = Vec::new();
    for _ in 0..workers {
        all.push(Sockets::open(settings::kernel(config, workers))?);
    }
    let places: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    Ok(Opened {
        lanes: Lanes::Kernel(all),
        attachment: Attachment::Kernel,
        detail: match &places[..] {
            [] => "sockets".to_owned(),
            places => format!("sockets, listening on {}", places.join(", ")),
        },
        link: None,
        warnings: Vec::new(),
    })
}

fn open_af_xdp(config: &Config, clock: &SystemClock) -> Result<Opened, TransportError> {
    let ports = settings::ports(config);
    if ports.iter().filter(|(_, traffic)| *traffic != Traffic::Links).count() != 1 {
        return Err(TransportError::Ports);
    }
    let (mut all, mut details, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let (mut mail, mut links) = (None, None);
    for (port, traffic) in ports {
        let af_xdp::Device { mut queues, attachment, mode } = af_xdp::open(&settings::port(config, port))?;
        claim(&mut queues, &settings::addresses_to_claim(config, traffic), clock)?;
        let what = if traffic == Traffic::Links { "links over " } else { "" };
        details.push(format!("{what}{} with {} queues, {mode}", port.device, queues.len()));
        let lanes = share_out(queues, config)?;
        let advice = format!("`ethtool -L {} combined {}` gives each one, if the card can", port.device, lanes.len());
        warnings.extend(guests(&lanes, &port.device, &advice));
        all.push(Shared { traffic, lanes });
        *(if traffic == Traffic::Links { &mut links } else { &mut mail }) = Some(attachment);
    }
    let mail = mail.ok_or(TransportError::Ports)?;
    let link = mail.link();
    warnings.extend((!link.up).then(|| link_down(&config.ports[0].device)));
    Ok(Opened {
        lanes: Lanes::AfXdp(all),
        link: Some(link),
        attachment: Attachment::AfXdp { mail, _links: links },
        detail: details.join("; "),
        warnings,
    })
}

#[cfg(feature = "dpdk")]
fn open_dpdk(config: &Config, clock: &SystemClock) -> Result<Opened, TransportError> {
    let [port] = &config.ports[..] else { return Err(TransportError::Ports) };
    let (settings, traffic) = (settings::dpdk_port(config, port), settings::traffic(config, port));
    let dpdk::Device { mut queues, attachment, mode, complaints } = dpdk::open(&settings)?;
    // On a link that is down nobody could object to our addresses.
    let link = attachment.wait_for_link(LINK_PATIENCE);
    claim(&mut queues, &settings::addresses_to_claim(config, traffic), clock)?;
    let mut warnings: Vec<String> = complaints.into_iter().map(|line| format!("DPDK says: {line}")).collect();
    if !link.up {
        warnings.push(link_down(&port.device));
    }
    let count = queues.len();
    let lanes = share_out(queues, config)?;
    warnings.extend(guests(&lanes, &port.device, "drivers such as net_af_packet are told how many to make"));
    Ok(Opened {
        lanes: Lanes::Dpdk(vec![Shared { traffic, lanes }]),
        attachment: Attachment::Dpdk(attachment),
        detail: format!("{} with {count} queues, {mode}, link {link}", port.device),
        link: Some(link),
        warnings,
    })
}

#[cfg(not(feature = "dpdk"))]
fn open_dpdk(_: &Config, _: &SystemClock) -> Result<Opened, TransportError> {
    Err(dpdk::OpenError::NotBuilt.into())
}

/// What an operator should know if there is no link at the start.
fn link_down(device: &str) -> String {
    format!(
        "the link of {device} is down, so that nobody could object to our addresses: look at the cable and the other end"
    )
}

/// Says when the link changes, asked again and again.
pub(super) fn watch_link(opened: &Opened) -> impl FnMut(&Attachment) -> Option<Event> + use<> {
    let mut last = opened.link;
    move |attachment| {
        let link = attachment.link();
        if link == last {
            return None;
        }
        last = link;
        link.map(Event::Link)
    }
}

/// A lane for each worker.
fn share_out<P: Port>(queues: Vec<P>, config: &Config) -> Result<Vec<Lane<P>>, TransportError> {
    lane::share_out(queues, config.workers.count().into()).map_err(TransportError::Lanes)
}

/// What an operator should know if workers have no queue of their own.
fn guests<P: Port>(lanes: &[Lane<P>], device: &str, advice: &str) -> Option<String> {
    let guests = lanes.iter().filter(|lane| lane.queues().is_empty()).count();
    (guests > 0).then(|| {
        let all = lanes.len();
        format!(
            "{guests} of the {all} workers have no queue of {device} and get their frames from the others, which costs: {advice}"
        )
    })
}

/// Makes sure that nobody else uses our addresses. The first queue asks; an answer may come to any of them.
fn claim<P: Port>(queues: &mut [P], addresses: &[IpAddr], clock: &SystemClock) -> Result<(), TransportError> {
    let Some((first, others)) = queues.split_first_mut() else { return Ok(()) };
    let mut claim = claim::Claim::new(first.hardware_address(), addresses, clock.now().mono);
    let mut burst = Burst::new();
    loop {
        for queue in &mut *others {
            queue.receive(&mut burst);
            for frame in burst.drain(..) {
                claim.hear(queue.bytes(&frame));
                queue.release(frame);
            }
        }
        let now = clock.now().mono;
        match claim.poll(first, now) {
            claim::Status::Claimed => return Ok(()),
            claim::Status::Conflict { address, hardware_address } => {
                let owner = hardware_address.map(|octet| format!("{octet:02x}")).join(":");
                return Err(TransportError::Conflict { address, owner });
            }
            claim::Status::Pending { next } => {
                let queues = std::iter::once(&*first).chain(others.iter());
                let wakeups: Vec<_> = queues.filter_map(|queue| queue.wakeup()).collect();
                crate::env::wait_readable(&wakeups, next.since(now).min(CLAIM_SLEEP_MAX));
            }
        }
    }
}
