"""Pages of plans: short, escaped, without script, and readable in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, faults_of
from hypothesis import given, settings
from hypothesis import strategies as st
from plans_to_show import PLANS

import chainad
from chainad.planning.plan import follow
from chainad.planning.views.page import MAX_BYTES
from chainad.testing import random_graph

names = pytest.mark.parametrize("name", sorted(PLANS))

ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "div", "p", "span", "b", "br", "code"),
    *("svg", "desc", "path", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
}
UNCLOSED = {"meta", "br", "path"}


class Checker(HTMLParser):
    """Reads a page whose elements are known, closed in order, and load nothing."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS
        assert not {"src", "href", "onclick", "onload"} & {name for name, _ in attrs}
        self.open.append(tag)
        if tag in ("meta", "br"):
            self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


@names
def test_pages_are_short_and_sound(name: str) -> None:
    page = PLANS[name]().to_html()
    assert len(page.encode()) < MAX_BYTES
    text = " ".join("".join(Checker(page).text).split())
    assert "multiplications" in text or "by bytes" in text
    assert "url(" not in page
    assert "@import" not in page


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_pages_of_random_graphs_are_short_and_sound(seed: int, n_inner: int) -> None:
    graph, _ = random_graph(Random(seed), n_inner=n_inner)
    page = follow(graph, graph.inner).to_html()
    assert len(page.encode()) < MAX_BYTES
    Checker(page)


def test_a_page_says_what_the_text_says() -> None:
    plan = PLANS["codec"]()
    said = " ".join("".join(Checker(plan.to_html()).text).split())
    for part in (
        "Cheapest place to meet: functions_to_draw.py",
        "9.7x fewer multiplications than forward or reverse.",
        "312,020,000",
        "narrowest: 20 entries",
        "optimal over all bracketings of this chain",
    ):
        assert part in said
        assert part in plan.explain(width=1000) or "narrowest" in part


def test_a_picture_is_described_for_those_who_do_not_see_it() -> None:
    page = PLANS["codec"]().to_html()
    picture = page[page.index("<svg") : page.index("</svg>")]
    assert 'role="img"' in picture
    assert "<title>Values from input to output</title><desc>Cheapest place to meet" in picture


def test_a_page_is_saved_and_shown_in_notebooks(tmp_path: Path) -> None:
    plan = PLANS["one"]()
    page = plan.to_html(tmp_path / "plan.html")
    assert (tmp_path / "plan.html").read_text(encoding="utf-8") == page
    assert plan._repr_html_() in page
    assert plan._repr_html_().startswith('<div class="chainad"><style>')


def test_of_blocks_the_first_is_shown() -> None:
    page = PLANS["in_blocks"]().to_html()
    said = " ".join("".join(Checker(page).text).split())
    for part in ("in 8 blocks of columns", "to keep within 5.5 MB", "the first block: "):
        assert part in said


def test_pages_hold_any_number() -> None:
    plan = chainad.plan_chain([10**200, 3, 10**200, 5] * 40, mode="forward")
    page = plan.to_html()
    assert len(page.encode()) < MAX_BYTES
    Checker(page)


def test_what_is_left_out_is_said() -> None:
    page = PLANS["unlucky_names"]().to_html()
    assert "kinds of steps are left out here" in page


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_nothing_overlaps_is_clipped_or_pale(tmp_path: Path) -> None:
    assert not faults_of({name: make().to_html() for name, make in PLANS.items()}, tmp_path)


# How JupyterLab 4 styles what cells show.
NOTEBOOK = """
.jp-RenderedHTMLCommon {font-size: 14px; line-height: 1.6; color: #000}
.jp-RenderedHTMLCommon :not(pre) > code {background-color: #bdbdbd; padding: 1px 5px}
.jp-RenderedHTMLCommon table {table-layout: fixed; margin-left: auto; border: none; color: #000}
.jp-RenderedHTMLCommon thead {border-bottom: 1px solid; vertical-align: bottom}
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th, .jp-RenderedHTMLCommon tr {
  vertical-align: middle; padding: .5em; line-height: normal; white-space: normal; border: none}
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td {text-align: right}
.jp-RenderedHTMLCommon tbody tr:nth-child(even) {background: #eee}
.jp-RenderedHTMLCommon p {margin: 0; margin-bottom: 1em}
.jp-RenderedHTMLCommon svg {max-width: 100%; height: auto}
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize("is_light", ["true", "false"])
def test_pages_are_readable_in_notebooks_of_either_theme(is_light: str, tmp_path: Path) -> None:
    pages = {
        name: f"<!doctype html><style>{NOTEBOOK}</style><body data-jp-theme-light={is_light}>"
        f'<div class="jp-RenderedHTMLCommon">{PLANS[name]()._repr_html_()}</div>'
        for name in ("codec", "attention", "tangle")
    }
    assert not faults_of(pages, tmp_path, schemes=["light"])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
def test_the_browser_finds_what_is_wrong(tmp_path: Path) -> None:
    page = (
        """<!doctype html><p>fine<p style="position:absolute;top:9px;left:5px">over it
        <p style="width:40px;overflow:hidden;white-space:nowrap">text that is cut off
        <p style="color:#999">pale<p style="font-size:7px">small
        <p style="white-space:nowrap">"""
        + "wide " * 99
    )
    found = " ".join(faults_of({"page": page}, tmp_path, widths=[400], schemes=["light"]))
    for fault in ("overlap", "clipped", "contrast 2.8", "pixels high", "off the page", "scrolls"):
        assert fault in found


def test_thin_values_beside_wide_ones_are_seen() -> None:
    def rate(y: Any, p: Any) -> Any:
        return np.array([y[1], -p[1] * np.sin(y[0]) - p[2] * y[1]])

    def swing(p: Any) -> Any:
        y, seen = np.array([p[0], 0.0]), []
        for _ in range(9):
            one = rate(y, p)
            two = rate(y + 0.1 * one, p)
            three = rate(y + 0.1 * two, p)
            y = y + 0.1 * (one + 2 * two + 2 * three + rate(y + 0.1 * three, p))
            seen += [y, y[:1] * np.ones(40)]
        return np.concatenate(seen)

    page = chainad.plan(swing, np.ones(3), mode="forward").to_html()
    (outline,) = re.findall(r'<path class="arc forward" d="([^"]*)"', page)
    heights = [float(y) for y in re.findall(r"V([\d.]+)", outline)]
    half = len(heights) // 2
    assert all(y < z for y, z in zip(heights[:half], heights[: half - 1 : -1], strict=True))
