"""Everything from a film's bytes to its numbers; knows nothing of screens."""
