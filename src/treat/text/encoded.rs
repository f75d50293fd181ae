//! What is written in base64 or hexadecimal: messages of ISO 15118 and digests, which nobody can read, and text, which anybody can.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode::RequireNone;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD as BASE64};

/// The longest message of ISO 15118 that is looked at, in characters: the standard's longest field has 17,000 (OCPP 2.1, `exiResponse`).
const LONGEST_EXI: usize = 20_000;

/// Base64 in either alphabet, with whatever bits left over.
static LENIENT: GeneralPurpose = lenient(&STANDARD);
static LENIENT_URL: GeneralPurpose = lenient(&URL_SAFE);

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(RequireNone).with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
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
pub(super) fn is_encoded_text(text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
