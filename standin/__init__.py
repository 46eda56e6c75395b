"""Stand-in for the official command plugin, for machines that cannot download it. What it does is real."""
