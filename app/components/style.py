"""The page's own look. Colours come from the text colour, so that the light and the dark theme both work."""

from __future__ import annotations

import streamlit as st

CSS = """
<style>
.block-container { max-width: 1280px; padding-top: 4.2rem; }
.cw-title { font-size: 2rem; line-height: 1.2; font-weight: 650; margin: 0; overflow-wrap: anywhere; }
.cw-heading { font-size: 1.15rem; font-weight: 600; margin: .4rem 0 0; }
.cw-soft { opacity: .68; }
.cw-small { font-size: .85rem; }
.cw-number { font-variant-numeric: tabular-nums; }
.cw-chips { display: flex; flex-wrap: wrap; gap: 6px; }
.cw-chip { border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: 999px; padding: 1px 10px;
  font-size: .85rem; max-width: 100%; overflow-wrap: anywhere; }
.cw-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; }
.cw-tile { border: 1px solid color-mix(in srgb, currentColor 16%, transparent); border-radius: 10px; padding: 10px 14px; }
.cw-tile b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.cw-facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; }
.cw-facts > span:nth-child(even) { overflow-wrap: anywhere; }
.cw-example { padding: 8px 0; border-bottom: 1px solid color-mix(in srgb, currentColor 14%, transparent); line-height: 1.6; }
.cw-example .text { overflow-wrap: anywhere; unicode-bidi: isolate; }
mark.fire { background: color-mix(in srgb, #E69F00 calc(var(--fire) * .62), transparent); color: inherit; border-radius: 3px; }
mark.fire:empty::before { content: "◦"; }
.cw-text { line-height: 1.6; min-height: 11rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.cw-item { padding: 5px 0; border-bottom: 1px solid color-mix(in srgb, currentColor 10%, transparent); overflow-wrap: anywhere; }
.cw-note { display: block; max-height: 14rem; overflow-y: auto; }
.cw-family { font-weight: 600; margin: 14px 0 2px; overflow-wrap: anywhere; }
.cw-family span { font-weight: 400; }
.cw-row { display: grid; grid-template-columns: minmax(120px, 1.2fr) minmax(110px, 1fr) minmax(120px, 1.4fr); gap: 2px 16px;
  align-items: center; padding: 9px 0; border-bottom: 1px solid color-mix(in srgb, currentColor 14%, transparent); }
.cw-row > div { min-width: 0; overflow-wrap: anywhere; }
.cw-value { font-size: 1.2rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.cw-value span { font-size: .85rem; font-weight: 400; white-space: nowrap; }
.cw-wide { grid-column: 1 / -1; }
.cw-verdict::before { content: "●"; margin-right: 6px; color: #8A8F98; }
.cw-beyond .cw-verdict::before { color: color-mix(in srgb, #0072B2 72%, currentColor); }
.cw-failed .cw-verdict::before { content: "▲"; color: #D55E00; }
.cw-bar { position: relative; height: 18px; }
.cw-bar i { position: absolute; display: block; }
.cw-bar .axis { left: 0; right: 0; top: 8.5px; height: 1px; background: currentColor; opacity: .22; }
.cw-bar .null { top: 3px; height: 12px; min-width: 2px; background: #8A8F98; opacity: .55; border-radius: 2px; }
.cw-bar .span { top: 7.5px; height: 3px; background: color-mix(in srgb, #0072B2 72%, currentColor); opacity: .7; }
.cw-bar .dot { top: 4px; width: 10px; height: 10px; margin-left: -5px; border-radius: 50%;
  background: color-mix(in srgb, #0072B2 72%, currentColor); }
.cw-news { border-left: 3px solid #E69F00; padding: 4px 12px; margin: 2px 0 6px; overflow-wrap: anywhere; }
.cw-log { max-height: 16rem; overflow: auto; font-size: .8rem; line-height: 1.45; }
/* A table's own CSV would hold what a spreadsheet takes for formulas; the page for data writes it without. */
[data-testid="stElementToolbarButton"]:has([aria-label="Download as CSV"]) { display: none; }
.cw-empty { border: 1px dashed color-mix(in srgb, currentColor 30%, transparent); border-radius: 10px; padding: 16px 18px; }
.cw-empty code, .cw-code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .86em; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  .block-container { padding-left: 1rem; padding-right: 1rem; }
  .cw-title { font-size: 1.5rem; }
  .cw-row { grid-template-columns: 1fr 1fr; }
  .cw-bar { grid-column: 1 / -1; }
}
</style>
"""


def use_style() -> None:
    """Put the style on the page."""
    st.html(CSS)
