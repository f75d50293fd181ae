//! What an operator types: mistakes in a configuration, and what a person may ask for, by the program itself.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use sluis::billing;
use sluis::clock::Timestamp;
use sluis::config::{Config, Flags};
use sluis::custody::{Custody, Opening, Role};
use sluis::identity::{Codes, Declared, Identifier, Sighting};
use sluis::ocpp::Version;
use sluis::serve::Ready;
use sluis::store::{ChargingRow, DisclosureRow, Op};
use sluis::treat::Fact;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const CARD: &str = "04A2B3C4D5E6F7";
const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A directory in which the program runs.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.at(name), text).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o600)).unwrap();
        self.at(name).display().to_string()
    }

    /// Exit code, standard output, standard error.
    fn sluis(&self, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let run = Command::new(env!("CARGO_BIN_EXE_sluis"))
            .args(words)
            .current_dir(self.0.path())
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (run.status.code(), text(run.stdout), text(run.stderr))
    }

    /// A card is known here, and two e-MSPs and the central system were told of it.
    fn has_seen(&self, card: &str) -> Custody {
        let custody = Custody::open(&self.at("data"), None, &Opening::new(Role::Serve, NOW)).unwrap();
        let identifier = Identifier::from_wire(card, Declared::Undeclared);
        let code = custody.keys.code(&identifier, None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sighting = Sighting { code, identifier: identifier.clone() };
        runtime.block_on(custody.vault.record(&[sighting])).unwrap();
        let row = |recipient: &str, subject: Option<[u8; 16]>, reference: &str| {
            Op::Disclose(DisclosureRow {
                seq: 0,
                at: NOW,
                recipient: recipient.to_owned(),
                purpose: "bill".to_owned(),
                subject,
                reference: reference.to_owned(),
                fields: "kwh cost".to_owned(),
            })
        };
        let subject = custody.vault.subject_of(&identifier);
        let rows = vec![row("NL-ABC", Some(subject), "cdr-1"), row("csms", Some(subject), "token-1"), row("NL-ABC", None, "key-1")];
        custody.store().commit_blocking(rows).unwrap();
        custody
    }
}

#[test]
fn mistakes_in_keys_and_in_the_files_that_they_name_are_told_at_once() {
    let desk = Desk::new();
    let config = desk.file(
        "sluis.toml",
        "listne = 1\nadmin = \"127.0.0.1:9000\"\n[upstream]\nurl = \"wss://csms.example\"\nca_file = \"nowhere.pem\"\n[keys]\nkek_file = \"no-kek\"\n[stations]\npasswords_file = \"no.csv\"\n",
    );
    for command in ["check", "serve"] {
        let (code, _, said) = desk.sluis(&[command, "--config", &config], &[("SLUIS_STATIONS__PING_SECONDS", "never")]);
        assert_eq!(code, Some(78), "{said}");
        for mistake in [
            "sluis.toml: listne: there is no such key",
            "sluis.toml: admin: is the same address as listen",
            "sluis.toml: upstream.ca_file",
            "sluis.toml: keys.kek_file: cannot read the key file",
            "sluis.toml: stations.passwords_file",
            "SLUIS_STATIONS__PING_SECONDS: stations.ping_seconds",
        ] {
            assert!(said.contains(mistake), "{mistake} is not among {said}");
        }
    }
    assert!(!desk.at("sluis-data").exists(), "something was made");
}

/// Found by a reader: the first mistake of each file hid the others of the same key.
#[test]
fn a_file_that_the_configuration_names_has_all_its_mistakes_told() {
    let desk = Desk::new();
    let hash = desk.file("passwords.csv", "station,hash\nCP-1,not-a-hash\nCP-2,nor-this\nCP-3,neither\n");
    let (code, _, said) = desk.sluis(&["check", "--upstream", "ws://127.0.0.1:9/"], &[("SLUIS_STATIONS__PASSWORDS_FILE", &hash)]);
    assert_eq!(code, Some(78), "{said}");
    for line in 2..=4 {
        assert!(said.contains(&format!("line {line}")), "{line} is not in {said}");
    }
}

/// Found by a reader: `check` said that all was fine, and `serve` ended with 78.
#[test]
fn the_key_beside_the_data_is_looked_at_too() {
    let desk = Desk::new();
    drop(Custody::open(&desk.at("sluis-data"), None, &Opening::new(Role::Serve, NOW)).unwrap());
    let look = || desk.sluis(&["check", "--upstream", "ws://127.0.0.1:9/"], &[]);
    assert_eq!(look().0, Some(0));
    let key = desk.at("sluis-data/kek");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, said) = look();
    assert!(code == Some(78) && said.contains("keys.kek_file") && said.contains("readable by others"), "{said}");
    fs::remove_file(&key).unwrap();
    let (code, _, said) = look();
    assert!(code == Some(78) && said.contains("keys.kek_file"), "{said}");
}

/// Everybody on the machine could read them, and one could be a single letter.
#[test]
fn a_token_that_others_can_read_or_guess_is_a_mistake() {
    let desk = Desk::new();
    for (name, token) in
        [("short", "fifteen-letters\n"), ("long", &"x".repeat(65)), ("open", "sixteen-letters!\n"), ("fine", "sixteen-letters!\n")]
    {
        desk.file(name, token);
    }
    fs::set_permissions(desk.at("open"), fs::Permissions::from_mode(0o644)).unwrap();
    let entry = |party: &str, ours: &str, theirs: &str| {
        format!("[[emsp]]\nparty = \"{party}\"\nagreement = \"1\"\ntoken_file = \"{ours}\"\ntheir_token_file = \"{theirs}\"\n")
    };
    let head = "[upstream]\nurl = \"ws://127.0.0.1:9/\"\n[cpo]\nparty = \"NL-CPO\"\n[ocpi]\nlisten = \"127.0.0.1:0\"\n\
                csms_url = \"http://127.0.0.1:9/\"\ncsms_token_file = ";
    let entries = entry("NL-ABC", "short", "open") + &entry("NL-XYZ", "open", "long");
    let wrong = desk.file("wrong.toml", &format!("{head}\"open\"\n{entries}"));
    for command in ["check", "serve"] {
        let (code, _, said) = desk.sluis(&[command, "--config", &wrong], &[]);
        assert_eq!(code, Some(78), "{said}");
        for mistake in [
            "emsp[0].token_file: must hold 16 characters or more",
            "emsp[0].their_token_file: may be read or written by everybody",
            "emsp[1].token_file: may be read or written by everybody",
            "emsp[1].their_token_file: holds no credentials token",
            "ocpi.csms_token_file: may be read or written by everybody",
        ] {
            assert!(said.contains(mistake), "{mistake} is not among {said}");
        }
        assert!(!said.contains("letters"), "a token is quoted: {said}");
    }
    // What they gave us is as long as they like.
    let fine = desk.file("fine.toml", &format!("{head}\"short\"\n{}", entry("NL-ABC", "fine", "short")));
    let (code, _, said) = desk.sluis(&["check", "--config", &fine], &[]);
    assert_eq!(code, Some(0), "{said}");
}

/// Each was found by `serve` alone, after it had made its data directory.
#[test]
fn what_only_serve_would_find_is_told_by_check_too() {
    let desk = Desk::new();
    desk.file("same", "the-token-of-both\n");
    desk.file("taken", "");
    let entry = |party: &str| format!("[[emsp]]\nparty = \"{party}\"\nagreement = \"1\"\ntoken_file = \"same\"\n");
    let head = "[upstream]\nurl = \"ws://127.0.0.1:9/\"\nca_file = \"nowhere.pem\"\n[tls]\ncertificates = [\"none.pem\"]\n\
                [cpo]\nparty = \"NL-CPO\"\n[ocpi]\nlisten = \"127.0.0.1:0\"\n";
    let config = desk.file("sluis.toml", &format!("{head}{}{}", entry("NL-ABC"), entry("NL-XYZ")));
    for command in ["check", "serve"] {
        let (code, _, said) = desk.sluis(&[command, "--config", &config], &[]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("emsp[1].token_file: holds the token of emsp[0]") && !said.contains("the-token"), "{said}");
        assert_eq!(said.matches("upstream.ca_file: does not exist").count(), 1, "{said}");
        assert_eq!(said.matches("tls.certificates[0]: does not exist").count(), 1, "{said}");
    }
    assert!(!desk.at("sluis-data").exists(), "something was made");
}

#[test]
fn a_directory_that_can_neither_be_made_nor_written_in_is_a_mistake() {
    let desk = Desk::new();
    desk.file("taken", "");
    fs::create_dir(desk.at("shut")).unwrap();
    fs::set_permissions(desk.at("shut"), fs::Permissions::from_mode(0o500)).unwrap();
    let mut wrong = vec![("taken", "a file is in its way"), ("taken/data", "a file is in its way")];
    // Whoever runs this as root may write anywhere.
    if fs::write(desk.at("shut/any"), "").is_err() {
        wrong.extend([("shut", "this user may not"), ("shut/data", "this user may not")]);
    }
    for (dir, why) in wrong {
        for command in ["check", "serve"] {
            let (code, _, said) = desk.sluis(&[command, "--upstream", "ws://127.0.0.1:9/", "--data-dir", dir], &[]);
            assert!(code == Some(78) && said.contains("data_dir: ") && said.contains(why), "{dir}: {said}");
        }
    }
    // Releases would have nowhere to go.
    let flags = Flags { config: None, values: vec![("upstream.url", "ws://127.0.0.1:9/".to_owned())] };
    let mut config = Config::read(&flags, &|_| None).unwrap();
    config.data_dir = desk.at("data");
    config.statistics.dir = Some(desk.at("taken"));
    assert!(Ready::read(&config).is_ok(), "no statistics are made");
    config.statistics.enabled = true;
    let mistakes = Ready::read(&config).err().unwrap();
    assert_eq!(mistakes, ["statistics.dir: is no directory, and cannot be made: a file is in its way"]);
    let before = fs::read_dir(desk.0.path()).unwrap().count();
    assert_eq!(desk.sluis(&["check", "--upstream", "ws://127.0.0.1:9/", "--data-dir", "new/data"], &[]).0, Some(0));
    assert_eq!(fs::read_dir(desk.0.path()).unwrap().count(), before, "check left something behind");
}

/// A key file of no use was told by `serve` alone, with an exit code after which it is started again and again.
#[test]
fn a_key_file_of_no_use_is_a_mistake_of_the_configuration() {
    let desk = Desk::new();
    let upstream = ["--upstream", "ws://127.0.0.1:9/"];
    desk.file("short", "0123456789abcdef");
    desk.file("open", &"ab".repeat(32));
    fs::set_permissions(desk.at("open"), fs::Permissions::from_mode(0o644)).unwrap();
    for (file, word) in [("short", "neither 32 bytes nor 64 hex digits"), ("open", "readable by others"), ("none", "cannot read")] {
        for command in ["check", "serve"] {
            let (code, _, said) = desk.sluis(&[&[command], &upstream[..]].concat(), &[("SLUIS_KEYS__KEK_FILE", file)]);
            assert!(code == Some(78) && said.contains("SLUIS_KEYS__KEK_FILE: keys.kek_file") && said.contains(word), "{file}: {said}");
        }
    }
    // One that does not fit the data.
    drop(desk.has_seen(CARD));
    desk.file("other", &"cd".repeat(32));
    let (code, _, said) = desk.sluis(&["keys", "list", "--data-dir", "data"], &[("SLUIS_KEYS__KEK_FILE", "other")]);
    assert!(code == Some(78) && said.contains("keys.kek_file: the key does not open"), "{said}");
}

/// What stands in a file that cannot be parsed is not missing.
#[test]
fn a_file_that_cannot_be_parsed_has_that_mistake_and_no_other() {
    let desk = Desk::new();
    let config = desk.file("sluis.toml", "[upstream]\nurl = \"ws://127.0.0.1:9/\"\nurl = \"s3cret\"\n");
    for (file, mistake) in [(config.as_str(), "line 3: url is given twice"), ("none.toml", "cannot be read: entity not found")] {
        let (code, _, said) = desk.sluis(&["check", "--config", file], &[]);
        assert_eq!((code, said), (Some(78), format!("sluis: {file}: {mistake}\n")));
    }
    // But what is named elsewhere is looked at.
    let (_, _, said) = desk.sluis(&["check", "--config", &config], &[("SLUIS_STATIONS__PASSWORDS_FILE", "no.csv")]);
    assert!(said.contains("line 3") && said.contains("SLUIS_STATIONS__PASSWORDS_FILE: stations.passwords_file"), "{said}");
}

/// `sluis codes` in the wrong directory made a vault of its own, and printed codes that no gateway restores.
#[test]
fn commands_beside_a_gateway_make_no_data_of_their_own() {
    let desk = Desk::new();
    let commands: [&[&str]; 6] =
        [&["codes"], &["keys", "list"], &["opt-out", "list"], &["disclosures", "list"], &["erase", "04A2B3C4"], &["stats", "ledger"]];
    for words in commands {
        let (code, said, why) = desk.sluis(words, &[]);
        assert_eq!(code, Some(78), "{words:?}: {why}");
        assert!(why.contains("data_dir: no gateway has kept anything in sluis-data") && said.is_empty(), "{words:?}: {why}");
    }
    assert_eq!(fs::read_dir(desk.0.path()).unwrap().count(), 0);
}

#[test]
fn a_misspelt_variable_is_told_and_what_kubernetes_sets_is_not() {
    let desk = Desk::new();
    let variables = [
        ("SLUIS_STATIONS__SECURITY_PROFIL", "3"),
        ("SLUIS_UPSTREAM__URL", "ws://127.0.0.1:9/"),
        ("SLUIS_SERVICE_HOST", "10.0.0.1"),
        ("SLUIS_PORT_9000_TCP_ADDR", "10.0.0.1"),
    ];
    let (code, said, _) = desk.sluis(&["check"], &variables);
    assert_eq!(code, Some(0));
    assert!(said.contains("SLUIS_STATIONS__SECURITY_PROFIL is set") && !said.contains("SERVICE") && !said.contains("SLUIS_PORT"), "{said}");
}

#[test]
fn who_asks_is_told_what_was_disclosed_and_no_identifier_is_printed() {
    let desk = Desk::new();
    drop(desk.has_seen(CARD));
    let asked = desk.file("asked", &format!("{CARD}\n04DEADBEEF\n"));
    let (code, said, why) = desk.sluis(&["disclosures", "about", "--file", &asked, "--data-dir", "data"], &[]);
    assert_eq!(code, Some(0), "{why}");
    assert!(said.contains("line 1: 2 disclosures") && said.contains("cdr-1") && said.contains("token-1"), "{said}");
    assert!(said.contains("line 2: 0 disclosures") && !said.contains("key-1") && !said.contains(CARD), "{said}");
    let list = |words: &[&str]| desk.sluis(&[&["disclosures", "list", "--data-dir", "data"], words].concat(), &[]).1;
    assert!(list(&[]).contains("3 disclosures"));
    let theirs = list(&["--recipient", "nl-abc"]);
    assert!(theirs.contains("2 disclosures") && theirs.contains("key-1") && !theirs.contains("csms"), "{theirs}");
}

#[test]
fn who_is_erased_by_the_program_is_restored_no_more_by_a_gateway_that_runs() {
    let desk = Desk::new();
    let running = desk.has_seen(CARD);
    let code = running.keys.code(&Identifier::from_wire(CARD, Declared::Undeclared), None);
    assert!(running.vault.issuer(&code).is_some());
    // By its code, as the central system names it.
    let asked = desk.file("asked", &format!("{}\n04DEADBEEF\n{}\n", code.as_str(), code.as_str()));
    let (done, said, why) = desk.sluis(&["erase", "--file", &asked, "--data-dir", "data"], &[]);
    assert!(said.contains("line 1: erased (1 records)") && said.contains("line 2: nothing was kept of it"), "{said}");
    assert!(done == Some(1) && why.contains("line 3: the code is not known here, or was erased before"), "{why}");
    running.refresh().unwrap();
    assert!(running.vault.issuer(&code).is_none(), "it is restored");
    assert!(!contains(&desk.at("data"), CARD.as_bytes()));
}

/// Sessions that still run would be billed to nobody without the epoch of their driver's code.
#[test]
fn an_epoch_of_sessions_that_still_run_is_destroyed_by_force_only() {
    let desk = Desk::new();
    let running = desk.has_seen(CARD);
    let code = running.keys.code(&Identifier::from_wire(CARD, Declared::Undeclared), None);
    let row = format!(r#"{{"tokens":[[0,0,{{"code":"{}"}}]]}}"#, code.as_str());
    let session = ChargingRow { id: "s1".to_owned(), station: "CP1".to_owned(), row, keys: Vec::new(), closed: None };
    running.store().commit_blocking(vec![Op::ChargingPut(session)]).unwrap();
    let keys = |words: &[&str]| desk.sluis(&[&["keys"], words, &["--data-dir", "data"]].concat(), &[]);
    assert_eq!(keys(&["rotate"]).0, Some(0));
    let (done, _, why) = keys(&["destroy", "0"]);
    assert!(done == Some(1) && why.contains("epoch 0 is not destroyed: 1 sessions"), "{why}");
    running.refresh().unwrap();
    assert!(running.vault.issuer(&code).is_some());
    let (done, said, why) = keys(&["destroy", "0", "--force"]);
    assert!(done == Some(0) && said.contains("destroyed epoch 0"), "{why}");
    assert_eq!(keys(&["rotate"]).0, Some(0));
    assert_eq!(keys(&["destroy", "1"]).0, Some(0), "nothing is of this one");
}

/// Regression: what billing had not read when its epoch was destroyed was billed to nobody.
#[test]
fn an_epoch_of_facts_that_billing_has_not_read_is_destroyed_by_force_only() {
    let desk = Desk::new();
    let running = desk.has_seen(CARD);
    let code = running.keys.code(&Identifier::from_wire(CARD, Declared::Undeclared), None);
    let begun = Fact {
        action: "StartTransaction",
        message_id: "1".to_owned(),
        payload: format!(r#"{{"connectorId":1,"idTag":"{}","meterStart":0}}"#, code.as_str()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let keys = |words: &[&str]| desk.sluis(&[&["keys"], words, &["--data-dir", "data"]].concat(), &[]);
    assert_eq!(keys(&["rotate"]).0, Some(0));
    // From where billing begins.
    runtime.block_on(billing::begin(&running)).unwrap();
    runtime.block_on(running.journal.submit("CP1", Version::V16, NOW, vec![begun]).durable()).unwrap();
    let (done, _, why) = keys(&["destroy", "0"]);
    assert!(done == Some(1) && why.contains("epoch 0 is not destroyed: 0 sessions") && why.contains("and 1 facts"), "{why}");
    let (done, said, why) = keys(&["destroy", "0", "--force"]);
    assert!(done == Some(0) && said.contains("destroyed epoch 0"), "{why}");
}

/// Whether any file of a directory holds these bytes.
fn contains(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|file| fs::read(file.unwrap().path()).unwrap().windows(bytes.len()).any(|part| part == bytes))
}
