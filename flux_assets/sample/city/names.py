"""Names of made-up people, streets, towns, buildings and waters, as awkward to write as real ones are."""

from __future__ import annotations

import numpy as np

from flux_assets.sample.city.frame import Ints


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(text.split()).split(" | "))


GIVEN = _words(
    """
    Aaliyah | Ana | Andre | Anh | Beatriz | Caleb | Chidi | Clara | Daniel | Deborah | Elena | Emeka | Félix |
    Grace | Hassan | Inés | Isaac | Jamal | Jesús | José | Karen | Khoa | Laura | Leticia | Linh | Malik | María
    | Mei | Miguel | Naomi | Noor | Oscar | Patricia | Priya | Raúl | Rosa | Ruth | Samuel | Sofía | Terrence |
    Thảo | Viktor | Walter | Xavier | Yolanda | Zoë
    """
)
FAMILY = _words(
    """
    Abernathy | Adeyemi | Alvarez | Barrientos | Broussard | Castañeda | Chen | Cruz | D'Angelo | Dubois |
    Ebrahimi | Fontenot | García | Guidry | Hernández | Hinojosa | Ibarra | Jackson | Kowalski | Le | Lindström
    | Martínez | McAllister | Moreau | Müller | Nguyễn | Núñez | O'Brien | Okafor | Patel | Peña | Quintanilla |
    Robinson | Salinas | Santos | St. Julien | Thibodeaux | Tran | Vásquez | Washington | Weiß | Yamamoto |
    Zapata | Ziegler
    """
)
COMPANIES = _words(
    """
    Gulf Coast Supply, Inc. | Hargrove & Sons | Panadería La Estrella | Bayou Steel, LLC | Phở Hòa Kitchen | The
    "Little Depot" Market | Ortega's Auto Repair | Meridian Cold Storage, L.P. | Café Zoë | Lone Oak Clinic |
    Channelview Logistics, LLC | Taller Mecánico Núñez | Copperfield Dental, P.A. | St. Anne's Thrift Shop
    """
)
STREETS = _words(
    """
    Alder | Almeda | Avenida Colón | Bayou Bend | Bellfort | Birdsall | Caroline | Cedar Hollow | Clay |
    Cottonwood | Crockett | Dowling | Elgin | Fannin | Fig Tree | Franklin | Gillette | Hackberry | Hardy |
    Heights | Heron | Ivy Creek | Jasmine | Kirby | La Branch | Lamar | Live Oak | Lyons | Magnolia | Mesquite |
    Milam | Navigation | Oak Forest | O'Connor | Old Spanish Trail | Palmetto | Pecan | Polk | Prairie | Quail |
    Quitman | Redbud | Reinerman | Rosalie | Sabine | Shepherd | Sycamore | Telephone | Tuam | Travis | Uvalde |
    Vermont | Waugh | West Gray | Willow | Winkler | Yale | Yupon
    """
)
STREET_KINDS = ("St", "Ave", "Rd", "Dr", "Ln", "Blvd", "Way", "Ct")
TOWNS = _words(
    """
    Bayou City | Cedar Prairie | Port Alder | Pecan Grove | San Ysidro | Clearbrook | Hackberry Bend | Old
    Mission | Westfield Park | La Paloma | Spring Hollow | Katy Junction | Rosewood | Galena Point | Cypress
    Reach | Sugar Mill
    """
)
COUNTIES = ("Harrow", "Fort Tejas", "Montclair", "Galvez")
BUILDINGS = _words(
    """
    {street} Plaza | {family} Building | St. {given}'s Church | Iglesia Señor de la Misericordia | {street}
    Lofts | The "{street}" Apartments | {street} Elementary School | {family}, {family2} & Partners | Café
    {given} | {street} Center, Phase II | Nhà Hàng {family} | {family}'s Grocery | {street} Clinic | Warehouse
    "B", {street} | Biblioteca {given} {family} | {street} Tower | Fire Station, {street} | Museo de {street}
    """
)
BAYOUS = _words(
    """
    Heron Bayou | Paso del Toro | Little Cypress Bayou | Simms' Bayou | Alligator Bayou | Bayou Mouton | Greens'
    Fork | Caney Bayou | Dickens Bayou | Bayou Río Viejo
    """
)
LAKES = _words(
    """
    Lake {family} | {street} Lake | Laguna {given} | {family}'s Pond | {street} Reservoir | Lake {given}, North
    | Étang {family} | Lake "{street}"
    """
)


def filled(random: np.random.Generator, patterns: tuple[str, ...], count: int) -> list[str]:
    """`count` names of random patterns, their words drawn from the lists."""
    drawn = random.integers(0, 1 << 30, (count, 5)).tolist()
    return [
        patterns[a % len(patterns)].format(
            street=STREETS[b % len(STREETS)],
            given=GIVEN[c % len(GIVEN)],
            family=FAMILY[d % len(FAMILY)],
            family2=FAMILY[e % len(FAMILY)],
        )
        for a, b, c, d, e in drawn
    ]


def people(random: np.random.Generator, count: int) -> list[str]:
    """`count` names of people."""
    given, family = random.integers(0, len(GIVEN), count), random.integers(0, len(FAMILY), count)
    return [f"{GIVEN[g]} {FAMILY[f]}" for g, f in zip(given.tolist(), family.tolist(), strict=True)]


def street_name(number: int) -> str:
    """Return the name of a street by its number; neighbouring numbers have unlike names."""
    mixed = number * 2_654_435_761 % (1 << 32)
    return f"{STREETS[mixed % len(STREETS)]} {STREET_KINDS[(mixed >> 12) % len(STREET_KINDS)]}"


def picked(words: tuple[str, ...], which: Ints) -> list[str]:
    """Return the words at some indexes."""
    return [words[index] for index in which.tolist()]
