"""What making the machine emitted, spread over its life: the M of SCI (ISO/IEC 21031:2024).

M of a window is the machine's grams x the window's part of its lifetime x the share reserved; this module gives the
first two. **Machine** is the one that this process runs on: in a virtual machine its part of the host. Published
formulas differ by two to three times on one server, so what is not set is marked `default` with the formula's name.
GPUs and drives are not in the default: nothing tells which there are.
"""

import re
from dataclasses import dataclass

GRAMS_PER_KILOGRAM = 1000.0
SECONDS_PER_YEAR = 365 * 24 * 3600.0  # the 35,040 h of four years in the source below

FORMULA = "Cloud Carbon Footprint 2021"
"""ccf-coefficients, after the Dell R740 life cycle assessment and Teads; Apache-2.0. The next five are its figures."""
SERVER_KG = 1000.0  # one socket, 16 GB of memory, no local storage
SERVER_MEMORY_GB = 16.0
KG_PER_FURTHER_GB = 1.388
KG_PER_FURTHER_SOCKET = 100.0
LIFETIME_YEARS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Embodied:
    """The making of the machine.

    Args:
        emissions_g: Grams CO2e of making it.
        lifetime_years: Years over which they are spread.
        basis: How they are known, in words.
    """

    emissions_g: float
    lifetime_years: float
    basis: str

    @property
    def g_per_second(self) -> float:
        """Grams for one second of its life."""
        return self.emissions_g / (self.lifetime_years * SECONDS_PER_YEAR)

    def reserved(self, share: float) -> "Embodied":
        """The part of it that a container reserves.

        Args:
            share: Of the machine, 0 to 1.
        """
        return Embodied(
            emissions_g=self.emissions_g * share,
            lifetime_years=self.lifetime_years,
            basis=f"{self.basis}, {share:.3g} of it reserved by this container",
        )


def of_setting(emissions_g: float, *, lifetime_years: float | None = None) -> Embodied:
    """As the user knows it.

    Args:
        emissions_g: Grams CO2e of making the machine that the meter reads.
        lifetime_years: Its life; four years when None.
    """
    return _spread(emissions_g, lifetime_years, "set")


def of_instance(
    server_kg: float, *, vcpus: float, server_vcpus: float, source: str, lifetime_years: float | None = None
) -> Embodied:
    """A cloud's machine: its part of its server.

    Args:
        server_kg: Kilograms CO2e of making the server.
        vcpus: Logical CPUs of the machine.
        server_vcpus: Logical CPUs of the server.
        source: Who published that.
        lifetime_years: The server's life; four years when None.
    """
    part = min(vcpus / server_vcpus, 1.0)
    return _spread(server_kg * part * GRAMS_PER_KILOGRAM, lifetime_years, f"default, {source}")


def of_server(*, sockets: int, memory_gb: float, lifetime_years: float | None = None) -> Embodied:
    """A machine that is nobody's part, by the default formula.

    Args:
        sockets: CPU packages.
        memory_gb: Memory, GB.
        lifetime_years: Its life; four years when None.
    """
    kilograms = (
        SERVER_KG
        + KG_PER_FURTHER_SOCKET * max(sockets - 1, 0)
        + KG_PER_FURTHER_GB * max(memory_gb - SERVER_MEMORY_GB, 0.0)
    )
    return _spread(kilograms * GRAMS_PER_KILOGRAM, lifetime_years, f"default, formula of {FORMULA}")


def _spread(emissions_g: float, lifetime_years: float | None, known_by: str) -> Embodied:
    years = LIFETIME_YEARS if lifetime_years is None else lifetime_years
    kilograms = emissions_g / GRAMS_PER_KILOGRAM
    return Embodied(
        emissions_g=emissions_g,
        lifetime_years=years,
        basis=f"embodied {kilograms:.4g} kg over {years:g} years ({known_by})",
    )


_BASIS = re.compile(r"embodied ([\d.e+-]+) kg over ([\d.]+) years \([^)]*\)")


def from_basis(basis: str) -> Embodied | None:
    """The making of the machine as a record's basis tells it, to four digits; None where it tells none."""
    match = _BASIS.search(basis)
    if match is None:
        return None
    return Embodied(emissions_g=float(match[1]) * GRAMS_PER_KILOGRAM, lifetime_years=float(match[2]), basis=match[0])
