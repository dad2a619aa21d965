//! `rohrpost queue suspend`, `drain`, `reroute`, `resume` and `orders`: what is to be done with some of the mail until further notice.

use super::text::{plain, span, time, write_json};
use super::unbracketed;
use crate::config::Period;
use crate::control::{Answer, Client, ClientError, OrderCommand, OrderReport, Request, Versioned};
use crate::delivery::{Selector, StandingOrder, Treatment};
use crate::limits::{ORDER_DURATION_DEFAULT, ORDER_DURATION_MAX};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Which mail an order is about: one of these must be said.
#[derive(Clone, Debug, Args)]
#[group(id = "mail", required = true, multiple = false)]
pub struct MailArgs {
    /// What goes to this destination, as `rohrpost queue destinations` names it.
    #[arg(long, value_name = "NAME", group = "mail")]
    pub destination: Option<String>,
    /// What goes to recipients in this domain.
    #[arg(long, value_name = "DOMAIN", group = "mail")]
    pub domain: Option<String>,
    /// What comes from this address ("<>" for the null sender), or from all addresses in this domain.
    #[arg(long, value_name = "ADDRESS|DOMAIN", group = "mail", value_parser = unbracketed)]
    pub sender: Option<String>,
    /// What is this tenant's: the name of a [[tenant]].
    #[arg(long, value_name = "NAME", group = "mail")]
    pub tenant: Option<String>,
    /// All mail; with `resume`, all orders, but after the alert `orders_damaged` only the one that keeps all mail back.
    #[arg(long, group = "mail")]
    pub all: bool,
}

impl MailArgs {
    fn selector(&self) -> Selector {
        match self {
            MailArgs { destination: Some(name), .. } => Selector::Destination(name.clone()),
            MailArgs { domain: Some(domain), .. } => Selector::Domain(domain.clone()),
            MailArgs { sender: Some(sender), .. } => Selector::Sender(sender.clone()),
            MailArgs { tenant: Some(name), .. } => Selector::Tenant(name.clone()),
            MailArgs { .. } => Selector::All,
        }
    }
}

/// How long an order holds, and why.
#[derive(Clone, Debug, Args)]
pub struct TermArgs {
    /// For how long, such as 30m or 2d: an hour if nothing is said, seven days at most.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until_resumed")]
    pub duration: Option<Period>,
    /// For as long as nobody says `resume`.
    #[arg(long)]
    pub until_resumed: bool,
    /// Why: for the log, and for whoever sees the order next.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

fn duration(text: &str) -> Result<Period, String> {
    let duration: Period = text.parse().map_err(|error: crate::config::ValueError| error.to_string())?;
    if *duration < Duration::from_secs(1) || *duration > ORDER_DURATION_MAX {
        let days = ORDER_DURATION_MAX.as_secs() / 86_400;
        return Err(format!("from 1s to {days}d; --until-resumed is for what has no end"));
    }
    Ok(duration)
}

/// To give an order.
pub(super) fn give(mail: &MailArgs, treatment: Treatment, term: &TermArgs) -> OrderCommand {
    let duration = term.duration.map_or(ORDER_DURATION_DEFAULT, |duration| *duration);
    OrderCommand::Give {
        selector: mail.selector(),
        treatment,
        duration_seconds: (!term.until_resumed).then_some(duration.as_secs()),
        reason: term.reason.clone(),
    }
}

/// To end one.
pub(super) fn end(mail: &MailArgs) -> OrderCommand {
    OrderCommand::End { selector: mail.selector() }
}

/// Asks the appliance behind `socket` and writes its answer for a person, or as one JSON object.
pub fn write_orders(socket: &Path, command: &OrderCommand, json: bool, out: &mut dyn Write) -> Result<(), ClientError> {
    /// What `--json` prints.
    #[derive(Serialize)]
    struct Orders {
        orders: Vec<OrderReport>,
    }
    let mut client = Client::connect(socket)?;
    client.ask(&Request::Orders(command.clone()), |answer| {
        if let Answer::Orders { orders } = answer {
            match command {
                _ if json => write_json(&Versioned::new(Orders { orders }), out)?,
                _ => write_text(command, &orders, out)?,
            }
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(())
}

/// The answer to a command, for a person.
fn write_text(command: &OrderCommand, orders: &[OrderReport], out: &mut dyn Write) -> io::Result<()> {
    if matches!(command, OrderCommand::List) {
        return write_list(orders, out);
    }
    for OrderReport { order, seconds_left, .. } in orders {
        let StandingOrder { selector, treatment, .. } = order;
        let line = match command {
            OrderCommand::End { .. } => format!("{selector} is no longer {treatment}"),
            _ => format!("{selector} is {treatment} {}", left(*seconds_left)),
        };
        writeln!(out, "{}", plain(&line))?;
    }
    Ok(())
}

fn left(seconds: Option<u64>) -> String {
    match seconds {
        Some(seconds) => format!("for {}", span(Duration::from_secs(seconds))),
        None => "until it is resumed".to_owned(),
    }
}

fn write_list(orders: &[OrderReport], out: &mut dyn Write) -> io::Result<()> {
    if orders.is_empty() {
        return writeln!(out, "no orders");
    }
    for OrderReport { order, seconds_left, waiting, misfit } in orders {
        let what = format!("{} {}", order.treatment, left(*seconds_left));
        writeln!(out, "{}: {}, {waiting} waiting", plain(&order.selector.to_string()), plain(&what))?;
        let reason = if order.reason.is_empty() { String::new() } else { format!(": {}", plain(&order.reason)) };
        writeln!(out, "    since {}{reason}", time(order.given_at))?;
        if let Some(misfit) = misfit {
            writeln!(out, "    it does not fit this configuration: {}", plain(misfit))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::WallTime;

    #[test]
    fn names_in_orders_reach_a_terminal_as_text_and_what_does_not_fit_is_said() {
        let order = StandingOrder {
            number: 1,
            selector: Selector::Sender("a\u{1b}[2J".into()),
            treatment: Treatment::Reroute { to: "b\u{202e}".into() },
            reason: "c\u{7}".into(),
            given_at: WallTime::default(),
            ends_at: None,
        };
        let misfit = Some("mail for b\u{202e} has no route".to_owned());
        let reports = [OrderReport { order, seconds_left: None, waiting: 3, misfit }];
        let (selector, reason) = (Selector::All, String::new());
        let give = OrderCommand::Give { selector, treatment: Treatment::Suspend, duration_seconds: None, reason };
        let end = OrderCommand::End { selector: Selector::All };
        for (command, expected) in [
            (give, "sender a\\u{1b}[2J is rerouted to b\\u{202e} until it is resumed\n"),
            (end, "sender a\\u{1b}[2J is no longer rerouted to b\\u{202e}\n"),
            (
                OrderCommand::List,
                "sender a\\u{1b}[2J: rerouted to b\\u{202e} until it is resumed, 3 waiting\n    \
                 since 1970-01-01 00:00:00: c\\u{7}\n    \
                 it does not fit this configuration: mail for b\\u{202e} has no route\n",
            ),
        ] {
            let mut out = Vec::new();
            write_text(&command, &reports, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
