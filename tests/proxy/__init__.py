"""The server behind a real nginx, by the configuration that docs/operations.md gives to operators."""
