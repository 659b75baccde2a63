"""What comes in from elsewhere is what was there, what leaves comes back the same, and bad input is one sentence."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from workbench.activations import capture
from workbench.cli import main
from workbench.errors import ConfigError, DataError, StudyError, UnknownNameError
from workbench.store.exchange import write_frame

EXAMPLES, WIDTH = 160, 12


def planted_rows(seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Noise and a direction on every 'omega', and one in examples of kind left; rows in no order."""
    rng = np.random.default_rng(seed)
    rows = [
        {"example": example, "position": position, "token": str(rng.choice(["alpha", "beta", "omega"]))}
        for example in range(EXAMPLES)
        for position in range(rng.integers(3, 9))
    ]
    kind = rng.choice(["left", "right"], EXAMPLES)
    table = pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)
    table["kind"] = kind[table["example"]]
    values = rng.normal(size=(len(table), WIDTH)).astype(np.float32)
    values[:, 0] += 6 * table["kind"].eq("left").to_numpy()
    return values, table


@pytest.fixture
def given(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    values, table = planted_rows()
    np.save(folder / "resid_post.1.npy", values)
    save_file({"anything": torch.from_numpy(values * 2).to(torch.bfloat16)}, folder / "mlp_out.1.safetensors")
    table.to_csv(folder / "rows.csv", index=False)
    return folder, values, table


def test_arrays_and_a_table_become_a_set_that_analyses_read(given, tmp_path) -> None:
    folder, values, table = given
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(folder)
        order = table.sort_values(["example", "position"]).index.to_numpy()
        assert list(map(str, acts.sites)) == ["mlp_out.1", "resid_post.1"]
        assert np.array_equal(acts.read(site="resid_post.1"), values[order])
        assert np.array_equal(acts.read(site="mlp_out.1"), torch.from_numpy(values * 2).bfloat16().float().numpy()[order])
        for column in ("example", "position", "token"):
            assert acts.index[column].tolist() == table.loc[order, column].tolist()
        texts = study.dataset_of(acts).inputs()
        assert all(texts[row.example][row.start : row.end] == row.token for row in acts.index.itertuples())
        probe = study.run("linear_probe", acts.at("resid_post.1"), labels="kind")
        evidence = study.examine(probe, families=("detects",))
        assert evidence.query("metric == 'detects.auroc'")["value"].max() > 0.95
        assert study.verify().empty
        assert study.import_activations(folder).id == acts.id
        packed = study.pack(tmp_path / "packed.zip")
    with wb.unpack(packed, tmp_path / "unpacked") as study, pytest.raises(StudyError, match="import them again"):
        study.recapture()
    # The study is whole without the folder that it came from, and without any object of this process.
    with wb.open_study(tmp_path / "study") as study:
        again = study.activation_set()
        assert study.dataset_of(again).inputs() == texts
        assert study.run("linear_probe", again.at("resid_post.1"), labels="kind").id == probe.id


def test_what_was_exported_comes_back_bit_for_bit(minilm, tmp_path) -> None:
    texts = wb.load_dataset("film", limit=30)
    for dtype in ("float16", "bfloat16", "float32"):
        with wb.open_study(tmp_path / dtype) as study:
            acts = study.capture(minilm, texts, ["embed", "resid_post.1"], store_dtype=dtype)
            files = acts.export(tmp_path / f"{dtype}-out")
            assert [path.name for path in files] == ["embed.safetensors", "resid_post.1.safetensors", "rows.parquet"]
            found = load_file(tmp_path / f"{dtype}-out" / "embed.safetensors")["activations"]
            assert found.dtype == getattr(torch, dtype)
            assert torch.equal(found, acts.tensor(site="embed"))
            with pytest.raises(ConfigError, match="there already"):
                acts.export(tmp_path / f"{dtype}-out")
        with wb.open_study(tmp_path / f"{dtype}-again") as study:
            again = study.import_activations(tmp_path / f"{dtype}-out", dataset=texts, model=minilm)
            assert again.manifest.request.dtype == dtype
            assert again.index.equals(acts.index)
            for site in ("embed", "resid_post.1"):
                assert torch.equal(again.tensor(site=site), acts.tensor(site=site))
            with pytest.raises(ConfigError, match="there already"):
                acts.export(tmp_path / f"{dtype}-out")


def test_a_site_whose_name_is_no_file_name_is_exported(tmp_path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 3, 1))
    model = wb.load_model(net, preprocess=lambda a: a[None].astype(np.float32), example=np.zeros((4, 6), np.uint8), name="small")
    images = pd.DataFrame({"image": list(np.random.default_rng(0).integers(0, 255, (5, 4, 6)).astype(np.uint8))})
    acts = capture(model, wb.dataset_from_table(images, image="image"), sites="layer:0", folder=tmp_path / "acts")
    assert "layer%3A0.safetensors" in {path.name for path in acts.export(tmp_path / "out")}
    with wb.open_study(tmp_path / "study") as study:
        again = study.import_activations(tmp_path / "out")
        assert np.array_equal(again.read(site="layer:0"), acts.read(site="layer:0"))


def test_a_hugging_face_data_set_is_read(tmp_path) -> None:
    package = pytest.importorskip("datasets")
    values, table = planted_rows()
    columns = {name: table[name].tolist() for name in table}
    package.Dataset.from_dict(columns | {"resid_post.1": values.tolist()}).save_to_disk(str(tmp_path / "hub"))
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(tmp_path / "hub", store_dtype="float32", model="theirs")
        order = table.sort_values(["example", "position"]).index.to_numpy()
        assert np.array_equal(acts.read(), values[order])
        assert study.model_record()["name"] == "theirs"
        assert [label.name for label in study.dataset_of(acts).labels] == ["kind"]
        with pytest.raises(StudyError, match="is about the model 'theirs'"):
            study.import_activations(tmp_path / "hub", model="ours")


def test_no_split_of_a_hugging_face_data_set_is_lost(tmp_path) -> None:
    package = pytest.importorskip("datasets")
    values, table = planted_rows()
    halves = {"train": table["example"].lt(2).to_numpy(), "test": table["example"].ge(2).to_numpy()}
    parts = {
        name: package.Dataset.from_dict(
            {column: table.loc[half, column].tolist() for column in table} | {"resid_post.1": values[half].tolist()}
        )
        for name, half in halves.items()
    }
    # One of them says its split itself.
    parts["test"] = parts["test"].add_column("split", ["validation"] * len(parts["test"]))
    package.DatasetDict(parts).save_to_disk(str(tmp_path / "hub"))
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(tmp_path / "hub", store_dtype="float32")
        assert acts.n_rows == len(table)
        splits = study.dataset_of(acts).table["split"].tolist()
        assert splits[:2] == ["train", "train"]
        assert set(splits[2:]) == {"validation"}


def test_rows_without_positions_are_pooled(tmp_path) -> None:
    np.save(tmp_path / "final.npy", np.eye(4, dtype=np.float16))
    pd.DataFrame({"example": [3, 1, 0, 2]}).to_parquet(tmp_path / "rows.parquet")
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(tmp_path, pool="last")
        assert acts.pool == "last"
        assert np.array_equal(acts.read(), np.eye(4)[[2, 1, 3, 0]])
        assert study.dataset_of(acts).inputs() == [f"example {n}" for n in range(4)]


BAD = {
    "There is no folder": lambda folder, table: [path.unlink() for path in folder.iterdir()] and folder.rmdir(),
    "no table of rows": lambda folder, table: (folder / "rows.csv").unlink(),
    "has no activations": lambda folder, table: [path.unlink() for path in folder.iterdir() if path.name != "rows.csv"],
    "they must be the same": lambda folder, table: table.head(5).to_csv(folder / "rows.csv", index=False),
    "no column 'example'": lambda folder, table: table.drop(columns="example").to_csv(folder / "rows.csv", index=False),
    "say where each stands": lambda folder, table: table.drop(columns="position").to_csv(folder / "rows.csv", index=False),
    "must hold whole numbers": lambda folder, table: table.assign(example="x").to_csv(folder / "rows.csv", index=False),
    "two rows for one position": lambda folder, table: table.assign(position=0).to_csv(folder / "rows.csv", index=False),
    "numbered from 0 without a gap": lambda folder, table: table.assign(example=table["example"] + 1).to_csv(
        folder / "rows.csv", index=False
    ),
    "differs within example": lambda folder, table: table.assign(kind=range(len(table))).to_csv(folder / "rows.csv", index=False),
    "is not called as a site": lambda folder, table: (folder / "resid_post.1.npy").rename(folder / "numbers.npy"),
    "must be \\[rows, width\\]": lambda folder, table: np.save(
        folder / "resid_post.1.npy", np.zeros((len(table), 2, 2), np.float32)
    ),
    "not floating point": lambda folder, table: np.save(folder / "resid_post.1.npy", np.zeros((len(table), 2), int)),
    "not finite": lambda folder, table: np.save(folder / "resid_post.1.npy", np.full((len(table), 2), np.nan, np.float32)),
    "cannot be read as an array": lambda folder, table: (folder / "resid_post.1.npy").write_bytes(b"rubbish"),
    "holds 2 tensors": lambda folder, table: save_file(
        {"a": torch.zeros(len(table), 2), "b": torch.zeros(len(table), 2)}, folder / "mlp_out.1.safetensors"
    ),
    "two files for one site": lambda folder, table: np.save(folder / "mlp_out.1.npy", np.zeros((len(table), 2), np.float32)),
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_cannot_be_imported_is_one_sentence_and_leaves_nothing(given, tmp_path, sentence) -> None:
    folder, _, table = given
    BAD[sentence](folder, table)
    with wb.open_study(tmp_path / "study") as study:
        with pytest.raises(DataError, match=sentence) as error:
            study.import_activations(folder)
        assert "\n" not in str(error.value)
        assert study.activations() == []


def test_an_array_of_objects_is_never_unpickled(given, tmp_path) -> None:
    folder, _, table = given
    np.save(folder / "resid_post.1.npy", np.array([[object()] * 2] * len(table), object), allow_pickle=True)
    with wb.open_study(tmp_path / "study") as study, pytest.raises(DataError, match="cannot be read as an array"):
        study.import_activations(folder)


def test_tables_are_written_as_csv_and_parquet(planted, tmp_path) -> None:
    study, acts, _, _ = planted()
    run = study.run("linear_probe", acts)
    run.concepts[0].note("a note")
    for name in ("concepts", "names", "evidence", "notes", "collections", "runs", f"{run.id}.metrics"):
        one = pd.read_parquet(study.export_table(name, tmp_path / f"{name}.parquet"))
        try:
            two = pd.read_csv(study.export_table(name, tmp_path / f"{name}.csv"))
        except pd.errors.EmptyDataError:
            two = one.head(0)
        assert len(one) == len(two)
    assert pd.read_parquet(tmp_path / f"{run.id}.metrics.parquet").equals(run.tables["metrics"])
    assert "host" not in (tmp_path / "runs.csv").read_text()
    with pytest.raises(UnknownNameError, match="Did you mean"):
        study.export_table(f"{run.id}.metric", tmp_path / "x.csv")
    with pytest.raises(ConfigError, match=r"as \.csv or \.parquet"):
        study.export_table("names", tmp_path / "names.xlsx")


def test_in_and_out_by_commands(given, tmp_path, capsys) -> None:
    folder, _, _ = given
    study = str(tmp_path / "study")

    def call(*arguments: str) -> dict:
        with pytest.raises(SystemExit) as end:
            main(["--json", *arguments])
        assert not end.value.code, capsys.readouterr().out
        return json.loads(capsys.readouterr().out)

    made = call("import", study, str(folder), "--model", "theirs", "--store-dtype", "float32")
    assert made["sites"] == ["mlp_out.1", "resid_post.1"]
    assert len(call("export-activations", study, str(tmp_path / "out"), "--sites", "mlp_out.1")["files"]) == 2
    run = call("run", study, "linear_probe", "--sites", "resid_post.1", "--set", "labels=kind")["run"]
    assert call("export-table", study, f"{run}.metrics", str(tmp_path / "metrics.csv"))
    assert len(pd.read_csv(tmp_path / "metrics.csv"))
    with pytest.raises(SystemExit) as end:
        main(["import", study, str(tmp_path / "nowhere")])
    assert end.value.code == 2
    assert "There is no folder" in capsys.readouterr().err


HIDDEN = ("", " ", "\u200b", "\ufeff", "\u00a0", "\t", " \t", "\u202e", "\x0b", "\u3000", "\u2060 ")


@pytest.mark.parametrize("before", HIDDEN, ids=ascii)
@pytest.mark.parametrize("sign", "=+-@＝＋－＠﹦﹢﹣﹫⁺", ids=ascii)
def test_no_cell_is_a_formula_whatever_stands_before_its_sign(tmp_path, before, sign) -> None:
    text = f"{before}{sign}cmd|' /C calc'!A0"
    write_frame(pd.DataFrame({text: [text, "plain"]}), tmp_path / "safe.csv")
    for cell in pd.read_csv(tmp_path / "safe.csv", header=None, keep_default_na=False)[0][:2]:
        assert cell == f"'{text}"
    write_frame(pd.DataFrame({"a": [text]}), tmp_path / "raw.csv", raw=True)
    assert pd.read_csv(tmp_path / "raw.csv", keep_default_na=False)["a"][0] == text


def test_what_is_no_formula_stays_as_it_is(tmp_path) -> None:
    texts = ["a=b", "-1.5e3", "+7", "-inf", "", " ", "\u200b", "(=1)", "é-", "x\t=1"]
    write_frame(pd.DataFrame({"a": texts, "n": range(len(texts))}), tmp_path / "a.csv")
    assert pd.read_csv(tmp_path / "a.csv", keep_default_na=False, dtype=str)["a"].to_list() == texts
