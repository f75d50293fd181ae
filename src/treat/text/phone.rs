//! Telephone numbers, as people write them.

use super::is_date;
use std::ops::{Range, RangeInclusive};

/// The fewest and the most digits of a telephone number, a country's code and an area's included (E.164 has 15 at most).
pub(super) const PHONE: RangeInclusive<usize> = 9..=15;
/// The most signs between two groups of its digits: `+49 (0) - 151`.
const SIGNS_BETWEEN: usize = 4;

/// The first telephone number at or behind `from`, as people write them: see [`phone_at`].
pub(super) fn phone(text: &str, from: usize) -> Option<Range<usize>> {
    (from..text.len()).find_map(|at| phone_at(text.as_bytes(), at))
}

/// A telephone number that begins here: from 9 to 15 digits in groups, with the country's code behind a plus, or beginning with 0.
fn phone_at(text: &[u8], start: usize) -> Option<Range<usize>> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(b' ');
    let is_digit = |at: usize| byte(at).is_ascii_digit();
    let lead = byte(start);
    let before = start.checked_sub(1).map_or(b' ', byte);
    // A group inside a number or a day does not begin one: 2024-01-15, 1.2.3-0415, 1.2.3+2024.
    let inside = before.is_ascii_digit() || (b"+-.".contains(&before) && start >= 2 && is_digit(start - 2));
    // A version has a dot behind its 0, a telephone number has none there.
    let leads = lead == b'+' || (lead == b'0' && byte(start + 1) != b'.');
    if inside || !leads {
        return None;
    }
    let glued = before.is_ascii_alphabetic();
    let (mut digits, mut at, mut found) = (0, start, None);
    loop {
        let signs = text[at..].iter().take(SIGNS_BETWEEN + 1).take_while(|b| b"+ ()-/.".contains(b)).count();
        let group = at + signs;
        at = group;
        while is_digit(at) {
            at += 1;
        }
        digits += at - group;
        if at == group || signs > SIGNS_BETWEEN || digits > *PHONE.end() {
            return found;
        }
        // Behind a letter it is a version and its day or year: v01-20240115, rc+2024.01.15.
        let run = std::str::from_utf8(&text[group..at]).unwrap_or_default();
        if glued && (is_date(run) || (run.len() == 4 && run.starts_with("20"))) {
            return found;
        }
        if digits >= *PHONE.start() {
            found = Some(start..at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{is_identifier_like, is_identifier_like_in_groups};

    #[test]
    fn a_telephone_number_is_told_anywhere_in_a_name_and_versions_and_serials_are_none() {
        for odd in [
            "Jan 06-1234-5678",
            "Jan 06-123-4567",
            "tel 030-123 45 67",
            "tel. 030/123 45 67",
            "T: 030.123.4567",
            "tel030-123 45 67",
            "(030) 123 45 67 Jan",
            "call 030-123 45 67 now",
            "Box 12 030-123 45 67",
            "Box 12/030-123 45 67",
            "bel +31 30 123 45 67",
            "bel (+31) 30-123 45 67",
            "+ 31 30 123 45 67",
            "+49 (0)30 / 123 456",
            "+31.30.123.45.67",
            "01 23 45 67 89",
            "Jan 06-20241 103",
            "Jan 06-1234-567 2024-01-15",
            "0-123-456-789",
        ] {
            assert!(is_identifier_like(odd) && is_identifier_like_in_groups(odd), "{odd}");
        }
        for name in [
            "CP 22kW 3-phase",
            "v1.2.3-20240115",
            "v01-20240115",
            "v01-2024-0115",
            "2024-01-15",
            "Stand 2024-01-15",
            "FW 2024-01-15 080",
            "1.2.3+20241031",
            "rc+2024.01.15.123",
            "ABB Terra 184 CC",
            "EVC-22-AB",
            "EVC-0022-AB-0113",
            "SN 0112-AC-0415",
            "0.12.345.6789-rc1",
            "4.0.5-0012.345.7",
            "Terra 54 CJG 4.1.0-1234.567",
            "400 V 32 A 50 Hz 1000000",
            "DIN 0100-722",
            "IEC 61851-1:2019",
            "0-10 V",
            "+01:00",
            "EN 50620 3x230/400 V 0.5 A",
        ] {
            assert!(!is_identifier_like(name) && !is_identifier_like_in_groups(name), "{name}");
        }
    }
}
