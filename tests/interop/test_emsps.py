"""Sessions of all three versions become CDRs at two e-MSPs: each gets its own customers' and no others', by codes that only it can resolve."""

import asyncio
import itertools
import json
import re
import subprocess

import pytest

import leaks
import world
from conftest import PSEUDONYM
from emsp import Emsp
from world import eventually

CODE = PSEUDONYM.replace("{18}", "{29}")
# Two customers of the first e-MSP (one contract, two cards), one of the second by contract, one that is nobody's.
CARD, FLEET_CARD, CONTRACT, STRANGER = "04C4B3A2918077", "049A8B7C6D5E4F", "DE-XYZ-C7K3M9P2Q", "04DEADBEEF1234"
FLEET_CONTRACT = "NL-ABC-F1E2D3C4B"
SITES = """station,evse,connector,location_id,evse_uid,evse_id,connector_id,name,address,city,postal_code,country,latitude,longitude,standard,format,power_type,tariff,home,time_zone
CS-*,*,*,LOC1,EVSE-1,NL*CPO*E1,1,Square,Market square 1,Utrecht,3511AA,NLD,52.0907,5.1214,IEC_62196_T2,SOCKET,AC_3_PHASE,T1,false,Europe/Amsterdam
"""
TARIFFS = [{"country_code": "NL", "party_id": "CPO", "id": "T1", "currency": "EUR", "last_updated": "2026-01-01T00:00:00Z",
            "elements": [{"price_components": [{"type": "ENERGY", "price": 0.40, "vat": 21.0, "step_size": 1}]}]}]  # fmt: skip
STATIONS = ["CS-16", "CS-201", "CS-21"]


@pytest.fixture
def emsps():
    both = [Emsp("NL-ABC", "2.2.1").start(), Emsp("DE-XYZ", "2.1.1").start()]
    yield both
    for emsp in both:
        emsp.stop()


@pytest.fixture
async def billing(start_gateway, tmp_path, emsps):
    """A gateway that bills, with both e-MSPs registered: (gateway, its OCPI URL)."""
    port = world.free_ports(1)[0]
    # One row for each station: the register names no patterns of stations.
    head, row = SITES.splitlines()
    (tmp_path / "sites.csv").write_text("\n".join([head] + [row.replace("CS-*", name) for name in STATIONS]) + "\n")
    (tmp_path / "tariffs.json").write_text(json.dumps(TARIFFS))
    entries = []
    for emsp in emsps:
        (tmp_path / f"{emsp.party}.token").write_text(f"a-token-of-{emsp.party}")
        (tmp_path / f"{emsp.party}.token").chmod(0o600)
        entries.append(f'[[emsp]]\nparty = "{emsp.party}"\nagreement = "DPA 1"\nocpi = "{emsp.version}"\ntoken_file = "{tmp_path}/{emsp.party}.token"\n')
    config = f"""
[cpo]
party = "NL-CPO"
[billing]
sites = "{tmp_path}/sites.csv"
tariffs = "{tmp_path}/tariffs.json"
settle_minutes = 0
[ocpi]
listen = "127.0.0.1:{port}"
{"".join(entries)}"""
    gateway = await start_gateway(config=config)
    ocpi = f"http://127.0.0.1:{port}/ocpi"
    for emsp in emsps:
        await asyncio.to_thread(emsp.registers, ocpi, f"a-token-of-{emsp.party}")
    return gateway, ocpi


async def charges(gateway, name, version, token, wh, transaction=None, hour=10):
    """One whole session of an hour, acknowledged from end to end."""
    station = await world.dial(gateway.url(name), version)
    begin, end = f"2026-11-24T{hour:02}:00:00Z", f"2026-11-24T{hour + 1:02}:00:00Z"
    if version == "1.6":
        await station.asks("Authorize", {"idTag": token})
        started = await station.asks("StartTransaction", {"connectorId": 1, "idTag": token, "meterStart": 5000, "timestamp": begin})
        await station.asks("StopTransaction", {"transactionId": started["transactionId"], "idTag": token, "meterStop": 5000 + wh, "timestamp": end})
    else:
        kind = "eMAID" if "-" in token else "ISO14443"
        id_token = {"idToken": token, "type": kind}

        def event(kind, seq, time, register, reason):
            context = "Transaction.Begin" if kind == "Started" else "Transaction.End"
            sample = {"value": register, "context": context, "measurand": "Energy.Active.Import.Register"}
            return {"eventType": kind, "timestamp": time, "triggerReason": reason, "seqNo": seq, "evse": {"id": 1, "connectorId": 1},
                    "transactionInfo": {"transactionId": transaction}, "idToken": id_token,
                    "meterValue": [{"timestamp": time, "sampledValue": [sample]}]}  # fmt: skip

        await station.asks("TransactionEvent", event("Started", 0, begin, 5000, "Authorized"))
        await station.asks("TransactionEvent", event("Ended", 1, end, 5000 + wh, "StopAuthorized"))
    await station.close()


def quarantine(gateway):
    """What `sluis cdr list` says is held: JSON, one a line."""
    run = subprocess.run([gateway.binary, "cdr", "list", "--state", "quarantined", "--json", "--config", gateway.directory / "sluis.toml",
                          "--data-dir", gateway.data], text=True, capture_output=True, timeout=60, env=gateway._environment)  # fmt: skip
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def resolve(gateway, directory, emsp, key_of, cards, cdrs):
    """`sluis emsp resolve` as an e-MSP runs it: the rows it prints."""
    key, tokens, bills = directory / f"{key_of}.key", directory / "tokens.csv", directory / "cdrs.json"
    key.unlink(missing_ok=True)
    share = subprocess.run([gateway.binary, "emsp", "key", key_of, "--out", key, "--config", gateway.directory / "sluis.toml", "--data-dir", gateway.data],
                           text=True, capture_output=True, timeout=60, env=gateway._environment)  # fmt: skip
    assert share.returncode == 0, share.stderr
    tokens.write_text("uid,contract_id,customer\n" + "".join(f"{card},{contract},{who}\n" for card, contract, who in cards))
    bills.write_text(json.dumps(cdrs))
    run = subprocess.run([gateway.binary, "emsp", "resolve", "--json", "--key", key, "--tokens", tokens, bills],
                         text=True, capture_output=True, timeout=60, env=gateway._environment)  # fmt: skip
    assert run.returncode in (0, 1), run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def strings(value):
    """All strings in a JSON value."""
    if isinstance(value, dict):
        return set(itertools.chain.from_iterable(strings(each) for each in value.values()))
    if isinstance(value, list):
        return set(itertools.chain.from_iterable(strings(each) for each in value))
    return {value} if isinstance(value, str) else set()


def driver(cdr):
    """Who charged, as a CDR of any version names it: (card, contract)."""
    token = cdr.get("cdr_token")
    return (token["uid"], token["contract_id"]) if token else (cdr["auth_id"], None)


@pytest.mark.timeout(180)
async def test_each_emsp_gets_its_own_sessions_by_its_own_codes(billing, csms, emsps, tmp_path):
    gateway, ocpi = billing
    abc, xyz = emsps
    csms_saw = lambda: "\n".join(csms.saw())
    transactions = itertools.count(1)
    csms.answers = lambda action, payload: {
        "Authorize": {"idTagInfo": {"status": "Accepted"}},
        "StartTransaction": {"transactionId": next(transactions), "idTagInfo": {"status": "Accepted"}},
        "StopTransaction": {},
        "TransactionEvent": {"idTokenInfo": {"status": "Accepted"}} if "idToken" in payload else {},
    }[action]
    for card in (CARD, FLEET_CARD):
        await asyncio.to_thread(abc.pushes, ocpi, abc.token(card, FLEET_CONTRACT))

    numbers = itertools.count(1)
    for name, version in zip(STATIONS, ["1.6", "2.0.1", "2.1"]):
        for token, wh in [(CARD, 1000), (FLEET_CARD, 2000), (CONTRACT, 3000), (STRANGER, 4000)]:
            spelling = token.replace("-", "") if version == "1.6" and token == CONTRACT else token
            await charges(gateway, name, version, spelling, wh, f"6f1c2d34-9a7b-4c1e-8f20-{next(numbers):012d}")
    await eventually(lambda: len(abc.cdrs) == 6 and len(xyz.cdrs) == 3, "all CDRs to be delivered", 60)
    held = await eventually(lambda: (rows := quarantine(gateway)) and len(rows) == 3 and rows, "the stranger's sessions to be held", 30)
    assert {row["why"] for row in held} == {"unknown_owner"}

    # What is billed is what was charged, at 0.40 a kWh.
    energy = sorted(cdr["total_energy"] for cdr in abc.bills())
    assert energy == [1, 1, 1, 2, 2, 2] and [cdr["total_energy"] for cdr in xyz.bills()] == [3, 3, 3]
    for cdr in abc.bills():
        assert cdr["total_cost"]["excl_vat"] == pytest.approx(cdr["total_energy"] * 0.40)
        assert cdr["total_cost"]["incl_vat"] == pytest.approx(cdr["total_energy"] * 0.40 * 1.21)
    assert all(cdr["total_cost"] == pytest.approx(1.2) for cdr in xyz.bills())

    # One card is one code in all versions, and the fleet is one contract.
    by_energy = {1: set(), 2: set()}
    for cdr in abc.bills():
        by_energy[int(cdr["total_energy"])].add(driver(cdr))
    assert [len(drivers) for drivers in by_energy.values()] == [1, 1]
    (card, contract), (fleet_card, fleet_contract) = by_energy[1].pop(), by_energy[2].pop()
    assert card != fleet_card and contract == fleet_contract
    assert len({driver(cdr) for cdr in xyz.bills()}) == 1
    assert all(re.fullmatch(CODE, code) for code in (card, fleet_card, contract))

    # The two compare all they have: nothing in common but what is public.
    everything = [set().union(*(strings(cdr) for cdr in emsp.bills())) for emsp in emsps]
    public = {"NL", "CPO", "NL-CPO", "EUR", "T1", "LOC1", "EVSE-1", "NL*CPO*E1", "1", "Square", "Market square 1", "Utrecht", "3511AA", "NLD", "52.090700",
              "5.121400", "IEC_62196_T2", "SOCKET", "AC_3_PHASE", "ENERGY", "TIME", "FLAT", "WHITELIST", "AUTH_REQUEST", "OTHER", "RFID",
              "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", "2026-01-01T00:00:00Z", "UNKNOWN", "ON_STREET", "Europe/Amsterdam"}  # fmt: skip
    shared = (everything[0] & everything[1]) - public
    moments = {text for text in shared if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)}
    assert shared <= moments, f"both e-MSPs received {shared - moments}"
    codes_of_csms = set(re.findall(PSEUDONYM, csms_saw()))
    assert codes_of_csms and not any(code in text for text in everything[0] | everything[1] for code in codes_of_csms)

    # No original anywhere but where it belongs: what the e-MSP itself was asked with and told us.
    secrets = leaks.Secrets()
    for secret in (CARD, FLEET_CARD, CONTRACT, STRANGER, FLEET_CONTRACT):
        secrets.plant(secret, "a driver")
    for emsp in emsps:
        for method, path, headers, body in emsp.seen:
            for text in (path, json.dumps(headers), body):
                assert not secrets.find(text), f"{emsp.party} received {secrets.find(text)} in {method} {path}"
    assert not secrets.find(csms_saw())
    assert not secrets.find(gateway.output()), "in the log"
    assert not secrets.find(gateway.get("/metrics")[1]), "in the metrics"
    for path, content in gateway.files().items():
        assert not secrets.find_in_file(content), f"in {path}"

    # Each resolves its own, and neither the other's, whichever key it holds.
    customers = [(CARD, FLEET_CONTRACT, "c1"), (FLEET_CARD, FLEET_CONTRACT, "c2"), (CONTRACT, CONTRACT, "c3")]
    rows = await asyncio.to_thread(resolve, gateway, tmp_path, abc, "NL-ABC", customers, abc.bills())
    assert sorted((row["customer"], float(row["energy_kwh"])) for row in rows) == [("c1", 1.0)] * 3 + [("c2", 2.0)] * 3
    misrouted = await asyncio.to_thread(resolve, gateway, tmp_path, xyz, "DE-XYZ", customers, abc.bills())
    assert not any(row["customer"] for row in misrouted), "a CDR that went astray told its receiver who charged"
    own = await asyncio.to_thread(resolve, gateway, tmp_path, xyz, "DE-XYZ", customers, xyz.bills())
    assert [row["customer"] for row in own] == ["c3"] * 3


@pytest.mark.timeout(120)
async def test_an_emsp_pulls_its_own_cdrs_only_and_learns_no_counts_of_others(billing, csms, emsps):
    gateway, ocpi = billing
    abc, xyz = emsps
    transactions = itertools.count(1)
    csms.answers = lambda action, payload: {
        "Authorize": {"idTagInfo": {"status": "Accepted"}},
        "StartTransaction": {"transactionId": next(transactions), "idTagInfo": {"status": "Accepted"}},
        "StopTransaction": {},
    }[action]
    await asyncio.to_thread(abc.pushes, ocpi, abc.token(CARD, FLEET_CONTRACT))
    for hour, token in enumerate([CARD, CONTRACT.replace("-", ""), CARD, CARD], 10):
        await charges(gateway, "CS-16", "1.6", token, 1000, hour=hour)
    await eventually(lambda: len(abc.cdrs) == 3 and len(xyz.cdrs) == 1, "all CDRs to be delivered", 60)

    status, headers, answer = await asyncio.to_thread(abc.call, "GET", f"{ocpi}/2.2.1/cdrs?limit=2", abc.token_c)
    headers = {name.lower(): value for name, value in headers.items()}
    assert status == 200 and headers["x-total-count"] == "3" and len(answer["data"]) == 2
    assert 'rel="next"' in headers["link"]
    more = headers["link"].split("<")[1].split(">")[0]
    _, headers, rest = await asyncio.to_thread(abc.call, "GET", more, abc.token_c)
    assert "link" not in {name.lower() for name in headers}
    assert answer["data"] + rest["data"] == abc.bills(), "pulled and pushed are the same"
    _, headers, answer = await asyncio.to_thread(xyz.call, "GET", f"{ocpi}/2.1.1/cdrs", xyz.token_c)
    assert {name.lower(): value for name, value in headers.items()}["x-total-count"] == "1" and answer["data"] == xyz.bills()
    status, _, _ = await asyncio.to_thread(xyz.call, "GET", f"{ocpi}/2.1.1/cdrs", "a-token-of-DE-XYZ")
    assert status == 401, "the first token opens nothing once credentials are exchanged"
