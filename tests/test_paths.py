"""Ids become paths in one place, and files appear whole beside what was there."""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workbench.errors import StudyError
from workbench.paths import (
    DEEPEST,
    KINDS,
    child,
    drop_strange,
    files_below,
    inside,
    is_name,
    listed,
    named,
    oddities,
    read_bytes,
    remove_tree,
    require_plain,
    strange,
    too_deep,
    walk,
)
from workbench.writing import file_beside, folder_beside, write_beside

ROOT = Path(__file__).parent.parent
HOSTILE = (
    "..", ".", "", "/etc", "a/b", "a\\b", "C:a", "a\0b", "../../victim", "~", "a\nb", ".a", "a.partial/..", "x" * 300, "лин",
)  # fmt: skip
# What may be joined besides constants: every value in it is a constant, a hash, a number or a name of ours, and so leads nowhere.
JOINS = {
    "activations/exporting.py": {"partial / f\"{quote(site, safe='')}.safetensors\""},
    "activations/importing.py": {"folder / f'{ROWS}.{end}'"},
    "activations/writer.py": {"folder.with_name(f'{folder.name}{PARTIAL}')", "folder.with_name(f'{folder.name}{LOCK}')"},
    "cli/share.py": {"Path('studies') / Path(file).stem"},
    "concepts/concept_set.py": {"folder / self._weights_file()", "folder / cls._weights_file()"},
    "concepts/dictionary.py": {"folder / cls._weights_file()"},
    # Checked there to lie in the folder of the images.
    "datasets/images.py": {"base / path"},
    "models/checks.py": {"cache_dir() / 'model-checks' / f'{digest[:32]}.json'"},
    "models/packaged.py": {"cache_dir() / f'{pickled.stem}-{digest[:16]}.safetensors'"},
    "models/weights.py": {"cache_dir() / 'hashes' / f'{name}.json'"},
    "store/worker_cache.py": {"cache_dir() / 'sets' / hashlib.sha256(url.encode()).hexdigest()[:16]"},
    "store/look.py": {"folder / f'{CATALOG}{ending}'", "path.with_name(f'{path.name}{end}')"},
    "store/study_file.py": {"file.with_name(f'.{uuid.uuid4().hex}{PARTIAL}')"},
    "store/remote.py": {"folder / last"},
    "store/remote_check.py": {"folder / last", "folder / LAST[kind]"},
    "store/dropped.py": {
        "folder / f'{stem}{_ENDING}'",
        "folder / f'{stem}-{number}{_ENDING}'",
        "path.with_name(f'{path.name}{PARTIAL}')",
    },
    "store/scratch.py": {"cache / f'{PREFIX}{uuid.uuid4().hex}'", "folder.with_name(f'{folder.name}{LOCK}')"},
    "store/sqlite.py": {"path.with_name(f'{path.name}-wal')"},
    "store/trust.py": {"home / f'{key}.json'", "Path(tempfile.gettempdir()) / f'concept-workbench-{os.getuid()}'"},
    "store/unpacking.py": {"path.with_name(f'{path.name}-wal')", "source.with_name(f'{source.name}-wal')"},
    # The bundled tables, by our own names.
    "datasets/paths.py": {"data_dir() / f'{name}.parquet'"},
}
KNOWING = {"paths.py", "writing.py"}
"""The two files that join what they have checked."""


def joins(path: Path) -> set[str]:
    """What a file joins to paths besides constants, and every constant that is a folder of a study."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            right = node.right
            if isinstance(right, ast.Constant) and right.value not in KINDS:
                continue
            if not isinstance(right, ast.Name) or not right.id.isupper():
                found.add(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"joinpath", "with_name"}:
            name = node.args[0]
            constant = isinstance(name, ast.Constant) or (isinstance(name, ast.Name) and name.id.isupper())
            found |= set() if constant else {ast.unparse(node)}
    return found


def arithmetic(expression: str) -> bool:
    """Whether a division is one of numbers: paths are called as paths are in this project."""
    left = expression.rpartition(" / ")[0].lower()
    words = (
        "folder",
        "study",
        "home",
        "place",
        "path",
        "partial",
        "cache",
        "base",
        "scratch",
        "made",
        "dir()",
        "inside(",
        "child(",
    )
    return ".with_name(" not in expression and ".joinpath(" not in expression and not any(word in left for word in words)


def test_no_other_file_makes_a_path_of_an_id() -> None:
    for path in sorted((ROOT / "workbench").rglob("*.py")):
        name = path.relative_to(ROOT / "workbench").as_posix()
        if name not in KNOWING:
            unknown = {one for one in joins(path) if not arithmetic(one)} - JOINS.get(name, set())
            assert not unknown, f"{name}: take workbench.paths.inside or child for {unknown}"


def test_temporary_names_are_made_in_one_file() -> None:
    for path in sorted([*(ROOT / "workbench").rglob("*.py"), *(ROOT / "app").rglob("*.py"), *(ROOT / "analyses").rglob("*.py")]):
        text = path.read_text()
        if path.name not in KNOWING | {"study_file.py"}:
            assert '.partial"' not in text, f"{path}: take workbench.writing.file_beside"
            assert "getpid()}" not in text, path


def test_trees_are_walked_and_removed_in_one_file() -> None:
    # In Python 3.11 these call themselves for every folder in another, and people give folders of any depth.
    calls = re.compile(r"\b(os\.f?walk|rglob|rmtree|copytree)\b")
    for path in sorted(one for folder in ("workbench", "app", "analyses") for one in (ROOT / folder).rglob("*.py")):
        if path != ROOT / "workbench" / "paths.py":
            assert not calls.search(path.read_text()), f"{path}: take workbench.paths.walk or remove_tree"


@given(st.sampled_from(sorted(KINDS)), st.text() | st.sampled_from(HOSTILE), st.text() | st.sampled_from(HOSTILE))
@example("runs", "../../victim", "a")
def test_a_path_of_an_id_lies_in_the_study_or_there_is_none(kind: str, first: str, second: str) -> None:
    study = Path("/nowhere/study")
    for parts in ((first,), ("0" * 16, second)):
        try:
            path = inside(study, kind, *parts)
        except StudyError:
            continue
        assert path.resolve().relative_to(study / kind).parts == parts


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_file_of_a_name_lies_below_its_folder_or_there_is_none(name: str) -> None:
    folder = Path("/nowhere/folder")
    try:
        path = child(folder, name)
    except StudyError:
        return
    assert path.resolve().relative_to(folder).as_posix() == name


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("study/runs/a", "study/cache", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside" / "victim.txt").write_text("mine")
    return tmp_path / "study"


def test_links_and_pipes_are_named_not_followed_and_removed_by_themselves(study: Path) -> None:
    outside = study.parent / "outside"
    (study / "runs" / "b").symlink_to(outside)
    (study / "runs" / "a" / "inner.json").symlink_to(outside / "victim.txt")
    os.mkfifo(study / "cache" / "pipe")
    assert [path.name for path in listed(study, "runs")] == ["a"]
    assert {path.name: problem for path, problem in strange(study, "runs")} == {"b": "a symbolic link"}
    assert list(files_below(study / "runs")) == []
    with pytest.raises(StudyError, match="symbolic link"):
        inside(study, "runs", "b", "config.json")
    with pytest.raises(StudyError, match=r"inner\.json.*symbolic link"):
        require_plain(study / "runs" / "a")
    for path in (study / "cache" / "pipe", study / "runs" / "a" / "inner.json"):
        with pytest.raises(StudyError, match="not read"):
            read_bytes(path)
    assert drop_strange(study, "runs/b")
    assert drop_strange(study, "cache/pipe")
    assert not drop_strange(study, "runs/a")
    assert not drop_strange(study, "../outside/victim.txt")
    assert (outside / "victim.txt").read_text() == "mine"
    assert [path.name for path in (study / "runs").iterdir()] == ["a"]


def test_a_folder_of_a_study_that_is_a_link_holds_nothing(study: Path) -> None:
    (study / "cache").rmdir()
    (study / "cache").symlink_to(study.parent / "outside")
    with pytest.raises(StudyError, match="symbolic link"):
        listed(study, "cache")
    assert [path.name for path, _ in strange(study, "cache")] == ["cache"]


def test_what_is_written_beside_leaves_alone_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "kept.txt").write_text("mine")
    (tmp_path / "text.csv.partial").write_text("mine")
    with folder_beside(tmp_path / "mine") as folder:
        (folder / "new.txt").write_text("new")
    write_beside(tmp_path / "text.csv", "new")
    with pytest.raises(ZeroDivisionError), file_beside(tmp_path / "text.csv") as partial:
        partial.write_bytes(bytes(1 // 0))
    with pytest.raises(ZeroDivisionError), folder_beside(tmp_path / "other") as partial:
        (partial / "half").write_bytes(bytes(1 // 0))
    assert {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {
        "mine/new.txt": "new", "text.csv": "new", "mine.partial/kept.txt": "mine", "text.csv.partial": "mine",
    }  # fmt: skip
    plain = tmp_path / "plain"
    plain.write_text("as any file")
    assert stat.S_IMODE((tmp_path / "text.csv").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def dig(folder: Path, levels: int, name: str = "a") -> None:
    """Folders of one name in each other and a file in the last, whose path may be longer than the system takes."""
    folder.mkdir(parents=True, exist_ok=True)
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A folder that goes when the test ends: pytest could not remove it."""
    (tmp_path / "tree").mkdir()
    yield tmp_path / "tree"
    remove_tree(tmp_path / "tree", ignore_errors=True)


@pytest.mark.parametrize(
    ("levels", "name"), [(DEEPEST, "a"), (DEEPEST + 1, "a"), (1200, "a"), (60, "x" * 255), (60, "\U0001f30d" * 63)]
)
def test_a_tree_of_any_depth_is_walked_to_a_bound_named_and_removed(tree, levels, name) -> None:
    dig(tree / "b", levels - 1, name)
    (tree / "link").symlink_to(tree.parent)
    found = list(too_deep(tree))
    assert bool(found) == (levels > DEEPEST)
    assert [path for path, _ in oddities(tree)] == [tree / "link", *found]
    assert [path.name for path in files_below(tree)] == ([] if found else ["end"])
    roots = [root for root, _, _ in walk(tree)]
    assert roots == sorted(roots)
    assert len(roots) <= 1 + DEEPEST
    if name == "a":
        assert len(list(walk(tree, bounded=False))) == 1 + levels
    with pytest.raises(StudyError, match="symbolic link" if not found else "symbolic link|deeper than any"):
        require_plain(tree)
    remove_tree(tree)
    assert not tree.exists()
    assert tree.parent.exists()


def test_folders_that_are_taken_out_are_not_entered_and_the_rest_comes_sorted(tree) -> None:
    for name in ("b/inner", "a", "c"):
        (tree / name).mkdir(parents=True)
    (tree / "a" / "z").touch()
    (tree / "a" / "y").touch()
    seen = []
    for root, folders, names in walk(tree):
        folders[:] = [name for name in folders if name != "b"]
        seen.append((root.name, names))
    assert seen == [("tree", []), ("a", ["y", "z"]), ("c", [])]
    assert list(walk(tree / "nowhere")) == []


def test_what_is_no_folder_is_not_removed_as_one(tree) -> None:
    (tree / "file").touch()
    (tree / "link").symlink_to(tree.parent)
    for name in ("file", "link", "nothing"):
        remove_tree(tree / name, ignore_errors=True)
        with pytest.raises(OSError, match=name):
            remove_tree(tree / name)
    assert sorted(os.listdir(tree)) == ["file", "link"]


def test_names_of_bytes_that_are_no_text_are_no_names_and_are_shown(tree) -> None:
    name = os.fsdecode(b"\xff\xfe")
    assert not is_name(name)
    assert named(tree / "a" / name, tree) == "a/\\udcff\\udcfe"
    with pytest.raises(StudyError, match="no name of a file"):
        child(tree, name)
