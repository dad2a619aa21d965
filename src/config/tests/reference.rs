//! The reference file and the examples beside it.

use crate::config;
use crate::config::reference::render;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("firmware-config").join(name)
}

#[test]
fn the_reference_file_is_what_the_schema_says() {
    let path = file("rohrpost.toml");
    if std::env::var_os("ROHRPOST_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, render()).expect("the reference file can be written");
    }
    let written = std::fs::read_to_string(&path).expect("the reference file is there");
    assert_eq!(written, render(), "run this test with ROHRPOST_WRITE_REFERENCE=1 after a change of the schema");
}
