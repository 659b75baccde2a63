"""From a model to a report in nine lines: run it with `python examples/topics.py`.

The folder of the study and the name of the report can be given: `python examples/topics.py STUDY REPORT`.
"""

import sys

import workbench as wb

folder, out = sys.argv[1:3] if len(sys.argv) > 2 else ("studies/topics", "topics.html")

study = wb.open_study(folder)
model = wb.load_model("minilm")
texts = wb.load_dataset("topics")
acts = study.capture(model, texts, sites="resid_post.*", pool="token")
sae = study.run("sparse_autoencoder", acts.at("resid_post.3"), d_sae=1024, k=32)
probes = study.run("linear_probe", acts, labels="topic")
sae.concepts.name(vocabulary="common-words")
study.examine(sae.concepts, texts)
card = study.concepts("about money").best()
with model.edited(card.steer(6.0)):
    edited = model.embed(["The committee met on Monday."])
study.report(out)

print(card, card.evidence()[["metric", "label", "value", "low", "high", "null"]], sep="\n")
print("Cosine of the sentence with itself while steered:", float(edited[0] @ model.embed(["The committee met on Monday."])[0]))
