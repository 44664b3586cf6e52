"""Tables for a paper in LaTeX: one a problem and measure, a line a solver, a column a dimension and time.

Figures are medians over seeds with their standard error; bold is what no other solver is told better than, by this
measure, where it is proper for the answer (``harness.verdict.leaders``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from harness.report import summary
from harness.report.published import SOURCE
from harness.report.summary import significant, time_text
from harness.verdict.contest import BOUNDS

HEAD = (
    "% Needs \\usepackage{booktabs}. Medians over seeds with standard errors; bold: no other solver is told better\n"
    "% (paired t tests over instances, false discovery rate 5 %), where the measure is proper for the answer and all\n"
    "% of a column can be compared, with no run still to come. In brackets: runs with an answer, where not all have.\n"
    "% Dagger: the method says itself that its answer is unfinished, as the comment below the table does."
)
GREEK = dict(zip("αβγδεζηθικλμνξοπρςστυφχψω", (
    *("alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "mathrm{o}", "pi", "rho", "varsigma", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega"),
), strict=True))  # fmt: skip
CAPITALS = dict(zip("ΓΔΘΛΞΠΣΥΦΨΩ", (
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
), strict=True))  # fmt: skip
LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True))
"""Greek capitals that look as Latin ones do, for which TeX has no command."""
SIGNS = dict(zip("ϵϑϕϱϖµℓ≥≤≠≈∼∝≪≫×÷±∓⊗∘√‖∞∇∂∫∬∑∏∈∉⊂∪∩→←↦ℝ†‡½¼¾", (
    *("epsilon", "vartheta", "phi", "varrho", "varpi", "mu", "ell", "ge", "le", "neq", "approx", "sim", "propto"),
    *("ll", "gg", "times", "div", "pm", "mp", "otimes", "circ", "surd", "Vert", "infty", "nabla", "partial", "int"),
    *(r"int\!\int", "sum", "prod", "in", "notin", "subset", "cup", "cap", "to", "leftarrow", "mapsto", "mathbf{R}"),
    *("dagger", "ddagger", "frac12", "frac14", "frac34"),
), strict=True))  # fmt: skip
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "₀₁₂₃₄₅₆₇₈₉₊₋"
ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "—": "---", "…": r"\ldots{}"}
    | {"·": r"\textperiodcentered{}", "−": "$-$", "°": r"$^\circ$", "′": "$'$", "″": "$''$"}
    | {character: f"$\\{command}$" for character, command in (GREEK | CAPITALS | SIGNS).items()}
    | {character: f"$\\mathrm{{{letter}}}$" for character, letter in LATIN.items()}
    | {character: f"$^{sign}$" for character, sign in zip(RAISED, "0123456789+-", strict=True)}
    | {character: f"$_{sign}$" for character, sign in zip(LOWERED, "0123456789+-", strict=True)}
)


def latex(frame: pd.DataFrame, bounds: bool = False, metrics: Sequence[str] | None = None) -> str:
    """Return the figures of a frame as LaTeX, one ``table`` a problem and measure, all measures or those named.

    With ``bounds`` their rows are there, too.
    """
    rows = summary.summarise(frame)
    titles = summary.titles(rows)
    kept = rows if bounds else rows[~rows["solver"].isin(BOUNDS)]
    kept = kept[kept["metric"].notna() & (kept["not_run"] < kept["planned"])]
    parts = [HEAD]
    for key, group in kept.groupby([*summary.PROBLEM, "metric"], sort=False):
        problem, settings, metric = (str(part) for part in list[Any](key))
        if metrics is not None and metric not in metrics:
            continue
        parts.append("\n".join(lines(group, f"{titles[problem, settings]}: {metric}")))
    return "\n\n".join(parts) + "\n"


def lines(rows: pd.DataFrame, title: str) -> Iterator[str]:
    """Yield the lines of the table of one problem and measure."""
    places = list(rows[["size", "t"]].drop_duplicates().sort_values(["size", "t"]).itertuples(index=False, name=None))
    yield "\\begin{table}\n\\centering"
    yield f"\\caption{{{escaped(title)}}}"
    yield f"\\begin{{tabular}}{{l{'r' * len(places)}}}\n\\toprule"
    yield (
        " & ".join(["solver", *(f"$D = {size}$, $t = {time_text(t)}$" for size, t in places)]) + r" \\" + "\n\\midrule"
    )
    theirs = rows["published_median"].notna().any()
    for label, group in rows.groupby("label", sort=False):
        found = {(row["size"], row["t"]): row for row in group.to_dict("records")}
        yield " & ".join([escaped(str(label)), *(figure(found.get(place)) for place in places)]) + r" \\"
        if theirs and group["published_median"].notna().any():
            beside = [
                escaped(significant(found[place]["published_median"])) if place in found else "" for place in places
            ]
            yield " & ".join([r"\quad published", *beside]) + r" \\"
    yield "\\bottomrule\n\\end{tabular}"
    for reason in summary.distinct(rows.loc[rows["unfinished"] != "", "unfinished"]):
        yield f"% dagger: {reason}"
    if theirs:
        yield f"% published: {SOURCE}"
    yield "\\end{table}"


def figure(row: dict[Any, Any] | None) -> str:
    """Return a median with its standard error, bold where it leads; "--" for none, and how many runs it rests on."""
    if row is None:
        return "--"
    few = "" if row["ok"] == row["planned"] else f" {{\\scriptsize({row['ok']}/{row['planned']})}}"
    if pd.isna(row["median"]):
        return f"--{few}"
    value = escaped(significant(row["median"]))
    value = f"\\textbf{{{value}}}" if row["leads"] else value
    error = "" if pd.isna(row["error"]) else f" {{\\scriptsize$\\pm${escaped(significant(row['error'], 1))}}}"
    mark = r"$^\dagger$" if row["unfinished"] else ""
    return value + mark + error + few


def escaped(text: str) -> str:
    """Escape a text for LaTeX; a bracket is wrapped, for it would be read as an option after a line's end."""
    return text.translate(ESCAPES).replace("[", "{[}").replace("]", "{]}")
