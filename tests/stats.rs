//! Statistics: the noise is exact, a contributor is bounded, figures add up, the ledger holds, and nothing else gets out.

#[path = "stats/budget.rs"]
mod budget;
#[path = "stats/city.rs"]
mod city;
#[path = "stats/figures.rs"]
mod figures;
#[path = "stats/noise.rs"]
mod noise;
#[path = "stats/oracle.rs"]
mod oracle;
#[path = "stats/places.rs"]
mod places;
#[path = "stats/town.rs"]
mod town;
