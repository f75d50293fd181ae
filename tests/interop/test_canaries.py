"""Canaries: every message of every version, with a unique identifier in every string that the schema leaves open.

None of what a station says may reach the central system, the logs, the metrics, the health page or a file; what does arrive is
valid, every CALL gets exactly one valid answer, and what a bill needs arrives unchanged.
"""

import asyncio
import base64
import json

import pytest

import leaks
import messages
from messages import VERSIONS

pytestmark = [pytest.mark.parametrize("family", leaks.Canaries.FAMILIES), pytest.mark.parametrize("version", VERSIONS)]

# Passed on by every policy, because there is no charging, billing or operating without.
MUST_GO_UP = {
    "1.6": ["Authorize", "BootNotification", "Heartbeat", "MeterValues", "StartTransaction", "StatusNotification", "StopTransaction"],
    "2.0.1": ["Authorize", "BootNotification", "Heartbeat", "MeterValues", "StatusNotification", "TransactionEvent"],
}
MUST_GO_UP["2.1"] = MUST_GO_UP["2.0.1"]
# Their facts must arrive even where some of their words are odd.
BILLED = ["StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"]
MUST_GO_DOWN = {
    "1.6": """CancelReservation ChangeAvailability ClearCache GetLocalListVersion RemoteStartTransaction RemoteStopTransaction ReserveNow
        Reset SendLocalList TriggerMessage UnlockConnector""".split(),
    "2.0.1": """CancelReservation ChangeAvailability ClearCache GetLocalListVersion GetTransactionStatus GetVariables RequestStartTransaction
        RequestStopTransaction ReserveNow Reset SendLocalList SetVariables TriggerMessage UnlockConnector""".split(),
}
MUST_GO_DOWN["2.1"] = MUST_GO_DOWN["2.0.1"]

# Settings by their standard names: some hold an identifier, some a text, some a number.
KEYS = """AuthorizationKey CpoName HeartbeatInterval MeterValuesSampledData LocalAuthListMaxLength SupportedFeatureProfiles ConnectorPhaseRotation
    CentralContractValidationAllowed FreevendIdTag DefaultIdTag MasterTag ChargePointSerialNumber WifiSsid SimPin""".split()
VARIABLES = [tuple(name.split(".")) for name in """AuthCtrlr.MasterPassGroupId TokenReader.Token ConnectedEV.VehicleId ConnectedEV.VehicleID
    VehicleIdSensor.VehicleId VehicleIdSensor.VehicleID ISO15118Ctrlr.SeccId ISO15118Ctrlr.CountryName SecurityCtrlr.Identity SecurityCtrlr.OrganizationName
    SecurityCtrlr.BasicAuthPassword ChargingStation.SerialNumber ChargingStation.VendorName Controller.ICCID OCPPCommCtrlr.HeartbeatInterval
    OCPPCommCtrlr.NetworkConfigurationPriority TariffCostCtrlr.TariffFallbackMessage LocalAuthListCtrlr.Entries ClockCtrlr.DateTime TxCtrlr.TxStartPoint
    SampledDataCtrlr.TxUpdatedMeasurands FiscalMetering.PublicKey AuthCtrlr.DisablePostAuthorize AlignedDataCtrlr.Interval Card.Reader""".split()]  # fmt: skip


class Experiment:
    """One gateway with one station and one CSMS, the canaries of both, and what was found wrong."""

    def __init__(self, version, family, rng, gateway, csms):
        self.version = version
        self.rng = rng
        self.gateway = gateway
        self.csms = csms
        self.clock = messages.Clock()
        self.of_station = leaks.Secrets()
        self.of_csms = leaks.Secrets()
        self.station_canaries = leaks.Canaries(family, rng, self.of_station)
        self.csms_canaries = leaks.Canaries(family, rng, self.of_csms)
        self.problems = []
        self._read = 0
        self.about = "the handshake"

    async def connect(self, station):
        headers = {name: self.station_canary(f"the header {name}") for name in ("User-Agent", "Cookie", "X-Card", "Origin", "From")}
        self.station = await station("CS-1", self.version, headers=headers)
        self.upper = await self.csms.conversation("CS-1")
        return self

    def problem(self, text):
        self.problems.append(f"{self.about}: {text}")

    def station_canary(self, label, size=255):
        return self.station_canaries.make(size, f"{self.about}, {label}")

    def filling(self, canaries, credible=False, known=None):
        """Canaries everywhere. `credible` puts standard words where they make the message worth passing on; `known` is the
        identifier that stands in the place of tokens."""

        def fill(path, schema):
            word = messages.plain(path, schema) if credible else None
            if known and messages.is_token(path):
                return known[: messages.room(schema)]
            if word is not None:
                return word
            if path[-1:] == ("value",) and "sampledValue" in path:
                return "1234"
            field = ".".join(map(str, path))
            if path == ("data",) and "type" not in schema:
                return {"a": [canaries.make(255, f"{self.about}, {field}, in an object")]}
            return canaries.make(messages.room(schema), f"{self.about}, {field}")

        return messages.Builder(self.version, fill, self.clock)

    def from_station(self, **options):
        return self.filling(self.station_canaries, **options)

    def from_csms(self, **options):
        return self.filling(self.csms_canaries, **options)

    def arrived(self):
        """The frames that reached the CSMS since the last look, each checked for canaries and validity."""
        fresh = self.csms.saw()[self._read :]
        self._read += len(fresh)
        for text in fresh:
            for secret, how, label in self.of_station.find(text):
                self.problem(f"the CSMS saw {secret} {how} (planted in: {label}) in {text[:600]}")
        return [frame for frame in map(self._parsed, fresh) if frame is not None]

    def _parsed(self, text):
        try:
            frame = json.loads(text)
        except ValueError:
            return None
        return frame if isinstance(frame, list) and frame and frame[0] in (2, 3, 4, 5, 6) else None

    def check_arrived_call(self, frame):
        wrong = messages.what_is_wrong(self.version, frame[2], json.dumps(frame[3]))
        if wrong:
            self.problem(f"what arrived at the CSMS is not valid: {wrong}; {json.dumps(frame)[:1500]}")

    def check_answer(self, action, answer):
        wrong = messages.what_is_wrong_with_answer(self.version, action, answer)
        if wrong:
            self.problem(f"the answer is not valid: {wrong}; {answer[:1500]}")

    async def settle(self):
        """Waits until everything sent before has been dealt with, both ways, and looks at what arrived."""
        about, self.about = self.about, f"after {self.about}"
        await self.station.call("Heartbeat", {})
        frames = self.arrived()
        self.about = about
        return frames

    def check_each_was_answered_once(self, peer, calls, who):
        for message_id, about in calls.items():
            if peer.ids[message_id] != 1:
                self.problems.append(f"{about}: {who} got {peer.ids[message_id]} answers instead of one")

    async def finish(self):
        """Ends the conversation, and looks in every place where something may be left behind."""
        self.about = "the close reason"
        await self.station.close(1000, self.station_canary("the close reason", 100))
        await self.upper.is_closed()
        self.arrived()
        self.about = "afterwards"
        for page in ("/metrics", "/healthz", "/readyz"):
            self._check_place(page, self.gateway.get(page)[1].encode())
        running = self.gateway.files()
        await asyncio.to_thread(self.gateway.stop)
        self._check_place("the log", self.gateway.output().encode())
        for when, files in (("while it ran", running), ("after it ended", self.gateway.files())):
            for path, content in files.items():
                self._check_place(f"the file {path} {when}", content)
        if self.problems:
            shown = "\n\n".join(self.problems[:15])
            pytest.fail(f"{len(self.problems)} problems, of which the first:\n\n{shown}", pytrace=False)

    def _check_place(self, place, content):
        for secrets in (self.of_station, self.of_csms):
            for secret, how, label in secrets.find_in_file(content)[:5]:
                self.problem(f"{place} holds {secret} {how} (planted in: {label})")


@pytest.fixture
async def experiment(version, family, rng, gateway, csms, station):
    return await Experiment(version, family, rng, gateway, csms).connect(station)


# --- what a bill needs ----------------------------------------------------------------------------------------------------------


def bill(version, action, payload):
    """What a bill needs of a transaction message: path → value."""
    facts = {}

    def note(path):
        value = payload
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            facts[path] = value

    if version == "1.6":
        names = {
            "StartTransaction": ["connectorId", "meterStart", "timestamp", "reservationId"],
            "StopTransaction": ["transactionId", "meterStop", "timestamp", "reason"],
            "MeterValues": ["connectorId", "transactionId"],
        }
    else:
        names = {
            "TransactionEvent": """eventType timestamp triggerReason seqNo offline reservationId evse.id evse.connectorId
                transactionInfo.chargingState transactionInfo.stoppedReason transactionInfo.remoteStartId""".split(),
            "MeterValues": ["evseId"],
        }
    for path in names.get(action, []):
        note(path)
    transaction = payload.get("transactionInfo", {}).get("transactionId")
    if transaction and transaction == messages.plain(("transactionInfo", "transactionId"), {}):
        facts["transactionInfo.transactionId"] = transaction
    if action in ("StopTransaction", "MeterValues", "TransactionEvent"):
        for reading in payload.get("meterValue", []) + payload.get("transactionData", []):
            for sample in reading.get("sampledValue", []):
                if (
                    sample.get("measurand", "Energy.Active.Import.Register") == "Energy.Active.Import.Register"
                    and sample.get("format") != "SignedData"
                    and is_number(sample.get("value"))
                ):
                    kind = sample.get("context", "Sample.Periodic")
                    facts[f"{kind} at {reading['timestamp']}"] = [sample.get(name) for name in ("value", "measurand", "phase", "location")]
    return facts


def is_number(value):
    return isinstance(value, (int, float)) or value.replace(".", "", 1).isdigit()


def add_signed_samples(version, payload, canary):
    """Puts signed readings, whose text names the driver, beside the plain ones: said to be signed or not, and in every coding."""
    if version != "1.6":
        return
    for reading in payload.get("meterValue", []) + payload.get("transactionData", []):
        for declared in ({"format": "SignedData"}, {}):
            texts = [canary(f"signed data, {place}") for place in ("bare", "text", "base64", "hexadecimal", "JSON in JSON")]
            ocmf = [f'OCMF|{{"IT":"ISO14443","ID":"{text}","RD":[{{"RV":12.3}}]}}|{{"SD":"3045"}}' for text in texts]
            values = [texts[0], ocmf[1], base64.b64encode(ocmf[2].encode()).decode(), ocmf[3].encode().hex(), json.dumps({"signed": ocmf[4]})]
            reading["sampledValue"] += [{"value": value, "context": "Transaction.End"} | declared for value in values]


# --- the tests ------------------------------------------------------------------------------------------------------------------


async def test_what_a_station_sends(experiment, version):
    """Every action, in every size, whether or not it is a station's to send."""
    it = experiment
    plans = [
        ("required fields", dict(), False),
        ("required fields, credible", dict(credible=True), False),
        ("all fields", dict(), True),
        ("all fields, credible", dict(credible=True), True),
    ]
    # The CSMS answers in every way it may: at length and with guesses of its own, briefly, with an error.
    habits = [
        lambda action: it.from_csms().response(action, True),
        lambda action: messages.Builder(version, messages.harmless).response(action, False),
        lambda action: messages.Builder(version, messages.harmless).response(action, True),
        lambda action: ("InternalError", it.csms_canaries.make(100, "a description"), {"why": it.csms_canaries.make(100, "details")}),
    ]
    sent = {}
    for shift, action in enumerate(messages.actions(version)):
        for number, (size, options, full) in enumerate(plans):
            habit = habits[(number + shift) % len(habits)]
            it.upper.answers = lambda action, payload, habit=habit: habit(action) if messages.actions(version).get(action, (0, 0))[1] else None
            it.about = f"{version} {action} ({size})"
            payload = it.from_station(**options).request(action, full)
            if full:
                add_signed_samples(version, payload, it.station_canary)
            message_id = it.station.new_id()
            sent[message_id] = it.about
            wrong = messages.what_is_wrong(version, action, json.dumps(payload))
            assert wrong is None, f"the test itself made an invalid {action}: {wrong}"
            if action in messages.SENDS:
                del sent[message_id]
                await it.station.send([6, message_id, action, payload])
                frames = [frame for frame in await it.settle() if frame[0] == 6]
            else:
                it.check_answer(action, await it.station.call(action, payload, message_id=message_id))
                frames = [frame for frame in it.arrived() if frame[0] == 2]
            for frame in frames:
                it.check_arrived_call(frame)
            there = [frame for frame in frames if frame[2] == action]
            if len(frames) > 1 or len(there) != len(frames):
                it.problem(f"one message went in and {json.dumps(frames)[:500]} came out")
            if there and action not in messages.sent_by_station(version):
                it.problem("it is not a station's to send, and arrived")
            if not there and action in MUST_GO_UP[version] and (options or action in BILLED):
                it.problem(f"it did not arrive: {json.dumps(payload)[:800]}")
            for frame in there:
                expected, found = bill(version, action, payload), bill(version, action, frame[3])
                for path, value in expected.items():
                    if found.get(path) != value:
                        it.problem(f"{path} is needed for the bill; sent {value!r}, arrived {found.get(path)!r}")
    await it.settle()
    it.check_each_was_answered_once(it.station, sent, "the station")
    assert len(sent) > 100
    await it.finish()


async def test_what_a_station_answers(experiment, version):
    """Every CALL of the CSMS, answered by the station with canaries: a CALLRESULT in both sizes, and a CALLERROR that quotes."""
    it = experiment
    cards = {}

    async def known_pseudonym():
        """A fresh card is read at the station: gives its pseudonym."""
        it.about = "a card that is read"
        card = it.station_canaries.make(20, "a card that was read at the station")
        token = {"idTag": card} if version == "1.6" else {"idToken": {"idToken": card, "type": "ISO14443"}}
        it.upper.answers = messages.answers(version)
        await it.station.call("Authorize", token)
        it.arrived()
        seen = it.upper.received("Authorize")[-1]
        pseudonym = seen["idTag"] if version == "1.6" else seen["idToken"]["idToken"]
        cards[pseudonym] = card
        return pseudonym

    def quoting(action, payload):
        quote = json.dumps([2, "m1", action, payload])
        return (
            "InternalError",
            f"{it.station_canary('an error description', 60)} {quote}"[:255],
            {"request": payload, "text": quote, "note": it.station_canary("error details")},
        )

    habits = [
        ("a full CALLRESULT", lambda action, payload: it.from_station().response(action, True)),
        ("a full, credible CALLRESULT", lambda action, payload: it.from_station(credible=True).response(action, True)),
        ("a CALLRESULT of required fields", lambda action, payload: it.from_station().response(action, False)),
        ("a CALLERROR", quoting),
    ]
    sent = {}
    for action in messages.sent_by_csms(version):
        if messages.actions(version)[action][1] is None:
            continue
        for full in (False, True):
            for name, habit in habits:
                pseudonym = await known_pseudonym()
                fill = lambda path, schema: pseudonym if messages.is_token(path) else messages.harmless(path, schema)
                payload = messages.Builder(version, fill, it.clock).request(action, full)
                it.about = f"{version} {action} ({'all' if full else 'required'} fields), answered with {name}"
                reached = []

                def answer(received, payload):
                    reached.append(payload)
                    return habit(received, payload)

                it.station.answers = answer
                message_id = it.upper.new_id()
                sent[message_id] = it.about
                it.check_answer(action, await it.upper.call(action, payload, message_id=message_id))
                it.arrived()
                if action in MUST_GO_DOWN[version] and not full and not reached:
                    it.problem(f"it did not reach the station: {json.dumps(payload)[:800]}")
                for arrived in reached:
                    wrong = messages.what_is_wrong(version, action, json.dumps(arrived))
                    if wrong:
                        it.problem(f"what reached the station is not valid: {wrong}; {json.dumps(arrived)[:1500]}")
                    for path, token in tokens_in(arrived):
                        if token.upper() != cards[pseudonym].upper():
                            it.problem(f"{'.'.join(path)} reached the station as {token!r} instead of the card {cards[pseudonym]!r}")
    await it.settle()
    it.check_each_was_answered_once(it.upper, sent, "the CSMS")
    await it.finish()


async def test_what_a_csms_sends(experiment, version):
    """Every CALL of the CSMS with canaries in it: an identifier that is no pseudonym of ours never reaches the station."""
    it = experiment
    sent = {}
    for action, (_, response) in messages.actions(version).items():
        for credible in (False, True):
            for full in (False, True):
                it.about = f"{version} {action} from the CSMS ({'all' if full else 'required'} fields{', credible' if credible else ''})"
                payload = it.from_csms(credible=credible).request(action, full)
                if response is None:
                    await it.upper.send([6, it.upper.new_id(), action, payload])
                    continue
                before = len(it.station.calls)
                message_id = it.upper.new_id()
                sent[message_id] = it.about
                it.check_answer(action, await it.upper.call(action, payload, message_id=message_id))
                for frame in it.station.calls[before:]:
                    wrong = messages.what_is_wrong(version, frame[2], json.dumps(frame[3]))
                    if wrong:
                        it.problem(f"what reached the station is not valid: {wrong}; {json.dumps(frame)[:1500]}")
    # The answers of the CSMS carry identifiers too.
    it.upper.answers = lambda action, payload: it.from_csms(credible=True).response(action, True)
    for action in messages.sent_by_station(version):
        if messages.actions(version)[action][1] is not None:
            it.about = f"{version} {action}, answered by the CSMS"
            payload = it.from_station(credible=True).request(action, False)
            it.check_answer(action, await it.station.call(action, payload))
    it.about = "all that reached the station"
    tokens = leaks.Secrets()
    for secret, label in it.of_csms.labels.items():
        if messages.is_token(tuple(part for part in label.rsplit(", ", 1)[-1].split(".") if not part.isdigit())):
            tokens.plant(secret, label)
    assert tokens.labels
    for text in it.station.texts:
        for secret, how, label in tokens.find(text):
            it.problem(f"the station was sent {secret} {how} (planted in: {label}) in {text[:600]}")
    await it.settle()
    it.check_each_was_answered_once(it.upper, sent, "the CSMS")
    # Display texts and the like are the CSMS's own words: only its guessed identifiers must be nowhere.
    it.of_csms = tokens
    await it.finish()


async def test_what_a_station_tells_of_its_settings(experiment, version):
    """Configuration keys and device model variables by their standard names: the value may be a card all the same."""
    it = experiment
    harmless = messages.Builder(version, messages.harmless)
    if version == "1.6":
        for key in KEYS:
            it.about = f"{version} GetConfiguration of {key}"
            it.station.answers = lambda action, payload: {
                "configurationKey": [{"key": key, "readonly": False, "value": it.station_canary("the value")}],
                "unknownKey": [it.station_canary("an unknown key", 50)],
            }
            it.check_answer("GetConfiguration", await it.upper.call("GetConfiguration", {"key": [key]}))
            it.arrived()
    else:
        for component, variable in VARIABLES:
            it.about = f"{version} {component}.{variable}"
            names = {"component": {"name": component}, "variable": {"name": variable}}
            characteristics = {"dataType": "string", "supportsMonitoring": False, "valuesList": it.station_canary("NotifyReport valuesList")}
            report = names | {"variableAttribute": [{"value": it.station_canary("NotifyReport value")}], "variableCharacteristics": characteristics}
            event = names | {"eventId": 1, "timestamp": it.clock(), "trigger": "Delta", "eventNotificationType": "CustomMonitor",
                             "actualValue": it.station_canary("NotifyEvent actualValue"), "techInfo": it.station_canary("NotifyEvent techInfo")}  # fmt: skip
            for action, payload in [
                ("NotifyReport", {"requestId": 1, "generatedAt": it.clock(), "seqNo": 0, "reportData": [report]}),
                ("NotifyEvent", {"generatedAt": it.clock(), "seqNo": 0, "eventData": [event]}),
            ]:
                assert messages.what_is_wrong(version, action, json.dumps(payload)) is None
                it.check_answer(action, await it.station.call(action, payload))
                for frame in it.arrived():
                    if frame[0] == 2:
                        it.check_arrived_call(frame)
            result = names | {"attributeStatus": "Accepted", "attributeValue": it.station_canary("GetVariables attributeValue")}
            it.station.answers = lambda action, payload: {"getVariableResult": [result]} if action == "GetVariables" else harmless.response(action, False)
            it.check_answer("GetVariables", await it.upper.call("GetVariables", {"getVariableData": [names]}))
            it.arrived()
    await it.finish()


async def test_errors_and_complaints_of_a_station(experiment, version):
    """Error frames that nobody waits for, complaints about an answer (2.1 CALLRESULTERROR), and answers with unknown ids."""
    it = experiment
    for kind in (4, 5):
        for message_id in ("m999", it.station_canary("a message id", 36)):
            it.about = f"{version} an error of type {kind} that nobody asked for"
            await it.station.send([kind, message_id, "InternalError", it.station_canary("the description"), {"x": it.station_canary("details")}])
            await it.settle()
        it.about = f"{version} an error of type {kind} with an error code of its own"
        await it.station.send([kind, "m998", it.station_canary("the error code"), it.station_canary("the description"), {it.station_canary("a key"): 1}])
        await it.settle()
    for action in ("Authorize", "StatusNotification", "NoSuchAction"):
        it.about = f"{version} {action} without asking for an answer (type 6)"
        known = action in messages.actions(version)
        payload = it.from_station().request(action, True) if known else {"a": it.station_canary("the payload")}
        await it.station.send([6, "m996", action, payload])
        await it.settle()
    it.about = f"{version} an answer that nobody asked for"
    await it.station.send([3, "m997", {"status": it.station_canary("an answer that nobody asked for")}])
    await it.settle()
    for action in messages.sent_by_station(version):
        if messages.actions(version)[action][1] is None:
            continue
        it.about = f"{version} {action}, whose answer the station complains about"
        message_id = it.station.new_id()
        await it.station.call(action, it.from_station(credible=True).request(action, False), message_id=message_id)
        it.arrived()
        quote = json.dumps({"quoted": it.station_canary("the quote")})
        await it.station.send([5, message_id, "FormatViolation", f"{it.station_canary('the description', 60)} {quote}", {"note": it.station_canary("details")}])
        for frame in await it.settle():
            if frame[0] == 5:
                wrong = messages.what_is_wrong_with_error(version, frame)
                if wrong:
                    it.problem(f"the complaint that arrived is not valid: {wrong}; {json.dumps(frame)[:800]}")
    it.about = f"{version} an error code that the station made up"
    for action in ("ClearCache", "Reset"):
        payload = messages.Builder(version, messages.harmless).request(action, False)
        for answer in (
            lambda *_: (it.station_canary("the error code"), it.station_canary("the description"), {it.station_canary("a key"): it.station_canary("a value")}),
            lambda *_: ("InternalError", {"text": it.station_canary("a description that is an object")}, [it.station_canary("details that are a list")]),
            lambda *_: ("InternalError", None, None),
        ):
            it.station.answers = answer
            it.check_answer(action, await it.upper.call(action, payload))
            it.arrived()
    await it.finish()


def tokens_in(value, path=()):
    """Every string in a token field: (path, string)."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from tokens_in(inner, path + (name,))
    elif isinstance(value, list):
        for inner in value:
            yield from tokens_in(inner, path)
    elif isinstance(value, str) and path and path[-1] in messages.TOKEN_FIELDS:
        yield path, value
