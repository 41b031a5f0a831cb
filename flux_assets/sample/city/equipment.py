"""The state of the equipment: ratings, ages, condition and load of transformers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.frame import Floats, Ints, random_stream
from flux_assets.sample.city.network import Network

# The year in which the release was made, so to speak: ages count up to it.
PRESENT_YEAR = 2025
_STREAM = 16
_SIZES_KVA = np.array([15, 25, 37.5, 50, 75, 100, 167, 300, 500, 1000])
_SIZE_SHARES = np.array([0.08, 0.22, 0.14, 0.24, 0.13, 0.09, 0.05, 0.03, 0.015, 0.005])


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """By transformer: kVA, year, health 0..100, load in percent of the rating; by circuit: mean load."""

    rated_kva: Floats
    install_year: Ints
    health: Floats
    load: Floats
    circuit_load: Floats

    @property
    def age(self) -> Ints:
        return PRESENT_YEAR - self.install_year


def transformer_equipment(network: Network) -> Equipment:
    """Condition follows age, load follows the circuit."""
    random = random_stream(network.city.seed, _STREAM)
    count, circuits = len(network.transformers), len(network.circuit_substation)
    age = np.minimum(random.gamma(2.6, 7.0, count).astype(np.int64), 58)
    health = np.clip(99 - 1.05 * age + random.normal(0, 6.5, count), 3, 100)
    usual = random.uniform(34, 78, circuits)
    load = np.clip(usual[network.transformer_circuit] * random.lognormal(0, 0.26, count), 1, 185)
    sums = np.bincount(network.transformer_circuit, load, minlength=circuits)
    loaded = np.bincount(network.transformer_circuit, minlength=circuits)
    return Equipment(
        rated_kva=random.choice(_SIZES_KVA, count, p=_SIZE_SHARES / _SIZE_SHARES.sum()),
        install_year=PRESENT_YEAR - age,
        health=np.round(health, 1),
        load=np.round(load, 1),
        circuit_load=np.divide(sums, loaded, out=usual.copy(), where=loaded > 0),
    )
