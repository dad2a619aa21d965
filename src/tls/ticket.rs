//! Session tickets: what a server gives to a client so that the next connection needs no new exchange of keys (RFC 5077, RFC 8446
//! §4.6.1), and keeps nothing of itself.
//!
//! ```text
//! ticket:  period u32 | nonce [12] | state, encrypted | tag [16]        key = HKDF-SHA256(secret, "ticket" | period)
//! ```
//!
//! In: a secret, the time. Out: tickets, and the state in them. The key follows from the secret and the time, a new one every
//! [`TICKET_KEY_PERIOD`], so that boxes and workers with the same secret take each other's tickets and agree on the key without
//! a word. Tickets of this period, the one before and the one after are taken: the clocks of two boxes differ.

use crate::limits::{TICKET_KEY_PERIOD, TICKET_SIZE_MAX};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use rustls::crypto::SecureRandom;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use std::fmt;
use std::sync::Arc;

/// Makes tickets and opens them. No locks: workers share it.
pub(super) struct Tickets {
    secret: Prk,
    time: Arc<dyn TimeProvider>,
    random: &'static dyn SecureRandom,
}

impl Tickets {
    pub(super) fn new(secret: &[u8], time: Arc<dyn TimeProvider>, random: &'static dyn SecureRandom) -> Tickets {
        Tickets { secret: Salt::new(HKDF_SHA256, b"rohrpost session tickets").extract(secret), time, random }
    }

    fn period(&self) -> Option<u32> {
        let now = self.time.current_time()?.as_secs();
        u32::try_from(now / TICKET_KEY_PERIOD.as_secs()).ok()
    }

    fn key(&self, period: u32) -> Option<LessSafeKey> {
        let period = period.to_be_bytes();
        let info = [b"ticket".as_slice(), &period];
        let key = self.secret.expand(&info, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // One that is made at the end of a period is good for all of the next.
        TICKET_KEY_PERIOD.as_secs() as u32
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let period = self.period()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(4 + NONCE_LEN + state.len() + CHACHA20_POLY1305.tag_len());
        ticket.extend_from_slice(&period.to_be_bytes());
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(state);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (_, state) = ticket.split_at_mut(4 + NONCE_LEN);
        let tag = self.key(period)?.seal_in_place_separate_tag(nonce, Aad::empty(), state).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_SIZE_MAX {
            return None;
        }
        let (period, rest) = ticket.split_first_chunk::<4>()?;
        let (nonce, state) = rest.split_first_chunk::<NONCE_LEN>()?;
        let period = u32::from_be_bytes(*period);
        if period.abs_diff(self.period()?) > 1 {
            return None;
        }
        let mut state = state.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let size = self.key(period)?.open_in_place(nonce, Aad::empty(), &mut state).ok()?.len();
        state.truncate(size);
        Some(state)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[derive(Debug)]
    struct Hands(AtomicU64);

    impl TimeProvider for Hands {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    #[test]
    fn a_box_takes_the_tickets_of_the_other_until_the_period_after_the_next() {
        let period = TICKET_KEY_PERIOD.as_secs();
        let hands = Arc::new(Hands(AtomicU64::new(1000 * period)));
        let random = rustls::crypto::ring::default_provider().secure_random;
        let tickets = |secret: &[u8]| Tickets::new(secret, Arc::clone(&hands) as Arc<dyn TimeProvider>, random);
        let [one, other, stranger] = [tickets(&[7; 32]), tickets(&[7; 32]), tickets(&[8; 32])];
        let ticket = one.encrypt(b"state").expect("a ticket");
        assert_eq!(other.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(stranger.decrypt(&ticket), None);
        for at in [0, 3, ticket.len() - 1, 6, 17] {
            let mut spoiled = ticket.clone();
            spoiled[at] ^= 1;
            assert_eq!(other.decrypt(&spoiled), None, "{at}");
        }
        for size in 0..ticket.len() {
            assert_eq!(other.decrypt(&ticket[..size]), None, "{size}");
        }
        for (now, good) in
            [(999 * period - 1, false), (999 * period, true), (1002 * period - 1, true), (1002 * period, false)]
        {
            hands.0.store(now, Ordering::Relaxed);
            assert_eq!(other.decrypt(&ticket).is_some(), good, "{now}");
        }
    }
}
