//! From the configuration to workers: what every station of an appliance is told.
//!
//! In: the configuration, compiled once, and what one worker has of its own (its transport, its logs, its ends of the
//! channels). Out: the [`Equipment`] of that worker. Whoever makes an appliance does it here, the command that runs one
//! and the simulator alike, so that what is simulated is what runs.

pub(crate) mod settings;
pub(crate) mod shares;

use crate::config::{Config, WithoutKey};
use crate::control::WorkerEnd;
use crate::delivery::{Destinations, Orders, Reactions, RouteError, Routes, Tenants};
use crate::dkim::{Keyring, SigningEnd};
use crate::env::Wakeup;
use crate::env::disk::Disk;
use crate::policy::{Policy, VerifyCache};
use crate::smtp::client::Credentials;
use crate::spool::Log;
use crate::tls::{Client, Server};
use crate::worker::{Equipment, Exchange, PairEquipment, SigningEquipment};
use std::sync::Arc;

/// What all workers of an appliance share.
#[derive(Clone)]
pub struct Appliance {
    /// As it was read.
    pub config: Arc<Config>,
    /// Who may send what, at the start.
    pub policy: Arc<Policy>,
    /// Where mail goes.
    pub routes: Arc<Routes>,
    /// Whose mail it is.
    pub tenants: Arc<Tenants>,
    /// What an operator has said about some of the mail, at the start.
    pub orders: Arc<Orders>,
    /// What is done about replies of next hops.
    pub reactions: Reactions,
    /// What clients are shown, at the start, if there are certificates.
    pub tls: Option<Arc<Server>>,
    /// What mail is signed with, at the start, if there are keys.
    pub keyring: Option<Arc<Keyring>>,
    /// Who we are to next hops, at the start.
    pub credentials: Arc<[Arc<Credentials>]>,
}

/// What one worker has of its own.
pub struct Station<T, D: Disk, C> {
    /// Tells the time.
    pub clock: C,
    /// Carries its flows.
    pub transport: T,
    /// The log that takes new mail, then those that it adopts, each with its number.
    pub logs: Vec<(u16, Log<D>)>,
    /// Its end of the rings.
    pub exchange: Exchange,
    /// Readable when another worker has written.
    pub exchange_wakeup: Wakeup,
    /// Its end of the channels to the control thread.
    pub control: WorkerEnd,
    /// Decides what is left to chance.
    pub seed: u64,
    /// What its connections to next hops are secured with; none: they are in the clear.
    pub tls: Option<Client>,
    /// Its end of the rings to those who sign.
    pub signing: Option<SigningEnd>,
    /// Its part in a pair, if the box has a partner.
    pub pair: Option<PairEquipment<D>>,
}

impl Appliance {
    /// Compiles the routes of `config`. Certificates, keys and credentials are given later: reading them is not for everybody.
    ///
    /// # Errors
    /// Routes that contradict each other.
    pub fn new(config: Arc<Config>, policy: Arc<Policy>) -> Result<Appliance, RouteError> {
        let routes = Arc::new(settings::routes(&config)?);
        let reactions = settings::reactions(&config);
        let credentials = Arc::new([]);
        let (tenants, orders) = (Arc::new(settings::tenants(&config)), Arc::default());
        Ok(Appliance { config, policy, routes, tenants, orders, reactions, tls: None, keyring: None, credentials })
    }

    /// Everything that one worker works with.
    pub fn equip<T, D: Disk, C>(&self, station: Station<T, D, C>) -> Equipment<T, D, C> {
        let config = &*self.config;
        let delivery = settings::delivery(config, station.exchange.workers());
        let waits_for_key = config.signing.without_key == WithoutKey::Wait;
        let signing = station.signing.zip(self.keyring.clone());
        let signing = signing.map(|(end, keyring)| SigningEquipment { end, keyring, waits_for_key });
        Equipment {
            clock: station.clock,
            transport: station.transport,
            logs: station.logs,
            exchange: station.exchange,
            exchange_wakeup: station.exchange_wakeup,
            control: station.control,
            listeners: settings::listeners(config),
            tls: self.tls.clone(),
            client_tls: station.tls,
            signing,
            credentials: Arc::clone(&self.credentials),
            policy: Arc::clone(&self.policy),
            checks: VerifyCache::of(config, station.seed),
            routes: Arc::clone(&self.routes),
            orders: Arc::clone(&self.orders),
            retry: settings::retry(config),
            destinations: Destinations::new(&self.routes, delivery, &settings::own(config), station.seed)
                .with_reactions(self.reactions.clone()),
            hostname: config.hostname.as_str().into(),
            poll: config.workers.poll,
            seed: station.seed,
            pair: station.pair,
        }
    }
}
