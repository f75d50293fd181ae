//! A town of charging points with some homes, people who charge there, and a house that counts them: real keys, a real store, a real gate.

use sluis::cdr::site::Sites;
use sluis::charging::{ChargingSession, Reading, Token};
use sluis::clock::Timestamp;
use sluis::custody::{Custody, Opening, Role};
use sluis::identity::{Codes, Declared, Identifier, Sighting};
use sluis::publication::{Gate, Publication, Terms, register};
use sluis::recipient::Party;
use sluis::secret::Sensitive;
use sluis::stats::{Grouping, Method, NoRandomness, Parameters, Period, Randomness};
use sluis::store::VisitRow;
use sluis::vault::tokens::EmspToken;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// 2025-09-01T00:00:00+02:00.
pub const SEPTEMBER: i64 = 1_756_677_600_000;
pub const DAY: i64 = 86_400_000;
pub const HOUR: i64 = 3_600_000;
/// A day in September.
pub const THEN: Timestamp = Timestamp(SEPTEMBER + 20 * DAY);
/// After the close of September and of the third quarter: 12 October.
pub const CLOSED: Timestamp = Timestamp(SEPTEMBER + 41 * DAY);
pub const MONTH: &str = "2025-09";
pub const QUARTER: &str = "2025-Q3";
pub const ZONE: chrono_tz::Tz = chrono_tz::Tz::Europe__Amsterdam;

/// Stations: 60 public AC points in three places, a hub of four HPC, and two homes.
pub fn sites() -> String {
    let mut csv = "station,evse,connector,location_id,evse_uid,evse_id,connector_id,name,address,city,country,latitude,longitude,standard,format,power_type,max_kw,tariff,home,neighbourhood,municipality,province\n".to_owned();
    for n in 0..60 {
        let (quarter, town) = [("Noord", "Gouda"), ("Zuid", "Gouda"), ("Markt", "Delft")][n % 3];
        csv += &format!(
            "AC-{n},*,*,LOC{n},EVSE-{n},NL*CPO*E{n},1,,Dam {n},{town},NLD,52.01150,4.71100,IEC_62196_T2,SOCKET,AC_3_PHASE,11,,false,{quarter},{town},Zuid-Holland\n"
        );
    }
    for n in 0..4 {
        csv += &format!(
            "HPC-{n},*,*,HUB,HPC-{n},NL*CPO*H{n},1,Rijksweg,Rijksweg 1,Delft,NLD,52.01150,4.71100,IEC_62196_T2_COMBO,CABLE,DC,300,,false,Rand,Delft,Zuid-Holland\n"
        );
    }
    for n in 0..2 {
        csv += &format!(
            "HOME-{n},*,*,H{n},HOME-{n},NL*CPO*P{n},1,,Kerkstraat {n},Gouda,NLD,52.01150,4.71100,IEC_62196_T2,SOCKET,AC_3_PHASE,11,,true,Noord,Gouda,Zuid-Holland\n"
        );
    }
    csv
}

pub fn terms() -> Terms {
    let sites = Sites::parse(&sites(), ZONE).unwrap();
    let grouping = Grouping { neighbourhood: 10, ..Grouping::default() };
    let geography = register::geography(&sites, "NL", ZONE, grouping).unwrap();
    Terms { geography, parameters: Parameters::default(), method: Method::DifferentiallyPrivate }
}

pub fn period(name: &str) -> Period {
    name.parse().unwrap()
}

/// Randomness that fails after so many calls.
pub struct Failing(pub u32);

impl Randomness for Failing {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0 = self.0.checked_sub(1).ok_or(NoRandomness)?;
        bytes.fill(self.0.to_le_bytes()[0].wrapping_mul(37).wrapping_add(11));
        Ok(())
    }

    fn is_fit_for_publication(&self) -> bool {
        true
    }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub custody: Arc<Custody>,
    pub publication: Publication,
    sites: Sites,
    numbers: std::cell::Cell<u32>,
}

pub fn custody(dir: &Path, role: Role) -> Arc<Custody> {
    Arc::new(Custody::open(dir, None, &Opening::new(role, THEN)).unwrap())
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sites.csv"), sites()).unwrap();
        let custody = custody(&dir.path().join("data"), Role::Serve);
        let publication = Publication { custody: Arc::clone(&custody), terms: terms(), dir: None };
        Self { dir, custody, publication, sites: Sites::parse(&sites(), ZONE).unwrap(), numbers: std::cell::Cell::new(0) }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The program's configuration over the same data.
    pub fn config(&self, data: &Path) -> PathBuf {
        let path = self.dir.path().join("sluis.toml");
        let sites = self.dir.path().join("sites.csv");
        let text = format!(
            "data_dir = {data:?}\n[cpo]\nparty = \"NL-CPO\"\n[billing]\nsites = {sites:?}\n[statistics]\nenabled = true\nneighbourhood_points = 10\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// The code of a card or contract, known to the vault.
    pub fn code(&self, text: &str) -> String {
        let identifier = Identifier::from_wire(text, Declared::Undeclared);
        let code = self.custody.keys.code(&identifier, None);
        self.custody.vault.record_blocking(&[Sighting { code, identifier }]).unwrap();
        code.to_string()
    }

    /// An e-MSP says whose a card is.
    pub fn owns(&self, uid: &str, contract: &str) {
        let token = EmspToken {
            owner: Party::parse("NL-ABC").unwrap(),
            kind: "RFID".to_owned(),
            uid: Sensitive::new(uid.to_owned()),
            contract: Sensitive::new(contract.to_owned()),
            group: None,
            issuer: "ABC".to_owned(),
            valid: true,
            whitelist: "ALWAYS".to_owned(),
            language: None,
            updated: THEN,
            updated_text: THEN.rfc3339(),
        };
        let keep = self.custody.vault.keep_token(&token);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(keep).unwrap();
    }

    /// A session of a code's.
    pub fn session(&self, code: &str, station: &str, begun: Timestamp, hours: i64, wh: u32) -> ChargingSession {
        self.numbers.set(self.numbers.get() + 1);
        let ended = Timestamp(begun.0 + hours * HOUR);
        ChargingSession {
            id: format!("session-{}", self.numbers.get()),
            station: station.to_owned(),
            evse: 1,
            connector: 1,
            token: Some(Token { code: code.to_owned(), kind: None }),
            named: Some(begun),
            started: begun,
            ended: Some(ended),
            readings: vec![Reading { at: begun, wh: 0.into() }, Reading { at: ended, wh: wh.into() }],
            idle: Vec::new(),
            ending: None,
            remarks: BTreeSet::new(),
        }
    }

    /// What the gate does with a session, committed.
    pub fn passes(&self, session: &ChargingSession, first: bool, now: Timestamp) {
        let site = self.sites.find(&session.station, session.evse, session.connector);
        let gate = Gate { zone: ZONE };
        let ops = gate.pass(session, site, true, first, &self.custody, now).unwrap();
        self.custody.store().commit_blocking(ops).unwrap();
    }

    /// A card charges once.
    pub fn charges(&self, card: &str, station: &str, now: Timestamp) {
        let session = self.session(&self.code(card), station, Timestamp(now.0 - 3 * HOUR), 2, 11_000);
        self.passes(&session, true, now);
    }

    /// A month of a town: so many cards, each of which charges five times.
    pub fn lives(&self, cards: usize) {
        self.lives_in(cards, SEPTEMBER);
    }

    /// The same in another month.
    pub fn lives_in(&self, cards: usize, month: i64) {
        for n in 0..cards {
            let code = self.code(&card(n));
            for time in 0..5 {
                let station = if (n + time) % 7 == 0 { format!("HPC-{}", n % 4) } else { format!("AC-{}", (n * 7 + time) % 60) };
                let begun = Timestamp(month + ((n * 13 + time * 5) % 28) as i64 * DAY + ((n + time) % 24) as i64 * HOUR);
                let session = self.session(&code, &station, begun, 1 + (n % 5) as i64, 5_000 + 700 * (n % 30) as u32);
                self.passes(&session, true, Timestamp(begun.0 + 8 * HOUR));
            }
        }
    }

    pub fn visits(&self, period: &str) -> Vec<VisitRow> {
        self.custody.store().visits_after(period, None).unwrap()
    }

    /// How many visits the month and the quarter of September have.
    pub fn counted(&self) -> [usize; 2] {
        [MONTH, QUARTER].map(|name| self.visits(name).len())
    }
}

pub fn card(n: usize) -> String {
    format!("04{:012X}", (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16)
}

/// The real program.
pub fn sluis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluis")).args(arguments).env_clear().output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All files of a directory, by name.
pub fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}
