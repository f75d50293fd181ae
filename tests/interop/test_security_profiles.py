"""OCPP's security profiles end to end: stations of the `ocpp` package from PyPI over OpenSSL, the gateway as it is shipped, and a central
system that speaks TLS too and asks the gateway for its certificate."""

import asyncio
import base64
import signal
import ssl
import subprocess

import pytest
import websockets

import pki
import world
from messages import SUBPROTOCOL
from test_sessions import CARD, CSMS_ANSWERS, LATER, NOW, STATION_ANSWERS, TRANSACTION, Conversation, assert_never_seen, is_pseudonym, make_peer, of_version, sample
from world import eventually

PASSWORD = bytes(range(128, 144)) + b":\x00 and more"
CHANGED = b"0123456789abcdef"
# The list of libocpp for TLS 1.2, as OpenSSL writes it.
LIBOCPP = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:AES128-GCM-SHA256:AES256-GCM-SHA384"


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(user.encode() + b":" + password).decode()}


def hashed(gateway_binary, password):
    """What `sluis stations hash` makes of a password on its standard input."""
    run = subprocess.run([gateway_binary, "stations", "hash", "--rounds", "2000"], input=password, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.decode().strip()


class Place:
    """Authorities, a central system behind TLS, and gateways in front of it."""

    def __init__(self, directory):
        self.directory = directory
        self.own, self.makers, self.strangers = (pki.Authority(directory, name) for name in ("own", "makers", "strangers"))
        self.ecdsa = self.own.sign("ecdsa", "gateway.test", server=True, names=["gateway.test"])
        self.rsa = self.own.sign("rsa", "gateway.test", server=True, kind="rsa", names=["gateway.test"])
        self.ours = self.own.sign("upstream", "the gateway")
        self.gateways, self.tasks, self.sockets, self.centrals = [], [], [], {}

    async def start(self):
        central = self.own.sign("csms", "csms.test", server=True, names=["csms.test"])
        self.csms = world.Csms(central.server(clients=self.own))
        self.csms.runs = self._run
        await self.csms.start()
        return self

    async def _run(self, station, socket):
        version = socket.subprotocol.removeprefix("ocpp")
        self.centrals[station] = make_peer(version, of_version(CSMS_ANSWERS, version), station, socket)
        await self.centrals[station].start()

    async def gateway(self, tls="", stations="", upstream=""):
        files = f'certificates = ["{self.rsa.chain}", "{self.ecdsa.chain}"]\nkeys = ["{self.rsa.key}", "{self.ecdsa.key}"]\n' if tls is not None else ""
        config = (f'[tls]\n{files}{tls or ""}\n[stations]\n{stations}\n[upstream]\nca_file = "{self.own.pem}"\ncertificate = "{self.ours.chain}"\n'
                  f'key = "{self.ours.key}"\nserver_name = "csms.test"\n{upstream}\n')  # fmt: skip
        directory = self.directory / f"gateway{len(self.gateways)}"
        directory.mkdir()
        gateway = world.Gateway(directory, self.csms.url, config=config)
        self.gateways.append(gateway)
        return await gateway.start()

    async def dial(self, gateway, version="1.6", name="CS-1", tls=None, headers=None):
        """A station's socket; `tls` is its context."""
        scheme, options = ("wss", dict(ssl=tls, server_hostname="gateway.test")) if tls else ("ws", {})
        url = f"{scheme}://127.0.0.1:{gateway.port}/ocpp/{name}"
        socket = await world.connect(url, subprotocols=[SUBPROTOCOL[version]], additional_headers=headers, compression=None, proxy=None, **options)
        self.sockets.append(socket)
        return socket

    async def converse(self, gateway, version="1.6", name="CS-1", **options):
        self.centrals.pop(name, None)
        socket = await self.dial(gateway, version, name, **options)
        station = make_peer(version, of_version(STATION_ANSWERS, version), name, socket)
        self.tasks.append(asyncio.create_task(station.start()))
        central = await eventually(lambda: self.centrals.get(name), "the central system to be connected")
        return Conversation(version, station, central, self.csms)

    async def is_refused(self, gateway, reason, **options):
        """The station gets no connection, the gateway counts why, and the central system hears nothing. Gives the HTTP status, if any."""
        heard = len(self.csms.handshakes)
        before = refusals(gateway, reason)
        with pytest.raises((websockets.InvalidStatus, ssl.SSLError, ConnectionError, websockets.InvalidMessage, EOFError)) as failure:
            await self.dial(gateway, **options)
        await eventually(lambda: refusals(gateway, reason) > before, f"{reason} to be counted; it was {failure.value!r}")
        assert len(self.csms.handshakes) == heard, "the central system heard of it"
        response = getattr(failure.value, "response", None)
        return response.status_code if response else None

    async def stop(self):
        for socket in self.sockets:
            await socket.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for gateway in self.gateways:
            await asyncio.to_thread(gateway.stop)
        await self.csms.stop()


def refusals(gateway, reason):
    lines = gateway.get("/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f'ocpp_connections_refused_total{{reason="{reason}"}}'))


@pytest.fixture
async def place(tmp_path):
    place = await Place(tmp_path).start()
    yield place
    await place.stop()


async def charges(it):
    """A session from boot to stop; the central system never sees the card."""
    if it.version == "1.6":
        boot, _ = await it.station_asks("BootNotification", charge_point_vendor="Acme", charge_point_model="Twin 22")
        assert boot.status == "Accepted"
        _, told = await it.station_asks("Authorize", id_tag=CARD)
        code = told["id_tag"]
        started, told = await it.station_asks("StartTransaction", connector_id=1, id_tag=CARD, meter_start=1200, timestamp=NOW)
        assert (started.transaction_id, told["id_tag"]) == (4711, code)
        _, told = await it.station_asks("StopTransaction", transaction_id=4711, id_tag=CARD, meter_stop=23400, timestamp=LATER,
                                        transaction_data=[sample("23400", "Transaction.End")])  # fmt: skip
        assert told["id_tag"] == code
    else:
        boot, _ = await it.station_asks("BootNotification", reason="PowerUp", charging_station={"model": "Twin 22", "vendor_name": "Acme"})
        assert boot.status == "Accepted"
        token = {"id_token": CARD, "type": "ISO14443"}
        _, told = await it.station_asks("Authorize", id_token=token)
        code = told["id_token"]["id_token"]
        for number, kind in enumerate(["Started", "Ended"]):
            _, told = await it.station_asks("TransactionEvent", event_type=kind, timestamp=NOW, trigger_reason="Authorized", seq_no=number,
                                            transaction_info={"transaction_id": TRANSACTION}, id_token=token)  # fmt: skip
            assert told["id_token"]["id_token"] == code
    assert is_pseudonym(code)
    assert_never_seen(it.csms, CARD)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_profile_1_a_password_in_plain_text(place, version):
    gateway = await place.gateway(tls=None, stations="security_profile = 1")
    assert await place.is_refused(gateway, "no_credentials", version=version) == 401
    assert await place.is_refused(gateway, "credentials_of_another_station", version=version, headers=basic("CS-2", PASSWORD)) == 401
    await charges(await place.converse(gateway, version, headers=basic("CS-1", PASSWORD)))
    # The central system checks it, and gets it as it came.
    assert dict(place.csms.handshakes[-1][1])["Authorization"] == basic("CS-1", PASSWORD)["Authorization"]


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_profile_2_a_password_over_tls(place, version):
    register, upstream = place.directory / "stations.csv", place.directory / "csms.password"
    binary = world.Gateway(place.directory, "").binary
    for file in (register, upstream):
        file.touch(mode=0o600)
    register.write_text(f"station,hash\nCS-1,{hashed(binary, PASSWORD)}\n")
    upstream.write_bytes(b"known to the CSMS\n")
    gateway = await place.gateway(stations=f'passwords_file = "{register}"', upstream=f'password_file = "{upstream}"')
    tls = pki.client(place.own)
    assert await place.is_refused(gateway, "no_credentials", version=version, tls=tls) == 401
    assert await place.is_refused(gateway, "wrong_password", version=version, tls=tls, headers=basic("CS-1", b"guess" * 4)) == 401
    assert await place.is_refused(gateway, "unknown_station", version=version, tls=tls, name="CS-9", headers=basic("CS-9", PASSWORD)) == 401
    await place.is_refused(gateway, "tls_not_spoken", version=version, headers=basic("CS-1", PASSWORD))
    it = await place.converse(gateway, version, tls=tls, headers=basic("CS-1", PASSWORD))
    await charges(it)
    sent = dict(place.csms.handshakes[-1][1])["Authorization"]
    assert sent == basic("CS-1", b"known to the CSMS")["Authorization"]

    # A password changes without a gap: both are good for a while. The connection stays.
    register.write_text(f"station,hash,hash2\nCS-1,{hashed(binary, PASSWORD)},{hashed(binary, CHANGED)}\n")
    gateway.process.send_signal(signal.SIGHUP)
    await eventually(lambda: 'what="passwords",outcome="new"' in gateway.get("/metrics")[1], "the register to be read again")
    for password in (PASSWORD, CHANGED):
        await charges(await place.converse(gateway, version, name="CS-1", tls=tls, headers=basic("CS-1", password)))

    # The central system cannot change it behind the gateway's back.
    it = await place.converse(gateway, version, tls=tls, headers=basic("CS-1", CHANGED))
    before = list(it.station.told)
    if version == "1.6":
        answer = await it.central.call(it.call.ChangeConfiguration(key="AuthorizationKey", value="00112233445566778899aabbccddeeff00112233"), suppress=False)
        assert answer.status == "Rejected"
    else:
        data = {"attribute_value": "Xx" * 16, "component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
        with pytest.raises(Exception, match=".") as refusal:
            answer = await it.central.call(it.call.SetVariables(set_variable_data=[data]), suppress=False)
            assert answer.set_variable_result[0]["attribute_status"] == "Rejected"
            raise RuntimeError("rejected in its own words")
        assert "Xx" not in str(refusal.value)
    assert it.station.told == before
    assert not any(text in gateway.output() for text in ("guess", "0123456789abcdef", "known to", base64.b64encode(PASSWORD).decode()[4:-4]))


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_profile_3_a_certificate_of_its_own(place, version):
    good, revoked = place.makers.sign("good", "CS-1"), place.makers.sign("revoked", "CS-1")
    another, expired = place.makers.sign("another", "CS-2"), place.makers.sign("expired", "CS-1", until=pki.NOW - pki.DAY)
    foreign = place.strangers.sign("foreign", "CS-1")
    crl = place.makers.revoke(revoked)
    gateway = await place.gateway(tls=f'client_ca = "{place.makers.pem}"\ncrls = ["{crl}"]\nclient_organization = "Voltbaas"', stations="security_profile = 3")
    for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        shows = lambda certificate: pki.client(place.own, certificate, newest)
        assert await place.is_refused(gateway, "certificate_of_another_station", version=version, tls=shows(another)) == 403
        assert await place.is_refused(gateway, "no_client_certificate", version=version, tls=shows(None)) == 403
        assert await place.is_refused(gateway, "no_client_certificate", version=version, tls=shows(None), headers=basic("CS-1", PASSWORD)) == 403
        await place.is_refused(gateway, "certificate_expired", version=version, tls=shows(expired))
        await place.is_refused(gateway, "certificate_revoked", version=version, tls=shows(revoked))
        await place.is_refused(gateway, "certificate_foreign", version=version, tls=shows(foreign))
        it = await place.converse(gateway, version, tls=shows(good))
        await charges(it)

    # It is revoked while it is connected: the connection stays, the next one is refused.
    place.makers.revoke(revoked, good)
    gateway.process.send_signal(signal.SIGHUP)
    await eventually(lambda: 'what="tls",outcome="new"' in gateway.get("/metrics")[1], "the list to be read again")
    await it.station_asks("Heartbeat")
    await place.is_refused(gateway, "certificate_revoked", version=version, tls=pki.client(place.own, good))
    names = ("CS-1", "CS-2", "Voltbaas", "127.0.0.1/")
    assert not any(name in line for line in gateway.output().splitlines() if "refused" in line for name in names)


async def test_field_13_a_station_with_the_tls_1_2_list_of_libocpp_charges(place):
    """Its list has ECDSA suites and ones that nobody here has; beside an RSA certificate there must be an ECDSA one."""
    gateway = await place.gateway()
    tls = pki.client(place.own, newest=ssl.TLSVersion.TLSv1_2, ciphers=LIBOCPP)
    it = await place.converse(gateway, tls=tls, headers=basic("CS-1", PASSWORD))
    assert it.station._connection.transport.get_extra_info("cipher")[0].startswith("ECDHE-ECDSA-AES")
    await charges(it)
    rsa = pki.client(place.own, newest=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    await charges(await place.converse(gateway, name="CS-2", tls=rsa, headers=basic("CS-2", PASSWORD)))
    await place.is_refused(gateway, "tls_no_common_suite", tls=pki.client(place.own, newest=ssl.TLSVersion.TLSv1_2, ciphers="AES128-GCM-SHA256"))
