"""Every system with one budget on the same tokens; claims and their verdicts."""
