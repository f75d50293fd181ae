//! What the targets begin with: seeds made from every message of every version, and what the fuzzer found worth keeping, packed into one file a
//! target (`fuzz/corpus/*.pack`), because thousands of small files are a burden to everybody else.

use super::canary::Canaries;
use super::choices::Choices;
use super::message::{BOOK, Known, Shaper};
use super::treat::CARD;
use crate::ocpp::{Side, Version};
use crate::policy::file::PROFILES;

/// Packs inputs: each behind its length, four bytes, the least first.
pub fn pack(inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::new();
    for input in inputs {
        packed.extend_from_slice(&u32::try_from(input.len()).unwrap_or(u32::MAX).to_le_bytes());
        packed.extend_from_slice(input);
    }
    packed
}

/// Unpacks what [`pack`] made; `None` if it is something else.
pub fn unpack(mut packed: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut inputs = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<4>() {
        let (input, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        inputs.push(input.to_vec());
        packed = rest;
    }
    packed.is_empty().then_some(inputs)
}

/// The seeds of a target; none for one that is not known.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "frame" => {
            frames().into_iter().map(|(_, _, text)| text.into_bytes()).chain(ODD_JSON.iter().map(|text| text.as_bytes().to_vec())).collect()
        }
        "treat" => treat(),
        "session" => session(),
        "policy" => policy(),
        "handshake" => handshake(),
        "vault" => {
            (0..=u8::MAX).map(|first| [[first; 1], [first.wrapping_mul(7); 1], [first.wrapping_mul(31); 1]].concat().repeat(4)).collect()
        }
        "ocpi" => ocpi(),
        "websocket" => websocket(),
        _ => Vec::new(),
    }
}

/// Frames of every kind, masked and plain, whole and in fragments, and such as break the rules.
fn websocket() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for role in [0, 1] {
        let bit = if role == 0 { 0x80 } else { 0 };
        for first in [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0x83, 0x8B, 0xC1, 0xA1, 0x91, 0x09] {
            for length in [0_usize, 1, 2, 125, 126, 300] {
                let mut frame = vec![role, 7, first];
                match u8::try_from(length) {
                    Ok(short @ ..=125) => frame.push(bit | short),
                    _ => frame.extend([bit | 126, (length >> 8) as u8, length as u8]),
                }
                let mask: &[u8] = if bit == 0 { &[] } else { &[1, 2, 3, 4] };
                frame.extend_from_slice(mask);
                let text = "[2,\"m1\",\"Heartbeat\",{}] é€𝄞 ".repeat(16);
                let code = if first == 0x88 { &[0x03, 0xE8][..] } else { &[] };
                let payload = code.iter().chain(text.as_bytes()).take(length).enumerate();
                frame.extend(payload.map(|(at, byte)| if bit == 0 { *byte } else { byte ^ mask[at % 4] }));
                seeds.push(frame);
            }
        }
        // Longer than anybody may say, and longer than it need be said.
        seeds.push(vec![role, 1, 0x81, bit | 127, 0x40, 0, 0, 0, 0, 0, 0, 0]);
        seeds.push(vec![role, 1, 0x81, bit | 127, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        seeds.push(vec![role, 1, 0x81, bit | 126, 0, 1, 0, 0, 0, 0, b'a']);
    }
    seeds
}

/// Every message of every version as a frame, with all fields and with those required, request and answer: its version, its sender, its text.
fn frames() -> Vec<(Version, Side, String)> {
    let mut frames = Vec::new();
    for version in Version::ALL {
        for from in [Side::Station, Side::Csms] {
            for (action, spec) in BOOK.sent_by(version, from) {
                let kind = if spec.kind.is_some() { 6 } else { 2 };
                for choice in [1, 0] {
                    let request = payload(version, from, spec, choice, false);
                    frames.push((version, from, format!("[{kind},\"m1\",\"{action}\",{request}]")));
                    if kind == 2 {
                        frames.push((version, from.other(), format!("[3,\"m1\",{}]", payload(version, from.other(), spec, choice, true))));
                    }
                }
            }
        }
    }
    frames
}

/// A payload by the same choice everywhere, with [`CARD`] in the place of every canary. 1 takes every field, 0 those required.
fn payload(version: Version, from: Side, spec: &crate::ocpp::catalogue::MessageSpec, choice: u8, answering: bool) -> String {
    let bytes = vec![choice; 4096];
    let (mut choices, mut canaries) = (Choices::new(&bytes), Canaries::new(0));
    let fields = if answering { &spec.response } else { &spec.request };
    let shaped = Shaper::payload(&mut choices, &mut canaries, &Known::default(), version, from, fields, answering);
    shaped.planted.iter().fold(shaped.text, |text, (planted, _)| text.replace(&planted.text, CARD))
}

fn treat() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (version, from, text) in frames() {
        if text.starts_with("[3") {
            continue;
        }
        let head =
            [128, version as u8, u8::from(text.len() % 2 == 0), u8::from(from == Side::Csms) | if text.len() % 3 == 0 { 2 } else { 0 }];
        seeds.push([&head[..], text.as_bytes()].concat());
    }
    for version in 0..3u8 {
        for scene in 0..8u8 {
            for action in 0..92u8 {
                let seed = u64::from(version) << 16 | u64::from(scene) << 8 | u64::from(action);
                let show: &[u8] = if scene & 4 == 0 { &[] } else { &[1, 1] };
                let head = [&[0, version, action & 3, scene], show, &[action]].concat();
                seeds.push([head, noise(seed, 160)].concat());
            }
        }
    }
    seeds
}

fn session() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for version in 0..3u8 {
        for action in 0..92u8 {
            let mut seed = vec![version, action & 1, action];
            for turn in 0..8u8 {
                let what = [0, 11, 1, 10, 20, 22, 24, 26][usize::from(turn ^ action & 7)];
                seed.extend([what, action]);
                seed.extend(noise(u64::from(action) << 8 | u64::from(turn), 24));
            }
            seeds.push(seed);
        }
    }
    seeds
}

/// Bytes that are the same in every run.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state >> 30;
        state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state ^= state >> 27;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn policy() -> Vec<Vec<u8>> {
    let more = "name = \"x\"\nmode = \"enforce\"\n[csms]\npurposes = [\"charge\", \"quality\"]\n[station]\npurposes = []\n[[override]]\nversion = \"2.1\"\n\
        field = \"BootNotification.request.reason\"\ntreatment = \"drop\"\nreason = \"r\"\n[[override]]\nversion = \"1.6\"\nfield = \"SampledValue.unit\"\n\
        treatment = \"keep\"\nreason = \"r\"\n";
    let emsp = "[cpo]\nparty = \"NL-CPO\"\n[ocpi]\nlisten = \"127.0.0.1:9\"\n[[emsp]]\nparty = \"NL-ABC\"\nagreement = \"1\"\nocpi = \"2.2.1\"\n\
        delivery = \"pull\"\nvalid_from = \"2026-01-01\"\nranges = [\"NL-ABC\"]\ntoken_file = \"a\"\n";
    let settings = include_str!("../../config/sluis.toml");
    let switched_on: String = settings
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|l| l.contains(" = ")).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let policies = PROFILES.iter().map(|(_, text)| *text).chain([more]).map(|text| (0, text));
    let configs = [settings, &switched_on, emsp].map(|text| (1, text));
    let texts: Vec<(u8, &str)> = policies.chain(configs).collect();
    let mut seeds = Vec::new();
    for (what, text) in texts {
        for place in 0..8 {
            seeds.push([&[what | ((place % 4) << 1), place * 3], text.as_bytes()].concat());
        }
    }
    seeds
}

fn handshake() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let head = "Host: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let paths = ["/ocpp/CP-1", "/CP%201", "///a%7Cb/", "/x/..%2f", "/%C3%A9?x=1#y", "http://h/CP-2", "*", "/a/%00"];
    let more = [
        "",
        "Sec-WebSocket-Protocol: ocpp1.6\r\n",
        "sec-websocket-protocol: ocpp2.0.1, OCPP1.6,ocpp2.1\r\nAuthorization: Basic Q1A6OnB3\r\n",
        "Sec-WebSocket-Protocol: soap\r\n",
        "Authorization: Basic \u{ff}\u{1}\r\nSec-WebSocket-Protocol:\r\n",
    ];
    for path in paths {
        for more in more {
            seeds.push([&[0], format!("GET {path} HTTP/1.1\r\n{head}{more}\r\n").as_bytes()].concat());
        }
    }
    seeds.push(b"\0POST / HTTP/1.0\r\n\r\n".to_vec());
    for status in ["101 Switching Protocols", "401 Unauthorized", "503 x", "200 OK"] {
        for more in [
            "",
            "Sec-WebSocket-Protocol: ocpp1.6\r\n",
            "Sec-WebSocket-Protocol: ocpp2.1\r\n",
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        ] {
            let text = format!("HTTP/1.1 {status}\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: @accept@\r\n{more}\r\n");
            seeds.extend([1, 3].map(|what| [&[what], text.as_bytes()].concat()));
        }
    }
    seeds
}

fn ocpi() -> Vec<Vec<u8>> {
    let token = "{\"country_code\":\"NL\",\"party_id\":\"ABC\",\"uid\":\"04A2B3C4D5E607\",\"type\":\"RFID\",\"contract_id\":\"NL-ABC-C00000001-X\",\
        \"issuer\":\"An e-MSP\",\"valid\":true,\"whitelist\":\"ALLOWED\",\"last_updated\":\"2026-11-24T10:00:00Z\"}";
    let exchange = "{\"token\":\"b\",\"url\":\"http://127.0.0.1:9/\",\"roles\":[{\"role\":\"EMSP\",\"party_id\":\"ABC\",\"country_code\":\"NL\",\
        \"business_details\":{\"name\":\"x\"}}]}";
    let requests = [
        ("GET /ocpi/versions", ""),
        ("GET /ocpi/2.2.1", ""),
        ("GET /ocpi/2.1.1", ""),
        ("GET /ocpi/2.3.0", ""),
        ("GET /ocpi/2.2.1/credentials", ""),
        ("POST /ocpi/2.2.1/credentials", exchange),
        ("PUT /ocpi/2.3.0/credentials", exchange),
        ("DELETE /ocpi/2.2.1/credentials", ""),
        ("GET /ocpi/2.2.1/cdrs?limit=5&offset=0&date_from=2026-11-24T10:00:00Z", ""),
        ("GET /ocpi/2.2.1/cdrs/cdr-1", ""),
        ("PUT /ocpi/2.2.1/tokens/NL/ABC/04A2B3C4D5E607?type=RFID", token),
        ("PATCH /ocpi/2.2.1/tokens/NL/ABC/04A2B3C4D5E607", "{\"valid\":false,\"last_updated\":\"2027-01-01T00:00:00Z\"}"),
        ("GET /ocpi/2.2.1/tokens/NL/ABC/04A2B3C4D5E607", ""),
        ("POST /ocpi/2.2.1/tokens/Z0AAAAAAAAAAAAAAAAAA/authorize", "{\"location_id\":\"L\",\"evse_uids\":[]}"),
        ("POST /ocpi/resolve", "{\"code\":\"Z0AAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"),
    ];
    let mut seeds = Vec::new();
    for (line, body) in requests {
        for token in 0..3 {
            seeds.push(format!("{line}\ntoken{token}\ncontent-type:application/json\nx-request-id:1\n\n{body}").into_bytes());
        }
    }
    seeds
}

const ODD_JSON: [&str; 14] = [
    "[2.0,\"1\",\"A\",{}]",
    "[-0,\"1\",\"A\",{}]",
    "[2,\"\\ud834\\udd1e\",\"\\u0041\",{\"\\u0061\":1,\"a\":2}]",
    "[2,\"\\ud834\",\"A\",{}]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "{\"measurand\":\"a\",\"b\":\"c\"}    ",
    "{\"measurand\":\"a\",\"measurand\":\"c\"}    ",
    "[4,\"1\",\"GenericError\"]",
    "[1e2,1E-2,-0.0,1.0,01]",
    "[2,\"1\",\"A\",{\"configurationKey\":]}]",
    "\u{feff}[2,\"1\",\"A\",{}]",
    "[2,\"1\",\"A\",{}]\u{0}",
    "[5,\"1\",\"A\",\"\",{}]",
    " [ 3 , \"1\" , null ] ",
];
