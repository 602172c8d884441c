"""Parse the mathematics of a final answer, LaTeX or plain: bounded, without sympy."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

# Limits that no honest final answer exceeds; larger ones are refused, because the work grows with them.
MAX_TOKENS = 400
MAX_DEPTH = 40


class Unreadable(ValueError):
    """The text is no expression of this grammar."""


class Unbounded(ValueError):
    """The expression is too large to evaluate."""


class Node(NamedTuple):
    """`head` is num, sym, a function's name, or one of + * / ^ - (negation) and ± (its argument with both signs).

    + and * hold two or more arguments, so that a long sum is no deep tree. `decimals` of a num are those that its text
    shows: 0.33 may be a third.
    """

    head: str
    args: tuple[Node, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""
    decimals: int = 0


def number(value: int | Fraction) -> Node:
    """Return the node of an exact number."""
    return Node("num", value=Fraction(value))


def difference(left: Node, right: Node) -> Node:
    """Return left - right."""
    return Node("+", (left, Node("-", (right,))))


_FUNCTIONS_TEXT = """
arcsinh arccosh arctanh arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch sin cos tan cot sec csc
sqrt cbrt log ln exp abs floor ceil
"""
_FUNCTIONS = frozenset(_FUNCTIONS_TEXT.split())
_ALIASES_TEXT = """
asinh arcsinh acosh arccosh atanh arctanh arsinh arcsinh arcosh arccosh artanh arctanh asin arcsin acos arccos
atan arctan lg log tg tan ctg cot arctg arctan arcctg arccot sh sinh ch cosh th tanh cosec csc
"""
_ALIASES = dict(zip(_ALIASES_TEXT.split()[::2], _ALIASES_TEXT.split()[1::2], strict=True))
_INVERSES = {name: f"arc{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")}
FUNCTION_NAMES = sorted((_FUNCTIONS | _ALIASES.keys()) - {"sh", "ch", "th", "lg"}, key=len, reverse=True)
_TOKEN = re.compile(
    r"\s{0,4}+(?:(?P<num>\d{1,60}+(?:\.\d{1,60}+)?|\.\d{1,60}+)"
    r"|\\(?P<cmd>[a-zA-Z]{1,40}+)"
    rf"|(?P<fn>(?:{'|'.join(FUNCTION_NAMES)}|binom|pi|infinity|infty)(?![a-z]))"
    r"|(?P<sym>[A-Za-zα-ωΑ-Ω])(?P<sub>_\{[^{}]{1,12}\}|_\w|'{1,2})?"
    r"|(?P<op>\*\*|[-+*/^(){}\[\]|!√∛·×÷°%±∓,_∞∅⌊⌋⌈⌉]))"
)
_E_NOTATION = re.compile(r"(?<=\d)[eE][-+]?\d")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
GREEK_TEXT = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
varepsilon vartheta varphi Gamma Delta Theta Lambda Sigma Phi Psi Omega
"""
GREEK = dict(zip(GREEK_TEXT.split(), "αβγδεζηθικλμνξρστυφχψωεθφΓΔΘΛΣΦΨΩ", strict=True))
_ORDINARY = {"*": "*", "·": "*", "×": "*", "÷": "/", "/": "/", "**": "^", "^": "^"}
_SIGNS = {
    "lfloor": "⌊",
    "rfloor": "⌋",
    "lceil": "⌈",
    "rceil": "⌉",
    "infty": "∞",
    "emptyset": "∅",
    "varnothing": "∅",
    "mp": "∓",
}
_ACCENTS = frozenset(("vec", "hat", "bar", "overline", "widehat", "overrightarrow", "tilde", "dot"))
_CLOSERS = {"(": ")", "{": "}", "[": "]", "|": "|", "⌊": "⌋", "⌈": "⌉"}


class _Token(NamedTuple):
    kind: str  # num | sym | fn | frac | binom | accent | op | end
    text: str


_END = _Token("end", "")


_CAPITALS = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(name.upper() for name in FUNCTION_NAMES)})(?=\s?\()")


def _tokens(text: str) -> list[_Token]:
    text = _CAPITALS.sub(lambda m: m.group().lower(), _THOUSANDS.sub("", text))  # `SQRT(3)`
    if _E_NOTATION.search(text) is not None:  # `5.1e-2` is not 5.1e - 2; another reader reads such numbers
        raise Unreadable(text)
    tokens: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or len(tokens) > MAX_TOKENS:
            raise Unreadable(text[at : at + 20])
        tokens.append(_token(found))
        at = found.end()
    return [*tokens, _END]


def _token(found: re.Match[str]) -> _Token:
    if (digits := found.group("num")) is not None:
        if len(digits) > 60:
            raise Unbounded("a number of more than 60 digits")
        return _Token("num", digits)
    if (command := found.group("cmd") or found.group("fn")) is not None:
        return _command(command)
    if (symbol := found.group("sym")) is not None:
        return _Token("sym", symbol + (found.group("sub") or "").translate(_NO_BRACES))
    return _Token("op", _ORDINARY.get(found.group("op"), found.group("op")))


_NO_BRACES = str.maketrans("", "", "{} ")


def _command(name: str) -> _Token:
    if name in ("frac", "binom"):
        return _Token(name, name)
    if name in ("dbinom", "tbinom"):
        return _Token("binom", name)
    if name == "choose":
        return _Token("op", "choose")
    if name in _SIGNS:
        return _Token("op", _SIGNS[name])
    if name == "pi":
        return _Token("sym", "π")
    if name in GREEK:
        return _Token("sym", GREEK[name])
    if name in _ACCENTS:
        return _Token("accent", name)
    name = _ALIASES.get(name, name)
    if name in _FUNCTIONS:
        return _Token("fn", name)
    raise Unreadable(name)


class _Reader:
    """A recursive-descent parser over one list of tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._sum()
        if self._peek() is not _END:
            raise Unreadable(self._peek().text)
        return node

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token.kind == "op" and token.text in texts

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise Unreadable(f"{text} expected")
        self._take()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unbounded("nested too deep")

    def _sum(self) -> Node:
        terms = [self._term()]
        while self._is("+", "-", "±", "∓"):
            sign = self._take().text
            terms.append(_signed(sign, self._term()))
        return terms[0] if len(terms) == 1 else Node("+", tuple(terms))

    def _term(self) -> Node:
        factors = [self._unary()]
        divisions = 0
        while True:
            if self._is("*"):
                self._take()
                factors.append(self._unary())
            elif self._is("/"):
                self._take()
                divisions += 1
                if divisions > MAX_DEPTH:
                    raise Unbounded("too many divisions")
                factors = [Node("/", (_product(factors), self._unary()))]
            elif self._starts_factor() or (self._peek().kind == "num" and factors[-1].head == "factorial"):
                self._beside(factors)
            else:
                return _product(factors)

    def _beside(self, factors: list[Node]) -> None:
        """Parse two adjacent factors; `2\\frac{1}{2}` is two and a half."""
        before = factors[-1]
        mixed = before.head == "num" and before.value.denominator == 1 and self._peek().kind == "frac"
        factor = self._power()
        if mixed and factor.head == "/" and all(arg.head == "num" for arg in factor.args):
            factors[-1] = Node("+", (before, factor))
        else:
            factors.append(factor)

    def _starts_factor(self) -> bool:
        token = self._peek()
        return token.kind in ("sym", "fn", "frac", "binom", "accent") or (
            token.kind == "op" and token.text in "({√∛[⌊⌈"
        )

    def _unary(self) -> Node:
        if not self._is("-", "+", "±", "∓"):
            return self._power()
        sign = self._take().text
        self._deeper()
        node = self._unary()
        self._depth -= 1
        return _signed(sign, node)

    def _power(self) -> Node:
        base = self._postfix()
        if not self._is("^"):
            return base
        self._take()
        self._deeper()
        exponent = self._unary()
        self._depth -= 1
        if self._is("_") and base.head == "sym":  # `x^2_1` is `x_1^2`
            self._take()
            base = Node("sym", name=f"{base.name}_{self._index()}")
        return Node("^", (base, exponent))

    def _index(self) -> str:
        """Parse a subscript: `_2`, `_{23}`, `_{ij}`."""
        if not self._is("{"):
            return self._take().text
        self._take()
        texts: list[str] = []
        while not self._is("}"):
            if self._peek() is _END:
                raise Unreadable("an open subscript")
            texts.append(self._take().text)
        self._take()
        return "".join(texts)

    def _postfix(self) -> Node:
        node = self._atom()
        for _ in range(4):
            if not self._is("!", "°", "%"):
                return node
            mark = self._take().text
            if mark == "!":
                if self._is("!"):  # for some authors a double factorial
                    raise Unreadable("!!")
                node = Node("factorial", (node,))
            elif mark == "%":
                node = Node("/", (node, number(100)))
            else:
                node = Node("*", (node, Node("/", (Node("sym", name="π"), number(180)))))
        raise Unbounded("too many marks behind a value")

    def _atom(self) -> Node:
        self._deeper()
        node = self._atom_of(self._take())
        self._depth -= 1
        return node

    def _atom_of(self, token: _Token) -> Node:
        if token.kind == "num":
            return self._numeral(token.text)
        if token.kind == "sym":
            return Node("sym", name=token.text)
        if token.kind == "frac":
            return Node("/", (self._argument(), self._argument()))
        if token.kind == "binom":
            return Node("binom", self._pair() if self._is("(") else (self._argument(), self._argument()))
        if token.kind == "accent":
            return self._accented(token.text)
        if token.kind == "fn":
            return self._function(token.text)
        if token.kind != "op":
            raise Unreadable(token.text)
        if token.text in "√∛":
            return Node("sqrt" if token.text == "√" else "cbrt", (self._postfix(),))
        if token.text in "∞∅":
            return Node("sym", name=token.text)
        return self._bracketed(token.text)

    def _bracketed(self, opener: str) -> Node:
        if opener not in _CLOSERS:
            raise Unreadable(opener)
        node = self._sum()
        if opener in "({" and self._is("choose"):
            self._take()
            node = Node("binom", (node, self._sum()))
        self._expect(_CLOSERS[opener])
        return Node({"|": "abs", "⌊": "floor", "⌈": "ceil"}[opener], (node,)) if opener in "|⌊⌈" else node

    def _numeral(self, text: str) -> Node:
        if self._is("_") and self._tokens[self._at - 2].text != "^":  # `4210_7` has a base, `x^2_7` has an index
            self._take()
            return Node("sym", name=f"{text}_{self._index()}")
        return Node("num", value=Fraction(text), decimals=len(text.partition(".")[2]))

    def _pair(self) -> tuple[Node, Node]:
        self._take()
        first = self._sum()
        self._expect(",")
        second = self._sum()
        self._expect(")")
        return first, second

    def _accented(self, name: str) -> Node:
        inner = self._argument()
        if inner.head != "sym":
            raise Unreadable(name)
        return Node("sym", name=f"{inner.name}̄" if name in ("bar", "overline") else inner.name)

    def _argument(self) -> Node:
        """Parse the argument of a command: a group, or one digit or symbol (`\\frac34`)."""
        if self._is("{"):
            return self._atom()
        token = self._peek()
        if token.kind == "num" and len(token.text) > 1 and "." not in token.text:
            self._tokens[self._at] = _Token("num", token.text[1:])
            return number(int(token.text[0]))
        return self._atom()

    def _function(self, name: str) -> Node:
        index: Node | None = None
        if name == "sqrt" and self._is("["):
            index = self._atom()
        if name == "log" and self._is("_"):
            self._take()
            index = self._argument()
        power: Node | None = None
        if self._is("^"):
            self._take()
            power = self._argument() if not self._is("-") else self._unary()
        if power == _MINUS_ONE and name in _INVERSES:  # `\sin^{-1} x` is the arcsine
            name, power = _INVERSES[name], None
        argument = self._operand(name)
        if name == "sqrt" and index is not None:
            node = Node("root", (argument, index))
        elif index is not None:
            node = Node("/", (Node("ln", (argument,)), Node("ln", (index,))))
        else:
            node = Node(name, (argument,))
        return node if power is None else Node("^", (node, power))

    def _operand(self, name: str) -> Node:
        """Parse the operand of a function: `\\sin 2x` takes the product `2x`; roots and brackets take one group."""
        if name in ("sqrt", "cbrt", "abs"):
            return self._argument()
        if self._is("(", "{", "[", "|"):
            return self._atom()
        if self._is("-"):
            return self._unary()
        factors = [self._power()]
        while self._peek().kind in ("sym", "frac"):
            factors.append(self._power())
        return _product(factors)


_MINUS_ONE = Node("-", (number(1),))


def _signed(sign: str, node: Node) -> Node:
    if sign == "+":
        return node
    return Node("±", (Node("-", (node,)),)) if sign == "∓" else Node(sign, (node,))


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Node("*", tuple(factors))


def read(text: str) -> Node:
    """Parse the whole text as one expression.

    Raises:
        Unreadable: it is no expression of this grammar.
        Unbounded: it is too long, too deep or contains a number that is too long.
    """
    if (node := _parsed(text)) is None:
        raise Unreadable(text)
    return node


@lru_cache(maxsize=256)
def _parsed(text: str) -> Node | None:
    """The same with None for what is unreadable: several readers ask for one text in turn."""
    try:
        return _Reader(_tokens(text)).whole() if text.strip() else None
    except Unreadable:
        return None
