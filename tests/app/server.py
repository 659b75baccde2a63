"""The app's server for many tests. A line on its input says which studies it serves from then on; its end stops the server.

Starting one takes seconds, most of them for torch and what stands on it, and every test needs one.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from streamlit.web import cli


def listen(answer: Path) -> None:
    for line in sys.stdin:
        os.environ["WORKBENCH_STUDIES"] = line.strip()
        answer.write_text(line)
    os._exit(0)


if __name__ == "__main__":
    main, port, answer = sys.argv[1:]
    threading.Thread(target=listen, args=(Path(answer),), daemon=True).start()
    cli.main(["run", main, "--server.headless", "true", "--server.port", port, "--server.fileWatcherType", "none"])
