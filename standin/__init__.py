"""Stand-ins for the official provider plugins, for machines that cannot download them. What they do is real."""
