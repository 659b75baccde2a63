"""Options that name what is not there are refused before anything is recorded."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.cli import main
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(
    ("analysis", "options", "says"),
    [
        ("linear_probe", {"labels": "knd"}, "no label 'knd'. Did you mean 'kind'"),
        ("linear_probe", {"labels": ["kind", "token:omga"]}, "no label 'token:omga'"),
        ("concept_activation", {"labels": "kind=up"}, "no label 'kind=up'"),
        ("concept_activation", {"classes": "knd"}, "'knd' is no label column"),
        ("mutual_information", {"labels": "knd"}, "no label 'knd'"),
        ("sparse_autoencoder", {"d_sae": 8, "k": 9}, "k=9"),
        ("sparse_autoencoder", {"d_sae": 8, "k": 2, "batch_size": 10**6}, "fewer than a batch"),
        ("pretrained_dictionary", {"folder": "no-such-folder"}, "no-such-folder"),
        ("pretrained_dictionary", {}, "reads rows of 256 numbers"),
    ],
)
def test_what_is_not_there_leaves_no_run(planted, analysis, options, says):
    study, acts, _, _ = planted(examples=60)
    with pytest.raises(WorkbenchError, match=says):
        study.run(analysis, acts, **options)
    assert study.runs().empty
    assert not list((study.folder / "runs").glob("*"))


def test_a_typing_error_of_a_command_leaves_no_run(planted, capsys):
    study, *_ = planted(examples=60)
    for wrong in (["--labels", "knd"], ["--sites", "resid_post.77"], ["--acts", "nothing"], ["--set", "labels=knd"]):
        with pytest.raises(SystemExit):
            main(["run", str(study.folder), "linear_probe", *wrong])
        assert "Error: " in capsys.readouterr().err
    assert study.runs().empty


def test_an_examination_of_nothing_leaves_no_run(planted):
    study, acts, data, _ = planted(examples=120)
    run = study.run("linear_probe", acts, controls=False)
    kept = data.table["split"].replace({"validation": "train"})
    with pytest.raises(WorkbenchError, match="in the validation split"):
        study.examine(run, data.relabel(pd.DataFrame({"text": data.table["text"], "fold": kept}), split="fold"))
    assert len(study.runs()) == 1
    # What was given as a finished run is returned, whatever became of the labels since.
    assert study.run("linear_probe", acts, controls=False).id == run.id
