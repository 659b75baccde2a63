"""JSON from elsewhere: what is not of the declared shape is one sentence with the file's name and the field."""

from __future__ import annotations

import ast
import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from safetensors.torch import save_file

from workbench.errors import ConfigError, StudyError
from workbench.shapes import DEEPEST, ShapeError, is_version, parse_json, read_shaped, read_tensors, reading, shaped

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=30,
)  # fmt: skip


@given(VALUES)
def test_what_json_can_hold_comes_back_as_it_was(value: Any) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert parse_json(text) == value
        assert parse_json(text.encode()) == value
        assert parse_json(b"\xef\xbb\xbf" + text.encode()) == value


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_anything_else_is_a_shape_error(text: bytes | str) -> None:
    with suppress(ShapeError):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": NaN}', "not finite"),
        (b'{"a": [-Infinity]}', "not finite"),
        (b"1e999", "not finite"),
        (b'{"a": %d}' % 2**70, "64 bits"),
        (b"[-9223372036854775809]", "64 bits"),
        (b"9" * 5000, "not JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        (b'{"\\ud800": 1}', "lone surrogate"),
        (b'["a\\udfff"]', "lone surrogate"),
        ("\ud800", "JSON"),
        ('"\ud800"', "lone surrogate"),
        (b'"caf\xe9"', "not in UTF-8"),
        ('"text"'.encode("utf-16"), "not in UTF-8"),
        (b"[" * 100_000, "too deeply"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "too deeply"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "too deeply"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_each_kind_of_broken_json_is_named(text: bytes | str, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "where"), [('{"a": 1', "column 8"), ('{"a" 1\n}', "column 6"), ('{\n"a": 1 "b": 2}', "line 2, column 8")]
)
def test_the_place_of_a_fault_names_a_line_where_there_are_several(text: str, where: str) -> None:
    with pytest.raises(ShapeError) as found:
        parse_json(text)
    assert str(found.value).endswith(f": {where})")


def test_a_key_that_stands_twice_among_many_is_found_at_once() -> None:
    text = json.dumps({f"key {number}": 1 for number in range(200_000)})[:-1] + ', "key 199999": 2}'
    with pytest.raises(ShapeError, match="'key 199999' stands twice"):
        parse_json(text)


def test_numbers_may_be_let_through() -> None:
    assert parse_json(str(2**70), numbers=False) == 2**70
    assert parse_json("[Infinity]", numbers=False) == [float("inf")]
    assert parse_json("[" * DEEPEST + "]" * DEEPEST) == parse_json("[" * DEEPEST + "]" * DEEPEST)


class Kept(BaseModel):
    name: str
    places: list[str] = []
    count: int = Field(default=0, ge=0)


def test_the_field_that_does_not_fit_is_named(tmp_path) -> None:
    assert shaped('{"name": "a", "more": 1}', Kept) == Kept(name="a")
    path = tmp_path / "kept.json"
    for content, field in [
        ('{"name": 3}', "name"), ("{}", "name"), ('{"name": "a", "places": ["b", 7]}', "places.1"),
        ('{"name": "a", "count": -1}', "count"), ("[]", "the whole"), ('{"name": "a", "count": "x"}', "count"),
    ]:  # fmt: skip
        path.write_text(content)
        with pytest.raises(ConfigError, match=f"kept.json cannot be read: '{field}'.*Make it anew") as refused:
            read_shaped(path, Kept, "Make it anew.", ConfigError)
        assert "\n" not in str(refused.value)
    path.write_text(json.dumps({"name": 1, "places": {}, "count": "many"}))
    with pytest.raises(StudyError, match=r"name.*places.*count"):
        read_shaped(path, Kept)


def test_what_is_no_plain_file_is_not_read(tmp_path) -> None:
    (tmp_path / "real.json").write_text('{"name": "a"}')
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "long.json").write_bytes(b" " * 300 + b'{"name": "a"}')
    for name in ("link.json", "pipe.json", "folder.json", "long.json", "none.json"):
        with pytest.raises(StudyError, match=name):
            read_shaped(tmp_path / name, Kept, most=200)
    assert read_shaped(tmp_path / "real.json", Kept).name == "a"


def test_tensors_are_whole_or_refused(tmp_path) -> None:
    path = tmp_path / "kept.safetensors"
    save_file({"a": torch.arange(6.0).reshape(2, 3)}, path)
    assert read_tensors(path)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:7],
        whole[:-1],
        b"\xff" * 8 + whole[8:],
        whole.replace(b"F32", b"F64"),
        whole.replace(b"[2,3]", b"[2,4]"),
    ):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=r"kept.safetensors cannot be read: .* Make it anew"):
            read_tensors(path, "Make it anew.")


def test_our_own_errors_and_a_full_disk_stay_what_they_are() -> None:
    with pytest.raises(ConfigError, match="as it was"), reading("x"):
        raise ConfigError("as it was")
    with pytest.raises(OSError, match="room"), reading("x"):
        raise OSError(errno.ENOSPC, "no room")
    with pytest.raises(KeyboardInterrupt), reading("x"):
        raise KeyboardInterrupt
    with pytest.raises(StudyError, match=r"^x cannot be read: 'k' is not there. Do it\.$"), reading("x", "Do it."):
        raise KeyError("k")


ROOT = Path(__file__).parents[1]
READS_JSON = {"load", "loads", "JSONDecoder", "read_json", "from_json", "model_validate_json", "validate_json", "raw_decode"}


def json_readers(text: str) -> list[str]:
    """The calls in a source that read JSON by themselves, whatever they are imported as."""
    found, aliases = [], {"json"}
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "json":
            found += [f"from json import {name.name}" for name in node.names if name.name in READS_JSON]
        elif isinstance(node, ast.Import):
            aliases |= {name.asname for name in node.names if name.name == "json" and name.asname}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in READS_JSON:
            continue
        # `load` is a word of many libraries, and json's own only after its name.
        if node.attr not in {"load", "loads"} or (isinstance(node.value, ast.Name) and node.value.id in aliases):
            found.append(ast.unparse(node))
    return found


def test_json_is_read_in_one_place() -> None:
    paths = sorted(path for folder in ("workbench", "analyses", "probes", "app") for path in (ROOT / folder).rglob("*.py"))
    found = {path.relative_to(ROOT).as_posix(): calls for path in paths if (calls := json_readers(path.read_text()))}
    assert found == {"workbench/shapes.py": ["json.loads"]}
    for text in (
        "import json as j\nj.load(f)",
        "from json import loads",
        "import pandas as pd\npd.read_json(f)",
        "M.model_validate_json(t)",
    ):
        assert json_readers(text), text
    assert not json_readers("import torch\ntorch.load(f)\njson.dumps(1)")


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, [1], 2])
def test_a_version_is_a_whole_number_that_is_known(value: Any) -> None:
    assert not is_version(value, 1)
    assert is_version(1, 1, 2)
