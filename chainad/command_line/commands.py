"""What `python -m chainad` does: its words, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import chainad
from chainad.api.compiled import CompiledFunction
from chainad.api.jacobian_functions import JacobianFunction
from chainad.command_line.demo import demo
from chainad.command_line.function_call import arguments, function_named
from chainad.errors import ChainadError, InputError
from chainad.ir.cache_folder import cache_folder
from chainad.planning.views.terminal import show

PROGRAM = "python -m chainad"

_WRONG = 2
_INTERRUPTED = 130

_EXAMPLES = f"""examples:
  {PROGRAM} explain model:f --shape x=1000
  {PROGRAM} explain model.py:f --args points.npz --analyze
  {PROGRAM} explain model:f --args "np.ones(30), steps=5" --compile
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_WRONG, f"{self.prog}: {message} (--help says more)\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; return 2 if it cannot be done, after one line that says why."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # bars, where there are no such characters
    options = _parser().parse_args(words)
    command = {"explain": _explain, "calibrate": _calibrate}.get(options.command, _demo)
    try:
        status = command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough, as `head` has; nothing is to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (Exception, SystemExit) as error:
        if getattr(options, "traceback", False):
            traceback.print_exc()
        else:
            print(f"{PROGRAM} {options.command}: {_in_one_line(error)}", file=sys.stderr)
        return _WRONG
    return status


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ChainadError):  # whose messages say where, and what to do
        return text
    frames = traceback.extract_tb(error.__traceback__)
    own = str(Path(chainad.__file__).parent)
    outside = [frame for frame in frames if not frame.filename.startswith(own)]
    where = ""
    if outside:
        where = f"{Path(outside[-1].filename).name}:{outside[-1].lineno}: "
    return f"{where}{type(error).__name__}{text and f': {text}'} (--traceback shows where)"


# ------------------------------------------------------------------------- commands


def _demo(options: argparse.Namespace) -> int:
    return demo()


def _calibrate(options: argparse.Namespace) -> int:
    # By its name, and only if wanted: it needs an extra.
    calibrate = import_module("chainad.jax").calibrate if options.jax else chainad.calibrate
    print(calibrate(store=not options.no_store))
    if not options.no_store:
        print(f"kept in {cache_folder()}")
    return 0


def _explain(options: argparse.Namespace) -> int:
    module, f = function_named(options.function)
    args, kwargs = arguments(f, module, options.shape, options.args)
    jacobian = _jacobian(f, options)
    found: Any
    if options.analyze:
        found = jacobian.explain(*args, analyze=True, seconds=options.seconds, **kwargs)
    else:
        found = jacobian.explain(*args, **kwargs)
    plan = found.plan if options.analyze else found
    if options.html:
        found.to_html(options.html)
    if options.draw:
        plan.draw(options.draw)
    if options.json:
        print(found.to_json())
    elif options.listing:
        print(plan.listing())
    elif options.details:
        print(plan.details())
    else:
        show(str(found))
    return 0


def _jacobian(f: Any, options: argparse.Namespace) -> Any:
    """Return the Jacobian of a function, with the options of the command; or what is one itself."""
    how = {name: getattr(options, name) for name in ("mode", "cost", "effort", "memory_limit")}
    how = {name: value for name, value in how.items() if value is not None}
    if isinstance(f, (JacobianFunction, CompiledFunction)):
        if how or options.argnums is not None:
            raise InputError(f"{options.function} is a Jacobian, which has its own options")
        jacobian: Any = f
    else:
        argnums = 0 if options.argnums is None else options.argnums
        jacobian = chainad.jacobian(f, argnums, progress=True, **how)
    if options.compile and isinstance(jacobian, JacobianFunction):
        return jacobian.compile()
    return jacobian


# ---------------------------------------------------------------------------- words


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Jacobians of plain NumPy functions at the lowest cost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=chainad.__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    _add_explain(commands)
    found = commands.add_parser(
        "calibrate",
        help="measure what operations cost on this machine, for cost='time'",
        description="Measure what each kind of operation costs here, and keep it for cost='time'.",
    )
    found.add_argument(
        "--jax",
        action="store_true",
        help="measure programs of JAX instead, on its default device, for chainad.jax",
    )
    found.add_argument("--no-store", action="store_true", help="print the table, do not keep it")
    commands.add_parser(
        "demo",
        help="plan, run and check the Jacobian of a bottleneck network (the default)",
        description="Plan, run and check the Jacobian of a bottleneck network.",
    )
    return parser


def _add_explain(commands: Any) -> None:
    found = commands.add_parser(
        "explain",
        help="explain how the Jacobian of a function is computed",
        description="Explain how the Jacobian of a function is computed, and why so.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("function", help="module:function, or path/file.py:function")
    given = found.add_argument_group("arguments of the function")
    given.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="an array of this shape, such as x=1000 or W=20,30, of random numbers between 0 and 1"
        " that are always the same; without a name it is the next argument; for each argument",
    )
    given.add_argument(
        "--args",
        metavar="FILE.npz | EXPRESSION",
        help="arrays by the names of parameters, or Python code as inside a call, in the module",
    )
    given.add_argument(
        "--argnums", type=_key, metavar="KEY", help="the argument to differentiate by (the first)"
    )
    how = found.add_argument_group("how it is planned")
    how.add_argument("--mode", help="auto, forward, reverse, hybrid, or the name of a planner")
    how.add_argument("--cost", help="multiplications, time, bytes, peak, ...")
    how.add_argument("--effort", help="fast, balanced or thorough")
    how.add_argument("--memory-limit", metavar="BYTES", help="such as '2 GB'")
    how.add_argument(
        "--compile", action="store_true", help="explain the program that replays the Jacobian"
    )
    shown = found.add_argument_group("what is shown")
    shown.add_argument("--analyze", action="store_true", help="run every step, and measure it")
    shown.add_argument(
        "--seconds", type=float, default=2.0, help="about how long to measure (2 seconds)"
    )
    form = shown.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead")
    form.add_argument("--listing", action="store_true", help="print the source with its costs")
    form.add_argument("--details", action="store_true", help="print every number there is")
    shown.add_argument("--html", metavar="FILE", help="write a page, too")
    shown.add_argument("--draw", metavar="FILE", help="write a picture of the plan: PNG, SVG, PDF")
    shown.add_argument(
        "--traceback", action="store_true", help="of an error, show where it was raised"
    )


def _key(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text
