//! `rohrpost top`: what the running appliance is doing, as it does it.
//!
//! In: a status a second from the admin socket, and the destinations that come first, and keys. Out: a screen. It keeps no more than
//! the history that it shows. Each destination costs its worker a microsecond: where there are so many that the answer takes its
//! time, it is asked for less often, so that they are never busy with it.

mod history;
mod screen;
mod traffic;

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
use traffic::Traffic;

/// The destinations are asked for again after so many times as long as the answer took.
const TRAFFIC_PAUSE_FACTOR: u32 = 20;

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
    let (mut history, mut traffic) = (History::default(), Traffic::default());
    let mut traffic_due = Instant::now();
    loop {
        let asked_at = Instant::now();
        // It may be restarted meanwhile: what it said last stays, and the screen says since when.
        match super::status::ask(socket) {
            Ok(report) => history.take(report, clock.now()),
            Err(error) => history.fail(error.to_string()),
        }
        let lines = terminal.size()?.height.into();
        if history.failure().is_none() && asked_at >= traffic_due {
            traffic_due = look(socket, lines, &mut history, &mut traffic);
        }
        draw(terminal, &history, &traffic)?;
        loop {
            let left = every.saturating_sub(asked_at.elapsed());
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if ends(key) => return Ok(()),
                Event::Key(KeyEvent { code: KeyCode::Char(letter), .. }) => {
                    if let Some(order) = Traffic::order_of(letter) {
                        traffic.order = order;
                        traffic_due = look(socket, lines, &mut history, &mut traffic);
                        draw(terminal, &history, &traffic)?;
                    }
                }
                Event::Resize(..) => draw(terminal, &history, &traffic)?,
                _ => {}
            }
        }
    }
}

/// Asks for the destinations; when it is time to do so again.
fn look(socket: &Path, lines: usize, history: &mut History, traffic: &mut Traffic) -> Instant {
    let begun = Instant::now();
    traffic.ask(socket, lines).unwrap_or_else(|error| history.fail(error.to_string()));
    Instant::now() + TRAFFIC_PAUSE_FACTOR * begun.elapsed()
}

fn draw(terminal: &mut ratatui::DefaultTerminal, history: &History, traffic: &Traffic) -> io::Result<()> {
    let now = SystemClock::new().now().wall;
    terminal.draw(|frame| screen::draw(frame, history, traffic, now)).map(|_| ())
}

fn ends(key: KeyEvent) -> bool {
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
