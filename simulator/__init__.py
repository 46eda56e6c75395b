"""What pretends: providers and machines that only remember, for previews, tests and the demo."""
