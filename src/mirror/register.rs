//! The truth about one identity, and what a node remembers of it: types and bytes.
//!
//! The [`Register`] stands in the store that both nodes can reach, and changes only by compare-and-swap on its whole
//! old value; each change raises the epoch by one. The [`Memory`] stands in a file beside the logs.
//!
//! Both are one JSON object each:
//!
//! ```json
//! {"version":1,"epoch":7,"owner":"a","mode":"mirrored","incarnations":{"a":"00c0ffee00c0ffee","b":"0123456789abcdef"}}
//! {"version":1,"epoch_seen":7,"left":6,"incarnation":"00c0ffee00c0ffee"}
//! ```
//!
//! A value has exactly one form in bytes, and nothing else is read: what compares bytes compares values, and a register
//! that was edited into another form is refused where a compare-and-swap would fail on it for ever. Incarnations are hex
//! text, because many programs that read JSON round large numbers.

use crate::limits::{EPOCH_MAX, REGISTER_SIZE_MAX};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::num::NonZeroU64;

/// The version of all that is kept of an identity.
pub(super) const VERSION: u32 = 1;

/// A box of the pair, named by its home identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// The home of identity a.
    A,
    /// The home of identity b.
    B,
}

impl Node {
    /// Each of them.
    pub const BOTH: [Node; 2] = [Node::A, Node::B];

    /// The other box.
    pub const fn partner(self) -> Node {
        match self {
            Node::A => Node::B,
            Node::B => Node::A,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Node::A => "a",
            Node::B => "b",
        })
    }
}

/// Names one node's copy of an identity's logs: drawn at random when the copy is created empty, never zero.
///
/// A copy that is replaced, emptied or set aside, or whose [`Memory`] is lost, gets another one: the name stands for
/// everything that the copy was ever told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(NonZeroU64);

impl Incarnation {
    /// From a number that was drawn; `None` for zero.
    pub const fn new(number: u64) -> Option<Incarnation> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Incarnation(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Incarnation, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).ok().and_then(Incarnation::new).ok_or_else(|| D::Error::custom("no incarnation"))
    }
}

/// Where a 250 must be durable before it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// On both nodes.
    Mirrored,
    /// On the owner; the other copy is stale, whatever it holds.
    Solo,
}

/// The copies that the register vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incarnations {
    /// Of node a's copy.
    pub a: Option<Incarnation>,
    /// Of node b's copy.
    pub b: Option<Incarnation>,
}

impl Incarnations {
    /// The copy of `node`, if it is vouched for.
    pub const fn of(&self, node: Node) -> Option<Incarnation> {
        match node {
            Node::A => self.a,
            Node::B => self.b,
        }
    }
}

/// What both nodes agree on about one identity. Every 250 of its epoch and of those before it is in every copy that it
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RegisterForm", into = "RegisterForm")]
pub struct Register {
    /// One when it is created; each change raises it by one. At most [`EPOCH_MAX`].
    pub epoch: u64,
    /// Who may work for the identity.
    pub owner: Node,
    /// Whether both copies count.
    pub mode: Mode,
    /// The owner's copy always, the replica's while [`Mode::Mirrored`].
    pub incarnations: Incarnations,
}

impl Register {
    /// `owner` works alone, with this copy.
    pub const fn solo(epoch: u64, owner: Node, copy: Incarnation) -> Register {
        let incarnations = match owner {
            Node::A => Incarnations { a: Some(copy), b: None },
            Node::B => Incarnations { a: None, b: Some(copy) },
        };
        Register { epoch, owner, mode: Mode::Solo, incarnations }
    }

    /// `owner` works with its copy and its partner's.
    pub const fn mirrored(epoch: u64, owner: Node, copy: Incarnation, replica: Incarnation) -> Register {
        let incarnations = match owner {
            Node::A => Incarnations { a: Some(copy), b: Some(replica) },
            Node::B => Incarnations { a: Some(replica), b: Some(copy) },
        };
        Register { epoch, owner, mode: Mode::Mirrored, incarnations }
    }

    /// The replica's copy, while it counts.
    pub const fn replica(&self) -> Option<Incarnation> {
        self.incarnations.of(self.owner.partner())
    }

    /// Whether it names this copy of `node`.
    pub fn names(&self, node: Node, copy: Incarnation) -> bool {
        self.incarnations.of(node) == Some(copy)
    }

    /// Its one form in bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what stands in the store. Whoever could write there may have written anything.
    pub fn from_bytes(bytes: &[u8]) -> Result<Register, FormError> {
        let register = Register::try_from(decode::<RegisterForm>(bytes, REGISTER_SIZE_MAX)?)?;
        if register.to_bytes() != bytes {
            return Err(FormError::OtherForm);
        }
        Ok(register)
    }
}

impl TryFrom<RegisterForm> for Register {
    type Error = FormError;

    fn try_from(form: RegisterForm) -> Result<Register, FormError> {
        let RegisterForm { version, epoch, owner, mode, incarnations } = form;
        let register = Register { epoch, owner, mode, incarnations };
        if version != VERSION {
            return Err(FormError::Version { version });
        }
        if epoch == 0 || epoch > EPOCH_MAX {
            return Err(FormError::Epoch { epoch });
        }
        let named = incarnations.of(owner).is_some();
        if !named || register.replica().is_some() != (mode == Mode::Mirrored) {
            return Err(FormError::Incarnations);
        }
        Ok(register)
    }
}

impl From<Register> for RegisterForm {
    fn from(register: Register) -> RegisterForm {
        let Register { epoch, owner, mode, incarnations } = register;
        RegisterForm { version: VERSION, epoch, owner, mode, incarnations }
    }
}

/// What a node must not forget about an identity. It is created with the copy, and never without a new incarnation:
/// where it is lost, the copy has become a foreign one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The highest epoch that was ever read or won; a register below it is not the true one.
    pub epoch_seen: u64,
    /// This node never again works in an epoch at or below this one, since it has stopped for it, or asked the store
    /// to end it. Never above `epoch_seen`.
    pub left: u64,
    /// This node's copy.
    pub incarnation: Incarnation,
}

impl Memory {
    /// Of a copy that has just been created empty.
    pub const fn new(incarnation: Incarnation) -> Memory {
        Memory { epoch_seen: 0, left: 0, incarnation }
    }

    /// Its one form in bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&MemoryForm {
            version: VERSION,
            epoch_seen: self.epoch_seen,
            left: self.left,
            incarnation: self.incarnation,
        })
    }

    /// Reads the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Memory, FormError> {
        let form: MemoryForm = decode(bytes, REGISTER_SIZE_MAX)?;
        let memory = Memory { epoch_seen: form.epoch_seen, left: form.left, incarnation: form.incarnation };
        if form.version != VERSION {
            return Err(FormError::Version { version: form.version });
        }
        if memory.epoch_seen > EPOCH_MAX || memory.left > memory.epoch_seen {
            return Err(FormError::Epoch { epoch: memory.epoch_seen });
        }
        if memory.to_bytes() != bytes {
            return Err(FormError::OtherForm);
        }
        Ok(memory)
    }
}

/// Why bytes are no register or no memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// More than any register has.
    #[error("{size} bytes are too many")]
    TooLarge {
        /// How many there are.
        size: usize,
    },
    /// Not the JSON object that it should be.
    #[error("not the object that is expected: {reason}")]
    NoObject {
        /// What the parser says.
        reason: String,
    },
    /// Written by a later version of Rohrpost.
    #[error("version {version} is not known")]
    Version {
        /// Which.
        version: u32,
    },
    /// Zero where there is none yet, out of range, or in the wrong order.
    #[error("epoch {epoch} is not possible")]
    Epoch {
        /// Which.
        epoch: u64,
    },
    /// The owner's copy is always named, the replica's while mirrored.
    #[error("the incarnations do not go with the owner and the mode")]
    Incarnations,
    /// The right content, written in another way: other order, white space, capitals.
    #[error("not in the form that Rohrpost writes")]
    OtherForm,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterForm {
    version: u32,
    epoch: u64,
    owner: Node,
    mode: Mode,
    incarnations: Incarnations,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryForm {
    version: u32,
    epoch_seen: u64,
    left: u64,
    incarnation: Incarnation,
}

pub(super) fn encode(form: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(form).expect("the forms have text keys only")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], size_max: usize) -> Result<T, FormError> {
    if bytes.len() > size_max {
        return Err(FormError::TooLarge { size: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|error| FormError::NoObject { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REGISTER: &str = "{\"version\":1,\"epoch\":7,\"owner\":\"a\",\"mode\":\"mirrored\",\
        \"incarnations\":{\"a\":\"00c0ffee00c0ffee\",\"b\":\"0123456789abcdef\"}}";
    const MEMORY: &str = "{\"version\":1,\"epoch_seen\":7,\"left\":6,\"incarnation\":\"00c0ffee00c0ffee\"}";

    fn copy(number: u64) -> Incarnation {
        Incarnation::new(number).expect("not zero")
    }

    #[test]
    fn the_bytes_are_those_of_the_module_doc() {
        let register = Register::mirrored(7, Node::A, copy(0xc0_ffee_00c0_ffee), copy(0x0123_4567_89ab_cdef));
        assert_eq!(String::from_utf8(register.to_bytes()).as_deref(), Ok(REGISTER));
        assert_eq!(Register::from_bytes(REGISTER.as_bytes()), Ok(register));
        let memory = Memory { epoch_seen: 7, left: 6, incarnation: copy(0xc0_ffee_00c0_ffee) };
        assert_eq!(String::from_utf8(memory.to_bytes()).as_deref(), Ok(MEMORY));
        assert_eq!(Memory::from_bytes(MEMORY.as_bytes()), Ok(memory));
    }

    #[test]
    fn a_register_that_says_what_none_can_say_is_refused() {
        let changed = |from: &str, to: &str| {
            assert!(REGISTER.contains(from), "{from}");
            Register::from_bytes(REGISTER.replace(from, to).as_bytes())
        };
        let no_object = |result: Result<Register, FormError>| matches!(result, Err(FormError::NoObject { .. }));
        assert_eq!(changed("\"version\":1", "\"version\":2"), Err(FormError::Version { version: 2 }));
        assert_eq!(changed("\"epoch\":7", "\"epoch\":0"), Err(FormError::Epoch { epoch: 0 }));
        let most = u64::MAX.to_string();
        assert_eq!(changed("\"epoch\":7", &format!("\"epoch\":{most}")), Err(FormError::Epoch { epoch: u64::MAX }));
        assert!(no_object(changed("\"epoch\":7", "\"epoch\":-7")));
        assert!(no_object(changed("\"owner\":\"a\"", "\"owner\":\"c\"")));
        assert!(no_object(changed("\"mode\":\"mirrored\"", "\"mode\":\"both\"")));
        assert_eq!(changed("\"mode\":\"mirrored\"", "\"mode\":\"solo\""), Err(FormError::Incarnations));
        assert_eq!(changed("\"0123456789abcdef\"", "null"), Err(FormError::Incarnations));
        assert_eq!(changed("\"00c0ffee00c0ffee\"", "null"), Err(FormError::Incarnations));
        assert!(no_object(changed("\"0123456789abcdef\"", "\"0000000000000000\"")));
        assert!(no_object(changed("\"0123456789abcdef\"", "\"f0123456789abcdef\"")));
        assert_eq!(changed("\"0123456789abcdef\"", "\"123456789abcdef\""), Err(FormError::OtherForm));
        assert_eq!(changed("\"0123456789abcdef\"", "\"0123456789ABCDEF\""), Err(FormError::OtherForm));
        assert_eq!(changed("\"version\":1,", "\"version\": 1,"), Err(FormError::OtherForm));
        assert!(no_object(changed("\"version\":1,", "\"version\":1,\"lease\":4,")));
        assert!(no_object(changed("\"version\":1,", "\"version\":1,\"epoch\":9,")));
        assert!(no_object(changed("{\"version\":1,", "{")));
        assert!(no_object(Register::from_bytes(b"")));
        let long = vec![b' '; REGISTER_SIZE_MAX + 1];
        assert_eq!(Register::from_bytes(&long), Err(FormError::TooLarge { size: long.len() }));
    }

    #[test]
    fn a_memory_that_left_what_it_never_saw_is_refused() {
        let text = MEMORY.replace("\"left\":6", "\"left\":8");
        assert_eq!(Memory::from_bytes(text.as_bytes()), Err(FormError::Epoch { epoch: 7 }));
        let text = MEMORY.replace("\"version\":1", "\"version\":3");
        assert_eq!(Memory::from_bytes(text.as_bytes()), Err(FormError::Version { version: 3 }));
        assert_eq!(Memory::from_bytes(format!("{MEMORY}\n").as_bytes()), Err(FormError::OtherForm));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(register) = Register::from_bytes(&bytes) {
                prop_assert_eq!(register.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_register_with_one_byte_changed_is_another_or_none(at in 0..REGISTER.len(), byte in any::<u8>()) {
            let mut bytes = REGISTER.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(register) = Register::from_bytes(&bytes) {
                prop_assert_eq!(register.to_bytes(), bytes);
            }
        }
    }
}
