"""Who may write, and which paths the app reaches: whatever a session sends, a reader's changes nothing."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness import PAGES, TASKS, on_page, said
from small_study import MAIN
from streamlit.testing.v1 import AppTest

from app import jobs as app_jobs
from app import state
from app.components.uploads import saved
from app.writer import NETWORK, AccessError, Writer
from workbench.errors import ConfigError, StudyError, WorkbenchError
from workbench.opening import open_study
from workbench.serving import Serving, address_of, inside_roots, read_secrets, serving
from workbench.store.remote_url import SCHEMES
from workbench.store.texts import keep_texts

ADA, BO = "ada@x.example", "bo@x.example"
APP = MAIN.parent
# Methods and functions of the workbench that change a study, or read and write where somebody says.
WRITING = {
    "add_names", "cancel_job", "capture", "counterparts", "delete", "edit_head", "examine", "export", "import_activations",
    "keep_dataset", "keep_recipe", "note", "pull", "push", "recapture", "relabel", "rename", "repair", "repeat", "set_info",
    "start_job", "start_repetition", "sweep", "unpack", "update_run", "use_dataset", "use_model",
}  # fmt: skip


@pytest.fixture
def folder(planted: Callable) -> Path:
    """A study of planted activations with runs of two methods."""
    study, acts, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    study.run("linear_probe", acts, labels="kind", controls=False)
    study.run("concept_activation", acts, labels="kind")
    return study.folder


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[..., AppTest]:
    """The first page as somebody sees it, where Ada may write and all others read."""
    for name, value in Serving(providers=[""], editors=[ADA]).environment([folder]).items():
        monkeypatch.setenv(name, value)

    def begin(**user: Any) -> AppTest:
        test = AppTest.from_file(str(MAIN), default_timeout=120)
        test.user = user
        return test.run()

    return begin


def signed_in(who: str) -> dict[str, Any]:
    return {"is_logged_in": True, "email": who}


def places(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Every page, and every task of the page for data, with the query that shows all of it."""
    with open_study(folder, create=False) as study:
        concept, run = study.concepts().ids[0], study.get_run("linear_probe").id
    query = {"concept": {"concept": concept}, "runs": {"start": "true", "run": run}}
    return [*((page, query.get(page, {})) for page in PAGES if page != "data"), *(("data", {"task": task}) for task in TASKS)]


def go(test: AppTest, page: str, query: dict[str, str]) -> AppTest:
    for key in ("concept", "run", "start"):
        test.query_params.pop(key, None)
        if key in query:
            test.query_params[key] = query[key]
    on_page(test, page)
    # A task that was shown before is kept by the session, whatever the address says.
    return test.segmented_control[0].set_value(query["task"]).run() if "task" in query else test


def content(folder: Path) -> dict[str, str]:
    """Every file of a study, and every row of its catalog."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.db")
    }
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
        return found | {"catalog.db": "\n".join(catalog.iterdump())}


def settled() -> None:
    """Wait until what pages started in the background has ended."""
    for _ in range(600):
        if all(job.finished for job in app_jobs._jobs().values()):
            return
        time.sleep(0.1)
    raise AssertionError("A job has not ended.")


def test_nobody_sees_a_study_before_signing_in(session: Callable[..., AppTest], folder: Path) -> None:
    for user in ({}, {"is_logged_in": False, "email": ADA}, {"is_logged_in": "True", "email": ADA}, {"is_logged_in": 1}):
        test = session(**user)
        for page in ("", "concept", "data"):
            assert [button.label for button in on_page(test, page).button] == ["Sign in"]
            assert folder.name not in said(test)


def test_a_reader_is_shown_nothing_that_writes_or_takes_a_path(session: Callable[..., AppTest], folder: Path) -> None:
    test = session(**signed_in(BO))
    assert "who may read" in said(test)
    for page, query in places(folder):
        go(test, page, query)
        shown = {button.label for button in test.button}
        assert shown <= {
            "Sign out", "Build report", "Pack the tables", "Read the concept", "Check everything", "Write the table",
        }  # fmt: skip
        assert not {field.label for field in test.text_input} & {"Or a folder", "Folder", "Address", "Table of rows"}
        assert not test.get("file_uploader")
    go(test, "data", {"task": "Export"})
    assert "You may read" in said(test.segmented_control[1].set_value("activations").run())


@pytest.mark.parametrize(
    ("claims", "may"),
    [({"email": ADA.upper()}, "write"), ({"email": BO}, "read"), ({"email": ADA, "email_verified": False}, "read"), ({}, "read")],
)
def test_who_may_write_is_named(session: Callable[..., AppTest], claims: dict[str, Any], may: str) -> None:
    assert f"who may {may}" in said(session(is_logged_in=True, **claims))


def messages(test: AppTest) -> Iterator[tuple[str, Any]]:
    """For every button that a page has, what a browser would send when all fields are filled in and it is clicked."""
    for element in [*test.text_input, *test.text_area]:
        element.input("pwned")
    for place, button in enumerate(list(test.button)):
        if button.label != "Sign out" and not button.disabled:
            test.button[place].click()
            yield button.label, test._tree.get_widget_states()
            test.button[place].set_value(False)


def test_a_reader_changes_nothing_by_the_messages_of_an_editor(session: Callable[..., AppTest], folder: Path) -> None:
    before, sent = content(folder), []
    editor, reader = session(**signed_in(ADA)), session(**signed_in(BO))
    for page, query in places(folder):
        go(editor, page, query), go(reader, page, query)
        for label, states in messages(editor):
            sent.append(label)
            reader._run(states)
    settled()
    wanted = {"Save name", "Add note", "Add this concept", "Repeat this run", "Start", "Compare methods", "Use these", "Import"}
    assert wanted <= set(sent)
    assert content(folder) == before
    # The same messages of an editor do what they say.
    query = dict(places(folder))["concept"]
    states = dict(messages(go(editor, "concept", query)))["Save name"]
    editor._run(states)
    assert content(folder) != before


def test_a_writer_is_not_to_be_had_for_a_reader_or_of_a_study_that_is_only_read(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with open_study(folder, create=False, read_only=True) as study:
        with pytest.raises(AccessError, match="only be read"):
            Writer(study)
        # The store refuses as well, should a page ever forget to ask.
        with pytest.raises(StudyError):
            study.concept(study.concepts().ids[0]).rename("pwned")
    with open_study(folder, create=False) as study:
        assert Writer(study).study is study
        monkeypatch.setenv("WORKBENCH_APP", Serving(providers=[""]).environment([])["WORKBENCH_APP"])
        with pytest.raises(AccessError, match="names editors"):
            Writer(study)


def test_nothing_but_the_writer_calls_what_writes() -> None:
    for path in APP.rglob("*.py"):
        if path.name == "writer.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            where = f"{path.relative_to(APP)}:{node.lineno}"
            if isinstance(node.func, ast.Name):
                assert node.func.id not in WRITING, where
            elif isinstance(node.func, ast.Attribute):
                of = ast.unparse(node.func.value)
                assert node.func.attr not in WRITING or of == "writer", f"{where} calls {of}.{node.func.attr}"
                assert not (node.func.attr == "add" and of.endswith("collections")), where
                assert not (node.func.attr == "run" and of.endswith("study")), where


@pytest.mark.parametrize(
    "outside", ["/etc", "{home}/../elsewhere", "{home}/link/x", "~", "..", "/proc/self/cwd/..", "\x00", "{home}-2"]
)
def test_a_path_outside_the_roots_is_not_reached(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, outside: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to("/etc")
    monkeypatch.setenv("WORKBENCH_APP", Serving(roots=[str(home)]).environment([])["WORKBENCH_APP"])
    monkeypatch.chdir(home)
    assert inside_roots("new/folder") == home / "new" / "folder"
    typed = outside.format(home=home)
    with pytest.raises(ConfigError):
        inside_roots(typed)
    with open_study(folder, create=False) as study:
        writer, silent = Writer(study), lambda *_: None
        acts = study.activations()[0].id
        asked = [
            lambda: writer.import_activations(typed, {}, silent),
            lambda: writer.import_activations(str(home), {"rows": typed}, silent),
            lambda: writer.import_activations(str(home), {"data": typed}, silent),
            lambda: writer.export_activations(acts, [], typed, silent),
            lambda: writer.push(f"file://{typed}", silent),
            lambda: writer.start("pretrained_dictionary", acts, [], {"folder": typed}, 0, False),
        ]
        for ask in asked:
            with pytest.raises(WorkbenchError):
                ask()
        # Of those that a study knows, all that may lead to a file of this machine are left to the command line.
        local = [f"{scheme}://localhost/etc" for scheme in sorted(SCHEMES - NETWORK - {"file"})]
        assert {"sftp://localhost/etc", "ssh://localhost/etc", "smb://localhost/etc", "memory://localhost/etc"} <= set(local)
        web = ("http://localhost/x", "https://localhost/x")
        for address in (*local, *web, "zip:///etc/x.zip", "dir://x", "reference://x", "simplecache::file:///etc", "x"):
            with pytest.raises(ConfigError):
                writer.push(address, silent)


def test_the_page_about_the_app_names_the_remotes_that_it_takes() -> None:
    assert NETWORK <= SCHEMES
    text = " ".join((Path(__file__).parents[2] / "docs" / "app.md").read_text().split())
    said = re.search(r"Remotes elsewhere are of the kinds (.*?)\. Others", text)
    assert said is not None
    kinds = set(re.findall(r"[a-z]+[0-9]?", said[1])) - {"with", "and"}
    # Other spellings of the same kinds are not named.
    assert kinds == NETWORK - {"s3a", "gcs", "abfss", "webdavs"}


def test_activations_are_uploaded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.components.exchange import _import

    def upload(name: str, data: bytes) -> Any:
        file = io.BytesIO(data)
        file.name = name
        return file

    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    array, table = io.BytesIO(), pd.DataFrame({"example": [0, 0, 1, 1, 2, 2], "position": [0, 1] * 3, "token": "word"})
    np.save(array, values)
    files = [upload("../../resid_post.1.npy", array.getvalue()), upload("C:\\x\\rows.csv", table.to_csv(index=False).encode())]
    before = sorted(tmp_path.rglob("*.npy"))
    with open_study(tmp_path / "own") as study:
        assert "6 rows of 3 examples" in _import(Writer(study), {"model": "ours"}, files, [], lambda *_: None)
        assert np.array_equal(study.activation_set().read(site="resid_post.1"), values)
        with pytest.raises(ConfigError, match="two files have it"):
            _import(Writer(study), {}, [upload("a.npy", b""), upload("x/a.npy", b"")], [], lambda *_: None)
    assert sorted(p for p in tmp_path.rglob("*.npy") if "own" not in p.parts) == before


SECRETS = """
[auth]
redirect_uri = "https://x.example/oauth2callback"
cookie_secret = "s"
[auth.google]
client_id = "c"
[workbench]
editors = ["Ada@X.example"]
"""


def test_sign_in_and_editors_are_read_as_toml(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    for place, text in ((home, SECRETS), (here, '# [auth] is only spoken of\nnote = "[auth]"\n')):
        (place / ".streamlit").mkdir(parents=True)
        (place / ".streamlit" / "secrets.toml").write_text(text)
    assert serving(read_secrets([here]), [], [], []).providers == []
    found = serving(read_secrets([home, here]), ["HTTPS://Y.example:443/x"], [tmp_path], ["bo@x.example "])
    assert found.providers == ["google"]
    assert found.editors == [ADA, BO]
    assert found.addresses == ["https://y.example", "https://x.example"]
    (here / ".streamlit" / "secrets.toml").write_text("[auth\ncookie_secret = 'hidden'")
    with pytest.raises(ConfigError, match=r"secrets\.toml") as error:
        read_secrets([home, here])
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "secrets",
    [{"auth": "yes"}, {"auth": {}}, {"auth": {"redirect_uri": "x"}}, {"workbench": 1}, {"workbench": {"editors": "ada@x"}},
     {"workbench": {"editors": [1]}}, {"auth": {"redirect_uri": "ftp://x", "cookie_secret": "s"}}],
)  # fmt: skip
def test_secrets_of_another_shape_are_refused(secrets: dict) -> None:
    with pytest.raises(ConfigError):
        serving(secrets, [], [], [])


@pytest.mark.parametrize(
    "text", ["x.example", "ftp://x", "http://", "http://a b:x", "http://u@x", "http://x:99999", "javascript:x"]
)
def test_what_is_no_address_is_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        address_of(text)


def test_a_study_from_elsewhere_is_opened_once_an_editor_says_yes(
    session: Callable[..., AppTest], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    theirs = Path(shutil.copytree(folder, tmp_path / "theirs"))
    content = json.loads((theirs / "study.json").read_text())
    (theirs / "study.json").write_text(json.dumps(content | {"remote": f"file://{tmp_path}/[l](http://a.example)"}))
    monkeypatch.setenv("WORKBENCH_STUDIES", str(theirs))
    reader = session(**signed_in(BO))
    assert "has to say yes first" in said(reader)
    assert "I trust it: open it" not in {button.label for button in reader.button}
    editor = session(**signed_in(ADA))
    assert f"file://{tmp_path}" in editor.warning[0].value.replace("\\", "").replace("\u2060", "")
    next(button for button in editor.button if button.label == "I trust it: open it").click().run()
    assert "What this study is about" in said(session(**signed_in(BO)))


def test_a_study_that_is_being_unpacked_is_not_shown_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STUDIES", str(tmp_path))
    for name in (f".{0:024x}.partial", "whole"):
        open_study(tmp_path / name).close()
    assert list(state.study_folders()) == ["whole"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "\x00", "x\n.npy", "x" * 256, "\u6982" * 100, ".hidden", "a\\.."])
def test_an_upload_whose_name_is_none_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    file = io.BytesIO(b"x")
    file.name = name
    with pytest.raises(ConfigError, match="cannot be the name of a file"):
        saved([file], tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
