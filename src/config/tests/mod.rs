//! Files as operators write them, good and bad.

mod broken;
mod destination;
mod pair;
mod reference;
mod signing;
mod tls;
mod values;
