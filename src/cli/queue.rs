//! `rohrpost queue`: what the running appliance has yet to deliver, and what an operator does about it.

use super::orders;
use super::text::{exit_code, messages, plain, size, time, write_json};
use super::{FilterArgs, QueueAction, QueueArgs, QueueState, SelectionArgs};
use super::{check, destinations};
use crate::config;
use crate::control::{
    Answer, Client, ClientError, MessageState, OrderCommand, PROTOCOL_VERSION, QueueCommand, QueueEntry, QueueFilter,
    QueueSelection, Request,
};
use crate::delivery::Treatment;
use crate::limits::QUEUE_LIST_MAX;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The command: to standard output, errors to standard error.
pub fn queue(args: &QueueArgs) -> ExitCode {
    match config::load(&args.config) {
        Ok(config) => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let socket = &config.admin.socket;
            let result = match command(&args.action) {
                Asked::Queue(command) => write_queue(socket, &command, args.json, &mut out),
                Asked::Orders(command) => orders::write_orders(socket, &command, args.json, &mut out),
            };
            let wants_places = matches!(args.action, QueueAction::List { damaged: true, .. }) && !args.json;
            exit_code(result.and_then(|()| if wants_places { write_damages(socket, &mut out) } else { Ok(()) }))
        }
        Err(error) => check::refuse(&check::show(&error)),
    }
}

/// What the appliance is asked.
enum Asked {
    Queue(QueueCommand),
    Orders(OrderCommand),
}

/// What it is asked for what the operator typed.
fn command(action: &QueueAction) -> Asked {
    Asked::Queue(match action {
        QueueAction::Suspend { mail, term } => return Asked::Orders(orders::give(mail, Treatment::Suspend, term)),
        QueueAction::Drain { mail, term } => return Asked::Orders(orders::give(mail, Treatment::Drain, term)),
        QueueAction::Reroute { mail, to, term } => {
            return Asked::Orders(orders::give(mail, Treatment::Reroute { to: to.clone() }, term));
        }
        QueueAction::Resume(mail) => return Asked::Orders(orders::end(mail)),
        QueueAction::Orders => return Asked::Orders(OrderCommand::List),
        QueueAction::List { filter: wanted, damaged, limit } => {
            let mut filter = filter(wanted);
            if *damaged {
                filter.state = Some(MessageState::Damaged);
            }
            QueueCommand::List { filter, limit: *limit, after: None }
        }
        QueueAction::Show { id } => QueueCommand::Show { id: *id },
        QueueAction::Destinations { filter: wanted, limit, hosts } => {
            QueueCommand::Destinations { filter: filter(wanted), limit: usize::from(*limit), name: None, hosts: *hosts }
        }
        QueueAction::Destination { name } => QueueCommand::Destinations {
            filter: QueueFilter::default(),
            limit: 1,
            name: Some(name.clone()),
            hosts: true,
        },
        QueueAction::Retry(chosen) => QueueCommand::Retry { selection: selection(chosen) },
        QueueAction::Hold(chosen) => QueueCommand::Hold { selection: selection(chosen) },
        QueueAction::Release(chosen) => QueueCommand::Release { selection: selection(chosen) },
        QueueAction::Delete(chosen) => QueueCommand::Delete { selection: selection(chosen) },
    })
}

fn selection(chosen: &SelectionArgs) -> QueueSelection {
    if chosen.ids.is_empty() {
        QueueSelection::Filter(filter(&chosen.filter()))
    } else {
        QueueSelection::Ids(chosen.ids.clone())
    }
}

fn filter(wanted: &FilterArgs) -> QueueFilter {
    QueueFilter {
        sender: wanted.sender.clone(),
        recipient: wanted.recipient.clone(),
        domain: wanted.domain.clone(),
        state: wanted.state.map(|state| match state {
            QueueState::Queued => MessageState::Queued,
            QueueState::Deferred => MessageState::Deferred,
            QueueState::Active => MessageState::Active,
            QueueState::Held => MessageState::Held,
            QueueState::Damaged => MessageState::Damaged,
        }),
        priority: wanted.priority,
        older_than_seconds: wanted.older_than.map(|age| age.as_secs()),
        after: None,
    }
}

/// Asks the appliance behind `socket` and writes its answer for a person, or as one JSON object.
pub fn write_queue(socket: &Path, command: &QueueCommand, json: bool, out: &mut dyn Write) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    match command {
        QueueCommand::List { filter, limit, .. } => list(&mut client, filter, *limit, json, out)?,
        QueueCommand::Show { .. } => client.ask(&Request::Queue(command.clone()), |answer| {
            if let Answer::Entry { entry } = answer {
                if json {
                    let object = crate::control::Versioned::new(*entry);
                    write_json(&object, out)?;
                } else {
                    write_entry(&entry, out)?;
                }
            }
            Ok(())
        })?,
        QueueCommand::Destinations { .. } => client.ask(&Request::Queue(command.clone()), |answer| {
            if let Answer::Destinations { destinations, count } = answer {
                destinations::write(destinations, count, json, out)?;
            }
            Ok(())
        })?,
        _ => client.ask(&Request::Queue(command.clone()), |answer| {
            if let Answer::Changed { count } = answer {
                if json {
                    writeln!(out, "{{\"version\":{PROTOCOL_VERSION},\"changed\":{count}}}")?;
                } else {
                    writeln!(out, "{} {}", messages(count), done(command))?;
                }
            }
            Ok(())
        })?,
    }
    out.flush()?;
    Ok(())
}

/// Says what is damaged in the spool, whether it belongs to a message of the queue or not.
pub fn write_damages(socket: &Path, out: &mut dyn Write) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    client.ask(&Request::Status, |answer| {
        let Answer::Status { status } = answer else { return Ok(()) };
        for worker in &status.workers {
            let damage = &worker.spool.damage;
            for place in &damage.places {
                writeln!(out, "worker {}: {}", worker.worker, plain(place))?;
            }
            let others = damage.count.saturating_sub(damage.places.len() as u64);
            if others > 0 {
                writeln!(out, "worker {}: {others} more places", worker.worker)?;
            }
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(())
}

/// Lists page by page, so that neither end holds a long queue as text.
fn list(
    client: &mut Client,
    filter: &QueueFilter,
    limit: usize,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ClientError> {
    let (mut shown, mut size_bytes, mut after) = (0, 0, None);
    if json {
        write!(out, "{{\"version\":{PROTOCOL_VERSION},\"entries\":[")?;
    }
    let more = loop {
        let page = (limit - shown).min(QUEUE_LIST_MAX);
        if page == 0 {
            break true;
        }
        let command = QueueCommand::List { filter: filter.clone(), limit: page, after };
        let mut next = None;
        client.ask(&Request::Queue(command), |answer| {
            match answer {
                Answer::Entry { entry } => {
                    if json {
                        out.write_all(if shown == 0 { b"\n" } else { b",\n" })?;
                        serde_json::to_writer(&mut *out, &entry).map_err(io::Error::from)?;
                    } else {
                        write_entry(&entry, out)?;
                    }
                    shown += 1;
                    size_bytes += entry.size_bytes;
                }
                Answer::End { next: found, .. } => next = found,
                _ => {}
            }
            Ok(())
        })?;
        // An id that does not rise would have us ask for ever.
        match next {
            Some(_) if next > after => after = next,
            _ => break false,
        }
    };
    if json {
        writeln!(out, "\n],\"truncated\":{more}}}")?;
    } else if shown == 0 && !more {
        writeln!(out, "no messages")?;
    } else {
        let end = if more { "; there may be more" } else { "" };
        writeln!(out, "-- {}, {}{end}", messages(shown as u64), size(size_bytes))?;
    }
    Ok(())
}

fn write_entry(entry: &QueueEntry, out: &mut dyn Write) -> io::Result<()> {
    let sender = if entry.sender.is_empty() { "<>".to_owned() } else { plain(&entry.sender) };
    let QueueEntry { id, received_at, size_bytes, priority, state, .. } = entry;
    let urgency = if priority.is_normal() { String::new() } else { format!("  priority {priority}") };
    writeln!(out, "{id}  {state:<8}  {:>8}  {}  {sender}{urgency}", size(*size_bytes), time(*received_at))?;
    for recipient in &entry.recipients {
        let via = recipient.destination.as_deref().map(|destination| format!(" via {}", plain(destination)));
        write!(out, "    {:<9}  {}{}", recipient.state, plain(&recipient.address), via.unwrap_or_default())?;
        if recipient.attempts > 0 {
            let plural = if recipient.attempts == 1 { "" } else { "s" };
            write!(out, ", {} attempt{plural}", recipient.attempts)?;
        }
        if let Some(next) = recipient.next_attempt_at {
            write!(out, ", next {}", time(next))?;
        }
        writeln!(out)?;
        if let Some(reply) = &recipient.last_reply {
            writeln!(out, "               {}", plain(reply.trim_end()))?;
        }
    }
    Ok(())
}

fn done(command: &QueueCommand) -> &'static str {
    match command {
        QueueCommand::Retry { .. } => "will be tried now",
        QueueCommand::Hold { .. } => "held",
        QueueCommand::Release { .. } => "released",
        QueueCommand::Delete { .. } => "deleted",
        QueueCommand::List { .. } | QueueCommand::Show { .. } | QueueCommand::Destinations { .. } => "shown",
    }
}
