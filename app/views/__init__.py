"""One module a page, each with ``render(study)``. A folder called ``pages`` would be served by Streamlit as scripts."""
