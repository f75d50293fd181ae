"""The catalogue against the published JSON schemas: every field of every message is listed, nothing else is, and what the catalogue
says of required fields, lists, words and answers is what the schemas say."""

import json
import pathlib
import tomllib

import jsonschema
import ocpp
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMAS = pathlib.Path(ocpp.__file__).parent
VERSIONS = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}
SHAPES = {
    "boolean": "boolean", "integer": "integer", "number": "number", "any": None, "vendor-data": None,
}  # every other word is a string



def catalogue(version):
    return tomllib.loads((ROOT / "src/ocpp/catalogue" / f"{VERSIONS[version]}.toml").read_text())


def schema(version, name):
    folder = SCHEMAS / VERSIONS[version] / "schemas"
    for candidate in (folder / f"{name}.json", folder / f"{name}Request.json"):
        if candidate.exists():
            return json.loads(candidate.read_text(encoding="utf-8-sig"))
    return None


def resolve(node, root):
    while "$ref" in node:
        node = root["definitions"][node["$ref"].split("/")[-1]]
    return node


def compare(book, fields, node, root, place, faults, depth=0):
    node = resolve(node, root)
    published = {k: v for k, v in node.get("properties", {}).items() if k != "customData"}
    for name in sorted(published.keys() ^ fields.keys()):
        faults.append(f"{place}.{name}: only in the {'schema' if name in published else 'catalogue'}")
    for name in sorted(published.keys() & fields.keys()):
        spec, theirs, here = fields[name], resolve(published[name], root), f"{place}.{name}"
        if spec.get("required", False) != (name in node.get("required", [])):
            faults.append(f"{here}: required differs")
        is_list = theirs.get("type") == "array"
        if spec.get("list", False) != is_list:
            faults.append(f"{here}: list differs")
        if is_list:
            if spec.get("min", 0) < theirs.get("minItems", 0):
                faults.append(f"{here}: fewer elements than the schema's minItems allowed")
            theirs = resolve(theirs["items"], root)
        if spec["is"] in book["type"]:
            if depth < 12:
                compare(book, book["type"][spec["is"]], theirs, root, here, faults, depth + 1)
            continue
        if "enum" in theirs:
            words = set(book["enum"].get(spec.get("values"), []))
            if spec["is"] != "enum" or not set(theirs["enum"]) <= words:
                faults.append(f"{here}: words of the schema are missing")
        shape = SHAPES.get(spec["is"], "string")
        if shape and theirs.get("type", shape) != shape:
            faults.append(f"{here}: is {spec['is']}, the schema says {theirs.get('type')}")
        if (theirs.get("format") == "date-time") != (spec["is"] == "time"):
            faults.append(f"{here}: time differs")
        if shape == "string" and "maxLength" in theirs and spec["is"] not in ("enum", "time", "decimal") and spec.get("max") != theirs["maxLength"]:
            faults.append(f"{here}: max differs")
        if "otherwise" in spec and not ("enum" in theirs or spec["is"] in ("enum",)):
            jsonschema.validate(json.loads(spec["otherwise"]), {k: v for k, v in theirs.items() if k != "$ref"} | {"definitions": root.get("definitions", {})})
        elif "otherwise" in spec and "enum" in theirs and json.loads(spec["otherwise"]) not in theirs["enum"]:
            faults.append(f"{here}: what stands in for it is no word of the schema")


def actions(version):
    folder = SCHEMAS / VERSIONS[version] / "schemas"
    names = {p.stem for p in folder.glob("*.json") if not p.stem.endswith("Response")}
    return {name.removesuffix("Request") for name in names}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_catalogue_has_every_message_and_field_of_the_schemas(version):
    book = catalogue(version)
    assert set(book["message"]) == actions(version)
    faults = []
    for action, message in book["message"].items():
        request, response = schema(version, action), schema(version, f"{action}Response")
        compare(book, message.get("request", {}), request, request, f"{action}.request", faults)
        if message.get("kind") != "send":
            compare(book, message.get("response", {}), response, response, f"{action}.response", faults)
    assert not faults, f"{len(faults)} differences:\n" + "\n".join(sorted(set(faults))[:60])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_answered_here_is_valid(version):
    for action, message in catalogue(version)["message"].items():
        if "answer" in message:
            jsonschema.validate(json.loads(message["answer"]), schema(version, f"{action}Response"))


STRICT = {"charge", "bill", "operate"}
FREE = {"text", "serial", "url", "opaque", "any"}  # what a station can put anything into


def upwards(book):
    """Every leaf that goes to the central system under strict: its place and its spec. Text without a `for` needs quality on its way
    up, and a required serial number becomes a code."""

    def walk(fields, place, outer=()):
        for name, spec in fields.items():
            purposes = spec.get("for", ["quality"] if spec["is"] == "text" else None)
            if purposes is not None and not STRICT & set(purposes):
                continue
            if spec["is"] not in book["type"]:
                yield f"{place}.{name}", spec
            elif spec["is"] not in outer:
                yield from walk(book["type"][spec["is"]], f"{place}.{name}", (*outer, spec["is"]))

    for action, message in book["message"].items():
        if STRICT & set(message["for"]):
            if message["from"] != "csms":
                yield from walk(message.get("request", {}), f"{action}.request")
            if message["from"] != "station":
                yield from walk(message.get("response", {}), f"{action}.response")


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_strict_lets_no_free_string_up(version):
    assert [place for place, spec in upwards(catalogue(version)) if spec["is"] in FREE] == []


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_one_odd_word_never_costs_a_session(version):
    needed = ("Authorize.request", "BootNotification.request", "StatusNotification.request", "TransactionEvent.request")
    words = [(place, spec) for place, spec in upwards(catalogue(version)) if place.startswith(needed) and spec["is"] in ("enum", "name", "label", "given")]
    # One period's dimension is no session: it is left out of the cost details.
    lost = [place for place, spec in words if spec.get("required") and "otherwise" not in spec and "dimensions" not in place]
    assert lost == []


def test_the_two_versions_of_2_x_judge_alike():
    old, new = catalogue("2.0.1"), catalogue("2.1")
    judged = ("for", "carries", "otherwise")
    faults = [
        f"{name}.{field}: {key}"
        for name, fields in old["type"].items()
        for field, spec in fields.items()
        for key in judged
        if field in new["type"].get(name, {}) and spec.get(key) != new["type"][name][field].get(key)
    ]
    for action, message in old["message"].items():
        other = new["message"][action]
        faults += [f"{action}: {key}" for key in ("from", "for") if message[key] != other[key]]
        faults += [
            f"{action}.{part}.{field}: {key}"
            for part in ("request", "response")
            for field, spec in message.get(part, {}).items()
            for key in judged
            if field in other[part] and spec.get(key) != other[part][field].get(key)
        ]
    assert faults == []
