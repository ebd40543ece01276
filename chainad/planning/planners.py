"""The planners that come with chainad: importing their modules registers them."""

from chainad.planning.chain.chain import chain
from chainad.planning.registry import PLANNERS
from chainad.planning.search.edges import edges
from chainad.planning.search.greedy import fill, forward, greedy, markowitz, relative, reverse
from chainad.planning.search.long_loops import repeats
from chainad.planning.search.stages import annealing, blocks, exhaustive, window

__all__ = [
    "PLANNERS",
    "annealing",
    "blocks",
    "chain",
    "edges",
    "exhaustive",
    "fill",
    "forward",
    "greedy",
    "markowitz",
    "relative",
    "repeats",
    "reverse",
    "window",
]
