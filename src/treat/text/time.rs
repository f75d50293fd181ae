//! Times as stations write them.

use super::trimmed;

/// The seconds since 1970 of a date-time as stations write it: RFC 3339, and also with a space for the T, without seconds, without
/// a zone (taken as UTC), with a zone without colon. `None` for anything else. Years have four digits, fractions at most nine.
pub(crate) fn time(text: &str) -> Option<i64> {
    let text = trimmed(text);
    let byte = |at: usize| text.as_bytes().get(at).copied();
    let digit = |at: usize| byte(at).filter(u8::is_ascii_digit).map(|b| i64::from(b - b'0'));
    let pair = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    // To the minute, at fixed places: one check of the length, and one of all digits.
    let head: &[u8; 16] = text.as_bytes().first_chunk()?;
    let mut digits = true;
    let mut two = |at: usize| {
        let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        digits &= (tens < 10) & (ones < 10);
        i64::from(tens) * 10 + i64::from(ones)
    };
    let (year, month, day, hour, minute) = (two(0) * 100 + two(2), two(5), two(8), two(11), two(14));
    let marks = head[4] == b'-' && head[7] == b'-' && matches!(head[10], b'T' | b't' | b' ') && head[13] == b':';
    if !digits || !marks || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut at = 16;
    let mut second = 0;
    if byte(at) == Some(b':') {
        second = pair(17)?;
        at = 19;
        if let Some(b'.' | b',') = byte(at) {
            let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            at += 1 + digits;
        }
    }
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    at += usize::from(byte(at) == Some(b' '));
    let zone = match byte(at) {
        None => 0,
        Some(b'Z' | b'z') if at + 1 == text.len() => 0,
        Some(sign @ (b'+' | b'-')) => {
            let hours = pair(at + 1)?;
            let rest = text.get(at + 3..)?;
            let rest = rest.strip_prefix(':').unwrap_or(rest);
            let minutes: i64 = match rest.len() {
                0 => 0,
                2 if rest.bytes().all(|b| b.is_ascii_digit()) => rest.parse().ok()?,
                _ => return None,
            };
            (hours * 60 + minutes) * if sign == b'-' { -60 } else { 60 }
        }
        Some(_) => return None,
    };
    // Days from the civil date (Gregorian), counted in eras of 400 years from 0000-03-01.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - zone)
}

/// The same time with a fraction of three digits, if it is one but for a fraction of more than nine: RFC 3339 sets no bound to them, and a card number
/// would have room behind the ninth.
pub(crate) fn with_shorter_fraction(text: &str) -> Option<String> {
    let (head, rest) = text.split_once(['.', ','])?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let short = format!("{head}.{}{}", rest.get(..3)?, &rest[digits..]);
    (digits > 9 && time(&short).is_some()).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::{time, with_shorter_fraction};

    #[test]
    fn times_as_stations_write_them() {
        for text in [
            "2026-11-24T10:00:00Z",
            "2026-11-24T10:00:00.123Z",
            "2026-11-24 10:00:00",
            "2026-11-24T10:00Z",
            "2026-11-24T11:00:00+01:00",
            "2026-11-24T11:00:00+0100",
            "2026-11-24T10:00:00.000000",
        ] {
            assert_eq!(time(text), Some(1_795_514_400), "{text}");
        }
        assert_eq!(time("1970-01-01T00:00:00Z"), Some(0));
        for text in [
            "",
            "now",
            "222222017-01-01T00:00:00Z",
            "2026-11-24T10:00:00Z04A2B3C4",
            "2026-11-24T10:00:00.0123456789Z",
            "04A2B3C4D5E6F7",
            "2026-13-24T10:00:00Z",
            "2026-11-24T10:00:00+",
            "2026-11-24\u{e9}10:00",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_fraction_is_cut_and_nothing_else() {
        let short = |text: &str| with_shorter_fraction(text);
        assert_eq!(short("2026-11-24T10:00:00.000000000000Z").as_deref(), Some("2026-11-24T10:00:00.000Z"));
        assert_eq!(short("2026-11-24T11:00:00,1234567890+01:00").as_deref(), Some("2026-11-24T11:00:00.123+01:00"));
        for none in ["2026-11-24T10:00:00.123456789Z", "2026-11-24T10:00:00Z", "now.1234567890", "2026-11-24T10:00:00.1234567890x", ".", ""]
        {
            assert_eq!(short(none), None, "{none}");
        }
    }
}
