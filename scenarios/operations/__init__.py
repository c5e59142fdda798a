"""What is done to the shop while it is under load: somebody works on its consumers, somebody trims its streams."""
