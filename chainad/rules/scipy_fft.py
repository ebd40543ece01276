"""scipy.fft for traced values: its Fourier transforms are NumPy's; cosine and sine transforms."""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from typing import Any

import numpy as np
import scipy  # loads scipy.fft when it is first used

from chainad.ir.graph import Argument
from chainad.rules.base import Local, Locals, dispatching, normalize_axes, rule
from chainad.rules.scipy_wrappers import wrapper_of
from chainad.structure import arrange, operator
from chainad.structure.linear_operators import Operator
from chainad.structure.structure import Axis


def _as_numpy(name: str) -> Callable[..., Any]:
    """Wrap a transform that NumPy has under the same name, with the same arguments."""
    function = getattr(np.fft, name)

    def definition(
        x: Any,
        *args: Any,
        overwrite_x: bool = False,
        workers: Any = None,
        plan: Any = None,
        **kwargs: Any,
    ) -> Any:
        return function(x, *args, **kwargs)

    return wrapper_of("scipy.fft", name)(definition)


fft = _as_numpy("fft")
ifft = _as_numpy("ifft")
rfft = _as_numpy("rfft")
irfft = _as_numpy("irfft")
fft2 = _as_numpy("fft2")
ifft2 = _as_numpy("ifft2")
rfft2 = _as_numpy("rfft2")
irfft2 = _as_numpy("irfft2")
fftn = _as_numpy("fftn")
ifftn = _as_numpy("ifftn")
rfftn = _as_numpy("rfftn")
irfftn = _as_numpy("irfftn")


# ------------------------------------------------- cosine and sine transforms


@dispatching
def cosine_transform(x: Any, kind: int, axis: int, norm: Any) -> Any:
    """Return the discrete cosine transform along one axis."""
    return scipy.fft.dct(x, kind, axis=axis, norm=norm)


@dispatching
def sine_transform(x: Any, kind: int, axis: int, norm: Any) -> Any:
    """Return the discrete sine transform along one axis."""
    return scipy.fft.dst(x, kind, axis=axis, norm=norm)


# A transform of one type is, up to weights at one end, the transpose of that of another.
_TRANSPOSED_TYPE = {1: 1, 2: 3, 3: 2, 4: 4}


class _CosineTransform(Operator):
    """A cosine or sine transform of n entries; `function` is one of the two above."""

    batch = ()

    def __init__(
        self, function: Callable[..., Any], kind: int, norm: Any, n: int, dtype: Any
    ) -> None:
        self.function, self.kind, self.norm = function, kind, norm
        self.n_in = self.n_out = n
        self.dtype = np.dtype(dtype)

    def jvp(self, tangents: Any) -> Any:
        return self.function(tangents, self.kind, 0, self.norm)

    def vjp(self, adjoints: Any) -> Any:
        before, after = self._ends()
        kind = _TRANSPOSED_TYPE[self.kind]
        return self.function(adjoints * before, kind, -1, self.norm) * after

    def _ends(self) -> tuple[Any, Any]:
        """Return the weights of the entries before and after the transposed transform."""
        before, after = np.ones((2, self.n_in), self.dtype)
        is_cosine = self.function is cosine_transform
        if self.norm == "ortho":
            return before, after
        if self.kind == 1 and is_cosine:
            before[[0, -1]], after[[0, -1]] = 2.0, 0.5
        end = 0 if is_cosine else -1
        if self.kind == 2:
            before[end] = 2.0
        if self.kind == 3:
            after[end] = 0.5
        return before, after


def _locals_of(function: Callable[..., Any]) -> Callable[..., Locals]:
    def locals_(y: Argument, x: Argument, kind: int, axis: int, norm: Any) -> Locals:
        at = normalize_axes(axis, x.ndim)[0]
        n, out = x.shape[at], x.ndim
        rows = [Axis(m, (out if k == at else k,)) for k, m in enumerate(y.shape)]
        cols = [Axis(m, (k,)) for k, m in enumerate(x.shape)]
        found = arrange(rows, cols, {**dict(enumerate(x.shape)), out: n}, [out, at])

        def make() -> _CosineTransform:
            return _CosineTransform(function, kind, norm, n, x.dtype)

        if found.ops or n == 1:
            return {x: Local(found, lambda y, x: make().materialize())}
        cost = round(2.5 * n * log2(max(2, n)))
        return {x: Local(operator(found, cost, cost, 0), lambda y, x: make())}

    return locals_


rule(cosine_transform)(_locals_of(cosine_transform))
rule(sine_transform)(_locals_of(sine_transform))

_INVERSE_NORM = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _wrap_pair(
    function: Callable[..., Any], name: str, inverse: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Wrap a transform and its inverse."""

    def forward(
        x: Any, type: int = 2, n: Any = None, axis: int = -1, norm: Any = None, **options: Any
    ) -> Any:
        if n is not None or options.get("orthogonalize") is not None:
            raise NotImplementedError(
                "n= and orthogonalize= are not differentiated; cut, pad or scale x beforehand"
            )
        return function(x, int(type), int(axis), norm)

    def back(
        x: Any, type: int = 2, n: Any = None, axis: int = -1, norm: Any = None, **options: Any
    ) -> Any:
        return forward(x, _TRANSPOSED_TYPE[type], n, axis, _INVERSE_NORM[norm], **options)

    return wrapper_of("scipy.fft", name)(forward), wrapper_of("scipy.fft", inverse)(back)


dct, idct = _wrap_pair(cosine_transform, "dct", "idct")
dst, idst = _wrap_pair(sine_transform, "dst", "idst")


def _along(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap a transform along several axes."""

    def definition(
        x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: Any = None, **options: Any
    ) -> Any:
        if s is not None:
            raise NotImplementedError("s= is not differentiated; cut or pad x beforehand")
        for axis in normalize_axes(axes, np.ndim(x)):
            x = function(x, type, None, axis, norm, **options)
        return x

    return wrapper_of("scipy.fft", name)(definition)


dctn = _along(dct, "dctn")
idctn = _along(idct, "idctn")
dstn = _along(dst, "dstn")
idstn = _along(idst, "idstn")
