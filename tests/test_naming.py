"""Names from a vocabulary, and the search for them."""

from itertools import pairwise

import pytest

from workbench.errors import ConfigError
from workbench.evidence.named import try_names
from workbench.naming import score_vocabulary, word_at
from workbench.progress import silent


@pytest.mark.parametrize(
    ("text", "start", "end", "word"),
    [
        ("The bank's rates", 4, 8, "bank's"),
        ("unbelievable", 2, 7, "unbelievable"),
        ("well-known facts", 5, 10, "well-known"),
        ("Wait … what", 5, 6, "…"),
        ("naïve café", 6, 10, "café"),
        ("", 0, 0, " "),
    ],
)
def test_a_token_stands_for_its_whole_word(text: str, start: int, end: int, word: str) -> None:
    assert word_at(text, start, end) == word


def test_every_live_latent_has_a_name_from_the_vocabulary(small_study) -> None:
    import workbench as wb

    words = set(wb.load_vocabulary("common-words"))
    names = small_study.catalog.names()
    latents = names[names["concept"].str.startswith("sparse_autoencoder") & names["source"].eq("method")]
    alive = small_study.get_run("sparse_autoencoder").tables["summary"].query("density > 0")
    assert latents["concept"].nunique() == len(alive)
    assert set(latents["text"]) <= words


def test_names_do_better_than_names_of_other_concepts(small_study) -> None:
    evidence = small_study.evidence(["named.auroc"])
    mine = evidence[evidence["concept"].str.startswith("sparse_autoencoder") & evidence["status"].eq("ok")]
    assert len(mine) > 30
    assert (mine["value"] - mine["null"]).mean() > 0.05


def test_a_search_by_meaning_puts_the_very_word_first(small_study) -> None:
    found = small_study.concepts("about past verb")
    assert found.best().name == "past verb"
    assert found.relevance == sorted(found.relevance, reverse=True)


def test_a_search_by_input_finds_what_is_present_in_it(small_study) -> None:
    found = small_study.concepts(
        fires_on="She should have gone, he could not, they would never.", method="probe", site="resid_post.3"
    )
    assert "modal" in [c.name for c in list(found)[:5]]


def test_an_empty_vocabulary_is_refused(small_study) -> None:
    with pytest.raises(ConfigError, match="no words"):
        small_study.get_run("sparse_autoencoder").concepts.name(vocabulary=[])


def test_the_first_suggestion_is_the_name_that_naming_gave(small_study) -> None:
    run = small_study.get_run("sparse_autoencoder")
    scored = score_vocabulary(run, progress=silent)
    names = small_study.catalog.names()
    given = names[names["author"].eq("vocabulary common-words")].set_index("concept")["text"]
    assert {f"{run.id}.{n}": scored.best(n, 1)[0][0] for n in scored.numbers} == given[
        given.index.str.startswith(run.id)
    ].to_dict()
    assert scored.best(scored.numbers[0], 5) == sorted(scored.best(scored.numbers[0], 5), key=lambda pair: -pair[1])
    assert scored.best(10**9) == []


def test_a_suggested_name_says_more_than_that_of_another_concept(small_study) -> None:
    run = small_study.get_run("sparse_autoencoder")
    scored = score_vocabulary(run, progress=silent)
    density = run.tables["summary"].set_index("number")["density"]
    numbers = sorted(scored.numbers, key=lambda n: -density[n])[:12]
    differences = []
    for number, other in pairwise(numbers):
        mine, theirs = scored.best(number, 1)[0][0], scored.best(other, 1)[0][0]
        table = try_names(run.concepts[number], [mine, theirs])
        assert table["text"].tolist() == [mine, theirs]
        if mine != theirs and table["status"].eq("ok").all():
            assert table["low"].lt(table["value"]).all()
            assert table["null"].lt(table["null_high"]).all()
            differences.append(table["value"].iloc[0] - table["value"].iloc[1])
    assert len(differences) >= 6
    assert sum(differences) / len(differences) > 0.03


def test_names_are_tried_on_examples_that_did_not_suggest_them(small_study) -> None:
    from workbench.evidence.held_out import held_out

    run = small_study.get_run("sparse_autoencoder")
    acts = small_study.activation_set(run.record["inputs"]["activations"])
    dataset = small_study.dataset_of(acts)
    every = held_out(acts, dataset, "validation", 10**6, 0)
    without = set(every.examples[::2].tolist())
    rest = held_out(acts, dataset, "validation", 10**6, 0, without)
    assert set(rest.examples.tolist()) == set(every.examples.tolist()) - without
    assert set(dataset.table["split"].to_numpy()[rest.examples]) == {"validation"}
