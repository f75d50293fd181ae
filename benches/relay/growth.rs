//! What becomes of cost as load, connections and stored rows grow: `cargo bench --bench relay -- growth` draws it into docs/performance.

use crate::load::{self, Way};
use crate::process::{self, Process};
use crate::proxies::{self, Proxy};
use crate::{MOST_HELD, helper, hold_from, part};
use plotters::prelude::*;
use sluis::clock::Timestamp;
use sluis::custody::{Custody, Opening, Role};
use sluis::ocpp::Version;
use sluis::treat::Fact;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Exchanges a second, of all stations together.
const RATES: [u32; 7] = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 24_000];
/// Stations that make them.
const STATIONS: usize = 100;
/// Idle stations; the last ones are held by three gateways, because a process here may have 20,000 descriptors.
const HELD: [usize; 4] = [1_000, 5_000, MOST_HELD, 20_000];
/// Codes and facts in the store.
const ROWS: [usize; 3] = [0, 100_000, 1_000_000];
/// The gateways that hold the most stations.
const GATEWAYS: usize = 3;

/// One line of a chart.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Draws lines over what grows.
fn chart(file: &Path, caption: &str, across: &str, up: &str, lines: &[Line]) {
    let all = || lines.iter().flat_map(|line| &line.points);
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max) * 1.05;
    let area = SVGBackend::new(file, (760, 380)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..most(|p| p.0), 0.0..most(|p| p.1))?;
        chart.configure_mesh().x_desc(across).y_desc(up).light_line_style(WHITE).draw()?;
        for (line, number) in lines.iter().zip(0..) {
            let colour = Palette99::pick(number).to_rgba();
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)).point_size(3))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
        Ok(())
    };
    draw().expect("a chart");
}

/// All of it. Prints the figures behind the charts.
#[expect(clippy::print_stdout, reason = "a bench prints its tables")]
pub(crate) async fn run(upstream: SocketAddr, dir: &Path, charts: &Path, quick: bool) {
    std::fs::create_dir_all(charts).expect("a directory");
    println!("\n### As load grows\n\n{}", rates(upstream, dir, charts, quick).await);
    println!("### As connections grow\n\n{}", connections(upstream, dir, charts, quick));
    println!("### As the store grows\n\n{}", rows(upstream, dir, charts, quick).await);
}

/// CPU and latency of one proxy at one rate: exchanges a second that were reached, cores used, then median and 99th part of messages that no bill
/// needs and of those that one may.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn at(proxy: &Proxy, rate: u32, time: Duration) -> [f64; 6] {
    let way = Way::plain(proxy.listen);
    let cpu = || proxy.process.as_ref().map_or(f64::NAN, Process::cpu);
    let stations = load::under_way(&way, STATIONS).await;
    let (before, start) = (cpu(), Instant::now());
    let [light, billed] = load::paced_by(stations, rate / STATIONS as u32, time).await;
    // Longer than was asked for, where the rate is not reached.
    let took = start.elapsed().as_secs_f64();
    let cores = (cpu() - before) / 1e6 / took;
    [(light.len() + billed.len()) as f64 / took, cores, part(&light, 0.5), part(&light, 0.99), part(&billed, 0.5), part(&billed, 0.99)]
}

async fn rates(upstream: SocketAddr, dir: &Path, charts: &Path, quick: bool) -> String {
    let time = Duration::from_secs(if quick { 1 } else { 4 });
    let all: Vec<Proxy> = proxies::nginx(upstream, dir, false).into_iter().chain([proxies::sluis(upstream, dir, false)]).collect();
    let (mut cores, mut medians, mut tails) = (Vec::new(), Vec::new(), Vec::new());
    let mut text = String::from(
        "| | exchanges/s asked | reached | cores | p50 µs | p99 µs | p50 µs, transaction messages | p99 µs, transaction messages |\n|---|---|---|---|---|---|---|---|\n",
    );
    for proxy in &all {
        at(proxy, 500, Duration::from_secs(1)).await;
        let (mut core, mut median, mut tail) = (Vec::new(), Vec::new(), Vec::new());
        for rate in RATES {
            let [across, used, p50, p99, billed50, billed99] = at(proxy, rate, time).await;
            let _ = writeln!(
                text,
                "| {} | {rate} | {across:.0} | {used:.3} | {p50:.0} | {p99:.0} | {billed50:.0} | {billed99:.0} |",
                proxy.name
            );
            core.push((across, used));
            median.push((across, p50 / 1000.0));
            tail.push((across, p99 / 1000.0));
        }
        let name = if proxy.word == "sluis" { "sluis, strict" } else { proxy.word };
        cores.push(Line { name, points: core });
        medians.push(Line { name, points: median });
        tails.push(Line { name: if proxy.word == "sluis" { "sluis, strict, p99" } else { "nginx, p99" }, points: tail });
    }
    chart(&charts.join("cpu.svg"), "CPU as load grows", "exchanges per second", "cores", &cores);
    medians.extend(tails);
    chart(&charts.join("latency.svg"), "Latency as load grows", "exchanges per second", "ms", &medians);
    text
}

#[expect(clippy::print_stderr, reason = "it takes minutes, so it tells how far it is")]
fn connections(upstream: SocketAddr, dir: &Path, charts: &Path, quick: bool) -> String {
    let mut text = String::from("| connections | resident, MiB | KiB each |\n|---|---|---|\n");
    let mut points = Vec::new();
    // One central system has no more descriptors than one gateway.
    let (_other, line) = helper(&["csms"]);
    let upstreams = [upstream, line.parse().expect("an address")];
    for count in HELD.into_iter().filter(|count| !quick || *count <= 1_000) {
        let gateways: Vec<Proxy> =
            (0..if count > MOST_HELD { GATEWAYS } else { 1 }).map(|number| proxies::sluis(upstreams[number % 2], dir, false)).collect();
        let resident = || gateways.iter().filter_map(|g| g.process.as_ref()).map(Process::resident).sum::<f64>();
        let each = count / gateways.len();
        let mut held = Vec::new();
        for gateway in &gateways {
            drop(hold_from(&gateway.listen.to_string(), 0..20, "used", false, dir));
        }
        let empty = resident();
        for (gateway, number) in gateways.iter().zip(0..) {
            let first = 10_000 + number * 10_000;
            let last = if number + 1 == gateways.len() { count - each * number } else { each };
            held.push(hold_from(&gateway.listen.to_string(), first..first + last, "idle", false, dir));
        }
        let grown = resident() - empty;
        let _ = writeln!(text, "| {count} | {:.1} | {:.2} |", resident() / 1024.0, grown / count as f64);
        eprintln!("{count} held");
        points.push((count as f64, grown / count as f64));
    }
    chart(
        &charts.join("memory.svg"),
        "Resident memory of an idle pair as connections grow",
        "connections",
        "KiB each",
        &[Line { name: "sluis, strict", points }],
    );
    text
}

async fn rows(upstream: SocketAddr, dir: &Path, charts: &Path, quick: bool) -> String {
    let time = Duration::from_secs(if quick { 1 } else { 5 });
    let mut text = String::from(
        "| codes and facts stored | cores at 2,000 exchanges/s | p50 µs | p99 µs | p50 µs, transaction messages | p99 µs, transaction messages |\n|---|---|---|---|---|---|\n",
    );
    let (mut light, mut billed) = (Vec::new(), Vec::new());
    for rows in ROWS.into_iter().filter(|rows| !quick || *rows < 1_000_000) {
        let data = dir.join(format!("rows-{rows}"));
        fill(&data, rows).await;
        let proxy = proxies::sluis_in(upstream, dir, false, &data);
        at(&proxy, 500, Duration::from_secs(1)).await;
        let [_, cores, p50, p99, billed50, billed99] = at(&proxy, 2_000, time).await;
        let _ = writeln!(text, "| {rows} of each | {cores:.3} | {p50:.0} | {p99:.0} | {billed50:.0} | {billed99:.0} |");
        light.push((rows as f64, p50 / 1000.0));
        billed.push((rows as f64, billed50 / 1000.0));
    }
    chart(
        &charts.join("store.svg"),
        "Median latency as the store grows (2,000 exchanges per second)",
        "codes and facts stored",
        "ms",
        &[Line { name: "messages that no bill needs", points: light }, Line { name: "transaction messages", points: billed }],
    );
    text
}

/// A data directory with so many codes in its vault and facts in its journal.
async fn fill(data: &Path, rows: usize) {
    let custody = Custody::open(data, None, &Opening::new(Role::Serve, Timestamp(1_795_000_000_000))).expect("a data directory");
    let list: String = (0..rows).map(|n| format!("{:014X}\n", 0x04_0000_0000_0000 + n)).collect();
    custody.codes(list.as_bytes(), std::io::sink(), None).expect("codes");
    for page in 0..rows / 500 {
        let fact = |n| Fact {
            action: "MeterValues",
            message_id: format!("{page}-{n}"),
            payload: format!(
                r#"{{"connectorId":1,"transactionId":{page},"meterValue":[{{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{{"value":"{n}"}}]}}]}}"#
            ),
        };
        let facts = (0..500).map(fact).collect();
        custody.journal.submit("CP-0", Version::V16, Timestamp(1_795_000_000_000), facts).durable().await.expect("facts");
    }
}

/// That many cores there are is what figures of this machine are read with.
pub(crate) fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("", |(_, name)| name.trim());
    format!("{} core(s) of {model}", process::cores())
}
