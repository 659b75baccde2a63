"""In a real browser: pages of other sites, what a page of ours may load, uploads, and a reader who sends an editor's messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from browsing import Seen, drawn
from other_site import Site
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from workbench.serving import Serving
from workbench.store.study import open_study

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FRAMED = "<iframe src='{base}' onload='window.loaded = true'></iframe><script>{script}</script>"
KNOCK = """
window.answers = [];
const socket = new WebSocket('{base}'.replace('http', 'ws') + '/_stcore/stream', ['streamlit']);
socket.onopen = () => answers.push('open');
socket.onerror = () => answers.push('refused');
for (const method of ['GET', 'PUT'])
  fetch('{base}/_stcore/health', {{method}}).then(r => answers.push('read ' + r.status)).catch(() => answers.push('unread'));
"""


def test_a_page_of_another_site_reads_nothing_and_frames_nothing(
    serve: Callable[[Path], str], browser: Any, study_folder: Path, other: Site
) -> None:
    base, page = serve(study_folder), browser.pages[0]
    other.page = FRAMED.format(base=base, script=KNOCK.format(base=base))
    page.goto(other.base)
    page.wait_for_function("() => window.answers.length === 3")
    assert sorted(page.evaluate("window.answers")) == ["refused", "unread", "unread"]
    page.wait_for_function("() => window.loaded")
    frame = next(frame for frame in page.frames if frame is not page.main_frame)
    assert frame.url.startswith("chrome-error:")


def test_a_page_of_ours_loads_nothing_from_elsewhere(
    serve: Callable[[Path], str], browser: Any, study_folder: Path, other: Site
) -> None:
    """Should anything ever get past the escapes: the policy stops it."""
    page, base = browser.pages[0], serve(study_folder)
    page.goto(base)
    drawn(page)
    attempts = """async out => {
        const made = (tag, rest) => document.body.append(Object.assign(document.createElement(tag), rest));
        made('img', {src: out + '/img'}); made('script', {src: out + '/script'}); made('iframe', {src: out + '/frame'});
        made('link', {rel: 'stylesheet', href: out + '/css'}); made('object', {data: out + '/object'});
        made('div', {style: `background: url(${out}/background)`}); made('video', {src: out + '/video'});
        made('script', {textContent: 'window.inline = true'});
        const sent = await fetch(out + '/fetch').then(() => 'sent', () => 'stopped');
        await new Promise(done => setTimeout(done, 1000));
        return [sent, window.inline || false];
    }"""
    assert page.evaluate(attempts, other.base) == ["stopped", False]
    assert other.asked == []


def test_activations_are_uploaded(serve: Callable[[Path], str], browser: Any, study_folder: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"example": np.repeat(np.arange(20), 3), "position": np.tile(np.arange(3), 20), "token": "word"})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    np.save(tmp_path / "resid_post.1.npy", np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    open_study(study_folder.parent / "own").close()
    page, base = browser.pages[0], serve(study_folder.parent)
    seen = Seen(base)
    seen.watch(page)
    page.goto(f"{base}/data?" + urlencode({"study": "own", "task": "Bring activations in"}))
    drawn(page)
    page.get_by_text("per file").first.wait_for()
    page.locator("input[type=file]").first.set_input_files([tmp_path / "rows.csv", tmp_path / "resid_post.1.npy"])
    page.get_by_text("resid_post.1.npy").first.wait_for()
    page.get_by_role("button", name="Bring in").click()
    page.get_by_text("Brought in 60 rows of 20 examples").wait_for()
    seen.nothing_else()


def test_a_packed_study_is_uploaded_and_opened(
    serve: Callable[[Path], str], browser: Any, study_folder: Path, tmp_path: Path
) -> None:
    with open_study(study_folder) as study:
        study.pack(tmp_path / "theirs.zip")
    page, base = browser.pages[0], serve(study_folder.parent)
    page.goto(f"{base}/data?" + urlencode({"task": "Add a study"}))
    drawn(page)
    page.locator("input[type=file]").first.set_input_files(tmp_path / "theirs.zip")
    page.get_by_text("theirs.zip").first.wait_for()
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_url("**study=theirs**")
    drawn(page)
    with open_study(study_folder.parent / "theirs", create=False) as study:
        assert len(study.concepts()) > 0


SECRET = "a secret of the test only, of many characters"
LISTEN = """
const open = window.WebSocket;
window.WebSocket = function (...given) { const socket = new open(...given); window.socket = socket; return socket; };
Object.assign(window.WebSocket, open);
"""


def signed(base: str, email: str) -> dict[str, str]:
    """The cookie of somebody who has signed in."""
    value = json.dumps({"origin": base, "is_logged_in": True, "email": email})
    cookie = create_signed_value(SECRET, "_streamlit_user", value).decode("latin-1")
    return {"name": "_streamlit_user", "value": cookie, "url": base}


def test_a_reader_sends_an_editors_messages_to_no_effect(
    run_server: Callable[..., AbstractContextManager[Any]], browser: Any, study_folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".streamlit").mkdir(parents=True)
    secrets = f'[auth]\nredirect_uri = "http://localhost/oauth2callback"\ncookie_secret = "{SECRET}"\n'
    (home / ".streamlit" / "secrets.toml").write_text(secrets)
    with open_study(study_folder) as study:
        concept = study.concepts(method="SAE").ids[0]

    def history() -> list[str]:
        with open_study(study_folder) as study:
            return study.concept(concept).names()["text"].tolist()

    before = history()
    settings = Serving(providers=[""], editors=["ada@x.example"]).environment([study_folder])
    with run_server(home, **settings) as server:
        link = f"{server.base}/concept?" + urlencode({"study": "small", "concept": concept})
        page = browser.pages[0]
        page.goto(link)
        page.get_by_role("button", name="Sign in").wait_for()
        assert study_folder.name not in page.locator("h1.cw-title").inner_text()
        # An editor's own messages, one of which names the concept.
        sent: list[bytes] = []

        def keep(frame: Any) -> None:
            sent.append(frame)

        page.on("websocket", lambda socket: socket.on("framesent", keep))
        browser.add_cookies([signed(server.base, "Ada@x.example")])
        page.goto(link)
        drawn(page)
        page.get_by_text("who may write").wait_for()
        page.get_by_label("New name").fill("written by Ada")
        page.get_by_role("button", name="Save name").click()
        drawn(page, "written by Ada")
        assert history() == [*before, "written by Ada"]
        # The same by somebody who may read.
        browser.clear_cookies()
        browser.add_cookies([signed(server.base, "bo@x.example")])
        page = browser.new_page()
        page.add_init_script(LISTEN)
        page.goto(link)
        drawn(page)
        page.get_by_text("who may read").wait_for()
        assert page.get_by_role("button", name="Save name").count() == 0
        assert page.get_by_label("New name").count() == 0
        frames = [base64.b64encode(frame).decode() for frame in sent if isinstance(frame, bytes)]
        assert any(b"written by Ada" in base64.b64decode(frame) for frame in frames)
        page.evaluate("frames => frames.forEach(f => window.socket.send(Uint8Array.from(atob(f), c => c.charCodeAt(0))))", frames)
        page.wait_for_timeout(4000)
        drawn(page)
        assert history() == [*before, "written by Ada"]
