"""Conversations: read by the model's own chat template, captured, edited and answered at the positions that a word names."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from tests.models.tokenizers_of import HEADERS, llama3_kind, save_decoder
from workbench.activations import capture
from workbench.conversations import POSITIONS, Conversation, conversation, is_conversation
from workbench.datasets import dataset_from_table, load_dataset
from workbench.edits import Edits, steer
from workbench.errors import ConfigError, DataError
from workbench.models import load_model

HELLO = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": " the cat? "},
    {"role": "assistant", "content": "the 🙂 mat"},
    {"role": "user", "content": "user"},
]
SHORT = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "the"}]
SITE = "resid_post.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp("chat"), llama3_kind())


@pytest.fixture(scope="module")
def chat(folder):
    return load_model(folder)


def table(*conversations, **columns):
    return dataset_from_table(pd.DataFrame({"messages": list(conversations), **columns}), text="messages", labels=[*columns])


def kept(model, messages, positions):
    """The text that the kept tokens of a conversation are of, by their characters, token by token."""
    batch = model.batch([messages], positions=positions)
    text = conversation(messages)
    return [(text[slice(*batch.spans[0, i])], batch.pieces[0, i]) for i in batch.keep[0].nonzero()[:, 0].tolist()]


def test_a_conversation_is_the_ids_of_its_template(chat):
    tokenizer = chat.tokens.tokenizer
    batch = chat.batch([HELLO, SHORT])
    for row, messages in enumerate((HELLO, SHORT)):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=messages[-1]["role"] == "user")
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert batch.inputs["input_ids"][row][batch.attention[row]].tolist() == ids
    # The last message was the user's: the header of the answer is behind it.
    assert chat.tokens.prompt(HELLO)[0].tolist() == batch.inputs["input_ids"][0].tolist()


def test_the_form_of_sharegpt_is_the_same_conversation(tmp_path):
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    theirs = [{"from": names[message["role"]], "value": message["content"]} for message in HELLO]
    assert conversation(theirs) == conversation(json.dumps(theirs)) == conversation(HELLO)
    assert conversation(theirs).messages == conversation(HELLO).messages
    (tmp_path / "talks.jsonl").write_text("\n".join(json.dumps({"conversations": theirs, "label": x}) for x in "ab"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.json").write_text(json.dumps({"conversations": theirs}))
    for path in ("talks.jsonl", "folder"):
        found = load_dataset(tmp_path / path)
        assert found.of_conversations
        assert found.inputs([0])[0].messages == conversation(HELLO).messages
    # An e-mail has a sender and is no message of a chat.
    assert not is_conversation([{"from": "ada@example.org", "to": "ben@example.org"}])
    with pytest.raises(DataError, match=r"The role of a message is one of .* not 'bard'"):
        conversation([{"from": "bard", "value": "Hi."}])


def test_positions_name_what_was_said_by_whom(chat):
    said = {
        "system": "Bekind.", "user": "thecat?user", "assistant": "the🙂mat", "content": "Bekind.thecat?the🙂matuser",
    }  # fmt: skip
    for positions, text in said.items():
        spans = list(
            dict.fromkeys(map(tuple, chat.batch([HELLO], positions=positions).spans[0][_keep(chat, positions)].tolist()))
        )
        read = conversation(HELLO)
        assert "".join(read[start:end] for start, end in spans).replace(" ", "") == text
    (last,) = kept(chat, HELLO, "last_instruction")
    assert last == ("r", "r")
    template = [piece for _, piece in kept(chat, HELLO, "template")]
    assert {"<|begin_of_text|>", *HEADERS} <= set(template)
    assert all(text == "" for text, _ in kept(chat, HELLO, "template"))
    # Every token is content or template, and none is both.
    content, rest, every = (chat.batch([HELLO], positions=p).keep for p in ("content", "template", "all"))
    assert torch.equal(content ^ rest, every)
    assert torch.equal(every, chat.batch([HELLO]).attention)


def _keep(model, positions):
    return model.batch([HELLO], positions=positions).keep[0].numpy()


def test_a_role_that_a_message_spells_out_is_not_taken_for_a_header(chat):
    # The last message says "user", as the header before it does.
    batch = chat.batch([HELLO], positions="user")
    where = batch.keep[0].nonzero()[:, 0].tolist()
    assert "".join(batch.pieces[0, where[-4:]]) == "user"
    assert conversation(HELLO)[batch.spans[0, where[-4], 0] :] == "user"


def test_captures_take_positions_and_are_told_apart(chat, tmp_path):
    data = table(HELLO, SHORT, [{"role": "user", "content": "mat"}])
    sets = {
        p: capture(chat, data, sites=SITE, folder=tmp_path, positions=p)
        for p in ("content", "user", "last_instruction", "template")
    }
    assert len({acts.id for acts in sets.values()}) == len(sets)
    assert sets["last_instruction"].index.groupby("example").size().tolist() == [1, 1, 1]
    assert set(sets["user"].index["role"]) == {"user"}
    assert set(sets["content"].index["role"]) == {"system", "user", "assistant"}
    assert set(sets["template"].index["role"]) == {"template"}
    assert not set(sets["content"].index["token"]) & {*HEADERS, "<|begin_of_text|>"}
    # The rows are the model's at these positions.
    batch = chat.batch([HELLO])
    rows = chat.activations(batch, [SITE])[chat.site(SITE)][0]
    position = sets["last_instruction"].index["position"].iloc[0]
    torch.testing.assert_close(
        torch.from_numpy(sets["last_instruction"].read(slice(0, 1)))[0], rows[position], atol=1e-2, rtol=1e-2
    )
    pooled = capture(chat, data, sites=SITE, folder=tmp_path, positions="template", pool="last")
    assert pooled.n_rows == 3
    torch.testing.assert_close(torch.from_numpy(pooled.read(slice(0, 1)))[0], rows[-1], atol=1e-2, rtol=1e-2)
    assert capture(chat, data, sites=SITE, folder=tmp_path, positions="user").id == sets["user"].id


def test_the_manifest_of_plain_texts_is_what_it_was(chat, tmp_path):
    plain = dataset_from_table(pd.DataFrame({"text": ["the cat", "mat"]}), text="text", labels=[])
    acts = capture(chat, plain, sites=SITE, folder=tmp_path)
    request = acts.manifest.request
    assert request.positions == "content"
    assert request.chat_template is None
    assert "role" not in acts.index
    with pytest.raises(ConfigError, match=r"conversations, and table holds none"):
        capture(chat, plain, sites=SITE, folder=tmp_path, positions="user")
    every = capture(chat, plain, sites=SITE, folder=tmp_path, positions="all")
    assert every.n_rows == acts.n_rows + 2
    with pytest.raises(ConfigError, match="positions are content"):
        capture(chat, plain, sites=SITE, folder=tmp_path, positions="everything")


def test_a_probe_reads_the_rows_of_an_instruction(chat, tmp_path):
    from workbench.opening import open_study

    rng = np.random.default_rng(0)
    asked = [("the the the " if i % 2 else "cat mat cat ") + str(rng.integers(1000)) for i in range(160)]
    data = table(*[[{"role": "user", "content": a}, {"role": "assistant", "content": "ok"}] for a in asked], kind=["a", "b"] * 80)
    with open_study(tmp_path / "study") as study:
        acts = study.capture(chat, data, SITE, positions="user", pool="mean")
        run = study.run("linear_probe", acts)
        auroc = run.metrics.query("metric == 'probe.auroc'")["value"]
        assert auroc.min() > 0.9
        # The texts of a table in memory are kept in the study and read again as the same conversations.
        assert study.dataset_of(acts).of_conversations
    with open_study(tmp_path / "study") as again:
        assert again.dataset_of(again.activations()[0]).hash == data.hash


def test_edits_are_at_positions_of_a_conversation(chat):
    edit = steer(SITE, torch.ones(32), 9.0)
    batch = chat.batch([HELLO, SHORT])
    site = chat.site(SITE)
    before = chat.activations(batch, [site])[site]
    for positions in POSITIONS:
        if positions in {"developer", "tool"}:
            continue
        with chat.edited(edit.at(positions)):
            after = chat.activations(batch, [site])[site]
        moved = (after - before).abs().amax(-1) > 1e-3
        want = torch.zeros_like(moved)
        for row, messages in enumerate((HELLO, SHORT)):
            if positions == "system" and row == 1:
                continue
            alone = chat.batch([messages], positions=positions).keep[0]
            want[row, : len(alone)] = alone
        assert torch.equal(moved, want), positions
    assert Edits.from_dict(Edits([edit.at("user")]).to_dict())[0].positions == "user"
    with pytest.raises(ConfigError, match="plain text"), chat.edited(edit.at("user")):
        chat.activations(chat.batch(["the cat"]), [site])


@pytest.mark.parametrize("positions", ["content", "user", "assistant", "last_instruction", "template", "all"])
def test_what_a_concept_causes_is_measured_at_the_positions_of_its_activations(chat, positions):
    from workbench.evidence.causes import dose_response
    from workbench.evidence.steering import read_passages, steer_passages
    from workbench.readout import Readout, output_gradients

    talks, direction = [conversation(HELLO), conversation(SHORT)], torch.nn.functional.normalize(torch.ones(1, 32))
    generator, site = torch.Generator().manual_seed(0), chat.site(SITE)
    width = chat.forward(chat.batch(talks))[0].pooled.shape[1]
    readout = Readout(["kind=a"], torch.randn(1, width, generator=generator), torch.zeros(1), np.ones(1), np.ones(1))
    found = dose_response(chat, site, direction, talks, readout, unit=1e-3, doses=(-1.0, 1.0), positions=positions)
    data = table(*[HELLO, SHORT] * 20, *[SHORT] * 5, kind=["a"] * 40 + ["b"] * 5)
    grads = output_gradients(chat, data, readout, [site], ["kind=a"], per_label=40, positions=positions)[SITE]["kind=a"]
    predicted = {round(x, 4) for x in (grads @ direction[0]).tolist()}
    measured = (found.slopes()[0, :, 0] / 1e-3).tolist()
    assert all(min(abs(p - m) for m in measured) < 0.02 * max(map(abs, measured)) for p in predicted)

    passages = read_passages(chat, talks, positions)
    reading = steer_passages(chat, site, direction, [1.0], 5.0, passages, [torch.tensor([3])])
    with chat.edited(steer(site, direction[0] * 5.0).at(positions)):
        by_hand = read_passages(chat, talks)
    np.testing.assert_allclose(reading.loss[0, 0], by_hand.loss - passages.loss, atol=1e-5)
    assert np.abs(reading.loss).max() > 1e-3


@pytest.mark.parametrize("positions", ["assistant", "template", "last_instruction"])
def test_generation_edits_the_same_positions_as_whole_passes(chat, positions):
    edit = steer(SITE, torch.randn(32, generator=torch.Generator().manual_seed(1)), 4.0).at(positions)
    steps = list(chat.stream(HELLO, [Edits(), edit], max_new_tokens=3))
    ids, kinds = chat.tokens.opening(HELLO)
    from workbench.models.chat import OF_ROLE, at_positions
    from workbench.models.hooks import recording

    whole = steer(SITE, edit.arguments["direction"], 4.0)
    for step in steps:
        # The positions as numbers, in a pass over everything so far.
        where = at_positions(positions, kinds)[0].nonzero()[:, 0].tolist()
        with recording(chat._hook_points, [], [whole.at(where)], grad=False, copy=False, stop=False):
            logits = chat.bridge(ids)[:, -1]
        torch.testing.assert_close(step.logits[1:], logits, atol=1e-4, rtol=1e-4)
        if step.tokens[1] is None:
            break
        ids = torch.cat([ids, torch.tensor([[step.tokens[1]]])], 1)
        kinds = torch.cat([kinds, torch.tensor([[OF_ROLE["assistant"]]])], 1)


def test_data_sets_of_conversations_from_files(tmp_path):
    lines = [{"messages": HELLO, "topic": "a"}, {"messages": SHORT, "topic": "b"}] * 3
    (tmp_path / "talk.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = load_dataset(tmp_path / "talk.jsonl")
    assert data.of_conversations
    assert [label.name for label in data.labels] == ["topic"]
    assert data.inputs([0])[0].messages[1].content == " the cat? "
    assert data.inputs([1])[0] == "user: the cat\n\nassistant: the"
    frame = pd.DataFrame(
        {"messages": [json.dumps(line["messages"]) for line in lines], "topic": [line["topic"] for line in lines]}
    )
    frame.to_csv(tmp_path / "talk.csv", index=False)
    assert load_dataset(tmp_path / "talk.csv").hash == data.hash
    saved = data.save(tmp_path / "talk.parquet")
    assert load_dataset(saved, labels=["topic"]).hash == data.hash
    assert data.subset([1, 0]).of_conversations
    for name, line in zip("abc", lines, strict=False):
        place = tmp_path / "folder" / line["topic"]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.json").write_text(json.dumps({"messages": line["messages"]}))
    assert load_dataset(tmp_path / "folder").of_conversations
    # Other messages that read the same are other data.
    one = table([{"role": "user", "content": "the cat\n\nassistant: the"}])
    assert one.inputs([0])[0] == table(SHORT).inputs([0])[0]
    assert one.hash != table(SHORT).hash
    assert table(SHORT).hash == table(json.dumps(SHORT)).hash


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ([SHORT, "plain"], "Row 1 .* holds no conversation"),
        ([[{"role": "owner", "content": "x"}]], "role of a message is one of system"),
        (
            [[{"role": "user", "content": None}]],
            "^Row 0 [^,]* holds no conversation that can be read: The content of a message is text",
        ),
        ([[{"role": 3, "content": "x"}]], "role of a message"),
        ([SHORT, [{"role": "user", "content": "  "}]], "row 1 .* is blank"),
    ],
)
def test_faulty_conversations_are_named_by_their_row(cells, match):
    with pytest.raises(DataError, match=match):
        table(*cells)


def test_labelled_spans_count_in_a_message(chat, tmp_path):
    from workbench.activations.labels import row_targets

    frame = pd.DataFrame({"messages": [HELLO, SHORT], "spans": [[{"message": 2, "start": 4, "end": 5, "label": "smile"}], []]})
    data = dataset_from_table(frame, text="messages", labels=[])
    acts = capture(chat, data, sites=SITE, folder=tmp_path)
    targets = row_targets(acts, data)
    marked = acts.index[targets.values[:, targets.names.index("token:smile")] == 1]
    assert set(marked["token"]) == {"🙂"}
    assert set(marked["role"]) == {"assistant"}
    for start, end in zip(marked["start"], marked["end"], strict=True):
        assert data.inputs([0])[0][start:end] == "🙂"
    for wrong in ({"message": 7}, {"message": 2, "end": 99}):
        frame["spans"] = [[{"start": 0, "end": 1, "label": "x", **wrong}], []]
        with pytest.raises(DataError, match="row 0"):
            dataset_from_table(frame, text="messages", labels=[])


MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set said = '' %}{% set rest = messages %}{% endif %}"
    "{{ bos_token }}{% for m in rest %}{% if m['role'] == 'user' %}[INST] "
    "{% if loop.last and said %}{{ said + '\n\n' }}{% endif %}"
    "{{ m['content'] }}[/INST]{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
THINKING = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'].split('</think>')[-1] }}{% endfor %}"
SHOUTING = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | upper }}{% endfor %}"
NO_SYSTEM = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}"
TODAY = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"


def with_template(chat, template):
    from workbench.models.text import Tokens

    tokenizer = llama3_kind(template)
    return Tokens(tokenizer, 128, bos=True)


def test_templates_that_move_or_shorten_messages(chat):
    def said(template, messages, positions):
        coded = with_template(chat, template).coded([messages], positions)
        spans, read = coded.marks().spans, conversation(messages)
        return "".join(read[s:e] for s, e in dict.fromkeys(map(tuple, spans.tolist()))).replace(" ", "")

    assert said(MISTRAL, HELLO, "system") == "Bekind."
    assert said(MISTRAL, HELLO, "user") == "thecat?user"
    reasoned = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "<think>hm</think>because"}]
    assert said(THINKING, reasoned, "assistant") == "because"
    with pytest.raises(DataError, match="Row 0 has a message 1 that the model's chat template changes"):
        with_template(chat, SHOUTING).coded([HELLO])
    with pytest.raises(DataError, match=r"Row 1 is refused by the model's chat template: no system here"):
        with_template(chat, NO_SYSTEM).coded(["a plain text", HELLO])
    # The date is the same on every day.
    assert with_template(chat, TODAY).chat.render(Conversation([("user", "x")])).text == "26 Jul 2024[user]x"


def test_what_cannot_be_read_says_so(chat, tmp_path):
    with pytest.raises(ConfigError, match="no chat template"):
        with_template(chat, None).coded([HELLO])
    with pytest.raises(ConfigError, match="no chat template"):
        capture(load_model("scribe"), table(HELLO), sites="resid_post.0", folder=tmp_path)
    with pytest.raises(DataError, match="Row 1 has no token at the positions 'system'"):
        chat.batch([HELLO, SHORT], positions="system")
    data = table(HELLO, [{"role": "user", "content": "x" * 600}])
    with pytest.raises(DataError, match="Row 1 has no token at the positions 'last_instruction' among the 128"):
        capture(chat, data, sites=SITE, folder=tmp_path, positions="last_instruction")
    with pytest.raises(DataError, match="ends with the assistant"):
        chat.generate(SHORT)
    assert chat.batch([HELLO, "the plain cat"]).keep.any(1).all()


EMPTY_LAST = [{"role": "user", "content": "Where is the cat 7?"}, {"role": "assistant", "content": "the mat"}, *[
    {"role": "user", "content": ""}
]]  # fmt: skip


def test_an_instruction_is_the_last_message_of_the_user_or_none(chat):
    from workbench.models.chat import at_positions

    with pytest.raises(DataError, match="Row 1 has no token at the positions 'last_instruction'"):
        chat.batch([HELLO, EMPTY_LAST], positions="last_instruction")
    cut = [*EMPTY_LAST[:2], {"role": "user", "content": "x" * 600}]
    for messages in (EMPTY_LAST, cut):
        # An edit at the last instruction changes nothing either, and what the user said is still the user's.
        batch = chat.batch([messages], positions="user")
        assert not at_positions("last_instruction", batch.kinds).any()
        assert "".join(batch.pieces[0, batch.keep[0]].tolist()).startswith("Where is the cat 7?")
        assert {"user", "assistant"} <= set(chat.coded([messages], "all").marks().roles().tolist())


def test_a_conversation_is_read_up_to_the_maximum_length(chat):
    # Its first token is in its template.
    talk = [{"role": "user", "content": "x" * 600}]
    coded = chat.coded([talk, "x" * 600])
    assert coded.lengths.tolist() == [128, 128]
    text = chat.tokens.chat.render(Conversation([("user", "x" * 600)])).text
    whole = chat.tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert coded.lost.tolist() == [len(whole) - 128, 601 - 128]
    # Texts and conversations take turns.
    assert chat.coded(["x" * 600]).lengths.tolist() == [128]
    assert chat.coded([talk]).lengths.tolist() == [128]


def test_a_recipe_answers_a_conversation():
    from workbench.recipes import Recipe, _where

    recipe = Recipe.made(
        messages=[{"role": "user", "content": "Hi"}], steps=[{"concept": "a.1", "amount": 1, "positions": "user"}]
    )
    assert recipe.opening == Conversation([("user", "Hi")])
    assert Recipe.parse(recipe.to_json()) == recipe
    assert _where(recipe.steps[0]) == "user"
    both = Recipe.made(prompt="x", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(ConfigError, match="prompt or messages"):
        _ = both.opening
    twice = Recipe.made(steps=[{"concept": "a.1", "amount": 1, "positions": "user", "start": 2}])
    with pytest.raises(ConfigError, match="not both"):
        _where(twice.steps[0])


def test_from_the_command_line(folder, tmp_path):
    from workbench.cli.root import _load, app

    _load()
    (tmp_path / "talk.jsonl").write_text("\n".join(json.dumps({"messages": m}) for m in (HELLO, SHORT)))
    where = str(tmp_path / "study")
    told = ["--model", str(folder), "--data", str(tmp_path / "talk.jsonl"), "--sites", SITE]
    done = CliRunner().invoke(app, ["--json", "capture", where, *told, "--positions", "last_instruction"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.strip().splitlines()[-1])["rows"] == 2
