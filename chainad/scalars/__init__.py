"""Scalars: value and Jacobian of a traced function as straight-line operations on numbers."""
