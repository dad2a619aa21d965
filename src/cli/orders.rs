//! `rohrpost queue suspend`, `drain`, `reroute`, `resume` and `orders`: what is to be done with some of the mail until further notice.

use super::text::{plain, span, time, write_json};
use super::unbracketed;
use crate::config::Period;
use crate::control::{Answer, Client, ClientError, OrderCommand, OrderReport, Request, Versioned};
use crate::delivery::{Selector, Treatment};
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
    /// All mail; with `resume`, all orders.
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
                OrderCommand::List => write_list(&orders, out)?,
                OrderCommand::Give { .. } => {
                    for OrderReport { order, seconds_left, .. } in &orders {
                        writeln!(
                            out,
                            "{} is {} {}",
                            plain(&order.selector.to_string()),
                            order.treatment,
                            left(*seconds_left)
                        )?;
                    }
                }
                OrderCommand::End { .. } => {
                    for OrderReport { order, .. } in &orders {
                        writeln!(out, "{} is no longer {}", plain(&order.selector.to_string()), order.treatment)?;
                    }
                }
            }
        }
        Ok(())
    })?;
    out.flush()?;
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
    for OrderReport { order, seconds_left, waiting } in orders {
        let what = format!("{} {}", order.treatment, left(*seconds_left));
        writeln!(out, "{}: {}, {waiting} waiting", plain(&order.selector.to_string()), plain(&what))?;
        let reason = if order.reason.is_empty() { String::new() } else { format!(": {}", plain(&order.reason)) };
        writeln!(out, "    since {}{reason}", time(order.given_at))?;
    }
    Ok(())
}
