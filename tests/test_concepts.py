"""Concept sets: what they read, what they write, and that they come back from disk as they were."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.concepts import ConceptSet, LinearConcepts
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.errors import ConfigError, DataError, StudyError


def dictionary(d: int = 6, c: int = 10, k: int = 3, architecture: str = "topk") -> DictionaryConcepts:
    torch.manual_seed(0)
    tensors = {"W_enc": torch.randn(d, c), "W_dec": torch.randn(c, d), "b_enc": torch.randn(c), "b_dec": torch.randn(d)}
    if architecture == "jumprelu":
        tensors["threshold"] = torch.rand(c)
    return DictionaryConcepts("resid_post.1", tensors, {"architecture": architecture, "k": k, "apply_b_dec_to_input": True})


def test_a_linear_concept_is_its_margin() -> None:
    weights, bias, x = torch.randn(3, 5), torch.randn(3), torch.randn(7, 5)
    concepts = LinearConcepts("final", weights, bias)
    torch.testing.assert_close(concepts.encode(x), x @ weights.T + bias)
    torch.testing.assert_close(concepts.directions().norm(dim=1), torch.ones(3))


@settings(max_examples=25)
@given(k=st.integers(1, 10), seed=st.integers(0, 100))
def test_topk_codes_are_at_most_k_and_never_negative(k: int, seed: int) -> None:
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
    codes = dictionary(k=k).encode(x)
    assert int((codes != 0).sum(-1).max()) <= k
    assert float(codes.min()) >= 0


@pytest.mark.parametrize(
    "make", [dictionary, lambda: dictionary(architecture="jumprelu"), lambda: LinearConcepts("final", torch.randn(4, 6))]
)
def test_a_set_comes_back_from_disk_as_it_was(tmp_path, make) -> None:
    before, x = make(), torch.randn(9, 6)
    before.table["label"] = [f"label {i}" for i in range(len(before))]
    before.save(tmp_path / "set")
    after = ConceptSet.load(tmp_path / "set")
    assert torch.equal(before.encode(x), after.encode(x))
    torch.testing.assert_close(before.directions(), after.directions(), atol=1e-6, rtol=0)
    assert (after.site, after.level) == (before.site, before.level)
    pd.testing.assert_frame_equal(before.table, after.table, check_dtype=False)


def test_part_of_a_dictionary_fires_as_it_does_within_the_whole(tmp_path) -> None:
    whole, x = dictionary(), torch.randn(20, 6)
    part = whole.subset([7, 2])
    assert torch.equal(part.encode(x), whole.encode(x)[:, [7, 2]])
    part.save(tmp_path / "part")
    assert torch.equal(ConceptSet.load(tmp_path / "part").encode(x), part.encode(x))


@pytest.mark.parametrize("architecture", ["topk", "standard", "jumprelu"])
def test_codes_and_reconstruction_equal_sae_lens(tmp_path, architecture: str) -> None:
    from sae_lens import SAE

    ours = dictionary(architecture=architecture)
    ours.config |= {"d_in": 6, "d_sae": 10, "dtype": "float32", "device": "cpu", "metadata": {}, "normalize_activations": "none"}
    ours.save(tmp_path / "sae")
    theirs = SAE.load_from_disk(tmp_path / "sae")
    x = torch.randn(50, 6)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(x), theirs.encode(x), atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.decode(ours.encode(x)), theirs(x), atol=1e-5, rtol=0)


def test_what_cannot_be_read_says_so(tmp_path) -> None:
    with pytest.raises(ConfigError, match="architecture 'gated'"):
        dictionary(architecture="gated")
    with pytest.raises(DataError, match="2 rows for 3 concepts"):
        LinearConcepts("final", torch.randn(3, 4), table=pd.DataFrame({"label": ["a", "b"]}))
    with pytest.raises(StudyError, match="no readable concept set"):
        ConceptSet.load(tmp_path)


def test_directions_of_zero_stay_finite() -> None:
    assert np.isfinite(LinearConcepts("final", torch.zeros(2, 3)).directions().numpy()).all()


@pytest.mark.parametrize("architecture", ["standard", "topk", "abstopk", "jumprelu", "gated"])
def test_some_latents_read_by_themselves_are_those_of_the_whole(architecture: str) -> None:
    generator = torch.Generator().manual_seed(0)
    count, width = 512, 32
    weights = torch.randn(count, width, generator=generator)
    tensors = {"W_enc": weights.T.contiguous(), "W_dec": weights, "b_dec": torch.randn(width, generator=generator)}
    more = {"jumprelu": ("b_enc", "threshold"), "gated": ("b_gate", "b_mag", "r_mag")}.get(architecture, ("b_enc",))
    tensors |= {name: 0.1 * torch.rand(count, generator=generator) for name in more}
    whole = DictionaryConcepts("resid_post.0", tensors, {"architecture": architecture, "k": 16})
    rows = torch.randn(3000, width, generator=generator)
    found, truth = whole.subset([3, 77, 300]).encode(rows), whole.encode(rows)[:, [3, 77, 300]]
    assert (truth > 0).sum() > 50
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-5)
    assert ((found != 0) == (truth != 0)).all()
