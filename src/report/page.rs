//! The page: what happened, where, when, and how the numbers were made.

use super::Papers;
use super::chart::{self, Point, Title};
use super::words::{self, escaped, number, with_margin};
use crate::stats::display::{advantage, epsilon};
use crate::stats::{Class, Kind, Level, Measure, Method, Row, Table, TableFigures};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Bars of a chart; the rest is in the files.
const MOST_BARS: usize = 20;
/// Lines of a table on the page; the rest is in the files.
const MOST_LINES: usize = 400;

/// The page as HTML, whole.
pub(super) fn page(papers: &Papers<'_>) -> String {
    let figures = papers.figures;
    let title = format!("Charging sessions, {}", spoken(&figures.period.to_string()));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{0}</title><style>{1}</style></head><body>\n<header><h1>{0}</h1><p class=\"soft\">{2}</p></header>\n<main>\n",
        escaped(&title),
        include_str!("page.css"),
        escaped(papers.imprint)
    );
    warnings(&mut out, papers);
    reading(&mut out, figures.method, figures.contributors);
    for table in &figures.tables {
        match table.table {
            Table::T0 | Table::T1 => by_area(&mut out, table),
            Table::T2 => shape(&mut out, table, figures.period.days()),
            Table::T3 => histograms(&mut out, table),
        }
    }
    method(&mut out, papers);
    out.push_str("</main></body></html>\n");
    out
}

/// `2026-Q4` as `quarter 4 of 2026`, `2026-11` as `November 2026`.
fn spoken(period: &str) -> String {
    const MONTHS: [&str; 12] =
        ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
    match period.split_once('-') {
        Some((year, part)) if part.starts_with('Q') => format!("quarter {} of {year}", &part[1..]),
        Some((year, part)) => {
            let month = part.parse::<usize>().ok().and_then(|m| MONTHS.get(m.checked_sub(1)?));
            month.map_or_else(|| period.to_owned(), |month| format!("{month} {year}"))
        }
        None => period.to_owned(),
    }
}

fn warnings(out: &mut String, papers: &Papers<'_>) {
    if papers.figures.not_for_publication || papers.scratch {
        out.push_str("<p class=\"warn\">Not for publication. This release was made for a trial: ");
        out.push_str(match (papers.figures.not_for_publication, papers.scratch) {
            (true, true) => "its noise can be repeated, and it stands in no real ledger.</p>\n",
            (true, false) => "its noise can be repeated.</p>\n",
            (false, _) => "it stands in no real ledger, so its budget protects nobody.</p>\n",
        });
    }
    if papers.figures.method == Method::Exact {
        out.push_str("<p class=\"warn\">These figures are exact but for rounding. They are not differentially private: protection rests on suppression alone, and somebody who knows much can learn more.</p>\n");
    }
}

fn reading(out: &mut String, method: Method, contributors: u32) {
    out.push_str("<p>");
    if method == Method::DifferentiallyPrivate {
        let _ = write!(
            out,
            "Each number was changed by a random amount before it was published, so that nobody can tell from this page whether any one person charged at all. The true number lies within the margin (±, and the whiskers and bands of the charts) in 95 of 100 cases. Of what one person does in the period no more than a bound is counted, so the heaviest use shows as less than it was. What fewer than about {contributors} people made is withheld, and counted in the totals of a wider area where that is large enough. Numbers do not add up more exactly than their margins."
        );
    } else {
        let _ = write!(
            out,
            "Numbers are rounded. What fewer than {contributors} people made, what one of them made most of, and what could be worked out from the rest, is withheld."
        );
    }
    out.push_str("</p>\n");
}

fn point(row: &Row) -> Option<Point> {
    Some(Point { value: row.value? as f64, margin: row.margin.unwrap_or(0) as f64 })
}

/// T0 and T1: the headline, then sessions and energy by area.
fn by_area(out: &mut String, table: &TableFigures) {
    let heading = if table.table == Table::T0 { "How much was charged" } else { "Where it was used" };
    let _ = writeln!(out, "<section><h2>{heading}</h2>");
    let totals: Vec<&Row> =
        table.rows.iter().filter(|r| r.kind == Kind::Total && r.area.level == Level::Country && r.class.is_none()).collect();
    if !totals.is_empty() {
        out.push_str("<ul class=\"heads\">");
        for row in &totals {
            let (unit, value) = (words::unit(row.measure.unit()), row.value.map_or("withheld".to_owned(), number));
            let margin = row.margin.map_or(String::new(), |m| format!("<span class=\"soft\">± {}</span>", number(m as i64)));
            let _ = write!(out, "<li>{}<b>{value}</b> {unit} {margin}</li>", words::measure(row.measure));
        }
        out.push_str("</ul>\n");
        if totals.iter().any(|row| row.measure == Measure::Contributors) {
            out.push_str("<p class=\"soft\">A contributor is a contract, or a card without one, and counts once in every area where it charged.</p>\n");
        }
    }
    by_class(out, table);
    for measure in [Measure::Sessions, Measure::Energy] {
        places(out, table, measure);
    }
    all_numbers(out, table);
    out.push_str("</section>\n");
}

/// The country by class, where there is more than one.
fn by_class(out: &mut String, table: &TableFigures) {
    let of = |measure| {
        let rows = table.rows.iter().filter(move |r| r.measure == measure && r.kind == Kind::Total && r.area.level == Level::Country);
        rows.filter_map(|r| Some((words::class(Some(r.class?)).to_owned(), point(r)?))).collect::<Vec<_>>()
    };
    for measure in [Measure::Sessions, Measure::Energy] {
        let items = of(measure);
        if items.len() > 1 {
            let text = format!("{} by class", words::measure(measure));
            figure(out, &format!("{:?}-{measure:?}-class", table.table), &text, measure, "", |title| chart::bars(title, &items));
        }
    }
}

/// The areas with the most, each by its class.
fn places(out: &mut String, table: &TableFigures, measure: Measure) {
    let mut items: Vec<(String, Point)> = Vec::new();
    for row in table.rows.iter().filter(|r| r.measure == measure) {
        // Single cells: neither table has a total of a single area that is not one.
        if let Some(point) = point(row).filter(|_| row.kind == Kind::Cell) {
            let class = row.class.map_or(String::new(), |class| format!(" ({})", words::class_code(Some(class)).to_uppercase()));
            items.push((format!("{}{class}", words::area(&row.area)), point));
        }
    }
    if items.is_empty() {
        return;
    }
    items.sort_by(|a, b| b.1.value.total_cmp(&a.1.value).then_with(|| a.0.cmp(&b.0)));
    let more = items.len().saturating_sub(MOST_BARS);
    items.truncate(MOST_BARS);
    let text = format!("{} by area", words::measure(measure));
    let note = if more > 0 { format!("The {MOST_BARS} areas with the most; {more} more are in the files.") } else { String::new() };
    figure(out, &format!("{:?}-{measure:?}-area", table.table), &text, measure, &note, |title| chart::bars(title, &items));
}

fn figure(out: &mut String, id: &str, text: &str, measure: Measure, note: &str, draw: impl FnOnce(&Title<'_>) -> String) {
    let unit = words::unit(measure.unit());
    let drawn = draw(&Title { id, text, unit });
    frame(out, text, &format!("{unit}. {}", escaped(note)), &drawn);
}

/// A chart under its heading, in a box that scrolls where the screen is narrower than its words can be read.
fn frame(out: &mut String, text: &str, note: &str, drawn: &str) {
    let _ = write!(out, "<figure><figcaption><h3>{}</h3>{note}</figcaption>", escaped(text));
    let _ = write!(out, "<div class=\"wide chart\" {}>{drawn}</div></figure>", scrolling(&format!("Chart: {text}")));
}

/// What makes a box that scrolls reachable for those who have no pointer.
fn scrolling(name: &str) -> String {
    format!("tabindex=\"0\" role=\"region\" aria-label=\"{}\"", escaped(name))
}

/// T2: the load of a day, for the country by class.
fn shape(out: &mut String, table: &TableFigures, days: [u32; 2]) {
    out.push_str("<section><h2>When it was charged</h2>\n");
    out.push_str("<p>Averages of a day by local hour; weekdays are Monday to Friday.</p>\n");
    for class in [Class::Ac, Class::Dc, Class::Hpc] {
        for (measure, what, unit) in
            [(Measure::EnergyByHour, "Average load", "kW"), (Measure::ConnectedByHour, "Vehicles connected", "vehicles, on average")]
        {
            let mut bins = [None; 48];
            for row in table.rows.iter().filter(|r| r.measure == measure && r.class == Some(class) && is_whole(r)) {
                if let (Some(bin), Some(point)) = (row.bin, point(row)) {
                    let days = f64::from(days[usize::from(bin >= 24)].max(1));
                    if let Some(slot) = bins.get_mut(usize::from(bin)) {
                        *slot = Some(Point { value: point.value / days, margin: point.margin / days });
                    }
                }
            }
            let half = |from: usize| bins[from..from + 24].iter().copied().collect::<Option<Vec<_>>>();
            if let (Some(weekday), Some(weekend)) = (half(0), half(24)) {
                let text = format!("{what}, {}", words::class(Some(class)));
                let id = format!("T2-{measure:?}-{class:?}");
                let drawn = chart::curves(&Title { id: &id, text: &text, unit }, &[("weekdays", weekday), ("weekends", weekend)]);
                frame(out, &text, unit, &drawn);
            }
        }
    }
    all_numbers(out, table);
    out.push_str("</section>\n");
}

/// T3: durations, energies, hours of arrival, by class.
fn histograms(out: &mut String, table: &TableFigures) {
    out.push_str("<section><h2>How sessions are</h2>\n");
    for measure in [Measure::ByArrival, Measure::ByDuration, Measure::ByEnergy] {
        for class in [Class::Ac, Class::Dc, Class::Hpc] {
            let rows = table.rows.iter().filter(|r| r.measure == measure && r.class == Some(class) && is_whole(r));
            let mut items: BTreeMap<u8, (String, Point)> = BTreeMap::new();
            for row in rows {
                if let (Some(bin), Some(point)) = (row.bin, point(row)) {
                    let name = measure.bin_name(bin).unwrap_or_default();
                    let name =
                        name.trim_end_matches(" min").trim_end_matches(" kWh").replace(" min or more", "+").replace(" kWh or more", "+");
                    items.insert(bin, (name, point));
                }
            }
            if !items.is_empty() {
                let note = match measure {
                    Measure::ByDuration => "By minutes connected.",
                    Measure::ByEnergy => "By kWh taken.",
                    _ => "By local hour.",
                };
                let items: Vec<_> = items.into_values().collect();
                let text = format!("{}, {}", words::measure(measure), words::class(Some(class)));
                figure(out, &format!("T3-{measure:?}-{class:?}"), &text, measure, note, |title| chart::columns(title, &items));
            }
        }
    }
    all_numbers(out, table);
    out.push_str("</section>\n");
}

/// Of the country: a total, or the only cell there is.
fn is_whole(row: &Row) -> bool {
    row.area.level == Level::Country && matches!(row.kind, Kind::Total | Kind::Cell)
}

/// The numbers behind the charts, in a table that opens.
fn all_numbers(out: &mut String, table: &TableFigures) {
    let name = format!("{:?}", table.table).to_lowercase();
    let caption = if table.measures.iter().any(|of| of.variance.is_some()) {
        "A withheld number is counted in the remainder of the area around it, or where it says so, in nothing."
    } else {
        "A withheld number is counted in the totals that are shown."
    };
    let _ = write!(
        out,
        "<details><summary>The numbers (also in {name}.csv)</summary><div class=\"wide\" {}><table><caption>{caption}</caption><thead><tr><th scope=\"col\">Area</th><th scope=\"col\" class=\"l\">Class</th><th scope=\"col\" class=\"l\">What</th><th scope=\"col\">Number ± margin</th><th scope=\"col\" class=\"l\">Unit</th></tr></thead><tbody>",
        scrolling(&format!("The numbers of {name}.csv"))
    );
    let exact = table.measures.iter().all(|of| of.variance.is_none());
    for row in table.rows.iter().take(MOST_LINES) {
        let note = match row.kind {
            // What an exact total lacks is in it all the same.
            Kind::Total if row.missing > 0 && !exact => format!(" (total, without {} that are withheld)", row.missing),
            Kind::Total => " (total)".to_owned(),
            Kind::Cell => String::new(),
            Kind::Remainder => " (withheld areas together)".to_owned(),
            Kind::CutOff => " (cut off at zero)".to_owned(),
        };
        let value = match row.value {
            Some(value) => with_margin(value, row.margin),
            None if row.kind == Kind::Cell && row.counted_in.is_none() && !exact => "withheld, counted in nothing".to_owned(),
            None => "withheld".to_owned(),
        };
        let bin = row.bin.and_then(|bin| row.measure.bin_name(bin)).map_or(String::new(), |bin| format!(", {bin}"));
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}{note}</th><td class=\"l\">{}</td><td class=\"l\">{}{}</td><td>{value}</td><td class=\"l\">{}</td></tr>",
            escaped(&words::area(&row.area)),
            words::class(row.class),
            words::measure(row.measure),
            escaped(&bin),
            words::unit(row.measure.unit())
        );
    }
    out.push_str("</tbody></table></div>");
    if let Some(more) = table.rows.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        let _ = write!(out, "<p>{more} more lines are in {name}.csv.</p>");
    }
    out.push_str("</details>\n");
}

/// From how much on a cell is published, in the measure that decides over it.
fn threshold_of(table: Table, measure: Measure, threshold: u64) -> String {
    let unit = table.gate(measure).unit();
    let whole = if measure.bins() > 1 { " in all bins" } else { "" };
    format!("{} {}{whole}", number(i64::try_from(threshold.div_ceil(unit.size())).unwrap_or(i64::MAX)), words::unit(unit))
}

/// Method, parameters, budget, proof.
fn method(out: &mut String, papers: &Papers<'_>) {
    let figures = papers.figures;
    out.push_str("<section><h2>How the numbers were made</h2>\n");
    if figures.method == Method::DifferentiallyPrivate {
        let rho = crate::stats::Rho(figures.tables.iter().map(|table| table.rho.0).fold(0, u32::saturating_add));
        let year = papers.entries.last().map_or(rho, |entry| entry.year);
        let _ = writeln!(
            out,
            "<p>Discrete Gaussian noise, drawn exactly from the operating system's generator, protects a contributor (a contract, or a card without one) with all its sessions of the period (zero-concentrated differential privacy). What one contributor counts for is bounded (R). This release costs ρ = {rho}; the year so far costs {year} of at most {}. ρ of the year means ε = {:.2} at δ = 10<sup>−6</sup>: somebody who knows everything but whether one person took part guesses right in at most {:.1} of 100 cases, where 50 is chance. No release is ever made twice, and none is revised. The secret and the contributions behind it are destroyed.</p>",
            papers.cap,
            epsilon(year),
            50.0 * (1.0 + advantage(year))
        );
    }
    if figures.method == Method::Exact {
        let _ = writeln!(
            out,
            "<p>A number is withheld if fewer than {} contributors made it, or if the second largest of them could tell the largest one's part to within ten percent. More is withheld, until each withheld number could be at least a fifth smaller or larger for all that follows from those that are shown. The rest is rounded. The manifest has the rules.</p>",
            figures.contributors
        );
    }
    let _ = write!(out, "<div class=\"wide\" {}>", scrolling("Parameters"));
    out.push_str("<table><caption>Parameters, all public</caption><thead><tr><th scope=\"col\">Table</th><th scope=\"col\" class=\"l\">What</th><th scope=\"col\">R</th><th scope=\"col\">σ</th><th scope=\"col\">ρ</th><th scope=\"col\">Rounded to</th><th scope=\"col\" class=\"l\">Unit</th><th scope=\"col\" class=\"l\">A cell is published from</th></tr></thead><tbody>");
    for table in &figures.tables {
        for of in &table.measures {
            let size = of.unit.size() as f64;
            let sigma =
                of.variance.map_or("–".to_owned(), |v| format!("{:.1}", (v.numerator() as f64 / v.denominator() as f64).sqrt() / size));
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{:?}</th><td class=\"l\">{}</td><td>{:.2}</td><td>{sigma}</td><td>{}</td><td>{}</td><td class=\"l\">{}</td><td class=\"l\">{}</td></tr>",
                table.table,
                words::measure(of.measure),
                (of.square as f64).sqrt() / size,
                of.rho,
                of.base,
                words::unit(of.unit),
                of.threshold.map_or("–".to_owned(), |threshold| threshold_of(table.table, of.measure, threshold))
            );
        }
    }
    out.push_str("</tbody></table></div>\n");
    if !papers.entries.is_empty() {
        out.push_str("<h3>Ledger</h3><ul>");
        for entry in papers.entries {
            let _ = write!(
                out,
                "<li>Entry {}: table {:?} of {}, ρ = {}, <code>{}</code></li>",
                entry.number, entry.table, entry.period, entry.rho, entry.digest
            );
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<p><code>sluis stats verify</code> checks signature, ledger and totals of this release.</p></section>\n");
}
