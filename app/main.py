"""The web app. Start it with ``workbench app STUDY``.

Streamlit finds the ``st.App`` below and serves that; for every drawing of a page it runs this file once more, as a script.
"""

from __future__ import annotations

import sys
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import streamlit as st
from PIL import Image, ImageDraw
from starlette.middleware import Middleware
from streamlit import config

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    # `streamlit run app/main.py` in a checkout that is not installed.
    sys.path.insert(0, ROOT)

from app import jobs, state  # noqa: E402
from app.components.adding import add_packed  # noqa: E402
from app.components.not_opened import not_opened  # noqa: E402
from app.components.page import empty, sentences, study_switch, title  # noqa: E402
from app.components.sign_in import signed_in  # noqa: E402
from app.components.style import use_style  # noqa: E402
from app.gate import Gate  # noqa: E402
from app.notes import show_kept  # noqa: E402
from app.views import calibration, compare, concept, concepts, data, information, layers, naming, overview, report, runs, steer  # noqa: E402
from workbench.errors import WorkbenchError  # noqa: E402


def show(page: ModuleType) -> None:
    """One page of the open study, or what to do where there is none."""
    with sentences():
        if not signed_in():
            return
        try:
            study = state.current_study()
        except WorkbenchError as error:
            not_opened(error)
            return
        if study is None:
            title("No study yet", "The app shows studies, and finds none in the folders that it was given.")
            empty("Make the bundled demo study, then open it here:", "workbench demo")
            add_packed()
            return
        show_kept()
        study_switch()
        # The overview needs only tables, so it shows while everything else is imported.
        if page is not overview and state.warm_up().is_alive():
            with st.spinner("Starting the engine …"):
                state.wait_for_engine()
        page.render(study)


@st.cache_resource(show_spinner=False)
def icon() -> Image.Image:
    """The tab's icon. Streamlit fetches emoji and symbols for it from an outside host, so it is drawn here."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, 60, 60), fill=(0, 114, 178, 255))
    draw.ellipse((22, 22, 42, 42), fill=(230, 159, 0, 255))
    return image


def pages() -> dict[str, dict[str, st.Page]]:
    """The pages by section and name."""

    def one(module: ModuleType, name: str, symbol: str, path: str) -> st.Page:
        return st.Page(lambda: show(module), title=name, icon=f":material/{symbol}:", url_path=path)

    return {
        "": {
            "overview": st.Page(lambda: show(overview), title="Study", icon=":material/science:", default=True),
            "concepts": one(concepts, "Find", "search", "concepts"),
            "concept": one(concept, "Concept", "label", "concept"),
            "naming": one(naming, "Naming", "edit", "naming"),
            "steer": one(steer, "Steer", "tune", "steer"),
        },
        "Measurements": {
            "layers": one(layers, "Layers", "stacked_line_chart", "layers"),
            "information": one(information, "Information", "bar_chart", "information"),
            "calibration": one(calibration, "Calibration", "rule", "calibration"),
        },
        "Work": {
            "runs": one(runs, "Runs", "play_circle", "runs"),
            "compare": one(compare, "Compare two runs", "compare_arrows", "compare"),
            "report": one(report, "Report", "description", "report"),
            "data": one(data, "Data", "database", "data"),
        },
    }


def main() -> None:
    """Draw the page that was asked for."""
    st.set_page_config(page_title="Concept Workbench", page_icon=icon(), layout="wide")
    sections = pages()
    known = {name: page for section in sections.values() for name, page in section.items()}
    state.keep_pages(known)
    chosen = st.navigation({head: list(section.values()) for head, section in sections.items()}, position="top")
    use_style()
    if "concept" in st.query_params and chosen is known["overview"]:
        # A short link, such as /?study=topics&concept=…, leads to the concept.
        st.switch_page(known["concept"], query_params=dict(st.query_params.items()))
    chosen.run()
    state.warm_up()
    jobs.redraw()


@asynccontextmanager
async def browser_window(_server: st.App) -> AsyncIterator[None]:
    """Open a browser when that was asked for: its requests wait until the server, which listens already, has started."""
    if not config.get_option("server.headless"):
        address = f"http://localhost:{config.get_option('server.port')}"
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    yield


if __name__ == "__main__":
    main()
else:
    server = st.App(__file__, middleware=[Middleware(Gate)], lifespan=browser_window)
