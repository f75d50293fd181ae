//! Numbers as they are counted and measured, and the numbers of cards that look like some.

use super::SHORTEST_CARD;

/// The most digits before the point of a number: as many as the biggest integer of 64 bits has for sure. A SIM card's number has one more.
const MOST_DIGITS: usize = 18;
/// The longest number in JSON, in characters: programs that print all they have of one need fewer than 30.
const LONGEST_NUMBER: usize = 40;
/// The most digits of an exponent: a number of 64 bits has three at most.
const MOST_EXPONENT: usize = 3;

/// A plain decimal number of at most 20 characters: optional sign, digits, optional fraction, optional exponent. No white space.
pub(crate) fn is_decimal(text: &str) -> bool {
    is_digits(text) || is_signed_or_scaled(text)
}

/// The usual decimal in one pass: digits, perhaps one point and more digits.
pub(crate) fn is_digits(text: &str) -> bool {
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
pub(crate) fn is_signed_or_scaled(text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
