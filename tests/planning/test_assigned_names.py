"""What the user calls a value is read off the line that computes it, if that is clear."""

import pytest

from chainad.planning.views.assigned_names import assigned_name


@pytest.mark.parametrize(
    ("text", "operation", "is_read_elsewhere", "name"),
    [
        ("hidden = np.tanh(W @ x)", "tanh", False, "hidden"),
        ("hidden = np.tanh(W @ x)", "matmul", True, ""),
        ("x = np.linalg.solve(A, b)  # of $5", "linalg.solve", False, "x"),
        ("for W in Ws: x = np.tanh(W @ x)", "tanh", False, "x"),
        ("total += a * b", "add", False, "total"),
        ("total += a + b", "add", False, ""),
        ("total = a + b + c", "add", False, ""),
        ("total = a + b + c", "add", True, "total"),
        ("one = two = -x", "negative", True, "two"),
        ("one, two = np.split(x, 2)", "split", True, ""),
        ("y[0] = np.sin(x)", "sin", True, ""),
        ("return np.sin(x)", "sin", True, ""),
        ("def f(x): return np.sin(x)", "sin", True, ""),
        ("y = np.sin(", "sin", True, ""),
        ("y = functions[0](x)", "sin", True, ""),
        ("a = np.sin(x); b = np.sin(a)", "sin", True, ""),
        ("", "sin", True, ""),
    ],
)
def test_names(text: str, operation: str, is_read_elsewhere: bool, name: str) -> None:
    assert assigned_name(text, operation, is_read_elsewhere) == name
