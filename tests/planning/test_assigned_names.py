"""What the user calls a value is read off the line that computes it, if that is clear."""

import pytest

from chainad.planning.views.assigned_names import assigned_name


@pytest.mark.parametrize(
    ("text", "operation", "name"),
    [
        ("hidden = np.tanh(W @ x)", "tanh", "hidden"),
        ("hidden = np.tanh(W @ x)", "matmul", ""),
        ("x = np.linalg.solve(A, b)  # of $5", "linalg.solve", "x"),
        ("for W in Ws: x = np.tanh(W @ x)", "tanh", "x"),
        ("total += a * b", "add", "total"),
        ("total += a + b", "add", ""),
        ("total = a + b + c", "add", ""),
        ("s = split(y @ q) @ split(y @ k)", "matmul", ""),
        ("one = two = -x", "negative", "two"),
        ("one, two = np.split(x, 2)", "split", ""),
        ("y[0] = np.sin(x)", "sin", ""),
        ("return np.sin(x)", "sin", ""),
        ("def f(x): return np.sin(x)", "sin", ""),
        ("y = np.sin(", "sin", ""),
        ("y = functions[0](x)", "sin", ""),
        ("a = np.sin(x); b = np.sin(a)", "sin", ""),
        ("", "sin", ""),
    ],
)
def test_names(text: str, operation: str, name: str) -> None:
    assert assigned_name(text, operation) == name
