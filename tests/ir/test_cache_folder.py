"""The folder of files for later processes: where it is, and files that are written whole or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from chainad.ir.cache_folder import cache_folder, write_atomically


def test_the_folder_is_the_one_that_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.delenv("CHAINAD_CACHE", raising=False)
    assert cache_folder() == tmp_path / "b" / "chainad"
    monkeypatch.setenv("CHAINAD_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a" / "chainad"


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINAD_CACHE", f"here-{tmp_path.name}")
    monkeypatch.chdir(tmp_path)
    wanted = tmp_path / f"here-{tmp_path.name}" / "chainad"
    assert cache_folder() == wanted
    monkeypatch.chdir("/")
    assert cache_folder() == wanted


def test_a_relative_folder_of_the_platform_is_ignored(monkeypatch: Any) -> None:
    monkeypatch.delenv("CHAINAD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache_folder().is_absolute()
    assert "here" not in cache_folder().parts


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")

    def refuse(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert [each.name for each in path.parent.iterdir()] == ["file"]
