"""Steer the bundled language model by a latent of the bundled dictionary, and keep the recipe."""

import workbench as wb

study = wb.open_study("studies/steering")
texts = wb.load_dataset("topics", limit=400)
acts = study.capture(wb.load_model("scribe"), texts, sites="resid_post.4")
study.run("pretrained_dictionary", acts)
latent = study.concepts(output="war").best()
recipe = wb.Recipe(steps=[wb.RecipeStep(concept=latent.id, amount=8.0)], prompt="The people of this country").bound(study)
base, edited = recipe.run(study).texts
print(f"{latent!r}\nbase:   {base}\nedited: {edited}")
recipe.save("recipe.json")
