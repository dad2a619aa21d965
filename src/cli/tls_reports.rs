//! `rohrpost tls-reports`: what is counted for reports on TLS, and what waits to be sent.
//!
//! In: what the running appliance says. Out: the same as text or as one JSON object.

use super::check::{refuse, show};
use super::text::{exit_code, plain, write_json};
use super::{TlsReportsAction, TlsReportsArgs};
use crate::config;
use crate::control::{Answer, Client, ClientError, ReportsCommand, ReportsStatus, Request, Versioned};
use crate::event::rfc3339;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The command: to standard output, errors to standard error.
pub fn tls_reports(args: &TlsReportsArgs) -> ExitCode {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(error) => return refuse(&show(&error)),
    };
    let command = match args.action {
        None => ReportsCommand::List,
        Some(TlsReportsAction::Send { .. }) => ReportsCommand::Send,
    };
    exit_code(ask(&config.admin.socket, command).and_then(|reports| {
        let out = &mut io::stdout().lock();
        if args.json { Ok(write_json(&Versioned::new(reports), out)?) } else { Ok(write(&reports, out)?) }
    }))
}

fn ask(socket: &Path, command: ReportsCommand) -> Result<ReportsStatus, ClientError> {
    let mut client = Client::connect(socket)?;
    let mut found = None;
    client.ask(&Request::Reports(command), |answer| {
        if let Answer::Reports { reports } = answer {
            found = Some(*reports);
        }
        Ok(())
    })?;
    found.ok_or_else(|| client.strange("no reports"))
}

fn write(reports: &ReportsStatus, out: &mut dyn Write) -> io::Result<()> {
    for domain in &reports.counted {
        let to = domain.to.as_ref().map_or("not known yet".to_owned(), |to| to.join(", "));
        let (successful, failed, since) = (domain.successful, domain.failed, rfc3339::text(domain.since));
        writeln!(out, "{}: {successful} good, {failed} bad since {since}; to {}", plain(&domain.domain), plain(&to))?;
    }
    for report in &reports.waiting {
        let (from, until) = (rfc3339::text(report.from), rfc3339::text(report.until));
        let to = report.to.as_deref().unwrap_or("a place not known yet");
        writeln!(
            out,
            "{}: {} good, {} bad from {from} to {until} wait for {}, to {} ({} attempts)",
            plain(&report.domain),
            report.successful,
            report.failed,
            rfc3339::text(report.next_attempt_at),
            plain(to),
            report.attempts,
        )?;
    }
    if reports.counted.is_empty() && reports.waiting.is_empty() {
        writeln!(out, "nothing is counted, and nothing waits to be sent")?;
    }
    let counts = &reports.counts;
    for (count, what) in [
        (counts.sessions_lost, "sessions that workers could not tell of"),
        (counts.sessions_omitted, "sessions of domains that were too many"),
        (counts.reports_dropped, "reports that could not be sent"),
    ] {
        if count > 0 {
            writeln!(out, "not kept: {count} {what}")?;
        }
    }
    Ok(())
}
