"""Print what pyproject.toml allows at least: the interpreter, then pins for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
required = [*project["dependencies"], *extras["numba"], *extras["jax"]]
print(
    project["requires-python"].replace(">=", "python"), *(r.replace(">=", "==") for r in required)
)
