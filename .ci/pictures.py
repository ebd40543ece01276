"""Draw the README's picture from the README's own code."""

import linecache
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the first example, and draw its plan."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    linecache.cache["model.py"] = len(code), None, code.splitlines(keepends=True), "model.py"
    names = {"print": lambda _: None}
    exec(compile(code, "model.py", "exec"), names)
    names["J"].plan(names["x"]).draw(ROOT / "docs" / "pictures" / "plan.png")


if __name__ == "__main__":
    main()
