"""What functions read beside their arguments: found in the code that ran, and what it must be.

code_runs       which code runs, and which arrays its instructions take
places          where something is found: a global, a cell or an object, and steps from there
place_table     the places of one function; `function_table`: the functions that ran
reader          what attributes, entries and calls give, by where the objects come from
interpreter     the bytecode, computed with such places; `instructions`: what each does
bytecode        the instructions of code objects, decoded once
find_captures   what must hold for a replay; `contents`: what is compared
"""
