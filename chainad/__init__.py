"""chainad: Jacobians of plain NumPy functions at the lowest cost.

It traces a function, gives every operation a structured local Jacobian, plans the cheapest order in
which to multiply these, lets you read that plan, and runs exactly that plan.
"""

from chainad import scipy
from chainad.api import (
    compile,
    jacobian,
    plan,
    stop_gradient,
    value_and_jacobian,
)
from chainad.calibration import Calibration, calibrate
from chainad.chains import multi_dot, plan_chain, plan_multi_dot
from chainad.chunked import ChunkedPlan
from chainad.compiled import CompiledFunction
from chainad.errors import (
    ChainadError,
    InputError,
    MissingExtraError,
    PlanError,
    TooLargeError,
    TraceError,
)
from chainad.extend import Primitive, primitive
from chainad.functions import JacobianFunction, ValueAndJacobianFunction
from chainad.graphs import plan_graph
from chainad.linear import LinearGraph
from chainad.orders import EdgeElimination
from chainad.plan import Plan
from chainad.results import Factor, StructuredJacobian

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "ChainadError",
    "ChunkedPlan",
    "CompiledFunction",
    "EdgeElimination",
    "Factor",
    "InputError",
    "JacobianFunction",
    "LinearGraph",
    "MissingExtraError",
    "Plan",
    "PlanError",
    "Primitive",
    "StructuredJacobian",
    "TooLargeError",
    "TraceError",
    "ValueAndJacobianFunction",
    "calibrate",
    "compile",
    "jacobian",
    "multi_dot",
    "plan",
    "plan_chain",
    "plan_graph",
    "plan_multi_dot",
    "primitive",
    "scipy",
    "stop_gradient",
    "value_and_jacobian",
]
