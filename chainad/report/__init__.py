"""Reports: plans as text."""
