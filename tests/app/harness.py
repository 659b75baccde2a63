"""Helpers for the tests that drive pages by Streamlit's own harness."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from small_study import MAIN
from streamlit.testing.v1 import AppTest

from app.views import data
from workbench.study import Study

Start = Callable[..., AppTest]
# A view is a page: the overview is the first one, and the others have the names of their modules as addresses.
PAGES = ["", *sorted(path.stem for path in (MAIN.parent / "views").glob("[!_]*.py") if path.stem != "overview")]
TASKS = list(data.TASKS)
HOSTILE = "<script>alert(1)</script> \"'\x00\u202e [l](javascript:alert(1)) ![x](http://a.example/x.png)"


def said(test: AppTest) -> str:
    """Everything that the page shows as HTML, an error or a warning; no exception was shown."""
    assert not test.exception, test.exception[0].message
    return "\n".join(str(e.value if hasattr(e, "value") else e.body) for e in [*test.get("html"), *test.error, *test.warning])


def examined(study: Study) -> str:
    """A concept with every kind of evidence."""
    return str(study.evidence(["causes.readout"]).query("status == 'ok'")["concept"].iloc[0])


def until(test: AppTest, done: Callable[[AppTest], bool], seconds: float = 240) -> None:
    """Draw the page anew until something is so."""
    end = time.monotonic() + seconds
    while not done(test):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.5)
        test.run()


def on_page(test: AppTest, path: str) -> AppTest:
    """Another page: the harness cannot click on a link, so the page is asked for by its address."""
    pages = test._registered_pages.items()
    test._page_hash = next(known for known, page in pages if page.get("url_pathname") == path)
    return test.run()


def labelled(elements: Any, label: str) -> Any:
    """The first of some widgets whose label that is."""
    return next(e for e in elements if e.label == label)
