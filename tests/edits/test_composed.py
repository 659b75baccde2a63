"""Edits that need more than a direction: positions, latents, other inputs, erasure; and several side by side."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.concepts.dictionary import DictionaryConcepts
from workbench.edits import (
    Edit,
    Edits,
    clamp,
    erase,
    fit_eraser,
    patch,
    project_out,
    resample,
    scale_latent,
    set_latent,
    side_by_side,
    steer,
    zero,
)
from workbench.errors import ConfigError, DataError

D, SITE = 6, "resid_post.0"
few = settings(max_examples=60)
seeds = st.integers(0, 10**6)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dictionary(architecture: str, seed: int = 0) -> DictionaryConcepts:
    tensors = {"W_enc": draw(seed, D, 9), "W_dec": draw(seed + 1, 9, D), "b_enc": draw(seed + 2, 9), "b_dec": draw(seed + 3, D)}
    if architecture == "jumprelu":
        tensors["threshold"] = draw(seed + 4, 9).abs()
    return DictionaryConcepts(
        SITE, tensors, {"architecture": architecture, "k": 3, "rescale_acts_by_decoder_norm": seed % 2 == 0}
    )


@few
@given(seeds, st.integers(0, 5), st.integers(0, 5))
def test_an_edit_at_positions_changes_those_and_no_other(seed, start, length):
    h, edit = draw(seed, 2, 5, D), steer(SITE, draw(seed + 1, D), 2.0)
    inside = edit.at(slice(start, start + length))(h)
    expected = h.clone()
    expected[:, start : start + length] = edit(h)[:, start : start + length]
    assert torch.equal(inside, expected)
    # A cached pass shows the rows a few at a time: each position must be treated as in the whole.
    pieces = [edit.at(slice(start, start + length))(h[:, p : p + 1], p) for p in range(5)]
    assert torch.equal(torch.cat(pieces, 1), expected)


@few
@given(seeds, st.permutations(range(3)))
def test_edits_commute_at_different_positions_and_additions_always_do(seed, order):
    h = draw(seed, 2, 4, D)
    apart = [
        steer(SITE, draw(seed + 1, D)).at(0),
        project_out(SITE, draw(seed + 2, 2, D)).at([1, 3]),
        zero(SITE).at(slice(2, 3)),
    ]
    sums = [steer(SITE, draw(seed + n, D), n + 1.0) for n in range(3)]
    for edits in (apart, sums):
        one, other = h, h
        for edit in edits:
            one = edit(one)
        for number in order:
            other = edits[number](other)
        torch.testing.assert_close(one, other)


def test_positions_are_written_down_and_bad_ones_refused():
    for positions in (None, [3, 1], slice(2, None), slice(None, 4), 0):
        edit = steer(SITE, draw(0, D)).at(positions)
        again = Edit.from_dict(edit.to_dict())
        assert again.positions == edit.positions
        assert torch.equal(again(draw(1, 1, 6, D)), edit(draw(1, 1, 6, D)))
    for bad in (-1, slice(-3, None), slice(0, 4, 2), ["a"], 1.5, "everything"):
        with pytest.raises(ConfigError, match=r"[Pp]ositions"):
            steer(SITE, draw(0, D)).at(bad)


@few
@given(seeds, st.sampled_from(["standard", "topk", "jumprelu"]), st.integers(0, 8), st.floats(0, 5))
def test_a_latent_is_set_by_the_difference_of_two_reconstructions(seed, architecture, latent, value):
    sae, h = dictionary(architecture, seed), draw(seed + 9, 2, 3, D)
    codes = sae.encode(h.flatten(0, 1)).unflatten(0, (2, 3))
    new = codes.clone()
    new[..., latent] = value
    expected = h + sae.decode(new) - sae.decode(codes)
    torch.testing.assert_close(set_latent(SITE, sae, latent, value)(h), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(set_latent(SITE, sae, latent, value, keep_error=False)(h), sae.decode(new), atol=1e-4, rtol=1e-4)


@few
@given(seeds, st.integers(0, 8))
def test_scaling_a_latent_by_one_changes_nothing_and_by_nought_takes_it_out(seed, latent):
    sae, h = dictionary("topk", seed), draw(seed + 9, 2, 3, D)
    torch.testing.assert_close(scale_latent(SITE, sae, latent, 1.0)(h), h)
    torch.testing.assert_close(scale_latent(SITE, sae, latent, 0.0)(h), set_latent(SITE, sae, latent, 0.0)(h))
    torch.testing.assert_close(scale_latent(SITE, sae, latent, 1.0).strength(3.0)(h), scale_latent(SITE, sae, latent, 3.0)(h))


def test_a_latent_that_is_not_there_and_a_wrong_width_are_refused():
    sae = dictionary("topk")
    with pytest.raises(ConfigError, match="latents 0 to 8"):
        set_latent(SITE, sae, 9, 1.0)
    with pytest.raises(ConfigError, match="rows of 6"):
        set_latent(SITE, sae, 0, 1.0)(draw(0, 1, 2, D + 1))
    with pytest.raises(ConfigError, match="recipe"):
        set_latent(SITE, sae, 0, 1.0).to_dict()


@few
@given(seeds, st.integers(0, 4), st.integers(1, 3), st.floats(0, 1))
def test_patching_puts_the_other_rows_in_their_place(seed, start, count, strength):
    h, rows = draw(seed, 2, 5, D), draw(seed + 1, count, D)
    expected = h.clone()
    for number in range(count):
        if start + number < 5:
            expected[:, start + number] += strength * (rows[number] - h[:, start + number])
    edit = patch(SITE, rows, start, strength)
    torch.testing.assert_close(edit(h), expected)
    torch.testing.assert_close(torch.cat([edit(h[:, :2], 0), edit(h[:, 2:], 2)], 1), expected)
    torch.testing.assert_close(Edit.from_dict(edit.to_dict())(h), expected)


@few
@given(seeds)
def test_resampling_draws_rows_of_the_pool_and_only_along_the_direction(seed):
    h, pool, u = draw(seed, 2, 4, D), draw(seed + 1, 7, D), draw(seed + 2, D)
    out = resample(SITE, pool, seed=seed)(h)
    torch.testing.assert_close(out[0], out[1])
    assert all(((pool - row).abs().max(1).values < 1e-5).any() for row in out[0])
    along = resample(SITE, pool, u, seed=seed)(h)
    unit = u / u.norm()
    torch.testing.assert_close(along @ unit, out @ unit, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(project_out(SITE, u)(along), project_out(SITE, u)(h), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat([resample(SITE, pool, u, seed)(h[:, p : p + 1], p) for p in range(4)], 1), along)


@pytest.mark.parametrize("labels", ["binary", "several", "real"])
def test_leace_leaves_no_linear_trace(labels):
    rng = torch.Generator().manual_seed(1)
    n = 4000
    z = {
        "binary": (torch.rand(n, 1, generator=rng) < 0.3).double(),
        "several": torch.nn.functional.one_hot(torch.randint(4, (n,), generator=rng), 4).double(),
        "real": torch.randn(n, 2, generator=rng).double(),
    }[labels]
    # Correlated rows, in which the concept is plain to see.
    x = torch.randn(n, 12, generator=rng).double() @ torch.randn(12, 12, generator=rng).double() + 5
    x = x + z @ torch.randn(z.shape[1], 12, generator=rng).double() * 3
    eraser = fit_eraser(x, z)
    edit = eraser.at(SITE)
    clean = edit(x[None])[0]
    assert clean.dtype == torch.float64

    def coefficients(rows):
        centred = rows - rows.mean(0)
        return torch.linalg.lstsq(torch.cat([centred, torch.ones(n, 1).double()], 1), z, driver="gelsd").solution[:-1].abs().max()

    assert coefficients(x) > 1e-2
    assert coefficients(clean) < 1e-8
    # The rows move no more than they must: their mean stays.
    torch.testing.assert_close(clean.mean(0), x.mean(0))
    again = Edit.from_dict(edit.to_dict())
    torch.testing.assert_close(again(x[None]), edit(x[None]))
    torch.testing.assert_close(edit.strength(0.0)(x[None])[0], x)


def test_erasure_refuses_what_it_cannot_use():
    x = draw(0, 20, D)
    with pytest.raises(DataError, match="same in every row"):
        fit_eraser(x, torch.ones(20))
    with pytest.raises(DataError, match="same n"):
        fit_eraser(x, torch.ones(19))
    with pytest.raises(DataError, match="finite"):
        fit_eraser(x, torch.full((20,), torch.nan))
    with pytest.raises(ConfigError, match="eraser is left"):
        erase(SITE, draw(0, D, 2), draw(1, 3, D), draw(2, D))


@few
@given(seeds)
def test_side_by_side_gives_each_part_its_own(seed):
    h, v = draw(seed, 3, 4, D), draw(seed + 1, D)
    alternatives = [Edits(), steer(SITE, v), steer(SITE, v) + clamp(SITE, draw(seed + 2, D), 1.0)]
    out = h.repeat(3, 1, 1)
    for edit in side_by_side(alternatives):
        out = edit(out)
    expected = [h, alternatives[1](h), alternatives[2][1](alternatives[2][0](h))]
    torch.testing.assert_close(out, torch.cat(expected))
    with pytest.raises(ConfigError, match="repeat the batch"):
        side_by_side(alternatives)[0](draw(seed, 4, 2, D))
