//! The destinations on the screen: what waits for each, and how it is delivered.

use super::screen::{alarming, dim, row};
use crate::cli::destinations::{connections, failure, rate};
use crate::cli::text::plain;
use crate::control::{Answer, Client, ClientError, Request, TrafficEntry, TrafficOrder};
use crate::delivery::Limited;
use crate::env::WallTime;
use crate::limits::QUEUE_LIST_MAX;
use ratatui::layout::Constraint;
use ratatui::style::Style;
use ratatui::widgets::{Cell, Table};
use std::path::Path;

/// The first destinations of an order, as they were told last.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub order: TrafficOrder,
    pub entries: Vec<TrafficEntry>,
    /// In all.
    pub count: usize,
}

/// The keys that choose an order.
pub(super) const KEYS: &str = "sorted by: m messages, r rate, c connections, f last failure, n name";

impl Traffic {
    /// The order that a key stands for.
    pub fn order_of(key: char) -> Option<TrafficOrder> {
        match key {
            'm' => Some(TrafficOrder::Messages),
            'r' => Some(TrafficOrder::Rate),
            'c' => Some(TrafficOrder::Connections),
            'f' => Some(TrafficOrder::Failure),
            'n' => Some(TrafficOrder::Name),
            _ => None,
        }
    }

    /// Asks the appliance behind `socket` for as many as a screen may have lines.
    pub fn ask(&mut self, socket: &Path, lines: usize) -> Result<(), ClientError> {
        let request = Request::Traffic { order: self.order, limit: lines.min(QUEUE_LIST_MAX) };
        Client::connect(socket)?.ask(&request, |answer| {
            if let Answer::Traffic { destinations, count } = answer {
                (self.entries, self.count) = (destinations, count);
            }
            Ok(())
        })
    }

    /// All of it; what has no room is cut off.
    pub fn table(&self, now: WallTime) -> Table<'static> {
        let rows = self.entries.iter().map(|entry| {
            let report = entry.delivery.as_ref();
            let limited_by = report.and_then(|report| report.limited_by);
            let stands = matches!(limited_by, Some(Limited::HostsDown | Limited::Suspended));
            let cells = [
                entry.messages.to_string(),
                entry.active.to_string(),
                connections(report),
                report.map_or("-".to_owned(), |report| rate(report.messages_per_s)),
            ];
            let said = [limited_by.map(|limited_by| limited_by.text().to_owned()), said(entry, now)];
            let said: Vec<String> = said.into_iter().flatten().collect();
            let style = if stands { alarming() } else { Style::new() };
            row(plain(&entry.destination), cells, Some(Cell::from(format!(" {}", said.join("; "))))).style(style)
        });
        let name = format!("{} destinations", self.count);
        let heading = ["messages", "active", "connections", "rate"].map(String::from);
        let heading = row(name, heading, Some(Cell::from(" limited by; last failure"))).style(dim());
        let widths = [Constraint::Fill(2), Constraint::Length(9), Constraint::Length(8), Constraint::Length(11)];
        Table::new(rows, widths.into_iter().chain([Constraint::Length(8), Constraint::Fill(3)])).header(heading)
    }
}

/// What went wrong last, or why nothing goes there.
fn said(entry: &TrafficEntry, now: WallTime) -> Option<String> {
    let last = entry.delivery.as_ref().and_then(|report| report.last_failure.as_ref());
    last.map(|last| failure(last, now)).or_else(|| entry.why.as_deref().map(plain))
}
