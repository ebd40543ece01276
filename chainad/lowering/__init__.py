"""Lowering, room by room: what writes instructions, and the passes that make them fewer."""
