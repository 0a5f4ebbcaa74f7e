"""Where frames, labels, splits and groups come from."""
