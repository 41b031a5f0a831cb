"""The grid as built: lines on the ground, poles along them, transformers on poles, meters on transformers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flux_assets.sample.city.city import City
from flux_assets.sample.city.counts import shared_out
from flux_assets.sample.city.frame import Floats, Ints, random_stream, to_degrees, to_metres, true_lengths
from flux_assets.sample.city.places import Places, places_of
from flux_assets.sample.city.routes import routes_of

_STREAM = 13
VOLTAGES = ("12.47kV", "34.5kV", "4.16kV")
KILOVOLTS = np.array([12.47, 34.5, 4.16])


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines by number: vertices `first[i]` up to `first[i + 1]` in degrees and in ground metres, and what each is."""

    first: Ints
    longitude: Floats
    latitude: Floats
    x: Floats
    y: Floats
    length: Floats
    reached: Floats
    role: Ints
    circuit: Ints
    parent: Ints
    at: Floats
    street: Ints

    def __len__(self) -> int:
        return len(self.role)

    def along(self, line: Ints, share: Floats) -> tuple[Floats, Floats, Floats]:
        """Ground metres and direction (radians) at a share of each line's length."""
        starts = self.reached[self.first[line]]
        ends = self.reached[self.first[line + 1] - 1]
        target = starts + share * (ends - starts)
        segment = np.clip(
            np.searchsorted(self.reached, target, "right") - 1, self.first[line], self.first[line + 1] - 2
        )
        step = self.reached[segment + 1] - self.reached[segment]
        part = np.divide(target - self.reached[segment], step, out=np.zeros(len(step)), where=step > 0)
        run_x, run_y = self.x[segment + 1] - self.x[segment], self.y[segment + 1] - self.y[segment]
        return self.x[segment] + part * run_x, self.y[segment] + part * run_y, np.arctan2(run_y, run_x)


@dataclass(frozen=True, kw_only=True)
class Points:
    """Assets by number: ground metres, degrees, and the asset (line, transformer) that each hangs on."""

    longitude: Floats
    latitude: Floats
    direction: Floats
    on: Ints
    share: Floats

    def __len__(self) -> int:
        return len(self.on)


@dataclass(frozen=True, kw_only=True)
class Network:
    """The whole grid. Poles and transformers hang on lines, meters on transformers."""

    city: City
    lines: Lines
    circuit_substation: Ints
    circuit_number: Ints
    substation_voltage: Ints
    substations: Points
    poles: Points
    transformers: Points
    meters: Points

    @cached_property
    def places(self) -> Places:
        return places_of(self.city.frame, self.city.seed)

    @cached_property
    def transformer_circuit(self) -> Ints:
        return self.lines.circuit[self.transformers.on]

    @cached_property
    def meter_circuit(self) -> Ints:
        return self.transformer_circuit[self.meters.on]

    @cached_property
    def meters_of_transformer(self) -> Ints:
        return np.bincount(self.meters.on, minlength=len(self.transformers)).astype(np.int64)

    def circuit_names(self, circuits: Ints) -> list[str]:
        substation, number = self.circuit_substation[circuits], self.circuit_number[circuits]
        return [f"CKT-{a + 1:05d}-{b:02d}" for a, b in zip(substation.tolist(), number.tolist(), strict=True)]

    def circuit_voltage(self, circuits: Ints) -> Ints:
        return self.substation_voltage[self.circuit_substation[circuits]]


def network_of(city: City) -> Network:
    """Return the grid of a city, with exactly the counts of its plan."""
    random = random_stream(city.seed, _STREAM, 0)
    lines, circuit_substation = _lines(city)
    counts = city.counts
    substations, transformers, meters = (
        counts["substations"],
        counts["transformers"],
        counts["meter_locations_enhanced"],
    )
    poles = _poles(lines, counts["grid_assets_cache"] - substations - transformers - meters)
    hung = _transformers(lines, poles, transformers)
    numbers = np.zeros(substations, np.int64)
    circuit_number = np.zeros(len(circuit_substation), np.int64)
    for circuit, substation in enumerate(circuit_substation.tolist()):
        numbers[substation] += 1
        circuit_number[circuit] = numbers[substation]
    return Network(
        city=city,
        lines=lines,
        circuit_substation=circuit_substation,
        circuit_number=circuit_number,
        substation_voltage=np.searchsorted([0.74, 0.93], random.random(substations)).astype(np.int64),
        substations=_substations(city),
        poles=poles,
        transformers=hung,
        meters=_meters(random, hung, meters),
    )


def _lines(city: City) -> tuple[Lines, Ints]:
    routes = routes_of(city)
    paths = [route.points() for route in routes.lines]
    first = np.concatenate([[0], np.cumsum([len(path) for path in paths])]).astype(np.int64)
    plan = np.vstack(paths)
    longitude, latitude = city.degrees(plan[:, 0], plan[:, 1])
    x, y = to_metres(longitude, latitude)
    steps = true_lengths(np.diff(longitude), np.diff(latitude), (latitude[1:] + latitude[:-1]) / 2)
    # No way is gone from the end of a line to the start of the next.
    steps[first[1:-1] - 1] = 0.0
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    lines = Lines(
        first=first,
        longitude=longitude,
        latitude=latitude,
        x=x,
        y=y,
        length=reached[first[1:] - 1] - reached[first[:-1]],
        reached=reached,
        role=np.array([route.role for route in routes.lines], np.int64),
        circuit=np.array([route.circuit for route in routes.lines], np.int64),
        parent=np.array([route.parent for route in routes.lines], np.int64),
        at=np.array([route.at for route in routes.lines]),
        street=np.array([route.street for route in routes.lines], np.int64),
    )
    return lines, np.array(routes.circuit_substation, np.int64)


def _substations(city: City) -> Points:
    sites = city.sites
    longitude, latitude = city.degrees(sites.x, sites.y)
    count = len(sites.x)
    return Points(
        longitude=longitude,
        latitude=latitude,
        direction=np.zeros(count),
        on=np.arange(count),
        share=np.zeros(count),
    )


def _poles(lines: Lines, count: int) -> Points:
    """Poles at even spans along every line, the more the longer it is."""
    least = 1 if count >= len(lines) else 0
    shares = least + shared_out(count - least * len(lines), lines.length)
    line = np.repeat(np.arange(len(lines)), shares)
    place = np.arange(count) - np.repeat(np.cumsum(shares) - shares, shares)
    share = (place + 0.5) / shares[line]
    x, y, direction = lines.along(line, share)
    longitude, latitude = to_degrees(x, y)
    return Points(longitude=longitude, latitude=latitude, direction=direction, on=line, share=share)


def _transformers(lines: Lines, poles: Points, count: int) -> Points:
    """Transformers on every so many-th pole, a little to the side of it."""
    pole = ((np.arange(count) + 0.5) * len(poles) / count).astype(np.int64)
    line, share, direction = poles.on[pole], poles.share[pole], poles.direction[pole]
    x, y, _ = lines.along(line, share)
    longitude, latitude = to_degrees(x - 0.9 * np.sin(direction), y + 0.9 * np.cos(direction))
    return Points(longitude=longitude, latitude=latitude, direction=direction, on=line, share=share)


def _meters(random: np.random.Generator, transformers: Points, count: int) -> Points:
    """Meters at house fronts on both sides of the street, up to half a span from their transformer."""
    on = np.sort(random.integers(0, len(transformers), count))
    x, y = to_metres(transformers.longitude[on], transformers.latitude[on])
    direction = transformers.direction[on]
    aside = random.uniform(9, 19, count) * random.choice([-1.0, 1.0], count)
    along = random.uniform(-24, 24, count)
    longitude, latitude = to_degrees(
        x + along * np.cos(direction) - aside * np.sin(direction),
        y + along * np.sin(direction) + aside * np.cos(direction),
    )
    return Points(longitude=longitude, latitude=latitude, direction=direction, on=on, share=np.zeros(count))
