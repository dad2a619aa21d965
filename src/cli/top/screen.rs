//! One look at the appliance, as wide and as high as the terminal.

use super::history::{History, Rates};
use super::traffic::{KEYS, Traffic};
use crate::cli::text::{micros, plain, size, span};
use crate::control::{Latency, LogState, StatusReport};
use crate::env::WallTime;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

/// Lines with the state of the box and of its pair. What does not fit is in `rohrpost status`.
const STATE_LINES_MAX: usize = 8;
/// Of each curve, its title and its frame.
const CURVE_HEIGHT: u16 = 5;
/// The rows of latencies, with their heading.
const LATENCY_HEIGHT: u16 = 4;

/// Workers that are shown, with their heading; the others leave the room to the destinations.
const WORKERS_HEIGHT_MAX: u16 = 9;

/// Which of the rates a curve shows.
type RateOf = fn(&Rates) -> f64;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, history: &History, traffic: &Traffic, now: WallTime) {
    let Some(report) = history.report() else {
        let text = history.failure().map_or("waiting for the appliance …".to_owned(), plain);
        return frame.render_widget(Paragraph::new(text), frame.area());
    };
    let state = state(report, history.failure());
    let areas = Layout::vertical([
        Constraint::Length(state.len() as u16),
        Constraint::Length(CURVE_HEIGHT),
        Constraint::Length(3),
        Constraint::Length(LATENCY_HEIGHT),
        Constraint::Length((report.workers.len() as u16 + 1).min(WORKERS_HEIGHT_MAX)),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [above, curves, counts, latencies, workers, destinations, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(state), above);
    draw_curves(frame, curves, history);
    frame.render_widget(Paragraph::new(counted(report, history.rates())), counts);
    frame.render_widget(latency_table(report), latencies);
    frame.render_widget(worker_table(report), workers);
    frame.render_widget(traffic.table(now), destinations);
    frame.render_widget(Paragraph::new(format!("q quits; {KEYS}")).style(dim()), foot);
}

/// How the box is, and what an engineer should look at first.
fn state(report: &StatusReport, failure: Option<&str>) -> Vec<Line<'static>> {
    let about = &report.about;
    let stopping = if report.stopping { ", stopping" } else { "" };
    let mut lines = vec![Line::from(vec![
        Span::styled(plain(&about.hostname), bold()),
        Span::raw(format!(
            "  rohrpost {}, up {}{stopping}, {} ({})",
            about.release,
            span(report.uptime()),
            about.transport,
            plain(&about.transport_detail)
        )),
    ])];
    if let Some(failure) = failure {
        lines.push(alarm(format!("NO ANSWER, what follows is old: {}", plain(failure))));
    }
    for reason in &report.health.reasons {
        lines.push(alarm(format!("NOT READY  {}: {}", plain(&reason.subject), plain(&reason.text))));
    }
    if let Some(pair) = &report.pair {
        let mut text = Vec::new();
        // What a command writes for a person is the same here; it goes to memory, which does not fail.
        let _ = crate::cli::pair::write_status(pair, &mut text);
        lines.extend(String::from_utf8_lossy(&text).lines().map(|line| Line::from(line.to_owned())));
    }
    if report.damages > 0 {
        lines.push(alarm(format!("DAMAGE     {} places in the spool", report.damages)));
    }
    lines.extend(report.workers_silent.iter().map(|worker| alarm(format!("worker {worker} DOES NOT ANSWER"))));
    lines.truncate(STATE_LINES_MAX);
    lines
}

fn draw_curves(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let rates = history.rates();
    let curves: [(&str, Color, RateOf); 3] = [
        ("accepted", Color::Green, |rates| rates.accepted),
        ("delivered", Color::Cyan, |rates| rates.delivered),
        ("deferred", Color::Yellow, |rates| rates.deferred),
    ];
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Ratio(1, 3); 3]).areas(area);
    for ((title, color, of), area) in curves.into_iter().zip(areas) {
        let block = Block::bordered().title(format!(" {title} {}/s ", rounded(of(&rates)))).border_style(dim());
        let columns = usize::from(block.inner(area).width);
        let course = history.course(columns, of);
        frame.render_widget(Sparkline::default().block(block).data(&course).style(Style::new().fg(color)), area);
    }
}

/// What is counted, and is no curve.
fn counted(report: &StatusReport, rates: Rates) -> Vec<Line<'static>> {
    let StatusReport { sessions, flows, queue, messages, .. } = report;
    vec![
        Line::from(format!(
            "sessions {} from clients, {} to next hops; flows {} open, {} refused",
            sessions.server, sessions.client, flows.open, flows.refused
        )),
        Line::from(format!(
            "queue    {} messages, {}; {} under way, {} waiting, {} held",
            queue.messages,
            size(queue.size_bytes),
            queue.active,
            queue.scheduled,
            queue.held
        )),
        Line::from(format!(
            "refused  {} ({}/s); bounced {} ({}/s); in doubt {}",
            messages.refused,
            rounded(rates.refused),
            messages.bounced,
            rounded(rates.bounced),
            messages.in_doubt
        )),
    ]
}

fn latency_table(report: &StatusReport) -> Table<'static> {
    let rows = [
        ("last byte to 250", report.stages.accept),
        ("commit of a batch", report.stages.commit),
        ("acceptance to delivery", report.stages.delivery),
    ]
    .map(|(name, Latency { count, p50_us, p99_us, p999_us, max_us })| {
        let times =
            [p50_us, p99_us, p999_us, max_us].map(|time| if count == 0 { "-".to_owned() } else { micros(time) });
        row(name.to_owned(), std::iter::once(count.to_string()).chain(times), None)
    });
    let heading = row("since the start".to_owned(), ["count", "p50", "p99", "p99.9", "max"].map(String::from), None);
    let widths = std::iter::once(24).chain([10; 5]).map(Constraint::Length);
    Table::new(rows, widths).header(heading.style(dim()))
}

fn worker_table(report: &StatusReport) -> Table<'static> {
    let rows = report.workers.iter().map(|worker| {
        let (log, style) = match worker.spool.state {
            LogState::Open => ("open", Style::new()),
            LogState::Full => ("FULL", alarming()),
            LogState::Failed => ("FAILED", alarming()),
        };
        let counts = [
            worker.flows.open,
            worker.sessions.server,
            worker.sessions.client,
            worker.queue.messages,
            worker.queue.active,
            worker.spool.segments_used,
            worker.spool.segments_free,
        ];
        let cells = counts.map(|count| count.to_string());
        row(worker.worker.to_string(), cells.into_iter().chain([log.to_owned()]), None).style(style)
    });
    let heading = ["flows", "clients", "next hops", "queued", "under way", "segments", "free", "log"].map(String::from);
    let widths = std::iter::once(8).chain([10; 8]).map(Constraint::Length);
    Table::new(rows, widths).header(row("worker".to_owned(), heading, None).style(dim()))
}

/// A name to the left and numbers to the right, and perhaps words behind them.
pub(super) fn row(name: String, cells: impl IntoIterator<Item = String>, words: Option<Cell<'static>>) -> Row<'static> {
    let right = |text: String| Cell::from(Line::from(text).alignment(Alignment::Right));
    Row::new(std::iter::once(Cell::from(name)).chain(cells.into_iter().map(right)).chain(words))
}

/// Whole numbers, but for those so small that nothing would be left.
fn rounded(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn alarm(text: String) -> Line<'static> {
    Line::styled(text, alarming())
}

pub(super) fn alarming() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{DeliveryReport, TrafficEntry, status_report};
    use crate::delivery::Limited;
    use crate::env::{Instant, Now, WallTime};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn at(second: u64) -> Now {
        Now { mono: Instant::from_nanos(second * 1_000_000_000), wall: WallTime::default() }
    }

    fn traffic() -> Traffic {
        let report = DeliveryReport {
            busy: 3,
            idle: 1,
            opening: 0,
            ending: 0,
            window: 5,
            connections_max: 20,
            waiting: 7,
            messages_per_s: 12.0,
            limited_by: Some(Limited::HostsDown),
            suspended_until: None,
            last_failure: None,
            hosts: Vec::new(),
        };
        let entry = TrafficEntry {
            destination: "mx://d.example".into(),
            messages: 77,
            active: 4,
            why: Some("421 \u{1b} busy".into()),
            delivery: Some(report),
            key: None,
        };
        Traffic { entries: vec![entry], count: 12, ..Traffic::default() }
    }

    fn drawn(history: &History, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, history, &traffic(), WallTime::default())).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn the_screen_tells_rates_queue_latencies_and_workers() {
        let mut history = History::default();
        let mut one = status_report();
        history.take(one.clone(), at(0));
        one.messages.accepted += 1234;
        history.take(one, at(1));
        let screen = drawn(&history, 120, 24).join("\n");
        for wanted in [
            "accepted 1234/s",
            "delivered 0/s",
            "last byte to 250",
            "commit of a batch",
            "q quits",
            "worker",
            "12 destinations",
            "mx://d.example",
            "77        4         4/5     12/s  no host works; 421 \\u{1b} busy",
        ] {
            assert!(screen.contains(wanted), "{wanted}:\n{screen}");
        }
    }

    #[test]
    fn what_is_old_is_not_taken_for_news() {
        let mut history = History::default();
        history.fail("nobody answers".into());
        assert_eq!(drawn(&history, 40, 3)[0], "nobody answers");
        history.take(status_report(), at(0));
        history.fail("nobody answers\u{1b}[2J".into());
        let screen = drawn(&history, 100, 24).join("\n");
        assert!(screen.contains("NO ANSWER, what follows is old: nobody answers\\u{1b}"), "{screen}");
    }

    #[test]
    fn no_terminal_is_too_small() {
        let mut history = History::default();
        history.take(status_report(), at(0));
        history.take(status_report(), at(1));
        for (width, height) in [(1, 1), (2, 50), (200, 2), (20, 10)] {
            drawn(&history, width, height);
        }
    }
}
