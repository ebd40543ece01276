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
    np.savetxt: "np.savetxt stores plain numbers; save chainad.stop_gradient(x)",
}
