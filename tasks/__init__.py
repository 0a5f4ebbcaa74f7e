"""Questions asked of a model, and the data they need."""
