"""`python -m vqlearn`, and with it `accelerate launch -m vqlearn train`."""

from vqlearn.cli import main

main()
