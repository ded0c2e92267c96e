"""Terms of loops over entries, written from formulas: plain Python floats, no tensors.

A formula is a function ``(z, still, step, loss)``: logits as a list of rows, the logits at which
factors are taken that have no gradient (the same numbers unless a gradient is being checked), the
step, and a bound loss whose state is that of before the step.
"""

import math


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def cell_mean(z, step, term):
    """Mean over all cells of term(z, state), state +1, -1 or 0 for hidden."""
    total = 0.0
    for i in range(len(z)):
        for j in range(len(z[0])):
            total += term(z[i][j], state(step, i, j))
    return total / (len(z) * len(z[0]))


def entries(z, still, step):
    """Logit, logit without gradient, state (+1, -1, 0 for hidden), row and column of each entry."""
    for i, (row, fixed) in enumerate(zip(z, still, strict=True)):
        for j, (x, x0) in enumerate(zip(row, fixed, strict=True)):
            yield x, x0, state(step, i, j), i, j


def state(step, i, j):
    return int(step.positives[i, j]) - int(step.negatives[i, j])


def plus(z):
    return -math.log(sigmoid(z))


def minus(z):
    return -math.log(1 - sigmoid(z))


def soft(z, t):
    return t * plus(z) + (1 - t) * minus(z)


def known(z, s):
    return plus(z) if s == 1 else minus(z) if s == -1 else 0.0


def penalty(rows, k):
    counts = [sum(row) for row in rows]
    return ((sum(counts) / len(counts) - k) / len(rows[0])) ** 2


def smooth(epsilon):
    return lambda z, still, step, loss: cell_mean(
        z, step, lambda x, s: soft(x, 1 - epsilon if s == 1 else epsilon)
    )
