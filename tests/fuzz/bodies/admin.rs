//! Objects of the admin socket: what is understood can be said again, on one line.

use rohrpost::control::{Answer, Request, Versioned};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    let Ok(found) = serde_json::from_slice::<Versioned<T>>(data) else { return };
    // Numbers that are no numbers are not equal to themselves and are written as nothing.
    let Ok(line) = serde_json::to_string(&found) else { return };
    assert!(!line.contains(['\n', '\r', '\0']), "an object is one line: {line:?}");
    let read: Versioned<T> = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(read, found);
}

pub fn run(data: &[u8]) {
    again::<Request>(data);
    again::<Answer>(data);
}
