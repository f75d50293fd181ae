"""An e-MSP as others build it: a small HTTP server that speaks OCPI, keeps every byte that reaches it and takes a CDR once."""

import base64
import contextlib
import http.client
import http.server
import json
import threading
import urllib.parse

VERSIONS = {"2.1.1": [("credentials", None), ("cdrs", None), ("tokens", None)],
            "2.2.1": [("credentials", "RECEIVER"), ("cdrs", "RECEIVER"), ("tokens", "SENDER")],
            "2.3.0": [("credentials", "RECEIVER"), ("cdrs", "RECEIVER"), ("tokens", "SENDER")]}  # fmt: skip
TIME = "2026-11-24T09:00:00Z"


def envelope(data=None, code=1000):
    return {"data": data, "status_code": code, "status_message": "", "timestamp": TIME}


def written(token, version):
    """A credentials token as the Authorization header has it."""
    return "Token " + (token if version == "2.1.1" else base64.b64encode(token.encode()).decode())


class Emsp:
    """One e-MSP. `tokens` are what it answers when they are pulled; `allowed` what it answers to a real-time authorisation."""

    def __init__(self, party, version="2.2.1"):
        self.country, self.party_id = party.split("-")
        self.party = party
        self.version = version
        self.token_b = f"b-token-of-{party}"
        self.token_c = None
        self.seen = []  # (method, path, headers, body) of everything that reached it
        self.cdrs = {}  # id → the body, taken once
        self.order = []
        self.repeated = 0
        self.tokens = []
        self.refuses = None  # (status, body) for CDRs
        self._lock = threading.Lock()
        self._server = None

    def start(self):
        emsp = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _take(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode(errors="replace")
                status, answer, headers = emsp.answer(self.command, self.path, dict(self.headers), body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _take

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method, target, headers, body):
        with self._lock:
            self.seen.append((method, target, headers, body))
        path = urllib.parse.urlsplit(target).path
        if path == "/versions":
            return 200, envelope([{"version": self.version, "url": f"{self.url}/{self.version}"}]), {}
        if path == f"/{self.version}":
            def endpoint(module, role):
                return {"identifier": module, "url": f"{self.url}/{self.version}/{module}"} | ({"role": role} if role else {})

            return 200, envelope({"version": self.version, "endpoints": [endpoint(*each) for each in VERSIONS[self.version]]}), {}
        if path == f"/{self.version}/cdrs" and method == "POST":
            return self._take_cdr(body)
        if path == f"/{self.version}/tokens" and method == "GET":
            return 200, envelope(self.tokens), {"X-Total-Count": str(len(self.tokens)), "X-Limit": "100"}
        if path.endswith("/authorize") and method == "POST":
            uid = urllib.parse.unquote(path.split("/")[-2])
            token = next((token for token in self.tokens if token["uid"] == uid), None)
            if token is None:
                return 404, envelope(code=2004), {}
            return 200, envelope({"allowed": "ALLOWED", "token": token, "authorization_reference": "auth-ref-4711"}), {}
        return 404, envelope(code=2000), {}

    def _take_cdr(self, body):
        if self.refuses:
            return self.refuses
        cdr = json.loads(body)
        with self._lock:
            known = cdr["id"] in self.cdrs
            assert not known or self.cdrs[cdr["id"]] == body, "one id, two bodies"
            self.repeated += known
            if not known:
                self.cdrs[cdr["id"]] = body
                self.order.append(cdr["id"])
        return (200 if known else 201), envelope(), {"Location": f"{self.url}/{self.version}/cdrs/{cdr['id']}"}

    def bills(self):
        """The CDRs that it has, in the order in which they came."""
        with self._lock:
            return [json.loads(self.cdrs[each]) for each in self.order]

    def call(self, method, url, token, body=None):
        """Calls the other party as this e-MSP: (status, headers, envelope)."""
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        with contextlib.closing(connection):
            headers = {"Authorization": written(token, self.version), "X-Request-ID": "r-1", "X-Correlation-ID": "c-1"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, dict(answer.getheaders()), json.loads(text) if text else None

    def credentials(self):
        details = {"name": f"e-MSP {self.party}"}
        who = {"country_code": self.country, "party_id": self.party_id, "business_details": details}
        roles = who if self.version == "2.1.1" else {"roles": [who | {"role": "EMSP"}]}
        return {"token": self.token_b, "url": f"{self.url}/versions"} | roles

    def registers(self, ocpi_url, token_a):
        """The exchange of credentials, begun by the e-MSP: it keeps the token that it calls with from then on."""
        status, _, answer = self.call("POST", f"{ocpi_url}/{self.version}/credentials", token_a, self.credentials())
        assert status in (200, 201) and answer["status_code"] == 1000, answer
        self.token_c = answer["data"]["token"]
        return answer["data"]

    def token(self, uid, contract, kind="RFID", **more):
        """A token as this e-MSP words it."""
        common = {"uid": uid, "type": kind, "issuer": "The issuer", "valid": True, "whitelist": "ALLOWED", "last_updated": TIME} | more
        if self.version == "2.1.1":
            return common | {"auth_id": contract}
        return common | {"contract_id": contract, "country_code": self.country, "party_id": self.party_id}

    def pushes(self, ocpi_url, token):
        """Puts a token at the other party."""
        uid = urllib.parse.quote(token["uid"], safe="")
        url = f"{ocpi_url}/{self.version}/tokens/{self.country}/{self.party_id}/{uid}?type={token['type']}"
        status, _, answer = self.call("PUT", url, self.token_c, token)
        assert status in (200, 201) and answer["status_code"] == 1000, answer
