//! Ways to break rules: of JSON and OCPP-J, of RFC 6455, of the opening handshake.

use super::dice::Dice;
use super::script::End;
use super::ws;
use crate::ocpp::Version;
use serde_json::{Value, json};

/// A frame that says the same in other bytes: escapes, white space.
pub(super) fn respelt(dice: &mut Dice, frame: &str, action: &str) -> String {
    match dice.roll(3) {
        0 => {
            // White space, but not inside strings.
            let (mut out, mut inside, mut escaped) = (String::with_capacity(2 * frame.len()), false, false);
            for letter in frame.chars() {
                inside ^= letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                out.push(letter);
                if !inside && matches!(letter, ',' | ':' | '[' | '{') {
                    out.push_str(" \t\r\n");
                }
            }
            out
        }
        1 => frame.replace('/', "\\/"),
        _ => {
            // Every letter of the payload's strings as an escape, but none of the names of the standard: they are words.
            let Some(at) = frame.find(action).map(|at| at + action.len() + 2) else { return frame.into() };
            let (head, payload) = frame.split_at(at);
            let mut out = head.to_owned();
            let (mut inside, mut escaped) = (false, false);
            for (at, letter) in payload.char_indices() {
                let next_is_name = inside && payload[at..].find('"').is_some_and(|end| payload[at + end..].starts_with("\":"));
                match letter {
                    '"' if !escaped => inside = !inside,
                    '0'..='9' | 'A'..='F' if inside && !escaped && !next_is_name => {
                        out.push_str(&format!("\\u{:04x}", u32::from(letter)));
                        continue;
                    }
                    _ => {}
                }
                escaped = letter == '\\' && !escaped;
                out.push(letter);
            }
            out
        }
    }
}

/// A CALL with something in its payload that does not belong there. It can still be read as a CALL, so it must have its answer.
pub(super) fn mutated(dice: &mut Dice, frame: &str, canary: &str) -> String {
    let Ok(mut whole) = serde_json::from_str::<Value>(frame) else { return frame.into() };
    let odd = match dice.roll(9) {
        0 => Value::Null,
        1 => json!(canary),
        2 => json!([canary]),
        3 => json!({"value": canary}),
        4 => json!({canary: 1}),
        5 => json!(true),
        6 => json!(-1e300),
        7 => json!(["a", {"b": [canary, null, 1.0]}]),
        _ => json!(format!("{canary}\u{0}\u{1F697}\u{2028}")),
    };
    match dice.roll(8) {
        0 => whole[3] = odd,
        1 => {
            // The same key twice: which of them counts?
            let text = whole.to_string();
            let Some(at) = text.find(",{").map(|at| at + 2) else { return text };
            let name = whole[3].as_object().and_then(|o| o.keys().next().cloned()).unwrap_or_else(|| "idTag".into());
            let comma = if text[at..].starts_with('}') { "" } else { "," };
            return format!("{}{}:{}{comma}{}", &text[..at], Value::from(name), Value::from(canary), &text[at..]);
        }
        2 => {
            let deep = [5, 40, 200, 4000][dice.roll(4)];
            let text = whole.to_string();
            let Some(at) = text.rfind('}') else { return text };
            let comma = if text[..at].ends_with('{') { "" } else { "," };
            return format!(
                "{}{comma}\"deep\":{}{}{}{}",
                &text[..at],
                "[".repeat(deep),
                Value::from(canary),
                "]".repeat(deep),
                &text[at..]
            );
        }
        3 => {
            // Of the payload alone: an id may hold such digits too, and an answer must find it.
            let payload = whole[3].to_string();
            let count = [25, 400, 5000][dice.roll(3)];
            let digits = dice.letters(b"0123456789", count);
            let payload = payload.replacen("1200", &format!("1{digits}"), 1).replacen(":1,", &format!(":1{digits},"), 1);
            return format!("[{},{},{},{payload}]", whole[0], whole[1], whole[2]);
        }
        4 => {
            if let Some(object) = whole[3].as_object_mut() {
                object.insert(canary.to_owned(), odd);
                object.insert("idtag".into(), json!(canary));
                object.insert("IDTAG ".into(), json!({"idTag": canary}));
            }
        }
        _ => {
            let count = leaves(&whole[3]);
            let mut at = dice.roll(count.max(1));
            put(&mut whole[3], &mut at, &odd);
        }
    }
    whole.to_string()
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(leaves).sum(),
        Value::Object(fields) => fields.values().map(leaves).sum(),
        _ => 1,
    }
}

/// Puts `odd` in the place of the leaf number `at`.
fn put(value: &mut Value, at: &mut usize, odd: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().any(|item| put(item, at, odd)),
        Value::Object(fields) => fields.values_mut().any(|field| put(field, at, odd)),
        leaf if *at == 0 => {
            *leaf = odd.clone();
            true
        }
        _ => {
            *at -= 1;
            false
        }
    }
}

/// Messages that are hardly messages. What they hold must go nowhere.
pub(super) fn nonsense(dice: &mut Dice, canary: &str) -> Vec<String> {
    let all = [
        String::new(),
        "{}".into(),
        "[]".into(),
        "null".into(),
        format!("\"{canary}\""),
        format!("[2,\"x1\",\"Authorize\",{{\"idTag\":\"{canary}\""),
        format!("[2,\"x2\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]]"),
        format!("[2,\"x3\",\"{canary}\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[2,\"x4\",\"authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[2,{{\"id\":\"{canary}\"}},\"Authorize\",{{}}]"),
        format!("[2,7,\"Authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[\"2\",\"x5\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[2.0,\"x6\",\"Heartbeat\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[7,\"x7\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[18446744073709551616,\"x8\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[3,\"x9\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[3,\"{canary}\",{{}}]"),
        format!("[4,\"x10\",\"{canary}\",\"{canary}\",{{\"{canary}\":\"{canary}\"}}]"),
        format!("[5,\"x11\",\"FormatViolation\",\"{canary}\",{{\"x\":\"{canary}\"}}]"),
        format!("[6,\"x12\",\"NotifyPeriodicEventStream\",{{\"data\":[{{\"v\":\"{canary}\",\"t\":0}}],\"id\":1}}]"),
        format!("[6,\"x13\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[2,\"x14\",\"Heartbeat\",null,\"{canary}\"]"),
        format!("[2,\"{}\",\"Heartbeat\",{{}}]", "x".repeat(5000)),
        format!("[2,\"x15\",\"Heartbeat\",{{\"a\":\"\\ud800{canary}\"}}]"),
        format!("[2,\"x16\",\"Heartbeat\",{{\"a\":\"\\x{canary}\"}}]"),
        format!("\u{feff}[2,\"x17\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]"),
        format!("[2,\"x18\",\"Heartbeat\",{{}}]{canary}"),
        format!("[2,\"x19\",\"Heartbeat\",{{}}] // {canary}"),
        "[".repeat(100_000),
        format!("[2,\"x20\",\"DataTransfer\",{{\"vendorId\":\"{canary}\",\"data\":NaN}}]"),
    ];
    let start = dice.roll(all.len());
    (0..8).map(|at| all[(start + at * 7) % all.len()].clone()).collect()
}

/// Orders to start charging with a guess in disguise. `MINE` is the id.
pub(super) fn disguises(guess: &str, v16: bool) -> Vec<String> {
    let token = |text: Value| {
        if v16 { json!({"idTag": text}) } else { json!({"remoteStartId": 1, "idToken": {"idToken": text, "type": "Central"}}) }
    };
    let action = if v16 { "RemoteStartTransaction" } else { "RequestStartTransaction" };
    let mut extra = token(json!("X"));
    extra["cardNumber"] = json!(guess);
    let mut custom = token(json!("X"));
    custom["customData"] = json!({"vendorId": guess, "idTag": guess});
    let bare: String = guess.chars().filter(char::is_ascii_alphanumeric).collect();
    let spaced: Vec<String> = bare.chars().map(String::from).collect();
    let escaped: String = bare.chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect();
    let all = [
        token(json!(guess)),
        token(json!(bare.to_lowercase())),
        token(json!(format!(" {guess} "))),
        token(json!(format!("Z0{bare}"))),
        token(json!(spaced.join("-"))),
        token(json!([guess])),
        token(json!({"idTag": guess})),
        extra,
        custom,
    ];
    let mut frames: Vec<String> = all.iter().map(|payload| format!("[2,\"MINE\",\"{action}\",{payload}]")).collect();
    frames.push(format!("[2,\"MINE\",\"{action}\",{}]", token(json!("ESCAPED")).to_string().replace("ESCAPED", &escaped)));
    let twice = token(json!("X")).to_string().replacen('{', &format!("{{\"idTag\":{},", Value::from(guess)), 1);
    frames.push(format!("[2,\"MINE\",\"{action}\",{twice}]"));
    frames
}

/// Bytes that break RFC 6455, or are allowed and rare; and whether the connection must fail.
pub(super) fn frames(dice: &mut Dice, from: End, canary: &str) -> (Vec<u8>, bool) {
    let text = format!("[2,\"x1\",\"Authorize\",{{\"idTag\":\"{canary}\"}}]");
    let text = text.as_bytes();
    let (head, tail) = text.split_at(12);
    let masked = from == End::Station;
    let close = |code: u16, reason: &[u8]| ws::frame(from, 0x80 | ws::CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    match dice.roll(22) {
        0 => (ws::frame(from, 0xc1, text), true),
        1 => (ws::frame(from, 0xa1, text), true),
        2 => (ws::frame(from, 0x91, text), true),
        3 => (ws::frame(from, 0x83, text), true),
        4 => (ws::frame(from, 0x8b, text), true),
        5 => (ws::framed(0x81, !masked, text.len() as u64, text), true),
        6 => (ws::frame(from, ws::PING, &text[..10]), true),
        7 => (ws::frame(from, 0x80 | ws::PING, &[text, &[b'x'; 126]].concat()), true),
        8 => (ws::frame(from, 0x80, text), true),
        9 => ([ws::frame(from, ws::TEXT, head), ws::frame(from, 0x80 | ws::TEXT, text)].concat(), true),
        10 => (ws::framed(0x81, masked, 1 << 62, text), true),
        11 => (ws::framed(0x81, masked, u64::MAX, text), true),
        12 => (ws::frame(from, 0x81, &[text, b"\xff\xfe"].concat()), true),
        13 => ([ws::frame(from, ws::TEXT, &[text, b"\xe2\x82"].concat()), ws::frame(from, 0x80, b"(")].concat(), true),
        14 => (close(1005, canary.as_bytes()), true),
        15 => (close(1006, canary.as_bytes()), true),
        16 => (close(999, canary.as_bytes()), true),
        17 => (ws::frame(from, 0x80 | ws::CLOSE, b"\x03"), true),
        18 => (close(1000, b"\xff\xff"), true),
        // In fragments, some of them empty, with pings between.
        19 => {
            let mut bytes = ws::frame(from, ws::TEXT, head);
            for _ in 0..50 {
                bytes.extend(ws::frame(from, 0, b""));
                bytes.extend(ws::frame(from, 0x80 | ws::PING, canary.as_bytes()));
            }
            bytes.extend(ws::frame(from, 0x80, tail));
            (bytes, false)
        }
        20 => ((0..300).flat_map(|_| ws::frame(from, 0x80 | ws::PING, canary.as_bytes())).collect(), false),
        _ => ([ws::frame(from, 0x80 | ws::PONG, canary.as_bytes()), ws::frame(from, 0x81, b"")].concat(), false),
    }
}

/// A handshake, mostly bad, and in how many pieces it is sent. `PATH/` is the target's path, `MARKER` the station.
pub(super) fn handshake(dice: &mut Dice, canary: &str, version: Version) -> (Vec<u8>, usize) {
    let get = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {}\r\n{more}\r\n",
            version.subprotocol()
        )
    };
    let good = get("PATH/MARKER", "");
    let text = match dice.roll(24) {
        0 => good.replace("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", ""),
        1 => good.replace("AAAAAAAAAAAAAAAAAAAAAA==", canary),
        2 => good.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        3 => good.replace("GET ", "POST "),
        4 => good.replace("HTTP/1.1", "HTTP/1.0"),
        5 => get("PATH/MARKER", &(0..500).map(|n| format!("X-{n}: {canary}\r\n")).collect::<String>()),
        6 => get("PATH/MARKER", &format!("X-Big: {}{canary}\r\n", "a".repeat(100_000))),
        7 => get(&format!("PATH/../{canary}/MARKER"), ""),
        8 => get("PATH/..%2fMARKER", ""),
        9 => get("PATH/%2e%2e", &format!("X: {canary}\r\n")),
        10 => get("PATH/MARKER%00", &format!("X: {canary}\r\n")),
        11 => get(&format!("PATH/MARKER%0d%0aX-Smuggled:%20{canary}"), ""),
        12 => get(&format!("PATH/MARKER\rX-Smuggled: {canary}"), ""),
        13 => get("PATH/MARKER", &format!("X: a\nX-Smuggled: {canary}\r\n")),
        14 => get("PATH/MARKER", &format!("Authorization: Basic eDp5\r\n X-Smuggled: {canary}\r\n")),
        15 => get(&format!("PATH/MARKER{}", "a".repeat(300)), ""),
        16 => get(&format!("PATH/MARKER?card={canary}"), ""),
        17 => get(&format!("PATH/{canary}/MARKER#{canary}"), ""),
        18 => get(&format!("http://{canary}.example/MARKER"), ""),
        19 => {
            get("PATH/MARKER", &format!("Sec-WebSocket-Extensions: permessage-deflate; x={canary}\r\nOrigin: https://{canary}.example\r\n"))
        }
        20 => good.replace(version.subprotocol(), &format!("ocpp9.9, {canary}")),
        21 => good.replace(version.subprotocol(), &format!("{canary}, {}", version.subprotocol())),
        22 => format!("\r\n\r\n{good}"),
        _ => return ([good.as_bytes(), &[0, 255, 22, 3, 1]].concat(), 40),
    };
    (text.into_bytes(), if dice.chance(30) { 40 } else { 1 })
}

/// The beginning of a handshake that never ends.
pub(super) fn begun_handshake(dice: &mut Dice) -> Vec<u8> {
    let all: [&[u8]; 4] = [b"", b"G", b"GET /x HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01"];
    dice.pick(&all).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_in_other_bytes_says_the_same() {
        let frame = json!([2, "VID:42E64B31106D", "Authorize", {"idTag": "04:A2,\"B3/C4", "list": ["\\", {"a": "11:20"}]}]);
        for seed in 0..30 {
            let respelt = respelt(&mut Dice::new(seed), &frame.to_string(), "Authorize");
            assert_eq!(serde_json::from_str::<Value>(&respelt).unwrap(), frame, "{respelt}");
        }
    }

    /// Also with an id that holds what is put in the place of numbers: found in an hour's attack, where it looked like a CALL without an answer.
    #[test]
    fn a_mutated_call_can_still_be_read_as_a_call() {
        for (seed, id) in (0..400).zip(["s1", "+31601431200", "a:1,b"].into_iter().cycle()) {
            let frame = json!([2, id, "StartTransaction", {"idTag": "X", "meterStart": 1200, "a": {"b": [1, "c"]}}]).to_string();
            let mutated = mutated(&mut Dice::new(seed), &frame, "04A2B3C4D5E6F7");
            assert!(mutated.starts_with(&format!("[2,\"{id}\",\"StartTransaction\",")), "{mutated}");
            assert_ne!(mutated, frame);
        }
    }
}
