"""Make the folder of emoji: `python -m vqlearn.data.emoji`."""

from vqlearn.data.emoji.folder import DATA, build, summary


def main() -> None:
    """Fetch the package, unless the folder is there, and say what is in it."""
    print(f"{DATA}: {summary(build(DATA))}")


if __name__ == "__main__":
    main()
