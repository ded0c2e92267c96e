"""Formulas of losses that keep state, or are given a side table."""

import math

from tests.formulas.basic import K
from tests.formulas.terms import entries, known, minus, penalty, plus, sigmoid, soft


def entropy(x):
    p = sigmoid(x)
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def size(z):
    return len(z) * len(z[0])


def em_apl(z, still, step, loss):
    labels = loss.soft[step.index].tolist()
    total = 0.0
    for x, _, s, i, j in entries(z, still, step):
        q = labels[i][j]
        if s != 0:
            total += known(x, s)
        elif q == -1:
            total -= loss.alpha * entropy(x)
        else:
            total += loss.beta * soft(x, q)
    return total / size(z)


def csl(z, still, step, loss):
    prior = loss.prior.tolist()
    gammas = loss.gammas
    unknown = [(-x0, i, j) for _, x0, s, i, j in entries(z, still, step) if s == 0]
    likeliest = {(i, j) for _, i, j in sorted(unknown)[: loss.likeliest * len(z)]}
    total = 0.0
    for x, x0, s, i, j in entries(z, still, step):
        p0 = sigmoid(x0)
        if s == 1:
            total += (1 - p0) ** gammas["gamma_pos"] * plus(x)
        elif s == -1:
            total += p0 ** gammas["gamma_neg"] * minus(x)
        elif prior[j] == -1 or (prior[j] <= loss.eta and (i, j) not in likeliest):
            total += p0 ** gammas["gamma_unknown"] * minus(x)
    return total


def crisp(z, still, step, loss):
    prior, scale = loss.prior.tolist(), loss.scale.tolist()
    total = 0.0
    for j, (pi, n_over_np) in enumerate(zip(prior, scale, strict=True)):
        near = mean = away = 0.0
        for x, _, s, _, column in entries(z, still, step):
            if column == j:
                near += (1 - sigmoid(x)) / len(z) if s == 1 else 0.0
                away += minus(x) / len(z) if s == -1 else 0.0
                mean += sigmoid(x) / len(z)
        total += 2 * pi * n_over_np * near + abs(mean - pi) + away
    return total


def pseudo_threshold(z, still, step, loss):
    pseudo = loss.pseudo[step.index].tolist()
    total = 0.0
    for x, _, s, i, j in entries(z, still, step):
        total += plus(x) if s == 1 or pseudo[i][j] else minus(x)
    return total / size(z)


def sat(z, still, step, loss):
    targets = loss.targets[step.index].tolist()
    total = 0.0
    for x, x0, s, i, j in entries(z, still, step):
        target = targets[i][j]
        if step.epoch > loss.start and (loss.scope == "all" or s == 0):
            target = loss.momentum * target + (1 - loss.momentum) * sigmoid(x0)
        total += soft(x, target)
    return total / size(z)


def elr(z, still, step, loss):
    means, masses = loss.mean[step.index].tolist(), loss.mass[step.index].tolist()
    total = 0.0
    for x, x0, s, i, j in entries(z, still, step):
        p0 = min(max(sigmoid(x0), 1e-4), 1 - 1e-4)
        present = loss.beta * means[i][j] + (1 - loss.beta) * p0
        absent = loss.beta * (masses[i] - means[i][j]) + (1 - loss.beta) * (1 - p0)
        inner = sigmoid(x) * present + (1 - sigmoid(x)) * absent
        total += (plus(x) if s == 1 else minus(x)) + loss.weight * math.log(1 - inner)
    return total / size(z)


def vlpl(z, still, step, loss):
    pseudo = loss.pseudo[step.index].tolist()
    total = 0.0
    for x, _, s, i, j in entries(z, still, step):
        if s != 0:
            total += known(x, s)
        elif pseudo[i][j]:
            total += loss.beta * (loss.target * plus(x) + (1 - loss.target) * minus(x))
        else:
            total -= loss.alpha * entropy(x)
    return total / size(z)


# w and b at the end, q2, q3, lambda_1, lambda_2, r: from the authors' configuration files.
GPR = {
    "voc": (2, -2, 0.01, 1, 0.7, 0.4, 0.05),
    "coco": (10, -8, 0.01, 1, 0.7, 0.5, 0.001),
    "nus-wide": (10, -8, 0.01, 1, 0.7, 0.5, 0.001),
    "cub": (10, -8, 0.01, 1.5, 0.8, 0.2, 0.01),
}


def gpr_of(preset):
    w_end, b_end, q2, q3, most, least, r = GPR[preset]

    def gpr(z, still, step, loss):
        pseudo = loss.pseudo[step.index].tolist()
        t, last = step.epoch, step.epochs
        w, b = w_end * (t - 1) / last, -2 + (b_end + 2) * (t - 1) / last
        mu, sigma = 0.5 + (0.8 - 0.5) * t / last, 2 + (0.5 - 2) * t / last
        total = 0.0
        for x, x0, s, i, j in entries(z, still, step):
            p, p0 = sigmoid(x), sigmoid(x0)
            k, v = sigmoid(w * p0 + b), math.exp(-((p0 - mu) ** 2) / (2 * sigma**2))
            if s != 0:
                total += known(x, s)
            elif pseudo[i][j]:
                weight = 1 - min(max(v, 1 - most), 1 - least)
                total += weight * (0.9 * plus(x) + 0.1 * minus(x))
            else:
                total += v * (k * (1 - p**q2) / q2 + (1 - k) * (1 - (1 - p) ** q3) / q3)
        return total / size(z) + r * penalty([[sigmoid(x) for x in row] for row in z], K)

    return gpr


FORMULAS = {
    "em-apl": em_apl,
    "csl": csl,
    "crisp": crisp,
    "pseudo-threshold": pseudo_threshold,
    "sat": sat,
    "elr": elr,
    "vlpl": vlpl,
    "gpr": gpr_of("voc"),
}
