//! Bindings to the part of DPDK that Rohrpost's port uses, made by bindgen from `shim.h` when this is built.
//!
//! Nothing here is safe, and nothing decides anything: `port::dpdk` does.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, unsafe_code, unsafe_op_in_unsafe_fn)]
#![allow(clippy::all, missing_docs, reason = "it is written by bindgen")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
