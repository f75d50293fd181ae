//! Where things are counted: a fixed, public hierarchy without overlap, made from the site register alone.
//!
//! Country > province > municipality > neighbourhood, and single sites only where they are hubs of fast chargers. Homes are counted by
//! province, in the monthly table only, and the list of cells says nothing of them: it has a cell for homes in every province, and how many
//! homes there are is nowhere in it (R13).

use super::ledger::Digest;
use super::table::Table;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Places of a register.
const MOST_PLACES: usize = 1_000_000;
/// The name of what the register leaves out.
const NOT_GIVEN: &str = "(not given)";

/// A charging point of the site register: an EVSE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What visits name it by. Rows with the same key are connectors of one charging point; the first says where it is, the strongest how
    /// strong it is.
    pub key: String,
    /// The site that it belongs to, as people call it; the same words for all charging points of the site.
    pub site: String,
    /// The neighbourhood, if the register has it.
    pub neighbourhood: Option<String>,
    /// The municipality, if the register has it.
    pub municipality: Option<String>,
    /// The province, if the register has it.
    pub province: Option<String>,
    /// The most power it gives, in W, if the register has it.
    pub max_w: Option<u32>,
    /// Whether it gives direct current.
    pub dc: bool,
    /// At somebody's home.
    pub home: bool,
}

/// The class of a charging point by its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Alternating current up to 22 kW.
    Ac,
    /// Direct current below 150 kW, and alternating current above 22 kW.
    Dc,
    /// 150 kW and more.
    Hpc,
    /// At somebody's home, of whatever power.
    Home,
}

/// What kind of area a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The whole.
    Country,
    /// A province.
    Province,
    /// A municipality.
    Municipality,
    /// The municipalities of a province that are too small to stand alone in a load shape.
    OtherMunicipalities,
    /// The home chargers of a province.
    Homes,
    /// A neighbourhood with enough charging points.
    Neighbourhood,
    /// The other neighbourhoods of a municipality.
    OtherNeighbourhoods,
    /// A site of several fast chargers.
    Hub,
}

/// An area: its level and its names from the country down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Area {
    /// What kind it is.
    pub level: Level,
    /// Country, province, municipality, …: as many as the level has.
    pub path: Vec<String>,
}

impl Area {
    /// The area that it lies in; `None` of the country.
    pub fn parent(&self) -> Option<Self> {
        let path = self.path[..self.path.len().checked_sub(1)?].to_vec();
        let level = match path.len() {
            1 => Level::Country,
            2 => Level::Province,
            3 => Level::Municipality,
            _ => return None,
        };
        Some(Self { level, path })
    }
}

/// From how many charging points on something stands alone. Public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grouping {
    /// A neighbourhood in T1, counting public charging points outside hubs.
    pub neighbourhood: u32,
    /// A municipality in T2, counting public charging points.
    pub municipality: u32,
    /// A hub in T1, counting fast charging points (DC and HPC) of the site.
    pub hub: u32,
}

impl Default for Grouping {
    /// 40 in a neighbourhood, 200 in a municipality, 2 fast ones at a hub.
    fn default() -> Self {
        Self { neighbourhood: 40, municipality: 200, hub: 2 }
    }
}

/// Why a register makes no geography.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAGeography {
    /// There are more than a million places.
    #[error("the site register has more than a million places")]
    TooLarge,
    /// There is no public place.
    #[error("the site register has no public charging point")]
    Empty,
}

/// A cell of a table: an area and a class. With the bins of a measure it is what one number is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) area: Area,
    pub(super) class: Class,
    /// Public charging points in it; none for homes.
    pub(super) points: u32,
}

/// What a cell is called.
type Name = (Area, Class);

/// In which cell of each table a place counts; `None` where it does not.
pub(super) type Cells = [Option<u32>; 4];

/// The cells of all tables, and which place counts in which.
#[derive(Debug, Clone)]
pub struct Geography {
    zone: Tz,
    cells: [Vec<Cell>; 4],
    places: HashMap<String, Cells>,
    digests: [Digest; 4],
}

impl Geography {
    /// The geography of a register. `country` is the name of the whole, `zone` its clocks. The same rows in any order make the same.
    ///
    /// # Errors
    /// There are too many places, or no public one.
    pub fn new(country: &str, zone: Tz, places: &[Place], grouping: Grouping) -> Result<Self, NotAGeography> {
        if places.len() > MOST_PLACES {
            return Err(NotAGeography::TooLarge);
        }
        let points = merged(places);
        if points.values().all(|point| point.class == Class::Home) {
            return Err(NotAGeography::Empty);
        }
        let counts = Counts::of(&points);
        let mut lists: [BTreeMap<Name, u32>; 4] = Default::default();
        let mut at: Vec<(&str, [Option<Name>; 4])> = Vec::with_capacity(points.len());
        let homes = |province: &str| {
            let path = vec![country.to_owned(), province.to_owned(), "homes".to_owned()];
            (Area { level: Level::Homes, path }, Class::Home)
        };
        for province in counts.provinces.keys().copied().chain(["elsewhere"]) {
            lists[0].insert(homes(province), 0);
        }
        for (key, point) in &points {
            if point.class == Class::Home {
                let province = if counts.provinces.contains_key(point.province) { point.province } else { "elsewhere" };
                at.push((key, [Some(homes(province)), None, None, None]));
                continue;
            }
            let areas = [
                point.area(country, Level::Municipality),
                point.area(country, counts.use_level(point, grouping)),
                point.area(country, counts.shape_level(point, grouping)),
                point.area(country, Level::Country),
            ];
            let cells = areas.map(|area| (area, point.class));
            for (list, cell) in lists.iter_mut().zip(&cells) {
                *list.entry(cell.clone()).or_default() += 1;
            }
            at.push((key, cells.map(Some)));
        }
        let ranks: [HashMap<&(Area, Class), u32>; 4] = lists.each_ref().map(|list| list.keys().zip(0..).collect());
        let places = at
            .into_iter()
            .map(|(key, cells)| {
                let mut numbers: Cells = [None; 4];
                for (number, (ranks, cell)) in numbers.iter_mut().zip(ranks.iter().zip(cells)) {
                    *number = cell.and_then(|cell| ranks.get(&cell).copied());
                }
                (key.to_owned(), numbers)
            })
            .collect();
        let cells = lists.map(|list| list.into_iter().map(|((area, class), points)| Cell { area, class, points }).collect::<Vec<_>>());
        let digests = [0, 1, 2, 3].map(|table| digest(&cells[table], Table::ALL[table]));
        Ok(Self { zone, cells, places, digests })
    }

    /// The clocks that periods and hours go by.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// How many cells a table has, bins not counted.
    pub fn count(&self, table: Table) -> usize {
        self.cells[table as usize].len()
    }

    /// SHA-256 of a table's list of cells: areas, classes and charging points, in their order.
    pub fn digest(&self, table: Table) -> Digest {
        self.digests[table as usize]
    }

    /// The cells of a table in their fixed order: area, class and public charging points in it (0 for homes, which are not told).
    pub fn list(&self, table: Table) -> impl Iterator<Item = (&Area, Class, u32)> {
        self.cells[table as usize].iter().map(|cell| (&cell.area, cell.class, cell.points))
    }

    pub(super) fn cells(&self, table: Table) -> &[Cell] {
        &self.cells[table as usize]
    }

    /// Where a place counts; `None` if the register does not have it.
    pub(super) fn find(&self, place: &str) -> Option<Cells> {
        self.places.get(place).copied()
    }

    /// Whether the register has the place.
    pub fn knows(&self, place: &str) -> bool {
        self.places.contains_key(place)
    }

    /// Whether the place is at somebody's home; `false` for one that the register does not have.
    pub fn is_home(&self, place: &str) -> bool {
        self.find(place).is_some_and(|cells| cells[1].is_none())
    }
}

/// A charging point, its connectors merged.
struct Point<'a> {
    site: &'a str,
    neighbourhood: Option<&'a str>,
    municipality: &'a str,
    province: &'a str,
    class: Class,
}

impl Point<'_> {
    fn area(&self, country: &str, level: Level) -> Area {
        let mut path = vec![country, self.province, self.municipality];
        match level {
            Level::Country => path.truncate(1),
            Level::Province => path.truncate(2),
            Level::Municipality => {}
            Level::OtherMunicipalities => path[2] = "other municipalities",
            Level::Homes => path[2] = "homes",
            Level::Neighbourhood => path.push(self.neighbourhood.unwrap_or(NOT_GIVEN)),
            Level::OtherNeighbourhoods => path.push("other neighbourhoods"),
            Level::Hub => path.push(self.site),
        }
        Area { level, path: path.into_iter().map(ToOwned::to_owned).collect() }
    }
}

/// The charging points by their keys.
fn merged(places: &[Place]) -> BTreeMap<&str, Point<'_>> {
    let mut rows: Vec<&Place> = places.iter().collect();
    // The same rows in any order make the same geography: which connector says where a point is does not hang on the file's order.
    rows.sort_by_key(|p| (&p.key, &p.province, &p.municipality, &p.neighbourhood, &p.site));
    let mut points: BTreeMap<&str, Point<'_>> = BTreeMap::new();
    for place in rows {
        let class = class(place);
        let point = points.entry(&place.key).or_insert_with(|| Point {
            site: &place.site,
            neighbourhood: place.neighbourhood.as_deref(),
            municipality: place.municipality.as_deref().unwrap_or(NOT_GIVEN),
            province: place.province.as_deref().unwrap_or(NOT_GIVEN),
            class,
        });
        // Home is the last of the classes: one home connector makes the point a home.
        point.class = point.class.max(class);
    }
    points
}

fn class(place: &Place) -> Class {
    match (place.home, place.max_w) {
        (true, _) => Class::Home,
        (_, Some(150_000..)) => Class::Hpc,
        (_, Some(22_001..)) => Class::Dc,
        _ if place.dc => Class::Dc,
        _ => Class::Ac,
    }
}

/// A province, a municipality, and a neighbourhood or site in it.
type Within<'a> = (&'a str, &'a str, &'a str);

/// Public charging points by area.
struct Counts<'a> {
    provinces: BTreeMap<&'a str, u32>,
    municipalities: BTreeMap<(&'a str, &'a str), u32>,
    /// Of each charging point: its site, and whether it is a fast one.
    neighbourhoods: BTreeMap<Within<'a>, Vec<(&'a str, bool)>>,
    hubs: BTreeMap<Within<'a>, u32>,
}

impl<'a> Counts<'a> {
    fn of(points: &BTreeMap<&'a str, Point<'a>>) -> Self {
        let mut counts =
            Self { provinces: BTreeMap::new(), municipalities: BTreeMap::new(), neighbourhoods: BTreeMap::new(), hubs: BTreeMap::new() };
        for point in points.values().filter(|point| point.class != Class::Home) {
            *counts.provinces.entry(point.province).or_default() += 1;
            *counts.municipalities.entry((point.province, point.municipality)).or_default() += 1;
            let fast = point.class != Class::Ac;
            if fast {
                *counts.hubs.entry((point.province, point.municipality, point.site)).or_default() += 1;
            }
            if let Some(name) = point.neighbourhood {
                counts.neighbourhoods.entry((point.province, point.municipality, name)).or_default().push((point.site, fast));
            }
        }
        counts
    }

    fn is_hub(&self, province: &str, municipality: &str, site: &str, grouping: Grouping) -> bool {
        self.hubs.get(&(province, municipality, site)).is_some_and(|count| *count >= grouping.hub)
    }

    /// The level of T1 that a public point counts at.
    fn use_level(&self, point: &Point<'_>, grouping: Grouping) -> Level {
        if point.class != Class::Ac && self.is_hub(point.province, point.municipality, point.site, grouping) {
            return Level::Hub;
        }
        let Some(name) = point.neighbourhood else { return Level::OtherNeighbourhoods };
        let in_it = self.neighbourhoods.get(&(point.province, point.municipality, name)).map_or(0, |points| {
            points.iter().filter(|(site, fast)| !(*fast && self.is_hub(point.province, point.municipality, site, grouping))).count()
        });
        if in_it >= grouping.neighbourhood as usize { Level::Neighbourhood } else { Level::OtherNeighbourhoods }
    }

    /// The level of T2 that a public point counts at.
    fn shape_level(&self, point: &Point<'_>, grouping: Grouping) -> Level {
        let count = self.municipalities.get(&(point.province, point.municipality)).copied().unwrap_or_default();
        if count >= grouping.municipality { Level::Municipality } else { Level::OtherMunicipalities }
    }
}

fn digest(cells: &[Cell], table: Table) -> Digest {
    let mut text = format!("{table:?}\n");
    for cell in cells {
        // JSON, so that no name can be mistaken for two. Writing to memory, with text keys only: it cannot fail.
        text.push_str(&serde_json::to_string(&(&cell.area, cell.class, cell.points)).unwrap_or_default());
        text.push('\n');
    }
    Digest::of(text.as_bytes())
}
