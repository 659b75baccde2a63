"""How far work is: steps are told apart by their names, and the time left is estimated by work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from analyses.dictionaries._shared.step_costs import StepCosts
from workbench.cli import console
from workbench.errors import ConfigError
from workbench.evidence.doses import Search, find_doses
from workbench.evidence.passes import passes_and_readings
from workbench.memory import VARIABLE, memory_budget, parse_size, rows_at_once
from workbench.models.work import reading_work
from workbench.progress import TimeLeft, part_of, shares, step_name, text_work, time_text, with_time_left
from workbench.readout import Readout, output_gradients, pooled_outputs


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_number_in_the_name_of_a_step_does_not_end_it():
    assert step_name("training 2,048 latents, loss 0.213, 5 dead") == "training 2,048 latents"
    assert step_name("splicing") == "splicing"


def test_time_left_is_of_the_step_and_begins_anew_with_each():
    clock = Clock()
    left = TimeLeft(clock)
    assert left.update(0, 100, "reading, slowly")
    assert left.seconds is None
    clock.now = 5
    assert not left.update(25, 100, "reading, quickly")
    assert left.seconds == pytest.approx(15)
    # What was done before the step was seen took no time of it.
    assert left.update(40, 200, "reading")
    clock.now = 9
    left.update(80, 200, "reading")
    assert left.seconds == pytest.approx(12)
    assert left.update(10, 200, "reading")
    assert left.seconds is None
    assert left.update(0, 4, "writing")
    clock.now = 10
    left.update(4, 4, "writing")
    assert left.seconds == 0


def test_a_slow_beginning_is_forgotten():
    clock = Clock()
    left = TimeLeft(clock)
    left.update(0, 100, "reading")
    for done, now in ((10, 100), (20, 101), (30, 102), (40, 103)):
        clock.now = now
        left.update(done, 100, "reading")
    assert left.seconds == pytest.approx(6)


@pytest.mark.parametrize("ratio", [1.3, 1.6, 2.1])
@pytest.mark.parametrize(("window", "first_dead"), [(20, 21), (20, 28), (20, 10**6)])
def test_the_time_left_of_a_training_counts_that_dead_latents_cost_more(ratio, window, first_dead):
    """Plain steps of a second until the first latent is dead, and steps with the auxiliary loss from then on."""
    clock, steps = Clock(), 200
    left, told, costs = TimeLeft(clock), [], StepCosts(steps, window)
    for step in range(steps):
        revives = step >= first_dead
        clock.now += ratio if revives else 1.0
        # A latent that will be dead has been silent for as long as there was time.
        costs.add(ratio if revives else 1.0, revives=revives, revives_soon=step >= first_dead - window / 2)
        done, whole = costs.progress()
        left.update(done, whole, "training")
        told.append((clock.now, done / whole, left.seconds))
    assert done == whole
    assert [share for _, share, _ in told] == sorted(share for _, share, _ in told)
    after = [(now, share, seconds) for now, share, seconds in told if now >= clock.now / 10]
    assert off(after, clock.now) < 1.5


def test_a_training_with_latents_that_die_tells_its_time_left(planted, monkeypatch):
    """Real steps on a clock that counts their products: with the auxiliary loss a step has half as many again."""
    from sae_lens.saes.topk_sae import TopKTrainingSAE

    study, acts, _, _ = planted(examples=400)
    clock, told = Clock(), []
    left, loss = TimeLeft(clock), TopKTrainingSAE.calculate_aux_loss

    def counted(self, step_input, *args, **options):
        clock.now += 1.5 if bool(step_input.dead_neuron_mask.any()) else 1.0
        return loss(self, step_input, *args, **options)

    def show(done: int, total: int, text: str) -> None:
        if text.startswith("training"):
            left.update(done, total, text)
            told.append((clock.now, done / total, left.seconds))

    monkeypatch.setattr(TopKTrainingSAE, "calculate_aux_loss", counted)
    monkeypatch.setattr("analyses.dictionaries._shared.training.time.perf_counter", clock)
    study.run("sparse_autoencoder", acts, d_sae=512, k=1, samples=16_000, batch_size=128, progress=show)
    assert 125 < clock.now < 187.5
    assert off([(now, max(share, 0.1), s) for now, share, s in told if now >= clock.now / 10 and share < 0.9], clock.now) < 1.5


def test_embedding_is_counted_by_the_length_of_texts(planted, monkeypatch):
    """Short texts come first: by their number, half of the time is left when hardly any is gone."""
    study, *_ = planted(examples=60)
    embedder, clock, told = study.embedder(), Clock(), []
    left = TimeLeft(clock)

    def embedded(_model, texts: list[str]) -> np.ndarray:
        clock.now += sum(map(len, texts))
        return np.zeros((len(texts), 4), np.float32)

    def show(done: int, total: int, text: str) -> None:
        left.update(done, total, text)
        told.append((clock.now, done / total, left.seconds))

    monkeypatch.setattr("workbench.embedding._embedded", embedded)
    embedder.embed([f"{i} " + "word " * (5 if i < 4000 else 200) for i in range(6000)], show)
    assert off(told, clock.now) < 1.5


@pytest.mark.parametrize("text", ["war and peace " * 3, "海の戦争と平和の国の人々", "a b"])
def test_work_is_counted_by_the_tokens_of_the_tokenizer(scribe, text):
    """A text is read as far as the model reads it, however many characters its tokens have."""
    short, long = " ".join([text] * 3), " ".join([text] * 400)
    work = reading_work(scribe, [short, long])
    tokens = [int(n) for n in scribe.batch([short, long]).keep.sum(1)]
    assert tokens[1] == pytest.approx(scribe.max_length, abs=2)
    assert 0.5 < (work[1] / work[0]) / (tokens[1] / tokens[0]) < 2


def test_parts_of_a_step_are_counted_on():
    seen = []
    part_of(lambda *told: seen.append(told), 30, 100)(5, 10, "part")
    assert seen == [(35, 100, "part")]
    part_of(None, 0, 1)(1, 1, "nobody looks")


def test_times_are_told_in_words():
    assert [time_text(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 05 min"]
    assert with_time_left("reading", None) == with_time_left("reading", 0.0) == "reading"
    assert with_time_left("reading", 61) == "reading, 1 min 01 s left"


def test_a_log_names_every_step_whole_and_the_time_left_after_a_tenth(capsys, monkeypatch):
    clock = Clock()
    console.STATE.reset()
    monkeypatch.setattr(console.time, "monotonic", clock)
    monkeypatch.setattr("workbench.cli.console.TimeLeft", lambda: TimeLeft(clock))
    with console.progress() as show:
        for done in range(0, 101, 5):
            clock.now = done
            show(done, 100, f"training 2,048 latents, loss {done}")
        show(0, 1, "splicing")
    lines = [line.split("s  ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "training 2,048 latents, loss 0",
        "training 2,048 latents, loss 10, 10% done, 1 min 30 s left",
        "training 2,048 latents, loss 70, 70% done, 30 s left",
        "splicing",
    ]


@pytest.fixture(scope="module")
def scribe():
    return wb.load_model("scribe")


@pytest.fixture(scope="module")
def uneven():
    """Many short texts and a few long ones: by their number, half the time is left when hardly any is gone."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.integers(2, 6, 300), rng.integers(60, 120, 60)])
    words = np.array(["the", "people", "of", "a", "country", "and", "its", "war", "with", "many", "ships", "at", "sea"])
    return [" ".join(rng.choice(words, n)) for n in rng.permutation(lengths)]


class Read:
    """A model's batches, counted by their tokens: a clock that does not depend on the machine."""

    def __init__(self, model, monkeypatch) -> None:
        self.tokens, batch = 0, model.batch

        def counted(*args, **options):
            made = batch(*args, **options)
            self.tokens += made.attention.numel()
            return made

        monkeypatch.setattr(model, "batch", counted)

    def __call__(self) -> float:
        return float(self.tokens)


def off(told: list[tuple[float, float, float]], end: float) -> float:
    """By what factor the time left was wrong at worst, after the first tenth and until a tenth is left."""
    wrong = [max(left / (end - now), (end - now) / left) for now, share, left in told if left and 0.1 <= share <= 0.9]
    assert len(wrong) >= 3
    return max(wrong)


@pytest.mark.parametrize("what", ["output", "gradients"])
def test_the_time_left_is_right_within_a_half_after_the_first_tenth(scribe, uneven, monkeypatch, what):
    table = wb.dataset_from_table(
        pd.DataFrame({"text": uneven, "kind": ["a" if i % 2 else "b" for i in range(len(uneven))], "split": "test"}),
        text="text", labels=["kind"], split="split", name="uneven",
    )  # fmt: skip
    clock = Read(scribe, monkeypatch)
    left, told = TimeLeft(clock), []

    def show(done: int, total: int, text: str) -> None:
        left.update(done, total, text)
        told.append((clock(), done / total, left.seconds))

    if what == "output":
        pooled_outputs(scribe, table, np.arange(len(uneven)), show)
    else:
        readout = Readout(["kind=a"], torch.zeros(1, 256), torch.zeros(1), np.ones(1), np.ones(1))
        output_gradients(scribe, table, readout, [scribe.site("embed")], ["kind=a"], per_label=400, progress=show)
    assert off(told, clock()) < 1.5


def test_a_capture_tells_its_work_and_ends_with_all_of_it(scribe, uneven, tmp_path):
    from workbench.activations import capture

    table = wb.dataset_from_table(pd.DataFrame({"text": uneven}), name="uneven")
    told = []
    capture(scribe, table, sites="embed", folder=tmp_path, pool="mean", batch_size=8, progress=lambda *step: told.append(step))
    left, seen = TimeLeft(lambda: float(seen_tokens)), []
    for _, _, facts in told:
        seen_tokens = facts["tokens"]
        left.update(facts["work"], facts["whole_work"], "capture")
        seen.append((float(seen_tokens), facts["work"] / facts["whole_work"], left.seconds))
    assert told[-1][:2] == (360, 360)
    assert told[-1][2]["work"] == told[-1][2]["whole_work"]
    assert off(seen, float(told[-1][2]["tokens"])) < 1.5


def test_work_is_counted_as_far_as_a_text_is_read():
    short, long, image = text_work(["ab", "a" * 10_000, np.zeros(3)], max_length=100)
    assert short < long == 412
    assert image == 12


def test_the_budget_is_what_was_set_and_else_a_part_of_what_is_free(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert 0 < memory_budget() < 2**50
    monkeypatch.setenv(VARIABLE, "1.5GB")
    assert memory_budget() == parse_size("1.5GB") == 1_500_000_000
    assert rows_at_once(262_144, 6) == 128
    monkeypatch.setenv(VARIABLE, "40MB")
    assert rows_at_once(262_144, 6) == 6
    monkeypatch.setenv(VARIABLE, "1")
    assert rows_at_once(262_144, 6) == 1
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ConfigError, match="no size"):
        memory_budget()


def test_parts_with_units_of_their_own_are_one_step():
    seen = []
    first, second = shares(lambda *told: seen.append(told), [1, 3], "Linear probes")
    first(1, 2, "embed")
    second(0, 5, "final")
    second(5, 5, "final")
    assert [round(done / total, 3) for done, total, _ in seen] == [0.125, 0.25, 1.0]
    assert {step_name(text) for *_, text in seen} == {"Linear probes"}


@pytest.mark.parametrize(
    "cost_of", [lambda dose: dose**2, lambda dose: 0.3 * dose, lambda dose: 40 * dose, lambda dose: 1e-4 * dose]
)
def test_a_search_for_doses_tells_its_tries(cost_of):
    clock, told = Clock(), []
    left = TimeLeft(clock)

    def show(done: int, total: int, text: str) -> None:
        left.update(done, total, text)
        told.append((clock.now, done / total, left.seconds))

    search = Search(show, "looking for doses")

    def cost(dose: float) -> float:
        for part in range(1, 11):
            clock.now += 1
            search.part(part, 10, "")
        return cost_of(dose)

    find_doses(cost, 1.0, "loss", search)
    whole = [now + left for now, _, left in told if left is not None and now >= clock.now / 10]
    assert clock.now / 1.5 < min(whole) <= max(whole) < 1.5 * clock.now


def test_steering_is_counted_by_passes_and_by_the_logits_that_are_read_later():
    """Passes come 24 at a time, and then their logits, which take four times as long."""
    clock, told = Clock(), []
    left = TimeLeft(clock)

    def show(done: int, total: int, text: str) -> None:
        left.update(done, total, text)
        told.append((clock.now, done / total, left.seconds))

    passing, reading = passes_and_readings(show, "steering", 96, 0.8)
    for first in range(0, 96, 24):
        for number in range(24):
            passing(first + number, 96, "")
            clock.now += 1
        for number in range(1, 25):
            clock.now += 4
            reading(first, first + 24, number / 24)
    assert told[-1][1] == 1.0
    assert off([one for one in told if one[0] >= clock.now / 10], clock.now) < 1.5


def test_an_analysis_over_sites_is_one_step_that_moves_within_a_site(planted):
    study, acts, _, _ = planted()
    told = []
    study.run("linear_probe", acts, progress=lambda *step: told.append(step))
    mine = [(done, total) for done, total, text in told if step_name(text) == "Linear probes"]
    assert len({done for done, _ in mine}) > 20
    assert [done for done, _ in mine] == sorted(done for done, _ in mine)
    assert mine[-1][0] == mine[-1][1]


def test_detection_is_one_step_of_each_set(planted):
    study, acts, dataset, _ = planted()
    run, told = study.run("linear_probe", acts), []
    study.examine(run, dataset, families=("detects",), replicate=False, progress=lambda *step: told.append(step))
    mine = [done / total for done, total, text in told if step_name(text).startswith("detection at ")]
    begins = [number for number, done in enumerate(mine) if done == 0]
    assert len(begins) == len(run.sets)
    for begin, end in zip(begins, [*begins[1:], len(mine)], strict=True):
        part = mine[begin:end]
        assert part == sorted(part)
        assert part[-1] == 1
        assert len(set(part)) >= 4
