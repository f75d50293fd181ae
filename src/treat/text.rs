//! What a string looks like: tells times, numbers and plain words from anything that could name a person or a card.

use crate::identity::is_older_contract;
use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode::RequireNone;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD as BASE64};
use std::borrow::Cow;
use std::ops::Range;

/// The fewest letters and digits that can hold a card number: a 4-byte UID in hexadecimal (ISO 14443-3).
pub(crate) const SHORTEST_CARD: usize = 8;
/// The most digits before the point of a number: as many as the biggest integer of 64 bits has for sure. A SIM card's number has one more.
const MOST_DIGITS: usize = 18;
/// The longest number in JSON, in characters: programs that print all they have of one need fewer than 30.
const LONGEST_NUMBER: usize = 40;
/// The longest message of ISO 15118 that is looked at, in characters: the standard's longest field has 17,000 (OCPP 2.1, `exiResponse`).
const LONGEST_EXI: usize = 20_000;
/// What stands where free text was scrubbed.
const SCRUBBED: &str = "***";

/// Base64 in either alphabet, with whatever bits left over.
static LENIENT: GeneralPurpose = lenient(&STANDARD);
static LENIENT_URL: GeneralPurpose = lenient(&URL_SAFE);

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(RequireNone).with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

/// The most digits of an exponent: a number of 64 bits has three at most.
const MOST_EXPONENT: usize = 3;

/// A plain decimal number of at most 20 characters: optional sign, digits, optional fraction, optional exponent. No white space.
pub(crate) fn is_decimal(text: &str) -> bool {
    is_digits(text) || is_signed_or_scaled(text)
}

/// The usual decimal in one pass: digits, perhaps one point and more digits.
pub(super) fn is_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let past_digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let whole = past_digits(0);
    if whole == 0 || whole > MOST_DIGITS || bytes.len() > 20 {
        return false;
    }
    let end = if bytes.get(whole) == Some(&b'.') { past_digits(whole + 1) } else { whole };
    end == bytes.len() && end != whole + 1
}

/// A decimal with a sign, a comma or an exponent.
pub(super) fn is_signed_or_scaled(text: &str) -> bool {
    let bytes = text.as_bytes();
    if !matches!(bytes, [b'0'..=b'9' | b'-' | b'+', ..]) || is_scaled_card(text) {
        return false;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
    // A plus before many digits is a telephone number.
    let fits = whole.len() <= if bytes[0] == b'+' { SHORTEST_CARD } else { MOST_DIGITS };
    text.len() <= 20 && fits && digits(whole) && digits(fraction) && digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))
}

/// Whether a number with an exponent may be the number of a card of which one letter is an E, `12E34567`, whatever its signs: the exponent has more
/// digits than any, or there is no point, and as many letters and digits as a card has. Numbers that are printed with an exponent have a point.
pub(crate) fn is_scaled_card(number: &str) -> bool {
    let Some(at) = memchr::memchr2(b'e', b'E', number.as_bytes()) else { return false };
    let (mantissa, exponent) = number.split_at(at);
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    digits(exponent) > MOST_EXPONENT || (!mantissa.contains(['.', ',']) && digits(mantissa) + 1 + digits(exponent) >= SHORTEST_CARD)
}

/// Whether a number in JSON is too big for anything that is counted or measured.
pub(crate) fn is_huge(number: &str) -> bool {
    let whole = number.bytes().skip_while(|b| *b == b'-').take_while(u8::is_ascii_digit).count();
    whole > MOST_DIGITS || number.len() > LONGEST_NUMBER
}

/// The value of a switch or a number, as configuration keys and variables hold them. At most seven digits: enough for any
/// setting, too few for a card number; the E of an exponent counts as one.
pub(crate) fn is_setting(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("true")
        || text.eq_ignore_ascii_case("false")
        || (is_decimal(text) && text.bytes().filter(u8::is_ascii_alphanumeric).count() < SHORTEST_CARD)
}

/// [`str::trim`], at once where there is nothing to trim: where a text begins and ends with letters, digits or signs of ASCII.
#[inline]
pub(super) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

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

/// A language tag (RFC 5646): two or three letters, then perhaps a script and a region. Variants could hold a card number.
pub(crate) fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let primary = parts.next().unwrap_or_default();
    text.len() <= 12
        && matches!(primary.len(), 2 | 3)
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| match p.len() {
            2 | 4 => p.bytes().all(|b| b.is_ascii_alphabetic()),
            3 => p.bytes().all(|b| b.is_ascii_digit()),
            _ => false,
        })
}

/// A message of ISO 15118 as a station hands it on: base64 of EXI, which begins with the bits 10 and no text in ASCII does (EXI 1.0 §5.1; ISO 15118
/// leaves out the cookie that may stand before them). What it says is for the two ends of it.
pub(crate) fn is_exi(text: &str) -> bool {
    text.len() <= LONGEST_EXI && BASE64.decode(text).is_ok_and(|bytes| bytes.first().is_some_and(|first| first & 0xc0 == 0x80))
}

/// A digest of SHA-256, SHA-384 or SHA-512, in hexadecimal or in padded base64 (of the usual alphabet: in the one for addresses, a contract number
/// with its hyphens has a form, too); or the twenty bytes in hexadecimal that the serial number of a certificate has at most (RFC 5280 §4.1.2.2):
/// many have that many, and the status of a certificate is asked by it. What is text when it is decoded is none, nor is what was filled up to the
/// length with something shorter.
pub(crate) fn is_digest(text: &str) -> bool {
    let hex = matches!(text.len(), 40 | 64 | 96 | 128) && text.bytes().all(|b| b.is_ascii_hexdigit());
    // 32, 48 or 64 bytes.
    let base64 = || {
        matches!(text.len(), 44 | 64 | 88)
            && text.bytes().any(|b| b.is_ascii_lowercase())
            && text.bytes().any(|b| b.is_ascii_uppercase())
            && BASE64.decode(text).is_ok_and(|bytes| matches!(bytes.len(), 32 | 48 | 64))
    };
    (hex || base64()) && !is_padded(text) && !is_encoded_text(text)
}

/// Whether the same eight characters stand twice in a text of at most 128: so they do where a card number is filled up with zeros, or said again.
/// In a digest by chance once in half a million; that one is coded like any other reference.
fn is_padded(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..bytes.len()).any(|apart| {
        let mut same = 0;
        bytes.iter().zip(&bytes[apart..]).any(|(a, b)| {
            same = if a.eq_ignore_ascii_case(b) { same + 1 } else { 0 };
            same >= 8
        })
    })
}

/// Whether a text is another one in base64 or hexadecimal: twelve characters at least, since a shorter word of a technical name may happen to be
/// base64 of some. Of twelve bytes by chance one in a hundred thousand is text.
fn is_encoded_text(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    let is_text = |bytes: &[u8]| bytes.len() >= 12 && bytes.iter().all(|b| matches!(b, b' '..=b'~'));
    if bare.len() < 16 {
        return false;
    }
    let nibble = |b: &u8| char::from(*b).to_digit(16).map(|digit| digit as u8);
    let pairs: Option<Vec<u8>> = bare.as_bytes().chunks(2).map(|pair| Some(nibble(&pair[0])? << 4 | nibble(pair.get(1)?)?)).collect();
    pairs.is_some_and(|bytes| is_text(&bytes))
        || [&LENIENT, &LENIENT_URL].into_iter().any(|base64| base64.decode(bare).is_ok_and(|bytes| is_text(&bytes)))
}

/// The fewest and the most digits of a telephone number, a country's code and an area's included (E.164 has 15 at most).
const PHONE: std::ops::RangeInclusive<usize> = 9..=15;
/// The most signs between two groups of its digits: `+49 (0) - 151`.
const SIGNS_BETWEEN: usize = 4;

/// The first telephone number at or behind `from`, as people write them: see [`phone_at`].
fn phone(text: &str, from: usize) -> Option<Range<usize>> {
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

/// A reference that cannot hold a card number: fewer than [`SHORTEST_CARD`] letters and digits in all, or a random UUID
/// (version 4, RFC 9562 §5.4).
pub(crate) fn is_harmless_reference(text: &str) -> bool {
    if is_random_uuid(text) {
        return true;
    }
    if text.len() > 40 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    text.len() < SHORTEST_CARD || text.bytes().filter(u8::is_ascii_alphanumeric).count() < SHORTEST_CARD
}

/// A UUID of version 4: random, so it cannot be a card number.
pub(crate) fn is_random_uuid(text: &str) -> bool {
    /// What may stand at each place.
    const FORM: &[u8; 36] = b"xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
    let Ok(bytes) = <&[u8; 36]>::try_from(text.as_bytes()) else { return false };
    let fits = |(b, form): (&u8, &u8)| match form {
        b'x' => b.is_ascii_hexdigit(),
        b'v' => matches!(b, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
        form => b == form,
    };
    bytes.iter().zip(FORM).all(fits)
}

/// Whether a technical name has a part that could be an identifier: eight or more letters and digits in a row of which two are
/// digits (unless a date), a whole card number in hexadecimal, hexadecimal pairs with separators, an address of any kind.
pub(crate) fn is_identifier_like(text: &str) -> bool {
    has_identifier(text, false)
}

/// The same, but a contract number only in its own groups: `AC-standard-2026` has as many letters and digits as one.
pub(crate) fn is_identifier_like_in_groups(text: &str) -> bool {
    has_identifier(text, true)
}

fn has_identifier(text: &str, in_groups: bool) -> bool {
    if text.contains('@') || text.contains("://") || text.contains("(at)") || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return true;
    }
    // Padding stands at the end of base64 and of no name. Few names have as many digits as a telephone number.
    let has_phone = || text.bytes().filter(u8::is_ascii_digit).count() >= *PHONE.start() && phone(text, 0).is_some();
    if text.ends_with('=') || has_phone() || text.split(' ').any(is_encoded_text) {
        return true;
    }
    let mut pairs = 0;
    let mut paired = String::new();
    for run in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|r| !r.is_empty()) {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        let hex = run.bytes().all(|b| b.is_ascii_hexdigit());
        if run.len() >= SHORTEST_CARD && digits >= 2 && !is_date(run) {
            return true;
        }
        if hex && matches!(run.len(), 8 | 14 | 20) && !is_date(run) {
            return true;
        }
        // 04-A2-B3-C4, 04A2 B3C4: groups of an even number of hexadecimal digits that add up to a card.
        if hex && run.len() % 2 == 0 {
            pairs += 1;
            paired.push_str(run);
            if pairs >= 2 && matches!(paired.len(), 8 | 14 | 20) && paired.len() / pairs <= 4 && !is_date(&paired) {
                return true;
            }
        } else {
            pairs = 0;
            paired.clear();
        }
    }
    if is_older_contract(text) {
        return true;
    }
    let bare: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    // 04A2B3C-4D5E6F7: a card in odd groups. Without a letter it is a version number or a time.
    if matches!(bare.len(), 14 | 20) && bare.iter().all(u8::is_ascii_hexdigit) && bare.iter().any(u8::is_ascii_alphabetic) {
        return true;
    }
    // NL-ABC-123456789: a contract number in its groups.
    let mut letters = 0;
    let mut apart = text.bytes().filter(|b| {
        letters += usize::from(b.is_ascii_alphanumeric());
        !b.is_ascii_alphanumeric() && !matches!(letters, 2 | 5 | 14)
    });
    matches!(bare.len(), 14 | 15)
        && !(in_groups && apart.next().is_some())
        && bare[..2].iter().all(u8::is_ascii_alphabetic)
        && bare[5..].iter().filter(|b| b.is_ascii_digit()).count() >= 4
}

/// Eight digits that read as a date of this century, as build numbers do.
fn is_date(run: &str) -> bool {
    let number = |range: std::ops::Range<usize>| run.get(range).and_then(|d| d.parse::<u32>().ok());
    run.len() == 8
        && run.bytes().all(|b| b.is_ascii_digit())
        && matches!((number(0..4), number(4..6), number(6..8)), (Some(2000..=2099), Some(1..=12), Some(1..=31)))
}

/// Free text with everything blotted out that is shaped like a card number, contract number, VIN, MAC, e-mail, phone, IBAN or IP
/// address, or that `known` says is active on this connection.
pub(crate) fn scrub<'a>(text: &'a str, known: impl Fn(&str) -> bool) -> Cow<'a, str> {
    let words: Vec<&str> = text.split_inclusive(|c: char| c.is_whitespace() || ",;()\"'={}[]<>|".contains(c)).collect();
    let bare = |word: &str| word.trim_end_matches(|c: char| c.is_whitespace() || ",;()\"'={}[]<>|".contains(c)).to_owned();
    let mut blot = vec![false; words.len()];
    for (at, word) in words.iter().enumerate() {
        let word = bare(word);
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let dotted = word.split('.').filter(|p| p.parse::<u8>().is_ok()).count() == 4;
        let colons = word.bytes().filter(|b| *b == b':').count() >= 3;
        blot[at] |= is_identifier_like(&word) || digits >= 7 || dotted || colons || (word.len() >= 4 && known(&word));
        // Base64 with its padding, though some of its letters are marks between words.
        blot[at] |= word.len() >= SHORTEST_CARD && words[at].ends_with('=') && words.get(at + 1).is_some_and(|next| next.starts_with('='));
        // jan(at)example.org, jan [at] example.org
        if word.eq_ignore_ascii_case("at") && words[at].ends_with([')', ']']) && at > 0 && words[at - 1].ends_with(['(', '[']) {
            let first = if bare(words[at - 1]).is_empty() { at.saturating_sub(2) } else { at - 1 };
            let last = (at + 1..words.len()).find(|next| !bare(words[*next]).is_empty()).unwrap_or(at);
            blot[first..=last].fill(true);
        }
    }
    // A telephone number, whatever the length of its groups: "030-123 45 67".
    let (mut from, mut word, mut start) = (0, 0, 0);
    while let Some(number) = phone(text, from) {
        while start < number.end {
            let end = start + words[word].len();
            blot[word] |= end > number.start;
            // Its last word may be the first of the next.
            if end > number.end {
                break;
            }
            (word, start) = (word + 1, end);
        }
        from = number.end;
    }
    // Numbers and hexadecimal groups spread over neighbouring words: "04 A2 B3 C4", "06 1234 5678", "NL91 ABNA 0417 1643 00".
    let grouped = |word: &str| {
        let word = bare(word);
        !word.is_empty()
            && word.len() <= 5
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.:/".contains(&b))
            && word.bytes().any(|b| b.is_ascii_hexdigit())
            && (word.bytes().any(|b| b.is_ascii_digit()) || word.bytes().all(|b| b.is_ascii_hexdigit() || b.is_ascii_uppercase()))
    };
    let mut at = 0;
    while at < words.len() {
        let end = at + words[at..].iter().take_while(|w| grouped(w)).count();
        let joined: String = words[at..end].iter().map(|w| bare(w)).collect();
        let counted = joined.bytes().filter(u8::is_ascii_alphanumeric).count();
        if end - at >= 2 && counted >= SHORTEST_CARD && joined.bytes().filter(u8::is_ascii_digit).count() >= 4 {
            blot[at..end].fill(true);
        }
        at = end.max(at + 1);
    }
    if !blot.contains(&true) && !known(text) {
        return Cow::Borrowed(text);
    }
    if !blot.contains(&true) {
        return Cow::Borrowed(SCRUBBED);
    }
    // Words in a row become one blot, never longer than they were: the field has a bound.
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while at < words.len() {
        if !blot[at] {
            clean.push_str(words[at]);
            at += 1;
            continue;
        }
        let end = at + blot[at..].iter().take_while(|blot| **blot).count();
        let length: usize = words[at..end].iter().map(|word| word.chars().count()).sum();
        let last = words[end - 1];
        let tail = &last[bare(last).len()..];
        clean.extend(SCRUBBED.chars().take(length - tail.chars().count()));
        clean.push_str(tail);
        at = end;
    }
    if known(&clean) { Cow::Borrowed(SCRUBBED) } else { Cow::Owned(clean) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn decimals_pass_and_cards_with_a_single_e_do_not() {
        for fine in
            ["0", "12.5", "-12.5", "+1,5", "1.2E+3", "0.5e-3", "12E3", "1e-3", "1.23456e+06", "123456.7E+01", "-1.5E300", "-12345678"]
        {
            assert!(is_decimal(fine), "{fine}");
        }
        for not in [
            "",
            "-",
            ".5",
            "5.",
            "12E34567",
            "-12E34567",
            "+12E34567",
            "12E-34567",
            "12E+34567",
            "1.2E34567",
            "123456E7",
            "-123456e-7",
            "1e",
        ] {
            assert!(!is_decimal(not), "{not}");
        }
        assert!(is_setting("1.5e3") && !is_setting("1.2345E67"));
    }

    #[test]
    fn technical_names_pass_and_identifiers_do_not() {
        for name in [
            "Terra AC W22-T-R-0",
            "NG910-60503",
            "PLP1-0-2-4",
            "1.2.3-45",
            "2024.10.3",
            "SingleSocketCharger",
            "The Mobility House",
            "FW 20241103",
            "Energy.Active.Import.Register",
            "v5.1.0-rc2",
            "EV-22A-1234-567",
            "AC-22K-WALLBX-1",
            "EVB-22A-123456-7",
            "DC-54A-123456-Z",
        ] {
            assert!(!is_identifier_like(name), "{name}");
        }
        for name in [
            "04A2B3C4",
            "04a2b3c4d5e6f7",
            "04:A2:B3:C4",
            "04-A2-B3-C4-D5-E6-F7",
            "04A2 B3C4",
            "DEADBEEF",
            "NLABC123456789",
            "NL-ABC-123456789",
            "DE*8AA*123456*7",
            "DE-8AA-123456-7",
            "de-8aa-123456-x of Jan",
            "NL*TNM*1234567",
            "x 12345678",
            "WVWZZZ1JZ3W386752",
            "me@example.org",
            "card04A2B3C4",
        ] {
            assert!(is_identifier_like(name), "{name}");
        }
    }

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

    #[test]
    fn free_text_is_scrubbed_of_what_names_a_person() {
        let none = |_: &str| false;
        for secret in [
            "04A2B3C4D5E6F7",
            "04:A2:B3:C4",
            "04 A2 B3 C4",
            "NL-ABC-C12345678",
            "WVWZZZ1JZ3W386752",
            "00:1B:44:11:3A:B7",
            "jan@example.org",
            "+31 6 1234 5678",
            "0612345678",
            "030-123 45 67",
            "NL91ABNA0417164300",
            "NL91 ABNA 0417 1643 00",
            "192.168.10.17",
            "2001:db8::1:2",
            "BKKzxNXm9w==",
            "MDRBMkIzQzRENUU2Rjc=",
            "jan.devries(at)example.org",
            "jan.devries [at] example.org",
        ] {
            let text = format!("card {secret}, rejected");
            let clean = scrub(&text, none);
            assert!(clean.starts_with("card ***") && clean.ends_with(", rejected"), "{clean}");
            assert!(!clean.contains("jan") && !clean.contains("org") && !clean.contains("NXm9w"), "{clean}");
        }
        for fine in
            ["ground failure on outlet 2, code E12", "fault at 10:15 (at) outlet", "at", "(at", "(at)", "temperature=41, cover==open"]
        {
            let clean = scrub(fine, none);
            assert!(clean == fine || fine.contains("(at)"), "{clean}");
        }
        assert_eq!(scrub("tag TESTER seen", |w| w == "TESTER"), "tag *** seen");
    }

    /// Found by the fuzz target `treat`: three stars for two letters made a valid message invalid.
    #[test]
    fn scrubbed_text_is_never_longer_than_it_was() {
        let none = |_: &str| false;
        for text in ["06 12 34 56 78 90 12 34", "\u{e9} b \u{e9} b \u{e9}", "@", "a@ @ b", "04 A2 B3 C4", "", "\u{e9}\u{e9}"] {
            let clean = scrub(text, none);
            assert!(clean.chars().count() <= text.chars().count(), "{text} became {clean}");
        }
        assert_eq!(scrub("card 04 A2 B3 C4, rejected", none), "card ***, rejected");
    }

    #[test]
    fn references() {
        for fine in ["1", "tx-1234", "550e8400-e29b-41d4-a716-446655440000", "ab:12"] {
            assert!(is_harmless_reference(fine), "{fine}");
        }
        for not in ["tx-04A2B3C4", "04A2B3C4", "12345678", "04a2b3c4-d5e6-1000-8000-000000000000", "a b"] {
            assert!(!is_harmless_reference(not), "{not}");
        }
    }

    #[test]
    fn digests_have_the_length_of_one_and_repeat_nothing() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let base64 = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
        for fine in [hex, &hex.to_uppercase(), &hex[..40], base64] {
            assert!(is_digest(fine), "{fine}");
        }
        for not in [
            "",
            &hex[..32],
            &hex[..63],
            &hex[1..41].replace('8', "-"),
            &hex.replace('d', "-"),
            &base64[..43],
            &base64.to_uppercase(),
            &base64.replace('+', "-"),
            &format!("{}-04A2B3C4D5E6F7", &hex[..49]),
            &format!("{hex}00"),
            &format!("{}04A2B3C4D5E6F7", "0".repeat(26)),
            &format!("{}04A2B3C4D5E6F7", "0".repeat(50)),
            &"04A2B3C4".repeat(8),
            &"04A2b3C4".repeat(8),
            &BASE64.encode([0; 32]),
            &BASE64.encode("04A2B3C4D5E6F7 NL-ABC-C12345678"),
        ] {
            assert!(!is_digest(not), "{not}");
        }
    }

    #[test]
    fn exi_is_no_text() {
        // A CertificateInstallationReq begins with 80 98 (ISO 15118-2).
        for fine in [&[0x80, 0x98, 0x02, 0x10][..], &[0x9f], &[0xbf, 0, 0, 0]] {
            assert!(is_exi(&BASE64.encode(fine)));
        }
        for not in ["", "04A2B3C4", "NLTNMC0012204500", "gJg", "gJg=\n", "-gJgCEA=="] {
            assert!(!is_exi(not), "{not}");
        }
        for text in ["04A2B3C4D5E6F7", "\u{e9}", "CN=NLTNMC00122045"] {
            assert!(!is_exi(&BASE64.encode(text)), "{text}");
        }
        assert!(!is_exi(&"gJg=".repeat(LONGEST_EXI)));
    }
}
