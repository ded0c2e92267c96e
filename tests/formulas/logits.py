"""Formulas of losses that need logits alone.

``VARIANTS`` has specs of the same losses with other settings.
"""

import math
from fractions import Fraction
from functools import partial

from tests.formulas.terms import cell_mean, entries, known, minus, plus, sigmoid


def em(alpha):
    def term(x, s):
        if s:
            return known(x, s)
        p = sigmoid(x)
        return -alpha * (-p * math.log(p) - (1 - p) * math.log(1 - p))

    return lambda z, still, step, loss: cell_mean(z, step, term)


def asl(gamma_pos, gamma_neg, clip, detach=True):
    def formula(z, still, step, loss):
        total = 0.0
        for x, x0, s, _, _ in entries(z, still, step):
            weighing = x0 if detach else x
            if s == 1:
                total += (1 - sigmoid(weighing)) ** gamma_pos * plus(x)
            else:
                clipped = max(sigmoid(x) - clip, 0.0)
                total -= max(sigmoid(weighing) - clip, 0.0) ** gamma_neg * math.log(1 - clipped)
        return total

    return formula


def hill(z, still, step, loss, lam=1.5, margin=1.0, gamma=2.0):
    total = 0.0
    for x, _, s, _, _ in entries(z, still, step):
        p = sigmoid(x)
        if s == 1:
            total += (1 - sigmoid(x - margin)) ** gamma * plus(x - margin)
        else:
            total += (lam - p) * p**2
    return total


def splc(tau, first_epoch=2, margin=1.0, gamma=2.0):
    def formula(z, still, step, loss):
        total = 0.0
        for x, x0, s, _, _ in entries(z, still, step):
            if s == 1:
                total += (1 - sigmoid(x - margin)) ** gamma * plus(x - margin)
            elif s == 0 and step.epoch >= first_epoch and sigmoid(x0) > tau:
                total += (1 - sigmoid(x)) ** gamma * plus(x)
            else:
                total += sigmoid(x) ** gamma * minus(x)
        return total

    return formula


def gr(slope_end, offset_end, q2, q3):
    def formula(z, still, step, loss):
        begun, ended = (step.epoch - 1) / step.epochs, step.epoch / step.epochs
        w, b = slope_end * begun, -2 + (offset_end + 2) * begun
        m, s = 0.5 + 0.3 * ended, 2 - 1.5 * ended
        total = 0.0
        for x, x0, state, _, _ in entries(z, still, step):
            if state:
                total += known(x, state)
                continue
            p, p0 = sigmoid(x), sigmoid(x0)
            k = sigmoid(w * p0 + b)
            v = math.exp(-((p0 - m) ** 2) / (2 * s**2))
            total += v * (k * (1 - p**q2) / q2 + (1 - k) * (1 - (1 - p) ** q3) / q3)
        return total / (len(z) * len(z[0]))

    return formula


def states(step, row):
    """Columns that are P, N and U in a row."""
    p, n, u = (t[row].nonzero().flatten() for t in (step.positives, step.negatives, step.hidden))
    return p.tolist(), n.tolist(), u.tolist()


def partial_bce(alpha, beta, gamma):
    def formula(z, still, step, loss):
        total = 0.0
        for i, row in enumerate(z):
            p, n, _ = states(step, i)
            if not p and not n:
                continue
            scale = alpha * ((len(p) + len(n)) / len(row)) ** gamma + beta
            losses = sum(plus(row[j]) for j in p) + sum(minus(row[j]) for j in n)
            total += scale / len(row) * losses
        return total / len(z)

    return formula


def divided_by_known(z, still, step, loss):
    losses = [known(x, s) for x, _, s, _, _ in entries(z, still, step) if s]
    return sum(losses) / len(losses) if losses else 0.0


def pr(z, still, step, loss):
    total = 0.0
    for i, row in enumerate(z):
        p, n, u = states(step, i)
        for positive in p:
            for other in u:
                total += max(0.0, 1 - sigmoid(row[positive]) + sigmoid(row[other]))
        total += sum(minus(row[j]) for j in n)
    return total / (len(z) * len(z[0]))


def iun(z, still, step, loss):
    total = 0.0
    for x, _, s, i, j in entries(z, still, step):
        if s == 1:
            total += plus(x)
        elif loss.true_negatives[step.index[i], j]:
            total += minus(x)
    return total / (len(z) * len(z[0]))


def pu_mlc(gamma, alpha):
    def formula(z, still, step, loss):
        total = 0.0
        for j in range(len(z[0])):
            column, fixed = [row[j] for row in z], [row[j] for row in still]
            mean = sum(fixed) / len(fixed)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in fixed) / len(fixed))
            scale = min(alpha * deviation, 1.0)
            if scale < 1e-3:
                scale = 1.0
            rebalance = (sum(sigmoid(x / scale) for x in fixed) / len(fixed)) ** gamma
            total += rebalance * math.log(sum(sigmoid(x / scale) for x in column) / len(column))
            positives = [x for i, x in enumerate(column) if step.positives[i, j]]
            if positives:
                total += sum(plus(x / scale) for x in positives) / len(positives)
        return total

    return formula


def large_loss(mode, delta):
    """The k-th largest loss of a candidate bounds the losses that go."""

    def formula(z, still, step, loss):
        done = loss.corrected[step.index].tolist()
        losses = {
            (i, j): minus(x0)
            for _, x0, s, i, j in entries(z, still, step)
            if s == 0 and not (done[i] and done[i][j])
        }
        grown = 1 if mode == "correct-permanently" else step.epoch - 1
        k = math.ceil(Fraction(delta) * grown * len(z) * len(z[0])) if step.epoch >= 2 else 0
        ranked = sorted(losses.values(), reverse=True)
        bound = math.inf if k == 0 else ranked[k - 1] if k <= len(ranked) else -math.inf
        total = 0.0
        for x, _, s, i, j in entries(z, still, step):
            if s == 1 or (done[i] and done[i][j]):
                total += plus(x)
            elif s == -1 or losses[i, j] < bound:
                total += minus(x)
            elif mode != "reject":
                total += plus(x)
        return total / (len(z) * len(z[0]))

    return formula


FORMULAS = {
    "em": em(0.2),
    "asl": asl(0, 4, 0.05),
    "focal": asl(2, 2, 0),
    "hill": hill,
    "splc": splc(0.6),
    "gr": gr(2, -2, 0.01, 1),
    "partial-bce": partial_bce(-4.45, 5.45, 1),
    "pr": pr,
    "iun": iun,
    "pu-mlc": pu_mlc(0.85, 2),
    "large-loss": large_loss("reject", "0.002"),
    "boostlu": large_loss("reject", "0.005"),
}

VARIANTS = {
    "em:preset=cub": em(0.01),
    "em:preset=coco": em(0.1),
    "em:alpha=0.7,preset=nus-wide": em(0.7),
    "asl:preset=library": asl(1, 4, 0.05),
    "asl:preset=library,detach=false": asl(1, 4, 0.05, detach=False),
    "asl:clip=0,gamma_pos=0.5,gamma_neg=3,detach=false": asl(0.5, 3, 0, detach=False),
    "asl:clip=0.3,gamma_neg=0.5,detach=false": asl(0, 0.5, 0.3, detach=False),
    "focal:detach=false": asl(2, 2, 0, detach=False),
    "hill:gamma=1,lam=1.2,margin=0.5": partial(hill, lam=1.2, margin=0.5, gamma=1),
    "splc:preset=coco-75": splc(0.65),
    "splc:tau=0.3,first_epoch=1,margin=0.5,gamma=1": splc(0.3, 1, 0.5, 1),
    "gr:preset=coco": gr(10, -8, 0.01, 1),
    "gr:preset=nus-wide": gr(10, -8, 0.01, 1),
    "gr:preset=cub": gr(10, -8, 0.01, 1.5),
    "gr:q2=0.7,slope_end=3,offset_end=1": gr(3, 1, 0.7, 1),
    "partial-bce:alpha=1,beta=0,gamma=-1": partial_bce(1, 0, -1),
    "iu:normaliser=known": divided_by_known,
    "pu-mlc:preset=coco": pu_mlc(0.55, 1),
    "pu-mlc:alpha=0.1,gamma=0": pu_mlc(0, 0.1),
    "large-loss:mode=correct": large_loss("correct", "0.002"),
    "large-loss:mode=correct-permanently": large_loss("correct-permanently", "0.001"),
    "boostlu:mode=correct": large_loss("correct", "0.002"),
    "boostlu:mode=correct-permanently": large_loss("correct-permanently", "0.001"),
    "large-loss:delta=0.2": large_loss("reject", "0.2"),
    "large-loss:delta=0.2,mode=correct": large_loss("correct", "0.2"),
    "large-loss:delta=0.2,mode=correct-permanently": large_loss("correct-permanently", "0.2"),
}
