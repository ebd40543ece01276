"""Plans as text and as networkx graphs: what is written is read back, and nothing else is."""

import json
import re
import subprocess
import sys
from io import BytesIO
from random import Random
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainad
from chainad.errors import PlanError
from chainad.planning.auto import make_plan
from chainad.planning.plan import Plan, follow
from chainad.testing import random_chain, random_graph

randoms = st.randoms(use_true_random=False)
MATRICES = np.ones((30, 4)), np.ones((4, 20))


def network(x: Any) -> Any:
    wide, narrow = MATRICES
    h = np.tanh(narrow @ np.sin(x))
    return wide @ h + np.concatenate([x[::2], x]) * h[0]


def plans(rng: Random) -> Plan:
    if rng.random() < 0.3:
        return make_plan(random_chain(rng, rng.randint(1, 6))[0])
    graph, _ = random_graph(
        rng, rng.randint(0, 5), n_inputs=rng.randint(1, 2), n_outputs=rng.randint(1, 2)
    )
    return follow(graph, rng.sample(graph.inner, len(graph.inner)), itemsize=rng.choice([4, 8]))


@given(randoms)
def test_a_plan_read_back_is_the_plan_that_was_written(rng: Random) -> None:
    plan = plans(rng)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert hash(again) == hash(plan)
    assert str(again) == str(plan)
    assert again.graph.origins == plan.graph.origins
    assert again.to_json() == plan.to_json()


FUNCTIONS = {
    "branches": (network, (20,)),
    "stencil": (lambda x: x[2:] * x[:-2] - np.roll(x, 1)[1:-1], (500,)),
    "operator": (lambda x: MATRICES[0] @ np.linalg.solve(np.eye(4) * 3, x * x), (4,)),
    "gather": (lambda x: np.sort(x)[np.array([0, 3, 3, 1])] ** 2, (6,)),
    "box": (lambda x: np.exp(x[1:-1, ::2]).ravel() * 2, (5, 6)),
    "transform": (lambda x: np.abs(np.fft.rfft(x)) ** 2, (8,)),
    "nothing": (lambda x: x, (3,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_plan_of_a_function_read_back_runs(name: str) -> None:
    f, shape = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    plan = chainad.plan(f, x)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert str(again) == str(plan)
    np.testing.assert_array_equal(chainad.jacobian(f, mode=again)(x), chainad.jacobian(f)(x))


SCRIPT = """
import sys
import numpy as np
import chainad

A, B = np.ones((30, 4)), np.ones((4, 20))

def other_name(x):
    h = np.tanh(B @ np.sin(x))
    return A @ h + np.concatenate([x[::2], x]) * h[0]

plan = chainad.Plan.from_json(sys.stdin.read())
x = np.linspace(0.0, 1.0, 20)
assert chainad.plan(other_name, x, mode=plan).order == plan.order
print(chainad.jacobian(other_name, mode=plan)(x).tobytes().hex())
"""


def test_a_plan_is_used_in_another_process() -> None:
    x = np.linspace(0.0, 1.0, 20)
    made = chainad.plan(network, x, mode="reverse")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=made.to_json(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    here = chainad.jacobian(network, mode="reverse")(x)
    assert bytes.fromhex(run.stdout.strip()) == here.tobytes()


def one(x: Any) -> Any:
    return MATRICES[0] @ np.sin(MATRICES[1] @ x)


def two(x: Any) -> Any:
    return MATRICES[0] @ (MATRICES[1] @ x) - np.cumsum(MATRICES[0] @ np.ones(4))


DIFFERENT = [
    (one, two, 20, "J2 is 4x4 diagonal [i | i] stored i from v1 to v2 (np.sin, test_serial"),
    (
        two,
        one,
        20,
        "J2 is 30x4 dense [i | j] stored i j from v1 to v2 (np.matmul, test_serialize.py:",
    ),
    (
        two,
        one,
        20,
        "here it is 4x4 diagonal [i | i] stored i from v1 to v2 (np.sin, test_serialize",
    ),
    (one, lambda x: one(x[:20]), 21, "its inputs have the shapes (20,), here (21,)"),
    (one, lambda x: one(x)[1:], 20, "its outputs have the shapes (30,), here (29,)"),
    (one, lambda x: np.sin(one(x)), 20, "the first one more is J4, 30x30 diagonal [i | i]"),
]


@pytest.mark.parametrize(("mine", "other", "n", "said"), DIFFERENT)
def test_a_plan_that_does_not_fit_is_refused_with_what_differs(
    mine: Any, other: Any, n: int, said: str
) -> None:
    plan = Plan.from_json(chainad.plan(mine, np.ones(20)).to_json())
    with pytest.raises(PlanError, match="the plan was made for another function") as caught:
        chainad.jacobian(other, mode=plan)(np.ones(n))
    assert said in str(caught.value)


def test_the_text_reads() -> None:
    text = chainad.plan_chain([3, 1, 2]).to_json()
    assert text == PINNED


PINNED = """\
{
"format": "chainad plan 4",
"title": "chain",
"requested": "mode='auto'",
"planner": "forward",
"optimality": "optimal over all bracketings of this chain",
"itemsize": 8,
"multiplications": 6,
"additions": 0,
"model": "multiplications",
"cost": 6,
"sweep": "",
"materialized": [],
"order": [1],
"inputs": [0],
"outputs": [2],
"named": true,
"symmetric": false,
"alternatives": [
  ["forward", 6, 0, 6],
  ["reverse", 6, 0, 6],
  ["chain", 6, 0, 6]
],
"vertices": [
  ["x", 3],
  ["v1", 1],
  ["y", 2]
],
"structures": [
  {"rows": [[1, []]], "cols": [[3, [0]]], "sizes": [3], "stored": [0]},
  {"rows": [[2, [0]]], "cols": [[1, []]], "sizes": [2], "stored": [0]}
],
"sources": [],
"origins": [
  ["matrix", 1]
],
"edges": [
  [0, 1, 0, 0],
  [1, 2, 1, 0]
]
}
"""


def test_text_is_short_where_structures_repeat() -> None:
    plan = chainad.plan_chain([3] * 1001)
    assert len(json.loads(plan.to_json())["structures"]) == 1


# ------------------------------------------------------------ what is refused


def damaged(**changes: Any) -> str:
    fields = json.loads(PINNED) | changes
    return json.dumps({key: value for key, value in fields.items() if value is not ...})


DENSE = {"rows": [[1, []]], "cols": [[3, [0]]], "sizes": [3], "stored": [0]}
LAST = {"rows": [[2, [0]]], "cols": [[1, []]], "sizes": [2], "stored": [0]}


def first(**changes: Any) -> str:
    """Return the text with another first structure."""
    return damaged(structures=[DENSE | changes, LAST])


REFUSED = [
    ("", "not the text of a plan"),
    ("{", "not the text of a plan"),
    ("[]", "no format is named"),
    ('{"plan": 1}', "no format is named"),
    ("[" * 100_000, "not the text of a plan"),
    ("NaN", "NaN is no number in JSON"),
    ('{"format": 1, "format": 2}', "a key stands twice"),
    (damaged(format="chainad plan"), "the text is of the format chainad plan, but"),
    (damaged(format=2), "the text is of the format 2, but 'chainad plan 4' is wanted"),
    (damaged(format="chainad chunked plan 2"), "but 'chainad plan 4' is wanted"),
    (damaged(order=...), "the text must be an object with format"),
    (damaged(more=1), "the text must be an object with format"),
    (damaged(order=[]), "without 1"),
    (damaged(order=[1, 1]), "got 2 vertices"),
    (damaged(order=[True]), "order[0] must be an integer, but got True"),
    (damaged(order="1"), "order must be a list"),
    (damaged(title=None), "title must be text"),
    (damaged(named=1), "named must be true or false"),
    (damaged(itemsize=0), "itemsize must be an integer from 1"),
    (damaged(multiplications=7), "the text says 7 multiplications and 0 additions"),
    (damaged(additions=1), "plan the function again"),
    (damaged(inputs=[3]), "inputs[0] must be an integer from 0 to 2"),
    (damaged(inputs=[0, 0]), "inputs must be distinct vertices"),
    (damaged(inputs=[2]), "outputs must be vertices that are no inputs"),
    (damaged(inputs=[1]), "edges[0] must be an edge that ends in no input"),
    (damaged(outputs=[1]), "edges[1] must be an edge that starts in no output"),
    (damaged(edges=[[0, 1, 0, 0], [1, 1, 1, 0]]), "edges[1] must be an integer from 0 to 0"),
    (damaged(edges=[[0, 1, 0, 0], [1, 2, 2, 0]]), "edges[1] must be an integer from 0 to 1"),
    (damaged(edges=[[0, 1, 0], [1, 2, 1, 0]]), "edges[0] must be a list of 4"),
    (damaged(edges=[[0, 2, 0, 0], [1, 2, 1, 0]]), "from (3,) to (2,), but got one from (3,) to"),
    (damaged(vertices=[["x", 3], [], ["y", 2]]), "vertices[1] must be a name and"),
    (damaged(vertices=[["x", 3], ["v", -1], ["y", 2]]), "vertices[1] must be an integer from 0"),
    (damaged(origins=[["matrix"]]), "origins[0] must be a name"),
    (damaged(origins=[["matrix", -1]]), "origins[0] must be an integer from 0"),
    (damaged(origins=[["sin", 1, 0, 1, 0, "x"]]), "origins[0] must be an integer from 0 to -1"),
    (damaged(sources=[["a", "a", "f", 3, 2, ""]]), "sources[0] must be an integer from 3"),
    (damaged(alternatives=[["forward", 6]]), "alternatives[0] must be a list of 4"),
    (first(sizes=[2]), "cols must be labels for 3 places"),
    (first(sizes=[3, 4]), "2 labels, each of them on some axis"),
    (first(stored=[0, 0]), "stored must be ascending labels"),
    (first(stored=[1]), "an integer from 0 to 0, but got 1"),
    (first(scale="inf"), "must be an object with rows, cols, sizes, scale"),
    (first(action=[1, 2], rows=[[1, [], {"eval": "exit()"}]]), "a range, a lattice or an index"),
    (first(cols=[[3, [0, 0]]]), "distinct labels"),
    (first(cols=[[3, [0], {"range": [1, 1, 3]}]]), "places of an axis of size 3"),
    (first(cols=[[3, [0], {"range": [0, 0, 3]}]]), "step other than 0"),
    (first(cols=[[3, [0], {"range": [0, 1, 2**63]}]]), "an integer from"),
    (first(cols=[[3, [0], {"index": [0, 2, 3]}]]), "places of an axis of size 3"),
    (first(cols=[[3, [0], {"lattice": [0, [1, 0], [3, 1]]}]]), "steps other than 0"),
    (first(cols=[[3, [0], {"lattice": [0, [1, 2], [2**40, 2**40]]}]]), "steps other than 0"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_text_that_is_no_plan_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_json(text)
    assert said in str(caught.value)


def mixed(x: Any) -> Any:
    """Map 24 x 24 entries to as many; every product of two Jacobians is dense."""
    a, b = np.ones((2, 24, 24))
    return np.tanh(a @ np.tanh(a @ x @ b) @ b)


@pytest.mark.parametrize(("step", "saved_by"), [(-1, "an older"), (1, "a newer")])
@pytest.mark.parametrize(("kind", "own"), [("plan", 4), ("chunked plan", 3)])
def test_a_plan_of_another_format_is_refused_with_what_to_do(
    kind: str, own: int, step: int, saved_by: str
) -> None:
    version = own + step
    limit = int(1.2 * 8 * 24**4) if kind == "chunked plan" else None
    plan = chainad.plan(mixed, np.ones((24, 24)), memory_limit=limit)
    text = plan.to_json()
    assert f'"chainad {kind} {own}"' in text
    with pytest.raises(PlanError) as caught:
        type(plan).from_json(text.replace(f'"chainad {kind} {own}"', f'"chainad {kind} {version}"'))
    assert str(caught.value) == (
        f"the plan was saved by {saved_by} version of chainad, in the format chainad {kind}"
        f" {version}, but this version reads 'chainad {kind} {own}'; plan the function anew and"
        " save it again, or use the version of chainad that wrote it"
    )


@pytest.mark.parametrize("reader", [Plan, chainad.ChunkedPlan])
def test_a_plan_without_a_format_is_refused_with_what_to_do(
    reader: type[Plan] | type[chainad.ChunkedPlan],
) -> None:
    fields = json.loads(chainad.plan_chain([3, 1, 2]).to_json())
    del fields["format"]
    with pytest.raises(PlanError, match="no format is named in it; plan the function anew and"):
        reader.from_json(json.dumps(fields))


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(PlanError, match=r"takes the text that plan.to_json\(\) returned"):
        Plan.from_json(b"{}")  # type: ignore[arg-type]


VALUES: list[Any] = [None, True, -1, 0, 1, 2, 3, 10**6, 2**70, 0.5, "x", [], {}, [0], [[1]]]


def damage(rng: Random, value: Any) -> Any:
    """Return a JSON value with one place inside it changed."""
    if isinstance(value, (list, dict)) and value and rng.random() < 0.9:
        key = rng.choice([*(value if isinstance(value, dict) else range(len(value)))])
        copy = value.copy()
        if rng.random() < 0.15:
            del copy[key]
        else:
            copy[key] = damage(rng, copy[key])
        return copy
    return rng.choice(VALUES)


@given(randoms)
def test_a_damaged_text_is_refused_or_still_a_plan(rng: Random) -> None:
    fields = json.loads(plans(rng).to_json())
    part = rng.choice(["structures", "structures", "edges", "vertices", *fields])
    text = json.dumps(fields | {part: damage(rng, fields[part])})
    try:
        again = Plan.from_json(text)
    except PlanError:
        return
    assert Plan.from_json(again.to_json()) == again


# ------------------------------------------------------------------- networkx


def test_networkx_graph_knows_the_plan() -> None:
    x = np.linspace(0.0, 1.0, 20)
    plan = chainad.plan(network, x)
    graph = plan.to_networkx()
    assert graph.number_of_nodes() == len(plan.graph.shapes)
    assert graph.number_of_edges() == len(plan.graph.edges)
    position = nx.get_node_attributes(graph, "position")
    assert sorted(position, key=lambda v: position[v]) == [*plan.order]
    roles = nx.get_node_attributes(graph, "role")
    assert [v for v in graph if roles[v] == "input"] == [*plan.graph.inputs]
    assert [v for v in graph if roles[v] == "output"] == [*plan.graph.outputs]
    for tail, head, key, about in graph.edges(keys=True, data=True):
        edge = plan.graph.edges[key]
        assert (tail, head) == (edge.tail, edge.head)
        assert about["structure"] == str(edge.structure)
        assert about["bytes"] == 8 * edge.structure.count
        assert about["line"].startswith("test_serialize.py:")
    assert graph.graph["multiplications"] == plan.multiplications
    assert graph.graph["title"] == "network(x)"


@given(randoms)
def test_operations_on_the_nodes_add_up_to_that_of_the_plan(rng: Random) -> None:
    graph, _ = random_chain(rng, rng.randint(1, 6))
    plan = make_plan(graph)
    nodes = plan.to_networkx().nodes
    assert sum(nodes[v]["multiplications"] for v in graph.inner) == plan.multiplications
    assert sum(nodes[v]["additions"] for v in graph.inner) == plan.additions


def test_networkx_graph_can_be_written() -> None:
    graph = chainad.plan(network, np.ones(20)).to_networkx()
    text = BytesIO()
    nx.write_graphml(graph, text)
    text.seek(0)
    again = nx.read_graphml(text, node_type=int, force_multigraph=True)
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))


@pytest.mark.parametrize("enormous", ["1" + "0" * 400, "1" + "0" * 5000, "1e999", "-1", "NaN"])
def test_a_text_with_enormous_numbers_is_refused_or_still_a_plan(enormous: str) -> None:
    A = np.ones((3, 4))
    text = chainad.plan(lambda x: A @ np.tanh(A.T @ x), np.ones(3)).to_json()
    for match in re.finditer(r'(?<![\w"])\d+', text):
        try:
            plan = Plan.from_json(text[: match.start()] + enormous + text[match.end() :])
        except PlanError:
            continue
        assert str(plan)
        assert plan.schedule(2).tasks


def test_plans_of_any_size_are_printed() -> None:
    plan = chainad.plan_chain([10**200, 3, 10**200, 5], mode="forward")
    assert "TB" in str(plan)
    assert Plan.from_json(plan.to_json()) == plan
