//! How sessions are assembled, case by case. Each fact is committed on its own here; `simulation` reads them in batches and is killed.

#[path = "charging/books.rs"]
mod books;
#[path = "charging/meter.rs"]
mod meter;
#[path = "charging/one_six.rs"]
mod one_six;
#[path = "charging/simulation.rs"]
mod simulation;
#[path = "charging/two_x.rs"]
mod two_x;
#[path = "charging/world.rs"]
mod world;
