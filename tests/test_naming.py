"""Names from a vocabulary, and the search for them."""

import pytest

from workbench.errors import ConfigError
from workbench.naming import word_at


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
