"""Targets: what a backend brings along to lowering, so that no module here names one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from chainad.compiler.passes.program_builder import ProgramBuilder
from chainad.ir.program import Build, Program

# Takes a program and the builder that built it, which knows the shapes; returns a faster one.
Pass: TypeAlias = Callable[[Program, ProgramBuilder], tuple[Program, ProgramBuilder]]


@dataclass(frozen=True)
class Target:
    """What runs programs.

    Attributes
    ----------
    build : callable
        Returns what runs a program.
    passes : tuple of callables
        Rewrite a program in ways that pay off there.
    """

    build: Build
    passes: tuple[Pass, ...] = ()
