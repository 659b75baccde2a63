"""Models load in a thread while another imports what that needs, as the app does behind its first page."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import threading
from workbench.models.pretrained import import_libraries
from workbench.models import load_model

failed = []
def run(what):
    try:
        what()
    except BaseException as error:
        failed.append(repr(error))

threads = [threading.Thread(target=run, args=(w,)) for w in (import_libraries, lambda: load_model("minilm"), import_libraries,
           lambda: load_model("scribe"))]
[t.start() for t in threads]
[t.join() for t in threads]
print("failed:", failed)
"""


def test_two_threads_may_need_the_libraries_at_once() -> None:
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=300)
        assert done.stdout.strip() == "failed: []", done.stdout + done.stderr
