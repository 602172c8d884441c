"""The grammar of a final answer's mathematics, LaTeX or plain: bounded, without sympy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# What an honest final answer stays within; more is refused, because the work grows with it.
MAX_TOKENS = 400
MAX_DEPTH = 40


class Unreadable(ValueError):
    """The text is no expression of this grammar."""


class Unbounded(ValueError):
    """The expression is too large to evaluate."""


@dataclass(frozen=True, slots=True)
class Node:
    """`head` is num, sym, a function's name, or one of + * / ^ - (negation)."""

    head: str
    args: tuple[Node, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""


_TOKEN = re.compile(
    r"\s*(?:(?P<num>\d+(?:\.\d+)?|\.\d+)"
    r"|\\(?P<cmd>[a-zA-Z]+)"
    r"|(?P<fn>arcsin|arccos|arctan|asin|acos|atan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|sqrt|cbrt|log|ln|exp"
    r"|abs|pi)(?![a-z])"
    r"|(?P<sym>[A-Za-zα-ωΑ-Ω])(?P<sub>_\{[^{}]{1,12}\}|_\w|'{1,2})?"
    r"|(?P<op>\*\*|[-+*/^(){}\[\]|!√∛·×÷°%±,_]))"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_FUNCTIONS_TEXT = """
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh sqrt cbrt log ln exp abs
"""
_FUNCTIONS = frozenset(_FUNCTIONS_TEXT.split())
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}
GREEK_TEXT = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
varepsilon vartheta varphi Gamma Delta Theta Lambda Sigma Phi Psi Omega
"""
GREEK = dict(zip(GREEK_TEXT.split(), "αβγδεζηθικλμνξρστυφχψωεθφΓΔΘΛΣΦΨΩ", strict=True))
_ORDINARY = {"*": "*", "·": "*", "×": "*", "÷": "/", "/": "/", "**": "^", "^": "^"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # num | sym | fn | frac | op | end
    text: str


_END = _Token("end", "")


def _tokens(text: str) -> list[_Token]:
    text = _THOUSANDS.sub("", text)
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
    if (number := found.group("num")) is not None:
        if len(number) > 60:
            raise Unbounded("a number of more than 60 digits")
        return _Token("num", number)
    if (command := found.group("cmd")) is not None:
        return _command(command)
    if (name := found.group("fn")) is not None:
        return _Token("sym", "π") if name == "pi" else _Token("fn", _ALIASES.get(name, name))
    if (symbol := found.group("sym")) is not None:
        return _Token("sym", symbol + (found.group("sub") or "").replace("{", "").replace("}", ""))
    return _Token("op", _ORDINARY.get(found.group("op"), found.group("op")))


def _command(name: str) -> _Token:
    if name == "frac":
        return _Token("frac", name)
    if name in GREEK:
        return _Token("sym", GREEK[name])
    name = _ALIASES.get(name, name)
    if name in _FUNCTIONS:
        return _Token("fn", name)
    raise Unreadable(name)


class _Reader:
    """Recursive descent over one list of tokens."""

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

    def _sum(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unbounded("nested too deep")
        node = self._term()
        while self._is("+", "-"):
            sign = self._take().text
            following = self._term()
            node = Node("+", (node, following if sign == "+" else Node("-", (following,))))
        self._depth -= 1
        return node

    def _term(self) -> Node:
        node = self._unary()
        while True:
            if self._is("*"):
                self._take()
                node = Node("*", (node, self._unary()))
            elif self._is("/"):
                self._take()
                node = Node("/", (node, self._unary()))
            elif self._starts_factor():
                node = self._beside(node)
            else:
                return node

    def _beside(self, node: Node) -> Node:
        """Two factors side by side; `2\\frac{1}{2}` is two and a half."""
        mixed = node.head == "num" and node.value.denominator == 1 and self._peek().kind == "frac"
        factor = self._power()
        if mixed and factor.head == "/" and all(arg.head == "num" for arg in factor.args):
            return Node("+", (node, factor))
        return Node("*", (node, factor))

    def _starts_factor(self) -> bool:
        token = self._peek()
        return token.kind in ("sym", "fn", "frac") or (token.kind == "op" and token.text in "({√∛[")

    def _unary(self) -> Node:
        if self._is("-", "+"):
            sign = self._take().text
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise Unbounded("nested too deep")
            node = self._unary()
            self._depth -= 1
            return Node("-", (node,)) if sign == "-" else node
        return self._power()

    def _power(self) -> Node:
        base = self._postfix()
        if not self._is("^"):
            return base
        self._take()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unbounded("nested too deep")
        exponent = self._unary()
        self._depth -= 1
        return Node("^", (base, exponent))

    def _postfix(self) -> Node:
        node = self._atom()
        while self._is("!", "°", "%"):
            mark = self._take().text
            if mark == "!":
                node = Node("factorial", (node,))
            elif mark == "%":
                node = Node("/", (node, Node("num", value=Fraction(100))))
            else:
                node = Node("*", (node, Node("/", (Node("sym", name="π"), Node("num", value=Fraction(180))))))
        return node

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "num":
            return Node("num", value=Fraction(token.text))
        if token.kind == "sym":
            return Node("sym", name=token.text)
        if token.kind == "frac":
            return Node("/", (self._argument(), self._argument()))
        if token.kind == "fn":
            return self._function(token.text)
        if token.kind == "op" and token.text in "√∛":
            return Node("sqrt" if token.text == "√" else "cbrt", (self._postfix(),))
        closer = {"(": ")", "{": "}", "[": "]", "|": "|"}.get(token.text) if token.kind == "op" else None
        if closer is None:
            raise Unreadable(token.text)
        node = self._sum()
        self._expect(closer)
        return Node("abs", (node,)) if closer == "|" else node

    def _argument(self) -> Node:
        """What a command takes: a group, or one digit or symbol (`\\frac34`)."""
        if self._is("{"):
            return self._atom()
        token = self._peek()
        if token.kind == "num" and len(token.text) > 1 and "." not in token.text:
            self._tokens[self._at] = _Token("num", token.text[1:])
            return Node("num", value=Fraction(token.text[0]))
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
        argument = self._operand(name)
        if name == "sqrt" and index is not None:
            node = Node("^", (argument, Node("/", (Node("num", value=Fraction(1)), index))))
        elif index is not None:
            node = Node("/", (Node("ln", (argument,)), Node("ln", (index,))))
        else:
            node = Node(name, (argument,))
        return node if power is None else Node("^", (node, power))

    def _operand(self, name: str) -> Node:
        """`\\sin 2x` takes the product `2x`; roots and brackets take one group."""
        if name in ("sqrt", "cbrt", "abs", "exp"):
            return self._argument()
        if self._is("(", "{", "[", "|"):
            return self._atom()
        if self._is("-"):
            return self._unary()
        node = self._power()
        while self._peek().kind in ("sym", "frac"):
            node = Node("*", (node, self._power()))
        return node


def read(text: str) -> Node:
    """The expression that the whole text is.

    Raises:
        Unreadable: it is none of this grammar.
        Unbounded: it is too long, too deep or holds too long a number.
    """
    if not text.strip():
        raise Unreadable("nothing")
    return _Reader(_tokens(text)).whole()
