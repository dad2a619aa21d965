//! The file in which standing orders outlive the process. Blocking.

use super::told::Ended;
use crate::control::file::{FileError, read_small, replace};
use crate::delivery::{Selector, StandingOrder, Treatment};
use crate::env::WallTime;
use crate::limits::{ORDER_REASON_SIZE_MAX, ORDERS_DAMAGED_MAX, ORDERS_ENDED_MAX, ORDERS_FILE_SIZE_MAX, ORDERS_MAX};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The version of the file.
const VERSION: u32 = 1;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrdersKept {
    /// The orders that stand.
    pub orders: Vec<StandingOrder>,
    /// What has ended, as far as the partner may not know.
    pub ended: Vec<Ended>,
    /// What was wrong with an earlier file, while all mail is kept back for it.
    pub damage: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    orders: Vec<StandingOrder>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<Ended>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

impl OrdersKept {
    /// As it stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let OrdersKept { orders, ended, damage } = self.clone();
        let form = Form { version: VERSION, orders, ended, damage };
        serde_json::to_vec(&form).expect("orders have text keys only")
    }

    /// From what stands in the file.
    ///
    /// # Errors
    /// It is not as we wrote it, in this way.
    pub fn from_bytes(bytes: &[u8]) -> Result<OrdersKept, String> {
        if bytes.len() > ORDERS_FILE_SIZE_MAX {
            return Err("it is larger than any of ours".to_owned());
        }
        let Form { version, orders, ended, damage } =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("its version is {version}, and this rohrpost knows {VERSION}"));
        }
        if orders.len() > ORDERS_MAX || ended.len() > ORDERS_ENDED_MAX {
            return Err(format!("it has more than {ORDERS_MAX} orders, or {ORDERS_ENDED_MAX} that were ended"));
        }
        for (place, order) in orders.iter().enumerate() {
            let is_twin = |other: &StandingOrder| other.number == order.number || other.selector == order.selector;
            // After the last number there would be none for the next order, and 0 is that of no order.
            if matches!(order.number, 0 | u64::MAX) || orders[..place].iter().any(is_twin) {
                return Err(format!("number {} is that of no order, or one of two that are not apart", order.number));
            }
        }
        Ok(OrdersKept { orders, ended, damage })
    }

    /// What follows from a file that is not as we wrote it: nobody knows what was to be kept back, so all is, until an operator
    /// says so.
    fn damaged(why: &str, path: &Path, now: WallTime) -> OrdersKept {
        // It is kept, too, and may say at length what stands in the file.
        let why: String = why.chars().filter(|sign| !sign.is_control()).take(ORDER_REASON_SIZE_MAX).collect();
        let damage = format!(
            "the file with the standing orders is damaged ({why}), and nothing is delivered: look into {}, give the orders anew, and \
             then say `rohrpost queue resume --all`, which ends none of those",
            path.display()
        );
        let order = StandingOrder {
            number: 1,
            selector: Selector::All,
            treatment: Treatment::Suspend,
            reason: "the file with the standing orders is damaged".to_owned(),
            given_at: now,
            ends_at: None,
        };
        OrdersKept { orders: vec![order], ended: Vec::new(), damage: Some(damage) }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct OrdersFile {
    directory: PathBuf,
    path: PathBuf,
}

impl OrdersFile {
    /// That in the folder of the spool, and what is in it. One that is damaged is copied aside, and what follows from that is kept in its
    /// place: at no moment is there none, as if there had been no orders.
    ///
    /// # Errors
    /// The file cannot be read, not be copied, or not be replaced.
    pub fn open(directory: &Path, now: WallTime) -> Result<(OrdersFile, OrdersKept), FileError> {
        let file = OrdersFile { directory: directory.to_owned(), path: directory.join("orders.json") };
        let Some(bytes) = read_small(&file.path, ORDERS_FILE_SIZE_MAX)? else {
            return Ok((file, OrdersKept::default()));
        };
        let kept = match OrdersKept::from_bytes(&bytes) {
            Ok(kept) => kept,
            Err(why) => {
                let aside = file.set_aside(&bytes)?;
                let kept = OrdersKept::damaged(&why, &aside, now);
                file.keep(&kept.to_bytes())?;
                kept
            }
        };
        Ok((file, kept))
    }

    /// Copies the file, which begins with these bytes, to where nothing else is kept, as long as there is such a place.
    fn set_aside(&self, bytes: &[u8]) -> Result<PathBuf, FileError> {
        let names = (2..=ORDERS_DAMAGED_MAX).map(|number| format!("damaged-{number}"));
        let mut aside = PathBuf::new();
        for name in std::iter::once("damaged".to_owned()).chain(names) {
            aside = self.path.with_extension(name);
            match read_small(&aside, ORDERS_FILE_SIZE_MAX)? {
                // A start that came to no end has done it already.
                Some(known) if known == bytes => break,
                Some(_) => {}
                None => break,
            }
        }
        let copied = fs::copy(&self.path, &aside).and_then(|_| File::open(&aside)?.sync_all());
        let synced = copied.and_then(|()| File::open(&self.directory)?.sync_all());
        synced.map_err(|source| FileError { action: "copy", path: self.path.clone(), source })?;
        Ok(aside)
    }

    /// Makes these bytes durable in the place of those before.
    ///
    /// # Errors
    /// The operating system refused; what was there is still there.
    pub fn keep(&self, bytes: &[u8]) -> Result<(), FileError> {
        replace(&self.directory, &self.path, bytes)
    }
}
