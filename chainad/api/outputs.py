"""The results of a program as the Jacobians requested: one block per output and argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from chainad.errors import InputError, TooLargeError
from chainad.frontends.numpy.trace import Run
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir import exact_zeros
from chainad.ir.array_functions import is_ndarray
from chainad.ir.signature import Block, Signature
from chainad.planning.machine_memory import memory_of_machine
from chainad.planning.report import bytes_text
from chainad.structure.results import DenseForm, ResultForm, StructuredJacobian, zero


def assembler(
    signature: Signature, forms: Sequence[ResultForm | None], output: str, is_single: bool
) -> Callable[[Sequence[Any]], Any]:
    """Return what makes the Jacobians of the results of a program; it keeps no arrays."""
    expected = signature.blocks
    nest = nesting(signature, is_single)
    if len(forms) == 1 and isinstance(forms[0], DenseForm) and is_single and not signature.is_tuple:
        dtype = expected[0].dtype
        return lambda arrays: _cast(arrays[0], dtype, output)

    def assemble(arrays: Sequence[Any]) -> Any:
        given = iter(arrays)
        blocks = []
        for form, block in zip(forms, expected, strict=True):
            if form is None:
                blocks.append(zero(output, *block))
            else:
                taken = [_cast(next(given), block.dtype, output) for _ in range(form.width)]
                blocks.append(form.assemble(taken, block.dtype))
        return nest(blocks)

    return assemble


def check_size(blocks: Iterable[Block]) -> None:
    """Raise TooLargeError if dense Jacobians cannot fit into the memory of this machine."""
    size = sum(prod((*each.rows, *each.cols)) * each.dtype.itemsize for each in blocks)
    memory = memory_of_machine()
    if size > memory:
        raise TooLargeError(
            f"the dense Jacobian takes {bytes_text(size)}, this machine has {bytes_text(memory)};"
            " ask for output='sparse', 'structured' or 'operator'"
        )


def is_finite(result: Any) -> bool:
    """Return whether Jacobians, or whatever else a function returns, have no nan or infinity."""
    if type(result) is np.ndarray and result.dtype.char == "d":  # the usual one
        return isfinite(np.vdot(result, result))
    if isinstance(result, StructuredJacobian):
        arrays = [factor.array for term in result.terms for factor in term]
        return exact_zeros.is_finite(arrays)
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return all(map(is_finite, result))
    if scipy.sparse.issparse(result):
        result = result.data
    is_real = isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind == "f"
    return not is_real or exact_zeros.is_finite([result])


def nesting(signature: Signature, is_single: bool) -> Callable[[Sequence[Any]], Any]:
    """Return what arranges blocks as requested, outputs first; it keeps no arrays."""
    is_tuple, count = signature.is_tuple, len(signature.inputs)
    if is_single and not is_tuple:
        return lambda blocks: blocks[0]
    return lambda blocks: _nested(is_tuple, count, blocks, is_single)


def _nested(is_tuple: bool, count: int, blocks: Sequence[Any], is_single: bool) -> Any:
    if count == 0:
        return None
    rows = [tuple(blocks[k : k + count]) for k in range(0, len(blocks), count)]
    found = tuple(row[0] if is_single else row for row in rows)
    return found if is_tuple else found[0]


def _cast(array: Any, dtype: np.dtype[Any], output: str) -> Any:
    """Return the entries of a block in its dtype, row-major; no copy if they are both already."""
    if array is None:
        return None
    if isinstance(array, Tracer):
        if output != "dense":
            raise InputError(
                f"a Jacobian with output={output!r} cannot be differentiated again;"
                " use output='dense' for the inner one"
            )
        return array
    entries: npt.NDArray[Any] = np.asarray(array, dtype, order="C")
    return entries


def returned_value(run: Run) -> Any:
    """Return what the function returned, each array contiguous and in memory of its own."""
    values = tuple(_unaliased(run, k) for k in range(len(run.values)))
    return values if run.is_tuple else values[0]


def _unaliased(run: Run, k: int) -> Any:
    (number, _), value = run.outputs[k], run.values[k]
    if not is_ndarray(value):  # a number, or traced by somebody else
        return value
    # What a call made is nobody's, if it is no view and is not returned twice.
    is_own = number is not None and value.base is None and value.flags.c_contiguous
    is_repeated = any(value is other for other in run.values[:k])
    return value if is_own and not is_repeated else np.array(value, order="C")


def write(found: Any, out: Any) -> Any:
    """Write dense blocks into the buffers of the user, once all of these fit; return them."""
    if found is not out:  # else it was written there in the first place
        _check_out(found, out)
        _copy(found, out)
    return out


def _check_out(found: Any, out: Any) -> None:
    """Refuse buffers that are not nested, shaped and typed as the blocks are."""
    if isinstance(found, tuple):
        if not isinstance(out, tuple) or len(out) != len(found):
            raise InputError(
                f"out must be a tuple of {len(found)} arrays, nested as the result is, but got"
                f" {type(out).__name__}"
            )
        for one, into in zip(found, out, strict=True):
            _check_out(one, into)
        return
    if not is_ndarray(found):
        raise InputError(
            f"out= takes dense Jacobians, but this one is a {type(found).__name__};"
            " leave out= away, or use output='dense'"
        )
    if not is_ndarray(out) or out.shape != found.shape or out.dtype != found.dtype:
        got = f"{out.dtype} {out.shape}" if is_ndarray(out) else type(out).__name__
        raise InputError(f"out must be an array of {found.dtype} {found.shape}, but got {got}")
    if not out.flags.writeable:
        raise InputError("out must be writeable, but got a read-only array; pass a copy of it")


def _copy(found: Any, out: Any) -> None:
    if isinstance(found, tuple):
        for one, into in zip(found, out, strict=True):
            _copy(one, into)
    else:
        np.copyto(out, found)
