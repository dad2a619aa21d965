//! One page with what both drivers found: `target/bench/report.html`.

use crate::{STATIONS, Station};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// What a message of 10 KB passes on its way through a relay, and how often. Beside the segments with its content, the
/// other frames that come in are the commands, the replies of the next hop and acknowledgements.
const MESSAGE: &[(&str, u32)] = &[
    ("tcp/receive 10 KB, 7 segments in a breath", 1),
    ("smtp/server session, 10 KB", 1),
    ("spool/a message of 10 KB", 1),
    ("delivery/a message, nothing else queued", 1),
    ("smtp/client session, 10 KB", 1),
    ("tcp/send 10 KB, 7 segments in a breath", 1),
    ("tcp/a frame for one of 100 flows", 8),
];

/// What `benches/spool.rs` measures, and how many messages it does each time.
const DISK: (&[&str], u64) =
    (&["commit 2000 messages of 2048 bytes, 20 at a time", "commit 2000 messages of 10240 bytes, 20 at a time"], 2000);

const STYLE: &str = "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:72em;padding:0 1em}\
    table{border-collapse:collapse}th,td{padding:.1em .8em;text-align:right;font-variant-numeric:tabular-nums}\
    th:first-child,td:first-child{text-align:left}tr:nth-child(even){background:#f4f4f4}\
    rect.i{fill:#4477aa}rect.n{fill:#ee6677}summary{cursor:pointer}";

/// What was measured of one station.
struct Figures {
    title: String,
    instructions: Option<f64>,
    /// The median, and the bounds within which it is with 95 % confidence.
    nanos: Option<[f64; 3]>,
    /// Criterion's plot of the times.
    plot: Option<String>,
}

impl Figures {
    fn of(station: &Station, counts: &Value) -> Figures {
        Figures::named(station.folder, station.name, station.units, counts)
    }

    fn named(folder: &str, name: &str, units: u64, counts: &Value) -> Figures {
        let title = format!("{folder}/{name}");
        let directory = crate::target().join("criterion").join(folder).join(criterion_name(name));
        let nanos = read(&directory.join("new/estimates.json")).and_then(|text| {
            let estimates: Value = serde_json::from_str(&text).ok()?;
            let median = &estimates["median"];
            let bounds = &median["confidence_interval"];
            let of = |value: &Value| value.as_f64().map(|nanos| nanos / units as f64);
            Some([of(&median["point_estimate"])?, of(&bounds["lower_bound"])?, of(&bounds["upper_bound"])?])
        });
        let plot = read(&directory.join("report/pdf.svg")).and_then(|text| Some(text[text.find("<svg")?..].to_owned()));
        Figures { instructions: counts.get(&title).and_then(Value::as_f64), title, nanos, plot }
    }

    /// The same, so many times.
    fn times(&self, times: u32) -> Figures {
        let title = if times == 1 { self.title.clone() } else { format!("{times} × {}", self.title) };
        let factor = f64::from(times);
        let nanos = self.nanos.map(|nanos| nanos.map(|nanos| nanos * factor));
        let plot = self.plot.clone();
        Figures { title, instructions: self.instructions.map(|count| count * factor), nanos, plot }
    }
}

/// The folder that criterion keeps a benchmark in.
fn criterion_name(name: &str) -> String {
    name.replace(['/', '\\', '?', '"', '*', '<', '>', ':', '|', '^'], "_")
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Writes the page from what the last runs left, and says where it is.
pub fn write() {
    let counts = read(&crate::count::file()).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
    let all: Vec<Figures> = STATIONS.iter().copied().flatten().map(|station| Figures::of(station, &counts)).collect();
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>Rohrpost: a message's way</title><style>{STYLE}</style>\
         <h1>A message's way</h1><p>On {}. Instructions are exact and repeat; nanoseconds are medians of this machine with \
         whatever else ran on it.</p><h2>Where the cycles of one message of 10 KB go</h2>",
        processor()
    );
    let found = |title: &str| all.iter().find(|figures| figures.title == title).expect("a station");
    let mut message: Vec<Figures> = MESSAGE.iter().map(|(title, times)| found(title).times(*times)).collect();
    // Those that the worker turns stand between the two of TCP.
    message.push(glue(found("worker/relay 10 KB, without TCP and disk"), &message[1..5]));
    let sum = |of: fn(&Figures) -> Option<f64>| message.iter().map(of).sum::<Option<f64>>();
    let (instructions, nanos) = (sum(|one| one.instructions), sum(|one| one.nanos.map(|[median, ..]| median)));
    let nanos = nanos.map(|nanos| [nanos; 3]);
    message.push(Figures { title: "all of these".to_owned(), instructions, nanos, plot: None });
    table(&mut page, &message);
    for stations in STATIONS {
        let here = stations.iter().map(|station| found(&station.title()).times(1));
        section(&mut page, stations[0].folder, &here.collect::<Vec<_>>());
    }
    let (names, units) = DISK;
    let disk = names.iter().map(|name| Figures::named("spool", name, units, &Value::Null));
    section(&mut page, "spool, to disk, by message", &disk.collect::<Vec<_>>());
    let file = crate::target().join("bench/report.html");
    std::fs::create_dir_all(crate::target().join("bench")).expect("the target directory can be written");
    std::fs::write(&file, page).expect("the target directory can be written");
    println!("{}", file.display());
}

/// What the worker takes beside the stations that it turns.
fn glue(worker: &Figures, stations: &[Figures]) -> Figures {
    let rest = |of: fn(&Figures) -> Option<f64>| Some(of(worker)? - stations.iter().map(of).sum::<Option<f64>>()?);
    let nanos = rest(|one| one.nanos.map(|[median, ..]| median)).map(|nanos| [nanos; 3]);
    Figures {
        title: "worker/what lies between".to_owned(),
        instructions: rest(|one| one.instructions),
        nanos,
        plot: None,
    }
}

fn section(page: &mut String, heading: &str, figures: &[Figures]) {
    let _ = write!(page, "<h2>{heading}</h2>");
    table(page, figures);
    for Figures { title, nanos, plot, .. } in figures {
        if let (Some([median, low, high]), Some(plot)) = (nanos, plot) {
            let what = format!("{title}: {median:.0} ns, {low:.0} to {high:.0}");
            let _ = write!(page, "<details><summary>{what}</summary>{plot}</details>");
        }
    }
}

fn processor() -> String {
    let text = read(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} processors, {}", name.map_or("of an unknown kind", |(_, name)| name))
}

/// A table with bars, the longest of 300 pixels.
fn table(page: &mut String, figures: &[Figures]) {
    let rows = || figures.iter().map(|one| (&one.title, one.instructions, one.nanos.map(|[median, ..]| median)));
    let instructions_max = rows().filter_map(|(_, count, _)| count).fold(1.0, f64::max);
    let nanos_max = rows().filter_map(|(_, _, nanos)| nanos).fold(1.0, f64::max);
    page.push_str("<table><tr><th>station<th>instructions<th>ns<th>per ns<th>");
    for (title, count, nanos) in rows() {
        let text = |value: Option<f64>, digits| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        let width = |value: Option<f64>, max: f64| value.unwrap_or(0.0) / max * 300.0;
        let _ = write!(
            page,
            "<tr><td>{title}<td>{}<td>{}<td>{}<td><svg width=\"300\" height=\"18\"><rect class=\"i\" y=\"2\" width=\"{:.0}\" \
             height=\"7\"/><rect class=\"n\" y=\"9\" width=\"{:.0}\" height=\"7\"/></svg>",
            text(count, 0),
            text(nanos, 0),
            text(count.zip(nanos).map(|(count, nanos)| count / nanos), 1),
            width(count, instructions_max),
            width(nanos, nanos_max),
        );
    }
    page.push_str(
        "</table><p><svg width=\"10\" height=\"10\"><rect class=\"i\" width=\"10\" height=\"10\"/></svg> instructions \
         <svg width=\"10\" height=\"10\"><rect class=\"n\" width=\"10\" height=\"10\"/></svg> nanoseconds</p>",
    );
}
