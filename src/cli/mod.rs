//! The command line: what an operator types.
//!
//! In: arguments. Out: a [`Command`] with everything it needs. Never: the work itself, which is in a file for each
//! command.
//!
//! Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage.

// They panic when nobody reads any more, as behind `| head`; `text::print` and `env::say` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod check;
mod destinations;
pub mod dkim;
pub mod load;
mod logs;
pub mod orders;
pub mod pair;
mod parties;
pub mod queue;
pub mod route;
pub mod run;
pub mod sim;
pub mod sink;
mod spool;
pub mod status;
mod text;
pub mod tls_reports;
pub mod top;
pub mod trace;
mod transport;

use crate::config::Period;
use crate::limits::{QUEUE_LIST_MAX, TOP_INTERVAL_MIN};
use crate::smtp::Priority;
use crate::spool::MessageId;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ops::Range;
use std::path::PathBuf;

/// Where the configuration is if nothing else is said.
pub const CONFIG_PATH_DEFAULT: &str = "/etc/rohrpost/rohrpost.toml";

/// Rohrpost, a mail relay appliance that runs beside the kernel.
#[derive(Clone, Debug, Parser)]
#[command(name = "rohrpost", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the appliance until SIGTERM.
    Run(RunArgs),
    /// Say what the configuration means, and everything that is wrong with it.
    Check(CheckArgs),
    /// Say what the running appliance is doing.
    Status(StatusArgs),
    /// Watch what the running appliance is doing.
    Top(TopArgs),
    /// Look at and change the queue of the running appliance.
    Queue(QueueArgs),
    /// Tell what became of a message, or of the mail of an address.
    Trace(TraceArgs),
    /// Say where mail for an address would go.
    Route(RouteArgs),
    /// Say what to publish in the DNS for the keys that sign mail (DKIM).
    Dkim(DkimArgs),
    /// Look at what is counted for reports on TLS (TLSRPT), and send them.
    TlsReports(TlsReportsArgs),
    /// Look at and change how the two boxes of a pair stand.
    Pair(pair::PairArgs),
    /// Send mail to any SMTP server, at a rate or as fast as it goes, and measure how it does.
    Load(Box<load::LoadArgs>),
    /// Take mail from anybody and throw it away: what stands behind a relay that is measured.
    Sink(sink::SinkArgs),
    /// Prove that no message is lost: live through simulated worlds in which everything goes wrong.
    Sim(SimArgs),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration.
    #[arg(long, short, value_name = "FILE", default_value = CONFIG_PATH_DEFAULT)]
    pub config: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Read the whole spool in this directory instead, or one log of it, and say what is damaged. Changes nothing.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub spool: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How often it is asked.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub every: Period,
}

/// Not so short that the appliance has nothing else to do.
fn interval(text: &str) -> Result<Period, String> {
    let every: Period = text.parse().map_err(|error: crate::config::ValueError| error.to_string())?;
    if *every < TOP_INTERVAL_MIN {
        return Err(format!("at least {} ms", TOP_INTERVAL_MIN.as_millis()));
    }
    Ok(every)
}

#[derive(Clone, Debug, Args)]
pub struct RouteArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The address, or a domain alone. Of a route by MX the running appliance says what the DNS names.
    #[arg(value_name = "ADDRESS")]
    pub address: String,
    /// Who sends it: an address, or a domain alone; "<>" for a bounce.
    #[arg(long, value_name = "SENDER")]
    pub from: Option<String>,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DkimArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// One JSON object instead of a zone file.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct TlsReportsArgs {
    /// The configuration, which names the socket of the appliance.
    #[arg(long, short, value_name = "FILE", default_value = CONFIG_PATH_DEFAULT, global = true)]
    pub config: PathBuf,
    /// One JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub action: Option<TlsReportsAction>,
}

/// What to do with reports on TLS besides looking at them.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum TlsReportsAction {
    /// Send what was counted so far, and what waits, without waiting for the end of the day.
    Send {
        /// Now: there is no other time to choose.
        #[arg(long, required = true)]
        now: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct QueueArgs {
    /// The configuration, which names the socket of the appliance.
    #[arg(long, short, value_name = "FILE", default_value = CONFIG_PATH_DEFAULT, global = true)]
    pub config: PathBuf,
    /// One JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub action: QueueAction,
}

/// What is looked for in the event log.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A queue id, or an address that sent or was to get mail.
    #[arg(value_name = "ID|ADDRESS")]
    pub sought: trace::Sought,
    /// Read the events in this folder instead of the one of the configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub directory: Option<PathBuf>,
    /// Only what is not older than this, such as 2h or 7d.
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Period>,
    /// The events as they stand in the files, in the order of time.
    #[arg(long)]
    pub json: bool,
}

/// Which simulated worlds.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// Worlds with a pair of boxes, each of which mirrors the other's queue.
    #[arg(long)]
    pub pair: bool,
    /// All of those with the manual arbiter; otherwise some have it.
    #[arg(long, requires = "pair")]
    pub manual: bool,
    /// A share of clients and next hops speaks TLS.
    #[arg(long, conflicts_with = "manual")]
    pub tls: bool,
    /// All mail is signed (DKIM).
    #[arg(long, conflicts_with = "manual")]
    pub dkim: bool,
    /// This one.
    #[arg(long, conflicts_with_all = ["seeds", "time"])]
    pub seed: Option<u64>,
    /// These, such as 0..1000.
    #[arg(long, value_name = "FROM..TO", value_parser = seed_range, conflicts_with = "first")]
    pub seeds: Option<Range<u64>>,
    /// As many as there is time for; 60s if nothing else is said.
    #[arg(long, value_name = "DURATION")]
    pub time: Option<Period>,
    /// The first seed of those that there is time for.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub first: u64,
    /// How many at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub jobs: usize,
    /// Tell the story of the one seed as it goes, on standard error.
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

fn seed_range(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range
        .filter(|range: &Range<u64>| !range.is_empty())
        .ok_or_else(|| "a range of seeds is FROM..TO, such as 0..1000".to_owned())
}

/// What to do with the queue.
#[derive(Clone, Debug, Subcommand)]
pub enum QueueAction {
    /// List messages, oldest first.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Only messages whose content is damaged, and after them what else is damaged in the spool.
        #[arg(long, conflicts_with = "state")]
        damaged: bool,
        /// At most so many.
        #[arg(long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
    },
    /// Show one message with all its recipients.
    Show {
        /// Its queue id.
        id: MessageId,
    },
    /// Say what waits for each destination, those with most of it first, and how it is delivered.
    Destinations {
        #[command(flatten)]
        filter: FilterArgs,
        /// With the hosts of each.
        #[arg(long)]
        hosts: bool,
        /// At most so many destinations.
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=QUEUE_LIST_MAX as i64))]
        limit: u16,
    },
    /// Say the same of one destination and its hosts.
    Destination {
        /// Its name, as `queue destinations` has it.
        name: String,
    },
    /// Try to deliver now.
    Retry(SelectionArgs),
    /// Keep from being delivered until released.
    Hold(SelectionArgs),
    /// Deliver what was held.
    Release(SelectionArgs),
    /// Delete, without telling the sender.
    Delete(SelectionArgs),
    /// Begin no delivery of some of the mail for a while. It stays in the queue and grows older, and no attempt is counted but that of
    /// a delay warning. What is under way is finished; connections that have nothing more to do end by themselves, as ever.
    Suspend {
        #[command(flatten)]
        mail: orders::MailArgs,
        #[command(flatten)]
        term: orders::TermArgs,
    },
    /// Take a destination out of service for a while: suspend its mail, and end its open connections, each after the message that it
    /// is at, as a load balancer drains a server. The queue is not emptied, and `check_recipients` goes on asking. Connections to MX
    /// hosts are shared by domains: those end that have served this one last.
    Drain {
        #[command(flatten)]
        mail: orders::MailArgs,
        #[command(flatten)]
        term: orders::TermArgs,
    },
    /// Send some of the mail another way for a while: over the hosts of another route, with its TLS and its credentials. Mail whose own
    /// route demands more of TLS goes its own way.
    Reroute {
        #[command(flatten)]
        mail: orders::MailArgs,
        /// As mail for this domain goes, or to the destination of this name.
        #[arg(long, value_name = "DOMAIN|NAME")]
        to: String,
        #[command(flatten)]
        term: orders::TermArgs,
    },
    /// End what `suspend`, `drain` or `reroute` has begun: what waited goes out as it is due, at once unless it was deferred before.
    Resume(orders::MailArgs),
    /// List what `suspend`, `drain` and `reroute` have begun: how long it lasts, why, and how many deliveries wait for it.
    Orders,
}

/// Which messages: all that every given condition holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct FilterArgs {
    /// From this sender ("<>" for the null sender).
    #[arg(long, value_name = "ADDRESS", value_parser = unbracketed)]
    pub sender: Option<String>,
    /// To this recipient.
    #[arg(long, value_name = "ADDRESS", value_parser = unbracketed)]
    pub recipient: Option<String>,
    /// To a recipient in this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// In this state.
    #[arg(long, value_enum)]
    pub state: Option<QueueState>,
    /// With this priority, -9 to 9.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub priority: Option<Priority>,
    /// Received longer ago than this, such as 30m or 2d.
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<Period>,
}

/// The states that a message of the queue can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum QueueState {
    /// Not tried yet.
    Queued,
    /// Tried, and to be tried again.
    Deferred,
    /// On its way now.
    Active,
    /// Kept by an operator.
    Held,
    /// Not as it was written, and not delivered.
    Damaged,
}

/// Which messages to change: by id, by condition, or all. One of these must be said.
#[derive(Clone, Debug, Args)]
#[group(id = "selection", required = true, multiple = true)]
pub struct SelectionArgs {
    /// These messages.
    #[arg(value_name = "ID", group = "selection", conflicts_with_all = ["all", "sender", "recipient", "domain", "state", "priority", "older_than"])]
    pub ids: Vec<MessageId>,
    /// All messages.
    #[arg(long, group = "selection", conflicts_with_all = ["sender", "recipient", "domain", "state", "priority", "older_than"])]
    pub all: bool,
    /// From this sender ("<>" for the null sender).
    #[arg(long, value_name = "ADDRESS", group = "selection", value_parser = unbracketed)]
    pub sender: Option<String>,
    /// To this recipient.
    #[arg(long, value_name = "ADDRESS", group = "selection", value_parser = unbracketed)]
    pub recipient: Option<String>,
    /// To a recipient in this domain.
    #[arg(long, value_name = "DOMAIN", group = "selection")]
    pub domain: Option<String>,
    /// In this state.
    #[arg(long, value_enum, group = "selection")]
    pub state: Option<QueueState>,
    /// With this priority, -9 to 9.
    #[arg(long, value_name = "NUMBER", group = "selection", allow_negative_numbers = true)]
    pub priority: Option<Priority>,
    /// Received longer ago than this, such as 30m or 2d.
    #[arg(long, value_name = "DURATION", group = "selection")]
    pub older_than: Option<Period>,
}

/// An address with or without its angle brackets; `<>`, the null sender, becomes the empty text.
fn unbracketed(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).to_owned())
}

impl SelectionArgs {
    /// The conditions; all empty if ids or `--all` were given.
    pub fn filter(&self) -> FilterArgs {
        FilterArgs {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            state: self.state,
            priority: self.priority,
            older_than: self.older_than,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_holds_together() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_config_may_stand_before_or_behind_the_queue_action() {
        for line in ["rohrpost queue --config /x list --json", "rohrpost queue list --json --config /x"] {
            match parse(line).expect(line).command {
                Command::Queue(QueueArgs { config, json: true, action: QueueAction::List { .. } }) => {
                    assert_eq!(config, PathBuf::from("/x"));
                }
                other => panic!("{other:?}"),
            }
        }
        match parse("rohrpost run").expect("run").command {
            Command::Run(args) => assert_eq!(args.config.config, PathBuf::from(CONFIG_PATH_DEFAULT)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_changed_without_saying_what() {
        for line in [
            "rohrpost queue delete",
            "rohrpost queue delete 000G000000001 --all",
            "rohrpost queue hold XYZ",
            "rohrpost queue show",
        ] {
            assert_eq!(parse(line).map(|_| ()).map_err(|error| error.exit_code()), Err(2), "{line}");
        }
        for line in [
            "rohrpost queue delete --all",
            "rohrpost queue retry 000G000000001 000G000000002",
            "rohrpost queue hold --sender a@example.net --older-than 2d --state deferred",
            "rohrpost queue hold --priority -4",
        ] {
            parse(line).expect(line);
        }
    }

    #[test]
    fn an_order_is_about_one_kind_of_mail_and_has_an_end_unless_that_is_said() {
        for line in [
            "rohrpost queue suspend",
            "rohrpost queue suspend --domain a.example --sender b.example",
            "rohrpost queue suspend --all --for 8d",
            "rohrpost queue suspend --all --for 1h --until-resumed",
            "rohrpost queue reroute --all",
            "rohrpost queue resume",
        ] {
            assert_eq!(parse(line).map(|_| ()).map_err(|error| error.exit_code()), Err(2), "{line}");
        }
        for (line, seconds) in [
            ("rohrpost queue suspend --domain a.example", Some(3600)),
            ("rohrpost queue suspend --sender <> --for 2d", Some(2 * 86_400)),
            ("rohrpost queue suspend --all --until-resumed", None),
        ] {
            match parse(line).expect(line).command {
                Command::Queue(QueueArgs { action: QueueAction::Suspend { mail, term }, .. }) => {
                    let command = orders::give(&mail, crate::delivery::Treatment::Suspend, &term);
                    let crate::control::OrderCommand::Give { duration_seconds, .. } = command else { panic!("{line}") };
                    assert_eq!(duration_seconds, seconds, "{line}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_null_sender_is_the_empty_address() {
        match parse("rohrpost queue delete --sender <>").expect("a filter").command {
            Command::Queue(QueueArgs { action: QueueAction::Delete(selection), .. }) => {
                assert_eq!(selection.filter().sender.as_deref(), Some(""));
            }
            other => panic!("{other:?}"),
        }
    }
}
