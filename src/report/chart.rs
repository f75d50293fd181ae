//! Charts as SVG: bars and columns with their 95 % margins as whiskers, curves with theirs as bands. No script, no font and no image from
//! elsewhere. Each names what it shows for those who do not see it; the numbers themselves stand in a table beside it.

use super::words::{escaped, number};
use std::fmt::Write;

/// Width of every chart, in its own units.
const WIDTH: f64 = 760.0;

/// A published number with its margin, in the unit of the chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) value: f64,
    pub(super) margin: f64,
}

/// What a chart is called, for the eye and for a reader's voice.
pub(super) struct Title<'a> {
    /// Unique on the page, a word.
    pub(super) id: &'a str,
    pub(super) text: &'a str,
    pub(super) unit: &'a str,
}

/// Steps of an axis that ends at or above `most`: a power of ten times 1, 2 or 5, five steps or so.
fn steps(most: f64) -> (f64, usize) {
    let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
    let power = 10f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| most / s <= 5.5).unwrap_or(power * 10.0);
    (step, (most / step).ceil().max(1.0) as usize)
}

fn tick(value: f64) -> String {
    if value.fract().abs() < 1e-9 { number(value as i64) } else { format!("{value:.1}") }
}

fn open(out: &mut String, title: &Title<'_>, height: f64) {
    let (id, text) = (title.id, escaped(title.text));
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}\"><title id=\"{id}\">{text}, in {}, with 95 % margins</title>",
        escaped(title.unit)
    );
}

/// Horizontal bars, one a name.
pub(super) fn bars(title: &Title<'_>, items: &[(String, Point)]) -> String {
    const LEFT: f64 = 260.0;
    const ROW: f64 = 26.0;
    let most = items.iter().map(|(_, p)| p.value + p.margin).fold(0.0, f64::max);
    let (step, count) = steps(most);
    // Half of the last tick's number stands to the right of it.
    let scale = (WIDTH - LEFT - 44.0) / (step * count as f64);
    let height = items.len() as f64 * ROW + 40.0;
    let mut out = String::new();
    open(&mut out, title, height);
    for n in 0..=count {
        let x = LEFT + n as f64 * step * scale;
        let end = height - 28.0;
        let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} 4V{end:.1}\"/>");
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            height - 12.0,
            tick(n as f64 * step)
        );
    }
    for (at, (name, point)) in items.iter().enumerate() {
        let y = 6.0 + at as f64 * ROW;
        let (width, middle) = ((point.value * scale).max(0.0), y + 9.0);
        let shown = if name.chars().count() > 38 { name.chars().take(37).chain(['…']).collect() } else { name.clone() };
        let _ = write!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 13.5,
            escaped(&shown)
        );
        let _ = write!(out, "<rect class=\"a\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"2\"/>");
        let (low, high) = (LEFT + ((point.value - point.margin) * scale).max(0.0), LEFT + (point.value + point.margin) * scale);
        let _ = write!(
            out,
            "<path class=\"whisker\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\"/>",
            middle - 4.0,
            middle - 4.0
        );
    }
    out.push_str("</svg>");
    out
}

/// Upright columns, one a bin.
pub(super) fn columns(title: &Title<'_>, items: &[(String, Point)]) -> String {
    const LEFT: f64 = 70.0;
    const HEIGHT: f64 = 270.0;
    const FOOT: f64 = 46.0;
    let most = items.iter().map(|(_, p)| p.value + p.margin).fold(0.0, f64::max);
    let (step, count) = steps(most);
    let (floor, room) = (HEIGHT - FOOT, HEIGHT - FOOT - 10.0);
    let scale = room / (step * count as f64);
    let slot = (WIDTH - LEFT - 10.0) / items.len().max(1) as f64;
    let mut out = String::new();
    open(&mut out, title, HEIGHT);
    grid(&mut out, LEFT, floor, scale, step, count);
    for (at, (name, point)) in items.iter().enumerate() {
        let x = LEFT + at as f64 * slot;
        let (height, middle) = ((point.value * scale).max(0.0), x + slot / 2.0);
        let _ = write!(
            out,
            "<rect class=\"a\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"2\"/>",
            x + slot * 0.12,
            floor - height,
            slot * 0.76
        );
        let (low, high) = (floor - ((point.value - point.margin) * scale).max(0.0), floor - (point.value + point.margin) * scale);
        let _ = write!(
            out,
            "<path class=\"whisker\" d=\"M{middle:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h6M{:.1} {high:.1}h6\"/>",
            middle - 3.0,
            middle - 3.0
        );
        // Every second name where there are many.
        if items.len() <= 13 || at % 2 == 0 {
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                floor + 16.0,
                escaped(name)
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// Curves over the hours of a day, with their margins as bands; two at most, the second dashed.
pub(super) fn curves(title: &Title<'_>, series: &[(&str, Vec<Point>)]) -> String {
    const LEFT: f64 = 70.0;
    const HEIGHT: f64 = 280.0;
    const FOOT: f64 = 60.0;
    let most = series.iter().flat_map(|(_, points)| points).map(|p| p.value + p.margin).fold(0.0, f64::max);
    let (step, count) = steps(most);
    let (floor, room) = (HEIGHT - FOOT, HEIGHT - FOOT - 10.0);
    let scale = room / (step * count as f64);
    let slot = (WIDTH - LEFT - 10.0) / 24.0;
    let mut out = String::new();
    open(&mut out, title, HEIGHT);
    grid(&mut out, LEFT, floor, scale, step, count);
    for hour in (0..24).step_by(2) {
        let x = LEFT + (f64::from(hour) + 0.5) * slot;
        let _ = write!(out, "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{hour:02}:00</text>", floor + 16.0);
    }
    for (which, (name, points)) in series.iter().enumerate() {
        let class = if which == 0 { "a" } else { "b" };
        let place = |at: usize, value: f64| (LEFT + (at as f64 + 0.5) * slot, floor - value.max(0.0) * scale);
        let line = |side: f64, backwards: bool| {
            let mut points: Vec<_> = points.iter().enumerate().map(|(at, p)| place(at, p.value + side * p.margin)).collect();
            if backwards {
                points.reverse();
            }
            points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L")
        };
        let _ = write!(out, "<path class=\"band {class}\" d=\"M{}L{}Z\"/>", line(1.0, false), line(-1.0, true));
        let _ = write!(out, "<path class=\"curve {class}\" d=\"M{}\"/>", line(0.0, false));
        let (x, y) = (LEFT + which as f64 * 190.0, HEIGHT - 14.0);
        let _ = write!(out, "<path class=\"curve {class}\" d=\"M{x:.1} {y:.1}h34\"/>");
        let _ = write!(out, "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 42.0, y + 4.0, escaped(name));
    }
    out.push_str("</svg>");
    out
}

fn grid(out: &mut String, left: f64, floor: f64, scale: f64, step: f64, count: usize) {
    for n in 0..=count {
        let y = floor - n as f64 * step * scale;
        let _ = write!(out, "<path class=\"grid\" d=\"M{left} {y:.1}H{:.1}\"/>", WIDTH - 10.0);
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            tick(n as f64 * step)
        );
    }
}
