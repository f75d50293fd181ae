"""Whole charging sessions with the `ocpp` package from PyPI as the station and as the central system, gateway between them."""

import asyncio
import importlib
import re

import pytest
from ocpp.routing import on

import leaks
import world
from conftest import PSEUDONYM
from messages import SUBPROTOCOL
from world import eventually

CARD = "04A2B3C4D5E6F7"
CONTRACT = "NL-ABC-C12345678-9"
GROUP = "04 99 88 77 66 55 44"
NOW = "2026-11-24T10:00:00Z"
LATER = "2026-11-24T11:00:00Z"
TRANSACTION = "6f1c2d34-9a7b-4c1e-8f20-0d1e2f3a4b5c"

# What each side answers, per version: action → the fields of the answer.
STATION_ANSWERS = {
    "1.6": {
        "RemoteStartTransaction": {"status": "Accepted"},
        "RemoteStopTransaction": {"status": "Accepted"},
        "SendLocalList": {"status": "Accepted"},
        "GetLocalListVersion": {"list_version": 3},
        "ReserveNow": {"status": "Accepted"},
        "CancelReservation": {"status": "Accepted"},
        "Reset": {"status": "Accepted"},
        "TriggerMessage": {"status": "Accepted"},
        "ChangeAvailability": {"status": "Scheduled"},
        "UnlockConnector": {"status": "Unlocked"},
        "ChangeConfiguration": {"status": "Accepted"},
        "GetConfiguration": {"configuration_key": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}], "unknown_key": []},
    },
    "2.x": {
        "RequestStartTransaction": {"status": "Accepted", "transaction_id": TRANSACTION},
        "RequestStopTransaction": {"status": "Accepted"},
        "SendLocalList": {"status": "Accepted"},
        "GetLocalListVersion": {"version_number": 3},
        "ReserveNow": {"status": "Accepted"},
        "CancelReservation": {"status": "Accepted"},
        "Reset": {"status": "Accepted"},
        "TriggerMessage": {"status": "Accepted"},
        "ChangeAvailability": {"status": "Scheduled"},
        "UnlockConnector": {"status": "Unlocked"},
        "GetTransactionStatus": {"messages_in_queue": False, "ongoing_indicator": True},
        "GetVariables": {"get_variable_result": [{"attribute_status": "Accepted", "attribute_value": "300",
                                                  "component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]},
        "SetVariables": {"set_variable_result": [{"attribute_status": "Accepted",
                                                  "component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}]},
    },
}  # fmt: skip
CSMS_ANSWERS = {
    "1.6": {
        "BootNotification": {"current_time": NOW, "interval": 300, "status": "Accepted"},
        "Heartbeat": {"current_time": NOW},
        "StatusNotification": {},
        "Authorize": {"id_tag_info": {"status": "Accepted"}},
        "StartTransaction": {"transaction_id": 4711, "id_tag_info": {"status": "Accepted"}},
        "MeterValues": {},
        "StopTransaction": {"id_tag_info": {"status": "Accepted"}},
    },
    "2.x": {
        "BootNotification": {"current_time": NOW, "interval": 300, "status": "Accepted"},
        "Heartbeat": {"current_time": NOW},
        "StatusNotification": {},
        "Authorize": {"id_token_info": {"status": "Accepted"}},
        "TransactionEvent": {"id_token_info": {"status": "Accepted"}},
        "MeterValues": {},
        "ReservationStatusUpdate": {},
    },
}


def of_version(table, version):
    return table["1.6" if version == "1.6" else "2.x"]


def library(version):
    return importlib.import_module(f"ocpp.v{version.replace('.', '')}")


def make_peer(version, answers, name, socket):
    """A ChargePoint of the library (it calls either side that) that answers as told and remembers what it was sent."""

    def handler(action):
        def handle(self, **payload):
            self.told.append((action, payload))
            return getattr(library(version).call_result, action)(**self.answers[action])

        handle.__name__ = f"on_{action}"
        return on(action)(handle)

    kind = type("Peer", (library(version).ChargePoint,), {f"on_{action}": handler(action) for action in answers})
    peer = kind(name, socket, response_timeout=15)
    peer.told = []
    peer.answers = dict(answers)
    return peer


class Conversation:
    """A station and a central system that talk through the gateway."""

    def __init__(self, version, station, central, csms):
        self.version, self.station, self.central, self.csms = version, station, central, csms
        self.call = library(version).call

    async def station_asks(self, action, **fields):
        """The station sends a CALL: gives what it is answered, and what the central system was told."""
        before = len(self.central.told)
        answer = await self.station.call(getattr(self.call, action)(**fields), suppress=False)
        told = self.central.told[before:]
        assert [name for name, _ in told] == [action], f"the central system was told {told}"
        return answer, told[0][1]

    async def central_asks(self, action, **fields):
        """The central system sends a CALL: gives what it is answered, and what the station was told."""
        before = len(self.station.told)
        answer = await self.central.call(getattr(self.call, action)(**fields), suppress=False)
        told = self.station.told[before:]
        assert [name for name, _ in told] == [action], f"the station was told {told}"
        return answer, told[0][1]


@pytest.fixture
async def converse(csms):
    """`await converse(gateway, version)`: both ends with the library, connected."""
    tasks, centrals, sockets = [], {}, []

    async def run(station, socket):
        version = socket.subprotocol.removeprefix("ocpp")
        centrals[station] = make_peer(version, of_version(CSMS_ANSWERS, version), station, socket)
        await centrals[station].start()

    async def connect(gateway, version, name="CS-1"):
        csms.runs = run
        centrals.pop(name, None)
        options = dict(compression=None, proxy=None)
        socket = await world.connect(gateway.url(name), subprotocols=[SUBPROTOCOL[version]], **options)
        sockets.append(socket)
        assert socket.subprotocol == SUBPROTOCOL[version]
        station = make_peer(version, of_version(STATION_ANSWERS, version), name, socket)
        tasks.append(asyncio.create_task(station.start()))
        central = await eventually(lambda: centrals.get(name), "the central system to be connected")
        return Conversation(version, station, central, csms)

    yield connect
    for socket in sockets:
        await socket.close()
    await asyncio.gather(*tasks, return_exceptions=True)


def is_pseudonym(text):
    return re.fullmatch(PSEUDONYM, text) is not None


def assert_never_seen(csms, *identifiers):
    secrets = leaks.Secrets()
    for identifier in identifiers:
        secrets.plant(identifier, "the test")
    for text in csms.saw():
        assert not secrets.find(text), f"the central system saw it: {text}"


def sample(value, context):
    return {"timestamp": NOW, "sampled_value": [{"value": value, "context": context, "measurand": "Energy.Active.Import.Register", "unit": "Wh"}]}


def sample2(value, context, timestamp=NOW):
    return {"timestamp": timestamp, "sampled_value": [{"value": value, "context": context, "measurand": "Energy.Active.Import.Register"}]}


# --- 1.6 ----------------------------------------------------------------------------------------------------------------------


async def test_a_whole_session_in_1_6(gateway, csms, converse):
    it = await converse(gateway, "1.6")

    boot, told = await it.station_asks("BootNotification", charge_point_vendor="Acme", charge_point_model="Twin 22", charge_point_serial_number="SN-4242424242")
    assert (boot.status, boot.interval) == ("Accepted", 300)
    assert told["charge_point_vendor"] == "Acme"
    assert_never_seen(csms, "SN-4242424242")
    await it.station_asks("StatusNotification", connector_id=1, error_code="NoError", status="Available", timestamp=NOW)
    await it.station_asks("Heartbeat")

    answer, told = await it.station_asks("Authorize", id_tag=CARD)
    pseudonym = told["id_tag"]
    assert is_pseudonym(pseudonym)
    assert answer.id_tag_info["status"] == "Accepted"

    started, told = await it.station_asks("StartTransaction", connector_id=1, id_tag=CARD.lower(), meter_start=1200, timestamp=NOW)
    assert started.transaction_id == 4711
    assert told == {"connector_id": 1, "id_tag": pseudonym, "meter_start": 1200, "timestamp": NOW}

    _, told = await it.station_asks("MeterValues", connector_id=1, transaction_id=4711, meter_value=[sample("1700", "Sample.Periodic")])
    assert told == {"connector_id": 1, "transaction_id": 4711, "meter_value": [sample("1700", "Sample.Periodic")]}

    data = [sample("1200", "Transaction.Begin"), sample("23400", "Transaction.End")]
    _, told = await it.station_asks(
        "StopTransaction", transaction_id=4711, id_tag=CARD, meter_stop=23400, timestamp=LATER, reason="Local", transaction_data=data
    )
    assert told == {"transaction_id": 4711, "id_tag": pseudonym, "meter_stop": 23400, "timestamp": LATER, "reason": "Local", "transaction_data": data}
    assert_never_seen(csms, CARD)


async def test_commands_of_the_central_system_in_1_6(gateway, csms, converse):
    it = await converse(gateway, "1.6")
    _, told = await it.station_asks("Authorize", id_tag=CARD)
    card = told["id_tag"]
    _, told = await it.station_asks("Authorize", id_tag=CONTRACT)
    contract = told["id_tag"]
    _, told = await it.station_asks("Authorize", id_tag=GROUP)
    group = told["id_tag"]
    assert len({card, contract, group}) == 3

    answer, told = await it.central_asks("RemoteStartTransaction", id_tag=card, connector_id=1)
    assert answer.status == "Accepted"
    assert told == {"id_tag": CARD, "connector_id": 1}
    for spelling in (card.lower(), card[:10].lower() + card[10:]):
        _, told = await it.central_asks("RemoteStartTransaction", id_tag=spelling)
        assert told == {"id_tag": CARD}, "a pseudonym is restored whatever its case"

    entries = [{"id_tag": card, "id_tag_info": {"status": "Accepted", "parent_id_tag": group}}, {"id_tag": contract.lower()}]
    answer, told = await it.central_asks("SendLocalList", list_version=3, update_type="Full", local_authorization_list=entries)
    assert answer.status == "Accepted"
    originals = [{"id_tag": CARD, "id_tag_info": {"status": "Accepted", "parent_id_tag": GROUP}}, {"id_tag": CONTRACT}]
    assert told == {"list_version": 3, "update_type": "Full", "local_authorization_list": originals}
    answer, _ = await it.central_asks("GetLocalListVersion")
    assert answer.list_version == 3

    answer, told = await it.central_asks("ReserveNow", connector_id=1, expiry_date=LATER, id_tag=card, parent_id_tag=group, reservation_id=7)
    assert answer.status == "Accepted"
    assert told == {"connector_id": 1, "expiry_date": LATER, "id_tag": CARD, "parent_id_tag": GROUP, "reservation_id": 7}
    await it.central_asks("CancelReservation", reservation_id=7)

    it.central.answers["StartTransaction"] = {"transaction_id": 4711, "id_tag_info": {"status": "Accepted", "parent_id_tag": group}}
    answer, _ = await it.station_asks("StartTransaction", connector_id=1, id_tag=CARD, meter_start=0, timestamp=NOW)
    assert answer.id_tag_info["parent_id_tag"] == GROUP, "answers carry identifiers too"
    _, told = await it.central_asks("RemoteStopTransaction", transaction_id=4711)
    assert told == {"transaction_id": 4711}

    for action, fields in [
        ("Reset", {"type": "Soft"}),
        ("TriggerMessage", {"requested_message": "StatusNotification", "connector_id": 1}),
        ("ChangeAvailability", {"connector_id": 1, "type": "Inoperative"}),
        ("UnlockConnector", {"connector_id": 1}),
        ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "300"}),
        ("GetConfiguration", {"key": ["HeartbeatInterval"]}),
    ]:
        answer, told = await it.central_asks(action, **fields)
        assert told == fields
        expected = STATION_ANSWERS["1.6"][action]
        assert getattr(answer, "status", None) == expected.get("status")
    assert answer.configuration_key == [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}]
    assert_never_seen(csms, CARD, CONTRACT, GROUP)


# --- 2.0.1 and 2.1 --------------------------------------------------------------------------------------------------------------

two_x = pytest.mark.parametrize("version", ["2.0.1", "2.1"])


def event(kind, number, **fields):
    triggers = {"Started": "Authorized", "Updated": "MeterValuePeriodic", "Ended": "StopAuthorized"}
    timestamp = LATER if kind == "Ended" else NOW
    transaction = {"transaction_id": TRANSACTION} | fields.pop("transaction_info", {})
    return {
        "event_type": kind,
        "timestamp": timestamp,
        "trigger_reason": triggers[kind],
        "seq_no": number,
        "offline": False,
        "transaction_info": transaction,
    } | fields


@two_x
async def test_a_whole_session_in_2_x(gateway, csms, converse, version):
    it = await converse(gateway, version)
    token = {"id_token": CARD, "type": "ISO14443"}

    station = {"model": "Twin 22", "vendor_name": "Acme", "serial_number": "SN-4242424242"}
    boot, told = await it.station_asks("BootNotification", charging_station=station, reason="PowerUp")
    assert boot.status == "Accepted"
    assert told["charging_station"]["model"] == "Twin 22"
    assert_never_seen(csms, "SN-4242424242")
    await it.station_asks("StatusNotification", timestamp=NOW, connector_status="Available", evse_id=1, connector_id=1)
    await it.station_asks("Heartbeat")

    answer, told = await it.station_asks("Authorize", id_token=token)
    pseudonym = told["id_token"]["id_token"]
    assert is_pseudonym(pseudonym)
    assert answer.id_token_info["status"] == "Accepted"

    evse = {"id": 1, "connector_id": 1}
    started = event("Started", 0, id_token=token, evse=evse, meter_value=[sample2(1200.5, "Transaction.Begin")])
    _, told = await it.station_asks("TransactionEvent", **started)
    assert told["id_token"]["id_token"] == pseudonym
    assert told | {"id_token": token} == started, "all but the card arrives as it was"

    updated = event("Updated", 1, meter_value=[sample2(1700, "Sample.Periodic", "2026-11-24T10:30:00Z")])
    _, told = await it.station_asks("TransactionEvent", **updated)
    assert told == updated

    ended = event(
        "Ended",
        2,
        id_token=token | {"id_token": CARD.lower()},
        meter_value=[sample2(23400, "Transaction.End", LATER)],
        transaction_info={"stopped_reason": "Local"},
    )
    _, told = await it.station_asks("TransactionEvent", **ended)
    assert told["id_token"]["id_token"] == pseudonym
    assert told | {"id_token": ended["id_token"]} == ended
    assert_never_seen(csms, CARD)


@two_x
async def test_commands_of_the_central_system_in_2_x(gateway, csms, converse, version):
    it = await converse(gateway, version)

    async def pseudonym_of(identifier, kind):
        _, told = await it.station_asks("Authorize", id_token={"id_token": identifier, "type": kind})
        return told["id_token"]["id_token"]

    card, contract, group = await pseudonym_of(CARD, "ISO14443"), await pseudonym_of(CONTRACT, "eMAID"), await pseudonym_of(GROUP, "ISO14443")
    assert len({card, contract, group}) == 3

    def told_token(token):
        return token["id_token"]

    for spelling in (card, card.lower(), card[:10].lower() + card[10:]):
        answer, told = await it.central_asks("RequestStartTransaction", id_token={"id_token": spelling, "type": "ISO14443"}, remote_start_id=5, evse_id=1)
        assert (answer.status, answer.transaction_id) == ("Accepted", TRANSACTION)
        assert (told_token(told["id_token"]), told["remote_start_id"], told["evse_id"]) == (CARD, 5, 1)
    _, told = await it.central_asks("RequestStopTransaction", transaction_id=TRANSACTION)
    assert told == {"transaction_id": TRANSACTION}
    await it.central_asks("GetTransactionStatus", transaction_id=TRANSACTION)

    entries = [
        {
            "id_token": {"id_token": card, "type": "ISO14443"},
            "id_token_info": {"status": "Accepted", "group_id_token": {"id_token": group, "type": "ISO14443"}},
        },
        {"id_token": {"id_token": contract.lower(), "type": "eMAID"}},
    ]
    answer, told = await it.central_asks("SendLocalList", version_number=3, update_type="Full", local_authorization_list=entries)
    assert answer.status == "Accepted"
    first, second = told["local_authorization_list"]
    assert told_token(first["id_token"]) == CARD
    assert told_token(first["id_token_info"]["group_id_token"]) == GROUP
    assert told_token(second["id_token"]) == CONTRACT
    answer, _ = await it.central_asks("GetLocalListVersion")
    assert answer.version_number == 3

    reservation = {"id_token": {"id_token": card, "type": "ISO14443"}, "group_id_token": {"id_token": group, "type": "ISO14443"}}
    answer, told = await it.central_asks("ReserveNow", id=7, expiry_date_time=LATER, evse_id=1, **reservation)
    assert answer.status == "Accepted"
    assert (told_token(told["id_token"]), told_token(told["group_id_token"]), told["id"]) == (CARD, GROUP, 7)
    await it.central_asks("CancelReservation", reservation_id=7)

    it.central.answers["Authorize"] = {"id_token_info": {"status": "Accepted", "group_id_token": {"id_token": group, "type": "ISO14443"}}}
    answer, _ = await it.station_asks("Authorize", id_token={"id_token": CARD, "type": "ISO14443"})
    assert answer.id_token_info["group_id_token"]["id_token"] == GROUP, "answers carry identifiers too"

    variable = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
    for action, fields in [
        ("Reset", {"type": "OnIdle"}),
        ("TriggerMessage", {"requested_message": "StatusNotification", "evse": {"id": 1, "connector_id": 1}}),
        ("ChangeAvailability", {"operational_status": "Inoperative", "evse": {"id": 1}}),
        ("UnlockConnector", {"evse_id": 1, "connector_id": 1}),
        ("SetVariables", {"set_variable_data": [{"attribute_value": "300"} | variable]}),
        ("GetVariables", {"get_variable_data": [variable]}),
    ]:
        answer, told = await it.central_asks(action, **fields)
        assert told == fields
        assert getattr(answer, "status", None) == STATION_ANSWERS["2.x"][action].get("status")
    assert answer.get_variable_result == STATION_ANSWERS["2.x"]["GetVariables"]["get_variable_result"]
    assert_never_seen(csms, CARD, CONTRACT, GROUP)


# --- identity -------------------------------------------------------------------------------------------------------------------


async def test_a_card_has_one_pseudonym_in_every_version_and_spelling(gateway, csms, converse):
    old = await converse(gateway, "1.6", "CS-16")
    seen = set()
    for spelling in (CARD, CARD.lower(), "04:a2:b3:c4:d5:e6:f7", "04-A2-B3-C4-D5-E6-F7"):
        _, told = await old.station_asks("Authorize", id_tag=spelling)
        seen.add(told["id_tag"])
        _, told = await old.central_asks("RemoteStartTransaction", id_tag=told["id_tag"])
        assert told["id_tag"].upper().replace(":", "").replace("-", "") == CARD
    for version in ("2.0.1", "2.1"):
        new = await converse(gateway, version, f"CS-{version}")
        for kind in ("ISO14443", "Central"):
            _, told = await new.station_asks("Authorize", id_token={"id_token": CARD, "type": kind})
            seen.add(told["id_token"]["id_token"])
    assert len(seen) == 1
    assert_never_seen(csms, CARD)


async def test_a_pseudonym_is_not_pseudonymised_again(gateway, converse):
    it = await converse(gateway, "1.6")
    _, told = await it.station_asks("Authorize", id_tag=CARD)
    pseudonym = told["id_tag"]
    _, told = await it.station_asks("Authorize", id_tag=pseudonym)
    assert told["id_tag"] == pseudonym


async def test_identifiers_that_the_operator_issues_pass_as_they_are(start_gateway, csms, converse):
    gateway = await start_gateway(config='[identity]\nnamespaces = ["WEB-*"]\n')
    it = await converse(gateway, "1.6")
    _, told = await it.central_asks("RemoteStartTransaction", id_tag="WEB-0042")
    assert told["id_tag"] == "WEB-0042"
    for spelling in ("WEB-0042", "web-0042"):
        _, told = await it.station_asks("StartTransaction", connector_id=1, id_tag=spelling, meter_start=0, timestamp=NOW)
        assert told["id_tag"] == spelling
    new = await converse(gateway, "2.0.1", "CS-2")
    _, told = await new.central_asks("RequestStartTransaction", id_token={"id_token": "WEB-0043", "type": "Central"}, remote_start_id=1)
    assert told["id_token"]["id_token"] == "WEB-0043"
    _, told = await it.station_asks("Authorize", id_tag=CARD)
    assert is_pseudonym(told["id_tag"]), "all other identifiers are still pseudonymised"


async def test_without_a_declaration_nothing_passes_as_it_is(gateway, converse):
    it = await converse(gateway, "1.6")
    _, told = await it.station_asks("Authorize", id_tag="WEB-0042")
    assert is_pseudonym(told["id_tag"])
    await it.central.call(it.call.RemoteStartTransaction(id_tag="WEB-0043"))
    assert it.station.told == []


async def test_an_unknown_vendor_is_refused_on_both_sides(gateway, csms, converse):
    it = await converse(gateway, "1.6")
    transfer = dict(vendor_id="com.example", message_id="tell", data=f"card {CARD}")
    assert (await it.station.call(it.call.DataTransfer(**transfer), suppress=False)).status.startswith("Unknown")
    assert (await it.central.call(it.call.DataTransfer(**transfer), suppress=False)).status.startswith("Unknown")
    assert it.central.told == [] and it.station.told == []


async def test_pseudonyms_outlive_a_restart_and_a_second_station_may_use_them(gateway, converse):
    it = await converse(gateway, "1.6")
    _, told = await it.station_asks("Authorize", id_tag=CARD)
    pseudonym = told["id_tag"]
    await asyncio.to_thread(gateway.stop)
    await gateway.start()
    elsewhere = await converse(gateway, "2.0.1", "CS-2")
    _, told = await elsewhere.central_asks("RequestStartTransaction", id_token={"id_token": pseudonym, "type": "ISO14443"}, remote_start_id=1)
    assert told["id_token"]["id_token"].upper() == CARD


async def test_the_codes_of_a_card_list(gateway, converse):
    """An operator converts its card list once; then the central system may use cards that no station has seen yet."""
    await asyncio.to_thread(gateway.stop)
    codes = await asyncio.to_thread(gateway.codes, [CARD, CONTRACT])
    assert all(is_pseudonym(code) for code in codes[CARD] + codes[CONTRACT])
    await gateway.start()
    it = await converse(gateway, "1.6")
    _, told = await it.central_asks("RemoteStartTransaction", id_tag=codes[CARD][0])
    assert told["id_tag"].upper() == CARD
    _, told = await it.station_asks("Authorize", id_tag=CONTRACT)
    assert told["id_tag"] == codes[CONTRACT][0]
