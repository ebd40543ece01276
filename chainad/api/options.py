"""The options of a Jacobian: everything but the function and its arguments, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypedDict, get_args

import numpy as np

from chainad.api.function_of import name_of, parameter_names
from chainad.backends.numba.scalar import check_installed
from chainad.compiler.scalar.replay_scalar import Backend
from chainad.errors import InputError, unknown
from chainad.frontends.numpy.trace import Key
from chainad.ir.executors import checked_executor, workers_of
from chainad.ir.progress import ProgressOption, checked_progress
from chainad.planning.auto import Mode, check_mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName, model_of
from chainad.planning.memory import bytes_of
from chainad.planning.search.budget import (
    COMPILED_CALLS,
    EXPECTED_CALLS,
    Effort,
    SearchOptions,
    search_options,
)
from chainad.planning.views.quantities import listed
from chainad.structure.results import Output


@dataclass(frozen=True)
class Options:
    """The options of a Jacobian; `memory_limit` is in bytes.

    They are pickled without what belongs to this process: the executor, and what is told of
    progress. `carries_masks` says that what is recorded is for results that are not finite: it
    multiplies exact zeros by nan and infinity correctly. `is_hessian` says that the function is a
    Jacobian itself, `is_on_disk` that dense results are written into arrays on disk, which count
    towards no memory.
    """

    argnums: Key | tuple[Key, ...]
    mode: Mode | ChunkedPlan
    output: Output
    cost: CostName | CostModel
    memory_limit: int | None
    search: SearchOptions
    backend: Backend
    constant: frozenset[str] = frozenset()
    has_aux: bool = False
    carries_masks: bool = False
    is_hessian: bool = False
    is_on_disk: bool = False
    chunk_size: int | None = None
    executor: Executor | None = None
    background: bool = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"search": self.search.key, "executor": None}

    @property
    def at_once(self) -> int:
        """How many parts of the work run at the same time."""
        return 1 if self.executor is None else workers_of(self.executor)

    @property
    def progress(self) -> ProgressOption:
        """What is told of progress: of searches, of points, and of blocks."""
        return self.search.progress

    @property
    def is_single(self) -> bool:
        """Whether one argument is differentiated by, so that its Jacobian needs no tuple."""
        return not isinstance(self.argnums, tuple)

    def selected(
        self, f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Key, ...]:
        """Return which arguments of a call are differentiated by: positions, and given names.

        Raises
        ------
        InputError
            If there is no such argument, or one is named twice.
        """
        count, argnums = len(args), self.argnums
        if type(argnums) is int and 0 <= argnums < count:  # the usual one
            return (argnums,)
        wanted = argnums if isinstance(argnums, tuple) else (argnums,)
        found = tuple([key_of(k, f, count, kwargs, "argnums", argnums) for k in wanted])
        if len(set(found)) != len(found):
            raise InputError(f"argnums={argnums!r} names an argument twice")
        return found

    def positions(self, f: Callable[..., Any], count: int) -> tuple[int, ...]:
        """Return which of `count` positional arguments are differentiated by; no others may be."""
        return tuple([k for k in self.selected(f, range(count), {}) if isinstance(k, int)])

    def title(self, f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return what reports call the function of such a call."""
        return f"{name_of(f)}({listed(self.names(f, args, kwargs))})"

    def names(
        self, f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[str]:
        """Return what the function calls the arguments that it is differentiated by."""
        known = dict(enumerate(parameter_names(f)))
        keys = self.selected(f, args, kwargs)
        return [k if isinstance(k, str) else known.get(k, f"x{k}") for k in keys]


# Those of a function that is not differentiated.
EVALUATION = Options(
    (), "auto", "dense", "multiplications", None, search_options("balanced"), "auto"
)


def key_of(
    k: Key, f: Callable[..., Any], count: int, kwargs: Mapping[str, Any], option: str, asked: object
) -> Key:
    """Return the key of an argument in a call with `count` positional ones.

    `option` has the value `asked`, which asks for it.
    """
    if isinstance(k, int):
        if not -count <= k < count:
            by_name = f"; those given by name are asked for by name: {', '.join(map(repr, kwargs))}"
            raise InputError(
                f"{option}={asked!r} asks for positional argument {k}, but only {count} were given"
                f"{by_name if kwargs else ''}"
            )
        return k % count
    if k in kwargs:
        return k
    names = parameter_names(f)
    position = names.index(k) if k in names else count
    if position >= count:
        raise InputError(
            f"{option}={asked!r} asks for argument {k!r}, which was not given to {name_of(f)};"
            f" given are {', '.join(map(repr, [*names[:count], *kwargs])) or 'none'}"
        )
    return position


class How(TypedDict, total=False):
    """The options that every verb takes; `jacobian` says what they are."""

    mode: Mode | ChunkedPlan
    cost: CostName | CostModel
    memory_limit: int | str | None
    effort: Effort
    seed: int
    progress: ProgressOption
    backend: Backend
    constant: str | Sequence[str]
    chunk_size: int | None
    executor: Executor | None


def checked_how(verb: str, how: Mapping[str, Any]) -> None:
    """Refuse options that `verb` does not take, such as arguments of the function.

    Raises
    ------
    InputError
    """
    for name in how:
        if name not in How.__annotations__:
            raise InputError(
                f"{verb} has no option {name}=; choose {', '.join(How.__annotations__)}. An"
                f" argument of the function is fixed by functools.partial(f, {name}=...)"
            )


def checked_options(
    argnums: Key | Sequence[Key],
    *,
    output: Output = "dense",
    has_aux: bool = False,
    mode: Mode | ChunkedPlan = "auto",
    cost: CostName | CostModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
    backend: Backend = "auto",
    constant: str | Sequence[str] = (),
    chunk_size: int | None = None,
    executor: Executor | None = None,
) -> Options:
    """Return the options, checked in the line of the user where they are given.

    Raises
    ------
    PlanError
        If the mode, the cost, the effort or the seed is none.
    InputError
        If `argnums`, `output`, `memory_limit`, `progress`, `backend`, `constant`, `chunk_size` or
        `executor` is none.
    """
    model_of(cost)  # refuses an unknown one
    return Options(
        argnums=_checked_argnums(argnums),
        mode=mode if isinstance(mode, ChunkedPlan) else check_mode(mode),
        output=_checked_output(output),
        cost=cost,
        memory_limit=None if memory_limit is None else bytes_of(memory_limit),
        search=search_options(effort, seed, progress),
        backend=_checked_backend(backend),
        constant=_checked_constant(constant),
        has_aux=has_aux,
        chunk_size=checked_chunk_size(chunk_size),
        executor=checked_executor(executor),
    )


def check_has_parts(options: Options, batch: object) -> None:
    """Refuse what says how parts run, where there are none: neither points nor blocks.

    Raises
    ------
    InputError
    """
    if batch is not None or (options.executor is None and options.chunk_size is None):
        return
    if options.output != "dense":
        raise InputError(
            "executor= and chunk_size= are for the points of batch=, or the blocks of a dense"
            f" Jacobian, but output={options.output!r}"
        )
    limits = options.chunk_size, options.memory_limit
    if limits == (None, None) and not isinstance(options.mode, ChunkedPlan):
        raise InputError(
            "executor= runs the points of batch=, or the blocks that chunk_size= or memory_limit="
            " makes of one Jacobian; give one of these"
        )


def with_compilation(
    options: Options,
    backend: Backend | None,
    constant: str | Sequence[str],
    progress: ProgressOption = False,
    chunk_size: int | None = None,
    executor: Executor | None = None,
    background: bool = False,
) -> Options:
    """Return options with what is told when a function is compiled.

    None, () and False change nothing.

    Raises
    ------
    InputError
        If there is no such backend, `constant` is no names, `progress` no function,
        `chunk_size` or `executor` none, or `background` is for nothing.
    """
    if backend is None:
        backend = options.backend
    if background and backend != "numba":
        raise InputError(
            "background=True is for backend='numba', which compiles for seconds, but got"
            f" backend={backend!r}"
        )
    search = options.search
    if search.expected_calls == EXPECTED_CALLS:
        search = replace(search, expected_calls=COMPILED_CALLS)
    if progress is not False:
        search = replace(search, progress=checked_progress(progress))
    return replace(
        options,
        backend=_checked_backend(backend),
        background=options.background or background,
        constant=options.constant | _checked_constant(constant),
        search=search,
        chunk_size=options.chunk_size if chunk_size is None else checked_chunk_size(chunk_size),
        executor=options.executor if executor is None else checked_executor(executor),
    )


def _checked_argnums(argnums: Key | Sequence[Key]) -> Key | tuple[Key, ...]:
    if _is_key(argnums):
        return _as_key(argnums)
    keys = [*argnums] if np.iterable(argnums) else []
    if keys and all(map(_is_key, keys)):
        return tuple(map(_as_key, keys))
    raise InputError(
        "argnums must be a position (int) or name (str) of an argument, or a non-empty sequence of"
        f" these, but got {argnums!r}"
    )


def _is_key(value: Any) -> bool:
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return is_int or isinstance(value, str)


def _as_key(value: Any) -> Key:
    return value if isinstance(value, str) else int(value)


def _checked_output(output: Output) -> Output:
    if output not in get_args(Output):
        raise InputError(unknown("output", output, get_args(Output)))
    return output


def checked_chunk_size(chunk_size: int | None) -> int | None:
    """Return a size of chunks; raise InputError if it is none."""
    is_int = isinstance(chunk_size, (int, np.integer)) and not isinstance(chunk_size, bool)
    if chunk_size is None or (is_int and chunk_size > 0):
        return chunk_size
    raise InputError(f"chunk_size must be a positive integer, but got {chunk_size!r}")


def _checked_constant(constant: str | Sequence[str]) -> frozenset[str]:
    names = [constant] if isinstance(constant, str) else list(constant)
    if not all(isinstance(name, str) for name in names):
        raise InputError(
            "constant must be a name or a sequence of names of what the function reads, such as"
            f" 'table' or 'self.table', but got {constant!r}"
        )
    return frozenset(names)


def _checked_backend(backend: Backend) -> Backend:
    if backend not in get_args(Backend):
        raise InputError(unknown("backend", backend, get_args(Backend)))
    if backend == "numba":
        check_installed()
    return backend
