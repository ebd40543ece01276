"""Pages as a browser shows them: what overlaps, is clipped or cannot be read, and pictures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from html import escape, unescape
from pathlib import Path
from typing import Literal

Scheme = Literal["light", "dark"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

MEASURE = Path(__file__).with_name("measure_page.js").read_text(encoding="utf-8")


def faults_of(
    pages: Mapping[str, str],
    folder: Path,
    widths: Iterable[int] = (400, 800, 1400),
    schemes: Iterable[Scheme] = ("light", "dark"),
) -> list[str]:
    """Return what is wrong with pages as they are shown, with every part of them unfolded.

    Texts that lie on one another or on a bar, that are cut off, small, or pale, and what has to be
    scrolled sideways.
    """
    found: list[str] = []
    for scheme in schemes:
        frames = "".join(
            f'<iframe title="{escape(name)}, {width} wide, {scheme}" data-scheme="{scheme}"'
            f' data-open="{is_open}" width="{width}" height="3000" srcdoc="{escape(page)}">'
            "</iframe>"
            for name, page in pages.items()
            for width in widths
            for is_open in ("false", "true")
        )
        outer = folder / f"pages_{scheme}.html"
        outer.write_text(
            f"<!doctype html><meta charset=utf-8><title>pages</title>{frames}"
            f"<script>{MEASURE}</script>",
            encoding="utf-8",
        )
        shown = _run(folder, scheme, "--dump-dom", outer.as_uri())
        faults = re.search(r'<pre id="faults">(.*?)</pre>', shown, re.S)
        assert faults, "the browser measured nothing"
        found += json.loads(unescape(faults.group(1)))
    return found


def screenshot(page: str, picture: Path, width: int, height: int, scheme: Scheme = "light") -> None:
    """Save what a page looks like."""
    # Windows have a least width; frames have none.
    color = "#121212" if scheme == "dark" else "#fff"
    outer = picture.with_suffix(".html")
    outer.write_text(
        f'<!doctype html><meta charset=utf-8><body style="margin:0;background:{color}"><iframe'
        f' style="border:0" width="{width}" height="{height}" srcdoc="{escape(page)}"></iframe>',
        encoding="utf-8",
    )
    size = f"--window-size={width},{height}"
    _run(picture.parent, scheme, size, f"--screenshot={picture}", outer.as_uri())
    outer.unlink()


def _run(folder: Path, scheme: Scheme, *arguments: str) -> str:
    """Run the browser once, with all it keeps under `folder`; return what it prints."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
        f"--user-data-dir={folder / 'browser'}",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout
