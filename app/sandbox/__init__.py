"""Local stand-ins for both partners, for trying things out and for tests."""
