"""The listing of a plan: every line of the user's code, with its multiplications in the margin."""

from __future__ import annotations

import linecache
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import chainad
from chainad.planning.plan import Plan
from chainad.planning.views.line_costs import function_costs
from chainad.testing.random_programs import random_program

SOURCE = '''\
import numpy as np
A, B, C = np.ones((4, 30)), np.ones((5, 4)), np.ones((30, 5))


def layer(W, x):
    return np.tanh(W @ x)


def net(x):
    """Return what a net says.

    It has a narrow place.
    Neither of these lines
    has anything to do
    with derivatives, nor has
    this one, or the next.
    """
    a = layer(A, x)
    b = np.tanh(
        B @ a
    )
    return C @ b


def loop(x):
    for _ in range(10):
        x = x + 0.1 * np.sin(x[::-1])
    return x


def nested(x):
    def square(y):
        return y * y

    return np.stack([square(c * x) * x for c in (1.0, 2.0, 3.0)])


def loss(x):
    y = np.tanh(A @ x)
    return y @ y


free = lambda x: x[::-1] + 1.0
'''

NET = """\
net(x): 4,240 multiplications, by line    -> pushed forward  >< joined

layer  model.py:5    3,600 multiplications, 84.9 %
   line  multiplications       %
      5                               def layer(W, x):
      6            3,600    84.9  ><      return np.tanh(W @ x)

net  model.py:9    640 multiplications, 15.1 %
   line  multiplications       %
      9                               def net(x):
     10                                   \"\"\"Return what a net says.
    ...
     17                                   \"\"\"
     18                                   a = layer(A, x)
     19               40     0.9  ->      b = np.tanh(
     20                0                      B @ a
     21                                   )
     22              600    14.2  ->      return C @ b
"""


def load(path: Path) -> Any:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(SOURCE)
    return tmp_path / "model.py"


@pytest.fixture
def model(path: Path) -> ModuleType:
    module: ModuleType = load(path)
    return module


def listed(plan: Plan) -> int:
    """Return the multiplications on all lines, and on none."""
    functions, elsewhere = function_costs(plan)
    return sum(each.multiplications for each in functions) + elsewhere


def test_the_source_is_listed_with_its_costs(model: Any) -> None:
    plan = chainad.plan(model.net, np.ones(30))
    assert plan.listing(width=100) + "\n" == NET


CHANGED = """\
loop(x): 245 multiplications, by line    -> pushed forward  <- pulled back  >< joined

loop  model.py:25    245 multiplications, 100.0 %
the source has changed since; these are the lines that derivatives go through
   line        multiplications       %
     27  10 x              245   100.0  >< -> <-  x = x + 0.1 * np.sin(x[::-1])
"""


def test_a_line_in_a_loop_says_how_often_it_ran(model: Any) -> None:
    text = chainad.plan(model.loop, np.ones(5), effort="thorough").listing()
    assert "     27  10 x              245   100.0  >< -> <-          x = x + 0.1" in text


def test_a_line_that_makes_several_calls_ran_once() -> None:
    def once(x: Any) -> Any:
        a, b, *c = x
        return np.outer(c, c) * a + np.linalg.norm(x) * b + np.var(np.stack([a, b]) * x[:2])

    text = chainad.plan(once, np.ones(5)).listing()
    assert " x  " not in text.replace("x *", "").replace("* x", "")


def test_of_a_source_that_has_changed_the_lines_of_then_are_listed(model: Any, path: Path) -> None:
    plan = chainad.plan(model.loop, np.ones(5), effort="thorough")
    before = plan.listing(100)
    path.write_text(SOURCE.replace("loss", "lost"))  # another function
    assert plan.listing(100) == before
    path.write_text(SOURCE.replace("    return x\n", "    return 2 * x\n"))
    assert plan.listing(100) + "\n" == CHANGED
    path.write_text("")
    assert plan.listing(100) + "\n" == CHANGED


def test_a_function_loaded_again_is_read_again(path: Path) -> None:
    before = chainad.plan(load(path).loop, np.ones(5)).listing()
    path.write_text("# more\n" + SOURCE.replace("0.1", "0.123"))
    after = chainad.plan(load(path).loop, np.ones(5)).listing()
    assert "27  10 x" in before
    assert "28  10 x" in after
    assert "0.123 * np.sin" in after


def test_a_saved_plan_lists_the_source(model: Any, path: Path) -> None:
    plan = chainad.plan(model.net, np.ones(30))
    assert Plan.from_json(plan.to_json()).listing(100) == plan.listing(100)
    path.unlink()
    assert "has changed since" in Plan.from_json(plan.to_json()).listing()


def test_functions_within_functions_are_listed_where_they_stand(model: Any) -> None:
    text = chainad.plan(model.nested, np.ones(4)).listing()
    assert text.count("model.py:") == 1
    assert "     33  3 x               12    50.0  ->          return y * y" in text


def test_lines_of_derivatives_of_derivatives_are_those_of_the_function(model: Any) -> None:
    plan = chainad.hessian(model.loss).plan(np.ones(30))
    assert "     39            3,728    99.9  >< <-      y = np.tanh(A @ x)" in plan.listing()


def test_what_costs_nothing_is_not_listed(model: Any) -> None:
    text = chainad.plan(model.free, np.ones(3)).listing()
    assert text == "<lambda>(x): 0 multiplications, by line"


def test_what_is_on_no_line_says_so() -> None:
    plan = chainad.plan_chain([3, 4, 5])
    assert plan.listing() == (
        "chain: 60 multiplications, by line\n\n"
        "on no line of the code    60 multiplications, 100.0 %"
    )


def defined(source: str, file: str, is_listed: bool = True) -> dict[str, Any]:
    """Return what a cell of a notebook defines, or what is typed in without a trace."""
    if is_listed:
        lines = source.splitlines(keepends=True)
        linecache.cache[file] = len(source), None, lines, file
    names: dict[str, Any] = {"np": np}
    exec(compile(source, file, "exec"), names)
    return names


CELL = "def f(x):\n    # {}\n    return np.sin(x) * x * x\n"


def test_cells_of_a_notebook_are_listed() -> None:
    # Both functions are equal, as code: they say the same on the same lines.
    both = [defined(CELL.format(name), f"<cell {name}>")["f"] for name in ("one", "two")]
    texts = [chainad.plan(f, np.ones(3)).listing() for f in both]
    assert "f  <cell one>:1    6 multiplications" in texts[0]
    assert "# one" in texts[0]
    assert "f  <cell two>:1    6 multiplications" in texts[1]
    assert "# two" in texts[1]


def test_lines_without_source_are_listed_by_number() -> None:
    f = defined(CELL, "<stdin>", is_listed=False)["f"]
    text = chainad.plan(f, np.ones(3)).listing()
    assert "the source is not known" in text
    assert text.endswith("      3                6   100.0  ->")


@pytest.mark.parametrize("seed", range(20))
def test_lines_add_up_and_texts_fit(seed: int) -> None:
    program = random_program(seed)
    plan = chainad.plan(program.function(), *program.point())
    assert listed(plan) == plan.multiplications
    for width in (60, 100):
        texts = [text.splitlines() for text in (plan.explain(width=width), plan.listing(width))]
        assert all(len(line) <= width for lines in texts for line in lines)
        assert len(texts[0]) <= 30
    again = Plan.from_json(plan.to_json())
    plan = replace(plan, alternatives=tuple(plan.alternatives))  # as saved: no other is looked for
    assert (again.explain(), again.listing()) == (plan.explain(), plan.listing())


def test_the_lines_of_entries_add_up_to_the_whole() -> None:
    def entries(x: Any) -> Any:
        z = []
        for k in range(40):
            a = x[k] * x[k + 1]
            b = x[k] * x[k + 2]
            z.append(np.sin(a) * b)
        return np.array(z)

    plan = chainad.plan(entries, np.ones(42))
    assert listed(plan) == plan.multiplications == 200
    # One local Jacobian is of the calls on two lines.
    costs = [line.split()[1:5] for line in plan.listing().splitlines() if " x  " in line]
    assert costs == [["40", "x", "80", "40.0"]] * 2 + [["40", "x", "40", "20.0"]]
    assert Plan.from_json(plan.to_json()).listing() == plan.listing()


def test_a_call_with_values_between_ran_once() -> None:
    plan = chainad.plan(lambda A: np.linalg.solve(A, np.ones(3)), np.eye(3))
    assert " x  " not in plan.listing()


@pytest.mark.parametrize("backend", ["numpy", "python", "auto"])
def test_compiled_functions_list_the_same_lines(model: Any, backend: Any) -> None:
    # Also where a program is shared with a function that does the same on other lines.
    def net(x: Any) -> Any:
        a = np.tanh(model.A @ x)
        return model.C @ np.tanh(model.B @ a)

    for f, name in ((model.net, "net  model.py:9"), (net, "net  test_listing.py:")):
        compiled = chainad.compile(chainad.jacobian(f), backend=backend)
        compiled(np.ones(30))
        plan = compiled.plan
        assert isinstance(plan, Plan)
        assert name in plan.listing()
        assert listed(plan) == plan.multiplications
        assert "no line" not in plan.listing()
