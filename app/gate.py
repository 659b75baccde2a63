"""The layer in front of Streamlit's server: it answers only to its own addresses, and to no page of another site.

A page of another site can send requests to a server on the reader's machine, and by a name that resolves to it (DNS rebinding)
even read the answers. So the Host of every request has to be one of ours, and so has the Origin of what a page sends. Streamlit
checks the Host of its websocket only (``server.allowedHosts``); it lets in pages of localhost on any port, and no option narrows
that; for an origin that it does not know it asks an outside host for its own address. Here such a request is refused before that.
This is a middleware of ``st.App``, which Streamlit runs before anything of its own, for HTTP and for the websocket's handshake.

The same layer sends the content security policy: nothing is loaded from, sent to or framed by another address, whatever a name or
a figure from a file may ask for.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit
from streamlit import config

from workbench.serving import Serving, address_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WILDCARDS = {"", "0.0.0.0", "::"}
REFUSED = "This app answers only under the addresses that it is served under; `workbench app --url ADDRESS` adds one.\n"
# Sent without the Origin of the page that sends it: nothing but what is only read.
ORIGIN_MAY_LACK = {"GET", "HEAD"}


class Gate:
    """Refuses what is not for us, and adds the headers of security to every answer.

    Args:
        app: What is served.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or websocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif not allowed(scope):
            await _refuse(scope, receive, send)
        else:
            await self.app(scope, receive, _with_headers(send))


def allowed(scope: Scope) -> bool:
    """Whether a request is for an address of ours and from no page of another."""
    hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
    if len(hosts) != 1 or len(origins) > 1:
        return False
    own = {address for address in addresses() if address.partition("://")[2] == hosts[0]}
    if not origins:
        return bool(own) and scope["type"] == "http" and scope["method"] in ORIGIN_MAY_LACK
    return origins[0] in own


def addresses() -> set[str]:
    """The origins under which the app is served."""
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    names = {"localhost", "127.0.0.1", "[::1]"}
    listens = str(config.get_option("server.address") or "").lower()
    if listens not in WILDCARDS:
        names.add(f"[{listens}]" if ":" in listens else listens)
    own = {address_of(f"{scheme}://{name}:{config.get_option('server.port')}") for name in names}
    return own | set(Serving.current().addresses)


@cache
def policy() -> str:
    """The content security policy. The script in Streamlit's page is allowed by its hash; styles are written inline."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    rules = {
        "default-src": "'self'",
        "script-src": f"'self'{hashes}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        # The websocket of the same address is 'self' too.
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for key, value in scope["headers"] if key == name]


def _with_headers(send: Send) -> Send:
    headers = {
        b"content-security-policy": policy().encode(),
        b"x-frame-options": b"DENY",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-resource-policy": b"same-origin",
    }

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(key, value) for key, value in message.get("headers", []) if key.lower() not in headers]
            message = {**message, "headers": [*kept, *headers.items()]}
        await send(message)

    return send_on


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        # Before it was accepted, this answers the handshake with status 403.
        await send({"type": "websocket.close", "code": 1008})
        return
    start: dict[str, Any] = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
    answer = _with_headers(send)
    await answer(start)
    await answer({"type": "http.response.body", "body": REFUSED.encode()})
