"""The tables of figures/released.md: `python -m vqlearn.experiments.released_models`.

All that they say stands in `vqlearn/released/catalogue.py`, and below: what was run of a model.
"""

from pathlib import Path

from vqlearn.experiments.pages import table, write_tables
from vqlearn.released.catalogue import CLASS, NOT_RELEASED, RELEASED, TEXT, TOKENIZER, Released

BY_SERVER = "named by the server"
CONVERTED_IN = {
    TEXT: "tests/released/test_converted_text.py",
    CLASS: "tests/released/test_converted_others.py",
    TOKENIZER: "tests/released/test_conversion.py",
}
"""The file of tests that converts a synthetic file, by the kind of the model."""
RUN_ON_RELEASED: dict[str, str] = {}
"""What was run with the released file itself, by the name of the model."""
TITLES = (
    *("model", "kind", "trained on", "files", "size", "licence", "null", "guidance"),
    *("truncation", "used codes"),
)


def tables() -> dict[str, str]:
    """Each table, by its mark on the page."""
    missing = list(NOT_RELEASED.items())
    return {
        "released-models": table(TITLES, [_row(model) for model in RELEASED]),
        "released-runs": table(
            ("model", "what", "run"), [row for model in RELEASED for row in _runs(model)]
        ),
        "not-released": table(("model", "why"), missing),
    }


def _row(model: Released) -> tuple[str, ...]:
    sampling = model.sampling
    settings = ("", "")
    if sampling is not None:
        guidance = f"{sampling.guidance_scale:g}" if sampling.is_guided else "none"
        settings = (guidance, f"{sampling.truncation_rate:g}")
    first, last = model.files[0], model.files[-1]
    names = f"`{first.name}`" + (f" … `{last.name[-3:]}`" if first != last else "")
    return (
        *(f"`{model.name}`", model.kind, f"{model.trained_on} ([code]({model.origin}))"),
        *(f"[{names}]({first.address})", BY_SERVER, "not stated", model.null, *settings),
        "" if model.used_codes_file is None else _codes(model),
    )


def _codes(model: Released) -> str:
    return f"[{model.used_codes:,}]({model.used_codes_file.address})"


def _runs(model: Released) -> list[tuple[str, str, str]]:
    """Two rows: a file that was made for tests says nothing of the released one."""
    tests = CONVERTED_IN.get(model.kind)
    return [
        (
            f"`{model.name}`",
            "converted from a synthetic file of its kind",
            "no" if tests is None else f"[tests](../{tests})",
        ),
        (
            f"`{model.name}`",
            "converted from the released file",
            RUN_ON_RELEASED.get(model.name, "no: it could not be downloaded here"),
        ),
    ]


if __name__ == "__main__":
    write_tables(Path(), tables())
