"""Front ends: functions to call graphs.

numpy     a tracer of NumPy functions, and the recorder that `compile` runs them with
jax       JAX functions, by their linear jaxprs; for `chainad.jax`
captures  what functions read beside their arguments, for `compile`
"""
