"""The words and signs of mathematical answers: LaTeX's commands, Unicode's signs, names of functions."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words("sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh log ln lg exp sqrt")
NAMES = _words(
    "pi alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega emptyset varnothing "
    "ell hbar aleph infty"
)
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "lt": "<", "gt": ">", "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=",
    "geq": ">=", "geqslant": ">=", "ne": "!=", "neq": "!=", "in": "in", "approx": "=", "equiv": "equiv",
    "coloneqq": "=",
}  # fmt: skip
OPERATORS = {"cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp", "cup": "cup", "cap": "cap"}
OPERATORS |= {"setminus": "minus", "backslash": "minus", "choose": "choose"}
FENCES = {"lfloor": ("open", "floor"), "rfloor": ("close", "floor"), "lceil": ("open", "ceil")}
FENCES |= {"rceil": ("close", "ceil"), "lvert": ("open", "abs"), "rvert": ("close", "abs")}
FENCES |= {"langle": ("open", "<"), "rangle": ("close", ">"), "lbrace": ("open", "{"), "rbrace": ("close", "}")}
FENCES |= {"lbrack": ("open", "["), "rbrack": ("close", "]"), "lparen": ("open", "("), "rparen": ("close", ")")}
SILENT = _words(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle "
    "limits nolimits quad qquad thinspace space hspace mathstrut boxed fbox mathbf boldsymbol bm mathit "
    "vec hat bar tilde overrightarrow middle"
)
# A symbol under a vector arrow or in bold is the symbol; answers differ in that without meaning anything by it.
TEXTS = _words("text textbf textit textrm textsf texttt mbox hbox mathrm mathsf operatorname textnormal")
SPELLED = {"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom"}
HEADS = _words("frac binom sqrt overline mathbb mathcal sum prod")
UNICODE = {
    "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "\u2215": "/", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "∞": r"\infty ", "π": r"\pi ", "√": r"\sqrt ", "°": r"^\circ ", "²": "^2 ", "³": "^3 ",
    "\u222a": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "≈": r"\approx ", "θ": r"\theta ",
    "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "α": r"\alpha ", "β": r"\beta ", "∅": r"\emptyset ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "“": '"', "”": '"', "\u2019": "'",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "\u211d": r"\mathbb{R}",
}  # fmt: skip
SPELL = str.maketrans(UNICODE)
