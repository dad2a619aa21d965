//! Records of the spool: what is read can be written, and is then read in the same way.

use rohrpost::spool::rewritten;

pub fn run(data: &[u8]) {
    let Some(once) = rewritten(data) else { return };
    assert!(once.len().is_multiple_of(8), "a record is padded");
    let twice = rewritten(&once).expect("what was written can be read");
    assert_eq!(once, twice);
}
