"""Cut vertices: the components that split a graph are those that networkx finds."""

from random import Random

import networkx as nx
import pytest

from chainad.planning.search.articulation import _biconnected, _connected


@pytest.mark.parametrize("seed", range(100))
def test_components_are_those_of_networkx(seed: int) -> None:
    rng = Random(seed)
    graph = nx.Graph()
    graph.add_nodes_from(range(rng.randint(1, 25)))
    pairs = [(rng.choice([*graph]), rng.choice([*graph])) for _ in range(rng.randint(0, 40))]
    graph.add_edges_from((u, v) for u, v in pairs if u != v)
    near = {v: list(graph[v]) for v in graph}
    blocks = [*map(sorted, nx.biconnected_components(graph))]
    assert sorted(map(sorted, _biconnected(near))) == sorted(blocks)
    assert _connected(near) == [sorted(each) for each in nx.connected_components(graph)]
