"""No oracle: a central system that sends guessed card numbers down never learns which pseudonym stands for which card.

The station helps it as well as it can: every identifier it is sent, in whatever place, it reads as a card and reports up. If one
guess came through, its pseudonym would come back and the pair would be known.
"""

import asyncio
import json
import re

import pytest

import leaks
import messages
from conftest import PSEUDONYM
from messages import VERSIONS

pytestmark = pytest.mark.parametrize("version", VERSIONS)

# Fields that are no token by name, but in which a vendor may well send one. (Display texts cross as they are: nobody reads them as
# a card. Settings have a test of their own.)
VENDOR_FIELDS = {"data", "vendorId", "messageId", "note"}
FREE_TAG_KEYS = ["FreevendIdTag", "FreeVendTag", "DefaultIdTag", "MasterPassGroupId", "AutoStartTag", "AuthorizationKey", "PlugAndChargeId"]


class Parrot:
    """A station that reads as a card everything it is sent, in the spelling it came in."""

    def __init__(self, version, peer):
        self.version = version
        self.peer = peer
        self.taps = []
        self.answers = messages.answers(version)

    def hear(self, action, payload):
        """A CALL of the CSMS: notes what to tap, and answers politely, echoing where an answer has room for it."""
        self.note(payload)
        answer = self.answers(action, payload)
        if action == "GetConfiguration":
            answer = {"configurationKey": [{"key": key, "readonly": False, "value": key} for key in payload.get("key", ["x"])]}
        elif action == "DataTransfer":
            answer = {"status": "Accepted", "data": payload.get("data", "")}
        return answer

    def note(self, value):
        if isinstance(value, dict):
            for inner in value.values():
                self.note(inner)
        elif isinstance(value, list):
            for inner in value:
                self.note(inner)
        elif isinstance(value, str):
            # A card number inside a text counts as well.
            self.taps += [value] + re.findall(r"[0-9A-Za-z]{8,}|(?:[0-9A-Fa-f]{2}[: -]){3,}[0-9A-Fa-f]{2}", value)

    async def tap_everything(self):
        taps, self.taps = dict.fromkeys(self.taps), []
        for text in taps:
            if 4 <= len(text) <= 36:
                await self.tap(text)

    async def tap(self, text):
        if self.version == "1.6":
            answer = await self.peer.call("Authorize", {"idTag": text[:20]})
        else:
            answer = await self.peer.call("Authorize", {"idToken": {"idToken": text, "type": "ISO14443"}})
        self.note(json.loads(answer)[2:])


@pytest.fixture
async def game(version, csms, station, rng):
    peer = await station("CS-1", version)
    parrot = Parrot(version, peer)
    peer.answers = parrot.hear
    upper = await csms.conversation("CS-1")
    return parrot, upper


def guesses(rng, count=2000):
    """Cards as they are issued: seven bytes, four bytes, four bytes that are all figures, contracts."""
    made = set()
    while len(made) < count:
        digits = "".join(rng.choice("0123456789ABCDEF") for _ in range(12))
        figures = "".join(rng.choice("0123456789") for _ in range(8))
        made |= {f"04{digits}", digits[:7] + "F", figures, f"NLABCC{figures}"}
    ordered = sorted(made)
    rng.shuffle(ordered)
    return ordered


def pseudonyms_in(texts):
    return {match.upper() for text in texts for match in re.findall(PSEUDONYM, text, re.IGNORECASE)}


async def ends_without_a_pair(csms, parrot, guessed):
    """Now the cards are really read: none of their pseudonyms may have been seen before."""
    seen = pseudonyms_in(csms.wire)
    learnt = []
    for guess, where in guessed.items():
        before = len(csms.wire)
        await parrot.tap(guess)
        (pseudonym,) = pseudonyms_in(csms.wire[before:])
        if pseudonym in seen:
            learnt.append(f"{pseudonym} stands for {guess}, which was sent in {where}")
    assert not learnt, f"the central system learnt {len(learnt)} of {len(guessed)} pairs:\n" + "\n".join(learnt[:20])


async def test_guesses_in_every_message_of_the_central_system(game, csms, version, rng):
    parrot, upper = game
    cards = iter(guesses(rng))
    guessed = {}

    def guessing(action, elsewhere):
        """A filling that guesses a card in every token field; or, `elsewhere`, only where vendors have their say."""

        def fill(path, schema):
            name = messages.name_of(path)
            plays = messages.is_token(path) if not elsewhere else name in VENDOR_FIELDS
            if plays and messages.room(schema) >= 8:
                card = next(card for card in cards if len(card) <= messages.room(schema))
                guessed[card] = f"{action} {'.'.join(map(str, path))}"
                return card
            if messages.is_token(path):
                return None
            return messages.harmless(path, schema)

        return messages.Builder(version, fill)

    for action in messages.sent_by_csms(version):
        if messages.actions(version)[action][1] is None:
            continue
        for elsewhere in (False, True):
            for full in (False, True):
                payload = guessing(action, elsewhere).request(action, full)
                if payload is None:
                    continue
                answer = await upper.call(action, payload)
                if messages.what_is_wrong(version, action, json.dumps(payload)) is None:
                    assert messages.what_is_wrong_with_answer(version, action, answer) is None, answer
                await parrot.tap_everything()
    assert len(guessed) > 10
    await ends_without_a_pair(csms, parrot, guessed)


async def test_guesses_in_every_answer_of_the_central_system(game, csms, version, rng):
    parrot, upper = game
    cards = iter(guesses(rng))
    guessed = {}

    def answer(action, payload):
        def fill(path, schema):
            if messages.is_token(path):
                card = next(card for card in cards if len(card) <= messages.room(schema))
                guessed[card] = f"the answer to {action}, {'.'.join(map(str, path))}"
                return card
            return messages.harmless(path, schema)

        return messages.Builder(version, fill).response(action, True)

    fill = lambda path, schema: "04AABBCCDDEEFF" if messages.is_token(path) else messages.harmless(path, schema)
    for action in messages.sent_by_station(version):
        if messages.actions(version)[action][1] is None:
            continue
        for full in (False, True):
            upper.answers = answer
            text = await parrot.peer.call(action, messages.Builder(version, fill).request(action, full))
            assert messages.what_is_wrong_with_answer(version, action, text) is None, text
            parrot.note(json.loads(text)[2:])
            upper.answers = messages.answers(version)
            await parrot.tap_everything()
    assert guessed
    await ends_without_a_pair(csms, parrot, guessed)


async def test_an_answer_that_holds_a_guess_still_carries_the_rest(game, version):
    """A group that was never converted must not keep a driver from charging: it is left out."""
    parrot, upper = game
    group = "04AABBCCDDEEFF"
    if version == "1.6":
        upper.answers = lambda action, payload: {"transactionId": 5, "idTagInfo": {"status": "Accepted", "parentIdTag": group}}
        asked = "StartTransaction", {"connectorId": 1, "idTag": "04112233445566", "meterStart": 0, "timestamp": "2026-11-24T10:00:00Z"}
        expected = {"transactionId": 5, "idTagInfo": {"status": "Accepted"}}
    else:
        upper.answers = lambda action, payload: {"idTokenInfo": {"status": "Accepted", "groupIdToken": {"idToken": group, "type": "Central"}}}
        asked = "Authorize", {"idToken": {"idToken": "04112233445566", "type": "ISO14443"}}
        expected = {"idTokenInfo": {"status": "Accepted"}}
    assert await parrot.peer.asks(*asked) == expected


async def test_guesses_in_settings(game, csms, version, rng):
    """Keys and variables that hold a tag, by the names that vendors give them; also numbers that could be a card."""
    parrot, upper = game
    cards = iter(guesses(rng))
    guessed = {}
    for key in FREE_TAG_KEYS:
        for shape in (r"04[0-9A-F]{12}", r"[0-9]{8}", r"NLABC.*"):
            card = next(card for card in cards if re.fullmatch(shape, card))
            guessed[card] = f"the setting {key}"
            if version == "1.6":
                answer = await upper.call("ChangeConfiguration", {"key": key, "value": card})
            else:
                variable = {"component": {"name": "AuthCtrlr"}, "variable": {"name": key}, "attributeValue": card}
                answer = await upper.call("SetVariables", {"setVariableData": [variable]})
            action = "ChangeConfiguration" if version == "1.6" else "SetVariables"
            assert messages.what_is_wrong_with_answer(version, action, answer) is None, answer
            await parrot.tap_everything()
    await ends_without_a_pair(csms, parrot, guessed)


async def test_guesses_in_disguise(game, csms, version, rng):
    """In other spellings and codings, in extra fields and odd places, and dressed up as pseudonyms."""
    parrot, upper = game
    cards = iter([card for card in guesses(rng) if re.fullmatch(r"04[0-9A-F]{12}", card)])
    guessed = {}
    start, token = ("RemoteStartTransaction", lambda text: {"idTag": text}) if version == "1.6" else (
        "RequestStartTransaction", lambda text: {"idToken": {"idToken": text, "type": "ISO14443"}, "remoteStartId": 1})  # fmt: skip
    disguises = {
        "small letters": lambda card: token(card.lower()),
        "colons": lambda card: token(":".join(re.findall("..", card))),
        "white space": lambda card: token(f" {card} "),
        "a pseudonym's beginning": lambda card: token(f"Z0{card}0000"),
        "an extra field": lambda card: token("X") | {"cardNumber": card},
        "custom data": lambda card: token("X") | {"customData": {"vendorId": card, "idTag": card}},
        "the wrong type": lambda card: {name: [card] for name in token("X")},
        "nested": lambda card: {name: {"idTag": card, "idToken": {"idToken": card}} for name in token("X")},
    }
    for name, disguise in disguises.items():
        card = next(cards)
        guessed[card] = name
        assert json.loads(await upper.call(start, disguise(card)))[0] in (3, 4)
        await parrot.tap_everything()
    for name, frame in {
        "a message id": lambda card: [2, card, "ClearCache", {}],
        "an action": lambda card: [2, "g1", card, {}],
        "an error to nobody": lambda card: [4, "g2", "GenericError", card, {"idTag": card}],
        "an answer to nobody": lambda card: [3, "g3", token(card)],
        "a message that wants no answer": lambda card: [6, "g4", start, token(card)],
        "a duplicate key": lambda card: json.dumps([2, "g5", start, token("X")]).replace('"X"', f'"X","idTag":"{card}","idToken":"{card}"'),
    }.items():
        card = next(cards)
        guessed[card] = name
        before = len(parrot.peer.texts)
        await upper.send(frame(card))
        await upper.call("ClearCache", {})
        for text in parrot.peer.texts[before:]:
            parrot.note([text] if name != "a message id" else [])
        await parrot.tap_everything()
    parrot.peer.answers = messages.answers(version)
    await ends_without_a_pair(csms, parrot, guessed)


async def test_a_guess_is_answered_alike_whether_the_card_exists_or_not(game, csms, version, rng):
    """Otherwise the answer itself would tell whether a guessed card is a customer's."""
    parrot, upper = game
    customers, strangers = guesses(rng)[:20], guesses(rng)[20:40]
    for card in customers:
        await parrot.tap(card[:20])
    for action in ("RemoteStartTransaction", "ReserveNow", "SendLocalList") if version == "1.6" else ("RequestStartTransaction", "ReserveNow", "SendLocalList"):
        answers = set()
        for card in customers + strangers:
            fill = lambda path, schema: card if messages.is_token(path) else messages.harmless(path, schema)
            builder = messages.Builder(version, fill)
            answers.add(json.dumps(json.loads(await upper.call(action, builder.request(action, action == "SendLocalList")))[2:]))
        assert len(answers) == 1, answers
    cards = leaks.Secrets()
    for card in customers + strangers:
        cards.plant(card, "a guess")
    assert not [hit for text in parrot.peer.texts for hit in cards.find(text)]


async def test_guesses_are_counted(game, gateway, version):
    """The operator sees that somebody is guessing."""
    _, upper = game
    count = lambda: sum(
        float(line.rsplit(" ", 1)[1]) for line in gateway.get("/metrics")[1].splitlines() if not line.startswith("#") and "foreign" in line.lower()
    )
    before = count()
    token = {"idTag": "04A2B3C4D5E6F7"} if version == "1.6" else {"idToken": {"idToken": "04A2B3C4D5E6F7", "type": "ISO14443"}, "remoteStartId": 1}
    await upper.call("RemoteStartTransaction" if version == "1.6" else "RequestStartTransaction", token)
    assert await asyncio.to_thread(count) > before
