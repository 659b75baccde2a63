"""Labels, groups and splits of captured data, chosen among the columns that the study keeps."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.components.page import empty, heading
from app.components.sign_in import no_writing
from app.components.text import sentence, short
from app.tables import set_label
from app.writer import writer_of
from workbench.errors import WorkbenchError
from workbench.study import Study

AS_IT_IS = "(as it is)"


def choose_labels(study: Study) -> None:
    """The columns of a data set and what they are used for, and a form that changes it."""
    heading(
        "Labels, groups and splits",
        "Nothing is captured again: runs keep the labels that they were made with, and the next ones read the new ones.",
    )
    sets = {acts.id: acts for acts in study.activations()}
    if not sets:
        empty("There are no activations yet. Capture some first:", f"workbench capture {study.name} --model … --data …")
        return
    chosen = str(st.selectbox("Activations", list(sets)[::-1], key="label set", format_func=lambda i: set_label(sets[i])))
    data = study.dataset_of(sets[chosen])
    columns = data.columns()
    st.dataframe(
        columns.assign(column=[short(name, 80) for name in columns["column"]]), hide_index=True,
        height=min(320, 38 + 35 * len(columns)), key=f"columns {study.folder} {data.hash}",
    )  # fmt: skip
    if (writer := writer_of(study)) is None:
        no_writing(study)
        return
    names = [str(name) for name in columns["column"] if name not in {"split", "group"}]
    # A quantity is a label only where it is chosen, and then it has classes.
    now = [label.name for label in data.example_labels if label.kind == "class"]
    with st.form(f"labels {study.folder} {data.hash}", border=True):
        labels = st.multiselect("Labels", names, default=now, key=f"labels {data.hash}")
        left, right = st.columns(2)
        group = left.selectbox(
            "Group", names, index=None, placeholder=AS_IT_IS, key=f"group {data.hash}",
            help="What belongs together, such as the author: no split cuts a group.",
        )  # fmt: skip
        split = right.selectbox(
            "Split", names, index=None, placeholder=AS_IT_IS, key=f"split {data.hash}", help="Train, validation or test."
        )
        go = st.form_submit_button("Use these", icon=":material/label:", type="primary")
    if not go:
        return
    chosen_labels = [str(label) for label in labels]
    asked: dict[str, Any] = {"labels": None if chosen_labels == now else chosen_labels, "group": group, "split": split}
    try:
        writer.relabel(sets[chosen], **asked)
    except WorkbenchError as error:
        st.error(sentence(str(error)))
    else:
        st.rerun()
