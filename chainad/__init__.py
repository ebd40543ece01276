"""chainad: Jacobians of plain NumPy functions at the lowest cost.

It traces a function, gives every operation a structured local Jacobian, plans the cheapest order in
which to multiply these, lets you read that plan, and runs exactly that plan.

The logger "chainad" is told at level INFO of what takes time once: why a compiled function is
recorded anew (which condition, value or argument differs, and where), why it is traced, and what a
full cache forgets. At level WARNING, and by a `FallbackWarning`, it is told of what is not done as
requested. `logging.basicConfig(level="INFO")` shows it all.
"""

from chainad import scipy
from chainad.api.analysis import Analysis
from chainad.api.blocks import blocks
from chainad.api.calibrate import calibrate
from chainad.api.chains import multi_dot, plan_chain, plan_multi_dot
from chainad.api.compiled import CompiledFunction
from chainad.api.gradients import grad, hessian, value_and_grad
from chainad.api.graphs import plan_graph
from chainad.api.jacobian_functions import (
    GradientFunction,
    HessianFunction,
    JacobianFunction,
    ValueAndGradientFunction,
    ValueAndJacobianFunction,
)
from chainad.api.products import LinearMap, hvp, jvp, linearize, vjp
from chainad.api.ravel import ravel
from chainad.api.scipy_door import SciPyFunction, for_scipy
from chainad.api.solvers.implicit import ImplicitFunction, implicit
from chainad.api.sparsity import sparsity
from chainad.api.stream import stream
from chainad.api.timings import Timing, Timings, timings
from chainad.api.verbs import compile, jacobian, plan, stop_gradient, value_and_jacobian
from chainad.api.vmap import BatchedFunction, vmap
from chainad.errors import (
    ChainadError,
    ConvergenceError,
    InputError,
    MissingExtraError,
    PlanError,
    TooLargeError,
    TraceError,
)
from chainad.ir.progress import Progress
from chainad.ir.version import VERSION
from chainad.planning.calibration import Calibration
from chainad.planning.chunked import ChunkedPlan
from chainad.planning.linear_graph import LinearGraph
from chainad.planning.orders import EdgeElimination
from chainad.planning.plan import Plan
from chainad.rules.primitives import Primitive, primitive
from chainad.structure.results import Factor, StructuredJacobian

__version__ = VERSION

__all__ = [
    "Analysis",
    "BatchedFunction",
    "Calibration",
    "ChainadError",
    "ChunkedPlan",
    "CompiledFunction",
    "ConvergenceError",
    "EdgeElimination",
    "Factor",
    "GradientFunction",
    "HessianFunction",
    "ImplicitFunction",
    "InputError",
    "JacobianFunction",
    "LinearGraph",
    "LinearMap",
    "MissingExtraError",
    "Plan",
    "PlanError",
    "Primitive",
    "Progress",
    "SciPyFunction",
    "StructuredJacobian",
    "Timing",
    "Timings",
    "TooLargeError",
    "TraceError",
    "ValueAndGradientFunction",
    "ValueAndJacobianFunction",
    "blocks",
    "calibrate",
    "compile",
    "for_scipy",
    "grad",
    "hessian",
    "hvp",
    "implicit",
    "jacobian",
    "jvp",
    "linearize",
    "multi_dot",
    "plan",
    "plan_chain",
    "plan_graph",
    "plan_multi_dot",
    "primitive",
    "ravel",
    "scipy",
    "sparsity",
    "stop_gradient",
    "stream",
    "timings",
    "value_and_grad",
    "value_and_jacobian",
    "vjp",
    "vmap",
]


def __dir__() -> list[str]:
    return __all__
