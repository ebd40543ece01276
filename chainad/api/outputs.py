"""The results of a program as the Jacobians requested: one block per output and argument."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from chainad.errors import InputError, TooLargeError
from chainad.frontends.numpy.trace import Run
from chainad.frontends.numpy.tracers import Tracer
from chainad.ir import exact_zeros, trees
from chainad.ir.array_functions import is_ndarray
from chainad.ir.signature import Block
from chainad.ir.trees import LEAF, Tree
from chainad.planning.machine_memory import memory_of_machine
from chainad.planning.views.quantities import bytes_text
from chainad.structure.results import DenseForm, ResultForm, StructuredJacobian, zero


def assembler(
    run: Run, forms: Sequence[ResultForm | None], output: str, is_single: bool
) -> Callable[[Sequence[Any]], Any]:
    """Return what makes the Jacobians of the results of a program; it keeps no arrays."""
    tree = nesting(run.result, run.arguments, is_single)
    expected = run.signature.blocks
    if tree is LEAF and isinstance(forms[0], DenseForm):
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
        return tree.unflatten(blocks)

    return assemble


def nesting(result: Tree, arguments: Sequence[Tree], is_single: bool) -> Tree:
    """Return how the blocks of a Jacobian are arranged: as the result, over the arguments."""
    over = arguments[0] if is_single and arguments else trees.tuple_of(tuple(arguments))
    return result.compose(over)


def check_size(nbytes: int) -> None:
    """Raise TooLargeError if dense Jacobians of so many bytes cannot fit into this machine."""
    memory = memory_of_machine()
    if nbytes > memory:
        raise TooLargeError(
            f"the dense Jacobian takes {bytes_text(nbytes)}, this machine has"
            f" {bytes_text(memory)}; ask for output='sparse', 'structured' or 'operator', or write"
            " it to a disk: chainad.stream(f, x, into=...)"
        )


def is_finite(result: Any) -> bool:
    """Return whether Jacobians, or whatever else a function returns, have no nan or infinity."""
    if type(result) is np.ndarray and result.dtype.char == "d":  # the usual one
        return isfinite(np.vdot(result, result))
    leaves, tree = trees.flatten(result)
    return _is_finite(result) if tree is LEAF else all(map(is_finite, leaves))


def _is_finite(block: Any) -> bool:
    if isinstance(block, StructuredJacobian):
        arrays = [factor.array for term in block.terms for factor in term]
        return exact_zeros.is_finite(arrays)
    if scipy.sparse.issparse(block):
        block = block.data
    is_real = isinstance(block, (np.ndarray, np.generic)) and block.dtype.kind == "f"
    return not is_real or exact_zeros.is_finite([block])


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
    return run.result.unflatten([_unaliased(run, k) for k in range(len(run.values))])


def _unaliased(run: Run, k: int) -> Any:
    number, value = run.outputs[k], run.values[k]
    if not is_ndarray(value):  # a number, or traced by somebody else
        return value
    # What a call made is nobody's, if it is no view and is not returned twice.
    is_own = number is not None and value.base is None and value.flags.c_contiguous
    is_repeated = any(value is other for other in run.values[:k])
    return value if is_own and not is_repeated else np.array(value, order="C")


def write(found: Any, out: Any) -> Any:
    """Write dense blocks into the buffers of the user, once all of these fit; return them."""
    if found is out:  # it was written there in the first place
        return out
    for block, buffer in zip(trees.flatten(found)[0], checked_buffers(found, out), strict=True):
        if not is_same_memory(block, buffer):
            np.copyto(buffer, block)
    return out


def checked_buffers(found: Any, out: Any) -> list[npt.NDArray[Any]]:
    """Return the buffers of the user for dense blocks, once all of these fit."""
    blocks, tree = trees.flatten(found)
    buffers = nested_in("out", out, tree)
    for block, buffer in zip(blocks, buffers, strict=True):
        _check_out(block, buffer)
    return buffers


def nested_in(name: str, out: Any, tree: Tree) -> list[Any]:
    """Return the arrays in an argument that is called `name` and nested as the Jacobian is.

    Raises
    ------
    InputError
        If it is not.
    """
    buffers, own = trees.flatten(out)
    if own != tree:
        raise InputError(
            f"{name} must be {_described(tree)}, nested as the Jacobian is, but got"
            f" {type(out).__name__}"
        )
    return buffers


def is_same_memory(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> bool:
    """Return whether two arrays of one shape and dtype are views of the same entries."""
    return one.ctypes.data == two.ctypes.data and one.strides == two.strides


def map_of(array: Any) -> np.memmap[Any, Any] | None:
    """Return the whole memory map of a file that an array is, or is a view of; None if it is not.

    What is computed from a map has its type, but is none.
    """
    found = None
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            found = array
        array = array.base
    return found


def is_on_disk(out: Any) -> bool:
    """Return whether all arrays in `out` are memory maps of files, which may be written."""
    if out is None:
        return False
    maps = map(map_of, trees.flatten(out)[0])
    return all(mapped is not None and mapped.mode in ("r+", "w+") for mapped in maps)


def reserve(array: Any) -> None:
    """Reserve the room of a memory map on the disk: a file may have holes.

    On a full disk to write into one kills the process.

    Raises
    ------
    OSError
        If the disk is full.
    """
    mapped = map_of(array)
    if mapped is None or mapped.filename is None or not hasattr(os, "posix_fallocate"):
        return
    try:
        file = open(mapped.filename, "r+b")  # noqa: SIM115
    except OSError:  # it was removed meanwhile, say
        return
    with file:
        if mapped.nbytes and os.fstat(file.fileno()).st_size >= mapped.offset + mapped.nbytes:
            os.posix_fallocate(file.fileno(), mapped.offset, mapped.nbytes)


def buffers_in(
    out: Any,
    tree: Tree,
    forms: Sequence[ResultForm | None],
    blocks: Sequence[Block],
    read: Sequence[Any],
) -> list[Any] | None:
    """Return the arrays in `out` that the results, but zero ones, can be written into directly.

    None if these are to be refused, or might hold what is `read` meanwhile.
    """
    buffers, own = trees.flatten(out)
    plain = (np.ndarray, np.memmap, float, int, type(None))
    if own != tree or not all(type(x) in plain or isinstance(x, np.generic) for x in read):
        return None
    found: list[Any] = []
    for buffer, form, block in zip(buffers, forms, blocks, strict=True):
        if form is None:
            continue
        shape = (*block.rows, *block.cols)
        is_dense = isinstance(form, DenseForm) and form.shape == shape
        if not is_dense or not is_fitting(buffer, shape, block.dtype, [*read, *found]):
            return None
        found.append(np.asarray(buffer))
    return found


def is_fitting(buffer: Any, shape: tuple[int, ...], dtype: np.dtype[Any], read: Any) -> bool:
    """Return whether a result can be written into a buffer while some arrays are read."""
    is_array = type(buffer) in (np.ndarray, np.memmap)
    if not is_array or not buffer.flags.writeable or not buffer.flags.c_contiguous:
        return False
    if (buffer.shape, buffer.dtype) != (shape, dtype):
        return False
    return not any(np.may_share_memory(buffer, x) for x in read if is_ndarray(x))


def _described(tree: Tree) -> str:
    if tree.type is None:
        return "an array"
    return f"a {tree.type.__name__} of {tree.num_leaves} arrays"


def _check_out(found: Any, out: Any) -> None:
    """Refuse a buffer that is not shaped and typed as the block is."""
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
