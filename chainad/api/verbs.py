"""The verbs for functions: jacobian, value_and_jacobian, compile, plan, stop_gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

from chainad.api import product_signatures, signatures
from chainad.api.function_of import name_of
from chainad.api.holomorphic import HolomorphicJacobianFunction
from chainad.api.jacobian_functions import (
    JacobianFunction,
    ValueAndJacobianFunction,
    compiled_function,
)
from chainad.api.options import checked_options
from chainad.api.points import Batch
from chainad.api.signatures import typed_as
from chainad.compiler.scalar.replay_scalar import Backend
from chainad.errors import InputError
from chainad.frontends.numpy.recorded_values import detached
from chainad.frontends.numpy.trace import Key
from chainad.ir.progress import ProgressOption
from chainad.planning.auto import Mode
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.cost_models import CostModel, CostName
from chainad.planning.search.budget import Effort
from chainad.structure.results import Output


@typed_as(signatures.jacobian)
def jacobian(
    f: Callable[..., Any],
    argnums: Key | Sequence[Key] = 0,
    *,
    mode: Mode | ChunkedPlan = "auto",
    output: Output = "dense",
    cost: CostName | CostModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
    backend: Backend = "auto",
    batch: Batch | None = None,
    constant: str | Sequence[str] = (),
    holomorphic: bool = False,
    has_aux: bool = False,
    chunk_size: int | None = None,
    executor: Executor | None = None,
) -> Any:
    """Return a function that computes the Jacobian of `f` at the lowest cost.

    Parameters
    ----------
    f : callable
        A function of NumPy arrays, written with `import numpy as np` as usual. It returns floats:
        a number, an array, or a (nested) list of numbers, which is an array; or a container of
        these (a tuple, a dict, a list with an array in it), which is several outputs, ragged or
        not. What does not depend on the arguments has a Jacobian of exact zeros; boolean and
        integer arrays are refused.
    argnums : int, str, or sequence of these
        The arguments to differentiate by, by position or by name: arrays of real floats (float32,
        float64), or containers of these. Of a (nested) dict, list, tuple, namedtuple, or whatever
        type is registered with optree, the Jacobian has an array for every array in it; a (nested)
        list of numbers alone is an array.
    mode : str, sequence of int, Plan or callable
        In which order the local Jacobians are multiplied: "auto" (the cheapest found), "forward",
        "reverse", "hybrid" (the cheapest found that is neither), the name of another planner
        ("chain", "markowitz", "greedy", "relative", "fill", "exhaustive", "blocks", "window",
        "annealing", "repeats", "edges"), an elimination order (of vertices and
        `EdgeElimination`), a `Plan`, or a function from a `LinearGraph` to an order.
    output : str
        The form in which the Jacobian is returned:

        - "dense": an array of shape `f(x).shape + x.shape`;
        - "sparse": a `scipy.sparse.csr_array` of shape `(f(x).size, x.size)`, in canonical format;
          its pattern follows from the structure alone, so an entry may happen to be zero; of
          float32 where the values are of float16, which SciPy's matrices lack;
        - "structured": a `StructuredJacobian`, the entries it really has (a diagonal as a vector,
          one block per sample, thin factors unmultiplied: `plan` counts their product, too);
        - "operator": a `scipy.sparse.linalg.LinearOperator` of shape `(f(x).size, x.size)` that
          never accumulates the Jacobian; `mode` plays no part.

        Only dense Jacobians can be differentiated again.
    cost : str or CostModel
        What the plan is to make small: "multiplications" (scalar ones; a product with +1 or -1
        everywhere is free), "all_multiplications" (such products counted like any others, the
        convention of published tables), "bytes" (read from memory and written there), "time" (by
        the table of `calibrate`, or a shipped one), "peak" (the bytes of all arrays alive at
        once), or a model of your own.
    memory_limit : int or str, optional
        Bytes, or text such as "2 GB", that the plan keeps within: with another order if need be,
        else with the dense Jacobian accumulated in blocks of columns or rows, which costs more.
        What counts is the peak of a plan (`dense_bytes` of `Plan.peak`, or `bytes` where the
        output is not dense): all local Jacobians, the products alive at one time, and the result;
        the values inside `f` do not, nor does a result that is written into an `np.memmap` (see
        `out` below, and `stream`). A compiled function keeps the arrays that it writes products
        into, and may hold twice as much.
    effort : str or float
        How hard to search for a cheap order: "fast", "balanced", "thorough" (seconds to a minute),
        or a number of seconds, which bounds the search beyond what every plan takes. Ctrl-C ends a
        thorough search, or one of some seconds, with the best order so far, and a FallbackWarning.
    seed : int
        Of the random choices of the search: the same seed gives the same plan, unless the effort
        is a number of seconds.
    progress : bool or callable
        What is told how far a search is, a batch, or a Jacobian in blocks: a function of a
        `Progress` (its `task`, `done`, `total`, and `best`, the cost of the best order so far),
        which ends a search, as Ctrl-C does, by raising StopIteration; or True for a bar, where tqdm
        is installed and stderr is a terminal.
    backend : str
        What runs batches, and this function compiled: "numpy", "python", "numba" or "auto"; see
        `compile`. With "auto", batches of much work run on numba where it is installed.
    batch : int or mapping, optional
        If given, `f` is written for one point and a call takes many: an int is the axis of points
        of the differentiated arguments (of every array in them), a mapping tells the axis of every
        argument in the batch by position or name, so that others than the differentiated ones may
        be among them. All else is shared, and so are those with the axis None: gradients of each
        sample by weights are `grad(loss, "w", batch={"x": 0, "y": 0})`.
        Values and Jacobians have the points in front: `(N, *f(x).shape, *x.shape)`. (The blocks of
        a function that is itself written for batches come by output="structured".)
    constant : str or sequence of str
        Names of what `f` reads beside its arguments and never changes, for batches and this
        function compiled; see `compile`.
    holomorphic : bool
        Whether `f` is a holomorphic function, to one output: then its arguments may be complex, and
        df/dz, complex, is returned, dense or sparse. Functions that do not obey the equations of
        Cauchy and Riemann are refused, and are differentiated by real and imaginary parts.
    has_aux : bool
        Whether `f` returns a pair: its result, and something else that is not differentiated, of
        any kind. Then a call returns a pair: the Jacobian, and that.
    chunk_size : int, optional
        How many points of a batch are computed at once: by default as many as are worth while to
        send to an executor, by the plan, else all. Without `batch`, how long the blocks of columns
        or rows are in which a dense Jacobian is accumulated.
    executor : Executor, optional
        What computes the chunks of a batch, or the blocks of `chunk_size` or `memory_limit`
        (which all that run at once share): whatever has `submit`, such as `ThreadPoolExecutor` and
        `ProcessPoolExecutor`, `client.get_executor()` of dask, and those of loky and mpi4py. To
        other processes `f` goes by pickle (or cloudpickle), and is recorded once in each of them.
        Where an executor breaks, its own error is raised: its attribute `finished` has the ranges
        of points (or blocks) whose results are in `out`. BLAS has fewer threads meanwhile, so that
        there are not more than processors, if threadpoolctl is installed (`chainad[parallel]`).

    Returns
    -------
    JacobianFunction
        A function of the same arguments that returns the Jacobian in the dtype of `f(x)`: nested as
        the result of `f` is, and in the place of each of its arrays as the argument is (of several
        `argnums`, a tuple). Its keyword `out` takes arrays, nested as the Jacobian, of the same
        shapes and dtypes: dense Jacobians are written there and `out` is returned. Into
        one row-major array, also of `np.memmap`, the last products are written directly, of a
        limited plan block by block, unless what they read might lie in it: a Jacobian larger than
        memory is planned in blocks for an `np.memmap` without being asked. The function has the
        name and the signature of `f`, is a method if it stands in a class, and is pickled and
        copied as `f` is: what it recorded stays behind, and so does an executor.

    Raises
    ------
    PlanError
        If the mode is unknown or does not fit the function, or the cost is unknown.
    InputError
        If `output` is unknown, or, when called, if an argument is not an array of real floats, or
        `argnums` or `out` does not fit.
    TraceError
        If `f` does something that would lose a derivative (when called).
    TooLargeError
        If a dense Jacobian does not fit into memory, or no plan found keeps within `memory_limit`
        (when called).

    Notes
    -----
    The function is traced anew at every call, so control flow and closures may change. The plan is
    cached under the structure of the trace. While `f` runs, inputs and large constants are
    read-only, since their entries are needed for the derivative.

    Kinks: the derivative of `abs` at 0 is 0, ties of `maximum`, `minimum`, `max` and `min` share
    evenly, `clip` has derivative 1 on its bounds, the norm has derivative 0 at the zero vector,
    `sort` follows the stable order. Second derivatives there are those of the composition where it
    is smooth: `norm(x)**2`, `cos(norm(x))` and whatever else depends on the square of a norm,
    `abs`, `hypot`, `std` or `maximum` alone, however it is written. Otherwise they are 0 where the
    function is piecewise linear (`abs`, `maximum`, `clip`, `sort`), and nan where those nearby are
    unbounded (`norm`, `hypot`, `std`).

    Functions of matrices written by eigenvectors or singular vectors, such as `(V * f(w)) @ V.T`,
    are differentiated where eigenvalues coincide, too. The vectors themselves have no derivative
    there: it is nan, with a RuntimeWarning.

    Unused values: what a selection (`where`, `select`, `maximum`, `clip`, `max`, `nan_to_num`,
    `nansum`, indexing, a write over an old value, ...) does not use has an exact zero in the
    Jacobian, which stays zero times nan and infinity: `where(x < 1, x, sqrt(x))` has slope 1 at 0,
    in every mode, output and backend. A zero that is no selection's is a number like any other:
    `sqrt(x)**2` has slope nan at 0. Derivatives give no floating-point warnings of their own.

    Source of the method: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9 and 10.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> def f(x):
    ...     return np.array([x[0] * x[1], np.sin(x[0])])
    >>> chainad.jacobian(f)(np.array([0.0, 2.0]))
    array([[2., 0.],
           [1., 0.]])
    >>> chainad.jacobian(np.square, output="sparse")(np.array([1.0, 3.0])).data
    array([2., 6.])
    """
    options = checked_options(
        argnums, output=output, has_aux=has_aux, mode=mode, cost=cost, memory_limit=memory_limit,
        effort=effort, seed=seed, progress=progress, backend=backend, constant=constant,
        chunk_size=chunk_size, executor=executor,
    )  # fmt: skip
    if holomorphic:
        return HolomorphicJacobianFunction(f, options, batch, has_value=False)
    return JacobianFunction(f, options, batch)


@typed_as(signatures.value_and_jacobian)
def value_and_jacobian(
    f: Callable[..., Any],
    argnums: Key | Sequence[Key] = 0,
    *,
    mode: Mode | ChunkedPlan = "auto",
    output: Output = "dense",
    cost: CostName | CostModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
    backend: Backend = "auto",
    batch: Batch | None = None,
    constant: str | Sequence[str] = (),
    holomorphic: bool = False,
    has_aux: bool = False,
    chunk_size: int | None = None,
    executor: Executor | None = None,
) -> Any:
    """Return a function that computes `f` and its Jacobian from one trace.

    Parameters, errors and the shape of the Jacobian are those of `jacobian`.

    Returns
    -------
    ValueAndJacobianFunction
        A function of the same arguments that returns the pair `(f(x), jacobian(f)(x))`; with
        `has_aux`, `((result, something else), Jacobian)`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> value, J = chainad.value_and_jacobian(np.square)(np.array([1.0, 3.0]))
    >>> value
    array([1., 9.])
    >>> J
    array([[2., 0.],
           [0., 6.]])
    """
    options = checked_options(
        argnums, output=output, has_aux=has_aux, mode=mode, cost=cost, memory_limit=memory_limit,
        effort=effort, seed=seed, progress=progress, backend=backend, constant=constant,
        chunk_size=chunk_size, executor=executor,
    )  # fmt: skip
    if holomorphic:
        return HolomorphicJacobianFunction(f, options, batch, has_value=True)
    return ValueAndJacobianFunction(f, options, batch)


@typed_as(signatures.compile)
def compile(
    f: Callable[..., Any] | None = None,
    /,
    *args: Any,
    backend: Backend | None = None,
    constant: str | Sequence[str] = (),
    background: bool = False,
    **kwargs: Any,
) -> Any:
    """Return the same function, faster: it replays what one call did, without tracing.

    Parameters
    ----------
    f : callable
        What is compiled: a Jacobian (what `jacobian` or `value_and_jacobian` returned, with the
        options given there; `output="operator"` and `batch=` are refused), or any function of NumPy
        arrays, whose value is then returned. Without it, a decorator is returned.
    backend : str, optional
        What runs the program: "numpy"; "python", operations on Python floats, for functions of a
        few scalars; "numba", machine code, which needs chainad[numba]; or "auto": "python" where
        that is quicker, else "numpy". By default that of the Jacobian, else "auto". Where "python"
        or "numba" cannot run a function, a FallbackWarning says why, and NumPy runs it.
    constant : str or sequence of str
        Names of what `f` reads beside its arguments and never changes, as the table "captured"
        calls it ("table", "self.table"): it is not checked, nor what is inside of it. The name of a
        function means all that it reads.
    background : bool
        With `backend="numba"`: whether to compile machine code in a thread of its own. Until it is
        there, NumPy runs the function, so that the last bits of results may change between two
        calls. If numba fails, a FallbackWarning tells so at the next call, and NumPy stays.
    *args, **kwargs
        Arguments of `f` to record with at once. Without any, the first call records.

    Returns
    -------
    CompiledFunction
        A function of the same arguments as `f`, which returns the same. Print its `plan` (of a
        Jacobian) and its `source` to see what it does. What is compiled already is returned as it
        is.

    Raises
    ------
    InputError
        If `f` is no function, or its result no array or number, nor a tuple, list or dictionary of
        these.
    PlanError, TraceError, TooLargeError
        As for `jacobian`; TraceError also if `f` does what cannot be replayed.

    Notes
    -----
    A call runs one straight-line program of NumPy calls: those of the function that are needed, the
    formulas of the local Jacobians, the plan. What the function read off values (branches, `int`,
    indices, shapes) is checked at each call, and where it differs the function is recorded anew;
    all programs are kept, up to 32. New shapes, dtypes and values of other arguments than arrays
    are recorded anew, too. The logger "chainad" is told of each at level INFO, with what differs
    and where the function reads it; beyond 32, calls are traced, with a FallbackWarning.

    The backends "python" and "numba" eliminate on the graph of scalars, which is another one than
    `chainad.plan` shows: for mode="auto" in the order that leaves the fewest operations there;
    `plan` of the compiled function shows it. Every planner orders scalars as it does arrays, and so
    does a plan on scalars; by an order of arrays their entries are ordered. Beyond 4,000 operations
    on scalars, "numba" runs the plan of the whole arrays, in loops over the entries of small ones;
    the steps of an unrolled time loop, and the sweep back through them, are found and become loops
    again. Branches on values and calls without such a form are left to NumPy. Machine code is kept
    for later processes in `chainad/numba` in `$CHAINAD_CACHE` or the user's folder of caches, where
    what was used longest ago is removed; `os.fork` waits while numba compiles for chainad, and so
    does the end of the process.

    A product of constant arrays is kept from call to call, beside copies of these that tell
    whether they changed. A matrix that is solved with is factorised once, for the solution and for
    the derivatives.

    What `f` reads beside its arguments (globals, closures, attributes, entries of lists and
    dictionaries) is found in the code that ran, and checked at each call; where it has changed, `f`
    is recorded anew. `print` of the compiled function ends with a table of it:

    ==================  =====================================================================
    seen by reference   arrays that calls on traced values take as they are: nothing to check
                        but that the name still means the same array
    guarded by value    numbers, text, lists and dictionaries of these
    guarded by content  arrays that are used in another way (`W[0, 0]`, `2 * W`, `W.sum()`): by
                        all entries up to 64 MiB, else by a hash; all arrays of programs on scalars
    by identity only    objects of other libraries, whose inside is not watched
    ==================  =====================================================================

    Functions, classes and modules are guarded by identity. What cannot be checked (`globals()`,
    `getattr(module, name)` with a computed name) is refused in the line of the user, unless it is
    named in `constant=`. A function that draws random numbers is traced at each call, with a
    FallbackWarning. Other side effects of `f` happen only while it is recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> @chainad.compile
    ... def f(x):
    ...     return np.where(x > 0, x * x, 0.0)
    >>> f(np.array([3.0, 1.0]))
    array([9., 1.])
    >>> J = chainad.compile(chainad.jacobian(f), backend="python")
    >>> J(np.array([3.0, 1.0]))
    array([[6., 0.],
           [0., 2.]])
    """
    if f is None:
        return partial(compile, backend=backend, constant=constant, background=background, **kwargs)
    _check_arguments(f, kwargs)
    compiled = compiled_function(f, backend, constant, background)
    if args or kwargs:
        compiled(*args, **kwargs)
    return compiled


def _check_arguments(f: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse options of `jacobian` that `f` does not take itself."""
    misplaced = [name for name in inspect.signature(jacobian).parameters if name in kwargs]
    if not misplaced:
        return
    own = inspect.signature(f).parameters.values()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in own)
    for name in misplaced:
        if not takes_any and name not in {each.name for each in own}:
            raise InputError(
                f"{name}= is no argument of {name_of(f)}, but an option of its Jacobian: call"
                f" chainad.compile(chainad.jacobian(f, {name}={kwargs[name]!r}), ...)"
            )


@typed_as(product_signatures.plan)
def plan(
    f: Callable[..., Any],
    *args: Any,
    argnums: Key | Sequence[Key] = 0,
    mode: Mode | ChunkedPlan = "auto",
    cost: CostName | CostModel = "multiplications",
    memory_limit: int | str | None = None,
    effort: Effort = "balanced",
    seed: int = 0,
    progress: ProgressOption = False,
    **kwargs: Any,
) -> Any:
    """Return how the Jacobian of `f` would be accumulated; nothing is multiplied.

    Parameters
    ----------
    f, argnums, mode, cost, memory_limit, effort, seed, progress
        As for `jacobian`.
    *args, **kwargs
        The arguments of `f`; only their shapes and the branches they choose matter.

    Returns
    -------
    Plan or ChunkedPlan
        Frozen, hashable, comparable; `print` it to read it. A `ChunkedPlan`, one plan per block,
        only where `memory_limit` asks for it.

    Raises
    ------
    PlanError, InputError, TraceError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> A = np.ones((30, 2)), np.ones((2, 40))
    >>> chainad.plan(lambda x: A[0] @ np.sin(A[1] @ x), np.ones(40)).multiplications
    2460
    """
    options = checked_options(
        argnums, mode=mode, cost=cost, memory_limit=memory_limit, effort=effort, seed=seed,
        progress=progress,
    )  # fmt: skip
    return JacobianFunction(f, options).plan(*args, **kwargs)


def stop_gradient(x: Any) -> Any:
    """Return the plain values of x: what is computed from them has derivative zero.

    Parameters
    ----------
    x : traced value, array_like, or container of these

    Returns
    -------
    ndarray, scalar, or container
        The values of every traced array, as a copy; anything else as it is.

    Examples
    --------
    >>> import numpy as np
    >>> import chainad
    >>> chainad.jacobian(lambda x: x * chainad.stop_gradient(x))(np.float64(3.0))
    array(3.)
    """
    return detached(x)
