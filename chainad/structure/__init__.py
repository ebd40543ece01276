"""The algebra of structured Jacobians: product and sum, with their costs, and dense form.

A product ties the inner axes and adds up the labels that neither side keeps: an einsum, read off
the labels. A sum keeps only the ties that both sides have, or, where that would waste more than
two thirds of the places, the union of their entries. Both laws are checked against dense arrays.

Laws (each one a test):
- the structure of a product does not depend on its bracketing, except where entries that are
  listed one by one are a third of all, and those that are zero are then stored, too;
- a product with +1 or -1 everywhere costs no multiplication, unless so many equal terms add up;
- no product costs more than the product of the dense matrices;
- a sum stores at most three times the union of the entries of its terms.

| module | what it does |
|---|---|
| `structure` | `Structure`: axes, labels, positions, what is stored |
| `normal_form` | relabels axes and arrays, down to the normal form |
| `constructors` | what a rule states, as a structure; the plain ones, reductions, operators |
| `selections` | views, selections and reshapes as structures |
| `product`, `sum` | the algebra: what is multiplied and added, and by which ops |
| `ties`, `entry_grid` | axes that run together, for products; places of entries, for sums |
| `materialize`, `csr` | dense arrays and compressed sparse rows of structures |
| `step_counts` | array calls and elements that a product or a sum takes |
| `linear_operators` | Jacobians known by their JVPs and VJPs |
| `sums_of_products` | what structured Jacobians of all array libraries have in common |
| `results` | the forms in which a Jacobian is returned |
| `to_json` | structures as JSON, and back |

Source: the ties are the generalised Kronecker deltas of index notation; for products of chains
of Jacobians see Griewank & Walther, *Evaluating Derivatives*, 2nd ed., ch. 9-10.
"""

from chainad.structure.constructors import (
    Arrangement,
    Ops,
    arrange,
    dense,
    diagonal,
    from_labels,
    identity,
    operator,
    reduced,
)
from chainad.structure.csr import Layout, lay_out
from chainad.structure.materialize import flat_places, to_dense, to_vector
from chainad.structure.product import (
    MIN_SYMMETRIC_ROWS,
    Product,
    Sweep,
    as_symmetric,
    materialize_operator,
    multiply,
    staged,
)
from chainad.structure.selections import reshaped, selection, strided
from chainad.structure.structure import MIN_FILL_INVERSE
from chainad.structure.sum import (
    MIN_SEPARATE_ENTRIES,
    StructureSum,
    add,
    add_to_dense,
    keep_separate,
)


def forget() -> None:
    """Empty the caches of products and sums, which keep the positions of large patterns alive."""
    multiply.cache_clear()
    add.cache_clear()
    add_to_dense.cache_clear()
    keep_separate.cache_clear()
    to_dense.cache_clear()
    to_vector.cache_clear()


__all__ = [
    "MIN_FILL_INVERSE",
    "MIN_SEPARATE_ENTRIES",
    "MIN_SYMMETRIC_ROWS",
    "Arrangement",
    "Layout",
    "Ops",
    "Product",
    "StructureSum",
    "Sweep",
    "add",
    "add_to_dense",
    "arrange",
    "as_symmetric",
    "dense",
    "diagonal",
    "flat_places",
    "forget",
    "from_labels",
    "identity",
    "keep_separate",
    "lay_out",
    "materialize_operator",
    "multiply",
    "operator",
    "reduced",
    "reshaped",
    "selection",
    "staged",
    "strided",
    "to_dense",
    "to_vector",
]
