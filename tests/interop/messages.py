"""OCPP messages made from the published JSON schemas, which the `ocpp` package carries; none is copied into this repository.

A message is built in one of two sizes (every field, or only the required ones) with a *filling* that says what stands in each
string that the schema leaves open.
"""

import datetime
import decimal
import functools
import json
import pathlib
import re
import uuid

import jsonschema
import ocpp

VERSIONS = ["1.6", "2.0.1", "2.1"]
SUBPROTOCOL = {version: f"ocpp{version}" for version in VERSIONS}

# The schemas do not say who sends what. DataTransfer is sent by both.
_STATION_SENDS_16 = """Authorize BootNotification DataTransfer DiagnosticsStatusNotification FirmwareStatusNotification Heartbeat
    LogStatusNotification MeterValues SecurityEventNotification SignCertificate SignedFirmwareStatusNotification StartTransaction
    StatusNotification StopTransaction""".split()
_STATION_SENDS_201 = """Authorize BootNotification ClearedChargingLimit DataTransfer FirmwareStatusNotification Get15118EVCertificate
    GetCertificateStatus Heartbeat LogStatusNotification MeterValues NotifyChargingLimit NotifyCustomerInformation
    NotifyDisplayMessages NotifyEVChargingNeeds NotifyEVChargingSchedule NotifyEvent NotifyMonitoringReport NotifyReport
    PublishFirmwareStatusNotification ReportChargingProfiles ReservationStatusUpdate SecurityEventNotification SignCertificate
    StatusNotification TransactionEvent""".split()
_STATION_SENDS_21 = (
    _STATION_SENDS_201
    + """BatterySwap ClosePeriodicEventStream GetCertificateChainStatus NotifyDERAlarm
    NotifyDERStartStop NotifyPeriodicEventStream NotifyPriorityCharging NotifySettlement OpenPeriodicEventStream
    PullDynamicScheduleUpdate ReportDERControl VatNumberValidation""".split()
)
_STATION_SENDS = {"1.6": _STATION_SENDS_16, "2.0.1": _STATION_SENDS_201, "2.1": _STATION_SENDS_21}

# The unconfirmed message of 2.1: sent with message type 6 and never answered.
SENDS = ["NotifyPeriodicEventStream"]

ERROR_CODES = {
    "1.6": """NotImplemented NotSupported InternalError ProtocolError SecurityError FormationViolation FormatViolation
        PropertyConstraintViolation OccurenceConstraintViolation OccurrenceConstraintViolation TypeConstraintViolation
        GenericError""".split(),
    "2.0.1": """NotImplemented NotSupported InternalError ProtocolError SecurityError FormatViolation PropertyConstraintViolation
        OccurrenceConstraintViolation TypeConstraintViolation GenericError MessageTypeNotSupported RpcFrameworkError""".split(),
}
ERROR_CODES["2.1"] = ERROR_CODES["2.0.1"]

# Fields that name a driver, a card, a contract or a group, in any message. Objects of that name (2.x idToken) hold a string of
# the same name.
TOKEN_FIELDS = {"idTag", "parentIdTag", "idToken", "groupIdToken", "additionalIdToken", "customerIdentifier", "prioritizedEMAIDs", "idTokens"}

# As openssl makes them: only what is a certificate, or a request for one, crosses as such.
PEM = """-----BEGIN CERTIFICATE-----
MIIBpDCCAUugAwIBAgIULc7SrCVSiCi8DGsF0sjigIYWnigwCgYIKoZIzj0EAwIw
KDEUMBIGA1UECgwLRXhhbXBsZSBDUE8xEDAOBgNVBAMMB1NOLTAwNDIwHhcNMjYx
MTI4MTIwMDM3WhcNMzYxMTI1MTIwMDM3WjAoMRQwEgYDVQQKDAtFeGFtcGxlIENQ
TzEQMA4GA1UEAwwHU04tMDA0MjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABI2e
aldPZTW119f0F+abfy/GQgUIKCisOmaVXPPStUI1qQvPrxGVgaSctY239SL8D67y
/A0weA1sEf0g1XgaykmjUzBRMB0GA1UdDgQWBBTlyo+Dby5XaqyayAp+sGITYeAT
KDAfBgNVHSMEGDAWgBTlyo+Dby5XaqyayAp+sGITYeATKDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIGP8M5b4ry6c2ppMU0YBPnpRMYIFLlapRfoG
kf844WSKAiB1hdVijx81A2pE8kg5UjOFcPQUhC+Edfz6OQ6NrVFQ0A==
-----END CERTIFICATE-----"""
CSR = """-----BEGIN CERTIFICATE REQUEST-----
MIHiMIGKAgEAMCgxFDASBgNVBAoMC0V4YW1wbGUgQ1BPMRAwDgYDVQQDDAdTTi0w
MDQyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjZ5qV09lNbXX1/QX5pt/L8ZC
BQgoKKw6ZpVc89K1QjWpC8+vEZWBpJy1jbf1IvwPrvL8DTB4DWwR/SDVeBrKSaAA
MAoGCCqGSM49BAMCA0cAMEQCIHzfNBDbht5qnvGn9adYSq6+w8Y8SaKlgGJ75qfB
N9McAiA5/6NuhniBsDxmG4MNsWFMde7N5uBv+qCoFvCf2NHMBw==
-----END CERTIFICATE REQUEST-----"""


def _folder(version):
    return pathlib.Path(ocpp.__file__).parent / f"v{version.replace('.', '')}" / "schemas"


@functools.cache
def actions(version):
    """Every action of a version: name → (request schema, response schema or None)."""
    found = {}
    for file in sorted(_folder(version).glob("*.json")):
        name, answer = re.subn(r"Response$", "", file.stem)
        if not answer:
            name = re.sub(r"Request$", "", name)
        schema = json.loads(file.read_text(encoding="utf-8-sig"), parse_float=decimal.Decimal)
        request, response = found.get(name, (None, None))
        found[name] = (request, schema) if answer else (schema, response)
    return found


def sent_by_station(version):
    return [action for action in actions(version) if action in _STATION_SENDS[version]]


def sent_by_csms(version):
    return [action for action in actions(version) if action not in _STATION_SENDS[version] or action == "DataTransfer"]


# --- validity -----------------------------------------------------------------------------------------------------------------


@functools.cache
def _validator(version, action, answer):
    schema = actions(version)[action][1 if answer else 0]
    kind = jsonschema.Draft4Validator if "draft-04" in schema["$schema"] else jsonschema.Draft6Validator
    return kind(schema)


def what_is_wrong(version, action, payload_text, answer=False):
    """Why a payload is no valid one of its action: a short text, or None if it is valid."""
    if action not in actions(version):
        return f"there is no action {action}"
    try:
        # Decimals, because the schemas demand multiples of 0.1 and floats have none.
        payload = json.loads(payload_text, parse_float=decimal.Decimal) if isinstance(payload_text, str) else payload_text
    except ValueError as error:
        return f"not JSON: {error}"
    for error in _validator(version, action, answer).iter_errors(payload):
        return f"{'.'.join(map(str, error.absolute_path)) or 'payload'}: {error.message[:300]}"
    return None


def what_is_wrong_with_answer(version, action, frame_text, message_id=None):
    """Why a frame is no valid answer to a CALL of `action`: a short text, or None if it is one."""
    try:
        frame = json.loads(frame_text, parse_float=decimal.Decimal)
    except ValueError as error:
        return f"not JSON: {error}"
    if not isinstance(frame, list) or len(frame) < 3 or frame[0] not in (3, 4):
        return "neither CALLRESULT nor CALLERROR"
    if message_id is not None and frame[1] != message_id:
        return f"answers {frame[1]!r}, not {message_id!r}"
    if frame[0] == 3:
        return "a CALLRESULT has three parts" if len(frame) != 3 else what_is_wrong(version, action, frame[2], answer=True)
    return what_is_wrong_with_error(version, frame)


def what_is_wrong_with_error(version, frame):
    """The same for a CALLERROR or CALLRESULTERROR, given as parsed JSON."""
    if len(frame) != 5:
        return f"an error has five parts, not {len(frame)}"
    if frame[2] not in ERROR_CODES[version]:
        return f"{frame[2]!r} is no error code of {version}"
    if not isinstance(frame[3], str) or len(frame[3]) > 255:
        return "the error description is no string of at most 255 characters"
    if not isinstance(frame[4], dict):
        return "the error details are no object"
    return None


# --- building -----------------------------------------------------------------------------------------------------------------


class Clock:
    """Timestamps twenty minutes apart, so that no periodic reading is thinned for coming too soon after the one before."""

    def __init__(self):
        self.now = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)

    def __call__(self):
        self.now += datetime.timedelta(minutes=20)
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


# Where an enumeration offers one of these, it is chosen: words with which a message says something that a bill needs.
_PREFERRED = ["Transaction.Begin", "Energy.Active.Import.Register", "Raw", "Outlet", "ISO14443", "Accepted", "Differential", "Actual", "kWh", "Wh"]


class Builder:
    """Builds payloads. `fill(path, schema)` gives the content of every string that is neither a time nor a word of a closed list;
    if it gives None, the field is left out, and what cannot be without it."""

    def __init__(self, version, fill, clock=None):
        self.version = version
        self.fill = fill
        self.clock = clock or Clock()

    def request(self, action, full):
        return self._root(actions(self.version)[action][0], full)

    def response(self, action, full):
        return self._root(actions(self.version)[action][1], full)

    def _root(self, schema, full):
        return self._value(schema, (), full, schema.get("definitions", {}))

    def _value(self, schema, path, full, definitions):
        while "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        kind = schema.get("type")
        if "enum" in schema:
            return next((word for word in _PREFERRED if word in schema["enum"]), schema["enum"][0])
        if kind == "object":
            built = {}
            required = schema.get("required", [])
            for name, inner in schema.get("properties", {}).items():
                if full or name in required:
                    value = self._value(inner, path + (name,), full, definitions)
                    if value is not None:
                        built[name] = value
                    elif name in required and path:
                        return None
            if path and path[-1] == "customData":
                note = self.fill(path + ("note",), {"type": "string"})
                if note is not None:
                    built["note"] = note
            return built
        if kind == "array":
            count = max(1 if full else 0, schema.get("minItems", 0))
            built = [self._value(schema["items"], path + (index,), full, definitions) for index in range(count)]
            built = [value for value in built if value is not None]
            return built if len(built) >= schema.get("minItems", 0) else None
        if kind == "integer":
            return self._number(schema, path, whole=True)
        if kind == "number":
            return self._number(schema, path, whole=False)
        if kind == "boolean":
            return True
        if schema.get("format") == "date-time":
            return self.clock()
        return self.fill(path, schema)

    def _number(self, schema, path, whole):
        names = [name for name in path if isinstance(name, str)]
        number = {"meterStart": 1200, "meterStop": 23400, "value": 1234, "reservationId": 7, "transactionId": 4711}.get(names[-1] if names else "", 3)
        number = max(number, int(schema.get("minimum", number)))
        number = min(number, int(schema.get("maximum", number)))
        return number if whole else number + 0.0


def name_of(path):
    """The field's own name: the last part of the path that is no index."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def is_token(path):
    return name_of(path) in TOKEN_FIELDS


def room(schema):
    return schema.get("maxLength", 255)


# Standard words for fields without a closed list, so that a message says something credible and is passed on.
_WORDS = {
    "chargePointVendor": "Acme",
    "chargePointModel": "Twin 22",
    "vendorName": "Acme",
    "model": "Twin 22",
    "firmwareVersion": "1.4.2",
    "unit": "Wh",
    "language": "en",
    "language1": "en",
    "language2": "nl",
    "currency": "EUR",
    "reasonCode": "NoError",
    "key": "HeartbeatInterval",
    "attributeValue": "300",
    "connectorType": "cType2",
    "startTimeOfDay": "08:00",
    "endTimeOfDay": "18:00",
    "validFromDate": "2026-01-01",
    "validToDate": "2026-12-31",
    "chargingLimitSource": "EMS",
    "encodingMethod": "OCMF",
    "signingMethod": "",
}


def plain(path, schema):
    """The standard word for a field that has one, else None."""
    name = name_of(path)
    parent = next((part for part in reversed(path[:-1]) if isinstance(part, str)), "")
    if name == "type" and parent in ("idToken", "groupIdToken", "idTokens", "from", "to"):
        return "ISO14443"
    if name == "name" and parent in ("component", "variable"):
        return "OCPPCommCtrlr" if parent == "component" else "HeartbeatInterval"
    if name == "value" and parent in ("sampledValue", "configurationKey"):
        return "1234" if parent == "sampledValue" else "300"
    if name == "value" and "variableAttribute" in path:
        return "300"
    if name == "type" and "SecurityEvent" in schema.get("title", ""):
        return "StartupOfTheDevice"
    if name == "transactionId":
        return "6f1c2d34-9a7b-4c1e-8f20-0d1e2f3a4b5c"
    return _WORDS.get(name)


def harmless(path, schema):
    """A filling without any identifier, for what the test at hand is not about."""
    name = name_of(path)
    word = plain(path, schema)
    if word is None and is_token(path):
        return None
    if word is None and name in ("certificate", "certificateChain", "csr", "signingCertificate"):
        word = CSR if name == "csr" else PEM
    if word is None and name in ("location", "remoteLocation", "ocppCsmsUrl", "responderURL", "url", "receiptUrl", "urls"):
        word = "https://example.org/x"
    if word is None and name in ("statusInfo", "data", "value", "content"):
        word = "hello"
    if word is None and "Hash" in name:
        word = "A1" * 32
    return (word if word is not None else "abc")[: room(schema)]


def answers(version, full=False):
    """A peer's habit: answers every CALL with a valid response that says yes and names nobody."""
    builder = Builder(version, harmless)
    return lambda action, payload: builder.response(action, full) if action in actions(version) else ("NotImplemented",)


def random_transaction_id(rng):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
