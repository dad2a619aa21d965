//! `rohrpost status`: what the running appliance is doing.

use super::check;
use super::text::{exit_code, micros, plain, size, span, write_json};
use crate::config;
use crate::control::{Answer, Client, ClientError, Latency, LogState, Request, StatusReport};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The command: to standard output, errors to standard error.
pub fn status(args: &super::StatusArgs) -> ExitCode {
    match config::load(&args.config.config) {
        Ok(config) => exit_code(write_status(&config.admin.socket, args.json, &mut io::stdout().lock())),
        Err(error) => check::refuse(&check::show(&error)),
    }
}

/// Asks the appliance behind `socket` and writes its answer for a person, or as one JSON object.
pub fn write_status(socket: &Path, json: bool, out: &mut dyn Write) -> Result<(), ClientError> {
    let report = ask(socket)?;
    if json {
        write_json(&report, out)?;
    } else {
        write_report(&report, out)?;
    }
    Ok(())
}

/// Asks the appliance behind `socket`.
pub(super) fn ask(socket: &Path) -> Result<StatusReport, ClientError> {
    let mut client = Client::connect(socket)?;
    let mut report = None;
    client.ask(&Request::Status, |answer| {
        if let Answer::Status { status } = answer {
            report = Some(*status);
        }
        Ok(())
    })?;
    report.ok_or_else(|| client.strange("no status"))
}

fn write_report(report: &StatusReport, out: &mut dyn Write) -> io::Result<()> {
    let about = &report.about;
    let stopping = if report.stopping { ", stopping" } else { "" };
    writeln!(out, "{} runs rohrpost {}, up {}{stopping}", about.hostname, about.release, span(report.uptime()))?;
    writeln!(out, "transport  {} ({})", about.transport, plain(&about.transport_detail))?;
    if let Some(link) = about.link {
        writeln!(out, "link       {link}")?;
    }
    for reason in &report.health.reasons {
        writeln!(out, "NOT READY  {}: {}", plain(&reason.subject), plain(&reason.text))?;
    }
    if let Some(pair) = &report.pair {
        super::pair::write_status(pair, out)?;
    }
    let alerts = report.alerts;
    if alerts.failed + alerts.lost > 0 {
        writeln!(
            out,
            "alerts     {} told, {} attempts failed, {} given up: see alert_failed in the log",
            alerts.told, alerts.failed, alerts.lost
        )?;
    }
    let (sessions, flows) = (report.sessions, report.flows);
    writeln!(out, "sessions   {} from clients, {} to next hops", sessions.server, sessions.client)?;
    writeln!(
        out,
        "flows      {} open; {} accepted, {} started, {} refused for want of room",
        flows.open, flows.accepted, flows.connected, flows.refused
    )?;
    let messages = report.messages;
    writeln!(out, "messages   {} accepted, {} refused", messages.accepted, messages.refused)?;
    write!(
        out,
        "recipients {} delivered, {} attempts deferred, {} bounced",
        messages.delivered, messages.deferred, messages.bounced
    )?;
    if messages.double_bounced > 0 {
        write!(out, " ({} of them bounces themselves: nobody is told)", messages.double_bounced)?;
    }
    match messages.in_doubt {
        0 => writeln!(out)?,
        count => writeln!(out, ", {count} were in doubt")?,
    }
    let queue = report.queue;
    writeln!(
        out,
        "queue      {} messages, {}; {} deliveries under way, {} waiting, {} messages held",
        queue.messages,
        size(queue.size_bytes),
        queue.active,
        queue.scheduled,
        queue.held
    )?;
    if report.orders > 0 {
        writeln!(out, "ORDERS     {} of the operator stand: see `rohrpost queue orders`", report.orders)?;
    }
    if report.pair.is_some() {
        writeln!(out, "copies     of {} messages of the partner's queue", queue.copies)?;
    }
    for identity in report.pair.iter().flat_map(|pair| &pair.identities) {
        if let Some(repairs) = identity.repairs() {
            writeln!(out, "identity {} {repairs}", identity.identity)?;
        }
    }
    if report.damages > 0 || queue.damaged > 0 {
        writeln!(
            out,
            "DAMAGE     {} places in the spool, {} messages not deliverable; see `rohrpost queue list --damaged`",
            report.damages, queue.damaged
        )?;
    }
    writeln!(out)?;
    writeln!(out, "{:<28} {:>10} {:>10} {:>10} {:>10} {:>10}", "latency", "count", "p50", "p99", "p99.9", "max")?;
    for (name, latency) in [
        ("last byte to 250", report.stages.accept),
        ("commit of a batch", report.stages.commit),
        ("acceptance to delivery", report.stages.delivery),
    ] {
        write_latency(name, latency, out)?;
    }
    writeln!(out)?;
    for worker in &report.workers {
        let spool = &worker.spool;
        let state = match spool.state {
            LogState::Open => "open".to_owned(),
            LogState::Full => {
                let reason = spool.error.as_deref().map(|reason| format!(": {}", plain(reason)));
                format!("FULL, clients get 452{}", reason.unwrap_or_default())
            }
            LogState::Failed => {
                format!("FAILED, clients get 451: {}", plain(spool.error.as_deref().unwrap_or("no reason given")))
            }
        };
        writeln!(
            out,
            "worker {:<3} {} flows, {} queued; log {state}; {} segments used, {} free ({})",
            worker.worker,
            worker.flows.open,
            worker.queue.messages,
            spool.segments_used,
            spool.segments_free,
            plain(&spool.disk)
        )?;
    }
    for worker in &report.workers_silent {
        writeln!(out, "worker {worker:<3} DOES NOT ANSWER")?;
    }
    if report.events_lost > 0 {
        writeln!(out, "{} log lines were lost: what reads the log is too slow", report.events_lost)?;
    }
    Ok(())
}

fn write_latency(name: &str, latency: Latency, out: &mut dyn Write) -> io::Result<()> {
    let Latency { count, p50_us, p99_us, p999_us, max_us } = latency;
    if count == 0 {
        return writeln!(out, "{name:<28} {:>10} {:>10} {:>10} {:>10} {:>10}", 0, "-", "-", "-", "-");
    }
    let [p50, p99, p999, max] = [p50_us, p99_us, p999_us, max_us].map(micros);
    writeln!(out, "{name:<28} {count:>10} {p50:>10} {p99:>10} {p999:>10} {max:>10}")
}
