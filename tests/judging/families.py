"""Families of one value in many writings: question -> a number chooses the value, and the family writes it."""

from __future__ import annotations

from collections.abc import Callable

Family = Callable[[int], list[str]]

MONTHS = ("January February March April May June July August September October November December").split()  # noqa: SIM905
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905
NTH = "first second third fourth fifth sixth seventh eighth ninth".split()  # noqa: SIM905


def ordinal(n: int) -> str:
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd', 21: 'st', 22: 'nd', 23: 'rd'}.get(n, 'th') }"


def month(n: int) -> list[str]:
    name = MONTHS[n % 12]
    return [name, name[:3], f"{name[:3]}.", name.lower(), name.upper(), f"in {name}", f"{n % 12 + 1}月"]


def weekday(n: int) -> list[str]:
    name = DAYS[n % 7]
    return [name, name[:3], f"{name[:3]}.", name.lower(), f"on {name}", "星期" + "一二三四五六日"[n % 7]]


def date(n: int) -> list[str]:
    name, month, day, year = MONTHS[n % 12], n % 12 + 1, n % 28 + 1, 1900 + n % 120
    return [
        f"{name} {day}, {year}",
        f"{day} {name} {year}",
        f"{name[:3]}. {day}, {year}",
        f"{name} {ordinal(day)}, {year}",
        f"the {ordinal(day)} of {name} {year}",
        f"{year}-{month:02}-{day:02}",
        f"{year}年{month}月{day}日",
        f"on {name} {day}, {year}",
    ]


def month_of_year(n: int) -> list[str]:
    name, year = MONTHS[n % 12], 1900 + n % 120
    return [f"{name} {year}", f"{name[:3]} {year}", f"{name}, {year}", f"{year}年{n % 12 + 1}月", f"{name} of {year}"]


def century(n: int) -> list[str]:
    n = n % 19 + 2
    return [f"{ordinal(n)} century", f"the {ordinal(n)} century", f"in the {ordinal(n)} century", f"{n}世纪"]


def quarter(n: int) -> list[str]:
    q, year = n % 4 + 1, 1990 + n % 40
    return [f"Q{q} {year}", f"{year} Q{q}", f"{NTH[q - 1]} quarter of {year}", f"Q{q} of {year}", f"{year}年第{q}季度"]


def decade(n: int) -> list[str]:
    start = 1900 + n % 12 * 10
    return [f"{start}s", f"the {start}s", f"in the {start}s", f"{start}'s", f"{start}年代"]


def era(n: int) -> list[str]:
    year = n % 900 + 50
    return [f"{year} BC", f"{year} BCE", f"{year} B.C.", f"公元前{year}年", f"in {year} BC"]


def clock(n: int) -> list[str]:
    hour, minute = n % 720 // 60 or 12, n % 60
    found = [f"{hour}:{minute:02}", f"{hour}点{minute}分"]
    if minute:
        found += [f"{minute} minutes past {hour}", f"{60 - minute} minutes to {hour % 12 + 1}"]
    return found + {15: [f"quarter past {hour}"], 30: [f"half past {hour}"]}.get(minute, [])


def years(n: int) -> list[str]:
    first = 1900 + n % 100
    last = first + 5
    return [f"{first}-{last}", f"{first} to {last}", f"from {first} to {last}", f"between {first} and {last}"]


def fraction(n: int) -> list[str]:
    top, bottom, k = n % 17 + 1, (19, 23, 29, 31)[n % 4], n % 4 + 2  # primes: no two values are one fraction
    return [
        f"{top}/{bottom}",
        rf"\frac{{{top}}}{{{bottom}}}",
        rf"\dfrac{{{top * k}}}{{{bottom * k}}}",
        f"{top} out of {bottom}",
        f"({top}/{bottom})",
    ]


def percent(n: int) -> list[str]:
    n = n % 90 + 5
    return [f"{n}%", f"{n} %", f"{n} percent", rf"{n}\%", f"{n}.0%", f"about {n}%"]


def chance(n: int) -> list[str]:
    n = n % 90 + 5
    return [f"{n}%", f"{n}/100", rf"\frac{{{n}}}{{100}}"]


def length(n: int) -> list[str]:
    return [f"{n} m", f"{n}m", f"{n} meters", rf"{n}\text{{ m}}", f"{n * 100} cm", f"{n / 1000} km", f"{n}米"]


def area(n: int) -> list[str]:
    return [f"{n} cm^2", f"{n} cm²", f"{n} square centimeters", rf"{n}\ \mathrm{{cm}}^{{2}}", f"{n}平方厘米"]


def speed(n: int) -> list[str]:
    return [f"{n} km/h", f"{n} kilometers per hour", f"{n} kph", rf"{n}\text{{ km/h}}"]


def angle(n: int) -> list[str]:
    n = n % 170 + 5
    return [f"{n}°", rf"{n}^\circ", f"{n} degrees", rf"${n}^{{\circ}}$", f"{n}度"]


def temperature(n: int) -> list[str]:
    n = n % 80 - 20
    return [f"{n} °C", f"{n} C", f"{n} degrees Celsius", rf"{n}^\circ\text{{C}}", f"{n}℃"]


def revenue(n: int) -> list[str]:
    return [
        f"${n} million",
        f"${n}M",
        f"${n},000,000" if n < 1000 else f"${n}M",
        f"{n} million dollars",
        f"US${n} million",
    ]


def population(n: int) -> list[str]:
    n = n * 1001
    return [f"{n}", f"{n:,}", f"{n:,}".replace(",", "{,}"), f"{n:,}".replace(",", r",\!"), f"{n:,}".replace(",", " ")]


def root(n: int) -> list[str]:
    a, b = n % 7 + 2, (2, 3, 5, 7, 11, 13)[n % 6]
    square = a * a * b
    return [
        rf"{a}\sqrt{{{b}}}",
        f"{a}√{b}",
        f"{a}*sqrt({b})",
        rf"\sqrt{{{square}}}",
        f"√{square}",
        rf"{a}\cdot\sqrt{{{b}}}",
    ]


def circle(n: int) -> list[str]:
    n = n % 30 + 2
    return [rf"{n}\pi", f"{n}π", f"{n}*pi", f"{n} pi", rf"${n} \pi$"]


def exponent(n: int) -> list[str]:
    n = n % 8 + 2
    return [f"x^{n}", f"x^{{{n}}}", f"x**{n}", f"$x^{n}$", "x" + "⁰¹²³⁴⁵⁶⁷⁸⁹"[n]]


def polynomial(n: int) -> list[str]:
    a, b, c = n % 9 + 2, n % 7 + 1, n % 11 + 1
    return [f"{a}x^2 + {b}x - {c}", f"{a}*x**2+{b}*x-{c}", f"-{c} + {b}x + {a}x^{{2}}", f"{a}x² + {b}x - {c}"]


def scientific(n: int) -> list[str]:
    a, e = (n % 90 + 10) / 10, n % 9 + 2
    return [rf"{a} \times 10^{{{e}}}", f"{a}×10^{e}", f"{a}e{e}", f"{a} x 10^{e}", rf"{a} \cdot 10^{e}"]


def power_of_e(n: int) -> list[str]:
    n = n % 7 + 2
    return [rf"e^{{{n}}}", f"e^{n}", rf"\exp({n})", f"exp({n})", rf"$e^{n}$"]


def logarithm(n: int) -> list[str]:
    n = n % 19 + 2
    return [rf"\ln {n}", rf"\ln({n})", f"ln {n}", rf"\ln\left({n}\right)"]


def sine(n: int) -> list[str]:
    n = n % 5 + 2
    return [rf"\sin({n}x)", rf"\sin {n}x", f"sin({n}x)", f"sin({n}*x)"]


def complex_number(n: int) -> list[str]:
    a, b = n % 9 + 1, n % 7 + 2
    return [f"{a}+{b}i", f"{a} + {b}i", f"{b}i + {a}", f"{a}+{b}*i", f"{a}+{b}j"]


def line(n: int) -> list[str]:
    a, b = n % 9 + 2, n % 7 + 1
    return [f"y = {a}x + {b}", f"{a}x - y + {b} = 0", f"y - {b} = {a}x", f"f(x) = {a}x + {b}"]


def half_line(n: int) -> list[str]:
    return [f"x > {n}", f"{n} < x", rf"({n}, \infty)", rf"x \in ({n}, \infty)", f"x>{n}"]


def segment(n: int) -> list[str]:
    return [f"{n} ≤ x < {n + 5}", rf"{n} \le x < {n + 5}", f"[{n}, {n + 5})", f"x >= {n} and x < {n + 5}"]


def excluded(n: int) -> list[str]:
    return [
        f"x ≠ {n}",
        rf"(-\infty, {n}) \cup ({n}, \infty)",
        f"all real numbers except {n}",
        rf"\mathbb{{R}} \setminus \{{{n}\}}",
    ]


def union(n: int) -> list[str]:
    return [
        rf"\{{{n}, {n + 1}\}} \cup \{{{n + 2}\}}",
        f"{{{n}, {n + 1}, {n + 2}}}",
        rf"\{{{n + 2}\}} \cup \{{{n}, {n + 1}\}}",
    ]


def point(n: int) -> list[str]:
    return [f"({n}, {n + 3})", f"({n},{n + 3})", rf"\left({n}, {n + 3}\right)", f"x = {n}, y = {n + 3}"]


def points(n: int) -> list[str]:
    a, b = f"({n}, {n + 3})", f"({n + 3}, {n})"
    return [f"{a}, {b}", f"{b} and {a}", f"(x, y) = {a} or {b}", rf"\{{{a}, {b}\}}"]


def surds(n: int) -> list[str]:
    a, b = n % 9 + 1, (2, 3, 5, 7)[n % 4]
    return [
        rf"{a} \pm \sqrt{{{b}}}",
        rf"{a}+\sqrt{{{b}}}, {a}-\sqrt{{{b}}}",
        rf"x = {a}-\sqrt{{{b}}} or x = {a}+\sqrt{{{b}}}",
    ]


def matrix(n: int) -> list[str]:
    a, b, c, d = n % 7, n % 5 + 1, n % 3, n % 11
    return [
        rf"\begin{{pmatrix}} {a} & {b} \\ {c} & {d} \end{{pmatrix}}",
        rf"\begin{{bmatrix}}{a}&{b}\\{c}&{d}\end{{bmatrix}}",
        f"[[{a}, {b}], [{c}, {d}]]",
    ]


def ratio(n: int) -> list[str]:
    a, b, k = n % 7 + 2, n % 7 + 3, n % 3 + 2
    return [f"{a}:{b}", f"{a} : {b}", f"{a} to {b}", f"{a * k}:{b * k}", f"{a}比{b}"]


FORMULAS = (
    ("H2O", "H_2O", "H₂O", r"\ce{H2O}", r"\mathrm{H_2O}"),
    ("CO2", "CO_2", "CO₂", "CO_{2}", r"\mathrm{CO}_2"),
    ("H2SO4", "H_2SO_4", "H₂SO₄", r"\mathrm{H_2SO_4}"),
    ("NH4^+", "NH_4^+", "NH₄⁺", "NH_{4}^{+}"),
    ("SO4^2-", "SO_4^{2-}", "SO₄²⁻", r"\mathrm{SO_4^{2-}}"),
    ("Fe2O3", "Fe_2O_3", "Fe₂O₃"),
    ("NaCl", r"\mathrm{NaCl}", r"\ce{NaCl}"),
    ("2H2 + O2 -> 2H2O", r"2H_2 + O_2 \rightarrow 2H_2O", "O2 + 2H2 → 2H2O"),
)


def formula(n: int) -> list[str]:
    return list(FORMULAS[n % len(FORMULAS)])


def thing(n: int) -> list[str]:
    word = ("cat", "dog", "bicycle", "table", "chair", "lamp")[n % 6]
    return [word, f"a {word}", f"the {word}", word.upper(), f"It is a {word}.", rf"\text{{{word}}}", f"**{word}**"]


def state(n: int) -> list[str]:
    return [["Yes", "yes.", "Yes, it is", "True"], ["No", "no.", "No, it is not", "No, it isn't", "False"]][n % 2]


def small(n: int) -> list[str]:
    words = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
    return [str(n % 13), words[n % 13], words[n % 13].capitalize()]


def person(n: int) -> list[str]:
    first = ("John", "Mary", "Albert", "Ada", "Isaac", "Marie", "Alan", "Grace")[n % 8]
    last = ("Smith", "Johnson", "Einstein", "Lovelace", "Newton", "Curie", "Turing", "Hopper")[n // 8 % 8]
    names = [f"{first} {last}", f"Dr. {first} {last}", f"{first} {last}, MD", f"{first[0]}. {last}", last]
    return [*names, f"{last}, {first}", f"Professor {last}", f"{first} {last[0]}.", f"{first} {last}".upper()]


# Every writing is correct against every other.
EXACT: dict[str, Family] = {
    "In which month?": month,
    "Which day of the week is it?": weekday,
    "On what date was it signed?": date,
    "When did it open?": month_of_year,
    "In which century was it built?": century,
    "Which quarter had the highest sales?": quarter,
    "In which decade?": decade,
    "When was the temple built?": era,
    "What time is shown on the clock?": clock,
    "What period does the chart cover?": years,
    "What fraction is shaded?": fraction,
    "What percentage is it?": percent,
    "What is the probability?": chance,
    "How long is the wall?": length,
    "What is the area?": area,
    "How fast is the car?": speed,
    "What is the angle ABC?": angle,
    "What is the temperature?": temperature,
    "What is the revenue?": revenue,
    "What is the population?": population,
    "Find the length of AB.": root,
    "Find the area of the circle.": circle,
    "Simplify the product.": exponent,
    "Expand the polynomial.": polynomial,
    "What is the number of atoms?": scientific,
    "Evaluate the limit.": power_of_e,
    "Evaluate the integral.": logarithm,
    "Simplify the function.": sine,
    "Find z.": complex_number,
    "Find the equation of the line.": line,
    "Solve the inequality.": half_line,
    "Find the domain.": segment,
    "Find the domain of f.": excluded,
    "Find the union.": union,
    "Find the coordinates of the point.": point,
    "Find the points of intersection.": points,
    "Find the roots.": surds,
    "Find the matrix.": matrix,
    "What is the ratio of boys to girls?": ratio,
    "What is the formula of the compound?": formula,
    "What object is on the floor?": thing,
    "Is the light on?": state,
    "How many are there?": small,
}
# No writing is called wrong against another; some are open.
AKIN: dict[str, Family] = {"Who wrote the paper?": person}
