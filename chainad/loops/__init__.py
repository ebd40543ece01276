"""Loops: programs on whole arrays as loop nests on numbers, for a compiler."""
