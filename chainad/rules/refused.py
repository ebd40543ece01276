"""Functions that write into their arguments, or lose derivatives: refused, with the next move."""

import numpy as np

from chainad.rules.base import REFUSED

REFUSED |= {
    np.copyto: "np.copyto writes into an array; use the value itself, or np.where",
    np.put: "np.put writes into an array; build the result with np.where or np.concatenate",
    np.put_along_axis: "np.put_along_axis writes into an array; use np.where",
    np.place: "np.place writes into an array; use np.where",
    np.putmask: "np.putmask writes into an array; use np.where",
    np.fill_diagonal: "np.fill_diagonal writes into an array; add np.diag(...) instead",
    np.save: "np.save stores plain numbers; save chainad.stop_gradient(x)",
    np.savez: "np.savez stores plain numbers; save chainad.stop_gradient(x)",
    np.savez_compressed: "np.savez_compressed stores plain numbers; save chainad.stop_gradient(x)",
    np.savetxt: "np.savetxt stores plain numbers; save chainad.stop_gradient(x)",
}
REFUSED |= {
    function: f"np.{name} takes {what}, and traced values are floats; convert the plain numbers,"
    " chainad.stop_gradient(x).astype(...)"
    for what, names in {
        "integers": """bitwise_and bitwise_count bitwise_or bitwise_xor invert left_shift
            right_shift gcd lcm packbits unpackbits ravel_multi_index ix_""",
        "dates": "busday_count busday_offset datetime_as_string is_busday isnat",
    }.items()
    for name in names.split()
    for function in [getattr(np, name)]
}
