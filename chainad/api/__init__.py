"""The verbs of chainad, and what they return: Jacobians that are planned, compiled and run.

verbs               jacobian, value_and_jacobian, compile, plan, stop_gradient
gradients           grad, value_and_grad, hessian
products            jvp, vjp, linearize, hvp: Jacobians and Hessians times vectors
blocks              Jacobians block by block, of which one is there at a time
stream              the same, written to a disk; stream_record knows which are
sparsity            where a Jacobian has entries
ravel               containers of arrays as one vector
analyze             a plan run step by step, and timed: EXPLAIN ANALYZE
analysis            what that found, as data; analysis_text and analysis_page render it
timings             whether a Jacobian is worth it
stopwatch           how long calls take: one clock for all that measures
calibrate           what operations cost on this machine
chains, graphs      plan_chain, multi_dot, ... and plan_graph: products and graphs given by hand
function_of         objects as functions of another's arguments: name, signature, method, pickle
options             what a user may request, checked in the line where it is given
jacobian_functions  what `jacobian` and `value_and_jacobian` return
holomorphic         the same for complex arguments
differentiator      a function and its options: one traced call, and its plan
traced_run          from a traced run to what makes its Jacobian
jacobian_program    the program that accumulates a Jacobian, planned and lowered once, and kept
targets             what programs are lowered to
containers          arrays inside tuples, lists and dictionaries, taken out and put back
outputs             the results of that program as the Jacobians requested, or written into `out=`
compiled            what `compile` returns: recorded runs that are replayed without tracing
evaluation          an evaluation in two halves: the value now, the Jacobian if it is wanted
recorded_run        one run, recorded
captured_table      what a compiled function reads beside its arguments
choose_backend      from a recorded run to what replays it: scalars, loops, or calls of NumPy
fallbacks           warnings that a function is run in a simpler way
scipy_door          one object that every solver of SciPy takes
batches             many points at once, from a function of one
run_batched         a recorded run on the arrays of many points
solvers             what solves equations inside of functions, a package of its own
"""
