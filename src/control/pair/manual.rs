//! The registers of both identities without a store: what this box keeps of each, in a file beside its memory.
//!
//! In: what arbiters ask, and what the partner says that it keeps. Out: answers, once what they changed is durable. What follows
//! from what stands in [`standing`](crate::mirror::standing); here are its files. Blocking; one task after the other, in the order
//! in which they come.

use super::PairTask;
use super::memory::MemoryError;
use crate::control::file::{read_small, replace};
use crate::limits::STANDING_SIZE_MAX;
use crate::mirror::arbiter::{Event, Outcome};
use crate::mirror::register::Node;
use crate::mirror::standing::Standing;
use std::path::{Path, PathBuf};

/// What a box keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    directory: PathBuf,
    standings: [Standing; 2],
}

fn path_of(directory: &Path, identity: Node) -> PathBuf {
    directory.join(format!("register-{identity}.json"))
}

/// What a task makes of what is kept on box `me`, and what the arbiter is told when that is durable.
pub fn answer(standing: Standing, me: Node, task: PairTask) -> (Standing, Option<Event>) {
    match task {
        PairTask::Propose { expected, wanted } => match standing.propose(expected, wanted) {
            Ok(next) => (next, Some(Event::Proposed(Outcome::Won))),
            Err(outcome) => (standing, Some(Event::Proposed(outcome))),
        },
        PairTask::Hear(theirs) => {
            let next = standing.hear(me, theirs);
            (next, (next.found() != standing.found()).then_some(Event::Stirred))
        }
        PairTask::Settle(copy) => (standing.settle(me, copy), Some(Event::Stirred)),
        PairTask::Read => (standing, Some(Event::Read(standing.found()))),
        PairTask::Persist(_) | PairTask::Renew => unreachable!("memories are kept elsewhere"),
    }
}

impl Kept {
    /// Reads what there is.
    ///
    /// # Errors
    /// A file is there that is no register of ours, or cannot be read.
    pub fn open(directory: &Path) -> Result<Kept, MemoryError> {
        let read = |identity| {
            let path = path_of(directory, identity);
            let bytes = read_small(&path, STANDING_SIZE_MAX)?;
            let standing = bytes.map(|bytes| Standing::from_bytes(&bytes)).transpose();
            standing.map(Option::unwrap_or_default).map_err(|source| MemoryError::Register { path, source })
        };
        Ok(Kept { directory: directory.to_owned(), standings: [read(Node::A)?, read(Node::B)?] })
    }

    /// What is kept of an identity.
    pub fn standing(&self, identity: Node) -> Standing {
        self.standings[identity as usize]
    }

    /// Does a task on box `me`: the answer, and what is kept then.
    ///
    /// # Errors
    /// What was to be kept is not durable, and nothing may be said of it. The task may be given again.
    pub(super) fn ask(&mut self, me: Node, identity: Node, task: PairTask) -> Result<Option<Event>, MemoryError> {
        let standing = &mut self.standings[identity as usize];
        let (next, event) = answer(*standing, me, task);
        if next != *standing {
            replace(&self.directory, &path_of(&self.directory, identity), &next.to_bytes())?;
            *standing = next;
        }
        Ok(event)
    }
}
