//! One table as tidy CSV: one number a line, with its unit, its margin and whether it is withheld.

use super::words::{class_code, level_code, unit};
use crate::stats::{Kind, TableFigures};

/// The columns.
const COLUMNS: [&str; 22] = [
    "period",
    "table",
    "kind",
    "level",
    "country",
    "province",
    "municipality",
    "place",
    "class",
    "measure",
    "bin",
    "bin_name",
    "value",
    "unit",
    "margin_95",
    "suppressed",
    "counted_in",
    "cells",
    "missing",
    "points",
    "occupancy_permille",
    "occupancy_margin_permille",
];

/// The file of a table. Fields that stand for nothing are empty.
pub(super) fn table(table: &TableFigures) -> Vec<u8> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and all lines have the same length.
    let _ = lines.write_record(COLUMNS);
    let name = format!("{:?}", table.table);
    let period = table.period.to_string();
    for row in &table.rows {
        let part = |at: usize| row.area.path.get(at).cloned().unwrap_or_default();
        let kind = match row.kind {
            Kind::Total => "total",
            Kind::Cell => "cell",
            Kind::Remainder => "remainder",
            Kind::CutOff => "cut_off",
        };
        let text = |number: Option<String>| number.unwrap_or_default();
        let measure = serde_json::to_value(row.measure).ok().and_then(|v| v.as_str().map(str::to_owned));
        let _ = lines.write_record([
            period.as_str(),
            &name,
            kind,
            level_code(row.area.level),
            &part(0),
            &part(1),
            &part(2),
            &part(3),
            class_code(row.class),
            &text(measure),
            &text(row.bin.map(|bin| bin.to_string())),
            &text(row.bin.and_then(|bin| row.measure.bin_name(bin))),
            &text(row.value.map(|value| value.to_string())),
            unit(row.measure.unit()),
            &text(row.margin.map(|margin| margin.to_string())),
            if row.value.is_none() { "true" } else { "false" },
            &text(row.counted_in.as_ref().map(|area| area.path.join(" / "))),
            &row.cells.to_string(),
            &row.missing.to_string(),
            &row.points.to_string(),
            &text(row.occupancy.map(|occupancy| occupancy.permille.to_string())),
            &text(row.occupancy.map(|occupancy| occupancy.margin.to_string())),
        ]);
    }
    lines.into_inner().unwrap_or_default()
}
