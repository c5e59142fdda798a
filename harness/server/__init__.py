"""The Redis or Valkey under test: how it is addressed and reached."""
