"""How far the power model is off on machines that it has not seen, beside two published rules.

Run: `python benchmarks/model.py`. The machines are those of carbon_sdk/meters/data/measured_watts.csv: RAPL package
watts by load. Each is left out in turn, with every other machine of the same CPU part; the shares are fitted to the
rest and tried on it. A machine without a published TDP never serves the fit; its TDP is that of the most alike part.
Errors are means over the rows of |estimate - measured| / measured, idle rows included. The form of the curve (bend and
saving in estimate.py) was chosen once, with all machines in sight.

Beside it: TDP x load, at least a tenth (CodeCarbon's rule), and shares of TDP of 0.12, 0.32, 0.75 and 1.02 at 0, 10, 50
and 100 % load (Teads' rule).
"""

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from carbon_sdk.meters import coefficients, estimate
from carbon_sdk.meters.curve import STEPS, between
from carbon_sdk.meters.estimate import BIG, SMALL, SMALL_TDP_WATTS, Shares
from carbon_sdk.meters.hardware import CPU, Hardware

IDLE_GRID = [share / 100 for share in range(4, 26)]
FULL_GRID = [share / 100 for share in range(40, 150, 2)]
TEADS_POINTS = ((0.0, 0.12), (0.1, 0.32), (0.5, 0.75), (1.0, 1.02))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One measured machine: per-socket watts by load, and what is known of its CPU."""

    name: str
    part: str
    tdp_watts: float
    published: bool
    shape: tuple[float, ...]
    rows: tuple[tuple[float, float], ...]

    @property
    def small(self) -> bool:
        """Whether its sockets are of the small kind."""
        return self.tdp_watts < SMALL_TDP_WATTS


def machines() -> list[Machine]:
    """The measured machines; runs over all cores and over some cores of one machine are one."""
    grouped: dict[str, list[coefficients.Measurement]] = {}
    for row in coefficients.measurements():
        grouped.setdefault(row.machine.removesuffix(" all cores").removesuffix(" some cores"), []).append(row)
    found = []
    for name, rows in grouped.items():
        cpu = CPU(model_name=rows[0].cpu_model, threads=rows[0].threads, sockets=rows[0].sockets)
        socket = estimate.find_socket(Hardware(cpu=cpu), measured=False)
        part = coefficients.find_cpu(rows[0].cpu_model)
        assert part is not None
        assert socket.tdp_watts is not None
        found.append(
            Machine(
                name=name,
                part=part.model,
                tdp_watts=socket.tdp_watts,
                published=part.tdp_watts is not None,
                shape=coefficients.server_power(part.microarchitecture).shape,
                rows=tuple((row.load, row.package_watts / row.sockets) for row in rows),
            )
        )
    return found


def error(machine: Machine, watts: Callable[[float], float]) -> float:
    """The mean absolute relative error of a rule on one machine."""
    return statistics.fmean(abs(watts(load) - measured) / measured for load, measured in machine.rows)


def of_shares(machine: Machine, shares: Shares) -> Callable[[float], float]:
    """The watts that shares of the TDP give."""
    return lambda load: machine.tdp_watts * shares.at(load, machine.shape)


def fit(seen: Iterable[Machine], *, small: bool) -> Shares:
    """The shares with the least error on the machines of one kind.

    Machines of one part count as one. Where the kind has a single part, a line through one machine says little of idle:
    its idle share is then the one that serves all machines seen.
    """
    usable = [machine for machine in seen if machine.published]
    kind = [machine for machine in usable if machine.small is small]
    form = SMALL if small else BIG
    idles = IDLE_GRID
    if len({machine.part for machine in kind}) < 2:
        idles = [statistics.median(fit_own_idle(machine) for machine in usable)]
    return min(
        (dataclasses.replace(form, idle=idle, full=full) for idle, full in itertools.product(idles, FULL_GRID)),
        key=lambda shares: sum(
            statistics.fmean(error(machine, of_shares(machine, shares)) for machine in kind if machine.part == part)
            for part in sorted({machine.part for machine in kind})
        ),
    )


def fit_own_idle(machine: Machine) -> float:
    """The idle share that one machine showed."""
    return statistics.fmean(watts for load, watts in machine.rows if load == 0) / machine.tdp_watts


def without(all_machines: Sequence[Machine], machine: Machine) -> Shares:
    """The shares fitted to all parts but this machine's."""
    return fit([one for one in all_machines if one.part != machine.part], small=machine.small)


def codecarbon(machine: Machine) -> Callable[[float], float]:
    """TDP x load, at least a tenth."""
    return lambda load: machine.tdp_watts * max(load, 0.1)


def teads(machine: Machine) -> Callable[[float], float]:
    """Teads' shares of TDP, linear between their four points."""

    def watts(load: float) -> float:
        for (left, low), (right, high) in itertools.pairwise(TEADS_POINTS):
            if load <= right:
                return machine.tdp_watts * (low + (high - low) * (load - left) / (right - left))
        return machine.tdp_watts * TEADS_POINTS[-1][1]

    return watts


def in_band(machine: Machine, shares: Shares) -> tuple[int, int]:
    """Rows of one machine within the stated band about shares fitted without it, of how many."""
    form = SMALL if machine.small else BIG
    widen = 1.0 if machine.published else estimate.ALIKE_WIDEN
    inside = 0
    for load, measured in machine.rows:
        ratio = measured / of_shares(machine, shares)(load)
        inside += between(form.low, load) / widen <= ratio <= between(form.high, load) * widen
    return inside, len(machine.rows)


def main() -> None:
    """Print the table."""
    everything = machines()
    print(f"{'machine':26} {'TDP W':>6} {'ours':>7} {'CodeCarbon':>11} {'Teads':>7} {'in band':>9}   fitted without it")
    ours, codecarbons, teadses, inside, rows = [], [], [], 0, 0
    for machine in everything:
        shares = without(everything, machine)
        ours.append(error(machine, of_shares(machine, shares)))
        codecarbons.append(error(machine, codecarbon(machine)))
        teadses.append(error(machine, teads(machine)))
        count, of = in_band(machine, shares)
        inside, rows = inside + count, rows + of
        tdp = f"{machine.tdp_watts:g}" + ("" if machine.published else " *")
        print(
            f"{machine.name:26} {tdp:>6} {ours[-1]:7.1%} {codecarbons[-1]:11.1%} {teadses[-1]:7.1%} "
            f"{count:>4} of {of:<3} idle {shares.idle:.2f}, full {shares.full:.2f}"
        )
    means = [statistics.fmean(column) for column in (ours, codecarbons, teadses)]
    held = f"{inside:>4} of {rows} ({inside / rows:.0%})"
    print(f"{'mean':26} {'':6} {means[0]:7.1%} {means[1]:11.1%} {means[2]:7.1%} {held}")
    print(f"{'worst':26} {'':6} {max(ours):7.1%} {max(codecarbons):11.1%} {max(teadses):7.1%}")
    print("* no TDP published: that of the most alike part of the microarchitecture")
    for name, form, small in (("TDP >= 100 W", BIG, False), ("smaller", SMALL, True)):
        shares = fit(everything, small=small)
        low = statistics.fmean(between(form.low, step / STEPS) for step in range(STEPS + 1))
        high = statistics.fmean(between(form.high, step / STEPS) for step in range(STEPS + 1))
        print(
            f"{name}: fitted to all idle {shares.idle:.2f}, full {shares.full:.2f}; shipped {form.idle:.2f}, "
            f"{form.full:.2f}; the band is {low:.2f} to {high:.2f} of the figure (mean over loads)"
        )


if __name__ == "__main__":
    main()
