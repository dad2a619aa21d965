//! The queue on disk.

mod id;

pub use id::MessageId;
