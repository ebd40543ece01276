"""Targets: what a backend brings along to lowering, so that no module here names one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from chainad.ir.ops import Full
from chainad.ir.program import Build, Program
from chainad.ir.program_builder import ProgramBuilder
from chainad.ir.signature import Signature

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

    def of(self, signature: Signature) -> Target:
        """Return the target of runs of a signature: what programs bring has the dtype of these."""
        dtypes = {block.dtype for block in signature.blocks}
        if len(dtypes) != 1:
            return self
        (dtype,) = dtypes
        if dtype == np.float64:
            return self
        return replace(self, passes=(*self.passes, partial(_typed, dtype)))


def _typed(
    dtype: np.dtype[Any], program: Program, builder: ProgramBuilder
) -> tuple[Program, ProgramBuilder]:
    """Give the numbers that a program brings a dtype: doubles would turn all others to doubles."""
    instructions = tuple(
        replace(i, op=replace(i.op, dtype=dtype)) if isinstance(i.op, Full) else i
        for i in program.instructions
    )
    return replace(program, instructions=instructions), builder
