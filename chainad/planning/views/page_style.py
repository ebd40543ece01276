"""The style of pages: no script, light and dark, wide and narrow; in a notebook, its own theme."""

from __future__ import annotations

import re

from chainad.planning.views.directions import DARK_DIRECTION_COLORS, DIRECTION_COLORS

PAGE_CLASS = "chainad"

_COLORS = {
    "light": {"ink": "#1b1b1b", "faint": "#5c5c5c", "paper": "#fff", "line": "#dcdcdc"}
    | DIRECTION_COLORS,
    "dark": {"ink": "#e8e8e8", "faint": "#a8a8a8", "paper": "#121212", "line": "#3a3a3a"}
    | DARK_DIRECTION_COLORS,
}

# What says that a page stands in a dark or light theme, whatever the system prefers: Jupyter, VS
# Code, Colab, Sphinx.
_THEMES = {
    "light": ("[data-jp-theme-light=true]", ".vscode-light", "[theme=light]", "[data-theme=light]"),
    "dark": ("[data-jp-theme-light=false]", ".vscode-dark", "[theme=dark]", "[data-theme=dark]"),
}

# `&` is the class of a page, twice: so these rules win over those that notebooks have for outputs.
_RULES = """
& {
  font: 14px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  padding: 12px 16px; max-width: 72em; box-sizing: border-box;
  container-type: inline-size; overflow-wrap: anywhere;
}
& p { margin: .25em 0 }
& .name { font-size: 17px; font-weight: 600; margin-right: .6em }
& .verdict { font-size: 15px; max-width: 56em; margin: .5em 0 1.2em }
& .faint, & th { font-weight: 400 }
& .faint { color: var(--faint) }
& code {
  font: 13px/1.5 ui-monospace, monospace; background: none; color: inherit; padding: 0; border: 0;
  white-space: normal;
}
& .place, & .small { color: var(--faint); margin-right: .4em }
& .small { display: block; font-size: 12px }
& .about { display: inline-block }
& .key { display: inline-block; white-space: nowrap; margin-right: 1em }
& .key::before {
  content: ""; display: inline-block; width: .75em; height: .75em; border-radius: 2px;
  background: var(--c); margin-right: .35em;
}
& svg { display: block; width: 100%; overflow: visible; margin: .4em 0 }
& svg path { stroke: var(--ink); stroke-width: 3; vector-effect: non-scaling-stroke }
& svg .arc { fill: var(--c); fill-opacity: .5; stroke: none }
& svg .thin { fill: none; stroke: var(--c); stroke-opacity: .6 }
& svg .folded { stroke-width: 9; stroke-dasharray: 2 2 }
& .columns {
  display: grid; grid-auto-columns: 1fr; grid-auto-flow: column;
  text-align: center; font-size: 12px; line-height: 1.3;
}
& .columns span { padding: 0 2px; min-width: 0 }
& .columns b, & .ends b { display: block }
& .ends { display: flex; justify-content: space-between; font-size: 12px }
& .ends > span + span { text-align: right }
& .note { font-size: 13px; line-height: 1.3 }
& table {
  border-collapse: collapse; table-layout: auto; margin: .4em 0; color: inherit;
  font-size: inherit; font-variant-numeric: tabular-nums;
}
& tr { background: none !important; line-height: inherit }
& thead { border: 0 }
& td, & th {
  padding: .16em 1.1em .16em 0; text-align: left; vertical-align: top; border: 0; background: none;
  color: inherit; line-height: inherit; max-width: none;
}
& th { color: var(--faint); font-size: 12px }
& .n { text-align: right; white-space: nowrap }
& .shapes { overflow-wrap: break-word }
& .short { white-space: nowrap }
& .shapes .small { white-space: normal }
& .steps .key { white-space: normal; overflow-wrap: break-word }
& .steps .code { min-width: 12em }
& .lines td { padding-top: 0; padding-bottom: 0 }
& .lines code { white-space: pre-wrap }
& .bar {
  display: block; height: .8em; margin-top: .35em; min-width: 2px; border-radius: 2px;
  background: var(--c); box-sizing: border-box;
}
& .bound .bar { background: none; border: 1px solid var(--c) }
& .bars { width: 100%; max-width: 48em; margin-top: 1.2em }
& .bars .track { width: 50% }
& summary { cursor: pointer; margin: .8em 0 .2em }
& .foot { border-top: 1px solid var(--line); padding-top: .5em; margin-top: .8em }
@container (max-width: 940px) {
  & .steps, & .steps tbody { display: block }
  & .steps thead { display: none }
  & .steps tr {
    display: flex; flex-wrap: wrap; padding: .3em 0; border-top: 1px solid var(--line);
  }
  & .steps td { display: block }
  & .steps .code { flex-basis: 100% }
  & .steps .small { display: inline }
  & .steps [data-of]::before { content: attr(data-of) " "; color: var(--faint) }
  & .short { white-space: normal }
}
@container (max-width: 640px) {
  & .bars, & .bars tbody, & .lines, & .lines tbody { display: block }
  & .lines thead, & .many .of { display: none }
  & .lines tr { display: grid; grid-template-columns: 2.6em 6.4em minmax(0, 1fr) }
  & .lines .share { display: none }
  & .lines .whole { grid-column: 1/-1 }
  & .bars tr { display: grid; grid-template-columns: 1fr auto minmax(5em, auto) }
  & .bars .track { grid-column: 1/-1; grid-row: 2; width: auto }
}
"""


def _variables(theme: str) -> str:
    colors = (f"--{name}:{color}" for name, color in _COLORS[theme].items())
    return f"{{color-scheme:{theme};{';'.join(colors)}}}"


def _rules() -> str:
    """Return all rules, without the spaces that only people read."""
    themed = "".join(
        ",".join(f"{where} &" for where in selectors) + _variables(theme)
        for theme, selectors in _THEMES.items()
    )
    kinds = {way: way for way in DIRECTION_COLORS} | {"hybrid": "join", "bound": "leaf"}
    colored = "".join(f"& .{kind}{{--c:var(--{color})}}" for kind, color in kinds.items())
    short = re.sub(r"\s*([{};:,])\s*", r"\1", re.sub(r"\s+", " ", _RULES))
    every = f"&{_variables('light')}@media (prefers-color-scheme:dark){{&{_variables('dark')}}}"
    return (every + themed + colored + short).replace("&", f".{PAGE_CLASS}" * 2)


STYLE = f"<style>{_rules()}</style>"
