"""In a real browser: pages of other sites, what a page of ours may load, and uploads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from browsing import Seen, drawn
from other_site import Site

from workbench.opening import open_study

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
    page.goto(f"{base}/data?" + urlencode({"study": "own", "task": "Import activations"}))
    drawn(page)
    page.get_by_text("per file").first.wait_for()
    page.locator("input[type=file]").first.set_input_files([tmp_path / "rows.csv", tmp_path / "resid_post.1.npy"])
    page.get_by_text("resid_post.1.npy").first.wait_for()
    page.get_by_role("button", name="Import").click()
    page.get_by_text("Imported 60 rows of 20 examples").wait_for()
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
