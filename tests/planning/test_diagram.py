"""What every picture shows of a plan: nodes, arcs and folds, and where they stand."""

from functools import cache
from itertools import pairwise, product
from random import Random

import networkx as nx
import numpy as np
import pytest
from functions_to_draw import CASES, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st

import chainad
from chainad.planning.plan import follow
from chainad.planning.views.diagram import Diagram, diagram_of
from chainad.planning.views.narrow_places import passed_by_every_path
from chainad.testing import random_graph

names = pytest.mark.parametrize("name", sorted(CASES))


@cache
def diagram(name: str) -> Diagram:
    return diagram_of(plan_of(name))


@names
def test_every_vertex_is_shown_by_one_node(name: str) -> None:
    shown = diagram(name)
    vertices = [v for node in shown.nodes for v in node.vertices]
    assert sorted(vertices) == [*range(len(shown.plan.graph.shapes))]


@names
def test_every_multiplication_belongs_to_a_node(name: str) -> None:
    shown = diagram(name)
    assert sum(node.multiplications for node in shown.nodes) == shown.plan.multiplications


@names
def test_arcs_lead_to_the_right_and_bend_in_every_layer_between(name: str) -> None:
    shown = diagram(name)
    layer_of = shown.drawing.layer_of
    for arc, route in zip(shown.arcs, shown.drawing.routes, strict=True):
        assert (route[0], route[-1]) == (arc.tail, arc.head)
        assert layer_of[arc.tail] < layer_of[arc.head]
        if len(route) > 2:
            assert all(layer_of[b] - layer_of[a] == 1 for a, b in pairwise(route))


@names
def test_nothing_in_a_layer_touches_anything(name: str) -> None:
    shown = diagram(name)
    middles = shown.drawing.middles
    heights = [*shown.heights, *[0.0] * (len(middles) - len(shown.heights))]
    for layer in shown.drawing.layers:
        for one, other in pairwise(layer):
            between = middles[other] - middles[one] - (heights[one] + heights[other]) / 2
            assert between > 0.3


@pytest.mark.parametrize(
    ("name", "n_nodes", "n_folded", "has_dots"),
    [
        ("none", 2, 0, False),
        ("one", 2, 0, False),
        ("codec", 6, 0, False),
        ("attention", 20, 0, False),
        ("runge_kutta", 34, 7, False),
        ("equal_layers", 8, 48, False),
        ("layers", 101, 0, False),
        ("burgers", 13, 0, False),
        ("tangle", 139, 0, True),
    ],
)
def test_sizes(name: str, n_nodes: int, n_folded: int, has_dots: bool) -> None:
    shown = diagram(name)
    assert len(shown.nodes) == n_nodes
    assert sum(node.iterations for node in shown.nodes) == n_folded
    assert shown.has_dots == has_dots


def test_the_narrowest_place_is_where_the_plan_joins() -> None:
    place = diagram("codec").narrowest
    assert place is not None
    assert (place.vertex, place.size, place.equals) == (2, 20, 2)
    assert diagram("attention").narrowest is None


def test_directions_and_ranks_are_those_of_the_plan() -> None:
    shown = diagram("codec")
    assert [node.rank for node in shown.nodes] == [None, 0, 3, 1, 2, None]
    assert [arc.direction for arc in shown.arcs] == [*["reverse"] * 2, *["forward"] * 3]
    assert [node.name for node in shown.nodes] == ["x", *["matmul"] * 2, "hidden", *["matmul"] * 2]
    assert [node.operation for node in shown.nodes][2:4] == ["matmul", "tanh"]


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_every_path_passes_what_is_said_to_be_passed(rng: Random) -> None:
    graph, _ = random_graph(rng, rng.randint(0, 9), n_inputs=2, n_outputs=2)
    free = nx.DiGraph((edge.tail, edge.head) for edge in graph.edges)
    free.remove_edges_from([*product(graph.inputs, graph.outputs)])  # they are not multiplied
    free.add_edges_from(("start", v) for v in graph.inputs)
    free.add_edges_from((v, "end") for v in graph.outputs)
    for v in graph.inner:
        without = free.subgraph(set(free) - {v})
        is_passed = nx.has_path(free, "start", "end") and not nx.has_path(without, "start", "end")
        assert (v in passed_by_every_path(graph)) == is_passed


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_any_graph_has_a_diagram(rng: Random) -> None:
    graph, _ = random_graph(rng, rng.randint(0, 9), n_inputs=2, n_outputs=2)
    shown = diagram_of(follow(graph, graph.inner), max_nodes=rng.choice([3, 60]))
    assert sum(len(node.vertices) for node in shown.nodes) == len(graph.shapes)


def test_inputs_and_outputs_stand_at_the_ends() -> None:
    plan = chainad.plan(lambda a, b: (np.sin(a) * b, a), np.ones(4), np.ones(4), argnums=(0, 1))
    shown = diagram_of(plan)
    layers = {node.name: shown.drawing.layer_of[k] for k, node in enumerate(shown.nodes)}
    assert [node.role for node in shown.nodes].count("output") == 2
    first, second = plan.graph.inputs
    assert shown.drawing.middles[first] < shown.drawing.middles[second]
    assert {layers[name] for name in plan.graph.names if name in layers} <= {0, 2}


def test_values_without_a_line_are_called_by_their_own_names() -> None:
    graph = chainad.plan_graph([("x", "a"), ("a", "y"), ("x", "b"), ("b", "y")])
    assert [node.name for node in diagram_of(graph).nodes] == ["x", "a", "b", "y"]
    chain = chainad.plan_chain([5, 4, 3])
    assert [node.name for node in diagram_of(chain).nodes][1] == "v1"
