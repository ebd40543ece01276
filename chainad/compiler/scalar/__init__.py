"""Scalar."""
