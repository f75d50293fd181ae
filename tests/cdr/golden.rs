//! The golden CDRs of docs/cdr.md: made again and compared, so that the page cannot rot. `SLUIS_GOLDEN=write` writes them anew.

use super::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cdr.md");

/// An evening and a night in Gouda: charged until ten past ten, idle for more than an hour, charged on at the night's price, idle again.
fn evening() -> ChargingSession {
    let start = moment("2026-11-03T17:02:11Z");
    let ms = |text: &str| (moment(text) - start) * 1000;
    let [full, resumed, done, end] =
        ["2026-11-03T21:10:00Z", "2026-11-03T22:20:00Z", "2026-11-03T23:00:00Z", "2026-11-03T23:40:02Z"].map(ms);
    let readings = [(0, Decimal::ZERO), (full, Decimal::from(14_000)), (resumed, Decimal::from(14_000)), (done, Decimal::new(153_425, 1))];
    session(start * 1000, end, &readings, &[(full, resumed), (done, end)])
}

fn goldens() -> BTreeMap<&'static str, String> {
    let tariffs = Tariffs::parse(include_str!("../../config/tariffs.json")).unwrap();
    let sites = sites();
    let cdr = |station: &str| {
        let site = sites.find(station, 1, 1).unwrap();
        let terms = Terms { tariff: site.tariff.as_ref().map(|id| tariffs.find(id).unwrap()), zone: site.zone, currency: "EUR" };
        Cdr { place: site.place.clone(), ..golden(bill(&evening(), &terms).unwrap()) }
    };
    let public = cdr("CS-1");
    let home = Cdr { id: "b1a7c1de-90f4-4f39-a4c6-5d8e0e9f2a11".to_owned(), ..cdr("HOME-1") };
    let credit = public.credit(format!("{}-C", public.id), Timestamp(moment("2026-11-20T09:00:00Z") * 1000)).unwrap();
    let write = |cdr: &Cdr, kind, shape| pretty(&cdr.write(&token(kind), shape, &alias));
    BTreeMap::from([
        ("OCPI 2.1.1", write(&public, TokenKind::Rfid, Ocpi::V211)),
        ("OCPI 2.2.1", write(&public, TokenKind::Rfid, Ocpi::V221)),
        ("OCPI 2.3.0, a contract read from the vehicle", write(&public, TokenKind::Emaid, Ocpi::V230)),
        ("OCPI 2.2.1, at a home", write(&home, TokenKind::Rfid, Ocpi::V221)),
        ("OCPI 2.2.1, credit", write(&credit, TokenKind::Rfid, Ocpi::V221)),
    ])
}

/// Lines for people: the first two levels one field a line. The text between stays as it is, numbers above all.
fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    for c in json.chars() {
        let indent = |depth: usize| format!("\n{}", "  ".repeat(depth));
        if !quoted && matches!(c, '}' | ']') {
            depth -= 1;
            if depth < 2 {
                out += &indent(depth);
            }
        }
        out.push(c);
        if quoted {
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => quoted = true,
            '{' | '[' => {
                depth += 1;
                if depth <= 2 {
                    out += &indent(depth);
                }
            }
            ',' if depth <= 2 => out += &indent(depth),
            ',' | ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

#[test]
fn the_documented_cdrs_are_what_is_written() {
    let mut page = std::fs::read_to_string(PAGE).unwrap();
    for (title, json) in goldens() {
        let (head, rest) = page.split_once(&format!("### {title}\n")).unwrap_or_else(|| panic!("{title} is not in the page"));
        let (before, rest) = rest.split_once("```json\n").unwrap();
        let (block, rest) = rest.split_once("\n```").unwrap();
        if std::env::var_os("SLUIS_GOLDEN").is_some() {
            page = format!("{head}### {title}\n{before}```json\n{json}\n```{rest}");
        } else {
            assert_eq!(block, json, "{title}: SLUIS_GOLDEN=write cargo test --test cdr writes it anew");
        }
    }
    if std::env::var_os("SLUIS_GOLDEN").is_some() {
        std::fs::write(PAGE, page).unwrap();
    }
}

/// Every name that may stand in a CDR, by shape. Nothing else ever leaves (R01, R09).
#[test]
fn a_cdr_has_no_other_fields_than_these() {
    let shared = "id start_date_time auth_method address city postal_code country coordinates latitude longitude name evse_id currency tariffs elements \
        price_components type price step_size restrictions start_time end_time start_date end_date min_kwh max_kwh min_duration max_duration day_of_week \
        charging_periods dimensions volume total_cost total_energy total_time total_parking_time last_updated";
    let old = "stop_date_time auth_id location evses uid status connectors standard format power_type voltage amperage tariff_id";
    let since_22 = "country_code party_id end_date_time session_id cdr_token uid contract_id authorization_reference cdr_location state evse_uid connector_id \
        connector_standard connector_format connector_power_type tariff_id vat min_price max_price total_fixed_cost total_energy_cost total_time_cost \
        total_parking_cost credit credit_reference_id";
    let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<String>>();
    let allowed = |shape: Ocpi| match shape {
        Ocpi::V211 => &names(shared) | &names(old),
        Ocpi::V221 => &(&names(shared) | &names(since_22)) | &names("excl_vat incl_vat"),
        Ocpi::V230 => &(&names(shared) | &names(since_22)) | &names("before_taxes after_taxes taxes amount tax_included"),
    };
    for (shape, text) in generated() {
        let mut found = BTreeSet::new();
        keys(&serde_json::from_str(&text).unwrap(), &mut found);
        let more: Vec<_> = found.difference(&allowed(shape)).cloned().collect();
        assert!(more.is_empty(), "{shape:?}: {more:?}");
        // Neither the station, nor the code that the central system knows.
        for secret in ["Z3TESTTESTTESTTESTTS", "CS-1"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.insert(name.clone());
            keys(value, found);
        }),
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

/// CDRs of made-up sessions and tariffs at every documented site, the same in every run.
fn generated() -> Vec<(Ocpi, String)> {
    let mut runner = TestRunner::deterministic();
    let sites = sites();
    let mut places: Vec<_> = sites.iter().map(|(_, site)| site.place.clone()).collect();
    places.sort_by(|a, b| a.evse_uid.cmp(&b.evse_uid));
    let mut list = Vec::new();
    for at in 0..60 {
        let session = charging_session().new_tree(&mut runner).unwrap().current();
        let tariffs = Tariffs::parse(&json(&tariff().new_tree(&mut runner).unwrap().current())).unwrap();
        let terms = Terms { tariff: tariffs.find("t").filter(|_| at % 10 != 0), zone: Tz::Europe__Amsterdam, currency: "EUR" };
        let kinds = [TokenKind::Rfid, TokenKind::Emaid, TokenKind::AppUser, TokenKind::AdHocUser, TokenKind::Other];
        let methods = [AuthMethod::Whitelist, AuthMethod::AuthRequest, AuthMethod::Command];
        let mut cdr = golden(bill(&session, &terms).unwrap());
        cdr.place = places[at % places.len()].clone();
        cdr.auth_method = methods[at % methods.len()];
        cdr.authorization_reference = (at % 4 == 0).then(|| "A1B2".to_owned());
        for shape in Ocpi::ALL {
            list.push((shape, cdr.write(&token(kinds[at % kinds.len()]), shape, &alias)));
        }
        let credit = cdr.credit(format!("{}-C", cdr.id), cdr.last_updated).unwrap();
        list.push((Ocpi::V221, credit.write(&token(TokenKind::Rfid), Ocpi::V221, &alias)));
        list.push((Ocpi::V230, credit.write(&token(TokenKind::Rfid), Ocpi::V230, &alias)));
    }
    list
}

/// For the models that others wrote: tests/interop/test_cdr_models.py reads what this writes.
#[test]
fn generated_cdrs_are_laid_out_for_the_interop_tests() {
    let lines: Vec<String> = generated().into_iter().map(|(shape, text)| format!("{}\t{text}\n", shape.number())).collect();
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/cdrs.tsv"), lines.concat()).unwrap();
}
