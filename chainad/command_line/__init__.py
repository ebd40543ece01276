"""The command line: `python -m chainad explain`, `calibrate` and `demo`.

commands       the words of a command, what they do, and how it ends
function_call  from words to a function and its arguments
demo           what runs where no word is given
"""
