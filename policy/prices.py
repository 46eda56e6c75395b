"""What Linodes cost: US dollars a month by plan, without taxes and backups.

From Linode's public list (`linode-cli linodes types`, no account needed) as it was after the change of April 2023, the
last one known here. A few regions ask up to 40 % more (`region_prices` there).
"""

AS_OF = "April 2023"
MONTHLY = {
    "g6-nanode-1": 5,
    "g6-standard-1": 12,
    "g6-standard-2": 24,
    "g6-standard-4": 48,
    "g6-standard-6": 96,
    "g6-standard-8": 192,
    "g6-standard-16": 384,
    "g6-standard-20": 576,
    "g6-standard-24": 768,
    "g6-standard-32": 1152,
    "g6-dedicated-2": 36,
    "g6-dedicated-4": 72,
    "g6-dedicated-8": 144,
    "g6-dedicated-16": 288,
    "g6-dedicated-32": 576,
    "g6-dedicated-48": 864,
    "g6-dedicated-50": 1152,
    "g7-highmem-1": 60,
    "g7-highmem-2": 120,
    "g7-highmem-4": 240,
    "g7-highmem-8": 480,
    "g7-highmem-16": 960,
    "g7-premium-2": 43,
    "g7-premium-4": 86,
    "g7-premium-8": 173,
    "g7-premium-16": 346,
    "g7-premium-32": 691,
}
