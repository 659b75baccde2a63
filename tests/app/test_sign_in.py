"""Readers and editors in a real browser: a reader sees nothing that writes, and an editor's messages do nothing for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browsing import Seen, drawn, free_port
from joserfc.jwk import RSAKey
from provider import CLIENT, PASSWORD, Provider
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from workbench.opening import open_study
from workbench.serving import Serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SECRET = "a secret of the test only, of many characters"
LISTEN = """
const open = window.WebSocket;
window.WebSocket = function (...given) { const socket = new open(...given); window.socket = socket; return socket; };
Object.assign(window.WebSocket, open);
"""
SEND = "frames => frames.forEach(f => window.socket.send(Uint8Array.from(atob(f), c => c.charCodeAt(0))))"
ADA, BO = "Ada@x.example", "bo@x.example"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.shutdown()
    made.server_close()


def secrets(home: Path, auth: str) -> Path:
    """A folder with the secrets of a server; its sign-in has these lines."""
    (home / ".streamlit").mkdir(parents=True)
    (home / ".streamlit" / "secrets.toml").write_text(f'[auth]\ncookie_secret = "{SECRET}"\n{auth}\n')
    return home


def with_cookie(browser: Any, base: str, email: str) -> None:
    """As if somebody had signed in."""
    value = json.dumps({"origin": base, "is_logged_in": True, "email": email})
    cookie = create_signed_value(SECRET, "_streamlit_user", value).decode("latin-1")
    browser.clear_cookies()
    browser.add_cookies([{"name": "_streamlit_user", "value": cookie, "url": base}])


def a_reader_writes_nothing(
    base: str, browser: Any, folder: Path, sign_in: Callable[[Any, str], None], sign_out: Callable[[Any], None]
) -> None:
    """Ada writes a name; what her browser sent is sent by Bo, who may read."""
    with open_study(folder) as study:
        concept = study.concepts(method="SAE").ids[0]

    def history() -> list[str]:
        with open_study(folder) as study:
            return study.concept(concept).names()["text"].tolist()

    before, link = history(), f"{base}/concept?" + urlencode({"study": folder.name, "concept": concept})
    page = browser.pages[0]
    page.goto(link)
    page.get_by_role("button", name="Sign in").wait_for()
    assert folder.name not in page.locator("h1.cw-title").inner_text()
    # An editor's own messages, one of which names the concept.
    sent: list[bytes] = []

    def keep(frame: Any) -> None:
        sent.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", keep))
    sign_in(page, ADA)
    page.goto(link)
    drawn(page)
    page.get_by_text("who may write").wait_for()
    page.get_by_label("New name").fill("written by Ada")
    page.get_by_role("button", name="Save name").click()
    drawn(page, "written by Ada")
    assert history() == [*before, "written by Ada"]
    frames = [base64.b64encode(frame).decode() for frame in sent if isinstance(frame, bytes)]
    assert any(b"written by Ada" in base64.b64decode(frame) for frame in frames)
    sign_out(page)
    # The same by somebody who may read.
    page = browser.new_page()
    page.add_init_script(LISTEN)
    sign_in(page, BO)
    page.goto(link)
    drawn(page)
    page.get_by_text("who may read").wait_for()
    assert page.get_by_role("button", name="Save name").count() == 0
    assert page.get_by_label("New name").count() == 0
    page.evaluate(SEND, frames)
    page.wait_for_timeout(4000)
    drawn(page)
    assert history() == [*before, "written by Ada"]


def test_a_reader_sends_an_editors_messages_to_no_effect(
    run_server: Callable[..., AbstractContextManager[Any]], browser: Any, study_folder: Path, tmp_path: Path
) -> None:
    home = secrets(tmp_path / "home", 'redirect_uri = "http://localhost/oauth2callback"')
    settings = Serving(providers=[""], editors=[ADA.lower()]).environment([study_folder])
    with run_server(home, **settings) as server:
        a_reader_writes_nothing(
            server.base, browser, study_folder, lambda page, who: with_cookie(page.context, server.base, who), lambda _page: None
        )


def test_the_same_with_a_provider_that_they_sign_in_with(
    run_server: Callable[..., AbstractContextManager[Any]], browser: Any, study_folder: Path, tmp_path: Path, provider: Provider
) -> None:
    pytest.importorskip("authlib", reason="Streamlit signs in with Authlib (streamlit[auth])")
    port = free_port()
    lines = {
        "redirect_uri": f"http://localhost:{port}/oauth2callback", "client_id": CLIENT, "client_secret": PASSWORD,
        "server_metadata_url": f"{provider.base}/.well-known/openid-configuration",
    }  # fmt: skip
    home = secrets(tmp_path / "home", "\n".join(f'{name} = "{value}"' for name, value in lines.items()))
    settings = Serving(providers=[""], editors=[ADA.lower()]).environment([study_folder])

    def sign_in(page: Any, who: str, **more: Any) -> None:
        provider.claims = {"email": who, "email_verified": True} | more
        page.goto(server.base)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text(f"{who}, who may").wait_for()

    def sign_out(page: Any) -> None:
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign in").wait_for()

    with run_server(home, port, **settings) as server:
        seen = Seen(server.base)
        seen.watch(browser.pages[0])
        a_reader_writes_nothing(server.base, browser, study_folder, sign_in, sign_out)
        assert provider.signs_in == 2
        page = browser.pages[-1]
        sign_out(page)
        # An address that its provider calls unverified may be anybody's.
        sign_in(page, ADA, email_verified=False)
        page.get_by_text("who may read").wait_for()
        sign_out(page)
        # Somebody else's key, and a token for somebody else's app, sign nobody in.
        for wrong in ({}, {"aud": "another"}, {"iss": "http://evil.example"}):
            provider.claims = {"email": ADA, "email_verified": True} | wrong
            provider.signs_with = provider.key if wrong else RSAKey.generate_key(2048, {"kid": "one"})
            page.goto(server.base)
            with page.expect_response(lambda answer: "/oauth2callback" in answer.url):
                page.get_by_role("button", name="Sign in").click()
            page.get_by_role("button", name="Sign in").wait_for()
            assert page.get_by_text("who may").count() == 0
        assert provider.signs_in == 6
        assert not seen.outside
