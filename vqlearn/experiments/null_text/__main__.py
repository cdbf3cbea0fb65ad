"""Measure the nulls that are missing, and print what was found: half an hour on an idle core."""

from pathlib import Path

from vqlearn.experiments.null_text.study import STUDY, tables


def main(folder: Path = Path("figures")) -> None:
    """Into null_text.json; a command that was stopped goes on."""
    report = STUDY.run(folder)
    print(tables(report)["null-text"])


if __name__ == "__main__":
    main()
