//! TCP in user space: frames of a port in, flows out.

pub mod claim;
pub mod wheel;
