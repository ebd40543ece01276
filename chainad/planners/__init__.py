"""Planners: each turns a linear graph into an elimination order, integers only."""
