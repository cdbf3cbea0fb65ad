"""The process in which submitted code runs: it can import no vqlearn, and reach nothing."""
