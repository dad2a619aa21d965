//! Files as operators write them, good and bad.

mod broken;
mod reference;
mod values;
