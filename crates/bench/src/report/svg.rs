//! Plots as SVG: bars with their spread, and lines over time.
//!
//! What always holds: colours are classes, so that the page's style gives them for light and dark
//! grounds; text is never drawn over text: labels have columns or rows of their own.

use std::fmt::Write;

/// Width of a plot in its own units.
const WIDTH: f64 = 640.0;
/// Width of the names beside bars.
const NAMES: f64 = 132.0;
/// Width of the values behind bars.
const VALUES: f64 = 120.0;
/// Height of a bar with its distance.
const STEP: f64 = 26.0;

/// A bar.
pub(super) struct Bar {
    /// What it's of.
    pub(super) name: String,
    /// A class that gives its colour.
    pub(super) class: String,
    /// The median, and the ends of its spread; `None` if it wasn't measured.
    pub(super) value: Option<(f64, f64, f64)>,
    /// What stands behind it.
    pub(super) told: String,
}

/// Bars from zero on, below each other, with an axis.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let most = bars.iter().filter_map(|bar| bar.value).map(|(_, _, most)| most).fold(0.0, f64::max);
    let (step, top) = scale(most);
    let height = STEP * bars.len() as f64;
    let x = |value: f64| NAMES + (WIDTH - NAMES - VALUES) * value / top;
    let mut svg = begin(title, WIDTH, height + 36.0);
    let mut tick = 0.0;
    while tick <= top * 1.001 {
        let at = x(tick);
        line(&mut svg, "grid", (at, 0.0), (at, height));
        text(&mut svg, "tick", "middle", (at, height + 14.0), &tick_text(tick, step));
        tick += step;
    }
    let middle = NAMES.midpoint(WIDTH - VALUES);
    text(&mut svg, "unit", "middle", (middle, height + 30.0), unit);
    for (number, bar) in bars.iter().enumerate() {
        let y = STEP * number as f64;
        let center = y + STEP / 2.0;
        text(&mut svg, "name", "end", (NAMES - 8.0, center + 4.0), &bar.name);
        let end = bar.value.map_or_else(|| x(0.0), |(_, _, most)| x(most));
        if let Some((median, least, most)) = bar.value {
            let _ = write!(
                svg,
                r#"<rect class="{}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="2"/>"#,
                bar.class,
                x(0.0),
                y + 5.0,
                (x(median) - x(0.0)).max(1.0),
                STEP - 10.0
            );
            if most > least {
                line(&mut svg, "spread", (x(least), center), (x(most), center));
                line(&mut svg, "spread", (x(least), center - 4.0), (x(least), center + 4.0));
                line(&mut svg, "spread", (x(most), center - 4.0), (x(most), center + 4.0));
            }
        }
        text(&mut svg, "value", "start", (end + 7.0, center + 4.0), &bar.told);
    }
    svg + "</svg>"
}

/// A line over time.
pub(super) struct Line {
    /// A class that gives its colour.
    pub(super) class: String,
    /// Seconds and values.
    pub(super) points: Vec<(f64, f64)>,
}

/// What a plot over time shows.
pub(super) struct Times<'a> {
    /// Above it.
    pub(super) title: &'a str,
    /// What one of the values is.
    pub(super) unit: &'a str,
    /// The last second.
    pub(super) until: f64,
    /// The lowest and the highest value that plots beside each other show.
    pub(super) range: (f64, f64),
    /// Whether each step is ten times the one before.
    pub(super) by_tens: bool,
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// When something happened, and what.
    pub(super) marks: &'a [(f64, String)],
}

/// Lines over time, with marks.
pub(super) fn times(plot: &Times<'_>) -> String {
    let (width, height, left, top) = (420.0, 150.0, 52.0, 16.0 * plot.marks.len() as f64 + 6.0);
    let right = width - 12.0;
    let until = plot.until.max(1.0);
    let x = |seconds: f64| left + (right - left) * (seconds / until).clamp(0.0, 1.0);
    let mut between = 0.0;
    let (ticks, low, high) = if plot.by_tens {
        let low = plot.range.0.max(1e-3).log10().floor();
        let high = plot.range.1.max(1e-2).log10().ceil().max(low + 1.0);
        let ticks = (0..=(high - low) as usize).map(|n| 10f64.powf(low + n as f64)).collect();
        (ticks, low, high)
    } else {
        let (step, high) = scale(plot.range.1);
        between = step;
        let count = (high / step).round() as usize;
        ((0..=count).map(|n| step * n as f64).collect::<Vec<_>>(), 0.0, high)
    };
    let y = |value: f64| {
        let value = if plot.by_tens { value.max(1e-6).log10() } else { value };
        top + height * (1.0 - ((value - low) / (high - low)).clamp(0.0, 1.0))
    };
    let mut svg = begin(plot.title, width, top + height + 36.0);
    for tick in ticks {
        line(&mut svg, "grid", (left, y(tick)), (right, y(tick)));
        let step = if plot.by_tens { tick } else { between };
        text(&mut svg, "tick", "end", (left - 6.0, y(tick) + 4.0), &tick_text(tick, step));
    }
    let (step, _) = scale(until);
    let mut second = 0.0;
    while second <= until + 1e-9 {
        let told = tick_text(second, step);
        text(&mut svg, "tick", "middle", (x(second), top + height + 15.0), &told);
        second += step;
    }
    let bottom = top + height + 30.0;
    text(&mut svg, "unit", "middle", (left.midpoint(right), bottom), "seconds");
    let turned = format!(r#"transform="rotate(-90 11 {:.1})""#, top + height / 2.0);
    let _ = write!(
        svg,
        r#"<text class="unit" text-anchor="middle" x="11" y="{:.1}" {turned}>{}</text>"#,
        top + height / 2.0,
        escaped(plot.unit)
    );
    for (number, (at, what)) in plot.marks.iter().enumerate() {
        let row = 14.0 + 16.0 * number as f64;
        line(&mut svg, "mark", (x(*at), row + 3.0), (x(*at), top + height));
        // To the side where there is more room.
        let (anchor, shift) = if *at > until / 2.0 { ("end", -4.0) } else { ("start", 4.0) };
        text(&mut svg, "told", anchor, (x(*at) + shift, row), what);
    }
    for Line { class, points } in &plot.lines {
        let points: Vec<String> =
            points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = write!(svg, r#"<polyline class="line {class}" points="{}"/>"#, points.join(" "));
    }
    svg + "</svg>"
}

/// The step of an axis, and its end: few steps of 1, 2 or 5.
fn scale(most: f64) -> (f64, f64) {
    const STEPS: f64 = 5.0;
    if most <= 0.0 {
        return (1.0, 1.0);
    }
    let raw = most / STEPS;
    let power = 10f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= raw * 0.999);
    let step = digit.unwrap_or(10.0) * power;
    (step, (most / step).ceil() * step)
}

/// What stands at a tick: no more digits than its step needs.
fn tick_text(value: f64, step: f64) -> String {
    if value >= 1000.0 {
        return super::figures::number(value);
    }
    let places = if step > 0.0 { (-step.log10().floor()).max(0.0) as usize } else { 0 };
    format!("{value:.places$}")
}

fn begin(title: &str, width: f64, height: f64) -> String {
    let title = escaped(title);
    format!(r#"<svg role="img" viewBox="0 0 {width} {height:.0}"><title>{title}</title>"#)
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    // Writing to a string doesn't fail.
    let _ = write!(
        svg,
        r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
    );
}

fn text(svg: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), what: &str) {
    let what = escaped(what);
    let _ = write!(
        svg,
        r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{what}</text>"#
    );
}

/// Text as HTML and SVG want it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_not_far_above() {
        for (most, step, top) in [
            (0.0, 1.0, 1.0),
            (9.0, 2.0, 10.0),
            (10.0, 2.0, 10.0),
            (101.0, 50.0, 150.0),
            (0.07, 0.02, 0.08),
            (123_456.0, 50_000.0, 150_000.0),
        ] {
            let (found, end) = scale(most);
            assert!((found - step).abs() < 1e-9 * step, "{most}: {found}");
            assert!((end - top).abs() < 1e-9 * top, "{most}: {end}");
        }
        for (value, step, told) in [(0.0, 5.0, "0"), (15.0, 5.0, "15"), (0.15, 0.05, "0.15")] {
            assert_eq!(tick_text(value, step), told);
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let bar = |name: &str, value| Bar {
            name: name.to_owned(),
            class: "c0".to_owned(),
            value: Some((value, value, value)),
            told: "<&>".to_owned(),
        };
        let svg = bars("t", "ms", &[bar("a", 5.0), bar("b", 10.0)]);
        let width = |part: &str| {
            let number = part.split_once(" width=\"").unwrap().1.split_once('"').unwrap().0;
            number.parse::<f64>().unwrap()
        };
        let widths: Vec<f64> = svg.split("<rect").skip(1).map(width).collect();
        assert!((widths[0] * 2.0 - widths[1]).abs() < 0.2, "{widths:?}");
        assert!((widths[1] - (WIDTH - NAMES - VALUES)).abs() < 0.2, "{widths:?}");
        assert!(svg.contains("&lt;&amp;&gt;") && !svg.contains("<&>"));
    }
}
