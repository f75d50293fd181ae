"""The page of a release in a real browser: no error, nothing from elsewhere, readable on a telephone and in the dark, and in good order for those
who do not see it. Screenshots are left in target/report-screenshots.

Skipped where there is no Chromium.
"""

import asyncio
import base64
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import urllib.parse

import pytest
import websockets

import world

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", world.REPOSITORY / "target")) / "report-screenshots"
SITES = "station,evse,connector,location_id,evse_uid,evse_id,connector_id,name,address,city,country,latitude,longitude,standard,format,power_type,max_kw,tariff,neighbourhood,municipality,province\n"
# Two towns, and two villages so small that nothing of them is published alone; the last name is as long as names get.
TOWNS = [("Gouda", "Achterwillens", 60), ("Delft", "Wippolder", 60), ("Haastrecht", "Dorp", 3),
         ("Westerkwartier-aan-de-Binnenschelde", "De Lange Vonder en omstreken", 3)]  # fmt: skip


def register():
    points = itertools.count()
    lines = [
        f"S{at},*,*,L{at},P{at},NL*CPO*P{at},1,,Dam {at},{town},NLD,52.01150,4.71100,IEC_62196_T2,SOCKET,AC_3_PHASE,11,,{quarter},{town},Zuid-Holland"
        for town, quarter, count in TOWNS
        for at in itertools.islice(points, count)
    ]
    lines += [
        f"H{n},*,*,HUB,H{n},NL*CPO*H{n},1,Rijksweg,Rijksweg 1,Delft,NLD,52.01150,4.71100,IEC_62196_T2_COMBO,CABLE,DC,300,,Rand,Delft,Zuid-Holland"
        for n in range(4)
    ]
    return SITES + "\n".join(lines) + "\n"


def sessions(count, cards):
    """A quarter, drawn from a seed."""
    rng = random.Random(6)
    first = datetime.datetime(2025, 7, 1, tzinfo=datetime.UTC)
    for number in range(count):
        card = rng.randrange(cards)
        fast = rng.random() < 0.15
        begin = first + datetime.timedelta(days=rng.randrange(90), hours=rng.choice([7, 8, 9, 12, 16, 17, 18, 20]), minutes=rng.randrange(60))
        minutes = rng.randrange(15, 45) if fast else rng.randrange(45, 700)
        place = f"H{rng.randrange(4)}" if fast else f"P{rng.randrange(120)}"
        # Eight of all in each village.
        if number % 1_500 == 0:
            place = f"P{120 + number // 1_500 % 6}"
        yield json.dumps({
            "session": str(number), "token": f"04{card:012X}", "evse_uid": place, "begin": begin.isoformat(),
            "end": (begin + datetime.timedelta(minutes=minutes)).isoformat(), "kwh": round(rng.uniform(2, 45), 3), "charging_seconds": minutes * 40,
        })  # fmt: skip


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """The pages of a quarter and of a month with noise, and of a quarter without: name → path."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    directory = tmp_path_factory.mktemp("releases")
    (directory / "sites.csv").write_text(register())
    (directory / "sessions.ndjson").write_text("\n".join(sessions(24_000, 2_400)))
    (directory / "sluis.toml").write_text("[statistics]\nneighbourhood_points = 10\nmunicipality_points = 50\n")
    binary = os.environ.get("SLUIS") or world.REPOSITORY / "target" / "debug" / "sluis"
    pages = {}
    for name, period, mode in [("quarter", "2025-Q3", "dp"), ("month", "2025-09", "dp"), ("exact", "2025-Q3", "sdc")]:
        command = [binary, "stats", "release", "--config", directory / "sluis.toml", "--sites", directory / "sites.csv", "--sessions", directory / "sessions.ndjson",
                   "--period", period, "--mode", mode, "--out", directory / name, "--scratch-ledger", directory / f"{name}.ledger", "--fixed-noise", "6"]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, env={})
        assert run.returncode == 0, run.stderr
        pages[name] = directory / name / "report.html"
    return pages


class Browser:
    """A page of a real browser, by its own protocol."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = itertools.count(1)
        self.events = []

    async def asks(self, method, **parameters):
        number = next(self.numbers)
        await self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    async def event(self, method):
        while not any(event["method"] == method for event in self.events):
            self.events.append(json.loads(await asyncio.wait_for(self.socket.recv(), 30)))

    async def says(self, expression):
        """The value of an expression in the page."""
        answer = await self.asks("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def opens(self, page, width, dark=False):
        self.events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.asks(f"{domain}.enable")
        await self.asks("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
        await self.asks("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        await self.asks("Page.navigate", url=page.as_uri())
        await self.event("Page.loadEventFired")

    async def keeps(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        shot = await self.asks("Page.captureScreenshot", captureBeyondViewport=True)
        (SCREENSHOTS / name).write_bytes(base64.b64decode(shot["data"]))

    def complaints(self):
        """Errors and warnings of the console, and what was asked for beside the page."""
        bad = [event for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed")]
        asked = [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return bad, asked


@contextlib.asynccontextmanager
async def browser(directory):
    profile = directory / "profile"
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = await world.eventually(lambda: (profile / "DevToolsActivePort").exists() and (profile / "DevToolsActivePort").read_text().split()[:1], "the browser", 60)
        pages = await asyncio.to_thread(targets, int(port[0]))
        async with websockets.connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.kill()
        process.wait()


def targets(port):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/json/list")
        return [target for target in json.loads(connection.getresponse().read()) if target["type"] == "page"]


# What makes a page orderly: one h1, no level of headings left out, a scope on every head of a table, a name for every picture, a way by keyboard
# to all that scrolls.
ORDER = """(() => {
    const all = (of) => [...document.querySelectorAll(of)];
    const levels = all('h1,h2,h3,h4,h5,h6').map((h) => Number(h.tagName[1]));
    const scrolls = (e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible';
    return {
        lang: document.documentElement.lang, title: document.title, ones: levels.filter((l) => l === 1).length,
        skips: levels.some((l, n) => n > 0 && l > levels[n - 1] + 1), main: all('main').length,
        heads: all('th').filter((th) => !th.scope).length, rows: all('tbody tr').filter((tr) => !tr.querySelector('th[scope=row]')).length,
        tables: all('table').length, captions: all('table > caption').length,
        pictures: all('svg').length, unnamed: all('svg').filter((s) => s.getAttribute('role') !== 'img' || !document.getElementById(s.getAttribute('aria-labelledby'))?.textContent).length,
        unreachable: all('body *').filter((e) => scrolls(e) && e.tabIndex < 0).length,
        ids: (() => { const ids = all('[id]').map((e) => e.id); return ids.length - new Set(ids).size; })(),
    };
})()"""

# How wide the page is, and how small its smallest writing is as it is shown.
SIZES = """(() => {
    document.querySelectorAll('details').forEach((d) => { d.open = true; });
    const shown = (e) => Number.parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? e.ownerSVGElement.getScreenCTM().a : 1);
    const written = [...document.querySelectorAll('h1,h2,h3,p,li,td,th,caption,summary,code,svg text')].filter((e) => e.textContent.trim());
    const smallest = written.reduce((a, b) => shown(a) <= shown(b) ? a : b);
    return { over: document.documentElement.scrollWidth - innerWidth, smallest: shown(smallest), of: smallest.outerHTML.slice(0, 200) };
})()"""

# The least contrast of any writing against the page, as WCAG 2 reckons it.
CONTRAST = """(() => {
    const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
    const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
    const ratio = (e) => {
        const style = getComputedStyle(e);
        const [a, b] = [light(rgb(e.ownerSVGElement ? style.fill : style.color)), light(ground(e))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const written = [...document.querySelectorAll('h1,h2,h3,p,li,b,span,td,th,caption,summary,code,figcaption,svg text')].filter((e) => e.textContent.trim());
    return Math.min(...written.map(ratio));
})()"""


@pytest.mark.timeout(600)
async def test_the_page_of_a_release_is_good_to_read(releases, tmp_path):
    async with browser(tmp_path) as page:
        for name, path in releases.items():
            for width, dark in [(390, False), (1280, False), (1280, True)]:
                await page.opens(path, width, dark)
                order = await page.says(ORDER)
                where = f"{name}, {width} wide, {'dark' if dark else 'light'}: {order}"
                assert order["lang"] == "en" and order["title"] and order["ones"] == 1 and not order["skips"] and order["main"] == 1, where
                assert not order["heads"] and not order["rows"] and order["tables"] == order["captions"] >= 2, where
                assert order["pictures"] >= 2 and not order["unnamed"] and not order["unreachable"] and not order["ids"], where
                assert await page.says(CONTRAST) >= 4.5, where
                await page.keeps(f"{name}-{width}{'-dark' if dark else ''}.png")
                sizes = await page.says(SIZES)
                assert sizes["over"] <= 0, f"{where}: it is wider than the screen by {sizes['over']}"
                assert sizes["smallest"] >= 9, f"{where}: {sizes}"
                bad, asked = page.complaints()
                assert not bad, f"{where}: {bad}"
                assert [urllib.parse.urlparse(url).scheme for url in asked] == ["file"], f"{where}: {asked}"


async def test_what_is_withheld_says_so_and_areas_are_shown(releases, tmp_path):
    async with browser(tmp_path) as page:
        for name, path in releases.items():
            await page.opens(path, 1280)
            words = await page.says("document.body.textContent")
            assert "withheld" in words and "Not for publication" in words
            if name != "exact":
                assert "±" in words
            headings = await page.says("[...document.querySelectorAll('h3')].map((h) => h.textContent)")
            assert "Sessions by area" in headings and "Energy by area" in headings, f"{name}: {headings}"
            # The village has so few that no number of it stands alone.
            rows = await page.says("[...document.querySelectorAll('tbody tr')].map((tr) => tr.textContent).filter((t) => t.includes('Binnenschelde'))")
            assert rows and all("withheld" in row for row in rows), f"{name}: {rows}"
