"""What the stored face-off says: numbers over seeds, claims with verdicts, tables, plots."""
