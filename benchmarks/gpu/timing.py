"""Throughput of two sides that run in turn on a device, and agreement of two of its results."""

import statistics
import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Setting:
    """Where and how much to measure.

    Attributes:
        device: The device to check.
        small: Whether to try the script only: sizes are such that nothing of note is measured.
    """

    device: torch.device
    small: bool

    def size(self, usual, small):
        return small if self.small else usual


@dataclass(frozen=True)
class Throughput:
    """Things a second of two sides.

    Attributes:
        what: What is measured.
        unit: Of the things.
        ours: Median over the rounds.
        against: The other side; empty if there is none.
        theirs: Median over the rounds; None without another side.
        share: ours / theirs of each round: median, least, greatest.
        goal: The least share that is wanted; None if it is only shown.
    """

    what: str
    unit: str
    ours: float
    against: str = ""
    theirs: float | None = None
    share: tuple[float, float, float] | None = None
    goal: float | None = None

    @property
    def fault(self):
        if self.goal is None or self.share[0] >= self.goal:
            return ""
        return (
            f"{self.what}: {self.share[0]:.2f} of {self.against}, at least {self.goal:g} is wanted"
        )

    def line(self):
        theirs = "" if self.theirs is None else f"{_short(self.theirs)} {self.unit}/s"
        share = "" if self.share is None else "{:.2f} ({:.2f} to {:.2f})".format(*self.share)
        goal = "" if self.goal is None else f"≥ {self.goal:g}"
        verdict = "" if self.goal is None else ("**does not hold**" if self.fault else "holds")
        cells = f"{_short(self.ours)} {self.unit}/s", self.against, theirs, share, goal, verdict
        return f"| {self.what} | {' | '.join(cells)} |"


@dataclass(frozen=True)
class Agreement:
    """Greatest difference of a result from that of the CPU.

    Attributes:
        what: What is compared.
        difference: The greatest.
        tolerance: The greatest that is allowed.
        how: How it is taken.
    """

    what: str
    difference: float
    tolerance: float
    how: str

    @property
    def fault(self):
        if self.difference <= self.tolerance:
            return ""
        return (
            f"{self.what}: {self.how} {self.difference:.2g}, at most {self.tolerance:g} is allowed"
        )

    def line(self):
        verdict = "**does not hold**" if self.fault else "holds"
        return (
            f"| {self.what} | {self.how} | {self.difference:.2g} | {self.tolerance:g} | {verdict} |"
        )


def _short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds(call, device):
    """Seconds of a call, until the device has done what it launched."""
    settle(device)
    start = time.perf_counter()
    call()
    settle(device)
    return time.perf_counter() - start


def settle(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(what, unit, count, ours, against, theirs, setting, *, goal=None, rounds=3):
    """Runs both sides in turn, once to warm up.

    Args:
        what: What is measured.
        unit: Of the things that both sides do.
        count: How many of them each call does.
        ours: Side.
        against: Name of the other one.
        theirs: It.
        setting: Where.
        goal: The least share that is wanted.
        rounds: How often.
    """
    ours(), theirs()
    rounds = setting.size(rounds, 1)
    pairs = [
        (seconds(ours, setting.device), seconds(theirs, setting.device)) for _ in range(rounds)
    ]
    shares = [b / a for a, b in pairs]
    mine, other = (count / statistics.median(side) for side in zip(*pairs, strict=True))
    # Tried in a small setting, nothing is measured.
    return Throughput(
        what, unit, mine, against, other,
        (statistics.median(shares), min(shares), max(shares)), None if setting.small else goal,
    )  # fmt: skip


def rate(what, unit, count, call, setting, *, rounds=3, warm_up=True):
    """Throughput of one side."""
    if warm_up:
        call()
    took = [seconds(call, setting.device) for _ in range(setting.size(rounds, 1))]
    return Throughput(what, unit, count / statistics.median(took))
