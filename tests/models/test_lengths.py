"""The longest text that a model reads: at that length it runs, and one token more is cut."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from tests.models.conftest import save_tokenizer
from workbench.errors import ConfigError
from workbench.models import load_model

WIDE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 300}
COMMON = {**WIDE, "max_position_embeddings": 40}
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16}
SMALL |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 300}
# How many tokens each reads: those whose positions begin after the padding index read fewer than their config says.
LONGEST = {
    "bert": (hf.BertConfig, COMMON, 40),
    "distilbert": (hf.DistilBertConfig, {"n_layers": 1, "dim": 16, "n_heads": 2, "hidden_dim": 32, "vocab_size": 300,
                                         "max_position_embeddings": 40}, 40),
    "roberta": (hf.RobertaConfig, COMMON, 38),
    "xlm-roberta": (hf.XLMRobertaConfig, COMMON, 38),
    "camembert": (hf.CamembertConfig, COMMON, 38),
    "mpnet": (hf.MPNetConfig, COMMON, 38),
    "ibert": (hf.IBertConfig, COMMON, 38),
    "longformer": (hf.LongformerConfig, {**COMMON, "max_position_embeddings": 41, "pad_token_id": 2, "attention_window": 8}, 38),
    "esm": (hf.EsmConfig, {**COMMON, "pad_token_id": 1, "position_embedding_type": "absolute"}, 38),
    "opt": (hf.OPTConfig, {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32, "vocab_size": 300,
                           "max_position_embeddings": 40, "word_embed_proj_dim": 16}, 40),
    "mpt": (hf.MptConfig, {"d_model": 16, "n_layers": 1, "n_heads": 2, "vocab_size": 300, "max_seq_len": 40}, 40),
    "bart": (hf.BartConfig, {**SMALL, "max_position_embeddings": 40}, 40),
    "led": (hf.LEDConfig, {**SMALL, "attention_window": 8, "max_encoder_position_embeddings": 40}, 40),
    # No limit of their own: the usual one.
    "bloom": (hf.BloomConfig, {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": 300}, 128),
    "t5": (hf.T5Config, {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 300}, 128),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::workbench.errors.WorkbenchWarning")
@pytest.mark.parametrize("name", LONGEST)
def test_a_text_at_the_limit_runs(name, tmp_path):
    config, options, longest = LONGEST[name]
    made = config(**options)
    causal = name in {"opt", "mpt", "bloom"}
    (hf.AutoModelForCausalLM if causal else hf.AutoModel).from_config(made).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    model = load_model(tmp_path)
    assert model.max_length == longest
    batch = model.batch(["x" * 500, "ab"])
    assert int(batch.attention.sum(1).max()) == longest
    output, _ = model.forward(batch)
    assert output.pooled.isfinite().all()
    if longest == 38:
        with pytest.raises(ConfigError, match="4 to 38"):
            load_model(tmp_path, max_length=39)


def test_a_model_that_pads_inside_gives_each_text_its_rows(tmp_path):
    config, options, _ = LONGEST["longformer"]
    hf.AutoModel.from_config(config(**options)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    model = load_model(tmp_path)
    site = next(site for site in reversed(model.sites) if "layer" in str(site))
    texts = ["the first text", "ab", "x" * 9]
    batch = model.batch(texts)
    assert batch.attention.shape[1] == 16
    together = model.activations(batch, [site])[site]
    assert together.shape[:2] == batch.attention.shape
    for row, text in enumerate(texts):
        alone = model.activations(model.batch([text]), [site])[site][0]
        kept = model.batch([text]).keep[0]
        torch.testing.assert_close(together[row][batch.keep[row]], alone[kept], atol=1e-5, rtol=1e-4)
    final = model.forward(batch)[0].pooled
    with torch.no_grad():
        for row, text in enumerate(texts):
            ids = torch.tensor([model.reader.tokenizer(text)["input_ids"]])
            torch.testing.assert_close(model.net(ids).last_hidden_state[0].mean(0), final[row], atol=1e-5, rtol=1e-4)
