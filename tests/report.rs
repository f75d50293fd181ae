//! The report of a release: every published number is in it with its margin, what is withheld says so, and nothing comes from elsewhere.

use sluis::clock::Timestamp;
use sluis::report::{Papers, files};
use sluis::stats::{Contribution, Contributor, Figures, Geography, Grouping, Kind, Ledger, Parameters, Place, TestNoise, Visit, release};

const ZONE: chrono_tz::Tz = chrono_tz::Europe::Amsterdam;
/// A name that breaks a page whose writer forgot to escape it.
const NASTY: &str = "<script>'\"&,\n";

fn place(key: String, town: &str, quarter: &str, max_w: u32) -> Place {
    Place {
        site: if max_w > 22_000 { format!("Plein of {town}") } else { format!("site of {key}") },
        key,
        province: Some("Zuid-Holland".to_owned()),
        municipality: Some(town.to_owned()),
        neighbourhood: Some(quarter.to_owned()),
        max_w: Some(max_w),
        dc: max_w > 22_000,
        home: false,
    }
}

fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for n in 0..300 {
        let (town, quarter) = if n % 3 == 0 { ("Delft", NASTY) } else { ("Den Haag", ["Centrum", "Scheveningen"][n % 2]) };
        places.push(place(format!("AC-{n}"), town, quarter, 11_000));
    }
    places.extend((0..8).map(|n| place(format!("HPC-{n}"), "Den Haag", "Centrum", 300_000)));
    places.extend((0..2).map(|n| place(format!("DC-{n}"), "Delft", NASTY, 50_000)));
    places
}

/// A release of a quarter or a month of `cards` cards, twelve sessions each.
fn figures(period: &str, cards: u32) -> (Figures, Vec<sluis::stats::Entry>) {
    let geography = Geography::new("Nederland", ZONE, &places(), Grouping::default()).unwrap();
    let period: sluis::stats::Period = period.parse().unwrap();
    let (begin, end) = (period.begin(ZONE).0, period.end(ZONE).0);
    let visits = (0..cards).flat_map(|card| (0..12).map(move |n| (card, n))).map(|(card, n)| {
        let mixed = u64::from(card) * 7919 + n * 104_729;
        let fast = mixed.is_multiple_of(7);
        let connected = if fast { 600 + mixed % 2_400 } else { 3_600 + mixed % 30_000 };
        let hour = [8, 9, 12, 17, 18, 18, 19, 22][(mixed % 8) as usize] * 3_600_000;
        let day = (mixed % 28) as i64 * 86_400_000;
        let ended = (begin + day + hour + connected as i64 * 1_000).min(end - 1);
        let mut key = [0; 16];
        key[..4].copy_from_slice(&card.to_be_bytes());
        Visit {
            contributor: Contributor(key),
            place: if fast { format!("HPC-{}", mixed % 8) } else { format!("AC-{}", mixed % 300) },
            begun: Timestamp(ended - connected as i64 * 1_000),
            ended: Timestamp(ended),
            known: Timestamp(ended),
            wh: 4_000 + mixed % 40_000,
            connected,
            charging: connected / 2,
        }
    });
    let visits: Vec<_> = visits.collect();
    let contributions: Vec<_> = Contribution::gather(&visits, period, &geography).collect();
    let tables = sluis::stats::Table::of(period.is_quarter());
    let made = release(
        period,
        tables,
        &geography,
        contributions,
        &Parameters::default(),
        &Ledger::default(),
        period.close(ZONE),
        "test",
        &mut TestNoise::not_for_publication(7),
    );
    let made = made.unwrap();
    (made.figures, made.entries)
}

fn report(period: &str, cards: u32) -> (Figures, Vec<(String, Vec<u8>)>) {
    let (figures, entries) = figures(period, cards);
    let papers =
        Papers { figures: &figures, entries: &entries, cap: Parameters::default().cap, imprint: "Voorbeeld <CPO> & Zn.", scratch: true };
    let files = files(&papers);
    (figures, files)
}

fn file<'a>(files: &'a [(String, Vec<u8>)], name: &str) -> &'a str {
    std::str::from_utf8(&files.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1).unwrap()
}

#[test]
fn every_number_is_in_its_table_with_unit_and_margin() {
    for period in ["2026-Q4", "2026-11"] {
        let (figures, files) = report(period, 900);
        for table in &figures.tables {
            let text = file(&files, &format!("{:?}.csv", table.table).to_lowercase());
            let mut lines = csv::Reader::from_reader(text.as_bytes());
            let head: Vec<String> = lines.headers().unwrap().iter().map(str::to_owned).collect();
            let at = |name: &str| head.iter().position(|h| h == name).unwrap();
            let (value, margin, suppressed, unit, spot) = (at("value"), at("margin_95"), at("suppressed"), at("unit"), at("place"));
            let records: Vec<_> = lines.records().map(Result::unwrap).collect();
            assert_eq!(records.len(), table.rows.len());
            for (record, row) in records.iter().zip(&table.rows) {
                assert_eq!(record[value].parse().ok(), row.value);
                assert_eq!(record[margin].parse().ok(), row.margin);
                assert_eq!(&record[suppressed] == "true", row.value.is_none());
                assert!(["contributors", "sessions", "kWh", "hours"].contains(&&record[unit]));
                assert_eq!(&record[spot], row.area.path.get(3).map_or("", String::as_str), "names come back as they were");
                assert_eq!(record[at("missing")].parse(), Ok(row.missing));
                assert_eq!(record[at("occupancy_permille")].parse().ok(), row.occupancy.map(|of| of.permille));
                assert_eq!(
                    record[at("occupancy_margin_permille")].parse().ok(),
                    row.occupancy.map(|of| of.margin),
                    "every number has its margin"
                );
            }
        }
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_no_name_breaks_it() {
    for period in ["2026-Q4", "2026-11"] {
        let (_, files) = report(period, 900);
        let page = file(&files, "report.html");
        for word in ["http:", "https:", "<script", "<link", "<img", "@import", "url(", " src=", " onload"] {
            assert!(!page.contains(word), "{period}: {word}");
        }
        assert!(page.contains("default-src 'none'"));
        assert!(page.contains("Voorbeeld &lt;CPO&gt; &amp; Zn."));
        assert!(period != "2026-Q4" || page.contains("&lt;script&gt;"), "the name is there, as text");
        // Each element that is opened is closed: a page that is well-formed but for its doctype and void elements.
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
            let name = tag.split([' ', '/']).find(|n| !n.is_empty()).unwrap_or_default();
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed.trim()), "{period}");
            } else if !tag.ends_with('/') && !["!doctype", "meta", "br"].contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn charts_are_named_for_those_who_do_not_see_them_and_ids_are_unique() {
    let (_, files) = report("2026-Q4", 900);
    let page = file(&files, "report.html");
    let ids: Vec<&str> = page.split("aria-labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(ids.len() >= 6, "{ids:?}");
    for id in &ids {
        assert_eq!(page.matches(&format!("<title id=\"{id}\">")).count(), 1, "{id}");
    }
}

/// Regression: the monthly page looked for totals of municipalities, which there are none of, and had no chart by area.
#[test]
fn both_pages_show_sessions_and_energy_by_area() {
    for period in ["2026-Q4", "2026-11"] {
        let (_, files) = report(period, 3_000);
        let page = file(&files, "report.html");
        for heading in ["<h3>Sessions by area</h3>", "<h3>Energy by area</h3>"] {
            assert!(page.contains(heading), "{period}: {heading}");
        }
    }
}

/// For those who do not see the page: each line of a table has its head, and what scrolls can be reached without a pointer and has a name.
#[test]
fn tables_have_heads_and_what_scrolls_can_be_reached() {
    for period in ["2026-Q4", "2026-11"] {
        let (_, files) = report(period, 3_000);
        let page = file(&files, "report.html");
        assert_eq!(page.matches("<th").count() - page.matches("<thead").count(), page.matches("<th scope=").count(), "{period}");
        assert!(page.matches("<tr><th scope=\"row\">").count() > 20);
        assert_eq!(page.matches("class=\"wide").count(), page.matches("tabindex=\"0\" role=\"region\" aria-label=\"").count(), "{period}");
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">") && page.matches("<h1>").count() == 1);
    }
}

/// Regression: the thresholds stood there in thousandths, under the unit of the measure that they are said of and not of the one that decides.
#[test]
fn the_page_says_from_how_much_on_a_cell_is_published() {
    for (period, said) in [("2026-11", "<td class=\"l\">546 sessions</td>"), ("2026-Q4", "<td class=\"l\">64 contributors</td>")] {
        let (_, files) = report(period, 300);
        assert_eq!(file(&files, "report.html").matches(said).count(), 3, "{period}");
    }
}

/// A total that is without cells says without how many, and what is counted nowhere says so.
#[test]
fn what_a_total_lacks_is_told() {
    let (figures, files) = report("2026-Q4", 12);
    let lacking = figures.tables.iter().flat_map(|table| &table.rows).find(|row| row.kind == Kind::Total && row.missing > 0).unwrap();
    let page = file(&files, "report.html");
    assert!(page.contains(&format!("(total, without {} that are withheld)", lacking.missing)));
    assert!(page.contains("withheld, counted in nothing"));
}

#[test]
fn what_is_not_for_publication_says_so_first() {
    let (_, files) = report("2026-Q4", 300);
    let page = file(&files, "report.html");
    assert!(page.find("Not for publication").unwrap() < page.find("<section>").unwrap());
}

#[test]
fn what_is_withheld_is_no_number_anywhere() {
    // So few that no single cell is published.
    let (figures, files) = report("2026-Q4", 12);
    let t1 = figures.tables.iter().find(|t| t.table == sluis::stats::Table::T1).unwrap();
    assert!(t1.rows.iter().any(|row| row.value.is_none()));
    let page = file(&files, "report.html");
    assert!(page.contains("withheld"));
    assert!(!page.contains("NaN") && !page.contains("inf"), "empty charts divide by nothing");
}

#[test]
fn the_same_papers_make_the_same_bytes() {
    assert_eq!(report("2026-Q4", 500).1, report("2026-Q4", 500).1);
}

/// Writes the files out, to be looked at: `SLUIS_REPORT=DIR cargo test --test report -- --ignored`.
#[test]
#[ignore = "for people who want to look at the page"]
#[expect(clippy::disallowed_methods, reason = "a directory to write to")]
fn write_it_out() {
    let dir = std::path::PathBuf::from(std::env::var("SLUIS_REPORT").expect("SLUIS_REPORT names a directory"));
    for period in ["2026-Q4", "2026-11"] {
        std::fs::create_dir_all(dir.join(period)).unwrap();
        for (name, bytes) in report(period, 20_000).1 {
            std::fs::write(dir.join(period).join(name), bytes).unwrap();
        }
    }
}

#[test]
fn days_of_a_period_are_counted_by_the_calendar() {
    let days = |text: &str| text.parse::<sluis::stats::Period>().unwrap().days();
    // 92 days from Thursday, 1 October 2026; 29 from Tuesday, 1 February 2028.
    assert_eq!(days("2026-Q4"), [66, 26]);
    assert_eq!(days("2028-02"), [21, 8]);
}
