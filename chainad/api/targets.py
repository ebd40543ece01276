"""The targets that Jacobians are lowered to."""

from __future__ import annotations

from chainad.backends.numpy.build import build
from chainad.compiler.passes.batch_last import move_batches_last
from chainad.compiler.passes.layout import hoist_transposes
from chainad.compiler.passes.placed_sums import add_at_places
from chainad.compiler.target import Target

NUMPY = Target(build, (hoist_transposes, move_batches_last, add_at_places))
