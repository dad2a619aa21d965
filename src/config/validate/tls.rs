//! What listeners do with TLS, held against the certificates that there are.

use super::{Check, Step};
use crate::config::error::Problem;
use crate::config::{Config, Dkim, Dnssec, ListenerTls, Protocol, Role, Route, RouteTls, Transport};
use crate::limits::CERTIFICATES_MAX;
use crate::smtp::domain_of;

impl Check<'_> {
    pub(super) fn tls(&mut self, config: &Config) {
        if config.certificates.len() > CERTIFICATES_MAX {
            let place = self.places.of_entry("certificate", CERTIFICATES_MAX, "chain");
            let count = config.certificates.len();
            self.add(Problem::new(place, format!("{count} certificates: at most {CERTIFICATES_MAX} are possible")));
        }
        let place = |index| self.places.of_entry("certificate", index, "chain");
        let chains = config.certificates.iter().enumerate();
        let chains = chains.map(|(index, own)| (own.chain.display().to_string(), place(index))).collect();
        self.no_duplicates(chains, "two [[certificate]] sections with the chain");
        for (index, route) in config.routes.iter().enumerate() {
            if route.tls == RouteTls::None
                && let Some(hop) = route.to.iter().find(|hop| hop.implicit_tls)
            {
                let place = self.places.of_entry("route", index, "tls");
                self.add(
                    Problem::new(place, format!("`tls`: {hop} is spoken to under TLS, and \"none\" forbids it"))
                        .help("write smtp:// in place of smtps://, or leave `tls` out"),
                );
            }
        }
        for (index, route) in config.routes.iter().enumerate() {
            let name = match route.tls {
                RouteTls::Dane => "dane",
                RouteTls::MtaSts => "mta-sts",
                RouteTls::None | RouteTls::Opportunistic | RouteTls::Require | RouteTls::Verify => continue,
            };
            let place = self.places.of_entry("route", index, "tls");
            if !route.mx {
                let domain = &route.domain;
                let text = format!(
                    "`tls`: {name:?} is for hosts that the DNS names, and the route for {domain:?} goes elsewhere"
                );
                self.add(Problem::new(place, text).help("write mx = true, or tls = \"verify\" for hosts in `to`"));
            } else if route.tls == RouteTls::Dane && config.dns.dnssec == Dnssec::Off {
                let text = "`tls`: \"dane\" needs answers of the DNS that are secure, and none is believed to be";
                self.add(
                    Problem::new(place, text)
                        .help("write dnssec = \"trust_ad\" in [dns], with a resolver that validates"),
                );
            }
        }
        for (index, route) in config.routes.iter().enumerate() {
            if route.credentials.is_none() {
                continue;
            }
            let place = self.places.of_entry("route", index, "credentials");
            if route.tls != RouteTls::Verify {
                self.add(
                    Problem::new(place, "`credentials` are shown to nobody without a certificate that is looked at")
                        .help("write tls = \"verify\" below it"),
                );
            } else if route.discard || route.mx {
                self.add(
                    Problem::new(place, "`credentials` are for hosts that `to` names")
                        .help("name the hosts in `to`, or leave `credentials` out"),
                );
            } else if let Some(hop) = route.to.iter().find(|hop| hop.protocol == Protocol::Lmtp) {
                self.add(
                    Problem::new(place, format!("`credentials` are not for {hop}"))
                        .help("leave `credentials` out: LMTP is for hosts of your own"),
                );
            }
        }
        let heeded = |route: &Route| route.mx && matches!(route.tls, RouteTls::Dane | RouteTls::MtaSts);
        if config.tls_reports.is_some() && !config.routes.iter().any(heeded) {
            let place = self.places.of(&[Step::Key("tls_reports")]);
            let text =
                "[tls_reports] has nothing to report on: no route heeds what domains say of TLS with their hosts";
            self.add(
                Problem::new(place, text)
                    .help("write mx = true and tls = \"mta-sts\" below a [[route]], or leave [tls_reports] out"),
            );
        }
        for (index, listener) in config.listeners.iter().enumerate() {
            let wanted = listener.tls.is_some_and(|tls| tls != ListenerTls::Off);
            if config.certificates.is_empty() && (wanted || listener.require_tls) {
                let key = if wanted { "tls" } else { "require_tls" };
                let place = self.places.of_entry("listener", index, key);
                self.add(
                    Problem::new(place, format!("the listener on {} has no certificate to show", listener.address))
                        .help("write [[certificate]] and below it chain = \"/etc/rohrpost/mx1.pem\" and key = \"/etc/rohrpost/mx1.key\""),
                );
            } else if listener.require_tls && listener.tls == Some(ListenerTls::Off) {
                let place = self.places.of_entry("listener", index, "require_tls");
                self.add(
                    Problem::new(place, format!("the listener on {} requires TLS and has none", listener.address))
                        .help("write tls = \"starttls\" or \"implicit\", or leave `require_tls` out"),
                );
            }
        }
    }
}

/// What is allowed and rarely meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(reports) = &config.tls_reports {
        let domain = domain_of(&reports.from).to_ascii_lowercase();
        let signs = |dkim: &Dkim| {
            let name = dkim.domain.to_ascii_lowercase();
            name == domain || name.starts_with('.') && domain.ends_with(&name)
        };
        if !config.dkim.iter().any(signs) {
            warnings.push(format!(
                "[tls_reports] `from`: {domain} has no [[dkim]] key, and reports without a signature may be ignored (RFC 8460 §5.3)"
            ));
        }
    }
    for listener in &config.listeners {
        let address = listener.address;
        if listener.require_tls && listener.role == Role::Mx {
            warnings.push(format!(
                "the listener on {address} is for the world and requires TLS: those who have none cannot send (RFC 3207 §4)"
            ));
        }
        if listener.tls == Some(ListenerTls::Implicit) && address.port() == 25 {
            warnings.push(format!("the listener on {address} begins with TLS, which nobody expects on port 25"));
        }
    }
    if config.pair.is_some()
        && config.transport != Transport::Kernel
        && !config.certificates.is_empty()
        && config.tls.ticket_secret.is_none()
    {
        warnings.push(
            "[tls] `ticket_secret` is not set: after a takeover all clients begin with a full handshake".to_owned(),
        );
    }
    warnings
}
