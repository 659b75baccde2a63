from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigError
from workbench.models import Site

numbers = st.integers(0, 10_000)
sites = st.one_of(
    st.sampled_from([Site("embed"), Site("final")]),
    st.builds(Site, st.sampled_from(["resid_pre", "resid_post", "mlp_out", "attn_out"]), numbers),
    st.builds(Site, st.just("head_out"), numbers, numbers),
    st.builds(lambda path: Site("layer", path=path), st.text(min_size=1)),
)


@given(sites)
def test_parse_undoes_str(site):
    assert Site.parse(str(site)) == site
    assert str(Site.parse(str(site))) == str(site)


@given(st.text())
def test_what_parses_is_spelled_one_way(text):
    try:
        site = Site.parse(text)
    except ConfigError:
        return
    assert str(site) == text


@pytest.mark.parametrize("text", ["", "resid_post", "resid_post.01", "resid_post.-1", "head_out.1", "layer:", "embed.0"])
def test_other_spellings_are_refused(text):
    with pytest.raises(ConfigError, match="A site is one of"):
        Site.parse(text)


@pytest.mark.parametrize("parts", [("resid_post",), ("embed", 1), ("head_out", 1), ("nose", 1), ("layer",)])
def test_a_site_has_the_parts_of_its_kind(parts):
    with pytest.raises(ConfigError):
        Site(*parts)
