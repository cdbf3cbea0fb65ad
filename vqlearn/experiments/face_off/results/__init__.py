"""What the stored runs say: effects with intervals, claims, findings, tables, plots."""
