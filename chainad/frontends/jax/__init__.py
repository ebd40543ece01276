"""JAX functions: `jax.linearize` traces them, and rows of `rules.lax` read its linear jaxprs.

Imported by `chainad.jax` alone: `import chainad` never imports JAX.
"""
