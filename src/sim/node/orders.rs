//! The standing orders of a box.

use super::{Node, Refused};
use crate::control::{Keep, OrderBoard, OrdersKept};
use crate::delivery::StandingOrder;
use crate::env::Now;
use std::sync::Arc;

impl Node {
    /// The orders that it finds when it starts.
    pub(super) fn order_board(&self, now: Now) -> Result<OrderBoard, Refused> {
        let (kept, place) = (self.orders.lock().expect("one thread").clone(), Arc::clone(&self.orders));
        let kept = if kept.is_empty() { OrdersKept::default() } else { OrdersKept::from_bytes(&kept)? };
        let keep: Keep = Box::new(move |bytes| {
            *place.lock().expect("one thread") = bytes.to_vec();
            Ok(())
        });
        let (routes, tenants) = (Arc::clone(&self.appliance.routes), Arc::clone(&self.appliance.tenants));
        Ok(OrderBoard::new((routes, tenants), kept, keep, now))
    }

    /// Whether its partner has the same orders, if that is heard.
    pub(in crate::sim) fn orders_are_same(&self) -> Option<bool> {
        self.running.as_ref()?.pair.as_ref()?.board.orders_are_same()
    }

    /// The orders that stand here, if it runs.
    pub(in crate::sim) fn orders(&self) -> Option<Vec<StandingOrder>> {
        Some(self.running.as_ref()?.switchboard.orders().orders().cloned().collect())
    }
}
