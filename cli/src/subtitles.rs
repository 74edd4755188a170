//! Subtitles: SubRip (SRT) and WebVTT.

use std::fmt::Write;

use kinglet::Segment;

/// How times are written.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    /// A number before each, a comma before milliseconds.
    Srt,
    /// A point before milliseconds.
    Vtt,
}

/// The subtitle number `number`, counted from 1, and the blank line after it.
pub(crate) fn subtitle(style: Style, number: usize, segment: &Segment) -> String {
    let mut text = String::new();
    if let Style::Srt = style {
        let _ = writeln!(text, "{number}");
    }
    // An arrow would be taken for a line of times, a blank line for an end.
    let lines: Vec<&str> =
        segment.text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = lines.join("\n").replace("-->", "->");
    let (start, end) = (time(style, segment.start), time(style, segment.end));
    let _ = writeln!(text, "{start} --> {end}\n{words}\n");
    text
}

/// Hours, minutes, seconds and milliseconds.
fn time(style: Style, seconds: f64) -> String {
    let point = match style {
        Style::Srt => ',',
        Style::Vtt => '.',
    };
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}{point}{:03}", ms / 1000 % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_hand() {
        assert_eq!(time(Style::Srt, 3_723.456), "01:02:03,456");
        assert_eq!(time(Style::Vtt, 59.9996), "00:01:00.000");
        assert_eq!(time(Style::Vtt, 0.0), "00:00:00.000");
    }
}
