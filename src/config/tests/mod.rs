//! Files as operators write them, good and bad.

mod broken;
mod destination;
mod pair;
mod reference;
mod tls;
mod values;
