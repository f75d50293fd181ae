"""Finds secrets in what left the gateway, in the forms that people and programs write identifiers in."""

import base64
import re

_SEPARATORS = re.compile(r"[-:. _\s]")
_ESCAPED = re.compile(r"\\+u([0-9A-Fa-f]{4})")
# Every form has at least so many characters.
_HEAD = 8
# The card numbers that are sought as raw bytes have seven; shorter ones turn up in ciphertext by chance.
_RAW = 7


class Secrets:
    """A set of strings that must not be seen, each with a label that says where it was planted."""

    def __init__(self):
        self.labels = {}
        # The first eight characters of a form → the forms that begin so, each with the secret and how it is written there.
        self._forms = {}
        self._raw = {}

    def __contains__(self, secret):
        return secret in self.labels

    def plant(self, secret, label):
        self.labels[secret] = label
        for form, how in _forms(secret):
            self._forms.setdefault(form[:_HEAD].upper(), []).append((form.upper(), secret, how))
        for raw, how in _raw_forms(secret):
            self._raw[raw] = (secret, how)

    def find(self, text):
        """What is found in a text, whatever the case and the separators: a list of (secret, how it is written, label)."""
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        text = _ESCAPED.sub(lambda escape: chr(int(escape.group(1), 16)), text)
        text = _SEPARATORS.sub("", text).upper()
        found = {}
        for at in range(len(text) - _HEAD + 1):
            for form, secret, how in self._forms.get(text[at : at + _HEAD], ()):
                if text.startswith(form, at):
                    found.setdefault(secret, how)
        return [(secret, how, self.labels[secret]) for secret, how in found.items()]

    def find_in_file(self, content):
        """The same for a file: its text, and the bytes themselves."""
        found = {secret: (secret, how, label) for secret, how, label in self.find(content)}
        for at in range(len(content) - _RAW + 1):
            hit = self._raw.get(content[at : at + _RAW])
            if hit:
                found.setdefault(hit[0], (*hit, self.labels[hit[0]]))
        return list(found.values())

    def find_as_written(self, content):
        """The same for a big file, as each form stands and not with separators in between: a hundred times faster."""
        text, found = content.upper(), {}
        for forms in self._forms.values():
            for form, secret, how in forms:
                if form.encode() in text:
                    found.setdefault(secret, (secret, how, self.labels[secret]))
        for raw, (secret, how) in self._raw.items():
            if raw in content:
                found.setdefault(secret, (secret, how, self.labels[secret]))
        return list(found.values())


def _forms(secret):
    bare = _SEPARATORS.sub("", secret)
    yield bare, "as it is"
    for text in {bare, bare.lower(), bare.upper(), secret}:
        yield text.encode().hex(), "in hexadecimal"
        for shift in range(3):
            # The characters of the base64 text that do not depend on what stands before and after.
            coded = base64.b64encode(b" " * shift + text.encode()).decode().rstrip("=")
            inner = coded[(0, 2, 3)[shift] : len(coded) - (1 if (shift + len(text)) % 3 else 0)]
            yield inner, "in base64"
    if _is_hex(bare):
        raw = bytes.fromhex(bare)
        yield raw[::-1].hex(), "in reversed byte order"
        if len(raw) >= 7:
            for order in (raw, raw[::-1]):
                yield base64.b64encode(order).decode().rstrip("=")[:-1], "as bytes in base64"
                yield str(int.from_bytes(order, "big")), "as a decimal number"


def _raw_forms(secret):
    bare = _SEPARATORS.sub("", secret)
    if _is_hex(bare) and len(bare) == 2 * _RAW:
        yield bytes.fromhex(bare), "as raw bytes"
        yield bytes.fromhex(bare)[::-1], "as raw bytes, reversed"


def _is_hex(text):
    return len(text) % 2 == 0 and re.fullmatch(r"[0-9A-Fa-f]+", text) is not None


class Canaries:
    """Makes unique identifiers of one family and plants them among the secrets."""

    FAMILIES = ["card", "card with colons", "contract"]

    def __init__(self, family, rng, secrets):
        self.family = family
        self.rng = rng
        self.secrets = secrets

    def make(self, size, label):
        """A canary of at most `size` characters. A place too short for an identifier gets a short harmless word."""
        if size < 8:
            return "ab"[:size]
        while True:
            canary = self._draw(size)
            if canary not in self.secrets:
                self.secrets.plant(canary, label)
                return canary

    def _draw(self, size):
        hexadecimal = lambda digits: "".join(self.rng.choice("0123456789ABCDEF") for _ in range(digits))
        alphanumeric = lambda count: "".join(self.rng.choice("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(count))
        if self.family == "contract":
            draw = (lambda: "NLABC" + alphanumeric(9)) if size >= 14 else (lambda: alphanumeric(8))
        else:
            colons = self.family == "card with colons" and size >= 20
            digits = 14 if size >= 14 else 8
            draw = lambda: (":" if colons else "").join(re.findall("..", hexadecimal(digits)))
        while True:
            canary = draw()
            letters = sum(c.isalpha() for c in canary[5:] or canary)
            figures = sum(c.isdigit() for c in canary)
            # Identifiers as they are issued: neither a word nor a plain number.
            if letters >= 1 and figures >= 3:
                return canary
