"""The command line: the whole job by commands, and bad input as one sentence with an exit code."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.activations.labels import row_targets
from workbench.cli import main
from workbench.cli.root import app


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def test_commands_are_registered_once_however_often_they_are_called(capsys) -> None:
    call(capsys, "models")
    known = len(app.registered_commands), len(app.registered_groups)
    assert min(known) > 0
    call(capsys, "models")
    assert (len(app.registered_commands), len(app.registered_groups)) == known


def test_a_maximum_length_of_nothing_is_not_left_out(capsys, tmp_path) -> None:
    where = str(tmp_path / "study")
    code, _, err = call(capsys, "capture", where, "--data", "film", "--model", "minilm", "--max-length", "0", "--sites", "final")
    assert code != 0
    assert "4 to 512 tokens for this model, not 0" in err


def test_help_lists_every_command(capsys) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for command in (
        "capture",
        "run",
        "name",
        "examine",
        "match",
        "compare",
        "collection",
        "report",
        "export",
        "import",
        "export-activations",
        "export-table",
        "pack",
        "unpack",
        "recapture",
        "steer",
        "steered",
        "concepts",
        "concept",
        "show",
        "study",
        "app",
        "demo",
    ):
        assert command in out


def test_the_job_by_commands(small_study, tmp_path, capsys) -> None:
    folder = str(small_study.folder)
    code, out, _ = call(capsys, "--json", "show", folder)
    assert code == 0
    assert {r["analysis"] for r in json.loads(out)["runs"]} >= {"sparse_autoencoder", "linear_probe", "examine"}

    code, out, _ = call(capsys, "--json", "run", folder, "linear_probe", "--set", "labels=tokens")
    assert code == 0
    probe = json.loads(out)["run"]

    code, out, _ = call(capsys, "--json", "concepts", folder, "past verb", "--run", probe)
    assert code == 0
    found = json.loads(out)[0]
    assert found["name"] == "past verb"
    assert found["id"].startswith(probe)

    code, out, _ = call(capsys, "--json", "concept", folder, found["id"])
    assert code == 0
    assert {e["metric"] for e in json.loads(out)["evidence"]} >= {"detects.auroc", "informs.bits"} or found[
        "site"
    ] != "resid_post.3"

    code, _, _ = call(capsys, "rename", folder, found["id"], "verbs that are over", "--author", "ada")
    assert code == 0
    assert small_study.concept(found["id"]).name == "verbs that are over"

    code, _, _ = call(capsys, "report", folder, str(tmp_path / "out.html"), "--tables", str(tmp_path / "tables"))
    assert code == 0
    assert (tmp_path / "out.html").stat().st_size > 1_000_000
    evidence = pd.read_csv(tmp_path / "tables" / "evidence.csv")
    assert len(evidence) == len(pd.read_parquet(tmp_path / "tables" / "evidence.parquet"))


def test_special_tokens_have_rows_by_choice(tmp_path, capsys) -> None:
    common = ["--data", "topics", "--sites", "resid_post.1", "--limit", "40"]
    for name, more in (("usual", []), ("all", ["--special"])):
        assert call(capsys, "capture", str(tmp_path / name), *common, *more)[0] == 0
    with wb.open_study(tmp_path / "usual") as usual, wb.open_study(tmp_path / "all") as every:
        (before,), (after,) = (study.activations() for study in (usual, every))
        special = after.index["token"].isin(["[CLS]", "[SEP]"]).to_numpy()
        assert special.sum() == 2 * 40
        assert after.n_rows == before.n_rows + 2 * 40
        np.testing.assert_allclose(after.read()[~special], before.read(), atol=2e-2)
        # A row that belongs to no word belongs to no labelled one.
        found = [row_targets(acts, study.dataset_of(acts)) for acts, study in ((before, usual), (after, every))]
        labels = np.array([name.startswith("token:") for name in found[0].names])
        assert np.array_equal(found[1].values[~special], found[0].values, equal_nan=True)
        assert np.nansum(found[1].values[:, labels]) > 0
        assert not np.nansum(found[1].values[special][:, labels])
        run = every.run("linear_probe", after, labels="tokens")
        assert set(run.concepts[0].on_text("The banks failed.")["token"]) >= {"[CLS]", "[SEP]"}


def test_runs_are_compared_and_a_collection_is_reported_by_commands(small_study, tmp_path, capsys) -> None:
    folder = str(small_study.folder)
    probe, sae = (small_study.get_run(name) for name in ("linear_probe", "sparse_autoencoder"))
    code, out, _ = call(capsys, "--json", "compare", folder, sae.id, probe.id)
    found = json.loads(out)
    assert code == 0
    assert {"option": "analysis", "first": "sparse_autoencoder", "second": "linear_probe", "same": False} in found["config"]
    assert len(found["concepts"]) > 100
    code, out, _ = call(capsys, "compare", folder, sae.id, probe.id)
    assert "What was set differently" in out

    ids = [c.id for c in small_study.concepts(method="SAE", limit=3)]
    code, out, _ = call(capsys, "--json", "collection", folder, "for paper", *[a for i in ids for a in ("--add", i)])
    assert code == 0
    assert [row["concept"] for row in json.loads(out)] == ids
    code, out, _ = call(capsys, "--json", "collection", folder, "for paper", "--remove", ids[0], "--author", "ada")
    assert [row["concept"] for row in json.loads(out)] == ids[1:]

    path = tmp_path / "paper.html"
    chosen = ("--title", "A <paper>", "--collection", "for paper", "--runs", probe.id, "--sections", "concepts")
    code, _, _ = call(capsys, "report", folder, str(path), *chosen)
    assert code == 0
    text = path.read_text(encoding="utf-8")
    assert "<h1>A &lt;paper&gt;</h1>" in text
    assert ids[1] in text
    assert ids[0] not in text.replace(f"{ids[0]}0", "")
    code, _, err = call(capsys, "report", folder, str(path), "--collection", "nothing")
    assert code == 2
    assert "no collection called 'nothing'" in err


def test_an_exported_autoencoder_loads_in_plain_sae_lens(small_study, tmp_path, capsys) -> None:
    import torch
    from sae_lens import SAE

    run = small_study.get_run("sparse_autoencoder")
    code, _, _ = call(capsys, "export", str(small_study.folder), run.id, str(tmp_path / "sae"))
    assert code == 0
    theirs, ours = SAE.load_from_disk(tmp_path / "sae"), run.sets[0]
    acts = small_study.activation_set(run.record["inputs"]["activations"]).at("resid_post.3")
    x = torch.from_numpy(acts.read(slice(0, 500)))
    with torch.no_grad():
        assert float((theirs(x) - ours.decode(ours.encode(x))).abs().max()) < 1e-5
    code, _, err = call(capsys, "export", str(small_study.folder), run.id, str(tmp_path / "sae"))
    assert code == 2
    assert "is there already" in err


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("capture", "STUDY", "--data", "film", "--model", "no-such-model-anywhere"), "no-such-model-anywhere"),
        (("capture", "STUDY", "--data", "film", "--sites", "resid_pots.3"), "Did you mean 'resid_post.3'"),
        (("capture", "STUDY", "--data", "flim"), "Did you mean 'film'"),
        (("capture", "STUDY", "--data", "EMPTY", "--text", "text"), "is empty"),
        (("capture", "STUDY", "--data", "BLANK", "--text", "text"), "blank"),
        (("capture", "STUDY", "--data", "GOOD", "--text", "text", "--labels", "topc"), "topc"),
        (("capture", "STUDY", "--data", "GOOD", "--text", "text", "--labels", "same"), "same"),
        (("capture", "STUDY", "--data", "MIXED", "--text", "text"), "encoding"),
        (("run", "NOWHERE", "linear_probe"), "There is no study"),
        (("run", "SMALL", "linear_prob"), "Did you mean 'linear_probe'"),
        (("run", "SMALL", "linear_probe", "--sites", "resid_post.9"), "resid_post.9"),
        (("run", "SMALL", "linear_probe", "--set", "oops"), "--set name=value"),
        (("run", "SMALL", "linear_probe", "--set", "labels=topic"), "no label 'topic'"),
        (("run", "SMALL", "linear_probe", "--acts", "zzzz"), "zzzz"),
        (("concept", "SMALL", "nothing.0"), "There is no concept"),
        (("concepts", "SMALL", "--sort", "detects.aurocc"), "Did you mean 'detects.auroc'"),
        (("rename", "SMALL", "nothing.0", "x"), "There is no concept"),
        (("app", "NOWHERE"), "not a folder"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_trace(small_study, tmp_path, capsys, arguments, text) -> None:
    good = write(tmp_path / "GOOD.csv", "text,topic,same\n" + "".join(f"some words {i},{'ab'[i % 2]},x\n" for i in range(40)))
    places = {
        "STUDY": str(tmp_path / "study"), "NOWHERE": str(tmp_path / "nowhere"), "SMALL": str(small_study.folder), "GOOD": good,
        "EMPTY": write(tmp_path / "EMPTY.csv", "text,topic\n"),
        "BLANK": write(tmp_path / "BLANK.csv", "text,topic\n" + "word,a\n" * 5 + "   ,b\n"),
    }  # fmt: skip
    (tmp_path / "MIXED.csv").write_bytes("text,topic\nnaïve,a\n".encode() + "café,b\n".encode("latin-1") * 3)
    places["MIXED"] = str(tmp_path / "MIXED.csv")
    before = len(small_study.runs())
    code, out, err = call(capsys, "-q", *[places.get(a, a) for a in arguments])
    assert code == 2
    assert out == ""
    message = " ".join(err.split())
    assert text in message
    assert "Traceback" not in err
    assert not (tmp_path / "study").exists()
    # A run that was refused is recorded as failed, and is no run to build on.
    assert len(small_study.runs()) == before


def test_errors_are_json_where_json_was_asked_for(capsys, tmp_path) -> None:
    code, out, _ = call(capsys, "--json", "show", str(tmp_path / "nowhere"))
    assert code == 2
    assert "There is no study" in json.loads(out)["error"]


def test_the_app_is_not_served_to_the_world_without_a_sign_in(small_study, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = call(capsys, "app", str(small_study.folder), "--address", "0.0.0.0")
    assert code == 2
    assert "sign-in" in err


def test_ctrl_c_in_the_middle_leaves_an_intact_study(tmp_path) -> None:
    study = tmp_path / "study"
    # A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heed}; from workbench.cli import main; main()", "capture", str(study), "--data", "topics"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    deadline = time.monotonic() + 120
    while not list(study.glob("activations/*.partial/*.bin")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped" in err
    assert "Traceback" not in err
    # Whole chunks stay for the next time; a set is there only when it is whole.
    assert {path.suffix for path in study.glob("activations/*")} <= {".partial"}
    # The same command, cut to a few examples, goes on in the same study.
    done = subprocess.run([*command, "--limit", "20", "--sites", "resid_post.0"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_printed_cells_cannot_steer_the_terminal() -> None:
    from workbench.cli.console import visible

    shown = visible("\x1b[31mred\x00\u202e" + "x" * 1_000_000)
    assert "\x1b" not in shown
    assert "\x00" not in shown
    assert "\u202e" not in shown
    assert len(shown) <= 60


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["compare", "--bogus\x1b[2J"], "has no option --bogus·[2J"), (["\x1b[2J"], "No such command"),
        (["app", ".", "--port", "99999999"], "less than or equal to 65535"),
        (["app", ".", "--port", "0"], "greater than or equal to 1"),
        (["concepts", "none", "--limit", "-3"], "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_what_was_typed_is_bounded_and_steers_no_terminal(capsys, typed, said) -> None:
    code, out, err = call(capsys, *typed)
    assert (code, out, said in err, "\x1b[2J" in err) == (2, "", True, False), err


def test_a_plan_for_no_concepts_and_a_trial_of_a_run_without_any_are_sentences(capsys, small_study) -> None:
    folder = str(small_study.folder)
    assert "from 1 on" in call(capsys, "plan", folder, "--concepts", "0")[2]
    run = next(iter(small_study.runs("done").query("analysis == 'examine'")["id"]))
    code, _, err = call(capsys, "examine", folder, run)
    assert (code, "Traceback" in err) == (2, False), err
