"""The OCPI surface as an e-MSP's own software meets it: the gateway is a real process, and so is everything that goes over its sockets. What it
says is read by models of OCPI that others wrote: ocpi-types and extrawest-ocpi."""

import asyncio
import base64
import contextlib
import http.client
import importlib
import json
import re
import subprocess
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, urlsplit

import pytest
from py_ocpi.modules.credentials.v_2_1_1.schemas import Credentials as Credentials211
from py_ocpi.modules.credentials.v_2_2_1.schemas import Credentials as Credentials221
from py_ocpi.modules.tokens.v_2_2_1.schemas import AuthorizationInfo, Token
from py_ocpi.modules.versions.schemas import Version

import leaks
import world
from world import eventually

CARD = "04A2B3C4D5E6F7"
CONTRACT = "NLABC000012345"
CODE = re.compile(r"Z[0-9][0-9A-HJKMNP-TV-Z]{29}")
NOW = "2026-11-24T10:00:00Z"
SITES = """station,evse,connector,location_id,evse_uid,evse_id,connector_id,name,address,city,postal_code,state,country,latitude,longitude,\
standard,format,power_type,max_kw,tariff,home,time_zone,neighbourhood,municipality,province
CS-1,*,*,LOC1,EVSE-0001,NL*CPO*E0001,1,Marktplein,Marktplein 1,Gouda,2801 JJ,,NLD,52.011500,4.711000,IEC_62196_T2,SOCKET,AC_3_PHASE,22,flat,\
false,Europe/Amsterdam,,Gouda,Zuid-Holland
"""
TARIFFS = [{"country_code": "NL", "party_id": "CPO", "id": "flat", "currency": "EUR", "last_updated": "2026-01-01T00:00:00Z",
            "elements": [{"price_components": [{"type": "ENERGY", "price": 0.30, "vat": 21, "step_size": 1}]}]}]  # fmt: skip


class Emsp:
    """An e-MSP's OCPI, small: versions, details, credentials, and an answer to authorize. It keeps every request whole."""

    def __init__(self, party, version):
        self.party, self.version = party, version
        self.token = f"token-of-{party}-{version}"
        self.asked = []
        self.invites = None  # the token with which others may register, if any
        self.calls_back = None  # called with the credentials of whoever registers
        emsp = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                emsp.asked.append(f"{self.command} {self.path}\n{self.headers}\n{body}")
                status, code, data = emsp.decide(self.command, self.path, self.headers, body)
                answer = json.dumps({"data": data, "status_code": code, "timestamp": NOW}).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def credentials(self, token):
        country, party = self.party.split("-")
        details = {"business_details": {"name": f"e-MSP {self.party}"}, "country_code": country, "party_id": party}
        url = {"token": token, "url": f"{self.url}/versions"}
        return url | details if self.version == "2.1.1" else url | {"roles": [{"role": "EMSP"} | details]}

    def decide(self, method, path, headers, body):
        shown = headers.get("authorization", "").removeprefix("Token ")
        with contextlib.suppress(ValueError):
            shown = shown if self.version == "2.1.1" else base64.b64decode(shown).decode()
        if shown not in (self.token, self.invites):
            return 401, 2000, None
        path = urlsplit(path).path
        if path == "/versions":
            return 200, 1000, [{"version": self.version, "url": f"{self.url}/details"}]
        if path == "/details":
            modules = [("credentials", "SENDER"), ("cdrs", "RECEIVER"), ("tokens", "SENDER")]
            return 200, 1000, {"version": self.version, "endpoints": [{"identifier": m, "role": r, "url": f"{self.url}/{m}"} for m, r in modules]}
        if path == "/credentials" and method in ("POST", "PUT"):
            self.invites = None
            self.calls_back(json.loads(body))
            return 200, 1000, self.credentials(self.token)
        if path.endswith("/authorize"):
            return 200, 1000, {"allowed": "ALLOWED", "authorization_reference": "R-1", "info": {"language": "nl", "text": f"Dag {CARD}"}}
        if path == "/tokens":
            return 200, 1000, []
        return 404, 2000, None


class Surface:
    """A caller of the gateway's OCPI. Everything that comes back is kept, and is an envelope."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}/ocpi"
        self.heard = []

    def call(self, method, path, token, body=None, encoded=True, headers=None):
        """`path` is a URL of the surface, or what comes after its beginning; gives (HTTP status, envelope, headers)."""
        token = base64.b64encode(token.encode()).decode() if encoded else token
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            body = None if body is None else json.dumps(body)
            headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"} | (headers or {})
            connection.request(method, "/ocpi" + path.removeprefix(self.url), body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        self.heard.append(f"{answer.status} {answer.headers}\n{text}")
        envelope = json.loads(text)
        assert set(envelope) <= {"data", "status_code", "status_message", "timestamp"}
        assert isinstance(envelope["status_code"], int) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", envelope["timestamp"])
        assert answer.headers["X-Request-ID"] and answer.headers["X-Correlation-ID"]
        assert answer.status in (200, 201, 400, 401, 404, 405)
        return answer.status, envelope, answer.headers

    def data(self, *args, **options):
        status, envelope, _ = self.call(*args, **options)
        assert status in (200, 201) and envelope["status_code"] == 1000, envelope
        return envelope.get("data")

    def statuses(self, *args, **options):
        status, envelope, _ = self.call(*args, **options)
        return status, envelope["status_code"]


def model(version, name):
    return getattr(importlib.import_module(f"ocpi_types.v{version.replace('.', '_')}"), name)


def token_object(party, uid=CARD, contract=CONTRACT, whitelist="ALLOWED"):
    country, party = party.split("-")
    return {"country_code": country, "party_id": party, "uid": uid, "type": "RFID", "contract_id": contract, "visual_number": "VISUAL-4711",
            "issuer": "An e-MSP", "valid": True, "whitelist": whitelist, "last_updated": NOW}  # fmt: skip


@pytest.fixture
def emsps():
    all = [Emsp("NL-ABC", "2.2.1"), Emsp("NL-XYZ", "2.2.1"), Emsp("DE-OLD", "2.1.1"), Emsp("FR-NEW", "2.3.0")]
    yield {emsp.party: emsp for emsp in all}
    for emsp in all:
        emsp.stop()


@pytest.fixture
async def gateway(start_gateway, tmp_path, emsps):
    """A gateway that bills at once, and its surface."""
    [port] = world.free_ports(1)
    (tmp_path / "sites.csv").write_text(SITES)
    (tmp_path / "tariffs.json").write_text(json.dumps(TARIFFS))
    config = f"""
[cpo]
party = "NL-CPO"
name = "The operator"
[billing]
sites = "{tmp_path}/sites.csv"
tariffs = "{tmp_path}/tariffs.json"
settle_minutes = 0
[ocpi]
listen = "127.0.0.1:{port}"
"""
    for emsp in emsps.values():
        for name, token in [(emsp.party, f"invitation-{emsp.party}\n"), (f"{emsp.party}-theirs", f"their-invitation-{emsp.party}\n")]:
            (tmp_path / name).write_text(token)
            (tmp_path / name).chmod(0o600)
        config += f"""
[[emsp]]
party = "{emsp.party}"
agreement = "DPA 1"
ocpi = "{emsp.version}"
delivery = "pull"
token_file = "{tmp_path}/{emsp.party}"
their_token_file = "{tmp_path}/{emsp.party}-theirs"
versions_url = "{emsp.url}/versions"
token_form = "{'raw' if emsp.version == '2.1.1' else 'base64'}"
"""
    gateway = await start_gateway(config=config)
    gateway.surface = Surface(port)
    return gateway


def ocpi(gateway, *words):
    """`sluis ocpi`: (status, stdout)"""
    command = [gateway.binary, "ocpi", "--config", gateway.directory / "sluis.toml", "--data-dir", gateway.data, *words]
    run = subprocess.run(command, text=True, capture_output=True, timeout=60, env=gateway._environment)
    return run.returncode, run.stdout + run.stderr


async def aside(function, *args, **options):
    """In a thread, so that the central system and the e-MSP can take part."""
    return await asyncio.to_thread(function, *args, **options)


async def registers(surface, emsp):
    """The whole exchange, as the e-MSP would; its token of now."""
    invitation = f"invitation-{emsp.party}"
    encoded = emsp.version != "2.1.1"
    versions = await aside(surface.data, "GET", "/versions", invitation, encoded=encoded)
    assert [entry["version"] for entry in versions] == [emsp.version]
    if emsp.version != "2.3.0":  # which this model does not know
        Version(**versions[0])
    details = await aside(surface.data, "GET", versions[0]["url"], invitation, encoded=encoded)
    assert details["version"] == emsp.version
    if emsp.version != "2.1.1":
        model(emsp.version, "VersionDetails").from_dict(details)
    urls = {endpoint["identifier"]: endpoint["url"] for endpoint in details["endpoints"]}
    theirs = await aside(surface.data, "POST", urls["credentials"], invitation, emsp.credentials(emsp.token), encoded=encoded)
    assert model(emsp.version, "Credentials").from_dict(theirs).to_dict()["token"] == theirs["token"]
    (Credentials211 if emsp.version == "2.1.1" else Credentials221)(**theirs)
    return theirs["token"], urls


@pytest.mark.parametrize("party", ["NL-ABC", "DE-OLD", "FR-NEW"])
async def test_an_emsp_registers_renews_and_leaves(gateway, emsps, party):
    surface, emsp = gateway.surface, emsps[party]
    token, urls = await registers(surface, emsp)
    invitation = f"invitation-{party}"
    assert await aside(surface.statuses, "GET", "/versions", invitation) == (401, 2000)
    assert await aside(surface.statuses, "POST", urls["credentials"], token, emsp.credentials("x")) == (405, 2000)
    for encoded in (True, False):
        assert await aside(surface.data, "GET", urls["cdrs"], token, encoded=encoded) == []
    renewed = await aside(surface.data, "PUT", urls["credentials"], token, emsp.credentials(emsp.token))
    assert await aside(surface.statuses, "GET", urls["cdrs"], token) == (401, 2000)
    gateway.kill()
    await gateway.start()
    assert await aside(surface.data, "GET", urls["cdrs"], renewed["token"]) == []
    assert await aside(surface.statuses, "DELETE", urls["credentials"], renewed["token"]) == (200, 1000)
    assert await aside(surface.statuses, "GET", urls["cdrs"], renewed["token"]) == (401, 2000)
    assert await aside(surface.statuses, "GET", "/versions", invitation) == (401, 2000)


@pytest.mark.parametrize("party", ["NL-ABC", "DE-OLD", "FR-NEW"])
async def test_we_register_with_an_emsp_that_calls_back(gateway, emsps, party):
    surface, emsp = gateway.surface, emsps[party]
    emsp.invites = f"their-invitation-{party}"
    given = []

    def calls_back(credentials):
        given.append(credentials["token"])
        [version] = surface.data("GET", credentials["url"], credentials["token"])
        surface.data("GET", version["url"], credentials["token"])
        # Until the exchange has ended the token opens nothing else.
        assert surface.statuses("GET", f"{version['url']}/cdrs", credentials["token"]) == (401, 2000)

    emsp.calls_back = calls_back
    status, said = await aside(ocpi, gateway, "register", party)
    assert status == 0 and "registered" in said, said
    assert await aside(surface.data, "GET", f"/{emsp.version}/cdrs", given[0]) == []
    assert (await aside(ocpi, gateway, "register", party))[0] == 1, "it is registered already"
    status, said = await aside(ocpi, gateway, "renew", party)
    assert status == 0, said
    assert await aside(surface.statuses, "GET", "/versions", given[0]) == (401, 2000)
    assert await aside(surface.data, "GET", f"/{emsp.version}/cdrs", given[1]) == []
    # A renewal that fails leaves everything as it was.
    emsp.calls_back = lambda credentials: {}["broken"]
    assert (await aside(ocpi, gateway, "renew", party))[0] == 1
    assert await aside(surface.data, "GET", f"/{emsp.version}/cdrs", given[1]) == []
    status, listed = await aside(ocpi, gateway, "list")
    assert status == 0 and re.search(rf"{party} .*valid today .*registered .*cdrs", listed), listed
    assert not any(token in listed + said for token in [*given, emsp.token])
    assert (await aside(ocpi, gateway, "revoke", party))[0] == 0
    assert await aside(surface.statuses, "GET", "/versions", given[1]) == (401, 2000)


async def charges(gateway, card, began=NOW, ended="2026-11-24T11:00:00Z"):
    """A session of 12.5 kWh at CS-1."""
    station = await world.dial(gateway.url("CS-1"), "1.6")
    await station.asks("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
    start = {"connectorId": 1, "idTag": card, "meterStart": 1000, "timestamp": began}
    transaction = (await station.asks("StartTransaction", start))["transactionId"]
    await station.asks("StopTransaction", {"transactionId": transaction, "idTag": card, "meterStop": 13500, "timestamp": ended})
    await station.close()


async def pulls(surface, url, token):
    """The CDRs of an e-MSP, once there are any."""
    for _ in range(100):
        if cdrs := await aside(surface.data, "GET", url, token):
            return cdrs
        await asyncio.sleep(0.2)
    raise AssertionError("no CDR came")


async def test_a_session_becomes_a_cdr_that_its_owner_pulls_and_resolves(gateway, emsps, csms):
    surface = gateway.surface
    (abc, urls), (xyz, _) = await registers(surface, emsps["NL-ABC"]), await registers(surface, emsps["NL-XYZ"])
    path = f"{urls['tokens']}/NL/ABC/{quote(CARD)}"
    assert (await aside(surface.call, "PUT", path, abc, token_object("NL-ABC")))[0] == 201
    kept = await aside(surface.data, "GET", f"{path}?type=RFID", abc)
    assert Token(**kept).uid.upper() == CARD and "visual_number" not in kept
    assert await aside(surface.statuses, "GET", path, xyz) == (404, 2004)
    # What the owner itself was told of its own card is no leak; from here on nothing may be.
    told = len(surface.heard)

    await charges(gateway, CARD)
    [cdr] = await pulls(surface, urls["cdrs"], abc)
    assert CODE.fullmatch(cdr["cdr_token"]["uid"]) and CODE.fullmatch(cdr["cdr_token"]["contract_id"])
    assert (cdr["total_energy"], cdr["total_cost"]["excl_vat"]) == (12.5, 3.75)
    model("2.2.1", "Cdr").from_dict(cdr)
    _, envelope, headers = await aside(surface.call, "GET", f"{urls['cdrs']}?date_from=2026-01-01T00:00:00Z&limit=1", abc)
    assert (headers["X-Total-Count"], headers["X-Limit"], headers["Link"], envelope["data"]) == ("1", "100", None, [cdr])
    _, envelope, headers = await aside(surface.call, "GET", urls["cdrs"], xyz)
    assert (headers["X-Total-Count"], envelope["data"]) == ("0", [])

    secrets = leaks.Secrets()
    for secret in (CARD, CONTRACT):
        secrets.plant(secret, "the token")
    assert secrets.find("\n".join(surface.heard[told:])) == []
    assert secrets.find("\n".join(csms.saw())) == []
    resolve = f"{surface.url}/2.2.1/resolve"
    assert await aside(surface.data, "POST", resolve, abc, {"code": cdr["cdr_token"]["uid"]}) == {"uid": CARD, "contract_id": CONTRACT}
    strangers = [await aside(surface.call, "POST", resolve, xyz, {"code": code}) for code in (cdr["cdr_token"]["uid"], "Z0" + "A" * 29, CARD)]
    bare = [(status, {**envelope, "timestamp": None}) for status, envelope, _ in strangers]
    assert bare == [(404, {"status_code": 2004, "status_message": "Unknown token", "timestamp": None})] * 3

    # Neither the log nor any file holds an identifier, a token or a path.
    output = gateway.output()
    assert secrets.find(output) == []
    for secret in (abc, xyz, emsps["NL-ABC"].token, "/tokens/", "invitation-NL"):
        assert secret not in output
    for name, content in gateway.files().items():
        assert secrets.find_in_file(content) == [], name
        assert not any(secret.encode() in content for secret in (abc, xyz, emsps["NL-ABC"].token)), name
    status, metrics = await aside(gateway.get, "/metrics")
    assert 'ocpi_requests_total{module="cdrs",method="get",status_class="1xxx"}' in metrics


async def test_the_central_system_asks_the_owner_by_code(gateway, emsps):
    surface, emsp = gateway.surface, emsps["NL-ABC"]
    token, urls = await registers(surface, emsp)
    assert (await aside(surface.call, "PUT", f"{urls['tokens']}/NL/ABC/{CARD}", token, token_object("NL-ABC", whitelist="NEVER")))[0] == 201
    status, granted = await aside(ocpi, gateway, "grant", "csms")
    assert status == 0
    granted = granted.strip()
    code, *_ = gateway.codes([CARD])[CARD]
    told = len(surface.heard)
    info = await aside(surface.data, "POST", f"/2.2.1/tokens/{code}/authorize?type=RFID", granted, {"location_id": "LOC1"})
    assert (info["allowed"], info["token"]["uid"]) == ("ALLOWED", code) and "authorization_reference" not in info
    AuthorizationInfo(**info)
    assert any(f"POST /tokens/{CARD}/authorize?type=RFID" in asked for asked in emsp.asked)
    # What the e-MSP said then stands in the CDR.
    began = datetime.now(timezone.utc)
    moments = [(began + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ") for seconds in (0, 1)]
    await charges(gateway, CARD, *moments)
    [cdr] = await pulls(surface, urls["cdrs"], token)
    assert (cdr["authorization_reference"], cdr["auth_method"]) == ("R-1", "AUTH_REQUEST")
    # A code whose last character is another, whatever it was.
    forged = code[:-1] + ("1" if code[-1] == "0" else "0")
    for guess in (CARD, CARD.lower(), CONTRACT, forged):
        assert await aside(surface.statuses, "POST", f"/2.2.1/tokens/{guess}/authorize", granted) == (404, 2004)
    secrets = leaks.Secrets()
    for secret in (CARD, CONTRACT):
        secrets.plant(secret, "the token")
    assert secrets.find("\n".join(surface.heard[told:])) == []
    assert secrets.find(gateway.output()) == []


async def test_strange_http_is_answered_or_ended(gateway):
    """What never becomes a request costs a connection, and nothing else."""

    def raw(text, patience=5):
        import socket

        with socket.create_connection(("127.0.0.1", gateway.surface.port), timeout=patience) as connection:
            connection.sendall(text)
            connection.settimeout(patience)
            with contextlib.suppress(TimeoutError, ConnectionError):
                return connection.recv(65536)
        return b""

    for text in (b"\0\1\2\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n\r\n",
                 b"GET /ocpi/versions HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 300 + b"\r\n"):  # fmt: skip
        first = (await aside(raw, text)).split(b"\r\n")[0]
        assert first == b"" or re.match(rb"HTTP/1\.[01] 4\d\d", first), first
    assert b"401" in await aside(raw, b"GET /ocpi/versions HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await eventually(lambda: gateway.get("/readyz"), "the gateway to be alive"))[0] == 200
