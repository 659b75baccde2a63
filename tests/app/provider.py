"""A provider of sign-in on this machine, by OpenID Connect: discovery, authorization code with PKCE, tokens signed with RS256."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, PASSWORD = "workbench", "known to both"


class Provider(ThreadingHTTPServer):
    """Signs in whoever ``claims`` says is at the browser; a code is good for one use."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.signs_in = 0
        # Parts of what they were asked for with, by code.
        self.codes: dict[str, dict[str, str]] = {}
        self.key = self.signs_with = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        super().__init__(("127.0.0.1", 0), Answers)
        self.base = f"http://localhost:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.base, "authorization_endpoint": f"{self.base}/authorize", "token_endpoint": f"{self.base}/token",
            "jwks_uri": f"{self.base}/keys", "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "code_challenge_methods_supported": ["S256"],
        }  # fmt: skip

    def token(self, asked: dict[str, str]) -> dict[str, Any] | None:
        """The answer for a code; None where it is none, or somebody else's."""
        known = self.codes.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        if known is None or base64.urlsafe_b64encode(digest).decode().rstrip("=") != known["code_challenge"]:
            return None
        self.signs_in += 1
        now = int(time.time())
        about = {"iss": self.base, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 600, "nonce": known["nonce"]}
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, about | self.claims, self.signs_with)
        return {"access_token": secrets.token_hex(8), "token_type": "Bearer", "expires_in": 600, "id_token": signed}


class Answers(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        place, asked = urlsplit(self.path), {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
        if place.path == "/.well-known/openid-configuration":
            self.answer(self.server.metadata())
        elif place.path == "/keys":
            self.answer({"keys": [self.server.key.as_dict(private=False)]})
        elif place.path == "/authorize" and asked["client_id"] == CLIENT:
            code = secrets.token_hex(16)
            self.server.codes[code] = asked
            self.send_response(302)
            self.send_header("Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")
            self.end_headers()
        else:
            self.answer({"error": "not_found"}, 404)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {k: v[0] for k, v in parse_qs(sent).items()}
        known = base64.b64encode(f"{CLIENT}:{PASSWORD}".encode()).decode()
        token = self.server.token(asked) if self.headers["Authorization"] == f"Basic {known}" else None
        self.answer(token or {"error": "invalid_grant"}, 200 if token else 400)

    def answer(self, value: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...
