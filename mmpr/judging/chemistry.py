"""Compare chemical formulas and reactions: `H_2O`, `H₂O`, `SO4^2-`, `2H2 + O2 -> 2H2O`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from mmpr.judging.cues import Cues
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, different

_ELEMENTS_TEXT = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru
Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At
Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
_ELEMENTS = frozenset(_ELEMENTS_TEXT.split())
_PART = re.compile(r"([A-Z][a-z]?)|([(\[])|([)\]])|(·)")
_COUNT = re.compile(r"\d{1,3}")
_CHARGE = re.compile(r"(?:\^(\d?)([+-]{1,3})|\^([+-])(\d)|([+-]))$")
_STATE = re.compile(r"\s?\((?:s|l|g|aq)\)$")
_COEFFICIENT = re.compile(r"(\d{1,3}(?:/\d)?)\s?(?=[A-Z(\[])")
_ARROW = re.compile(r"\\(?:long)?(?:right|leftright)arrow|\\rightleftharpoons|<?-{1,2}>|<?=>|[→⇌⟶]|\s=\s| to ")
_ASKED = re.compile(
    r"\bformula|\bcompound|\bmolecul|\bion\b|\bchemical|\bsubstance|\breaction|\bgas\b|\bproduct|化学|分子|离子"
)
_SUBSCRIPT = re.compile(r"[A-Za-z)\]]_\{?\d")
_SHAPE = re.compile(r"[\\\d\s/({\[]{0,12}[A-Z](?=[^\n]{0,200}[\d^+>→⇌])")
_NAMED = re.compile(r"(?:([A-Z]\S{1,30}) \([a-z][a-z -]{2,40}\)|[A-Za-z][a-z -]{2,40} \(([A-Z][^\s()]{1,30})\))$")
_DRESS = re.compile(r"\\(?:ce|mathrm|rm|text)\b")
_MAX_CHARS = 200

Atoms = frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Species:
    """One substance: its atoms, its charge, and its formula in plain notation."""

    atoms: Atoms
    charge: int
    written: str


@dataclass(frozen=True, slots=True)
class Formula:
    """A substance, or a reaction with the coefficient of every substance on both sides."""

    sides: tuple[tuple[tuple[str, Species], ...], ...]
    text: str
    kind: str = "formula"

    def compare(self, answer: str) -> Ruling:
        named = _NAMED.match(answer)  # `H2SO4 (sulfuric acid)`, `sulfuric acid (H2SO4)`
        other = read_formula(answer) if named is None else read_formula(named[1] or named[2])
        if other is None and answer.islower() and _plain(answer) == _plain(self.text):
            return correct(Rule.FORMULA)
        if other is None:
            return ambiguous(Rule.FORMULA)
        if self._key() == other._key():
            return correct(Rule.FORMULA)
        same_atoms = self._atoms() == other._atoms()  # C2H6O may be CH3CH2OH
        unequal = len(self.sides) != len(other.sides)
        return ambiguous(Rule.FORMULA) if same_atoms or unequal else different(Rule.FORMULA)

    def normal(self, answer: str) -> str | None:
        other = read_formula(answer)
        return None if other is None else other.show()

    def show(self) -> str:
        return self.text

    def _key(self) -> list[list[tuple[str, str, int]]]:
        return [sorted((n, one.written, one.charge) for n, one in side) for side in self.sides]

    def _atoms(self) -> list[list[tuple[int, list[tuple[str, int]]]]]:
        return [sorted((one.charge, sorted(one.atoms)) for _, one in side) for side in self.sides]


def _plain(text: str) -> str:
    return re.sub(r"[_{}\s$]", "", _DRESS.sub("", text)).lower()


def read_formula(text: str) -> Formula | None:
    """Read the whole text as a formula or reaction; None if it is none."""
    if len(text) > _MAX_CHARS:
        return None
    plain = _DRESS.sub("", text)
    sides = []
    for side in _ARROW.split(plain):
        members = [_member(part.strip()) for part in re.split(r"\s\+\s", side.strip())]
        known = [member for member in members if member is not None]
        if not known or len(known) != len(members):
            return None
        sides.append(tuple(known))
    return Formula(tuple(sides), text) if len(sides) <= 2 else None


def _member(text: str) -> tuple[str, Species] | None:
    text = _STATE.sub("", text)
    coefficient = "1"
    if (found := _COEFFICIENT.match(text)) is not None:
        coefficient, text = found.group(1), text[found.end() :]
    text = re.sub(r"[_{}\s$]", "", text)
    charge = 0
    if (found := _CHARGE.search(text)) is not None:
        count, signs, sign, behind, bare = found.groups()
        signs = signs or sign or bare
        charge = (int(count or behind or "0") or len(signs)) * (1 if "+" in signs else -1)
        text = text[: found.start()]
    atoms = _atoms(text)
    return None if atoms is None else (coefficient, Species(frozenset(atoms.items()), charge, text))


def _atoms(text: str) -> Counter[str] | None:
    """Return the atoms of `Ca(OH)2`, `CuSO4·5H2O`; None if the text is no formula."""
    total: Counter[str] = Counter()
    for hydrate in re.split("[·*]", text):
        found = _COUNT.match(hydrate)
        times = int(found.group()) if found else 1
        part = _group(hydrate[found.end() if found else 0 :])
        if part is None:
            return None
        for name, count in part.items():
            total[name] += count * times
    return total or None


def _group(text: str) -> Counter[str] | None:
    stack: list[Counter[str]] = [Counter()]
    at = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None or found.group(4):
            return None
        at = found.end()
        if found.group(2):
            stack.append(Counter())
            continue
        if (name := found.group(1)) is not None:
            if name not in _ELEMENTS:
                name, at = name[:1], at - 1
            if name not in _ELEMENTS:
                return None
            inner = Counter({name: 1})
        elif len(stack) < 2:
            return None
        else:
            inner = stack.pop()
        count = _COUNT.match(text, at)
        at = count.end() if count else at
        for element, times in inner.items():
            stack[-1][element] += times * (int(count.group()) if count else 1)
    return stack[0] if len(stack) == 1 else None


def compile_formula(text: str, cues: Cues) -> Formula | None:
    """Compile the reference as a formula: if an element has a digit or charge, or the question asks for one."""
    found = read_formula(text) if _SHAPE.match(text) is not None else None
    if found is None:
        return None
    kinds = {name for side in found.sides for _, one in side for name, _ in one.atoms}
    if len(found.sides) > 1:
        return found
    shaped = len(kinds) > 1 and len(found.sides[0]) == 1 and _SUBSCRIPT.search(text) is not None
    asked = cues.has(_ASKED) and any(char in text for char in "0123456789^+") and (len(kinds) > 1 or "_" in text)
    return found if shaped or asked else None
