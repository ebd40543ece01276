"""Replays scalar programs at one point: from the arguments of a call to value and Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np

from chainad.backends import python
from chainad.backends.namespace import Namespace
from chainad.backends.numba import generated_modules
from chainad.backends.numba import scalar as numba
from chainad.backends.numpy import vector
from chainad.compiler.recording.arguments import argument_checks
from chainad.compiler.recording.recording import Recording
from chainad.compiler.recording.replay import Replay, SecondHalf, bind_arguments, holds_still
from chainad.compiler.scalar.lower_to_scalars import LoweredScalars
from chainad.ir.scalar_graph import NotScalarError
from chainad.ir.scalar_program import ScalarProgram

Nested = Callable[[Sequence[Any]], Any]

Backend: TypeAlias = Literal["auto", "numpy", "python", "numba"]


def replay_by_scalars(
    recording: Recording,
    program: LoweredScalars,
    backend: str,
    scalars: Sequence[bool],
    nested: Nested,
    is_tuple: bool,
    is_split: bool = False,
) -> tuple[Replay, str]:
    """Return what computes one point, and its source.

    Parameters
    ----------
    recording, program
        What is computed.
    backend : str
        "python" or "numba".
    scalars : sequence of bool
        Whether the value of each output is a NumPy scalar rather than an array.
    nested : callable
        Arranges the blocks of the Jacobian as the user asked.
    is_tuple : bool
        Whether the function returns several outputs.
    is_split : bool
        Whether a `SecondHalf` is returned in the place of the Jacobian.

    Raises
    ------
    NotScalarError
        If the backend lacks a function or a dtype.
    """
    check_supported(program, backend)
    names = Namespace(array=np.array, float64=np.float64, nested=nested)
    if is_split:
        names.objects |= {"SecondHalf": SecondHalf, "holds": holds_still(recording, True)}
    if backend == "python":
        arrays = [
            f"array(y{k}, float64)" + ("" if len(shape) == 1 else f".reshape({shape})")
            for k, shape in enumerate(program.shapes)
        ]
    else:
        arrays = [
            f"y{k}" if shape else f"y{k}.reshape(())" for k, shape in enumerate(program.shapes)
        ]
    n_values = len(scalars) if program.has_value else 0
    values = [
        f"float64(y{k}[0])" if is_scalar else array
        for k, (is_scalar, array) in enumerate(zip(scalars, arrays, strict=False))
    ][:n_values]
    value = f"({', '.join(values)},)" if is_tuple and values else (*values, "()")[0]
    blocks = arrays[n_values:]
    is_bare = len(blocks) == 1 and nested(blocks) is blocks[0]
    jacobian = blocks[0] if is_bare else f"nested([{', '.join(blocks)}])"
    if not blocks:
        jacobian = repr(nested([]))
    write = _WRITERS[backend, is_split]
    text, lines = write(recording, program, n_values, names)
    if is_split:
        lines += [f"    return {jacobian}"]
        jacobian = "SecondHalf(finish, holds)"
    lines.append(f"return {value if n_values or is_tuple else None}, {jacobian}")
    replay, source = names.define("replay(args, kwargs, out=None)", lines)
    return replay, f"{text}\n{source}"


def _by_python(
    recording: Recording, program: LoweredScalars, n_values: int, names: Namespace
) -> tuple[str, list[str]]:
    """Return Python source, and lines that call it and give names to its results."""
    ssa = program.ssa
    names.objects["work"], text = python.build(ssa)
    names.objects["by_numpy"] = by_numpy(ssa)
    results = _names_of(range(len(ssa.outputs)))
    lists = ", ".join(_as_list(program, k) for k in program.arguments)
    rows = ", ".join(f"v{k}" for k in program.arguments)
    return text, [
        *bind_arguments(recording, names, holds_constants=True),
        "try:",
        f"    ({results}) = work({lists})",
        "except (ArithmeticError, ValueError):",
        f"    ({results}) = by_numpy({rows})",
        *_guard(program),
    ]


def _by_python_in_halves(
    recording: Recording, program: LoweredScalars, n_values: int, names: Namespace
) -> tuple[str, list[str]]:
    """Return Python source, and lines that call it; the last ones define `finish`."""
    n_outputs, n_arrays = len(program.ssa.outputs), len(program.shapes)
    first, rest = [*range(n_values), *range(n_arrays, n_outputs)], range(n_values, n_arrays)
    names.objects["work"], text = python.build_split(program.ssa, first)
    names.objects |= {"by_numpy": by_numpy(program.ssa), "refuse": _refuse}
    lists = "".join(f"{_as_list(program, k)}, " for k in program.arguments)
    everything = f"({_names_of(range(n_outputs))}) = by_numpy(*rows)"
    return text, [
        *bind_arguments(recording, names, holds_constants=True),
        f"rows = ({lists})",
        "try:",
        f"    ({_names_of(first)}), rest = work(*rows)",
        "except (ArithmeticError, ValueError):",
        f"    {everything}",
        "    rest = refuse",
        *_guard(program),
        "def finish(out=None):",
        "    try:",
        f"        ({_names_of(rest)}) = rest()",
        "    except (ArithmeticError, ValueError):",
        f"        {everything}",
    ]


def _by_numba(
    recording: Recording, program: LoweredScalars, n_values: int, names: Namespace
) -> tuple[str, list[str]]:
    """Return numba source, and lines that call it and give names to its results."""
    outputs = range(len(program.ssa.outputs))
    checks = argument_checks(*recording.arguments, names.constant)
    text, lines = _machine_code(program, outputs, "work", checks, names)
    return text, [*_bound_briefly(recording, names), *lines]


def _by_numba_in_halves(
    recording: Recording, program: LoweredScalars, n_values: int, names: Namespace
) -> tuple[str, list[str]]:
    """Return numba source, and lines that call it; the last ones define `finish`.

    The second half does the work of the first one again, which takes less time than to keep it.
    """
    n_outputs = len(program.ssa.outputs)
    first = [*range(n_values), *range(len(program.shapes), n_outputs)]
    checks = argument_checks(*recording.arguments, names.constant)
    text, values = _machine_code(program, first, "work_on_values", checks, names)
    whole, finish = _machine_code(program, range(n_outputs), "work", [], names)
    lines = [*_bound_briefly(recording, names), *values, "def finish(out=None):"]
    return f"{text}\n{whole}", [*lines, *(f"    {line}" for line in finish)]


def _bound_briefly(recording: Recording, names: Namespace) -> list[str]:
    # Machine code raises for arrays of other dtypes and layouts: only then these are checked.
    return bind_arguments(recording, names, holds_constants=True, is_brief=True)


def _machine_code(
    program: LoweredScalars,
    outputs: Sequence[int],
    name: str,
    checks: Sequence[str],
    names: Namespace,
) -> tuple[str, list[str]]:
    """Return numba source for some outputs, and lines that call it by a name.

    They return MISS where a guard does not hold; `checks` are those of the arguments.
    """
    arrays = [k for k in outputs if k < len(program.shapes)]
    inputs = [argument.shape for argument in program.arguments.values()]
    shapes = [program.shapes[k] for k in arrays]
    text = numba.source_at_point(program.ssa.restricted(outputs), inputs, shapes)
    generated_modules.load_into(names.objects, name, text)
    names.objects["contiguous"] = contiguous
    results = [f"y{k}" for k in arrays]
    direct_arguments, copied_arguments = (
        ", ".join([*(_as_array(program, k, is_copied) for k in program.arguments), *results])
        for is_copied in (False, True)
    )
    lines = [f"{y} = empty({shape or 1})" for y, shape in zip(results, shapes, strict=True)]
    lines += [
        "try:",
        f"    is_valid = {name}({direct_arguments})",
        "except TypeError:",
        *(f"    {line}" for line in checks),
        f"    is_valid = {name}({copied_arguments})  # of what is not aligned",
    ]
    if program.has_guard:
        lines += ["if not is_valid:", "    return MISS"]
    return text, lines


_Writer = Callable[[Recording, LoweredScalars, int, Namespace], tuple[str, list[str]]]

# By backend, and by whether the work is done in two halves.
_WRITERS: dict[tuple[str, bool], _Writer] = {
    ("python", False): _by_python,
    ("python", True): _by_python_in_halves,
    ("numba", False): _by_numba,
    ("numba", True): _by_numba_in_halves,
}


def _names_of(outputs: Iterable[int]) -> str:
    return "".join(f"y{k}, " for k in outputs)


def _refuse() -> Any:
    """Raise where Python's numbers have already been refused."""
    raise ArithmeticError


def _guard(program: LoweredScalars) -> list[str]:
    if not program.has_guard:
        return []
    return [f"if not y{len(program.shapes)}[0]:", "    return MISS"]


def check_supported(program: LoweredScalars, backend: str) -> None:
    """Raise NotScalarError for functions and dtypes that a scalar backend lacks."""
    if backend == "numba":
        numba.check_installed()
    absent = (numba if backend == "numba" else python).unsupported(program.ssa)
    if absent:
        raise NotScalarError(f"no scalar form of {', '.join(absent)}")
    if program.dtype != np.float64:
        raise NotScalarError(f"the arrays are {program.dtype}")


def by_numpy(ssa: ScalarProgram) -> Callable[..., tuple[Any, ...]]:
    """Return what computes one point by NumPy, with its infinities and nans; built when needed."""
    runner = cache(lambda: vector.build(ssa, np.dtype(float)))
    sizes = [len(output) for output in ssa.outputs]

    def compute(*arrays: Any) -> tuple[Any, ...]:
        rows = [np.empty((1, size)) for size in sizes]
        runner()([np.reshape(x, (1, -1)) for x in arrays], rows)
        return tuple(row[0] for row in rows)

    return compute


def contiguous(row: Any) -> Any:
    """Return a copy of an array that compiled code can read."""
    return np.array(row, float, order="C")


def _as_list(program: LoweredScalars, number: int) -> str:
    shape = program.arguments[number].shape
    if not shape:
        return f"(float(v{number}),)"
    return f"v{number}.tolist()" if len(shape) == 1 else f"v{number}.ravel().tolist()"


def _as_array(program: LoweredScalars, number: int, is_copied: bool) -> str:
    argument = program.arguments[number]
    if not argument.shape:
        return f"float(v{number})"
    return f"v{number}" if argument.is_c_contiguous and not is_copied else f"contiguous(v{number})"
