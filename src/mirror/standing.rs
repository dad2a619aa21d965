//! Without a store: what each box keeps of an identity's register by itself, and how two boxes that hear each other come to keep
//! the same one.
//!
//! In: proposals of the box's own arbiter, and what the partner says that it keeps. Out: what is to be kept from now on, made
//! durable by whoever asks, before anything is said or answered. Pure: the same two standings give the same third.
//!
//! A proposal is held against this box's own register and nothing else. What the partner keeps comes with its
//! [`Words`](super::arbiter::Words), with every heartbeat; a box takes over a later register than its own if whoever wrote it knew of
//! its own, and its arbiter reads it like any that a store would hold. So there is no vote: while the two hear each other, the
//! owner of the register alone proposes, and its replica only by command. What keeps them apart when they do not is the
//! operator's word that the partner is off.
//!
//! # What is kept
//!
//! One JSON object for each identity, in one form like the [`Register`] itself:
//!
//! ```json
//! {"version":1,"register":{…},"agreed":{…},"rival":null}
//! ```
//!
//! - `register`: ours. Each one that follows has a higher epoch.
//! - `agreed`: the last one that both boxes are known to have held. It is the one that a later register has to know of.
//! - `rival`: the partner's, where both have gone on from what they agreed on. Nothing is done for the identity then.
//!
//! A mirrored register that the partner has never held is *void*: no 250 was given by it, since each needs the partner's word in
//! that very epoch. So it gives way to what the partner did meanwhile. For that a box that takes over by command leaves out one
//! epoch, which is the one that its partner may have asked for and not told of any more.
//!
//! # The eleven rules
//!
//! What becomes of the pair's rules (1 to 11 in the design; the module doc of [`arbiter`](super::arbiter) argues them) without a store:
//!
//! | rule | what holds by itself | what only the operator's word guards |
//! | --- | --- | --- |
//! | 1 silence | an owner freezes as ever, refuses mail and waits; nothing is taken over, from a partner that says "not able" neither | |
//! | 2 stop, then ask | as with a store, a command's proposal too | |
//! | 3 never again in an epoch that was left | as with a store. A proposal is answered at once from the own file: none arrives late. Heard again, the owner asks for a fresh mirrored epoch | |
//! | 4 only the copy that the register names | yes. The copy must have met the owner in this epoch and in this life of its process: else the owner may have gone on alone while we were off, and it takes `--accept-loss`. The same of an owner that was restarted | the box that was left is off, and stays so until this is done |
//! | 5 solo → mirrored | the owner alone writes it. A replica that has not heard of it when the owner dies holds the solo register, and is stale to itself: safe, though its copy would be whole | |
//! | 6 restart | the owner reconciles with a replica that it hears, and asks for a new epoch; one that is solo looks for its partner for a while first | |
//! | 7 highest epoch seen | yes; a lost file too: nothing is done, until the partner is heard to keep a register. With a damaged one the box does not start | |
//! | 8 solo is not taken over | yes, but for `--accept-loss` | the other box is off, and stays so until it hears this one |
//! | 9 planned move | the owner writes it when all has been stopped; the new owner works when it hears of it. Where it never does, nobody works until one of the two is vouched to be off | |
//! | 10 isolation, pauses | as with a store; a box that was paused cannot have been replaced but by a command, and finds out by hearing | "off" means no process that may come back: not paused, not cut off |
//! | 11 attempts before dots | as with a store | |
//!
//! If the word was wrong, both boxes have worked, and nothing undoes that: when they hear each other, the one that is behind
//! sees a register that does not know of its own. Both then stop, durably ([`Found::Split`]), until an operator chooses
//! ([`Standing::settle`]); what only the other one has is set aside on its disk when it follows again.
//!
//! Beginnings: an identity is created on its home box only, so that there is one first register. A box without a register (new, or
//! replaced by an empty one) takes over what its partner keeps, and writes nothing of its own before.

use super::arbiter::{Found, Outcome};
use super::register::{FormError, Incarnation, Mode, Node, Register, VERSION, decode, encode};
use crate::limits::STANDING_SIZE_MAX;
use serde::{Deserialize, Serialize};

/// What a box keeps of the register of an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// Ours; none before there is one.
    pub register: Option<Register>,
    /// The last that both boxes have held, as far as we know.
    pub agreed: Option<Register>,
    /// The partner's, where neither follows from the other.
    pub rival: Option<Register>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    register: Option<Register>,
    agreed: Option<Register>,
    rival: Option<Register>,
}

impl Standing {
    /// What both boxes hold.
    fn both(register: Register) -> Standing {
        Standing { register: Some(register), agreed: Some(register), rival: None }
    }

    /// What a read of it finds.
    pub fn found(&self) -> Found {
        match (self.register, self.rival) {
            (Some(register), Some(rival)) => Found::Split { epoch: register.epoch.max(rival.epoch) },
            (Some(register), None) => Found::Register(register),
            (None, _) => Found::Missing,
        }
    }

    /// Compares and swaps: what is to be kept if `expected` stands here.
    ///
    /// # Errors
    /// It does not: the outcome.
    pub fn propose(self, expected: Option<Register>, wanted: Register) -> Result<Standing, Outcome> {
        let stands = self.rival.is_none() && self.register == expected;
        let rises = expected.is_none_or(|expected| expected.epoch < wanted.epoch);
        if stands && rises { Ok(Standing { register: Some(wanted), ..self }) } else { Err(Outcome::Lost(self.found())) }
    }

    /// What is to be kept after the partner was heard to keep this. What it said before may come after what it says now, and
    /// changes nothing then: who is behind judges, and is believed about the register that it names.
    pub fn hear(self, me: Node, theirs: Standing) -> Standing {
        let Some(other) = theirs.register else { return self };
        let Some(own) = self.register else { return Standing::both(other) };
        if own == other {
            return Standing { agreed: Some(own), ..self };
        }
        if other.epoch < own.epoch {
            return if theirs.rival == self.register { Standing { rival: Some(other), ..self } } else { self };
        }
        // Where we have done nothing since both held ours: what its owner wrote later follows from it, whether we were heard to
        // hold it or not; and if the partner knows of later ones that we held, our disk was set back.
        let untouched = self.agreed == self.register;
        let set_back = theirs.agreed.is_some_and(|agreed| agreed.epoch > own.epoch);
        let follows = theirs.agreed == self.register || untouched && (own.owner != me || set_back);
        if other.epoch > own.epoch && (self.is_void() || follows) {
            Standing::both(other)
        } else {
            Standing { rival: Some(other), ..self }
        }
    }

    /// Whether ours is one by which nothing can have been promised.
    fn is_void(&self) -> bool {
        self.register.is_some_and(|register| register.mode == Mode::Mirrored) && self.agreed != self.register
    }

    /// Ends a split: an operator has chosen this box, with this copy, and the partner's register gives way to ours.
    pub fn settle(self, me: Node, copy: Incarnation) -> Standing {
        match (self.register, self.rival) {
            (Some(own), Some(rival)) => {
                let register = Register::solo(own.epoch.max(rival.epoch) + 1, me, copy);
                Standing { register: Some(register), agreed: Some(rival), rival: None }
            }
            _ => self,
        }
    }

    /// Its one form in bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Standing { register, agreed, rival } = *self;
        encode(&Form { version: VERSION, register, agreed, rival })
    }

    /// Reads the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Standing, FormError> {
        let Form { version, register, agreed, rival } = decode(bytes, STANDING_SIZE_MAX)?;
        if version != VERSION {
            return Err(FormError::Version { version });
        }
        let standing = Standing { register, agreed, rival };
        if standing.to_bytes() != bytes {
            return Err(FormError::OtherForm);
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(number: u64) -> Incarnation {
        Incarnation::new(number).expect("not zero")
    }

    fn solo(epoch: u64, owner: Node) -> Register {
        Register::solo(epoch, owner, copy(1 + owner as u64))
    }

    fn mirrored(epoch: u64, owner: Node) -> Register {
        Register::mirrored(epoch, owner, copy(1 + owner as u64), copy(1 + owner.partner() as u64))
    }

    /// A box that has gone on to this, from what both had.
    fn ahead(register: Register, agreed: Register) -> Standing {
        Standing { register: Some(register), agreed: Some(agreed), rival: None }
    }

    /// What two boxes keep once each has heard the other, and again.
    fn met(mut a: Standing, mut b: Standing) -> (Standing, Standing) {
        for _ in 0..3 {
            (a, b) = (a.hear(Node::A, b), b.hear(Node::B, a));
        }
        (a, b)
    }

    #[test]
    fn a_proposal_changes_exactly_what_it_expects() {
        let first = Standing::default().propose(None, solo(1, Node::A)).unwrap();
        assert_eq!(first, Standing { register: Some(solo(1, Node::A)), agreed: None, rival: None });
        assert_eq!(first.found(), Found::Register(solo(1, Node::A)));
        assert_eq!(
            first.propose(None, solo(1, Node::B)),
            Err(Outcome::Lost(Found::Register(solo(1, Node::A)))),
            "what stands there is told"
        );
        let next = first.propose(Some(solo(1, Node::A)), mirrored(2, Node::A)).unwrap();
        assert_eq!(next.register, Some(mirrored(2, Node::A)));
        let back = next.propose(Some(mirrored(2, Node::A)), solo(2, Node::A));
        assert_eq!(back, Err(Outcome::Lost(Found::Register(mirrored(2, Node::A)))), "an epoch only rises");
    }

    #[test]
    fn a_box_that_was_away_takes_over_what_followed_from_its_own() {
        let old = Standing::both(mirrored(7, Node::A));
        // Taken over while it was off, and started again since.
        let b = ahead(solo(11, Node::B), mirrored(7, Node::A));
        let both = Standing::both(solo(11, Node::B));
        assert_eq!(met(old, b), (both, both));
        // It is empty now.
        assert_eq!(met(Standing::default(), b), (both, both));
        // Its disk was restored, from a time when both had held this.
        assert_eq!(met(Standing::both(mirrored(3, Node::A)), b), (both, both));
    }

    #[test]
    fn a_mirrored_register_that_the_partner_never_held_gives_way() {
        let both = Standing::both(solo(9, Node::B));
        for void in [mirrored(8, Node::A), mirrored(8, Node::B)] {
            let a = ahead(void, mirrored(7, Node::A));
            let b = ahead(solo(9, Node::B), mirrored(7, Node::A));
            assert_eq!(met(a, b), (both, both), "{void:?}");
        }
        // It was held by both: what followed knows of it.
        let a = Standing::both(mirrored(8, Node::A));
        let b = ahead(solo(10, Node::B), mirrored(8, Node::A));
        assert_eq!(met(a, b).0.found(), Found::Register(solo(10, Node::B)));
    }

    #[test]
    fn two_that_have_both_gone_on_stop_until_one_is_chosen() {
        for (ours, theirs) in [(8, 9), (12, 9), (9, 9)] {
            let (a, b) = met(
                ahead(solo(ours, Node::A), mirrored(7, Node::A)),
                ahead(solo(theirs, Node::B), mirrored(7, Node::A)),
            );
            let split = Found::Split { epoch: ours.max(theirs) };
            assert_eq!((a.found(), b.found()), (split, split), "{ours} {theirs}");
            assert_eq!(a.propose(a.register, solo(20, Node::A)), Err(Outcome::Lost(split)), "nothing is changed");
            assert_eq!(Standing::from_bytes(&a.to_bytes()), Ok(a), "nor forgotten");

            let chosen = b.settle(Node::B, copy(2));
            let register = solo(ours.max(theirs) + 1, Node::B);
            assert_eq!(chosen.found(), Found::Register(register));
            let both = Standing::both(register);
            assert_eq!(met(a, chosen), (both, both));
            // What the other one said before comes late.
            assert_eq!(chosen.hear(Node::B, a), chosen);
        }
        // Created on both.
        let (a, b) = met(
            Standing::default().propose(None, solo(1, Node::A)).unwrap(),
            Standing::default().propose(None, solo(1, Node::B)).unwrap(),
        );
        assert_eq!((a.found(), b.found()), (Found::Split { epoch: 1 }, Found::Split { epoch: 1 }));
        // A new box on which the identity was created again, while the partner keeps what it had with the one before.
        let (a, b) = met(
            Standing::default().propose(None, solo(1, Node::A)).unwrap(),
            ahead(solo(9, Node::B), mirrored(7, Node::A)),
        );
        assert_eq!((a.found(), b.found()), (Found::Split { epoch: 9 }, Found::Split { epoch: 9 }));
        // With an empty disk in the other box it still takes the command.
        assert_eq!(met(a, Standing::default()).0.found(), Found::Split { epoch: 9 });
    }

    #[test]
    fn what_was_said_before_changes_nothing() {
        let said = [
            ahead(mirrored(7, Node::A), solo(6, Node::A)),
            Standing::both(mirrored(7, Node::A)),
            ahead(solo(8, Node::A), mirrored(7, Node::A)),
            ahead(solo(9, Node::A), mirrored(7, Node::A)),
            Standing::both(solo(9, Node::A)),
        ];
        for (place, latest) in said.iter().enumerate() {
            let heard = said[..=place].iter().fold(Standing::default(), |own, theirs| own.hear(Node::B, *theirs));
            assert_eq!(heard.register, latest.register);
            for before in &said[..=place] {
                assert_eq!(heard.hear(Node::B, *before), heard, "{before:?} after {latest:?}");
            }
        }
    }

    #[test]
    fn the_bytes_are_in_one_form_and_nothing_else_is_read() {
        let standing = ahead(solo(8, Node::A), mirrored(7, Node::A));
        let bytes = standing.to_bytes();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with("{\"version\":1,\"register\":{\"version\":1,\"epoch\":8,"), "{text}");
        assert_eq!(Standing::from_bytes(&bytes), Ok(standing));
        let full = Standing { rival: Some(mirrored(crate::limits::EPOCH_MAX, Node::B)), ..standing };
        assert!(full.to_bytes().len() < STANDING_SIZE_MAX);
        for (from, to) in [
            ("\"version\":1,\"register\"", "\"version\":2,\"register\""),
            ("\"rival\":null", "\"rival\": null"),
            ("\"epoch\":8", "\"epoch\":0"),
            ("\"epoch\":8", "\"epoch\":18446744073709551615"),
            ("\"mode\":\"solo\"", "\"mode\":\"mirrored\""),
            (",\"rival\":null", ""),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Standing::from_bytes(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        for size in 0..bytes.len() {
            assert!(Standing::from_bytes(&bytes[..size]).is_err(), "torn at {size}");
        }
        assert!(matches!(Standing::from_bytes(&[b' '; STANDING_SIZE_MAX + 1]), Err(FormError::TooLarge { .. })));
    }
}
