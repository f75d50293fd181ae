"""What stations in the field really send: odd handshakes, odd JSON, old habits. Nothing hangs, nothing leaks."""

import asyncio
import base64
import hashlib
import json
import re

import pytest
import websockets

import leaks
import messages
import world
from conftest import PSEUDONYM
from world import eventually

CARD = "04A2B3C4D5E6F7"
NOW = "2026-11-24T10:00:00Z"


@pytest.fixture
def never_seen(csms):
    """Looks, at the end of the test, whether the CSMS ever saw one of these."""
    secrets = leaks.Secrets()
    secrets.plant(CARD, "the card")
    secrets.plant("1234567890123456", "the card")
    yield lambda secret: secrets.plant(secret, "the test")
    for text in csms.saw():
        assert not secrets.find(text), f"the CSMS saw it: {text[:1000]}"


pytestmark = pytest.mark.usefixtures("never_seen")


def is_pseudonym(text):
    return re.fullmatch(PSEUDONYM, text) is not None


async def still_works(station):
    """The connection still carries a message and its answer. Answers to anything sent before have arrived by then."""
    assert json.loads(await station.call("Heartbeat", {}))[0] == 3


# --- handshakes -----------------------------------------------------------------------------------------------------------------


async def test_a_station_that_offers_no_subprotocol(csms, station):
    """It speaks 1.6, as such stations do."""
    it = await station("CS-1", version=None)
    assert it.subprotocol is None
    upper = await csms.conversation("CS-1")
    await it.asks("Authorize", {"idTag": CARD})
    (told,) = upper.received("Authorize")
    assert is_pseudonym(told["idTag"])
    await upper.asks("RemoteStartTransaction", {"idTag": told["idTag"]})
    assert it.received("RemoteStartTransaction") == [{"idTag": CARD}]


@pytest.mark.parametrize(
    "offered, spoken, chosen",
    [
        (["ocpp2.1", "ocpp2.0.1", "ocpp1.6"], ["ocpp1.6"], "ocpp1.6"),
        (["ocpp2.1", "ocpp2.0.1", "ocpp1.6"], ["ocpp2.0.1", "ocpp1.6"], "ocpp2.0.1"),
        (["ocpp1.5", "ocpp1.6"], ["ocpp1.6"], "ocpp1.6"),
        (["ocpp1.6", "ocpp2.0.1"], ["ocpp2.0.1"], "ocpp2.0.1"),
    ],
)
async def test_a_list_of_subprotocols(csms, station, offered, spoken, chosen):
    """The CSMS chooses; the station is told its choice, and that version's catalogue is used."""
    csms.speaks = spoken
    it = await station("CS-1", chosen.removeprefix("ocpp"), subprotocols=offered)
    upper = await csms.conversation("CS-1")
    assert it.subprotocol == upper.subprotocol == chosen
    token = {"idTag": CARD} if chosen == "ocpp1.6" else {"idToken": {"idToken": CARD, "type": "ISO14443"}}
    await it.asks("Authorize", token)
    (told,) = upper.received("Authorize")
    assert is_pseudonym(told["idTag"] if chosen == "ocpp1.6" else told["idToken"]["idToken"])


async def raw_handshake(gateway, path="/ocpp/CS-1", headers=()):
    """A handshake on a bare socket: gives the response head, byte for byte, and the socket's ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", *headers]  # fmt: skip
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), world.PATIENCE)
    return head, reader, writer


async def test_the_response_is_written_in_canonical_case(gateway):
    """Some firmware searches the response for header names as text."""
    head, _, writer = await raw_handshake(gateway, headers=["Sec-WebSocket-Protocol: ocpp1.6"])
    accept = base64.b64encode(hashlib.sha1(b"dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Upgrade: websocket" in lines
    assert b"Connection: Upgrade" in lines
    assert b"Sec-WebSocket-Accept: " + accept in lines
    assert b"Sec-WebSocket-Protocol: ocpp1.6" in lines
    assert not any(line.lower().startswith(b"sec-websocket-extensions") for line in lines)
    writer.close()


async def test_header_names_in_any_case_and_both_paths(gateway, csms):
    headers = ["sec-websocket-protocol: ocpp1.6", "AUTHORIZATION: Basic Q1MtMTpzZWNyZXQ="]
    for path in ("/ocpp/CS-1", "/CS-1"):
        head, _, writer = await raw_handshake(gateway, path, headers)
        assert head.startswith(b"HTTP/1.1 101 ")
        writer.close()
    assert [path for path, _ in csms.handshakes] == ["/csms/CS-1", "/csms/CS-1"]


async def test_credentials_and_the_raw_path_go_to_the_csms_and_nowhere_else(gateway, csms, station):
    basic = "Basic " + base64.b64encode(b"CS%7C1:pa:ss\xff/0123456789").decode()
    await station("CS%7C1", headers={"Authorization": basic})
    path, headers = csms.handshakes[0]
    assert path == "/csms/CS%7C1"
    assert dict(headers)["Authorization"] == basic
    password = leaks.Secrets()
    password.plant("0123456789", "the password")
    password.plant(basic.split()[1], "the credentials")
    kept = b"\n".join([gateway.output().encode(), gateway.get("/metrics")[1].encode(), *gateway.files().values()])
    assert not password.find(kept)


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refusal_of_the_csms_is_the_answer_to_the_station(csms, station, status):
    csms.refusal = (status, "no")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await station()
    assert refused.value.response.status_code == status


async def test_a_station_is_refused_while_the_csms_is_away(gateway, csms, station):
    await csms.stop()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await station()
    assert refused.value.response.status_code in (502, 503, 504)
    assert gateway.get("/healthz")[0] in (200, 503)


async def test_a_station_that_offers_compression_is_not_promised_any(csms, station):
    it = await station(compression="deflate")
    assert it.socket.response.headers.get("Sec-WebSocket-Extensions") is None
    await it.asks("Authorize", {"idTag": CARD})


async def test_a_request_that_is_no_websocket_is_refused(gateway, csms):
    for request in (b"GET /ocpp/CS-1 HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), world.PATIENCE)
        assert answer == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", answer)
        writer.close()
    assert csms.handshakes == []


# --- the end of a connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4001])
async def test_close_codes_are_mirrored(csms, station, code):
    it = await station("CS-1")
    upper = await csms.conversation("CS-1")
    await it.close(code, f"bye {CARD}")
    assert await upper.is_closed() == code

    it = await station("CS-2")
    upper = await csms.conversation("CS-2")
    await upper.close(code, "bye")
    assert await it.is_closed() == code


async def test_a_station_that_vanishes_ends_the_connection_of_the_csms(csms, station):
    it = await station("CS-1")
    upper = await csms.conversation("CS-1")
    it.socket.transport.abort()
    await upper.is_closed()


# --- frames ---------------------------------------------------------------------------------------------------------------------


async def test_fragments(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    text = json.dumps([2, "f1", "Authorize", {"idTag": CARD}])
    answer = it.expect("f1")
    # Between the halves of a key, of the card and of an escape; an empty one too.
    await it.socket.send([text[:12], "", text[12:35], text[35:40], text[40:]])
    assert json.loads(await answer)[0] == 3
    assert is_pseudonym(upper.received("Authorize")[0]["idTag"])


async def test_escaped_json(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    escape = lambda text: "".join(f"\\u{ord(c):04x}" for c in text)
    for number, text in enumerate(
        [
            f'[2,"e0","Authorize",{{"idTag":"{escape(CARD)}"}}]',
            f'[2,"e1","Authorize",{{"{escape("idTag")}":"{CARD}"}}]',
            f'[2,"e2","{escape("Authorize")}",{{"{escape("idTag")}":"{escape(CARD)}"}}]',
            f'[2,"{escape("e3")}","Author\\u0069ze",{{"idT\\u0061g":"\\u0030{CARD[1:]}"}}]',
            f' [ 2 , "e4" ,\n"Authorize"\t, {{ "idTag" : "{CARD.lower()}" }} ]\r\n',
        ]
    ):
        answer = it.expect(f"e{number}")
        await it.send(text)
        assert json.loads(await asyncio.wait_for(answer, world.PATIENCE))[0] == 3
    told = [payload["idTag"] for payload in upper.received("Authorize")]
    assert len(told) == 5 and len(set(told)) == 1 and is_pseudonym(told[0])


async def test_what_is_not_treated_arrives_byte_for_byte(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    heartbeat = '[2, "b1",\t"Heartbeat" ,{ } ]'
    reading = ('[2,"b2","MeterValues",{"meterValue" : [{"sampledValue":[{"value":"1.50E3","context":"Transaction.Begin"}],'
               '"timestamp":"2026-11-24T10:00:00.000+01:00"}],"transactionId":-1,"connectorId":1}]')  # fmt: skip
    for message_id, text in (("b1", heartbeat), ("b2", reading)):
        answer = it.expect(message_id)
        await it.send(text)
        await asyncio.wait_for(answer, world.PATIENCE)
        assert upper.texts[-1] == text


async def test_a_stop_on_a_new_connection_without_a_boot(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    await it.asks("StartTransaction", {"connectorId": 1, "idTag": CARD, "meterStart": 5, "timestamp": NOW})
    started = upper.received("StartTransaction")[0]["idTag"]
    it.socket.transport.abort()
    await upper.is_closed()

    again = await station()
    upper = await csms.conversation("CS-1", 2)
    stop = {"transactionId": 3, "idTag": CARD, "meterStop": 900, "timestamp": NOW}
    await again.asks("StopTransaction", stop)
    assert upper.received("StopTransaction") == [stop | {"idTag": started}]


async def test_a_second_connection_under_the_same_id(csms, station):
    """The old one is half open, as after a lost mobile link: the new one must work."""
    await station()
    await csms.conversation("CS-1")
    again = await station()
    upper = await csms.conversation("CS-1", 2)
    await again.asks("Authorize", {"idTag": CARD})
    pseudonym = upper.received("Authorize")[0]["idTag"]
    await upper.asks("RemoteStartTransaction", {"idTag": pseudonym})
    assert again.received("RemoteStartTransaction") == [{"idTag": CARD}]


async def test_a_station_that_quotes_the_request_in_its_error(csms, station):
    """What came down as a pseudonym was restored, so the quote holds the card."""
    it = await station()
    upper = await csms.conversation("CS-1")
    await it.asks("Authorize", {"idTag": CARD})
    pseudonym = upper.received("Authorize")[0]["idTag"]
    quotes = [
        lambda action, payload: ("InternalError", json.dumps([2, "x", action, payload]), {}),
        lambda action, payload: ("InternalError", f"idTag {payload['idTag'].lower()} not accepted", {"request": payload}),
        lambda action, payload: ("FormationViolation", "", {"cause": json.dumps(json.dumps(payload)), payload["idTag"]: [payload["idTag"]]}),
        lambda action, payload: (
            "GenericError",
            ":".join(re.findall("..", payload["idTag"])),
            {"b64": base64.b64encode(json.dumps(payload).encode()).decode()},
        ),
        lambda action, payload: ("GenericError", bytes.fromhex(payload["idTag"])[::-1].hex(), {"hex": payload["idTag"].encode().hex()}),
    ]
    for quote in quotes:
        it.answers = quote
        answer = await upper.call("RemoteStartTransaction", {"idTag": pseudonym})
        assert messages.what_is_wrong_with_answer("1.6", "RemoteStartTransaction", answer) is None
        assert json.loads(answer)[0] == 4
    assert len(it.calls) == len(quotes)


async def test_a_message_id_that_holds_a_card_number(csms, station, never_seen):
    it = await station()
    upper = await csms.conversation("CS-1")
    unused = "04DEADBEEF1122"
    never_seen(unused)
    for number, message_id in enumerate([f"{CARD}-1", unused, f"x{unused.lower()}", ":".join(re.findall("..", unused)), "NL-ABC-C12345678-9"]):
        frame = json.loads(await it.call("Heartbeat", {}, message_id=message_id))
        assert frame[:2] == [3, message_id], "the station gets its answer under its own id"
        assert len(upper.received("Heartbeat")) == number + 1
    assert all(len(frame[1]) <= 36 for frame in upper.calls)
    assert not any("12345678" in frame[1] for frame in upper.calls)


async def test_message_ids_of_the_csms_come_back_as_they_were(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    for message_id in ("1", "6f1c2d34-9a7b-4c1e-8f20-0d1e2f3a4b5c", "20261124100000123", "a" * 36):
        frame = json.loads(await upper.call("ClearCache", {}, message_id=message_id))
        assert frame[1] == message_id
    assert len(it.received("ClearCache")) == 4


async def test_crossing_calls_under_the_same_id(csms, station):
    """Both sides may use the same id at the same time: each answer finds its own question."""
    it = await station()
    upper = await csms.conversation("CS-1")
    down, up = await asyncio.gather(upper.call("GetLocalListVersion", {}, message_id="1"), it.call("Heartbeat", {}, message_id="1"))
    assert "listVersion" in down and "currentTime" in up


async def test_a_burst_of_calls_without_waiting(csms, station):
    it = await station()
    answers = [it.expect(f"q{number}") for number in range(50)]
    for number in range(50):
        await it.send([2, f"q{number}", "StatusNotification", {"connectorId": number, "errorCode": "NoError", "status": "Available"}])
    for answer in answers:
        assert json.loads(await asyncio.wait_for(answer, world.PATIENCE))[0] == 3
    upper = await csms.conversation("CS-1")
    assert [payload["connectorId"] for payload in upper.received("StatusNotification")] == list(range(50))
    assert set(it.ids.values()) == {1}


# --- what cannot be passed on ---------------------------------------------------------------------------------------------------

WHOLE = json.dumps([2, "t1", "StartTransaction", {"connectorId": 1, "idTag": CARD, "meterStart": 0, "timestamp": NOW}])


ODD_CALLS = [
    ("a key twice, the second hidden", f'[2,"o1","Authorize",{{"idTag":"X","idTag":"{CARD}"}}]'),
    ("a key twice, the first hidden", f'[2,"o1","Authorize",{{"idTag":"{CARD}","idTag":"X"}}]'),
    ("a key twice, one escaped", f'[2,"o1","Authorize",{{"idTag":"X","idT\\u0061g":"{CARD}"}}]'),
    ("an action of its own", f'[2,"o1","ReadCard",{{"uid":"{CARD}"}}]'),
    ("an action in other letters", f'[2,"o1","authorize",{{"idTag":"{CARD}"}}]'),
    ("a card number as the action", f'[2,"o1","{CARD}",{{}}]'),
    ("an action of another version", f'[2,"o1","TransactionEvent",{{"idToken":{{"idToken":"{CARD}","type":"ISO14443"}}}}]'),
    ("a signed action", f'[2,"o1","Authorize-Signed",{{"payload":"{CARD}","signatures":[]}}]'),
    ("a token that is an object", f'[2,"o1","Authorize",{{"idTag":{{"uid":"{CARD}"}}}}]'),
    ("a token that is a list", f'[2,"o1","Authorize",{{"idTag":["{CARD}"]}}]'),
    ("a token that is a number", '[2,"o1","Authorize",{"idTag":1234567890123456}]'),
    ("a payload that is a list", f'[2,"o1","Authorize",["{CARD}"]]'),
    ("a payload that is a text", f'[2,"o1","Authorize","{CARD}"]'),
    ("no payload", '[2,"o1","Authorize"]'),
    ("too many parts", f'[2,"o1","Authorize",{{"idTag":"X"}},"{CARD}"]'),
    ("text after the end", f'[2,"o1","Authorize",{{"idTag":"X"}}]{CARD}'),
    ("a trailing comma", f'[2,"o1","Authorize",{{"idTag":"{CARD}",}}]'),
    ("single quotes", f"[2,\"o1\",\"Authorize\",{{'idTag':'{CARD}'}}]"),
    ("a missing value", f'[2,"o1","GetThing",{{"configurationKey":],"x":"{CARD}"}}]'),
    ("a bad escape", f'[2,"o1","Authorize",{{"idTag":"\\x{CARD}"}}]'),
    ("half a surrogate", f'[2,"o1","Authorize",{{"idTag":"{CARD}\\ud800"}}]'),
    ("a control character", f'[2,"o1","Authorize",{{"idTag":"{CARD}\n"}}]'),
    ("deep nesting", '[2,"o1","Authorize",' + "[" * 5000 + f'"{CARD}"' + "]" * 5000 + "]"),
    ("deep nesting in a field", '[2,"o1","Authorize",{"idTag":"X","x":' + '{"a":' * 3000 + f'"{CARD}"' + "}" * 3000 + "}]"),
    ("a wrong type of number", f'[2,"o1","StartTransaction",{{"connectorId":"{CARD}","idTag":"X","meterStart":0,"timestamp":"{NOW}"}}]'),
    ("a time that is none", f'[2,"o1","StartTransaction",{{"connectorId":1,"idTag":"X","meterStart":0,"timestamp":"{CARD}"}}]'),
]  # fmt: skip


@pytest.mark.parametrize("text", [text for _, text in ODD_CALLS], ids=[what for what, _ in ODD_CALLS])
async def test_odd_calls_are_answered_exactly_once(csms, station, text):
    it = await station()
    answer = it.expect("o1")
    await it.send(text)
    frame = json.loads(await asyncio.wait_for(answer, world.PATIENCE))
    action = text.split('"')[3]
    if action in messages.actions("1.6"):
        assert messages.what_is_wrong_with_answer("1.6", action, json.dumps(frame)) is None, frame
    else:
        assert frame[0] == 4 and messages.what_is_wrong_with_error("1.6", frame) is None, frame
    await still_works(it)
    assert it.ids["o1"] == 1


SLOPPY_CALLS = [
    ("null for an empty payload", '[2,"n1","Heartbeat",null]', True),
    ("an optional field that is null", f'[2,"n1","StatusNotification",{{"connectorId":1,"errorCode":"NoError","status":"Available","info":null,"timestamp":"{NOW}"}}]', False),
    ("an unknown vendor field", '[2,"n1","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Available","x-card":"04A2B3C4D5E6F7"}]', True),
    ("an unknown word", '[2,"n1","StatusNotification",{"connectorId":1,"errorCode":"04A2B3C4D5E6F7","status":"Available"}]', True),
    ("an empty token", '[2,"n1","Authorize",{"idTag":""}]', False),
    ("a time without a zone", '[2,"n1","StartTransaction",{"connectorId":1,"idTag":"X1","meterStart":0,"timestamp":"2026-11-24 10:00:00"}]', True),
]  # fmt: skip


@pytest.mark.parametrize("text, arrives", [call[1:] for call in SLOPPY_CALLS], ids=[call[0] for call in SLOPPY_CALLS])
async def test_sloppiness_that_means_no_harm(csms, station, text, arrives):
    it = await station()
    upper = await csms.conversation("CS-1")
    answer = it.expect("n1")
    await it.send(text)
    frame = json.loads(await asyncio.wait_for(answer, world.PATIENCE))
    action = text.split('"')[3]
    assert messages.what_is_wrong_with_answer("1.6", action, json.dumps(frame)) is None, frame
    if arrives:
        assert frame[0] == 3
        (told,) = upper.received(action)
        if "2026-11-24 " not in text:
            assert messages.what_is_wrong("1.6", action, json.dumps(told)) is None, told
    await still_works(it)
    assert it.ids["n1"] == 1


async def test_truncated_calls_are_answered_exactly_once(csms, station):
    """Cut after every character. Where the id can still be read there is one answer; nothing arrives at the CSMS."""
    it = await station()
    upper = await csms.conversation("CS-1")
    readable = WHOLE.index('"t1",') + len('"t1",')
    for cut in range(1, len(WHOLE)):
        if it.socket.state is not websockets.protocol.State.OPEN:
            pytest.fail(f"the connection was closed after {WHOLE[: cut - 1]!r}")
        # Ids of one length, so that each cut has its own.
        message_id = f"t{cut:03}"
        await it.send(WHOLE.replace('"t1"', f'"{message_id}"')[: cut + 2 if cut > readable else cut])
        await still_works(it)
        if cut > readable:
            assert it.ids[message_id] == 1, f"cut at {cut}: {it.ids[message_id]} answers"
    assert upper.received("StartTransaction") == []
    errors = [json.loads(text) for text in it.texts if json.loads(text)[0] == 4]
    assert errors
    for frame in errors:
        assert messages.what_is_wrong_with_error("1.6", frame) is None, frame


async def test_frames_that_are_no_message_are_dropped(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    frames = ["", "{}", "[]", "null", "42", '"text"', "[2]", '[7,"1","Authorize",{}]', f"hello {CARD}", b"\x00\x01" + CARD.encode(), "[" * 100_000]
    for number, frame in enumerate(frames):
        await it.send(frame)
        await still_works(it)
        assert upper.received("Heartbeat") == upper.calls[-1][3:] * (number + 1), f"something arrived after {frame[:40]!r}"
    assert len(upper.calls) == len(frames)


async def test_a_text_frame_that_is_no_utf8(gateway, csms, station):
    """RFC 6455 demands that the connection fails; others are not disturbed and nothing arrives."""
    other = await station("CS-2")
    _, reader, writer = await raw_handshake(gateway, headers=["Sec-WebSocket-Protocol: ocpp1.6"])
    payload = b'[2,"1","Authorize",{"idTag":"\xff' + CARD.encode() + b'"}]'
    mask = b"\0\0\0\0"
    writer.write(bytes([0x81, 0x80 | len(payload)]) + mask + payload)
    await asyncio.wait_for(reader.read(2), world.PATIENCE)
    writer.close()
    await still_works(other)
    assert all(not peer.received("Authorize") for peer in csms.peers["CS-1"])


async def test_an_oversized_frame(gateway, csms, station):
    """It is refused or the connection ends; the gateway and the other stations carry on."""
    other = await station("CS-2")
    it = await station("CS-1")
    upper = await csms.conversation("CS-1")
    huge = json.dumps([2, "h1", "DataTransfer", {"vendorId": "x", "data": CARD + "A" * (20 << 20)}])
    try:
        await it.send(huge)
    except websockets.ConnectionClosed:
        pass
    await eventually(lambda: it.ids["h1"] == 1 or it.socket.state is websockets.protocol.State.CLOSED, "an answer or the end of the connection", 30)
    if it.ids["h1"] == 0:
        # The close code is lost if the gateway hangs up while the rest of the frame is still on its way.
        assert it.socket.close_code in (1009, 1006)
    assert upper.received("DataTransfer") == []
    await still_works(other)
    again = await station("CS-1")
    await still_works(again)


async def test_answers_that_nobody_waits_for_go_nowhere(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    for text in (
        '[3,"99",{"status":"Accepted"}]',
        f'[3,"98",{{"idTag":"{CARD}"}}]',
        f'[4,"97","GenericError","{CARD}",{{}}]',
        f'[5,"96","GenericError","{CARD}",{{}}]',
    ):
        await it.send(text)
        await upper.send(text)
    await still_works(it)
    await upper.asks("ClearCache", {})
    assert upper.ids.keys() == {"m1"} and it.ids.keys() == {"m1"}


async def test_an_answer_given_twice_arrives_once(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    it.answers = lambda action, payload: None
    waiting = asyncio.create_task(upper.call("ClearCache", {}, message_id="c1"))
    await it.receives("ClearCache")
    for _ in range(3):
        await it.send([3, "c1", {"status": "Accepted"}])
    await waiting
    await still_works(it)
    assert upper.ids["c1"] == 1


async def test_a_call_of_the_csms_that_is_broken_is_answered_too(csms, station):
    it = await station()
    upper = await csms.conversation("CS-1")
    for number, text in enumerate(
        [
            '[2,"d0","RemoteStartTransaction",{"idTag":"04A2B3C4D5E6F8"',
            '[2,"d1","RemoteStartTransaction",{"idTag":"04A2B3C4D5E6F8"}]',
            '[2,"d2","NoSuchThing",{}]',
            '[2,"d3","RemoteStartTransaction",{"idTag":"A","idTag":"B"}]',
            '[2,"d4","RequestStartTransaction",{}]',
        ]
    ):
        answer = upper.expect(f"d{number}")
        await upper.send(text)
        assert json.loads(await asyncio.wait_for(answer, world.PATIENCE))[0] in (3, 4)
    await upper.asks("ClearCache", {})
    assert [frame[2] for frame in it.calls] == ["ClearCache"]
    assert all(count == 1 for count in upper.ids.values())


@pytest.mark.parametrize("action, payload", [
    ("ChangeConfiguration", {"key": "CentralSystemURL", "value": "wss://elsewhere.example/ocpp"}),
    ("GetDiagnostics", {"location": "ftp://elsewhere.example/"}),
    ("GetLog", {"logType": "DiagnosticsLog", "requestId": 1, "log": {"remoteLocation": "ftp://elsewhere.example/"}}),
])  # fmt: skip
async def test_commands_that_lead_around_the_gateway_are_refused(csms, station, action, payload):
    """A station moved elsewhere, or logs sent around, would bare every card."""
    it = await station()
    upper = await csms.conversation("CS-1")
    answer = await upper.call(action, payload)
    assert messages.what_is_wrong_with_answer("1.6", action, answer) is None
    assert it.calls == []


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_commands_that_lead_around_the_gateway_are_refused_in_2_x(csms, station, version):
    it = await station("CS-1", version)
    upper = await csms.conversation("CS-1")
    url = "wss://elsewhere.example/ocpp"
    builder = messages.Builder(version, lambda path, schema: url if messages.name_of(path) == "ocppCsmsUrl" else messages.harmless(path, schema))
    variable = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}, "attributeValue": "2"}
    moved = {"component": {"name": "NetworkConfiguration", "instance": "1"}, "variable": {"name": "OcppCsmsUrl"}, "attributeValue": url}
    for action, payload in [
        ("SetNetworkProfile", builder.request("SetNetworkProfile", False)),
        ("GetLog", builder.request("GetLog", False)),
        ("SetVariables", {"setVariableData": [moved]}),
        ("SetVariables", {"setVariableData": [variable, moved]}),
    ]:
        answer = await upper.call(action, payload)
        assert messages.what_is_wrong_with_answer(version, action, answer) is None, answer
    assert not any("elsewhere.example" in text for text in it.texts)
    assert not it.received("SetNetworkProfile") and not it.received("GetLog")
