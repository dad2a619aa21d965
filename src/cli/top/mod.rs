//! `rohrpost top`: what the running appliance is doing, as it does it.
//!
//! In: a status a second from the admin socket, and keys. Out: a screen. It asks for nothing that costs a worker more than the
//! status does, and keeps no more than the history that it shows.

mod history;
mod screen;

use super::check;
use super::text::exit_code;
use crate::config;
use crate::control::{Client, ClientError};
use crate::env::{Clock, SystemClock};
use history::History;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The command: to the terminal, errors to standard error.
pub fn top(args: &super::TopArgs) -> ExitCode {
    let config = match config::load(&args.config.config) {
        Ok(config) => config,
        Err(error) => return check::refuse(&check::show(&error)),
    };
    if !io::stdout().is_terminal() {
        return check::refuse("standard output is no terminal: `rohrpost status --json` is for programs");
    }
    exit_code(watch(&config.admin.socket, *args.every))
}

/// Shows what the appliance behind `socket` is doing, until the operator has seen enough.
fn watch(socket: &Path, every: Duration) -> Result<(), ClientError> {
    // An appliance that does not run is said on a screen that scrolls.
    Client::connect(socket)?;
    let mut terminal = ratatui::try_init()?;
    let result = run(socket, every, &mut terminal);
    ratatui::restore();
    result
}

fn run(socket: &Path, every: Duration, terminal: &mut ratatui::DefaultTerminal) -> Result<(), ClientError> {
    let clock = SystemClock::new();
    let mut history = History::default();
    loop {
        let asked_at = Instant::now();
        // It may be restarted meanwhile: what it said last stays, and the screen says since when.
        match super::status::ask(socket) {
            Ok(report) => history.take(report, clock.now()),
            Err(error) => history.fail(error.to_string()),
        }
        terminal.draw(|frame| screen::draw(frame, &history))?;
        loop {
            let left = every.saturating_sub(asked_at.elapsed());
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if ends(key) => return Ok(()),
                Event::Resize(..) => {
                    terminal.draw(|frame| screen::draw(frame, &history))?;
                }
                _ => {}
            }
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
