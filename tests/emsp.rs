//! The e-MSP's side: its own key reads its own CDRs, and nobody else's.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use proptest::prelude::*;
use sluis::clock::Timestamp;
use sluis::custody::{Custody, Opening, Role};
use sluis::emsp::{COLUMNS, Customers, KeyFileError, Layout, Resolver, read_share, write_share};
use sluis::identity::{Codes, Declared, Epoch, Identifier, Sighting};
use sluis::keys::{Domain, DomainShare, ShareError};
use sluis::pseudonym::Pseudonym;
use sluis::recipient::{Ocpi, Party, Recipient, Recipients};
use sluis::secret::Sensitive;
use sluis::vault::tokens::{EmspToken, Ownership};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn party(text: &str) -> Party {
    Party::parse(text).unwrap()
}

fn card(text: &str) -> Identifier {
    Identifier::from_wire(text, Declared::Undeclared)
}

/// A gateway with two e-MSPs, NL-AAA and DE-BBB.
struct World {
    _dir: tempfile::TempDir,
    custody: Custody,
    recipients: Recipients,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let custody = Custody::open(dir.path(), None, &Opening::new(Role::Beside, NOW)).unwrap();
    let recipient = |text: &str| Recipient {
        party: party(text),
        name: text.to_owned(),
        agreement: "1".to_owned(),
        valid: [None, None],
        version: Ocpi::V221,
        push: true,
        ranges: Vec::new(),
    };
    World { _dir: dir, custody, recipients: Recipients::new(["NL-AAA", "DE-BBB"].map(recipient).to_vec()) }
}

impl World {
    async fn token(&self, owner: &str, uid: &str, contract: &str) {
        let token = EmspToken {
            owner: party(owner),
            kind: "RFID".to_owned(),
            uid: Sensitive::new(uid.to_owned()),
            contract: Sensitive::new(contract.to_owned()),
            group: None,
            issuer: "someone".to_owned(),
            valid: true,
            whitelist: "ALWAYS".to_owned(),
            language: None,
            updated: NOW,
            updated_text: NOW.rfc3339(),
        };
        self.custody.vault.keep_token(&token).await.unwrap();
    }

    /// Somebody shows a card at a station; what billing then learns of it.
    async fn charges(&self, spelled: &str) -> Ownership {
        let identifier = card(spelled);
        let seen = Sighting { code: self.custody.keys.code(&identifier, None), identifier };
        self.custody.vault.record(std::slice::from_ref(&seen)).await.unwrap();
        self.custody.vault.owner(seen.code.as_str(), &self.recipients).unwrap().unwrap()
    }

    fn share(&self, owner: &str) -> DomainShare {
        self.custody.keys.share(&party(owner), NOW)
    }
}

/// A CDR as its owner gets it.
fn cdr(id: usize, owner: &Ownership) -> String {
    format!(
        r#"{{"id":"{id}","start_date_time":"2026-11-24T08:00:00Z","end_date_time":"2026-11-24T09:00:00Z","cdr_token":{{"uid":"{}","contract_id":"{}"}},"currency":"EUR","total_cost":{{"excl_vat":4.10,"incl_vat":4.961}},"total_energy":15.342}}"#,
        owner.uid, owner.contract
    )
}

fn resolve(shares: &[DomainShare], tokens: &str, cdrs: &str) -> (Vec<String>, (u64, u64)) {
    let customers = Customers::read(tokens.as_bytes(), shares).unwrap();
    let mut table = Vec::new();
    let mut resolver = Resolver::new(&customers, Layout::Csv, &mut table).unwrap();
    resolver.read(cdrs.as_bytes()).unwrap();
    let done = resolver.finish().unwrap();
    (String::from_utf8(table).unwrap().lines().skip(1).map(str::to_owned).collect(), (done.cdrs, done.found))
}

#[tokio::test]
async fn an_e_msp_reads_its_own_cdrs_in_every_spelling_of_its_list() {
    let world = world();
    world.token("NL-AAA", "04A22B6A5C1180", "NL-AAA-C00000001").await;
    world.token("DE-BBB", "7BE9D1F4", "DE-BBB-C00000002").await;
    let (ours, theirs) = (world.charges("04:a2:2b:6a:5c:11:80").await, world.charges("7be9d1f4").await);
    let share = world.share("NL-AAA");
    assert_eq!(share.codes(&card("04 A2 2B 6A 5C 11 80")).collect::<Vec<_>>(), [ours.uid], "the same code as in the CDR");
    assert_eq!(share.codes(&card("nlaaac00000001")).collect::<Vec<_>>(), [ours.contract]);
    let cdrs = format!("[{},{}]", cdr(1, &ours), cdr(2, &theirs));
    let read = |tokens: &str| resolve(std::slice::from_ref(&share), tokens, &cdrs);
    let amounts = "2026-11-24T08:00:00Z,2026-11-24T09:00:00Z,15.342,4.10,4.961,EUR";
    let foreign = format!("2,{amounts},,,,no");
    for uid in ["04A22B6A5C1180", "04:a2:2b:6a:5c:11:80", "04-A2-2B-6A-5C-11-80"] {
        let expected = [format!("1,{amounts},{uid},NL-AAA-C00000001,\"Jansen, 1001\",yes"), foreign.clone()];
        assert_eq!(read(&format!("uid,contract_id,customer\n{uid},NL-AAA-C00000001,\"Jansen, 1001\"\n")), (expected.to_vec(), (2, 1)));
    }
    // The card is not in the list, but the contract is.
    let contract = read("Customer,CONTRACT_ID,issuer,UID\r\n1001,NL*AAA*C00000001,x,04DEADBEEF0080\r\n").0;
    assert_eq!(contract, [format!("1,{amounts},,NL*AAA*C00000001,1001,yes"), foreign.clone()]);
    // A CDR of another e-MSP's customer looks like one of nobody: even to an e-MSP that knows that very card.
    let knows = read("uid,customer\n7BE9D1F4,1002\n").0;
    assert_eq!(knows, [format!("1,{amounts},,,,no"), foreign]);
}

#[tokio::test]
async fn a_card_or_contract_of_two_customers_is_not_guessed() {
    let world = world();
    world.token("NL-AAA", "04A22B6A5C1180", "NL-AAA-C00000001").await;
    let ours = world.charges("04A22B6A5C1180").await;
    let last = |tokens: &str| {
        let (rows, _) = resolve(&[world.share("NL-AAA")], tokens, &cdr(1, &ours));
        rows[0].split_once("EUR,").unwrap().1.to_owned()
    };
    assert_eq!(last("uid,customer\n04A22B6A5C1180,1\n04:A2:2B:6A:5C:11:80,2\n"), ",,,no");
    assert_eq!(last("uid,customer\n04A22B6A5C1180,1\n04:A2:2B:6A:5C:11:80,1\n"), "04A22B6A5C1180,,1,yes");
    assert_eq!(last("uid,contract_id,customer\nAAAAAAAA,NLAAAC00000001,1\nBBBBBBBB,NLAAAC00000001,2\n"), ",NLAAAC00000001,,yes");
}

#[tokio::test]
async fn colluding_e_msps_find_nothing_to_join_on() {
    let world = world();
    let (mut nl, mut de, mut cards) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for n in 0..20u32 {
        let uid = format!("{:08X}", n.wrapping_mul(0x9E37_79B9));
        world.token(if n % 2 == 0 { "NL-AAA" } else { "DE-BBB" }, &uid, &format!("NLAAAC{n:08}")).await;
        let owner = world.charges(&uid).await;
        let stream = if n % 2 == 0 { &mut nl } else { &mut de };
        stream.extend([owner.uid.to_string(), owner.contract.to_string()]);
        cards.push(uid);
    }
    assert!(nl.is_disjoint(&de) && nl.len() == 20 && de.len() == 20);
    // A card of both: neither its code nor any part of it past mark and epoch is the same in both domains.
    let shares = [world.share("NL-AAA"), world.share("DE-BBB")];
    for uid in &cards {
        let [one, other] = shares.each_ref().map(|share| share.codes(&card(uid)).next().unwrap());
        let (one, other) = (one.as_str(), other.as_str());
        assert!((2..=31 - 6).all(|at| !other.contains(&one[at..at + 6])), "{one} {other}");
    }
    // Both shares in one hand recognise each stream by its owner's only, and with all cards of both they resolve it by its owner's only.
    for (share, own, foreign) in [(&shares[0], &nl, &de), (&shares[1], &de, &nl)] {
        assert!(own.iter().all(|code| share.recognise(&code.to_lowercase()).is_some()));
        assert!(foreign.iter().all(|code| share.recognise(code).is_none()));
        let made: BTreeSet<String> =
            cards.iter().flat_map(|uid| share.codes(&card(uid)).collect::<Vec<_>>()).map(|code| code.to_string()).collect();
        assert!(made.is_disjoint(foreign));
    }
}

#[test]
fn trying_every_card_under_one_share_never_meets_a_code_of_another_domain() {
    let world = world();
    let share = world.share("NL-AAA");
    let keys = &world.custody.keys;
    let target = card("04A22B6A");
    let others = [Domain::emsp("DE", "BBB").unwrap(), Domain::Csms, Domain::Quality];
    let targets: BTreeSet<Pseudonym> = others.iter().map(|domain| keys.code_in(domain, &target, None)).collect();
    // The neighbourhood of the true card, itself included: a stranger's key learns nothing, however well it guesses.
    let many = if cfg!(debug_assertions) { 4_096 } else { 1 << 20 };
    for n in 0..many {
        let guess = card(&format!("{:08X}", 0x04A2_2B6Au32 ^ n));
        assert!(share.codes(&guess).all(|code| !targets.contains(&code)));
    }
    assert!(targets.iter().all(|code| share.recognise(code.as_str()).is_none()));
}

#[tokio::test]
async fn cdrs_of_two_epochs_both_resolve_and_a_destroyed_one_by_its_old_share_only() {
    let world = world();
    world.token("NL-AAA", "04A22B6A5C1180", "NL-AAA-C00000001").await;
    let old = world.charges("04A22B6A5C1180").await;
    let first = world.share("NL-AAA");
    assert_eq!(world.custody.rotate(NOW), Ok(Epoch(1)));
    let new = world.charges("04A22B6A5C1180").await;
    assert_ne!((old.uid, old.contract), (new.uid, new.contract));
    let both = world.share("NL-AAA");
    assert_eq!(both.epochs().collect::<Vec<_>>(), [Epoch(0), Epoch(1)]);
    let cdrs = format!("{}\n{}\n", cdr(1, &old), cdr(2, &new));
    let found = |shares: &[DomainShare]| resolve(shares, "uid\n04A22B6A5C1180\n", &cdrs).1.1;
    assert_eq!((found(&[first]), found(std::slice::from_ref(&both))), (1, 2));
    world.custody.destroy_epoch(Epoch(0), NOW).unwrap();
    assert_eq!(found(&[world.share("NL-AAA")]), 1);
    assert_eq!(found(&[world.share("NL-AAA"), both]), 2, "who kept the old file can still read old CDRs");
}

#[test]
fn a_share_comes_back_from_its_file_and_a_changed_one_is_refused() {
    let world = world();
    world.custody.rotate(NOW).unwrap();
    let share = world.share("NL-AAA");
    let text = share.to_text().expose().clone();
    let parse = |text: &str| DomainShare::parse(&Sensitive::new(text.to_owned()));
    let again = parse(&text).unwrap();
    assert_eq!((again.party(), again.made(), again.to_text().expose()), (share.party(), share.made(), &text));
    let card = card("04A22B6A");
    assert!(again.codes(&card).eq(share.codes(&card)));

    let key = text.lines().find_map(|line| line.strip_prefix("recognise = \"")).unwrap().trim_end_matches('"').to_owned();
    let changed = format!("{}{}", if key.starts_with('A') { 'B' } else { 'A' }, &key[1..]);
    for (from, to, why) in [
        (key.as_str(), changed.as_str(), ShareError::Checksum),
        ("party = \"NL-AAA\"", "party = \"NL-AAB\"", ShareError::Checksum),
        (&share.made()[..10], "2026-01-01", ShareError::Checksum),
        (&key, &key[4..], ShareError::Wrong("recognise")),
        (&key, "!", ShareError::Wrong("recognise")),
        ("counter = 1\ndigit = 1", "counter = 11\ndigit = 1", ShareError::Checksum),
        ("counter = 1\ndigit = 1", "counter = 1\ndigit = 2", ShareError::Wrong("digit")),
        ("counter = 1\ndigit = 1", "counter = 0\ndigit = 0", ShareError::Wrong("epoch")),
        ("counter = 1\ndigit = 1", "counter = 10\ndigit = 0", ShareError::Wrong("epoch")),
        ("counter = 1", "counter = -1", ShareError::Wrong("counter")),
        ("digit = 1", "digit = 1\nroot = \"x\"", ShareError::Stranger),
        ("made =", "root = \"x\"\nmade =", ShareError::Stranger),
        ("made =", "# made =", ShareError::Wrong("made")),
        ("sluis-emsp-key-1", "sluis-emsp-key-2", ShareError::OtherForm),
        ("party = ", "party ", ShareError::NotToml(5)),
    ] {
        assert!(text.contains(from), "{why:?}");
        let error = parse(&text.replace(from, to)).unwrap_err();
        assert_eq!(error, why);
        assert!(!format!("{error} {error:?}").contains(&key[..8]));
    }
    let half = &text[..text.rfind("[[epoch]]").unwrap()];
    assert_eq!(parse(half).unwrap_err(), ShareError::Checksum, "an epoch is missing");
    assert_eq!(parse(&" ".repeat(20 << 10)).unwrap_err(), ShareError::NotToml(1));

    // Only codes of the domain are in it: no root, no other key of the gateway. And nothing prints a key.
    assert_eq!(text.lines().filter(|line| line.contains('=') && !line.starts_with('#')).count(), 4 + 2 * 4);
    assert_eq!(format!("{share:?}"), "DomainShare(NL-AAA, [Epoch(0), Epoch(1)], [sensitive])");
    assert_eq!(format!("{:?}", share.to_text()), "[sensitive]");
    let customers = Customers::read(&b"uid,customer\n04A22B6A,Jansen\n"[..], &[share]).unwrap();
    assert_eq!(format!("{customers:?}"), "Customers(1, [sensitive])");
}

/// What docs/emsp.md tells those who write their own software, done by the letter.
#[test]
fn the_recipe_in_the_manual_makes_the_same_codes() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit, Mac};
    let share = world().custody.keys.share(&party("NL-AAA"), NOW);
    let table: toml::Table = share.to_text().expose().parse().unwrap();
    let epoch = &table["epoch"][0];
    let mac = |key: &str, text: &str| {
        let key = STANDARD.decode(epoch[key].as_str().unwrap()).unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(text.as_bytes());
        let bits: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:08b}")).collect();
        let digit = |place: usize| usize::from_str_radix(&bits[5 * place..5 * place + 5], 2).unwrap();
        (0..26).map(|place| char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit(place)])).collect::<String>()
    };
    for (spelled, text) in [
        ("04:a2:b3:c4", "R04A2B3C4"),
        ("nl-tnm-c00122045-k", "ENLTNMC00122045"),
        ("de*8aa*123456*7", "EDE8AA1234567"),
        (" Visitor 7", "OVISITOR 7"),
    ] {
        let code = format!("Z{}{}", epoch["digit"], mac("pseudonym", text));
        let code = format!("{code}{}", &mac("recognise", &code)[..3]);
        assert_eq!(share.codes(&card(spelled)).next().unwrap().as_str(), code);
    }
}

#[test]
fn key_files_are_private_and_never_overwritten() {
    let (world, dir) = (world(), tempfile::tempdir().unwrap());
    let (share, path) = (world.share("NL-AAA"), dir.path().join("key"));
    write_share(&path, &share).unwrap();
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read_share(&path).unwrap().party(), party("NL-AAA"));
    assert_eq!(write_share(&path, &share), Err(KeyFileError::Exists));
    set(0o640);
    assert_eq!(read_share(&path).unwrap_err(), KeyFileError::Readable(0o640));
    set(0o400);
    assert!(read_share(&path).is_ok());
}

#[test]
fn a_list_that_is_wrong_is_told_by_its_line_and_not_quoted() {
    let list = |text: &[u8]| Customers::read(text, &[]).map(|customers| customers.len()).map_err(|e| e.to_string());
    assert_eq!(list(b"\xEF\xBB\xBFuid\r\n\"04\"\r\n\r\n05\r\n"), Ok(2));
    assert_eq!(list(b"uid,customer\n04,a\n05\n").unwrap_err().split(':').next(), Some("line 3"));
    assert_eq!(list(b"uid\n04\n\xFF\xFE\n").unwrap_err().split(':').next(), Some("line 3"));
    assert_eq!(list(format!("uid\n{}\n", "7".repeat(2000)).as_bytes()).unwrap_err().split(':').next(), Some("line 2"));
    assert!(list(b"04A2B3C4,x\n").unwrap_err().contains("no column uid"));
    assert!(list(b"uid,UID\n1,2\n").unwrap_err().contains("twice"));
}

fn sluis(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluis")).args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_tables_in_the_manual_are_what_is_read_and_written() {
    let manual = include_str!("../docs/emsp.md");
    let table = |first: &str| {
        let from = manual.split("```csv\n").find(|part| part.starts_with(first)).unwrap();
        from.split("```").next().unwrap()
    };
    assert_eq!(Customers::read(table("uid,").as_bytes(), &[]).unwrap().len(), 2);
    assert_eq!(table("cdr_id,").lines().next().unwrap(), COLUMNS.join(","));
}

#[test]
fn the_commands_as_the_manual_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("sluis.toml"), "data_dir = \"data\"\n[[emsp]]\nparty = \"NL-AAA\"\nagreement = \"1\"\n[[emsp]]\nparty = \"NL-OLD\"\nagreement = \"2\"\nvalid_until = \"2020-01-01\"\n").unwrap();
    // The gateway has been there.
    drop(Custody::open(&at("data"), None, &Opening::new(Role::Serve, NOW)).unwrap());
    let key = |party: &str| sluis(dir.path(), &["emsp", "key", "--config", "sluis.toml", party]);
    for stranger in ["NL-ZZZ", "NL-OLD", "nobody"] {
        let refused = key(stranger);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{stranger}: {}", text(&refused.stderr));
    }
    let made = key("nl*aaa");
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).starts_with("wrote the key of NL-AAA for epoch 0 to sluis-NL-AAA.key\n"));
    assert_eq!(key("NL-AAA").status.code(), Some(1), "not overwritten");

    let custody = Custody::open(&at("data"), None, &Opening::new(Role::Beside, NOW)).unwrap();
    let logged = custody.store().disclosures(None, 0).unwrap();
    assert!(logged.iter().all(|row| (&*row.recipient, &*row.purpose, &*row.fields, row.subject) == ("NL-AAA", "bill", "domain_key", None)));
    assert!(!logged.is_empty() && logged[0].reference.len() == 36);
    let code = custody.keys.code_in(&Domain::emsp("NL", "AAA").unwrap(), &card("04A2B3C4"), None);
    let stranger = custody.keys.code_in(&Domain::emsp("DE", "BBB").unwrap(), &card("04A2B3C4"), None);
    fs::write(at("tokens.csv"), "uid,customer\n04:A2:B3:C4,1001\n").unwrap();
    fs::write(at("one.json"), format!(r#"{{"id":"1","auth_id":"{code}","total_cost":1.50}}"#)).unwrap();
    fs::write(at("all.json"), format!(r#"{{"data":[{{"id":"1","auth_id":"{code}"}},{{"id":"2","auth_id":"{stranger}"}}]}}"#)).unwrap();
    let resolve =
        |more: &[&str]| sluis(dir.path(), &[&["emsp", "resolve", "--key", "sluis-NL-AAA.key", "--tokens", "tokens.csv"], more].concat());
    let found = resolve(&["--json", "one.json"]);
    assert_eq!((found.status.code(), text(&found.stderr)), (Some(0), "sluis: 1 of 1 CDRs are of customers in the list\n"));
    assert_eq!(
        text(&found.stdout),
        "{\"cdr_id\":\"1\",\"start\":\"\",\"end\":\"\",\"energy_kwh\":null,\"total_excl_vat\":1.50,\"total_incl_vat\":null,\"currency\":\"\",\"uid\":\"04:A2:B3:C4\",\"contract_id\":null,\"customer\":\"1001\",\"resolved\":true}\n"
    );
    let missed = resolve(&["one.json", "all.json"]);
    assert_eq!(missed.status.code(), Some(1));
    assert!(text(&missed.stderr).starts_with("sluis: 2 of 3 CDRs are of customers in the list; 1 are of nobody in it"));
    assert_eq!(text(&missed.stdout).lines().last(), Some("2,,,,,,,,,,no"));
    fs::write(at("bad.json"), "{\"id\":\"04A2B3C4\",").unwrap();
    let bad = resolve(&["bad.json"]);
    assert!(text(&bad.stderr).starts_with("sluis: bad.json: line 1") && !text(&bad.stderr).contains("04A2"), "{}", text(&bad.stderr));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 512 }))]
    #[test]
    fn any_text_is_read_as_a_share_without_panic(text in "\\PC{0,80}", cut in 0usize..700) {
        let _ = DomainShare::parse(&Sensitive::new(text.clone()));
        let whole = format!("format = \"sluis-emsp-key-1\"\nparty = \"NL-AAA\"\nmade = \"2026-11-24T00:00:00Z\"\nchecksum = \"{text}\"\n[[epoch]]\ncounter = 1\ndigit = 1\n{text}");
        let _ = DomainShare::parse(&Sensitive::new(whole.chars().take(cut).collect()));
    }
}
