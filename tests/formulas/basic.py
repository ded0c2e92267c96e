"""Formulas of the references, of the family of Cole et al. 2021, and of the paper's loss."""

import math

from tests.formulas.terms import (
    cell_mean,
    known,
    minus,
    penalty,
    sigmoid,
    smooth,
    soft,
    state,
)

K = 1.7


def reference(epsilon):
    """Smoothed where known; unknown entries count as negative only where no negative is known."""
    return lambda z, still, step, loss: cell_mean(
        z,
        step,
        lambda x, s: (
            0.0 if loss.leaves_out and s == 0 else soft(x, 1 - epsilon if s == 1 else epsilon)
        ),
    )


def role(z, still, step, loss):
    theta = loss.estimates.detach()[step.index].tolist()
    total = cell_mean(z, step, known) + cell_mean(theta, step, known)
    cross = 0.0
    for zi, fixed, ti in zip(z, still, theta, strict=True):
        for x, x0, t in zip(zi, fixed, ti, strict=True):
            cross += soft(x, sigmoid(t)) + soft(t, sigmoid(x0))
    total += cross / (len(z) * len(z[0]))
    for rows in (z, theta):
        total += penalty([[sigmoid(x) for x in row] for row in rows], K)
    return total / 2


def pseudo_history(z, still, step, loss, stack=()):
    weights = (0.5, 0.3, 0.2)
    total = 0.0
    labels = len(z[0])
    for i, row in enumerate(z):
        observed = hidden = square = 0.0
        for j, x in enumerate(row):
            s = state(step, i, j)
            used = [(w, past[i][j]) for w, past in zip(weights, stack, strict=False)]
            target = sum(w * p for w, p in used) / sum(w for w, _ in used) if used else 1.0
            if s == 0:
                hidden += soft(x, target)
            else:
                observed += known(x, s)
            square += (sigmoid(x) - 1) ** 2
        total += observed / labels + math.exp(step.epoch - step.epochs) * hidden / labels
        total += 1 - math.sqrt(square / labels)
    return total / len(z)


FORMULAS = {
    "bce": reference(0.0),
    "bce-ls": reference(0.1),
    "an": smooth(0.0),
    "an-ls": smooth(0.1),
    "wan": lambda z, still, step, loss: cell_mean(
        z, step, lambda x, s: known(x, s) if s else minus(x) / (len(z[0]) - 1)
    ),
    "iu": lambda z, still, step, loss: cell_mean(z, step, known),
    "epr": lambda z, still, step, loss: (
        cell_mean(z, step, known) + penalty([[sigmoid(x) for x in row] for row in z], K)
    ),
    "role": role,
    "pseudo-history": pseudo_history,
}
